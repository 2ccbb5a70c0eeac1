"""What a category model makes of a clip: its mesh and camera in each frame; each by itself, or one subject in all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import Camera, project
from ..geometry.sphere import spherical_uv
from ..known import Known, starting_rotations
from ..reconstruction import Reconstruction
from ..rendering import Renderer, get_renderer
from ..settings import Settings
from ..video.footage import Footage
from ..video.view import View
from .model_file import LoadedModel
from .objective import WeakCamera
from .poses import BATCH, candidates, steady_state
from .shape import spread_of
from .subject import Subject, fit_subject
from .windows import adapt, windows_of

LARGEST_ERROR = 0.25
"""Pixels by which the perspective camera's picture may differ from the weak perspective one's."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Adapted:
    """What a model makes of a clip."""

    reconstruction: Reconstruction
    seconds: dict[str, float]
    """Of each stage."""


def shares_of_time(settings: Settings, frames: int) -> dict[str, float]:
    """Each stage's share of a run, for the forecast of the time left: about milliseconds on two cores."""
    if not settings.visits:
        return {"prediction": 50.0 * frames}
    iterations = settings.iterations * len(windows_of(frames, settings.window, settings.stride))
    return {"prediction": 200.0 * frames, "adaptation": 60.0 * settings.frames_per_iteration * iterations,
            "subject": 8.0 * settings.visits * frames}


def adapt_clip(footage: Footage, loaded: LoadedModel, settings: Settings, known: Known, device: torch.device, seed: int,
               progress: Progress) -> Adapted:
    """The subject of the footage as a category model knows its kind.

    known     what is known of the camera beforehand
    progress  called with stage, step and steps
    """
    renderer = get_renderer("warp", device)
    if not settings.visits:
        begin = time.monotonic()
        return Adapted(predict_clip(footage, loaded, renderer, progress), {"prediction": time.monotonic() - begin})
    seconds, begin = {}, time.monotonic()
    view = View.of(footage, known, settings, device)
    images, masks = _pictures(footage, loaded, slice(None), device)
    found = candidates(loaded.model, images, masks, renderer, lambda step, steps: progress("prediction", step, steps))
    turning = None
    if known.solve is not None:
        turning = torch.from_numpy(starting_rotations(known, footage.numbers)).float().to(device)
    state = steady_state(found, view.numbers, view.hints, turning)
    seconds["prediction"], begin = time.monotonic() - begin, time.monotonic()
    if settings.iterations:
        told = adapt(loaded.model, images, masks, state.rotation, settings, renderer, seed,
                     lambda step, steps: progress("adaptation", step, steps))
        state = replace(told, rotation=state.rotation)
        seconds["adaptation"], begin = time.monotonic() - begin, time.monotonic()
    subject = Subject.of(loaded.model, state, view)
    fit_subject(subject, footage, settings, renderer, seed, lambda step, steps: progress("subject", step, steps))
    seconds["subject"] = time.monotonic() - begin
    return Adapted(_fitted(footage, loaded, subject), seconds)


@torch.no_grad()
def predict_clip(footage: Footage, loaded: LoadedModel, renderer: Renderer, progress: Progress) -> Reconstruction:
    """The mesh and camera of each frame, from a model that knows nothing of the clip but that frame."""
    device = loaded.model.anchors.device
    bases, meshes, cameras = [], [], []
    for start in range(0, len(footage.numbers), BATCH):
        images, masks = _pictures(footage, loaded, slice(start, start + BATCH), device)
        prediction, _ = loaded.model(images, masks, renderer)
        bases.append(prediction.base)
        meshes.append(prediction.vertices)
        cameras.append(prediction.camera)
        progress("prediction", min(start + BATCH, len(footage.numbers)), len(footage.numbers))
    camera = WeakCamera(*(torch.cat([getattr(one, name) for one in cameras])
                          for name in ("rotation", "scale", "shift")))
    return _predicted(footage, loaded, torch.cat(bases).mean(0), torch.cat(meshes), camera)


def _pictures(footage: Footage, loaded: LoadedModel, frames: slice, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (N, 3, S, S) and masks (N, S, S) of some frames, as the model takes them."""
    size = loaded.model.architecture.image_size
    images, masks = (_resized(torch.from_numpy(values).to(device), size) for values in (
        footage.images[frames].transpose(0, 3, 1, 2).astype(np.float32) / 255, footage.masks[frames, None]))
    return images, masks[:, 0]


def _resized(images: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(images, size=(size, size), mode="area")


def _predicted(footage: Footage, loaded: LoadedModel, rest: Tensor, vertices: Tensor,
               camera: WeakCamera) -> Reconstruction:
    """Of meshes (T, V, 3) and their cameras in crop units. The rest shape is the mean base shape."""
    unit = 1 / spread_of(rest)
    half, centre = (torch.from_numpy(values).to(vertices) for values in (footage.crop_half, footage.crop_centre))
    in_pixels = WeakCamera(camera.rotation, camera.scale * half / unit, centre + half[:, None] * camera.shift)
    return _reconstruction(footage, loaded, unit * rest, unit * vertices,
                           long_focus(unit * vertices, in_pixels, footage.image_size))


@torch.no_grad()
def _fitted(footage: Footage, loaded: LoadedModel, subject: Subject) -> Reconstruction:
    base, instances = subject.base(), subject.instances
    every = torch.arange(len(subject), device=base.device)
    unit, camera = 1 / spread_of(base[0]), subject.camera(instances, every)
    return _reconstruction(footage, loaded, unit * base[0], unit * subject.vertices(base, instances),
                           Camera(camera.rotation, unit * camera.translation, subject.view.intrinsics))


def _reconstruction(footage: Footage, loaded: LoadedModel, rest: Tensor, vertices: Tensor,
                    camera: Camera) -> Reconstruction:
    """In the units of the format: the rest shape's longest extent is 1."""
    sphere = loaded.model.shape.sphere
    keypoints = None
    if loaded.affinity is not None:
        keypoints = _array(project(loaded.affinity @ vertices, camera)[..., :2])
    return Reconstruction(
        frames=footage.numbers.astype(np.int32), vertices=_array(vertices), rest_vertices=_array(rest),
        faces=sphere.faces.astype(np.int32), uv=spherical_uv(sphere).astype(np.float32),
        camera_rotation=_array(camera.rotation), camera_translation=_array(camera.translation),
        intrinsics=_array(camera.intrinsics), image_size=np.array(footage.image_size, np.int32), keypoints=keypoints)


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
