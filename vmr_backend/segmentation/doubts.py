"""How far each mask that was found can be trusted, and why it may be wrong."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..video.mask_facts import box_of
from .marks import Mark, MaskReport
from .propagation import Suspicion
from .shots import Shots

DOUBTFUL = 0.75
"""Confidence below which a mask is doubted."""
UNLIKE = 0.06
"""Fraction of a mask that is unlike the subject in the marked frame above which it is doubted: it leaks, or the subject
shows another side."""
RIVAL = 0.1
"""Area of something beside a mask that moves and looks like the subject, over the mask's, where this is doubted."""
MISTAKEN = 0.3
"""The same, where it is also doubted from there on."""
APART = 0.1
"""Fraction of a mask that may lie apart from its largest part without a doubt."""
CHANGED = 0.4
"""Fraction by which a mask's area changes from one frame to the next where it is doubted."""
FILLED = 0.8
"""Fraction of a box's width or height that the mask found in it has at the least; else it is doubted."""


def report_of(found: np.ndarray, suspicion: Suspicion, numbers: np.ndarray, shots: Shots, marks: Sequence[Mark],
            indices: list[int]) -> MaskReport:
    """How far the probabilities found (T, h, w) can be trusted, by the clip's frame numbers (T,).

    indices  of the marks' frames among them
    """
    areas = (found > 0.5).sum((1, 2)).astype(float)
    confidence = [confidence_of(one) for one in found]
    doubts: dict[int, list[str]] = {}
    for t, number in enumerate(map(int, numbers)):
        why = []
        if not areas[t]:
            cut = all(shots.cut_between(index, t) for index in indices)
            why.append("the clip is cut: mark the subject after it" if cut else "the subject was not found")
        else:
            if confidence[t] < DOUBTFUL:
                why.append("the mask is unsure")
            if suspicion.unlike[t] > UNLIKE:
                why.append("a part of it looks unlike the subject where it was marked")
            if suspicion.rival[t] > RIVAL:
                why.append("something that moves beside it looks like the subject: they may have been mistaken")
            elif (met := met_on_the_way(suspicion.rival, indices, t)) is not None:
                why.append(f"in frame {numbers[met]} something was beside it that looks like the subject: it may be "
                           "that")
            if (apart := apart_from_the_largest(found[t])) > APART:
                why.append(f"{apart:.0%} of it lies apart from the rest")
            if t and areas[t - 1] and abs(areas[t] / areas[t - 1] - 1) > CHANGED:
                why.append(f"the mask has {areas[t] / areas[t - 1]:.0%} of the area in the frame before")
        if why and t not in indices:
            doubts[number] = why
    for mark, index in zip(marks, indices, strict=True):
        # Where there are points too, the user has checked it.
        if mark.box and not (mark.inside or mark.outside) and areas[index]:
            fraction = filled(found[index], [shots.scale * side for side in mark.box])
            if fraction < FILLED:
                doubts[mark.frame] = [f"the mask fills {fraction:.0%} of the box: part of the subject may be missing"]
    return MaskReport({int(n): round(c, 3) for n, c in zip(numbers, confidence, strict=True)}, doubts,
                      tuple(int(numbers[index]) for index in sorted(set(indices))))


def confidence_of(found: np.ndarray) -> float:
    """How far a mask is expected to overlap with the true one, if its probabilities (h, w) are right; 0 where empty."""
    found = found.astype(np.float32)
    mask = found > 0.5
    return float(found[mask].sum() / max(mask.sum() + found[~mask].sum(), 1.0))


def met_on_the_way(rival: np.ndarray, indices: Sequence[int], index: int) -> int | None:
    """The first frame, from the last mark on to one behind it, or back from the first one, where a rival (T,) is so
    large that the subject may be mistaken for it from there on."""
    way = range(max(indices) + 1, index) if index > max(indices) else range(min(indices) - 1, index, -1)
    return next((met for met in way if rival[met] > MISTAKEN), None)


def apart_from_the_largest(found: np.ndarray) -> float:
    """Fraction of a mask found (h, w), not empty, that is not in its largest part."""
    areas = cv2.connectedComponentsWithStats((found > 0.5).astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
    return float(1 - areas.max() / areas.sum())


def filled(found: np.ndarray, box: Sequence[float]) -> float:
    """Extent of a mask found (h, w), not empty, over that of the box that it was found in, as far as this is within the
    frame: the lesser of both axes'. Both in the same pixels: left, top, width, height."""
    low, high = np.array(box_of(found > 0.5)).reshape(2, 2)
    first, size = np.array(box).reshape(2, 2)
    first, last = np.maximum(first, 0), np.minimum(first + size, found.shape[::-1])
    return float(((high - low) / (last - first)).min())
