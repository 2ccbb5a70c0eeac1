"""What footage of a speckled egg that turns by 60 degrees is made of."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vmr_backend.reconstruction import Reconstruction
from vmr_backend.video.footage import Footage

FRAMES = 10
SLIM = np.float32([0.6, 1, 0.8])
"""An egg that is clearly longer than wide shows by its outline how it turns."""


@dataclass(frozen=True)
class TurningEgg:
    truth: Reconstruction
    masks: dict[int, np.ndarray]
    """(H, W) bool by frame number."""
    pictures: list[np.ndarray]
    """(H, W, 3) BGR."""
    footage: Footage


def speckled() -> np.ndarray:
    """A texture (128, 256, 3) in which every place can be told from those around it."""
    noise = np.random.default_rng(0).uniform(0, 255, (128, 256, 3)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def write(folder: Path, images) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)
    return folder
