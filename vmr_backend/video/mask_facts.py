"""What follows from a frame's mask: box, area, whether it is there, and what cuts it off or touches it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

SMALLEST_AREA = 16
"""Pixels; a mask below is noise, the subject counts as absent."""
ABSENT_FRACTION = 0.01
"""So does a mask below this fraction of the clip's median mask area."""
NOTICEABLE_CONTACT = 0.05
"""The subject counts as cut off from this length of mask on the border, over the square root of the mask's area."""
LEAST_BORDER_WEIGHT = 0.1
AREA_NEIGHBOURS = 5
"""Frames to each side that a mask's area is compared with."""
SMALL_AREA = 0.5
"""Fraction of its neighbours' median area below which a mask is doubted; a bird with its wings folded keeps more."""
SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class MaskFacts:
    """What is known of a frame's mask once it was read."""

    area: int
    """px"""
    box: tuple[int, int, int, int]
    """left, top, right, bottom edges, px of the full frame; zeros where the mask is empty"""
    contact: tuple[int, int, int, int]
    """px of the left, right, top and bottom border that the mask touches"""
    brightest: int
    """0 to 255, in the image that was read"""
    shape: tuple[int, int]
    """height and width of the full frame, px"""
    packed: bytes
    """the mask inside the box, compressed, so that no mask is decoded twice"""
    others: MaskFacts | None = None
    """the same of all other subjects together, where there are any"""
    touching: int = 0
    """px of the subject's outline at which others begin"""

    def mask(self) -> np.ndarray:
        """The mask that the facts are of: (H, W) uint8, 0 or 255."""
        mask = np.zeros(self.shape, np.uint8)
        if self.area:
            left, top, right, bottom = self.box
            bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
            inside = np.unpackbits(bits, count=(bottom - top) * (right - left)).reshape(bottom - top, right - left)
            mask[top:bottom, left:right] = inside * 255
        return mask


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of a mask (H, W) bool that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_facts(mask: np.ndarray, brightest: int, others: np.ndarray | None = None) -> MaskFacts:
    """Box, area and contact with the frame's borders of a mask (H, W) bool, and where `others` (H, W) bool touch it."""
    height, width = mask.shape
    area = int(np.count_nonzero(mask))
    if not area:
        return MaskFacts(0, (0, 0, 0, 0), (0, 0, 0, 0), brightest, (height, width), b"")
    # a mask that was compressed or resized may keep a pixel or two off the border that cuts it
    across, down = max(1, round(width / 400)), max(1, round(height / 400))
    contact = (
        int(mask[:, :across].any(1).sum()),
        int(mask[:, -across:].any(1).sum()),
        int(mask[:down].any(0).sum()),
        int(mask[-down:].any(0).sum()),
    )
    left, top, right, bottom = box_of(mask)
    packed = zlib.compress(np.packbits(mask[top:bottom, left:right]).tobytes(), level=1)
    facts = MaskFacts(area, (left, top, right, bottom), contact, brightest, (height, width), packed)
    if others is None or not others.any():
        return facts
    rim = cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    return replace(facts, others=mask_facts(others, 255), touching=int(np.count_nonzero(rim & others)))


def absent(facts: list[MaskFacts]) -> list[str | None]:
    """For each frame why the subject counts as absent, or None where it is there."""
    areas = np.array([f.area for f in facts])
    least = max(SMALLEST_AREA, ABSENT_FRACTION * float(np.median(areas[areas > 0]))) if areas.any() else SMALLEST_AREA
    return [
        None if area >= least else "the mask is empty" if area == 0 else f"the mask has only {area} pixels"
        for area in areas
    ]


def border_weight(facts: MaskFacts) -> tuple[float, list[str]]:
    """Weight of a frame by how much of the subject the border cuts off, 1 where none, and the doubt in words."""
    contact = np.array(facts.contact) / np.sqrt(facts.area)
    sides = [side for side, length in zip(SIDES, contact, strict=True) if length > NOTICEABLE_CONTACT]
    if not sides:
        return 1.0, []
    weight = float(np.clip(1 - contact.sum(), LEAST_BORDER_WEIGHT, 1))
    return weight, [f"cut off by the {' and '.join(sides)} border"]


def touching_doubts(facts: MaskFacts) -> list[str]:
    """A doubt where other subjects touch this one: it may go on behind them."""
    return ["touched by another subject"] if facts.touching > NOTICEABLE_CONTACT * np.sqrt(facts.area) else []


def area_doubts(facts: Sequence[MaskFacts]) -> list[list[str]]:
    """For each frame a doubt where its mask is much smaller than in the frames around it."""
    areas = np.array([f.area for f in facts], float)
    doubts: list[list[str]] = []
    for t, area in enumerate(areas):
        near = np.delete(areas, t)[max(0, t - AREA_NEIGHBOURS) : t + AREA_NEIGHBOURS]
        ratio = area / np.median(near)
        doubts.append([f"mask of {ratio:.0%} of the area in the frames around it"] if ratio < SMALL_AREA else [])
    return doubts
