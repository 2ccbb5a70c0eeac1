"""Footage of a speckled egg that turns by 60 degrees, and settings that fit it in a second."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vmr_backend.reconstruction import Reconstruction
from vmr_backend.settings import Settings
from vmr_backend.video.footage import Footage, load_footage

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


@pytest.fixture(scope="session")
def turning_egg(egg_seen_from, filmed, tmp_path_factory) -> TurningEgg:
    truth = egg_seen_from(np.linspace(60, 120, FRAMES), size=(160, 140))
    truth = replace(truth, vertices=truth.vertices * SLIM, rest_vertices=truth.rest_vertices * SLIM)
    film = filmed(truth, speckled())
    folder = tmp_path_factory.mktemp("turning_egg")
    pictures = [image[..., ::-1] for image in film.images]
    frames = write(folder / "frames", pictures)
    masks = write(folder / "masks", [mask * np.uint8(255) for mask in film.masks])
    return TurningEgg(truth, dict(enumerate(film.masks)), pictures,
                      load_footage(frames, masks, crop_size=64))


@pytest.fixture(scope="session")
def quick() -> Settings:
    """A second on two cores."""
    return Settings().with_values({
        "crop_size": 64, "hypotheses": 2, "rigid_iterations": 40, "coarse_iterations": 40, "fine_iterations": 20,
        "subdivision": 3, "bones": 6, "frames_per_iteration": 4})


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The meshes are tiny: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
