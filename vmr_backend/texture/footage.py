"""Full-size frames and masks of a clip by their place in a result, for baking and for the pictures of a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..video.clip import Clip, as_rgb, read_frames
from ..video.masks import MaskSource, read_masks


class FullFrames:
    """Reads a clip from its first frame to its last and holds one frame; asked for an earlier one, it begins anew."""

    def __init__(self, clip: Clip, masks: MaskSource, numbers: np.ndarray):
        """numbers: (T,) ascending numbers of the clip's frames that the result has."""
        self._clip, self._masks, self._numbers = clip, masks, numbers
        self._reader: Iterator[tuple] = iter(())
        self._place = len(numbers)
        self._image = self._mask = np.zeros(0)

    def frame(self, place: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        self._step_to(place)
        return as_rgb(self._image)

    def mask(self, place: int) -> np.ndarray:
        """(H, W) bool."""
        self._step_to(place)
        return self._mask

    def _step_to(self, place: int) -> None:
        if place < self._place:
            images, masks = read_frames(self._clip, self._numbers), read_masks(self._masks, self._numbers)
            self._reader = zip(images, masks, strict=True)
            self._place = -1
        while self._place < place:
            (_, self._image), (_, self._mask, *_) = next(self._reader)
            self._place += 1
