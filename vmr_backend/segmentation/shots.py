"""The frames of a clip as masks are found in them: small, cut into takes, with the optical flow between neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from .motion import FINER, background_homography, flow_from_to

WORKING_SIZE = 190
"""Pixels of the subject's longer side where it is worked on."""
LARGEST_FRAME = 960
"""Pixels of the longer side of the frames that are worked on, for subjects that are small in them."""
CUT = 0.55
"""Fraction of the colours that change from one frame to the next where a clip is cut."""


@dataclass
class Shots:
    """The frames of a clip as they are worked on: T of h x w pixels, and how they move."""

    pictures: list[np.ndarray]
    """(h, w, 3) uint8 RGB."""
    scale: float
    """Their pixels over the full frame's."""
    cuts: frozenset[int] = frozenset()
    """Indices of the frames that a new take begins with."""
    flows: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    """(h, w, 2) float16 px, from a frame to one beside it in the same take."""
    homographies: dict[int, np.ndarray] = field(default_factory=dict)
    """(3, 3) of the background, from a frame to the next."""

    def __len__(self) -> int:
        return len(self.pictures)

    def flow(self, here: int, there: int) -> np.ndarray | None:
        """(h, w, 2) from a frame to one beside it; None where there is none, or a cut lies between."""
        flow = self.flows.get((here, there))
        return None if flow is None else flow.astype(np.float32)

    def motion(self, here: int, there: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Flow (h, w, 2) from a frame to one beside it and the background's homography (3, 3); None without a flow."""
        flow = self.flow(here, there)
        return None if flow is None else (flow, self.homography(here, there))

    def follow_background(self, subjects: Sequence[np.ndarray]) -> None:
        """Find how the background moves, given where the subject may be in each frame (T of (h, w) bool)."""
        for t in range(len(self) - 1):
            flow = self.flow(t, t + 1)
            self.homographies[t] = np.eye(3) if flow is None else background_homography(flow, subjects[t])

    def cut_between(self, here: int, there: int) -> bool:
        first, last = sorted((here, there))
        return any(first < cut <= last for cut in self.cuts)

    def homography(self, here: int, there: int) -> np.ndarray | None:
        """The background's homography (3, 3) from a frame to another; None across a cut."""
        if self.cut_between(here, there):
            return None
        first, last = sorted((here, there))
        whole = np.eye(3)
        for t in range(first, last):
            whole = self.homographies[t] @ whole
        return whole if here <= there else np.linalg.inv(whole)


def working_scale(box_side: float, image_size: tuple[int, int]) -> float:
    """The size that frames are worked on at, over their own, for a subject with a longer side of so many px."""
    return min(1.0, LARGEST_FRAME / max(image_size), WORKING_SIZE / max(box_side, 1.0))


def shots_of(frames: Iterable[np.ndarray], scale: float, moving: bool = True) -> Shots:
    """Of full frames (H, W, 3) uint8 RGB, one at a time. How they move takes time, and may be left out."""
    shots, before = Shots([], scale), None
    with ThreadPoolExecutor(2) as both:
        for here, frame in enumerate(frames):
            picture = _at_scale(frame, scale)
            larger = _at_scale(frame, min(1.0, FINER * scale)) if moving else picture
            if here and _is_cut(shots.pictures[-1], picture):
                shots.cuts |= {here}
            elif before is not None and moving:
                flows = both.map(flow_from_to, (before, larger), (larger, before), [picture.shape] * 2)
                for way, flow in zip(((here - 1, here), (here, here - 1)), flows, strict=True):
                    shots.flows[way] = flow.astype(np.float16)
            shots.pictures.append(picture)
            before = larger
    return shots


def _at_scale(frame: np.ndarray, scale: float) -> np.ndarray:
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    def histogram(picture: np.ndarray) -> np.ndarray:
        counts = cv2.calcHist([picture], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)
        return cv2.GaussianBlur(counts.reshape(8, 64), (0, 0), 0.8) / picture[..., 0].size

    return 0.5 * float(np.abs(histogram(before) - histogram(after)).sum()) > CUT
