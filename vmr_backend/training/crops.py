"""Square crops of a collection's pictures, framed as those of a clip are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..job import BadInput
from ..parallel import in_parallel
from ..video.clip import as_rgb, read_image
from ..video.crops import Crop, crop_track, cut, inside_frame
from ..video.mask_facts import SMALLEST_AREA
from .headers import check_size
from .pictures import Collection, LabelledPicture

READERS = 4
"""Threads; decoding runs beside Python, and more only fill the memory with whole pictures."""


@dataclass(frozen=True)
class Crops:
    """N crops of S x S pixels. Crop coordinates: x right, y down, in [-1, 1]."""

    images: np.ndarray
    """(N, S, S, 3) uint8 RGB, black outside the picture"""
    masks: np.ndarray
    """(N, S, S) uint8, 255 times the fraction of the pixel that the subject covers"""
    keypoints: np.ndarray
    """(N, K, 2) float32 crop coordinates; 0 where absent"""
    seen: np.ndarray
    """(N, K) uint8 ABSENT, HIDDEN or VISIBLE"""
    kept: np.ndarray
    """(N,) int64, index of each in the collection's pictures"""
    problems: tuple[str, ...] = ()
    """one line for each picture that was left out"""


def load_crops(collection: Collection, size: int, progress: Callable[[int, int], None] | None = None) -> Crops:
    """Decode and crop all pictures, in the collection's order; what cannot be used is left out and reported.

    size      S
    progress  called with (pictures done, pictures)

    BadInput where there are pictures and none can be used.
    """
    pictures, points = collection.pictures, len(collection.category.keypoints)
    crops = Crops(np.zeros((len(pictures), size, size, 3), np.uint8), np.zeros((len(pictures), size, size), np.uint8),
                  np.zeros((len(pictures), points, 2), np.float32), np.zeros((len(pictures), points), np.uint8),
                  np.arange(len(pictures)))

    def fill(index: int) -> str | None:
        try:
            _fill(crops, index, pictures[index])
        except BadInput as error:
            return str(error)
        return None

    answers = []
    for problem in in_parallel(fill, range(len(pictures)), READERS):
        answers.append(problem)
        if progress:
            progress(len(answers), len(pictures))
    problems = tuple(problem for problem in answers if problem)
    if pictures and len(problems) == len(pictures):
        raise BadInput(f"{collection.category.name}: none of {len(pictures)} pictures can be used, the first: "
                       f"{problems[0]}")
    return _without(crops, np.array([bool(problem) for problem in answers], bool), problems)


def dealt_in_turn(parts: Sequence[Crops]) -> Crops:
    """The crops of a collection whose pictures were dealt out to several, one in turn to each."""
    kept = np.concatenate([part.kept * len(parts) + number for number, part in enumerate(parts)])
    order = np.argsort(kept)
    images, masks, keypoints, seen = (np.concatenate([getattr(part, name) for part in parts])[order]
                                      for name in ("images", "masks", "keypoints", "seen"))
    return Crops(images, masks, keypoints, seen, kept[order], tuple(line for part in parts for line in part.problems))


def _fill(crops: Crops, index: int, picture: LabelledPicture) -> None:
    image, mask = as_rgb(read_image(picture.image)), picture.mask.read()
    height, width = image.shape[:2]
    check_size((width, height), picture.image)
    if mask.shape != (height, width):
        raise BadInput(f"{picture.image}: found a mask of {mask.shape[1]}x{mask.shape[0]} pixels for an image of "
                       f"{width}x{height}; needs one size")
    if (area := np.count_nonzero(mask)) < SMALLEST_AREA:
        raise BadInput(f"{picture.image}: found a mask of {area} pixels, needs at least {SMALLEST_AREA}")
    crop, size = crop_around(mask), crops.images.shape[1]
    inside = inside_frame(crop, size, (width, height))
    crops.images[index] = cut(image, crop, size) * inside[..., None]
    crops.masks[index] = cut(mask.view(np.uint8) * np.uint8(255), crop, size) * inside
    crops.seen[index] = picture.keypoints[:, 2]
    annotated = crops.seen[index] > 0
    crops.keypoints[index, annotated] = (picture.keypoints[annotated, :2] - crop.centre) / crop.half


def crop_around(mask: np.ndarray) -> Crop:
    """The crop of a mask (H, W) bool with something in it: that of a clip in which the subject rests."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], float)
    centre, half = crop_track(box, np.zeros(1))
    return Crop(centre[0], float(half[0]))


def _without(crops: Crops, broken: np.ndarray, problems: tuple[str, ...]) -> Crops:
    """The crops that are not broken, moved together in place: a second copy may not fit into the memory."""
    kept = np.flatnonzero(~broken)
    for to, index in enumerate(kept):
        if to != index:
            for values in (crops.images, crops.masks, crops.keypoints, crops.seen):
                values[to] = values[index]
    count = len(kept)
    return Crops(crops.images[:count], crops.masks[:count], crops.keypoints[:count], crops.seen[:count], kept, problems)
