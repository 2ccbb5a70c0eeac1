"""Reads CUB-200-2011 as it is published: lists of images, parts and their positions, and segmentations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..annotations import VISIBLE, Category
from ..job import BadInput
from ..video.clip import as_grey, read_image
from .headers import picture_size
from .pictures import Collection, LabelledPicture, below, placed_keypoints

NAME = "bird"
LICENCE = "non-commercial research and education only"
FILES = ("images.txt", "image_class_labels.txt", "bounding_boxes.txt", "train_test_split.txt", "parts/parts.txt",
         "parts/part_locs.txt")
SEGMENTATIONS = "segmentations"
FEWEST_KEYPOINTS = 6
"""Pictures with fewer visible ones are mostly truncated birds (CMR, preprocessing)."""
SKELETON = (("beak", "crown"), ("crown", "nape"), ("nape", "back"), ("back", "tail"), ("throat", "breast"),
            ("breast", "belly"), ("back", "left wing"), ("back", "right wing"), ("belly", "left leg"),
            ("belly", "right leg"))
"""CUB has none; these are the pairs of its parts between which a part of the body runs."""
FIRST_PIXEL = 0.5
"""CUB counts pixels from 1: its 1 is the centre of the first."""


@dataclass(frozen=True)
class Votes:
    """A segmentation that counts how many of five people marked each pixel."""

    path: Path

    def read(self) -> np.ndarray:
        return as_grey(read_image(self.path)) > 127


def is_cub(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("images.txt", "parts/parts.txt"))


def read_cub(folder: Path, category: str | None = None) -> Collection:
    """Pictures with at least 6 visible keypoints; the published split decides what is held out."""
    if category not in (None, NAME):
        raise BadInput(f"{folder}: found CUB-200-2011, which shows the category {NAME}; needs no {category!r}")
    for name in FILES:
        if not (folder / name).is_file():
            raise BadInput(f"{folder / name}: not found; CUB-200-2011 has one")
    problems: list[str] = []
    parts = dict(_lines(folder / "parts/parts.txt", lambda number, *words: (int(number), " ".join(words)), problems))
    column = {number: index for index, number in enumerate(sorted(parts))}
    names = tuple(parts[number] for number in sorted(parts))
    keypoints = _keypoints(folder / "parts/part_locs.txt", column, problems)
    training = dict(_lines(folder / "train_test_split.txt", lambda image, own: (int(image), bool(int(own))), problems))
    segmentations = _segmentations(folder)
    pictures = []
    for number, name in _lines(folder / "images.txt", lambda number, name: (int(number), name), problems):
        try:
            pictures.append(_picture(folder, segmentations, name, keypoints.get(number), names, training.get(number)))
        except BadInput as error:
            problems.append(str(error))
    index = {name: number for number, name in enumerate(names)}
    skeleton = tuple((index[a], index[b]) for a, b in SKELETON if a in index and b in index)
    return Collection(Category(NAME, names, skeleton), tuple(pictures), LICENCE, tuple(problems))


def _picture(folder: Path, segmentations: Path, name: str, keypoints: np.ndarray | None, names: tuple[str, ...],
             training: bool | None) -> LabelledPicture:
    image = below(folder / "images", name)
    mask = below(segmentations, str(PurePosixPath(name).with_suffix(".png")))
    if keypoints is None or training is None:
        raise BadInput(f"{name}: found no {'parts' if keypoints is None else 'side of the split'}, needs both")
    if (count := int((keypoints[:, 2] == VISIBLE).sum())) < FEWEST_KEYPOINTS:
        raise BadInput(f"{name}: found {count} visible keypoints, needs {FEWEST_KEYPOINTS}")
    size, mask_size = picture_size(image), picture_size(mask)
    if size is None or size != mask_size:
        raise BadInput(f"{name}: found an image of {size} pixels and a segmentation of {mask_size}, needs one size")
    return LabelledPicture(image, Votes(mask), placed_keypoints(keypoints, names, size, name), name, not training)


def _keypoints(path: Path, column: dict[int, int], problems: list[str]) -> dict[int, np.ndarray]:
    """(K, 3) of each image: visible ones annotated, all others absent."""
    found: dict[int, np.ndarray] = {}
    for image, part, x, y, visible in _lines(path, _part_line, problems):
        if part not in column:
            problems.append(f"{path.name}: found part {part} of image {image}, needs one of parts.txt")
            continue
        keypoints = found.setdefault(image, np.zeros((len(column), 3)))
        if visible:
            keypoints[column[part]] = x - FIRST_PIXEL, y - FIRST_PIXEL, VISIBLE
    return found


def _part_line(image: str, part: str, x: str, y: str, visible: str) -> tuple[int, int, float, float, bool]:
    return int(image), int(part), float(x), float(y), bool(int(visible))


def _lines(path: Path, parse: Callable[..., Any], problems: list[str]) -> list[Any]:
    """The lines of a list, parsed word by word; others are problems."""
    entries = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); CUB-200-2011 has a list of lines there") from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.strip():
                entries.append(parse(*line.split()))
        except (TypeError, ValueError):
            problems.append(f"{path.name}, line {number}: found {line.strip()[:60]!r}, needs what CUB-200-2011 has "
                            "there")
    return entries


def _segmentations(folder: Path) -> Path:
    """They are published as an archive of their own, which unpacks beside the folder."""
    for found in (folder / SEGMENTATIONS, folder.parent / SEGMENTATIONS):
        if found.is_dir():
            return found
    raise BadInput(f"{folder / SEGMENTATIONS}: not found; CUB-200-2011 has masks in a second archive, "
                   "segmentations.tgz, needs it unpacked there")
