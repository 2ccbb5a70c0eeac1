"""Pictures of a family's animals: camera, light, background, drawing, and the collection that they make."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from vmr_backend.annotations import HIDDEN, VISIBLE, Annotation, save_annotations
from vmr_backend.job import write_whole
from vmr_backend.rendering import get_renderer

from .animal import Animal, Family
from .tubes import normals_of, unit

SAMPLES = 2
"""Samples a pixel, across and down."""
BATCH = 16
TRUTH_NAME = "truth.npz"
LICENCE = "GPL-3.0-or-later"
DISTANCE = 4.0
"""Of the animal from the renderer's camera, in units of object space; only the order of depths counts."""


@dataclass(frozen=True)
class RenderView:
    """A weak-perspective camera: pixel = scale * (rotation X)_xy + shift.

    rotation  (3, 3), object to camera
    scale     pixels a unit of object space
    shift     (2,), pixels from the picture's top left corner
    """

    rotation: np.ndarray
    scale: float
    shift: np.ndarray

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Projection (..., 2) of points (..., 3) of object space."""
        return self.scale * (points @ self.rotation.T)[..., :2] + self.shift


@dataclass(frozen=True)
class AnimalRender:
    """One image with its ground truth.

    image      (S, S, 3) uint8, BGR
    mask       (S, S) bool
    keypoints  (K, 3), x and y in pixels, VISIBLE or HIDDEN
    """

    image: np.ndarray
    mask: np.ndarray
    keypoints: np.ndarray
    view: RenderView
    animal: Animal


def animal_of(family: Family, seed: int, index: int) -> Animal:
    """The animal of an image again: its true mesh in object space, as it is posed there."""
    return family.animal(_generators(seed, index)[0])


def view_of(family: Family, animal: Animal, size: int, rng: np.random.Generator) -> RenderView:
    """A camera somewhere around the animal, which fills 55 to 90 % of the picture and is wholly inside."""
    if rng.random() < 0.6:
        azimuth = rng.choice([-90, 90]) + rng.uniform(-40, 40)
    else:
        azimuth = rng.uniform(0, 360)
    low, high = family.elevation
    elevation = np.clip(rng.normal((low + high) / 2 - 4, (high - low) / 3), low - 10, high + 25)
    roll = rng.normal(0, 5) if rng.random() < 0.85 else rng.uniform(-25, 25)
    rotation = view_rotation(azimuth, elevation, roll)
    seen = (animal.vertices @ rotation.T)[:, :2]
    low_corner, high_corner = seen.min(0), seen.max(0)
    scale = rng.uniform(0.55, 0.9) * size / (high_corner - low_corner).max()
    room = (size - scale * (high_corner - low_corner)) / 2
    centre = size / 2 + rng.uniform(-0.7, 0.7, 2) * np.minimum(room, 0.12 * size)
    return RenderView(rotation, float(scale), centre - scale * (low_corner + high_corner) / 2)


def view_rotation(azimuth: float, elevation: float, roll: float) -> np.ndarray:
    """Rotation (3, 3) from object to camera; degrees.

    azimuth    where the camera stands: 0 before the animal, 90 at its left
    elevation  of the camera above the horizon
    roll       of the picture, clockwise
    """
    a, e, r = np.radians([azimuth, elevation, roll])
    ahead = -np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    right = unit(np.cross(ahead, [0.0, 0.0, 1.0]))
    level = np.stack([right, np.cross(ahead, right), ahead])
    return np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]) @ level


def pictures(family: Family, count: int, size: int, seed: int, first: int = 0) -> Iterator[AnimalRender]:
    """Renders from number `first` on; each depends on the family, the seed and its number only."""
    renderer = get_renderer("warp")
    for start in range(first, first + count, BATCH):
        scenes = []
        for index in range(start, min(start + BATCH, first + count)):
            shape, surroundings = _generators(seed, index)
            animal = family.animal(shape)
            scenes.append((animal, view_of(family, animal, size, surroundings), surroundings))
        points = np.stack([_seen_by_renderer(animal, view, size) for animal, view, _ in scenes])
        found = renderer.visibility(torch.from_numpy(points), torch.from_numpy(scenes[0][0].faces), SAMPLES * size)
        for number, (animal, view, rng) in enumerate(scenes):
            faces, weights, depth = (x[number].numpy() for x in (found.face_index, found.barycentrics, found.depth))
            image, mask = drawn(animal, view, faces, weights, background(rng, size), rng)
            yield AnimalRender(image, mask, _annotated(animal, view, depth), view, animal)


def _generators(seed: int, index: int) -> list[np.random.Generator]:
    """One for the animal, one for all that is around it."""
    return np.random.default_rng([seed, index]).spawn(2)


def _seen_by_renderer(animal: Animal, view: RenderView, size: int) -> np.ndarray:
    ndc = view.pixels(animal.vertices) * (2 / size) - 1
    return np.c_[ndc, animal.vertices @ view.rotation[2] + DISTANCE].astype(np.float32)


def _annotated(animal: Animal, view: RenderView, depth: np.ndarray) -> np.ndarray:
    """Keypoints (K, 3), hidden where the body is clearly nearer than their own skin."""
    positions = view.pixels(animal.keypoints)
    row, column = np.clip((positions[:, ::-1] * SAMPLES).astype(int), 0, len(depth) - 1).T
    nearest = depth[row, column]
    skin = animal.keypoints @ view.rotation[2] + DISTANCE - animal.depths
    hidden = (nearest > 0) & (nearest < skin - 0.02)
    return np.c_[positions, np.where(hidden, HIDDEN, VISIBLE)]


def drawn(animal: Animal, view: RenderView, faces, weights, behind, rng) -> tuple[np.ndarray, np.ndarray]:
    """The animal in a random light before a background (S, S, 3): image (S, S, 3) uint8 BGR, mask (S, S).

    faces, weights  at each sample: index (S', S'), -1 where there is none, and barycentrics (S', S', 3)
    """
    rows, columns = np.nonzero(faces >= 0)
    corners = animal.faces[faces[rows, columns]]
    barycentrics = weights[rows, columns]
    values = np.c_[animal.colours * light(animal, view, rng)[:, None], np.ones(len(animal.colours))].astype(np.float32)
    colour = np.zeros((*faces.shape, 4), np.float32)
    colour[rows, columns] = sum(values[corners[:, k]] * barycentrics[:, k, None] for k in range(3))
    size = len(behind)
    pooled = cv2.resize(colour, (size, size), interpolation=cv2.INTER_AREA)
    image = pooled[..., :3] + (1 - pooled[..., 3:]) * behind
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9) * size / 160)
    image += rng.uniform(0, 0.02) * rng.standard_normal((size, size, 1), np.float32)
    return (np.clip(image[..., ::-1], 0, 1) * 255).astype(np.uint8), pooled[..., 3] >= 0.499


def light(animal: Animal, view: RenderView, rng) -> np.ndarray:
    """Brightness (V,) under a sky and a sun somewhere above, more often on the camera's side."""
    sun = unit(rng.normal(0, 1, 3) + [0, 0, 1.2] - 0.7 * view.rotation[2])
    sun[2] = abs(sun[2])
    normals = normals_of(animal.vertices, animal.layouts)
    ambient = rng.uniform(0.35, 0.75)
    sky = 1 + 0.3 * normals[:, 2]
    return ambient * sky + (1.15 - ambient) * np.maximum(normals @ sun, 0)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Soft random clouds (S, S, 3) in sRGB 0 to 1, sometimes over a ground of another tone."""
    image = np.full((size, size, 3), rng.uniform(0.15, 0.85) + rng.normal(0, 0.07, 3), np.float32)
    for cells in (2, 6, 24):
        noise = rng.normal(0, rng.uniform(0.01, 0.12), (cells, cells, 3))
        noise = 0.25 * noise + 0.75 * noise.mean(2, keepdims=True)
        image += cv2.resize(noise.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        height = np.arange(size)[:, None, None] / size - rng.uniform(0.4, 0.85) + image[..., :1] * 0.1 - 0.05
        ground = rng.uniform(0.15, 0.8) * np.array([1, rng.uniform(0.8, 1.1), rng.uniform(0.5, 0.95)])
        image += np.clip(height * rng.uniform(6, 40), 0, 1) * (ground - image) * 0.8
    return np.clip(image, 0, 1).astype(np.float32)


def write_collection(folder: Path, family: Family, count: int, size: int, seed: int,
                     progress: Callable[[int, int], None] = lambda done, of: None) -> None:
    """Pictures in images/, annotations.json and truth.npz: rotation (N, 3, 3), scale (N,) and shift (N, 2) in pixels,
    keypoints (N, K, 3) in object space, seed; `progress` takes how many of how many images are done."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    annotations, views, keypoints = [], [], []
    for index, picture in enumerate(pictures(family, count, size, seed)):
        name = f"images/{index:06d}.jpg"
        write_whole(folder / name, encoded(picture.image, 93))
        annotations.append(Annotation(name, picture.mask, picture.keypoints))
        views.append(picture.view)
        keypoints.append(picture.animal.keypoints)
        progress(index + 1, count)
    truth = io.BytesIO()
    np.savez_compressed(truth, rotation=np.stack([v.rotation for v in views]), scale=np.array([v.scale for v in views]),
                        shift=np.stack([v.shift for v in views]), keypoints=np.stack(keypoints), seed=np.array(seed))
    write_whole(folder / TRUTH_NAME, truth.getvalue())
    save_annotations(folder, family.category, annotations, LICENCE)


def encoded(image: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def contact_sheet(family: Family, columns: int, rows: int, size: int, seed: int, marked: int) -> np.ndarray:
    """Pictures side by side, keypoints and skeleton drawn over the last `marked` of them: BGR uint8."""
    found = list(pictures(family, columns * rows, size, seed))
    tiles = [p.image if number < len(found) - marked else _marked(family, p) for number, p in enumerate(found)]
    return np.vstack([np.hstack(tiles[row * columns:(row + 1) * columns]) for row in range(rows)])


def _marked(family: Family, picture: AnimalRender) -> np.ndarray:
    image = picture.image.copy()
    positions = [tuple(int(round(v * 16 - 8)) for v in pixel) for pixel in picture.keypoints[:, :2]]
    for a, b in family.category.skeleton:
        cv2.line(image, positions[a], positions[b], (255, 255, 255), 1, cv2.LINE_AA, 4)
    for name, position, state in zip(family.category.keypoints, positions, picture.keypoints[:, 2], strict=True):
        hue = (60, 60, 255) if "left" in name else (255, 120, 40) if "right" in name else (60, 230, 60)
        cv2.circle(image, position, len(image) // 4, hue, -1 if state == VISIBLE else 1, cv2.LINE_AA, 4)
    return image
