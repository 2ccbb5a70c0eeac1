"""Sizes of image files from their headers: thousands are told in a second, without decoding any."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from ..job import BadInput
from ..video.clip import IMAGE_SUFFIXES

LONGEST_SIDE, LARGEST_PICTURE = 2**14, 2**27
"""Pixels along a side, and in all; what says that it is larger is meant to fill the memory."""
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
SUFFIXES_OF_OTHERS = IMAGE_SUFFIXES - {".png", ".jpg", ".jpeg"}
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG file that are followed by its size (ITU-T T.81, table B.1)."""
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG or JPEG file, px; None for other formats, which only decoding tells.

    BadInput where there is no such file, it is no image, or too large a one.
    """
    try:
        with path.open("rb") as file:
            size = _size(file, path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); needs an image file") \
            from None
    if size:
        check_size(size, path)
    return size


def check_size(size: tuple[int, int], name: object) -> None:
    """BadInput where a picture has no pixels, or more than any photograph has."""
    if min(size) < 1 or max(size) > LONGEST_SIDE or size[0] * size[1] > LARGEST_PICTURE:
        raise BadInput(f"{name}: found a size of {size[0]}x{size[1]}, needs sides of 1 to {LONGEST_SIDE} pixels and "
                       f"{LARGEST_PICTURE} in all")


def _size(file: BinaryIO, path: Path) -> tuple[int, int] | None:
    start = file.read(24)
    if start.startswith(PNG) and len(start) == 24 and start[12:16] == b"IHDR":
        width, height = struct.unpack(">II", start[16:24])
        return width, height
    size = _jpeg_size(file) if start.startswith(JPEG) else None
    if size is None and (start.startswith((PNG, JPEG)) or path.suffix.lower() not in SUFFIXES_OF_OTHERS or not start):
        raise BadInput(f"{path}: found no complete image (damaged, or of another format); needs a PNG or JPEG image")
    return size


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    while file.read(1) == b"\xff":
        marker = file.read(1)
        while marker == b"\xff":
            marker = file.read(1)
        if not marker or marker[0] in WITHOUT_LENGTH:
            continue
        segment = file.read(7)
        if len(segment) < 7:
            return None
        if marker[0] in FRAME_HEADERS:
            height, width = struct.unpack(">HH", segment[3:7])
            return width, height
        file.seek(int.from_bytes(segment[:2], "big") - 7, 1)
    return None
