"""What a category model makes of a clip: its mesh and camera in each frame; each by itself, or one subject in all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import Checkpoint
from ..geometry.cameras import Camera, project
from ..geometry.sphere import spherical_uv
from ..job import BadInput
from ..known import Known, Rotations, Shape, starting_rotations
from ..reconstruction import Reconstruction
from ..rendering import Renderer, get_renderer
from ..settings import Settings
from ..snapshots import Show
from ..video.footage import Footage
from ..video.view import View
from .model import STATE_NAMES, State
from .model_file import LoadedModel
from .objective import WeakCamera
from .poses import BATCH, candidates, steady_state
from .registration import laid_on
from .shape import spread_of
from .subject import Subject, fit_subject
from .windows import OnlineAdaptation, adapt, windows_of

LARGEST_ERROR = 0.25
"""Pixels by which the perspective camera's picture may differ from the weak perspective one's."""

PREDICTION = 200.0
"""Milliseconds on two cores for all hypotheses of a frame, about."""
HINTS = 9
"""Frames whose heading a first sight tells."""

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
    return {"prediction": PREDICTION * frames, "adaptation": 60.0 * settings.frames_per_iteration * iterations,
            "subject": 8.0 * settings.visits * frames}


def adapt_clip(footage: Footage, loaded: LoadedModel, settings: Settings, known: Known, device: torch.device, seed: int,
               progress: Progress, folder: Path | None = None, resume: bool = False,
               show: Show = lambda _: None, like: Reconstruction | None = None) -> Adapted:
    """The subject of the footage as a category model knows its kind.

    known     what is known of the camera beforehand
    progress  called with stage, step and steps
    folder    where a checkpoint is written after the first look at all frames, and after each window; None: nowhere
    resume    go on from the checkpoint in the folder, if there is one
    show      called often with what makes a reconstruction of all that is found so far
    like      a result of the same subject: its rest shape is the base shape that the closing pass starts from
    """
    renderer = get_renderer("warp", device)
    if not settings.visits:
        seconds: dict[str, float] = {}
        with _timed(seconds, "prediction"):
            predicted = predict_clip(footage, loaded, renderer, progress)
        return Adapted(predicted, seconds)
    view = View.of(footage, known, settings, device)
    images, masks = _all_pictures(footage, loaded, device)
    course = _Course(OnlineAdaptation(loaded.model, len(images), seed), folder,
                     {"settings": dict(settings.items()), "model": dict(loaded.card.scores)})
    if resume:
        course.take_up(device)
    if course.steady is None:
        with _timed(course.seconds, "prediction"):
            course.steady = _steady(loaded, images, masks, view, known, renderer, progress)
        course.save()
    state = course.steady

    def after_window() -> None:
        course.save()
        show(lambda: _of_state(footage, loaded, course.adaptation.blended.state(state)))

    show(lambda: _of_state(footage, loaded, state))
    if settings.iterations:
        with _timed(course.seconds, "adaptation"):
            told = adapt(course.adaptation, footage, images, masks, state.rotation, settings, renderer,
                         lambda step, steps: progress("adaptation", step, steps), after_window)
        state = replace(told, rotation=state.rotation)
    base = None if like is None else laid_on(loaded.model.shape, like.rest_vertices, like.faces)
    subject = Subject.of(loaded.model, state, view, base)

    def after_step(step: int, steps: int) -> None:
        progress("subject", step, steps)
        show(lambda: _fitted(footage, loaded, subject))

    with _timed(course.seconds, "subject"):
        fit_subject(subject, footage, settings, renderer, seed, after_step)
    return Adapted(_fitted(footage, loaded, subject), course.seconds)


def first_sight(footage: Footage, loaded: LoadedModel, settings: Settings, known: Known, device: torch.device,
                progress: Progress) -> Known:
    """What is known, and what a category model says of the clip: a shape, and hints at the subject's heading.

    A fit that needs no category model starts from there.
    """
    view, renderer = View.of(footage, known, settings, device), get_renderer("warp", device)
    images, masks = _all_pictures(footage, loaded, device)
    state = _steady(loaded, images, masks, view, known, renderer, progress)
    with torch.no_grad():
        base = loaded.model.predict(state).base.mean(0)
    path, every = state.rotation.double().cpu().numpy(), np.linspace(0, len(footage.numbers) - 1, HINTS).round()
    hints = {int(footage.numbers[place]): path[place] for place in every.astype(int)}
    if known.hints is not None:
        hints |= dict(zip(known.hints.frames.tolist(), known.hints.matrices, strict=True))
    frames = sorted(hints)
    return replace(known, hints=Rotations(np.array(frames), np.stack([hints[frame] for frame in frames])),
                   shape=Shape(_array(state.camera.scale.median() * base), loaded.model.shape.sphere))


def _steady(loaded: LoadedModel, images: Tensor, masks: Tensor, view: View, known: Known, renderer: Renderer,
            progress: Progress) -> State:
    """What each frame says by itself, under the camera's likeliest path."""
    found = candidates(loaded.model, images, masks, renderer, lambda step, steps: progress("prediction", step, steps))
    turning = None
    if known.solve is not None:
        turning = torch.from_numpy(starting_rotations(known, view.numbers.cpu().numpy())).to(images)
    return steady_state(found, view.numbers, view.hints, turning)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Adds to what a stage took so far."""
    before, begin = seconds.get(stage, 0.0), time.monotonic()
    yield
    seconds[stage] = before + time.monotonic() - begin


class _Course:
    """How far a run has come, and where it is kept."""

    def __init__(self, adaptation: OnlineAdaptation, folder: Path | None, facts: dict[str, Any]):
        """facts  of the run, that a checkpoint shares or is none of this run's"""
        self.adaptation, self._folder, self._facts = adaptation, folder, facts
        self.steady: State | None = None
        """What each frame says by itself, under the camera's path."""
        self.seconds: dict[str, float] = {}

    def save(self) -> None:
        if self._folder is not None:
            assert self.steady is not None
            steady = {f"steady.{k}": value for k, value in zip(STATE_NAMES, self.steady.tensors(), strict=True)}
            Checkpoint(self._facts | {"seconds": self.seconds}, self.adaptation.tensors() | steady).save(self._folder)

    def take_up(self, device: torch.device) -> None:
        """Go on from the checkpoint, if there is one; BadInput where it is of another run."""
        found = Checkpoint.load(self._folder) if self._folder is not None else None
        if found is None:
            return
        try:
            if {name: found.facts[name] for name in self._facts} != self._facts:
                raise ValueError("other settings")
            self.adaptation.restore(found.tensors)
            self.steady = State(*(found.tensors[f"steady.{name}"].to(device) for name in STATE_NAMES))
            self.seconds = dict(found.facts["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise BadInput(f"{self._folder}: found a checkpoint of another clip, model or of other settings; run again "
                           "without resuming") from None


@torch.no_grad()
def _of_state(footage: Footage, loaded: LoadedModel, state: State) -> Reconstruction:
    """What a model believes of every frame."""
    prediction = loaded.model.predict(state)
    return _predicted(footage, loaded, prediction.base.mean(0), prediction.vertices, prediction.camera)


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


def _all_pictures(footage: Footage, loaded: LoadedModel, device: torch.device) -> tuple[Tensor, Tensor]:
    """Those of all frames, a few at a time: as floats, whole crops would take more memory than all the rest."""
    chunks = [_pictures(footage, loaded, slice(start, start + BATCH), device)
              for start in range(0, len(footage.numbers), BATCH)]
    images, masks = zip(*chunks, strict=True)
    return torch.cat(images), torch.cat(masks)


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
    keypoints: dict[str, np.ndarray] = {}
    if loaded.affinity is not None:
        keypoints = {"keypoints": _array(project(loaded.affinity @ vertices, camera)[..., :2]),
                     "keypoint_names": np.array(loaded.card.category.keypoints),
                     "keypoint_weights": _array(loaded.affinity)}
    return Reconstruction(
        frames=footage.numbers.astype(np.int32), vertices=_array(vertices), rest_vertices=_array(rest),
        faces=sphere.faces.astype(np.int32), uv=spherical_uv(sphere).astype(np.float32),
        camera_rotation=_array(camera.rotation), camera_translation=_array(camera.translation),
        intrinsics=_array(camera.intrinsics), image_size=np.array(footage.image_size, np.int32), **keypoints)


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
