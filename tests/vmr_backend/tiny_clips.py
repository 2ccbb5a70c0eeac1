"""Tiny clips for the tests: a textured ellipse that moves in a known way over a textured background, and its masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 128, 96


@dataclass(frozen=True)
class TinyClip:
    frames: list[np.ndarray]
    """RGB (H, W, 3) uint8"""
    masks: list[np.ndarray]
    """(H, W) uint8, 0 or 255"""
    poses: list[np.ndarray]
    """(2, 3) affine maps from the subject's own coordinates, px, to pixels of the full frame (centres at +0.5)"""


def pose(x: float, y: float, degrees: float = 0, zoom: float = 1) -> np.ndarray:
    """The subject's origin at (x, y) px, turned and zoomed."""
    angle = np.radians(degrees)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, [x, y]])


def film(
    poses: Iterable[np.ndarray], radii: tuple[float, float] = (30, 20), size: tuple[int, int] = (WIDTH, HEIGHT)
) -> TinyClip:
    """An ellipse of `radii` px in each of the poses."""
    poses = list(poses)
    subject, background = texture(1), texture(2)
    frames, masks = [], []
    for place in poses:
        x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
        own = (np.stack([x, y], -1) - place[:, 2]) @ np.linalg.inv(place[:, :2]).T
        mask = (own[..., 0] / radii[0]) ** 2 + (own[..., 1] / radii[1]) ** 2 <= 1
        index = (own + len(subject) / 2).astype(np.float32)
        painted = cv2.remap(subject, index[..., 0], index[..., 1], cv2.INTER_LINEAR)
        frames.append(np.where(mask[..., None], painted, background[: size[1], : size[0]]))
        masks.append(mask.astype(np.uint8) * 255)
    return TinyClip(frames, masks, poses)


def walk(count: int = 6, step: float = 2, **options) -> TinyClip:
    """The subject moves to the right by `step` px a frame."""
    return film([pose(50 + step * t, 48) for t in range(count)], **options)


def texture(seed: int, size: int = 256) -> np.ndarray:
    """Smooth coloured noise, (size, size, 3) uint8."""
    noise = np.random.default_rng(seed).uniform(0, 255, (size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def write_images(
    folder: Path,
    images: Iterable[np.ndarray],
    name: str | Callable[[int], str] = "{:05d}.png",
    numbers: Iterable[int] | None = None,
) -> Path:
    """Grey, RGB or RGBA images of 8 or 16 bit, as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    images = list(images)
    for number, image in zip(numbers or range(len(images)), images, strict=True):
        write_image(folder / (name(number) if callable(name) else name.format(number)), image)
    return folder


def write_image(path: Path, image: np.ndarray) -> Path:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    assert cv2.imwrite(str(path), image)
    return path


def write_video(path: Path, images: Iterable[np.ndarray], fps: float = 25, codec: str = "mp4v") -> Path:
    """Grey or RGB images (H, W[, 3]) uint8 as a video file."""
    images = [cv2.cvtColor(i, cv2.COLOR_GRAY2RGB) if i.ndim == 2 else i for i in images]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, images[0].shape[1::-1])
    assert writer.isOpened()
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def with_alpha(clip: TinyClip) -> list[np.ndarray]:
    return [np.dstack([frame, mask]) for frame, mask in zip(clip.frames, clip.masks, strict=True)]


def write_clip(folder: Path, clip: TinyClip, numbers: Iterable[int] | None = None) -> tuple[Path, Path]:
    """Folders of frames and of masks."""
    numbers = list(numbers or range(len(clip.frames)))
    return (
        write_images(folder / "frames", clip.frames, numbers=numbers),
        write_images(folder / "masks", clip.masks, numbers=numbers),
    )
