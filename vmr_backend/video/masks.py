"""Finds the subject's mask of each frame, and says what a mask tells: box, area, whether the frame's border cuts it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput
from .clip import Clip, need_alpha, open_clip, read_frames
from .subjects import Choice, follow, label_in_box, labels_in, palette_of, patch_in_box, present

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
MOST_LISTED = 8
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
    label: int | None = None
    """Of the subject, where the images hold labels."""
    followed: Mapping[int, MaskFacts] | None = None
    """By frame number, the subject where it was told from others by where it is; `clip` is not read then."""


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
    others: MaskFacts | None = None
    """the same of all other subjects together, where there are any"""
    touching: int = 0
    """px of the subject's outline at which others begin"""


def open_masks(
    masks_path: Path | str | None, clip: Clip, selected: np.ndarray, choice: Choice | None = None
) -> MaskSource:
    """Masks for the `selected` frames (n,) of a clip: from a folder or a video; None takes the clip's alpha channel.

    choice  which subject is meant where the masks hold several
    """
    source = _open_alpha(clip, selected) if masks_path is None else _open_own(masks_path, clip, selected)
    return narrowed(source, choice) if choice else source


def narrowed(source: MaskSource, choice: Choice) -> MaskSource:
    """The source's masks of one subject alone."""
    return _with_label(source, choice.label) if choice.label is not None else _with_box(source, choice)


def _open_own(masks_path: Path | str, clip: Clip, selected: np.ndarray) -> MaskSource:
    source = open_clip(masks_path, pixel_aspect=1.0)  # masks have the frames' own pixels
    mask_shape = source.file_size[0] / source.file_size[1]
    # Of the frames as the file holds them, or as they are seen.
    if all(abs(mask_shape * high / wide - 1) > ASPECT_TOLERANCE for wide, high in (clip.file_size, clip.image_size)):
        (mask_width, mask_height), (width, height) = source.file_size, clip.file_size
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


def _with_label(source: MaskSource, label: int) -> MaskSource:
    if source.is_alpha or source.clip.files is None:
        found = "an alpha channel" if source.is_alpha else "a video"
        raise BadInput(f"{source.clip.path}: found {found}, which holds no labels; needs images that do, or a box")
    return replace(source, label=label)


def _with_box(source: MaskSource, choice: Choice) -> MaskSource:
    """The source, narrowed to the subject that lies in a box: by its label, else by following it through the clip."""
    numbers = sorted(source.number_of)
    at = numbers[0] if choice.at is None else choice.at
    if at not in source.number_of:
        raise BadInput(
            f"--at: found frame {at}, which has no mask; the chosen frames have masks from {numbers[0]} to "
            f"{numbers[-1]}"
        )
    image = next(_read_images(source, [at]))[1]
    labels = _labels_of(source, source.number_of[at], image)
    if labels is not None:
        if (label := label_in_box(_resized(labels, source), choice.box)) is None:
            raise _nothing_in_box(source, choice, at)
        return _with_label(source, label)
    read = read_masks(source, np.array(numbers, np.int32))
    packed = {number: mask_facts(mask, brightest) for number, mask, brightest, _ in read}

    def mask_of(number: int) -> np.ndarray:
        return unpack_mask(packed[number], source.image_size) > 0

    subject = patch_in_box(mask_of(at), choice.box)
    if subject is None:
        raise _nothing_in_box(source, choice, at)
    followed = {n: mask_facts(mask, packed[n].brightest, others)
                for n, mask, others in follow(mask_of, numbers, at, subject)}
    return replace(source, followed=followed)


def _nothing_in_box(source: MaskSource, choice: Choice, at: int) -> BadInput:
    box = ",".join(f"{side:g}" for side in choice.box)
    return BadInput(f"{source.clip.path}: found no subject in the box {box} of frame {at}; needs a box around it, "
                    "X,Y,W,H in pixels of the full frame")


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


def read_masks(source: MaskSource, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray, int, np.ndarray | None]]:
    """Masks of the ascending frame `numbers`, of the frame's size (H, W).

    Yields number, mask bool, brightest value, and all other subjects together, bool, or None where none are known.
    BadInput where images hold several labels and none of them was chosen, or the chosen one is in none of them.
    """
    if source.followed is not None:
        for number in map(int, numbers):
            facts, size = source.followed[number], source.image_size
            yield number, unpack_mask(facts, size) > 0, facts.brightest, others_of(facts, size)
        return
    seen: set[int] = set()
    for number, image in _read_images(source, numbers):
        labels = _labels_of(source, source.number_of[number], image)
        if labels is not None:
            seen.update(present(labels))
        if labels is None or source.label is None:
            if labels is not None and len(seen) > 1:
                raise BadInput(f"{source.clip.path}: found several subjects, with the labels {_listed(seen)}; needs "
                               "the one to take: --subject N, or Subject in the panel")
            values = alpha_of(image, source.clip, number) if source.is_alpha else mask_values(image)
            yield number, _resized((values > 127).view(np.uint8), source).view(bool), int(values.max()), None
        else:
            labels = _resized(labels, source)
            mask = labels == source.label
            yield number, mask, 255 * bool(mask.any()), (labels != 0) & ~mask
    if source.label is not None and source.label not in seen:
        raise BadInput(f"{source.clip.path}: found no subject {source.label}; the labels are {_listed(seen) or 'none'}")


def _read_images(source: MaskSource, numbers: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The images that hold the masks of some frames: (frame number, image as from `read_image`)."""
    frame_of = {source.number_of[int(n)]: int(n) for n in numbers}
    for number, image in read_frames(source.clip, np.array(sorted(frame_of), np.int32)):
        yield frame_of[number], image


def _labels_of(source: MaskSource, number: int, image: np.ndarray) -> np.ndarray | None:
    """Labels (H, W) uint8 in the mask image of a `number` of its own; None where it is a mask."""
    if source.is_alpha or source.clip.files is None:
        return None
    path = source.clip.files[int(np.searchsorted(source.clip.numbers, number))]
    labels = labels_in(image, palette_of(path), asked=source.label is not None)
    if labels is None and source.label is not None:
        raise BadInput(f"{path}: found no labels, but colours; needs an image with a palette, or grey")
    return labels


def _resized(image: np.ndarray, source: MaskSource) -> np.ndarray:
    if image.shape[::-1] == source.image_size:
        return image
    return cv2.resize(image, source.image_size, interpolation=cv2.INTER_NEAREST_EXACT)


def _listed(labels: set[int]) -> str:
    return ", ".join(map(str, sorted(labels)[:MOST_LISTED])) + " ..." * (len(labels) > MOST_LISTED)


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


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of a mask (H, W) bool that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_facts(mask: np.ndarray, brightest: int, others: np.ndarray | None = None) -> MaskFacts:
    """Box, area and contact with the frame's borders of a mask (H, W) bool, and where `others` (H, W) bool touch it."""
    area = int(np.count_nonzero(mask))
    if not area:
        return MaskFacts(0, (0, 0, 0, 0), (0, 0, 0, 0), brightest, b"")
    height, width = mask.shape
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
    facts = MaskFacts(area, (left, top, right, bottom), contact, brightest, packed)
    if others is None or not others.any():
        return facts
    rim = cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    return replace(facts, others=mask_facts(others, 255), touching=int(np.count_nonzero(rim & others)))


def others_of(facts: MaskFacts, image_size: tuple[int, int]) -> np.ndarray | None:
    """Pixels of other subjects, (H, W) bool, or None where none are known."""
    return None if facts.others is None else unpack_mask(facts.others, image_size) > 0


def unpack_mask(facts: MaskFacts, image_size: tuple[int, int]) -> np.ndarray:
    """The mask that the facts are of: (H, W) uint8, 0 or 255."""
    left, top, right, bottom = facts.box
    if not facts.area:
        return np.zeros(image_size[::-1], np.uint8)
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


def touching_doubts(facts: MaskFacts) -> list[str]:
    """A doubt where other subjects touch this one: it may go on behind them."""
    return ["touched by another subject"] if facts.touching > NOTICEABLE_CONTACT * np.sqrt(facts.area) else []


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
    need_alpha(clip)
    return MaskSource(clip, {int(n): int(n) for n in selected}, True, clip.image_size)
