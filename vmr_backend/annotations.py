"""Annotations of pictures: a category, and masks and keypoints in COCO's format. Standard library and NumPy only:
Blender's own process writes them, too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .job import write_whole

FILE_NAME = "annotations.json"
ABSENT, HIDDEN, VISIBLE = 0, 1, 2
"""A keypoint's state as COCO counts it: not annotated, annotated though something hides it, seen."""
SIDES = (("left", "right"), ("Left", "Right"), (".L", ".R"), ("_L", "_R"), ("_l", "_r"))
"""How names tell the left of two keypoints from the right."""


@dataclass(frozen=True)
class Category:
    """What all pictures of a collection show."""

    name: str
    keypoints: tuple[str, ...] = ()
    """Names; those of a pair differ by left and right only."""
    skeleton: tuple[tuple[int, int], ...] = ()
    """Pairs of keypoints, counted from 0, between which a part of the body runs: a neck, an upper leg."""

    @property
    def mirror(self) -> tuple[int, ...]:
        """For each keypoint the one on the other side; itself where it has none."""
        place = {name: index for index, name in enumerate(self.keypoints)}
        return tuple(place.get(_other_side(name), index) for index, name in enumerate(self.keypoints))


def _other_side(name: str) -> str:
    for left, right in SIDES:
        for one, other in ((left, right), (right, left)):
            if one in name:
                return name.replace(one, other)
    return name


@dataclass(frozen=True)
class Annotation:
    """What is known of one picture."""

    file: str
    """Below the folder of the annotations, with forward slashes."""
    mask: np.ndarray
    """(H, W) bool, where the subject is seen."""
    keypoints: np.ndarray
    """(K, 3) x and y in pixels, pixel centres at +0.5, and ABSENT, HIDDEN or VISIBLE."""


def save_annotations(folder: Path, category: Category, annotations: Sequence[Annotation], licence: str) -> None:
    """Write FILE_NAME into the folder of the pictures: COCO's instances with keypoints, masks as run lengths."""
    entries, pictures = [], []
    for number, one in enumerate(annotations, 1):
        height, width = one.mask.shape
        rows, columns = np.flatnonzero(one.mask.any(1)), np.flatnonzero(one.mask.any(0))
        if not len(rows):
            raise ValueError(f"{one.file}: found an empty mask, needs a subject in the picture")
        box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
        pictures.append({"id": number, "file_name": one.file, "width": width, "height": height, "license": 1})
        entries.append({
            "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": box, "area": int(one.mask.sum()),
            "segmentation": {"size": [height, width], "counts": run_lengths(one.mask)},
            "num_keypoints": int((one.keypoints[:, 2] > ABSENT).sum()),
            "keypoints": [_plain(value) for value in one.keypoints.reshape(-1)]})
    category_entry = {"id": 1, "name": category.name, "keypoints": list(category.keypoints),
                      "skeleton": [[a + 1, b + 1] for a, b in category.skeleton]}
    content = {"info": {"description": category.name}, "licenses": [{"id": 1, "name": licence}],
               "categories": [category_entry], "images": pictures, "annotations": entries}
    write_whole(folder / FILE_NAME, json.dumps(content).encode())


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths of a mask (H, W): down the columns, of zeros first."""
    flat = mask.astype(np.int8).reshape(-1, order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=0))
    return [int(run) for run in np.diff(np.concatenate([[0], changes, [flat.size]]))]


def _plain(value: Any) -> int | float:
    return int(value) if value == int(value) else round(float(value), 2)
