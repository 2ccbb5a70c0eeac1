"""Reads a plain folder of images and masks that belong together by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..annotations import Category
from ..job import BadInput
from ..video.clip import IMAGE_SUFFIXES
from .headers import picture_size
from .pictures import LICENCE_UNKNOWN, Collection, LabelledPicture, MaskFile

IMAGES, MASKS, MASK_ENDING = "images", "masks", "_mask"


def is_picture_folder(folder: Path) -> bool:
    return _has_both(folder) or any(map(_is_mask, _images_in(folder, "*")))


def read_picture_folder(folder: Path, category: str | None = None) -> Collection:
    """Pictures from images/ and masks/, files of the same name but for the ending, or from X.png and X_mask.png."""
    problems: list[str] = []
    if _has_both(folder):
        images = _by_name(folder / IMAGES, _images_in(folder / IMAGES, "**/*"), problems)
        masks = _by_name(folder / MASKS, _images_in(folder / MASKS, "**/*"), problems)
    else:
        files = _images_in(folder, "*")
        images = _by_name(folder, [file for file in files if not _is_mask(file)], problems)
        masks = _by_name(folder, filter(_is_mask, files), problems)
    problems += [f"{masks[name]}: found a mask without an image, needs both" for name in sorted(masks.keys() - images)]
    pictures = []
    for name, image in sorted(images.items()):
        try:
            pictures.append(_picture(folder, image, masks.get(name)))
        except BadInput as error:
            problems.append(str(error))
    shown = Category(category or folder.resolve().name)
    return Collection(shown, tuple(pictures), LICENCE_UNKNOWN, tuple(problems))


def _picture(folder: Path, image: Path, mask: Path | None) -> LabelledPicture:
    if mask is None:
        raise BadInput(f"{image}: found an image without a mask, needs both")
    size, mask_size = picture_size(image), picture_size(mask)
    if size and mask_size and size != mask_size:
        raise BadInput(f"{mask}: found a mask of {mask_size[0]}x{mask_size[1]} pixels for an image of "
                       f"{size[0]}x{size[1]}; needs one size")
    return LabelledPicture(image, MaskFile(mask), np.zeros((0, 3)), image.relative_to(folder).as_posix())


def _by_name(folder: Path, files: Iterable[Path], problems: list[str]) -> dict[str, Path]:
    """Files by what images and masks have in common in their names."""
    named: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix().removesuffix(MASK_ENDING)
        if name in named:
            problems.append(f"{file}: found a second file beside {named[name].name}, needs one for each name")
        named.setdefault(name, file)
    return named


def _has_both(folder: Path) -> bool:
    return (folder / IMAGES).is_dir() and (folder / MASKS).is_dir()


def _images_in(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern)
                  if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))


def _is_mask(path: Path) -> bool:
    return path.stem.endswith(MASK_ENDING)
