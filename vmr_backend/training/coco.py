"""Reads COCO's annotations: instances with polygons or run lengths, and keypoints."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..annotations import FILE_NAME, VISIBLE, Category
from ..job import BadInput
from .headers import check_size, picture_size
from .pictures import LICENCE_UNKNOWN, Collection, LabelledPicture, StoredMask, below, placed_keypoints

LISTS = ("categories", "images", "annotations")
COMPRESSED = re.compile(r"(?:[P-o]{0,5}[0-O])+")
"""COCO's text of run lengths: five bits in a character, from "P" on where more of the number follow."""
MOST_LISTED = 20
FURTHEST = 4
"""Corners of polygons lie within this many widths and heights of the picture: others would fill the memory."""


@dataclass(frozen=True)
class Polygons:
    """Outlines, filled."""

    outlines: tuple[tuple[float, ...], ...]
    """x, y, x, y, ... in pixels, from the picture's top left corner"""
    size: tuple[int, int]
    """width and height, px"""

    def read(self) -> np.ndarray:
        width, height = self.size
        filled = coco_mask.frPyObjects([list(outline) for outline in self.outlines], height, width)
        return coco_mask.decode(coco_mask.merge(filled)).astype(bool)


@dataclass(frozen=True)
class RunLengths:
    """Lengths of the runs down the columns, background first."""

    counts: np.ndarray
    """(R,) int64 px"""
    size: tuple[int, int]
    """width and height, px"""

    def read(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts).reshape(self.size).T


def coco_file_in(folder: Path) -> Path | None:
    """The file of annotations in a folder; BadInput where there are several."""
    if (folder / FILE_NAME).is_file():
        return folder / FILE_NAME
    files = sorted((folder / "annotations").glob("*.json"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:MOST_LISTED])
        raise BadInput(f"{folder / 'annotations'}: found several files: {names}; needs the path of one of them")
    return files[0] if files else None


def read_coco(path: Path, category: str | None = None) -> Collection:
    """Pictures of one category. Keypoints are taken as they are written, COCO's whole numbers too.

    category  its name; None: the only one that has annotations
    """
    content = _content(path)
    number, shown = _category(path, content, category)
    images = {image["id"]: image for image in content["images"] if _has_id(image)}
    wanted = [entry for entry in content["annotations"] if not _is_of_others(entry, number)]
    folder = _image_folder(path, images, wanted)
    sizes: dict[Path, tuple[int, int] | BadInput] = {}
    pictures, problems = [], []
    for row, entry in enumerate(wanted, 1):
        try:
            pictures.append(_picture(entry, f"annotation {_id_of(entry, row)}", shown, images, folder, sizes))
        except BadInput as error:
            problems.append(str(error))
    return Collection(shown, tuple(pictures), _licence(content), tuple(problems))


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); needs COCO's annotations") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read as JSON ({error}); needs COCO's annotations") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in LISTS):
        raise BadInput(f"{path}: found no COCO annotations, needs an object with the lists {', '.join(LISTS)}")
    return content


def _category(path: Path, content: Mapping[str, Any], wanted: str | None) -> tuple[Any, Category]:
    """Number and content of the category with a name, or of the only one that is annotated."""
    entries = [one for one in content["categories"] if _has_id(one) and isinstance(one.get("name"), str)]
    if wanted is None and len(entries) > 1:
        used = {_hashable(one.get("category_id")) for one in content["annotations"] if isinstance(one, dict)}
        entries = [one for one in entries if one["id"] in used] or entries
    found = [one for one in entries if wanted in (None, one["name"])]
    if len(found) != 1:
        names = ", ".join(one["name"] for one in entries[:MOST_LISTED]) + " ..." * (len(entries) > MOST_LISTED)
        what = "several categories" if wanted is None else f"no one category {wanted!r}"
        raise BadInput(f"{path}: found {what} among: {names or 'none'}; needs the name of one")
    names, skeleton = found[0].get("keypoints", []), found[0].get("skeleton", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise BadInput(f"{path}: found no usable keypoints in category {found[0]['name']}, needs names, each once")
    if not isinstance(skeleton, list) or not all(map(_is_pair(len(names)), skeleton)):
        raise BadInput(f"{path}: found no usable skeleton in category {found[0]['name']}, needs pairs of keypoints, "
                       "counted from 1")
    pairs = tuple((first - 1, second - 1) for first, second in skeleton)
    return found[0]["id"], Category(found[0]["name"], tuple(names), pairs)


def _is_pair(count: int):
    return lambda pair: (isinstance(pair, list) and len(pair) == 2
                         and all(type(end) is int and 1 <= end <= count for end in pair))


def _is_of_others(entry: Any, category: Any) -> bool:
    """Whether an annotation is sound but not ours: of another category, or of a crowd."""
    return isinstance(entry, dict) and (entry.get("category_id", category) != category or entry.get("iscrowd") == 1)


def _picture(entry: Any, of: str, category: Category, images: Mapping[Any, Any], folder: Path,
             sizes: dict[Path, tuple[int, int] | BadInput]) -> LabelledPicture:
    if not isinstance(entry, dict):
        raise BadInput(f"{of}: found {_short(entry)}, needs an object")
    image = images.get(_hashable(entry.get("image_id")))
    if image is None:
        raise BadInput(f"{of}: found no image {_short(entry.get('image_id'))}, needs one that is listed")
    name = image.get("file_name")
    if not isinstance(name, str):
        raise BadInput(f"image {image['id']}: found {_short(name)} as file_name, needs a text")
    file = below(folder, name)
    size = _size_of(file, image, sizes)
    of = f"{name}, {of}"
    mask = _mask(entry.get("segmentation"), size, of)
    keypoints = placed_keypoints(_keypoints(entry, category, of), category.keypoints, size, of)
    return LabelledPicture(file, mask, keypoints, name.replace("\\", "/"))


def _size_of(file: Path, image: Mapping[str, Any], sizes: dict[Path, tuple[int, int] | BadInput]) -> tuple[int, int]:
    """Width and height of an image as its file and its entry agree; each file is opened once."""
    if file not in sizes:
        try:
            sizes[file] = _agreed_size(file, image)
        except BadInput as error:
            sizes[file] = error
    size = sizes[file]
    if isinstance(size, BadInput):
        raise size
    return size


def _agreed_size(file: Path, image: Mapping[str, Any]) -> tuple[int, int]:
    listed = image.get("width"), image.get("height")
    if not all(type(side) is int for side in listed):
        raise BadInput(f"{image['file_name']}: found a size of {_short(listed)}, needs whole numbers of pixels")
    check_size(listed, image["file_name"])
    if (size := picture_size(file)) not in (None, listed):
        raise BadInput(f"{file}: found an image of {size[0]}x{size[1]} pixels, its annotations are for "
                       f"{listed[0]}x{listed[1]}; needs one size")
    return listed


def _mask(segmentation: Any, size: tuple[int, int], of: str) -> StoredMask:
    if isinstance(segmentation, list):
        return _polygons(segmentation, size, of)
    if not isinstance(segmentation, dict):
        raise BadInput(f"{of}: found no mask, needs a segmentation: polygons or run lengths")
    if segmentation.get("size") != [size[1], size[0]]:
        raise BadInput(f"{of}: found a mask of {_short(segmentation.get('size'))}, needs {[size[1], size[0]]}, height "
                       "and width of the image")
    runs = _counts(segmentation.get("counts"))
    if runs is None or (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise BadInput(f"{of}: found damaged run lengths, needs as many pixels as the image has")
    if not runs[1::2].any():
        raise BadInput(f"{of}: found an empty mask, needs a subject")
    return RunLengths(runs, size)


def _polygons(polygons: list, size: tuple[int, int], of: str) -> Polygons:
    if not polygons:
        raise BadInput(f"{of}: found an empty mask, needs a subject")
    for outline in polygons:
        if not isinstance(outline, list) or len(outline) < 6 or len(outline) % 2 or not all(map(_is_number, outline)):
            raise BadInput(f"{of}: found the polygon {_short(outline)}, needs x, y of three corners or more")
        corners = np.abs(np.array(outline, float).reshape(-1, 2))
        if (corners > np.multiply(FURTHEST, size)).any():
            raise BadInput(f"{of}: found a polygon that reaches to {corners.max():g} pixels, needs it in the image of "
                           f"{size[0]}x{size[1]}")
    return Polygons(tuple(map(tuple, polygons)), size)


def _counts(counts: Any) -> np.ndarray | None:
    """Run lengths (R,) int64 from either way of writing them; None where they are neither."""
    if isinstance(counts, str) and COMPRESSED.fullmatch(counts):
        return _uncompressed(counts)
    if isinstance(counts, list) and all(type(run) is int and 0 <= run < 2**31 for run in counts):
        return np.array(counts, np.int64)
    return None


def _uncompressed(text: str) -> np.ndarray:
    """Run lengths (R,) int64 of COCO's text: little-endian groups of five bits, from the fourth on as differences."""
    bits = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(bits < 32)
    first = np.concatenate([[0], last[:-1] + 1])
    length = last - first + 1
    shift = 5 * (np.arange(len(bits)) - np.repeat(first, length))
    numbers = np.add.reduceat((bits & 31) << shift, first)
    numbers -= np.where(bits[last] & 16, 1 << 5 * length, 0)
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return numbers


def _keypoints(entry: Mapping[str, Any], category: Category, of: str) -> np.ndarray:
    """(K, 3), all of them absent where the annotation has none."""
    count = len(category.keypoints)
    values = entry.get("keypoints") or [0] * 3 * count
    if not isinstance(values, list) or len(values) != 3 * count or not all(map(_is_number, values)):
        raise BadInput(f"{of}: found {_short(values)} as keypoints, needs x, y and state of {count}")
    keypoints = np.array(values, float).reshape(count, 3)
    if not np.isin(keypoints[:, 2], range(VISIBLE + 1)).all():
        raise BadInput(f"{of}: found {_short(values[2::3])} as states of keypoints, needs 0, 1 or 2")
    return keypoints


def _image_folder(path: Path, images: Mapping[Any, Any], wanted: list[Any]) -> Path:
    """Where file names start: the folder that has the first images, beside the annotations or above them."""
    names = [images.get(_hashable(entry.get("image_id")), {}).get("file_name") for entry in wanted[:MOST_LISTED]
             if isinstance(entry, dict)]
    shard = path.stem.rsplit("_", 1)[-1]  # instances_val2017.json is of val2017/
    folders = [folder / part for folder in (path.parent, path.parent.parent) for part in ("", "images", shard)]
    for folder in folders:
        for name in names:
            try:
                if isinstance(name, str) and below(folder, name).is_file():
                    return folder
            except (BadInput, OSError):
                continue
    return path.parent


def _licence(content: Mapping[str, Any]) -> str:
    licences = content.get("licenses")
    names = [one.get("name") for one in licences if isinstance(one, dict)] if isinstance(licences, list) else []
    return "; ".join(dict.fromkeys(name for name in names if isinstance(name, str) and name)) or LICENCE_UNKNOWN


def _has_id(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("id")) in (int, str)


def _hashable(value: Any) -> Any:
    return value if type(value) in (int, str) else None


def _id_of(entry: Any, row: int) -> str:
    return str(entry["id"]) if _has_id(entry) else f"number {row}"


def _is_number(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**53 or type(value) is float and math.isfinite(value)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
