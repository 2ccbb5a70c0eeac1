"""Tiny collections of ellipses on noise, in each of the layouts, with the masks that they hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 64, 48
BACKGROUND, SUBJECT = (200, 40, 40), (30, 60, 220)
"""RGB"""
PARTS = ("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape",
         "right eye", "right leg", "right wing", "tail", "throat")


def ellipse(x: float, y: float, radii: tuple[float, float] = (12, 8), size: tuple[int, int] = (WIDTH, HEIGHT)):
    """Mask (H, W) bool of an ellipse around x, y px, pixel centres at +0.5."""
    across, down = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    return ((across - x) / radii[0]) ** 2 + ((down - y) / radii[1]) ** 2 <= 1


def painted(mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the subject in one colour, all else in another."""
    return np.where(mask[..., None], SUBJECT, BACKGROUND).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    """An image: grey, RGB or RGBA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix, image if image.ndim == 2 else image[..., [2, 1, 0, 3][:image.shape[2]]])[1].tofile(path)


@dataclass
class CocoFile:
    """COCO annotations to be changed before they are written."""

    folder: Path
    content: dict[str, Any]
    masks: list[np.ndarray]

    def write(self, name: str = "annotations.json") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(self.content), encoding="utf-8")
        return path


def coco_of(folder: Path, count: int = 3, images: str = "images") -> CocoFile:
    """Cows with two keypoints, and their masks as uncompressed run lengths."""
    masks = [ellipse(20 + 3 * n, 22 + n) for n in range(count)]
    for n, mask in enumerate(masks):
        save(folder / images / f"{n}.png", painted(mask))
    content = {
        "licenses": [{"id": 1, "name": "CC BY 4.0"}, {"id": 2, "name": "CC0"}],
        "categories": [{"id": 7, "name": "cow", "keypoints": ["left ear", "right ear"], "skeleton": [[1, 2]]}],
        "images": [{"id": 10 + n, "file_name": f"images/{n}.png", "width": WIDTH, "height": HEIGHT}
                   for n in range(count)],
        "annotations": [{"id": 100 + n, "image_id": 10 + n, "category_id": 7, "iscrowd": 0,
                         "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs(mask)},
                         "keypoints": [20.5 + 3 * n, 22, 2, 0, 0, 0]} for n, mask in enumerate(masks)]}
    return CocoFile(folder, content, masks)


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, counted one pixel after the other."""
    found, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            found.append(0)
            value = pixel
        found[-1] += 1
    return found


def cub_in(folder: Path, count: int = 4, told: int = 8) -> list[np.ndarray]:
    """CUB-200-2011's layout with so many visible parts in each image; every second image is for training."""
    masks = [ellipse(20 + 3 * n, 22 + n) for n in range(count)]
    lines: dict[str, list[str]] = {name: [] for name in (
        "images", "image_class_labels", "bounding_boxes", "train_test_split", "parts/parts", "parts/part_locs")}
    lines["parts/parts"] = [f"{n} {part}" for n, part in enumerate(PARTS, 1)]
    for n, mask in enumerate(masks, 1):
        name = f"001.Black_footed_Albatross/bird_{n}"
        save(folder / "images" / f"{name}.jpg", painted(mask))
        votes = np.where(mask, 204, 0) + np.where(np.roll(mask, 3, 1) & ~mask, 102, 0)
        save(folder / "segmentations" / f"{name}.png", votes.astype(np.uint8))
        lines["images"].append(f"{n} {name}.jpg")
        lines["image_class_labels"].append(f"{n} 1")
        lines["bounding_boxes"].append(f"{n} 8.0 14.0 24.0 16.0")
        lines["train_test_split"].append(f"{n} {n % 2}")
        lines["parts/part_locs"] += [f"{n} {part} {10.0 + part} 20.0 1" if part <= told else f"{n} {part} 0.0 0.0 0"
                                     for part in range(1, len(PARTS) + 1)]
    for name, text in lines.items():
        (folder / f"{name}.txt").parent.mkdir(exist_ok=True)
        (folder / f"{name}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    return masks
