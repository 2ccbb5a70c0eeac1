"""Sizes in the headers of image files, against decoding them."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from vmr_backend.job import BadInput
from vmr_backend.training.headers import picture_size


def encoded(suffix, *options, size=(37, 53)):
    return cv2.imencode(suffix, np.full((size[1], size[0], 3), 100, np.uint8), options)[1].tobytes()


@pytest.mark.parametrize("suffix, options", [(".png", ()), (".jpg", ()), (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))])
def test_png_and_jpeg_tell_their_size(tmp_path, suffix, options):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix, *options))
    assert picture_size(path) == (37, 53)


def test_a_size_behind_a_long_comment_and_filling_bytes_is_found(tmp_path):
    plain = encoded(".jpg")
    comment = b"\xff\xfe" + struct.pack(">H", 40_002) + b"\xff\xc0" * 20_000
    path = tmp_path / "a.jpg"
    path.write_bytes(plain[:2] + comment + b"\xff\xff" + plain[2:])
    assert picture_size(path) == (37, 53)


def test_the_content_counts_and_not_the_name(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(".png"))
    assert picture_size(path) == (37, 53)


def test_other_formats_keep_their_size_until_they_are_decoded(tmp_path):
    path = tmp_path / "a.bmp"
    path.write_bytes(encoded(".bmp"))
    assert picture_size(path) is None


def png_of(side):
    """Whole, but for its header, which claims another size."""
    header = b"IHDR" + struct.pack(">II", side, side) + encoded(".png")[24:29]
    return encoded(".png")[:12] + header + struct.pack(">I", zlib.crc32(header)) + encoded(".png")[33:]


@pytest.mark.parametrize("content", [b"", b"text", encoded(".png")[:20], encoded(".jpg")[:30], b"\xff\xd8\xff",
                                     b"\xff\xd8" + b"\xff\xe0\x00\x00" * 9, png_of(0)])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="found no complete image"):
        picture_size(path)


def test_what_would_fill_the_memory_or_is_not_there_is_refused(tmp_path):
    path = tmp_path / "a.png"
    for side in (2**14 + 1, 2**31 - 1):
        path.write_bytes(png_of(side))
        with pytest.raises(BadInput, match=f"found a size of {side}x{side}"):
            picture_size(path)
    with pytest.raises(BadInput, match="cannot be read"):
        picture_size(tmp_path / "gone.png")
    with pytest.raises(BadInput, match="cannot be read"):
        picture_size(tmp_path)
