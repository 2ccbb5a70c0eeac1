"""Opens a collection of pictures in whichever of the known layouts it lies on the disk."""

from __future__ import annotations

from pathlib import Path

from ..job import BadInput
from .coco import coco_file_in, read_coco
from .cub import is_cub, read_cub
from .picture_folder import is_picture_folder, read_picture_folder
from .pictures import Collection

LAYOUTS = ("a COCO file, a folder with annotations.json, CUB-200-2011's folder, or a folder with images and masks of "
           "the same names")


def open_collection(path: Path | str, category: str | None = None) -> Collection:
    """The pictures of a category, checked as far as is possible without decoding them.

    path      a COCO .json file; a folder with annotations.json or with one file in annotations/; CUB-200-2011's
              folder; a folder with images/ and masks/ whose files have the same names, or with X.png and X_mask.png
    category  which one of a COCO file that holds several; what a plain folder shows, if not its name

    What is broken is left out and named in `problems`; BadInput where nothing is left.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder; needs {LAYOUTS}")
    if path.is_file():
        collection = read_coco(path, category)
    elif is_cub(path):
        collection = read_cub(path, category)
    elif file := coco_file_in(path):
        collection = read_coco(file, category)
    elif is_picture_folder(path):
        collection = read_picture_folder(path, category)
    else:
        raise BadInput(f"{path}: found no collection of pictures; needs {LAYOUTS}")
    if not collection.pictures:
        left_out = collection.problems
        why = f"{len(left_out)} were left out, the first: {left_out[0]}" if left_out else "it holds none"
        raise BadInput(f"{path}: found no usable picture of {collection.category.name} ({why})")
    return collection
