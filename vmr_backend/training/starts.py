"""What the training of a category starts from: a first shape, and a camera for each picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from ..annotations import Category
from ..geometry.cameras import WeakCamera
from ..geometry.sphere import Sphere, icosphere
from ..rendering import Renderer
from ..vmr.model_file import level_of
from .crops import Crops
from .structure_from_motion.model import Tracks, left_of
from .structure_from_motion.solve import structure_of
from .template import radii_of, template_of
from .views import views_of

LEVEL = 3
"""Subdivisions of the sphere: 642 vertices, 1280 faces (CMR)."""
NEAREST = 24
"""Vertices among which a keypoint finds those that hold it."""
SMALLEST_SCALE = 0.2
"""Crop units per object unit: a crop shows the whole subject, hardly more."""
UNKNOWN = float("nan")
"""Scale of a picture that does not determine its camera."""


@dataclass(frozen=True)
class Start:
    """A first shape, its sphere and cameras."""

    template: Tensor
    """(V, 3) object units."""
    sphere: Sphere
    camera: WeakCamera
    """Of all pictures; its scale is UNKNOWN where a picture does not determine it."""
    affinity: Tensor | None
    """(K, V) weights of vertices in keypoints, rows sum to 1; None where keypoints are not used."""

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        found = {"template": self.template, "places": torch.from_numpy(self.sphere.vertices),
                 "start_rotation": self.camera.rotation, "start_scale": self.camera.scale,
                 "start_shift": self.camera.shift}
        return found | ({} if self.affinity is None else {"affinity": self.affinity})

    @staticmethod
    def of_tensors(tensors: dict[str, Tensor]) -> Start:
        """From a checkpoint."""
        positions = tensors["places"].numpy()
        ball = icosphere(level_of(len(positions)))
        camera = WeakCamera(*(tensors[f"start_{name}"] for name in ("rotation", "scale", "shift")))
        return Start(tensors["template"], Sphere(positions, ball.faces, ball.mirror), camera, tensors.get("affinity"))


def weak_start(crops: Crops, category: Category, renderer: Renderer, seed: int,
               progress: Callable[[int, int], None]) -> Start:
    """Cameras from the structure of the keypoints, and tubes around their skeleton as the first shape (CMR's start, but
    for the tubes)."""
    mirror = np.array(category.mirror)
    structure = structure_of(Tracks.of(crops.keypoints, crops.seen, category.mirror, left_of(category.keypoints)))
    progress(1, 2)
    radii = radii_of(structure, category.skeleton, crops.keypoints, crops.seen, crops.masks)
    template, sphere = template_of(structure.keypoints, category.skeleton, mirror, radii, icosphere(LEVEL), renderer,
                                   seed)
    progress(2, 2)
    affinity = torch.from_numpy(affinity_of(template, structure.keypoints)).float()
    scales = np.where(np.isfinite(structure.errors), structure.scales.clip(SMALLEST_SCALE), UNKNOWN)
    camera = WeakCamera(*(torch.from_numpy(values).float() for values in (
        structure.rotations, scales, structure.shifts)))
    return Start(torch.from_numpy(template).float(), sphere, camera, affinity)


def self_start(crops: Crops, category: Category, renderer: Renderer, seed: int,
               progress: Callable[[int, int], None]) -> Start:
    """A template fitted to masks, and the best of several cameras for each picture (UMR)."""
    views = views_of(crops.masks, renderer, seed, progress)
    return Start(torch.from_numpy(views.template).float(), views.sphere, views.camera, None)


def affinity_of(vertices: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Weights (K, V) of vertices (V, 3) whose means are the keypoints (K, 3): a joint inside a limb is held by the ring
    of vertices around it. Rows sum to 1, none is below zero."""
    weights = np.zeros((len(keypoints), len(vertices)))
    for row, point in zip(weights, keypoints, strict=True):
        near = np.argsort(np.linalg.norm(vertices - point, axis=1))[:NEAREST]
        # The mean and the sum count most; what is left free is spread evenly.
        system = np.vstack([30 * vertices[near].T, np.full(len(near), 30.0), 0.3 * np.eye(len(near))])
        found, _ = nnls(system, np.concatenate([30 * point, [30.0], np.zeros(len(near))]))
        row[near] = found / found.sum() if found.sum() > 0 else 1 / len(near)
    return weights
