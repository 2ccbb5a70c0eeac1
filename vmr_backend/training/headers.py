"""Sizes of image files from their headers: thousands are read in a second, without decoding any."""

from __future__ import annotations

from pathlib import Path

from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ..job import BadInput
from ..video.clip import IMAGE_SUFFIXES

LONGEST_SIDE, LARGEST_PICTURE = 2**14, 2**27
"""Pixels along a side, and in all; a header that claims more is meant to fill the memory."""
READERS = {b"\x89P": PngImageFile, b"\xff\xd8": JpegImageFile}
"""By a file's first bytes. Not `PIL.Image.open`, which has a limit of its own."""
SUFFIXES_OF_OTHERS = IMAGE_SUFFIXES - {".png", ".jpg", ".jpeg"}


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG or JPEG file, px; None for other formats, whose size is known after decoding only.

    BadInput where there is no such file, it is no image, or too large a one.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if start and start not in READERS and path.suffix.lower() in SUFFIXES_OF_OTHERS:
                return None
            file.seek(0)
            size = READERS.get(start, PngImageFile)(file).size
    except (OSError, SyntaxError, ValueError) as error:
        if reason := getattr(error, "strerror", None):
            raise BadInput(f"{path}: cannot be read ({reason}); needs an image file") from None
        raise BadInput(f"{path}: found no complete image (damaged, or of another format); needs a PNG or JPEG image") \
            from None
    check_size(size, path)
    return size


def check_size(size: tuple[int, int], name: object) -> None:
    """BadInput where a picture has no pixels, or more than any photograph has."""
    if min(size) < 1 or max(size) > LONGEST_SIDE or size[0] * size[1] > LARGEST_PICTURE:
        raise BadInput(f"{name}: found a size of {size[0]}x{size[1]}, needs sides of 1 to {LONGEST_SIDE} pixels and "
                       f"{LARGEST_PICTURE} in all")
