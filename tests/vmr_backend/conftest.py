"""A tiny clip with a known answer, a textured egg that a camera circles, drawn without the renderer; and settings that
fit it in a second."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from turning_eggs import FRAMES, SLIM, TurningEgg, speckled, write

from vmr_backend.geometry.sphere import icosphere, spherical_uv
from vmr_backend.metrics.raster import visible_faces
from vmr_backend.outputs.picture import look_from
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.settings import Settings
from vmr_backend.video.footage import load_footage


@dataclass
class FilmedEgg:
    result: Reconstruction
    texture: np.ndarray
    """(64, 128, 3) uint8, the truth."""
    images: list[np.ndarray]
    masks: list[np.ndarray]


def egg_result(azimuths, level=3, size=(120, 100)) -> Reconstruction:
    """An egg that is longest along y, at the middle of the picture, seen from `azimuths` in degrees."""
    sphere = icosphere(level)
    shape = (sphere.vertices * [0.35, 0.5, 0.4]).astype(np.float32)
    count = len(azimuths)
    rotation = np.stack([look_from(a, 10.0) for a in azimuths]).astype(np.float32)
    focal = 2.6 * size[1]
    return Reconstruction(
        np.arange(count, dtype=np.int32), np.repeat(shape[None], count, 0), shape, sphere.faces.astype(np.int32),
        spherical_uv(sphere).astype(np.float32), rotation, np.tile(np.float32([0, 0, 4]), (count, 1)),
        np.tile(np.float32([focal, focal, size[0] / 2, size[1] / 2]), (count, 1)), np.array(size, np.int32))


def painted(rows=64) -> np.ndarray:
    """A smooth texture (rows, 2 * rows, 3) that is the same on both sides of x = 0 and has no place like another."""
    v, u = np.mgrid[0:rows, 0:2 * rows] / rows
    across = np.abs(u - 1)
    colour = np.stack([130 + 90 * np.sin(5 * across), 130 + 80 * np.cos(4 * v + 2 * across), 60 + 130 * v], -1)
    return colour.astype(np.uint8)


def film(result: Reconstruction, texture: np.ndarray, background=(40, 200, 60)) -> FilmedEgg:
    """Frames and masks of a result in the colours of a texture, over a background of another colour."""
    images, masks = [], []
    for index in range(len(result.frames)):
        face, barycentrics = visible_faces(result, index)
        drawn = face >= 0
        points = result.in_camera()[index]
        # weights on the screen, made those on the surface
        weights = barycentrics[drawn] / points[result.faces[face[drawn]], 2]
        uv = np.einsum("nk,nkc->nc", weights / weights.sum(1, keepdims=True), result.uv[face[drawn]])
        place = uv * [1, -1] * [texture.shape[1], texture.shape[0]] + [-0.5, texture.shape[0] - 0.5]
        image = np.full((*drawn.shape, 3), background, np.uint8)
        x, y = place.T.astype(np.float32)[..., None]
        image[drawn] = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
        images.append(image)
        masks.append(drawn)
    return FilmedEgg(result, texture, images, masks)


@pytest.fixture(scope="session")
def egg() -> FilmedEgg:
    """Twelve frames all round."""
    return film(egg_result(np.arange(12) * 30.0), painted())


@pytest.fixture(scope="session")
def egg_from_one_side() -> FilmedEgg:
    """Eight frames from the side of +x."""
    return film(egg_result(np.linspace(60, 120, 8)), painted())


@pytest.fixture(scope="session")
def filmed():
    """`film`, for tests that change the texture or the result."""
    return film


@pytest.fixture(scope="session")
def egg_seen_from():
    """`egg_result`, for tests that film an egg of their own."""
    return egg_result


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
    """A few seconds on one core."""
    return Settings().with_values({
        "crop_size": 64, "hypotheses": 2, "rigid_iterations": 40, "coarse_iterations": 20, "fine_iterations": 10,
        "subdivision": 3, "bones": 6, "frames_per_iteration": 4})
