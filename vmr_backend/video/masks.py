"""Finds the subject's mask of each frame, and says what a mask tells: box, area, whether the frame's border cuts it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput
from .clip import Clip, need_alpha, open_clip, read_frames
from .mask_forms import Form, MaskImage, Reading, brightness, labels_in, read_mask_image, reading_of, strange_colour
from .mask_numbers import match_masks
from .subjects import Choice, follow, label_in_box, patch_in_box, present

ASPECT_TOLERANCE = 0.01
SIZE_TOLERANCE = 2
"""Pixels by which a mask's sides may differ from the frames' whatever that does to its shape."""
SAMPLED = 16
"""Masks, spread over all, by which it is decided how they are read."""
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
    shapes: tuple[tuple[int, int], ...]
    """Width and height of the frames, px: in their file's own pixels, which may not be square, and as they are seen;
    masks have the shape of either, in any size."""
    reading: Reading = Reading()
    """How the images say what the subject is"""
    matched: str = ""
    """In one line, how masks were matched with frames that have other numbers."""
    label: int | None = None
    """Of the subject, where the images hold labels."""
    followed: Mapping[int, MaskFacts] | None = None
    """By frame number, the subject where it was told from others by where it is; `clip` is not read then."""

    @property
    def notes(self) -> list[str]:
        """What there is to say of how masks were matched and read, where they are not plain, in a line each."""
        said = "" if self.label is not None else self.reading.said
        return [f"masks: {note}" for note in (self.matched, said) if note]


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
    BadInput where they cannot be the clip's by number or shape, and where nothing in them tells the subject.
    """
    source = _open_alpha(clip, selected) if masks_path is None else _open_own(masks_path, clip, selected, choice)
    if not choice:
        return source
    return _with_label(source, choice.label) if choice.label is not None else _with_box(source, choice)


def _open_own(masks_path: Path | str, clip: Clip, selected: np.ndarray, choice: Choice | None) -> MaskSource:
    masks = open_clip(masks_path, pixel_aspect=1.0)  # masks have the frames' own pixels
    number_of, matched = match_masks(masks, clip, selected)
    source = MaskSource(masks, number_of, False, clip.image_size, (clip.file_size, clip.image_size), matched=matched)
    spread = np.unique(np.linspace(0, len(masks.numbers) - 1, SAMPLED).round().astype(int))
    sample = [image for _, image in _images(source, masks.numbers[spread])]
    asked = masks.files is not None and choice is not None and choice.label is not None
    reading = reading_of(sample, masks.path, asked)
    if reading.form is Form.COLOURS:
        # Their numbers are by their order, which one that comes in for a short time would change.
        for _, image in _images(source, masks.numbers):
            if strange_colour(image, reading) is not None:
                sample.append(image)
                reading = reading_of(sample, masks.path, asked)
    return replace(source, reading=reading)


def _with_label(source: MaskSource, label: int) -> MaskSource:
    if source.is_alpha or not source.reading.has_labels:
        found = "an alpha channel" if source.is_alpha or source.reading.form is Form.ALPHA else "one colour"
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
    if source.reading.has_labels:
        _, labels, _ = next(_read_labels(source, [at]))
        if source.reading.void:
            labels = np.where(labels == source.reading.void, 0, labels)
        if (label := label_in_box(labels, choice.box)) is None:
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
    reading = source.reading
    seen = set(reading.labels)
    for number, labels, brightest in _read_labels(source, numbers):
        if not reading.has_labels:
            yield number, labels.view(bool), brightest, None
            continue
        seen.update(label for label in present(labels) if label != reading.void)
        if source.label is None and len(seen) > 1:
            raise BadInput(f"{source.clip.path}: found several subjects, with the labels {_listed(reading, seen)}; "
                           "needs the one to take: --subject N, or Subject in the panel")
        mask = np.isin(labels, list(seen)) if source.label is None else labels == source.label
        others = (labels != 0) & ~mask
        yield number, mask, 255 * bool(mask.any()), others if source.label is not None or others.any() else None
    if source.label is not None and source.label not in seen:
        raise BadInput(f"{source.clip.path}: found no subject {source.label}; the labels are "
                       f"{_listed(reading, seen) or 'none'}")


def single_mask(path: Path, image_size: tuple[int, int]) -> tuple[np.ndarray, int, list[str]]:
    """A mask by itself, (H, W) bool of a size, its brightest value, and how it was read, where it is not plain."""
    image = read_mask_image(path)
    _check_shape(image, (image_size,))
    reading = reading_of([image], path)
    if len(reading.labels) > 1:
        raise BadInput(f"{path}: found several subjects, with the labels {_listed(reading, reading.labels)}; needs one")
    mask = _resized(labels_in(image, reading), image_size)
    if reading.has_labels:
        mask = np.isin(mask, reading.labels)
    return mask.view(bool), int(brightness(image.pixels).max()), [f"{path}: {reading.said}"] if reading.said else []


def _read_labels(
    source: MaskSource, numbers: Sequence[int] | np.ndarray
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Label of each pixel of the full frame, (H, W), by frame number, and the brightest value where there are none."""
    frames_of: dict[int, list[int]] = {}
    for frame in map(int, numbers):
        frames_of.setdefault(source.number_of[frame], []).append(frame)
    for number, image in _images(source, np.array(sorted(frames_of), np.int32)):
        if source.is_alpha:
            values = alpha_of(image.pixels, source.clip, number)
            labels = (values > 127).view(np.uint8)
        else:
            values = brightness(image.pixels)
            labels = labels_in(image, source.reading)
        labels, brightest = _resized(labels, source.image_size), int(values.max())
        for frame in frames_of[number]:
            yield frame, labels, brightest


def _images(source: MaskSource, numbers: np.ndarray) -> Iterator[tuple[int, MaskImage]]:
    """Images that hold masks, by their own ascending numbers; BadInput where one cannot be of the frames' shape."""
    clip = source.clip
    if clip.files is None or source.is_alpha:
        read = ((number, MaskImage(str(clip.path), pixels)) for number, pixels in read_frames(clip, numbers))
    else:  # one by one: masks may differ in size among themselves
        places = np.searchsorted(clip.numbers, numbers)
        read = ((int(n), read_mask_image(clip.files[p])) for n, p in zip(numbers, places, strict=True))
    for number, image in read:
        _check_shape(image, source.shapes)
        yield number, image


def _check_shape(image: MaskImage, shapes: Sequence[tuple[int, int]]) -> None:
    """BadInput where a mask has none of the shapes that frames may have."""
    height, width = image.pixels.shape[:2]
    near = any(abs(width - size[0]) <= SIZE_TOLERANCE and abs(height - size[1]) <= SIZE_TOLERANCE for size in shapes)
    if not near and all(abs(width * size[1] / (height * size[0]) - 1) > ASPECT_TOLERANCE for size in shapes):
        raise BadInput(f"{image.name}: found a mask of {width}x{height} pixels for frames of "
                       f"{shapes[0][0]}x{shapes[0][1]}; needs masks of the frames' size or shape")


def _resized(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return labels if labels.shape[::-1] == size else cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)


def _listed(reading: Reading, labels: Iterable[int]) -> str:
    named = reading.label_names(sorted(labels))
    return ", ".join(named[:MOST_LISTED]) + " ..." * (len(named) > MOST_LISTED)


def mask_values(image: np.ndarray) -> np.ndarray:
    """What counts as mask in a single image, (H, W) uint8: alpha if it says something, else the brightest channel."""
    return image[..., 3] if image.shape[2:] == (4,) and image[..., 3].min() < 255 else brightness(image)


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
    return MaskSource(clip, {int(n): int(n) for n in selected}, True, clip.image_size, (clip.image_size,))
