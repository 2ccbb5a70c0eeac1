"""Full-size frames and masks of the clip that a footage was cropped from, for baking and for the pictures of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .clip import Clip, as_rgb, read_frames
from .mask_facts import MaskFacts


class FullFrames:
    """Holds one frame of T: reads a clip from the first to the last; asked for an earlier one, it begins anew."""

    def __init__(self, clip: Clip, numbers: np.ndarray, facts: Sequence[MaskFacts]):
        """numbers: (T,) ascending numbers of the clip's frames; facts: of their masks."""
        self.clip, self.numbers, self.facts = clip, numbers, facts
        self._reader: Iterator[tuple[int, np.ndarray]] = iter(())
        self._index = len(numbers)
        self._image = np.zeros(0)

    def frame(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        if index < self._index:
            self._reader, self._index = read_frames(self.clip, self.numbers), -1
        while self._index < index:
            _, self._image = next(self._reader)
            self._index += 1
        return as_rgb(self._image)

    def mask(self, index: int) -> np.ndarray:
        """(H, W) bool."""
        return self.facts[index].mask() > 0

    def masks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Number and mask (H, W) bool of each frame."""
        return ((int(number), self.mask(index)) for index, number in enumerate(self.numbers))
