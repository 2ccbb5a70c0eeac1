"""Which pixels around a point that is marked on a subject, or off it, are the same thing."""

from __future__ import annotations

import cv2
import numpy as np

from .cues import lab_of
from .marks import Point

ALIKE = 6
"""Lab units up to which pixels around a point count as the same thing."""
FEWEST = 10
"""Pixels of either side that a graph cut needs."""
REACH = 4
"""How far a point reaches at the most, over the size that it has at the least."""


def region_of_point(picture: np.ndarray, found: np.ndarray, point: Point, inside: bool, size: float) -> np.ndarray:
    """(h, w) bool: what a point on the subject, or off it, decides, up to REACH times its size (px) around it.

    What is coloured alike and within half the reach is as the point; a graph cut (GrabCut: Rother et al. 2004) settles
    anew what is around, and all beyond the reach stays as it was found, (h, w) in 0..1.
    """
    height, width = found.shape
    column, row = (int(np.clip(round(value), 0, side - 1)) for value, side in zip(point, (width, height), strict=True))
    disc, near = np.zeros((2, height, width), np.uint8)
    cv2.circle(near, (column, row), max(round(REACH * size / 2), 2), 1, -1)
    filled = cv2.copyMakeBorder(1 - near, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    smooth = cv2.GaussianBlur(lab_of(picture), (0, 0), 0.8)
    cv2.floodFill(smooth, filled, (column, row), 0, (ALIKE,) * 3, (ALIKE,) * 3,
                  cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | 2 << 8)
    disc[filled[1:-1, 1:-1] == 2] = 1
    cv2.circle(disc, (column, row), max(round(size / 2), 1), 1, -1)
    cv2.circle(near, (column, row), max(round(REACH * size), 2), 1, -1)
    labels = np.where(found > 0.5, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    labels[near > 0] += cv2.GC_PR_BGD - cv2.GC_BGD
    labels[disc > 0] = cv2.GC_FGD if inside else cv2.GC_BGD
    reach = round(2 * REACH * size)
    window = (slice(max(row - reach, 0), row + reach), slice(max(column - reach, 0), column + reach))
    cut = np.ascontiguousarray(labels[window])
    if FEWEST < ((cut & 1) == 1).sum() < cut.size - FEWEST:
        cv2.grabCut(np.ascontiguousarray(picture[window]), cut, None, *np.zeros((2, 1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    decided = np.zeros_like(disc)
    decided[window] = (cut & 1) == inside
    parts = cv2.connectedComponents(decided & near)[1]
    return (parts == parts[row, column]) | (disc > 0)
