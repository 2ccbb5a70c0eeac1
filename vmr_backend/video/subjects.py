"""Tells one subject from others in masks: by labels in an image, or by patches that lie apart, followed by overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..job import JobRequest

FRAGMENT = 0.1
"""Patches below this fraction of the subject's area belong to it where they lie in its box."""
BRUSH = 0.2
"""A patch that overlaps two subjects by less than this of the one against the other only brushes the lesser."""
REMAINS = 0.5
"""... unless so much of the lesser lies in it, which has then run into the other."""
STRAY = 0.15
"""Fragments lie as near as this to where the subject was, over the square root of its area."""
LOST = 0.1
"""A subject that overlaps by less than this fraction of what it was is not the same."""


@dataclass(frozen=True)
class Choice:
    """Which subject is meant where masks hold several; nothing chosen: all that is white."""

    label: int | None = None
    """Index in the image's palette, grey value, or number of the colour."""
    box: Sequence[float] | None = None
    """Left, top, width, height in pixels of the full frame."""
    at: int | None = None
    """Number of the frame that the box is of; None: the first that has a mask."""

    @staticmethod
    def of(request: JobRequest, scale: np.ndarray | float = 1.0) -> Choice:
        """The choice of a request; scale: (2,) pixels that are read over those of its file, x and y."""
        box = request.box and (np.reshape(request.box, (2, 2)) * scale).ravel().tolist()
        return Choice(request.subject, box, request.at)

    def __bool__(self) -> bool:
        return self.label is not None or self.box is not None


def present(labels: np.ndarray) -> list[int]:
    """The labels that occur, without the background."""
    return [label for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)).tolist() if label]


def label_in_box(labels: np.ndarray, box: Sequence[float]) -> int | None:
    """The label of most pixels in a box; None where it holds only background."""
    counts = np.bincount(labels[_slices(box, labels.shape)].ravel(), minlength=1)
    counts[0] = 0
    return int(counts.argmax()) if counts.any() else None


def patch_in_box(mask: np.ndarray, box: Sequence[float]) -> np.ndarray | None:
    """The connected patch of a mask (H, W) bool that has most pixels in a box, with fragments in the box; or None."""
    count, patches = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    within = np.bincount(patches[_slices(box, mask.shape)].ravel(), minlength=count)
    areas = np.bincount(patches.ravel(), minlength=count)
    within[0] = 0
    if not within.any():
        return None
    main = within.argmax()
    ours = (within == areas) & (areas < FRAGMENT * areas[main])
    ours[main], ours[0] = True, False
    return ours[patches]


def follow(
    mask_of: Callable[[int], np.ndarray], numbers: Sequence[int], start: int, subject: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The subject in each frame, and all else that is mask: (number, (H, W) bool, (H, W) bool), in no order.

    mask_of  the whole mask (H, W) bool of a frame
    numbers  frames, ascending
    start    the frame in which the `subject` (H, W) bool is known
    """
    index = list(numbers).index(start)
    others = mask_of(start) & ~subject
    yield start, subject, others
    for way in (numbers[index + 1 :], reversed(numbers[:index])):
        last, last_others = subject, others
        for number in way:
            mask = mask_of(number)
            ours = _continued(mask, last, last_others)
            last_others = mask & ~ours
            last = ours if ours.any() else last
            yield number, ours, last_others


def _continued(mask: np.ndarray, subject: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which part of a mask is the subject, by where it and the others were in the frame before; all (H, W) bool."""
    count, patches = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    areas = np.bincount(patches.ravel(), minlength=count)
    of_subject = np.bincount(patches[subject], minlength=count)
    of_others = np.bincount(patches[others], minlength=count)
    areas[0] = of_subject[0] = of_others[0] = 0
    whole, whole_others = np.count_nonzero(subject), np.count_nonzero(others)
    if of_subject.max() < LOST * whole:
        return _nearest(patches, areas, of_others, subject)
    near = np.bincount(patches[_distance(subject) <= STRAY * np.sqrt(whole)], minlength=count)
    main = np.arange(count) == of_subject.argmax()
    ours = main & (of_subject > of_others) | (of_others == 0) & (2 * near >= areas) & (areas > 0)
    both = (of_subject > 0) & (of_others > 0)
    both &= (of_others > BRUSH * of_subject) | (of_others > REMAINS * whole_others)
    both &= (of_subject > BRUSH * of_others) | (of_subject > REMAINS * whole)
    found = (ours & ~both)[patches]
    if both.any():
        found |= both[patches] & (_distance(subject) <= _distance(others))
    return found


def _nearest(patches: np.ndarray, areas: np.ndarray, of_others: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """The patch next to where the subject was, if it moved by less than its size and none of the others was there."""
    whole = np.count_nonzero(subject)
    reach = np.where(patches > 0, _distance(subject), np.inf)
    free = (of_others == 0) & (areas > LOST * whole)
    reach[~free[patches]] = np.inf
    row, column = np.unravel_index(reach.argmin(), reach.shape)
    return patches == patches[row, column] if reach[row, column] < np.sqrt(whole) else np.zeros(patches.shape, bool)


def _distance(mask: np.ndarray) -> np.ndarray:
    """Distance (H, W) px from each pixel to the mask."""
    return cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 3)


def _slices(box: Sequence[float], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the pixels that a box touches."""
    left, top, width, height = box
    rows = slice(max(int(np.floor(top)), 0), max(int(np.ceil(top + height)), 0))
    return rows, slice(max(int(np.floor(left)), 0), max(int(np.ceil(left + width)), 0))
