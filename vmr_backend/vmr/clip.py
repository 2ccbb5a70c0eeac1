"""What a category model says of a clip: its mesh and camera in each frame, each frame by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Camera
from ..geometry.sphere import spherical_uv
from ..reconstruction import Reconstruction
from ..rendering import get_renderer
from ..video.footage import Footage
from .model_file import LoadedModel
from .objective import WeakCamera
from .shape import spread_of

BATCH = 32
LARGEST_ERROR = 0.25
"""Pixels by which the perspective camera's picture may differ from the weak perspective one's."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Predicted:
    """What a model says of a clip."""

    reconstruction: Reconstruction
    seconds: dict[str, float]
    """Of each stage."""


@torch.no_grad()
def predict_clip(footage: Footage, loaded: LoadedModel, device: torch.device, progress: Progress) -> Predicted:
    """The mesh and camera of each frame, from a model that knows nothing of the clip but that frame."""
    begin = time.monotonic()
    size, renderer = loaded.model.architecture.image_size, get_renderer("warp", device)
    bases, meshes, cameras = [], [], []
    for start in range(0, len(footage.numbers), BATCH):
        images, masks = (_resized(torch.from_numpy(values).to(device), size) for values in (
            footage.images[start:start + BATCH].transpose(0, 3, 1, 2).astype(np.float32) / 255,
            footage.masks[start:start + BATCH, None]))
        prediction, _ = loaded.model(images, masks[:, 0], renderer)
        bases.append(prediction.base)
        meshes.append(prediction.vertices)
        cameras.append(prediction.camera)
        progress("prediction", min(start + BATCH, len(footage.numbers)), len(footage.numbers))
    camera = WeakCamera(*(torch.cat([getattr(one, name) for one in cameras])
                          for name in ("rotation", "scale", "shift")))
    found = _reconstruction(footage, loaded, torch.cat(bases).mean(0), torch.cat(meshes), camera)
    return Predicted(found, {"prediction": time.monotonic() - begin})


def _resized(images: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(images, size=(size, size), mode="area")


def _reconstruction(footage: Footage, loaded: LoadedModel, rest: Tensor, vertices: Tensor,
                    camera: WeakCamera) -> Reconstruction:
    """In the units of the format: the rest shape's longest extent is 1. The rest shape is the mean base shape."""
    unit = 1 / spread_of(rest)
    half, centre = (torch.from_numpy(values).to(vertices) for values in (footage.crop_half, footage.crop_centre))
    in_pixels = WeakCamera(camera.rotation, camera.scale * half / unit, centre + half[:, None] * camera.shift)
    vertices, rest = unit * vertices, unit * rest
    long = long_focus(vertices, in_pixels, footage.image_size)
    sphere = loaded.model.shape.sphere
    keypoints = None
    if loaded.affinity is not None:
        keypoints = _array(in_pixels.project(loaded.affinity @ vertices)[..., :2])
    return Reconstruction(
        frames=footage.numbers.astype(np.int32), vertices=_array(vertices), rest_vertices=_array(rest),
        faces=sphere.faces.astype(np.int32), uv=spherical_uv(sphere).astype(np.float32),
        camera_rotation=_array(long.rotation), camera_translation=_array(long.translation),
        intrinsics=_array(long.intrinsics), image_size=np.array(footage.image_size, np.int32), keypoints=keypoints)


def long_focus(vertices: Tensor, camera: WeakCamera, image_size: tuple[int, int]) -> Camera:
    """The perspective camera of one long focal length that shows meshes (T, V, 3) as a weak perspective one, in pixels,
    does: to within LARGEST_ERROR.

    A point at depth d behind the middle moves towards the picture's middle by its distance from there times
    d * scale / focal length.
    """
    middle = vertices.new_tensor(image_size) / 2
    points = camera.project(vertices)
    off = (points[..., :2] - middle).norm(dim=-1)
    # Depth as projected is in pixels already.
    depth = (camera.scale[:, None, None] * (vertices @ camera.rotation.mT))[..., 2].abs()
    focal = torch.clamp((off * depth).max() / LARGEST_ERROR, min=float(max(image_size)))
    distance = focal / camera.scale
    lateral = (camera.shift - middle) / camera.scale[:, None]
    ones = torch.ones_like(distance)
    intrinsics = torch.stack([focal * ones, focal * ones, middle[0] * ones, middle[1] * ones], -1)
    return Camera(camera.rotation, torch.cat([lateral, distance[:, None]], -1), intrinsics)


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.cpu().numpy(), np.float32)
