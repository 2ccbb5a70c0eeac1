"""Finds the subject's mask in each frame of a clip: where masks lie, how they are read, which subject is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput
from .clip import Clip, need_alpha, open_clip, read_frames
from .mask_facts import MaskFacts, mask_facts
from .mask_forms import Form, MaskImage, Reading, brightness, labels_in, read_mask_image, reading_of, strange_colour
from .mask_numbers import match_masks
from .subjects import Choice, follow, label_in_box, patch_in_box, present

ASPECT_TOLERANCE = 0.01
SIZE_TOLERANCE = 2
"""Pixels by which a mask's sides may differ from the frames' whatever that does to its shape."""
SAMPLED = 16
"""Masks, spread over all, by which it is decided how they are read."""
MOST_LISTED = 8


@dataclass(frozen=True)
class SubjectMasks:
    """The subject's masks in some frames of a clip."""

    path: Path
    """Where they were read."""
    is_alpha: bool
    """Whether that is the clip itself, whose alpha channel they are."""
    facts: Mapping[int, MaskFacts]
    """By the frame's number, ascending; frames without a mask are missing."""
    notes: Sequence[str]
    """How they were matched with frames and read, where that is not plain, in a line each."""


@dataclass(frozen=True)
class _Source:
    """The images that hold the masks of a clip's frames."""

    clip: Clip
    """The filmed clip itself where its alpha channel is the mask."""
    number_of: Mapping[int, int]
    """Frame number of the filmed clip → number in `clip`; frames without a mask are missing."""
    image_size: tuple[int, int]
    """Width and height that masks are brought to, px."""
    shapes: tuple[tuple[int, int], ...]
    """Width and height of the frames, px: in their file's own pixels, which may not be square, and as they are seen;
    masks have the shape of either, in any size."""
    is_alpha: bool = False
    reading: Reading = Reading()
    """How the images say what the subject is"""
    matched: str = ""
    """In one line, how masks were matched with frames that have other numbers."""


def load_masks(masks_path: Path | str | None, clip: Clip, selected: np.ndarray, choice: Choice | None = None,
               report: Callable[[int], None] = lambda done: None) -> SubjectMasks:
    """Read the masks of the `selected` frames (n,) of a clip, each once: from a folder, a video, or its alpha channel.

    masks_path  None takes the alpha channel
    choice      which subject is meant where the masks hold several
    report      called with how many were read
    BadInput where they cannot be the clip's by number or shape, and where nothing in them marks the subject.
    """
    source = _alpha(clip, selected) if masks_path is None else _images_of(masks_path, clip, selected, choice)
    if choice and choice.label is None:
        choice = _in_box(source, choice)
    elif choice and not source.reading.has_labels:
        found = "an alpha channel" if source.is_alpha or source.reading.form is Form.ALPHA else "one colour"
        raise BadInput(f"{source.clip.path}: found {found}, which holds no labels; needs images that do, or a box")
    label = choice.label if choice else None
    facts = {}
    for step, (number, mask, brightest, others) in enumerate(_read(source, label), 1):
        facts[number] = mask_facts(mask, brightest, others)
        report(step)
    if choice and label is None:
        facts = _followed(source, facts, choice)
    notes = (source.matched, "" if label is not None else source.reading.note)
    return SubjectMasks(source.clip.path, source.is_alpha, facts, [f"masks: {note}" for note in notes if note])


def _alpha(clip: Clip, selected: np.ndarray) -> _Source:
    need_alpha(clip)
    return _Source(clip, {int(n): int(n) for n in selected}, clip.image_size, (clip.image_size,), is_alpha=True)


def _images_of(masks_path: Path | str, clip: Clip, selected: np.ndarray, choice: Choice | None) -> _Source:
    masks = open_clip(masks_path, pixel_aspect=1.0)  # masks have the frames' own pixels
    number_of, matched = match_masks(masks, clip, selected)
    source = _Source(masks, number_of, clip.image_size, (clip.file_size, clip.image_size), matched=matched)
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


def _in_box(source: _Source, choice: Choice) -> Choice:
    """The choice with the frame that its box is of, and the label that lies in it where the masks have labels."""
    numbers = sorted(source.number_of)
    at = numbers[0] if choice.at is None else choice.at
    if at not in source.number_of:
        raise BadInput(
            f"--at: found frame {at}, which has no mask; the chosen frames have masks from {numbers[0]} to "
            f"{numbers[-1]}"
        )
    choice = replace(choice, at=at)
    if not source.reading.has_labels:
        return choice
    _, labels, _ = next(_read_labels(source, [at]))
    if source.reading.void:
        labels = np.where(labels == source.reading.void, 0, labels)
    if (label := label_in_box(labels, choice.box)) is None:
        raise _nothing_in_box(source, choice)
    return replace(choice, label=label)


def _followed(source: _Source, whole: Mapping[int, MaskFacts], choice: Choice) -> dict[int, MaskFacts]:
    """Of everything that is white in each frame the subject that lies in a box, followed through the clip."""

    def mask_of(number: int) -> np.ndarray:
        return whole[number].mask() > 0

    if (subject := patch_in_box(mask_of(choice.at), choice.box)) is None:
        raise _nothing_in_box(source, choice)
    return dict(sorted((n, mask_facts(mask, whole[n].brightest, others))
                       for n, mask, others in follow(mask_of, sorted(whole), choice.at, subject)))


def _nothing_in_box(source: _Source, choice: Choice) -> BadInput:
    box = ",".join(f"{side:g}" for side in choice.box)
    return BadInput(f"{source.clip.path}: found no subject in the box {box} of frame {choice.at}; needs a box around "
                    "it, X,Y,W,H in pixels of the full frame")


def _read(source: _Source, label: int | None) -> Iterator[tuple[int, np.ndarray, int, np.ndarray | None]]:
    """Masks of all frames that have one, of the frame's size (H, W).

    Yields number, mask bool, brightest value, and all other subjects together, bool, or None where none are known.
    BadInput where images hold several labels and none of them was chosen, or the chosen one is in none of them.
    """
    reading = source.reading
    seen = set(reading.labels)
    for number, labels, brightest in _read_labels(source, sorted(source.number_of)):
        if not reading.has_labels:
            yield number, labels.view(bool), brightest, None
            continue
        seen.update(label for label in present(labels) if label != reading.void)
        if label is None and len(seen) > 1:
            raise BadInput(f"{source.clip.path}: found several subjects, with the labels {_listed(reading, seen)}; "
                           "needs the one to take: --subject N, or Subject in the panel")
        mask = np.isin(labels, list(seen)) if label is None else labels == label
        others = (labels != 0) & ~mask
        yield number, mask, 255 * bool(mask.any()), others if label is not None or others.any() else None
    if label is not None and label not in seen:
        raise BadInput(f"{source.clip.path}: found no subject {label}; the labels are "
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
    return mask.view(bool), int(brightness(image.pixels).max()), [f"{path}: {reading.note}"] if reading.note else []


def _read_labels(
    source: _Source, numbers: Sequence[int] | np.ndarray
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


def _images(source: _Source, numbers: np.ndarray) -> Iterator[tuple[int, MaskImage]]:
    """Images that hold masks, by their own ascending numbers; BadInput where one cannot be of the frames' shape."""
    clip = source.clip
    if clip.files is None or source.is_alpha:
        read = ((number, MaskImage(str(clip.path), pixels)) for number, pixels in read_frames(clip, numbers))
    else:  # one by one: masks may differ in size among themselves
        read = ((int(n), read_mask_image(clip.files[np.searchsorted(clip.numbers, n)])) for n in numbers)
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
