"""What a fit yields: the reconstruction, in the units of the format, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Camera, project
from ..reconstruction import Reconstruction
from ..video.footage import Footage
from .fitter import Solution
from .search import Hypothesis


@dataclass(frozen=True)
class Fit:
    """What a method found of a clip."""

    reconstruction: Reconstruction
    seconds: dict[str, float]
    """Of each stage."""
    hypotheses: list[Hypothesis] = field(default_factory=list)
    """Of the camera, the chosen one first; none where there was no search."""


@torch.no_grad()
def result_of(solution: Solution, footage: Footage) -> Reconstruction:
    """The single hypothesis of a solution as the format has it."""
    body = solution.body
    rest, vertices = body.whole()
    scale = 1 / extent_of(rest)
    camera = solution.cameras.in_footage()
    return reconstruction_of(footage, scale * rest, scale * vertices,
                             Camera(camera.rotation, scale * camera.translation, camera.intrinsics), body.arrays(scale))


def reconstruction_of(footage: Footage, rest: Tensor, vertices: Tensor, camera: Camera,
                      arrays: Mapping[str, Any]) -> Reconstruction:
    """Of a rest mesh (V, 3), meshes (T, V, 3) and cameras (T,), intrinsics in pixels of the full frame; in the units of
    the format, where the rest mesh's longest extent is 1.

    arrays  what else there is of the body; where it has weights of keypoints, these are projected
    """
    keypoints = arrays.get("keypoint_weights")
    if keypoints is not None:
        arrays = {**arrays, "keypoints": project(keypoints @ vertices, camera)[..., :2]}
    return Reconstruction(
        frames=footage.numbers.astype(np.int32), vertices=_array(vertices), rest_vertices=_array(rest),
        camera_rotation=_array(camera.rotation), camera_translation=_array(camera.translation),
        intrinsics=_array(camera.intrinsics), image_size=np.array(footage.image_size, np.int32),
        **{name: _array(values) for name, values in arrays.items()})


def extent_of(shape: Tensor) -> Tensor:
    """The longest extent of a shape (V, 3), a number in its units."""
    return (shape.amax(0) - shape.amin(0)).max()


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    """As the format has it: floats of 32 bits, whole numbers of 32 bits, names as they are."""
    array = values.cpu().numpy() if isinstance(values, Tensor) else values
    kind = {"f": np.float32, "i": np.int32}.get(array.dtype.kind)
    return np.ascontiguousarray(array, kind)
