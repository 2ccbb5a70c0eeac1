"""Pictures of one category with masks and keypoints: what a collection holds, however it lies on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from ..annotations import ABSENT, Category
from ..job import BadInput
from ..video.clip import read_image
from ..video.mask_forms import LARGEST_GREY_LABEL
from ..video.masks import mask_values

LICENCE_UNKNOWN = "not stated"
EDGE_TOLERANCE = 1.0
"""Pixels by which a keypoint may lie outside the picture: some count pixels from 1, some click on the very border."""


class StoredMask(Protocol):
    """Where a picture's mask is read from when it is needed."""

    def read(self) -> np.ndarray:
        """(H, W) bool, where the subject is seen; BadInput where it cannot be had."""


@dataclass(frozen=True)
class MaskFile:
    """An image: white on black, alpha, or 1 and 0."""

    path: Path

    def read(self) -> np.ndarray:
        values = mask_values(read_image(self.path))
        return values > (0 if values.max() <= LARGEST_GREY_LABEL else 127)


@dataclass(frozen=True)
class LabelledPicture:
    """One subject in one image; an image of several is several pictures."""

    image: Path
    mask: StoredMask
    keypoints: np.ndarray
    """(K, 3) x and y in pixels of the image, pixel centres at +0.5, and ABSENT, HIDDEN or VISIBLE."""
    name: str = ""
    """The image below the collection's folder, with forward slashes; empty: the image's file name stands for it."""
    held_out: bool | None = None
    """Whether the collection's makers keep it for testing; None where they keep none apart."""


@dataclass(frozen=True)
class Collection:
    """Pictures of one category."""

    category: Category
    pictures: tuple[LabelledPicture, ...]
    licence: str
    """Of the pictures, in words."""
    problems: tuple[str, ...] = ()
    """One line for each item that was left out."""

    def summary(self) -> str:
        """What is in it, in one line; in a second one what was left out."""
        images = len({picture.image for picture in self.pictures})
        of_images = f" of {images} images" if images < len(self.pictures) else ""
        line = (f"{self.category.name}: {len(self.pictures)} pictures{of_images}, "
                f"{len(self.category.keypoints)} keypoints, licence: {self.licence}")
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return line + (f"\nleft out: {self.problems[0]}{more}" if self.problems else "")

    def split(self, held_out: float = 0.1) -> tuple[Collection, Collection]:
        """For training, and held out; the makers' own split where there is one.

        held_out  fraction of the images, 0 to 1, met on average. A picture's side depends on nothing but its name: it
                  stays where it is when others come or go. Of few pictures all may fall on one side.

        Problems stay with the whole.
        """
        own = any(picture.held_out is not None for picture in self.pictures)
        kept = [bool(p.held_out) if own else _fraction_of(p.name or p.image.name) < held_out for p in self.pictures]
        parts = [tuple(p for p, out in zip(self.pictures, kept, strict=True) if out == side) for side in (False, True)]
        return replace(self, pictures=parts[0], problems=()), replace(self, pictures=parts[1], problems=())


def _fraction_of(name: str) -> float:
    """A number in 0..1, as if drawn at random, but always the same for a name."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def below(folder: Path, name: str) -> Path:
    """The file of a name that a stranger's list gives; BadInput where it would leave the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or any(mark in name for mark in ":\0"):
        raise BadInput(f"{name!r}: found a path that may leave {folder}, needs one below it")
    return folder.joinpath(*path.parts)


def placed_keypoints(keypoints: np.ndarray, names: Iterable[str], size: tuple[int, int], of: str) -> np.ndarray:
    """Keypoints (K, 3) with those on the border brought inside and those absent at 0; BadInput for what lies outside.

    size  width and height of the picture
    """
    annotated = keypoints[:, 2] > ABSENT
    inside = ((keypoints[:, :2] >= -EDGE_TOLERANCE) & (keypoints[:, :2] <= np.add(size, EDGE_TOLERANCE))).all(1)
    outside = annotated & ~inside
    for name, (x, y, _) in zip(np.array(list(names), object)[outside], keypoints[outside], strict=True):
        raise BadInput(f"{of}: found {name} at {x:g}, {y:g}, outside the picture of {size[0]}x{size[1]} pixels; needs "
                       "keypoints inside")
    placed = np.where(annotated[:, None], keypoints, 0)
    placed[:, :2] = np.clip(placed[:, :2], 0, size)
    return placed
