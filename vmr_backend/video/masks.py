"""Finds the subject's mask of each frame, and says what a mask tells: box, area, whether the frame's border cuts it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput
from .clip import Clip, open_clip, read_frames

ASPECT_TOLERANCE = 0.01
SMALLEST_AREA = 16
"""Pixels; a mask below is noise, the subject counts as absent."""
ABSENT_SHARE = 0.01
"""So does a mask below this share of the clip's median mask area."""
NOTICEABLE_CONTACT = 0.05
"""The subject counts as cut off from this length of mask on the border, over the square root of the mask's area."""
LEAST_BORDER_WEIGHT = 0.1
AREA_NEIGHBOURS = 5
"""Frames to each side that a mask's area is compared with."""
SMALL_AREA = 0.5
"""Share of its neighbours' median area below which a mask is doubted; a bird with its wings folded keeps more."""
SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class MaskSource:
    """Where the masks of a clip's frames are."""

    clip: Clip
    """Holds the masks; the filmed clip itself where its alpha channel is the mask."""
    number_of: Mapping[int, int]
    """Frame number of the filmed clip → number in `clip`; frames without a mask are missing."""
    is_alpha: bool
    image_size: tuple[int, int]
    """Width and height that masks are brought to, px."""


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
    packed: bytes
    """the mask inside the box, compressed: `unpack_mask` gives it back, so that no mask is decoded twice"""


def open_masks(masks_path: Path | str | None, clip: Clip, selected: np.ndarray) -> MaskSource:
    """Masks for the `selected` frames (n,) of a clip: from a folder or a video; None takes the clip's alpha channel."""
    if masks_path is None:
        return _open_alpha(clip, selected)
    source = open_clip(masks_path)
    (mask_width, mask_height), (width, height) = source.image_size, clip.image_size
    if abs(mask_width * height / (mask_height * width) - 1) > ASPECT_TOLERANCE:
        raise BadInput(
            f"{masks_path}: found masks of {mask_width}x{mask_height} pixels for frames of {width}x{height}; "
            "needs masks of the frames' size or shape"
        )
    number_of = match_masks(source, clip, selected)
    if not number_of:
        raise BadInput(
            f"{masks_path}: found masks {source.numbers[0]} to {source.numbers[-1]}, none of them of frames "
            f"{selected[0]} to {selected[-1]}; needs masks with the frames' numbers, or as many as frames"
        )
    return MaskSource(source, number_of, False, clip.image_size)


def match_masks(masks: Clip, clip: Clip, selected: np.ndarray) -> dict[int, int]:
    """Which mask belongs to which selected frame: frame number → mask number.

    By number; but by order where there are as many masks as frames (of the clip, or else of the selected range) and
    the numbers are shifted as a whole (a clip from 0, masks from 1) or mostly differ, and where the masks are a video,
    whose frames have no numbers of their own.
    """
    for frames in (clip.numbers, selected):
        if len(masks.numbers) == len(frames):
            shifted = len(np.unique(masks.numbers - frames)) == 1
            if shifted or masks.files is None or np.isin(frames, masks.numbers).mean() < 0.5:
                pairs = zip(frames, masks.numbers, strict=True)
                break
    else:
        if masks.files is None:
            pairs = zip(clip.numbers, masks.numbers, strict=False)
        else:
            common = np.intersect1d(selected, masks.numbers)
            pairs = zip(common, common, strict=True)
    chosen = set(selected.tolist())
    return {int(frame): int(mask) for frame, mask in pairs if int(frame) in chosen}


def read_masks(source: MaskSource, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray, int]]:
    """Masks of the ascending frame `numbers`: (number, mask (H, W) bool of the frame's size, brightest value)."""
    frame_of = {source.number_of[int(n)]: int(n) for n in numbers}
    for number, image in read_frames(source.clip, np.array(sorted(frame_of), np.int32)):
        values = alpha_of(image, source.clip, number) if source.is_alpha else mask_values(image)
        mask = (values > 127).view(np.uint8)
        if mask.shape[::-1] != source.image_size:
            mask = cv2.resize(mask, source.image_size, interpolation=cv2.INTER_NEAREST_EXACT)
        yield frame_of[number], mask.view(bool), int(values.max())


def mask_values(image: np.ndarray) -> np.ndarray:
    """What counts as mask in an image, (H, W) uint8: alpha where it says something, else the brightest channel."""
    if image.ndim == 2:
        return image
    blue, green, red, *alpha = cv2.split(image)
    if alpha and alpha[0].min() < 255:
        return alpha[0]
    return cv2.max(cv2.max(blue, green), red)  # NumPy's maximum over an axis of three takes twenty times as long


def alpha_of(image: np.ndarray, clip: Clip, number: int) -> np.ndarray:
    """Alpha channel (H, W) uint8 of a frame."""
    if image.ndim == 3 and image.shape[2] == 4:
        return image[..., 3]
    raise BadInput(f"{clip.path}: frame {number} has no alpha channel; needs masks, or alpha in every frame")


def mask_facts(mask: np.ndarray, brightest: int) -> MaskFacts:
    """Box, area and contact with the frame's borders of a mask (H, W) bool."""
    area = int(np.count_nonzero(mask))
    if not area:
        return MaskFacts(0, (0, 0, 0, 0), (0, 0, 0, 0), brightest, b"")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    # a mask that was compressed or resized may keep a pixel or two off the border that cuts it
    across, down = max(1, round(width / 400)), max(1, round(height / 400))
    contact = (
        int(mask[:, :across].any(1).sum()),
        int(mask[:, -across:].any(1).sum()),
        int(mask[:down].any(0).sum()),
        int(mask[-down:].any(0).sum()),
    )
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    packed = zlib.compress(np.packbits(mask[top:bottom, left:right]).tobytes(), level=1)
    return MaskFacts(area, (left, top, right, bottom), contact, brightest, packed)


def unpack_mask(facts: MaskFacts, image_size: tuple[int, int]) -> np.ndarray:
    """The mask that the facts are of: (H, W) uint8, 0 or 255."""
    left, top, right, bottom = facts.box
    bits = np.frombuffer(zlib.decompress(facts.packed), np.uint8)
    inside = np.unpackbits(bits, count=(bottom - top) * (right - left)).reshape(bottom - top, right - left)
    mask = np.zeros(image_size[::-1], np.uint8)
    mask[top:bottom, left:right] = inside * 255
    return mask


def absent(facts: list[MaskFacts]) -> list[str | None]:
    """For each frame why the subject counts as absent, or None where it is there."""
    areas = np.array([f.area for f in facts])
    least = max(SMALLEST_AREA, ABSENT_SHARE * float(np.median(areas[areas > 0]))) if areas.any() else SMALLEST_AREA
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


def area_doubts(facts: list[MaskFacts]) -> list[list[str]]:
    """For each frame a doubt where its mask is much smaller than in the frames around it."""
    areas = np.array([f.area for f in facts], float)
    doubts: list[list[str]] = []
    for t, area in enumerate(areas):
        near = np.delete(areas, t)[max(0, t - AREA_NEIGHBOURS) : t + AREA_NEIGHBOURS]
        ratio = area / np.median(near)
        doubts.append([f"mask of {ratio:.0%} of the area in the frames around it"] if ratio < SMALL_AREA else [])
    return doubts


def _open_alpha(clip: Clip, selected: np.ndarray) -> MaskSource:
    if clip.files is None:
        raise BadInput(
            f"{clip.path}: no masks were given, and alpha is read from images, not from videos; "
            "needs masks, white on black"
        )
    _, image = next(read_frames(clip, selected[:1]))
    if image.ndim == 2 or image.shape[2] != 4:
        raise BadInput(
            f"{clip.path}: no masks were given and its images have no alpha channel; needs masks, white on black"
        )
    return MaskSource(clip, {int(n): int(n) for n in selected}, True, clip.image_size)
