"""The overlay movie: footage with the mesh's outline beside the textured mesh over the dimmed footage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput
from ..parallel import in_parallel
from ..reconstruction import Reconstruction
from ..texture.view import camera_points
from .picture import dimmed, draw, label, outline, paste

# FFmpeg, by which OpenCV writes movies, reads it at its first use: it would tell of each encoder that is not there.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

Images = Callable[[int], np.ndarray]

CODECS = ("avc1", "mp4v")
"""H.264 plays everywhere; OpenCV's own builds lack it for its licence, and MPEG-4 plays in all but browsers."""

MAX_WIDTH = 1920
"""Of the whole picture, in pixels; larger footage is reduced."""

MIN_HEIGHT = 480
"""Of each half, in pixels; smaller footage is enlarged."""


def write_overlay(result: Reconstruction, texture: np.ndarray, frames: Images, path: Path, frame_rate: float = 24.0,
                  progress: Callable[[int, int], None] | None = None) -> None:
    """Writes an mp4 of all frames of the result.

    texture   (H, W, 3) uint8 RGB, row 0 at v = 1
    frames    called with the place of a frame in the result, gives (H, W, 3) uint8 RGB of the full frame, in order
    """
    part = path.with_name(path.stem + ".part" + path.suffix)
    writer = None
    try:
        for index, picture in enumerate(_pictures(result, texture, frames)):
            writer = writer or _open(part, frame_rate, picture.shape[1::-1])
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            if progress:
                progress(index + 1, len(result.frames))
        if writer is not None:
            writer.release()
        if not cv2.VideoCapture(str(part)).isOpened():  # FFmpeg does not tell that its last bytes were not written
            raise BadInput(f"{path}: cannot be written whole; needs more space on its disk")
        os.replace(part, path)
    except BaseException:
        if writer is not None:
            writer.release()
        part.unlink(missing_ok=True)
        raise


def _pictures(result: Reconstruction, texture: np.ndarray, frames: Images) -> Iterator[np.ndarray]:
    """All pictures of the movie in order."""
    footage = ((frames(index), index) for index in range(len(result.frames)))
    return in_parallel(lambda frame: overlay_frame(result, texture, *frame), footage)


def overlay_frame(result: Reconstruction, texture: np.ndarray, image: np.ndarray, index: int) -> np.ndarray:
    """One picture (h, w, 3) uint8 RGB of the movie; both sides are even, as codecs ask for."""
    width, height = (int(n) for n in result.image_size)
    beside = width <= 2 * height
    size = _half_size(width, height, beside)
    intrinsics = result.intrinsics[index] * np.tile(np.divide(size, (width, height)), 2).astype(np.float32)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < width else cv2.INTER_CUBIC)
    points = camera_points(result, index)
    mesh = draw(points, result.faces, intrinsics, size, uv=result.uv, texture=texture, shading=0.35)
    left, right = outline(mesh, image), paste(mesh, dimmed(image))
    label(left, "Footage, outline of the mesh", 12, 24)
    label(right, f"Textured mesh, frame {result.frames[index]}", 12, 24)
    return np.concatenate([left, right], 1 if beside else 0)


def _half_size(width: int, height: int, beside: bool) -> tuple[int, int]:
    """Width and height of each half of the picture, even numbers."""
    scale = min(max(MIN_HEIGHT / height, 1.0), MAX_WIDTH / (width * (2 if beside else 1)))
    return max(2 * round(width * scale / 2), 2), max(2 * round(height * scale / 2), 2)


def _open(path: Path, frame_rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """The first codec that works here."""
    for codec in CODECS:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), frame_rate, size)
        if writer.isOpened():
            return writer
        writer.release()
    raise BadInput(f"{path}: cannot be written as a movie (tried {', '.join(CODECS)}); needs a folder to write in")
