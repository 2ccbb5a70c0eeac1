"""What a category model makes of a clip: a mesh and camera in each frame; each by itself, or one subject in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bodies.category import CategoryBody, CategoryShape, Handles, basis_weights
from ..checkpoint import under
from ..fitting.batch import runs_and_pairs
from ..fitting.camera import FrameCameras
from ..fitting.fitter import Fitter, Schedule, Solution
from ..fitting.result import Fit, extent_of, reconstruction_of, result_of
from ..fitting.stages import Course, Report, Stages
from ..fitting.view import View
from ..geometry.cameras import Camera, WeakCamera
from ..geometry.sphere import spherical_uv
from ..priors import PredictedLandmarks, Priors, Rotations, Shape, starting_rotations, yaw_of
from ..reconstruction import Reconstruction
from ..rendering import Renderer
from ..settings import Settings
from ..video.footage import Footage
from .encoders import at_size
from .model import STATE_NAMES, State
from .model_file import STRENGTH, LoadedModel
from .poses import BATCH, candidates, steady_state
from .registration import laid_on
from .windows import OnlineAdaptation, adapt, windows_of

LARGEST_ERROR = 0.25
"""Pixels by which the perspective camera's picture may differ from the weak perspective one's."""

PREDICTION = 200.0
"""Milliseconds on two cores for all hypotheses of a frame, about."""
HINTS = 9
"""Frames whose predicted heading is handed on to a fit without a category model."""
SIZE = 128
"""Pixels across the crops that the subject is compared with."""
GUIDED = (1 / 3, 2 / 3)
"""Fractions of the iterations after which flow across long gaps is found with the subject's help."""


def costs_of(settings: Settings, frames: int) -> dict[str, float]:
    """About how long each stage takes, in milliseconds on two cores, for the forecast of the time left."""
    if not settings.visits:
        return {"prediction": 50.0 * frames}
    iterations = settings.iterations * len(windows_of(frames, settings.window, settings.stride))
    return {"prediction": PREDICTION * frames, "adaptation": 60.0 * settings.frames_per_iteration * iterations,
            "subject": 8.0 * settings.visits * frames}


def adapt_clip(fitter: Fitter, loaded: LoadedModel, course: Course, priors: Priors,
               like: Reconstruction | None = None) -> Fit:
    """Reconstruct the subject of the fitter's footage with a model of its category.

    priors  what is known of the camera beforehand
    like    a result of the same subject: its rest shape is the base shape that the closing pass starts from
    """
    footage, settings, renderer, device = fitter.footage, fitter.settings, fitter.renderer, fitter.device
    if not settings.visits:
        stages = Stages(replace(course, folder=None), {})
        found: list[Reconstruction] = []
        stages.run("prediction", lambda _, report: found.append(predict_clip(footage, loaded, renderer, report)))
        return Fit(found[0], stages.seconds)
    stages = Stages(course, {"settings": dict(settings.items()), "model": dict(loaded.card.scores)})
    view = View.of(footage, priors, settings, device)
    images, masks = _all_pictures(footage, loaded, device)
    progress = _Progress(OnlineAdaptation(loaded.model, len(images), course.seed))
    stages.state = lambda: ({}, progress.tensors())
    if stages.found:
        stages.resumed(lambda found: progress.resume(found.tensors, device))

    def predict(_: np.random.Generator, report: Report) -> None:
        progress.steady = _steady(loaded, images, masks, view, priors, renderer, report)

    stages.run("prediction", predict)
    steady = progress.steady
    assert steady is not None

    def after_window() -> None:
        stages.save()
        course.show(lambda: _of_state(footage, loaded, progress.adaptation.blended.state(steady)))

    course.show(lambda: _of_state(footage, loaded, steady))
    if settings.iterations:
        stages.run("adaptation", lambda _, report: adapt(progress.adaptation, footage, images, masks, steady.rotation,
                                                         settings, renderer, report, after_window))
    state = replace(progress.adaptation.blended.state(), rotation=steady.rotation) if settings.iterations else steady
    base = None if like is None else laid_on(loaded.model.shape, like.rest_vertices, like.faces)
    progress.start(solution := solution_of(loaded, state, view, base))

    def fit_subject(random: np.random.Generator, report: Report) -> None:
        def after_step(step: int, steps: int) -> None:
            report(step, steps)
            course.show(lambda: result_of(solution, footage))

        schedule = schedule_of(settings, len(images))
        fitter.improve(solution, fitter.observe(SIZE, [], random), schedule, random, after_step, runs_and_pairs)

    stages.run("subject", fit_subject)
    return Fit(result_of(solution, footage), stages.seconds)


def schedule_of(settings: Settings, frames: int) -> Schedule:
    """That of the closing pass, in which each frame is in about `settings.visits` batches."""
    iterations = max(1, -(-settings.visits * frames // settings.frames_per_iteration))
    return Schedule(iterations, warm_up=0.0, final_rate=0.05, guided=GUIDED)


def solution_of(loaded: LoadedModel, state: State, view: View, base: Tensor | None = None) -> Solution:
    """One subject in all frames as a model predicts it of each (VMR 3.2): its base shape is shared, its surface moves
    as optical flow does, and its colours are the same in every frame.

    base  (1, V, 3) where it is known better
    """
    shape = loaded.model.shape
    if base is None:
        base = shape.base(basis_weights(state.basis_logits).mean(0, keepdim=True)).detach()
    own = CategoryShape(base, shape.sphere, Handles(shape.weights.clone(), shape.twin.clone()), STRENGTH)
    body = CategoryBody(own, state.handles, _arrays_of(loaded))
    return Solution(body, FrameCameras(view, state.camera)).to(base.device)


def initial_priors(fitter: Fitter, loaded: LoadedModel, priors: Priors, progress: Report) -> Priors:
    """What is known, and what a category model predicts of the clip: a shape, and hints at the subject's heading.

    A fit that needs no category model starts from there.
    """
    footage, device = fitter.footage, fitter.device
    view = View.of(footage, priors, fitter.settings, device)
    images, masks = _all_pictures(footage, loaded, device)
    state = _steady(loaded, images, masks, view, priors, fitter.renderer, progress)
    with torch.no_grad():
        base = loaded.model.predict(state).base.mean(0)
    path, every = state.rotation.double().cpu().numpy(), np.linspace(0, len(footage.numbers) - 1, HINTS).round()
    hints = {int(footage.numbers[index]): path[index] for index in every.astype(int)}
    if priors.hints is not None:
        hints |= dict(zip(priors.hints.frames.tolist(), priors.hints.matrices, strict=True))
    frames = sorted(hints)
    shape = np.ascontiguousarray((state.camera.scale.median() * base).cpu().numpy(), np.float32)
    return replace(priors, hints=Rotations(np.array(frames), np.stack([hints[frame] for frame in frames])),
                   shape=Shape(shape, loaded.model.shape.sphere))


@torch.no_grad()
def predicted_landmarks(fitter: Fitter, loaded: LoadedModel, priors: Priors, progress: Report) -> Priors:
    """What is known, and where a category model with keypoints sees them in the clip."""
    assert loaded.affinity is not None
    view = View.of(fitter.footage, priors, fitter.settings, fitter.device)
    images, masks = _all_pictures(fitter.footage, loaded, fitter.device)
    state = _steady(loaded, images, masks, view, priors, fitter.renderer, progress)
    points = loaded.affinity @ state.camera.project(loaded.model.predict(state).vertices)[..., :2]
    headings = np.unwrap(yaw_of(state.rotation.double().cpu().numpy()))
    found = PredictedLandmarks(tuple(loaded.card.category.keypoints), points.cpu().numpy(), headings)
    return replace(priors, landmarks=found)


def _steady(loaded: LoadedModel, images: Tensor, masks: Tensor, view: View, priors: Priors, renderer: Renderer,
            report: Report) -> State:
    """What is predicted of each frame by itself, under the camera's likeliest path."""
    found = candidates(loaded.model, images, masks, renderer, report)
    turning = None
    if priors.solve is not None:
        turning = torch.from_numpy(starting_rotations(priors, view.numbers.cpu().numpy())).to(images)
    return steady_state(found, view.numbers, view.hints, turning)


class _Progress:
    """How far a run has come, and the tensors that it goes on from."""

    def __init__(self, adaptation: OnlineAdaptation):
        self.adaptation = adaptation
        self.steady: State | None = None
        """What is predicted of each frame by itself, under the camera's path."""
        self._solution: Solution | None = None
        self._found: dict[str, Tensor] = {}

    def tensors(self) -> dict[str, Tensor]:
        assert self.steady is not None
        solution = {} if self._solution is None else self._solution.state_dict()
        steady = zip(STATE_NAMES, self.steady.values(), strict=True)
        return (self.adaptation.tensors() | {f"steady.{name}": value for name, value in steady}
                | {f"solution.{name}": value for name, value in solution.items()})

    def resume(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """KeyError, ValueError or RuntimeError where the tensors are of another model or clip."""
        self.adaptation.restore(tensors)
        self.steady = State(*(tensors[f"steady.{name}"].to(device) for name in STATE_NAMES))
        self._found = under("solution.", tensors)

    def start(self, solution: Solution) -> None:
        """Fit this solution, or go on from what a checkpoint holds of it."""
        self._solution = solution
        if self._found:
            solution.load_state_dict(self._found)


@torch.no_grad()
def _of_state(footage: Footage, loaded: LoadedModel, state: State) -> Reconstruction:
    """What a model predicts of every frame."""
    prediction = loaded.model.predict(state)
    return _predicted(footage, loaded, prediction.base.mean(0), prediction.vertices, prediction.camera)


@torch.no_grad()
def predict_clip(footage: Footage, loaded: LoadedModel, renderer: Renderer, report: Report) -> Reconstruction:
    """The mesh and camera of each frame, as a model predicts them from that frame alone."""
    device = loaded.model.anchors.device
    bases, meshes, cameras = [], [], []
    for start in range(0, len(footage.numbers), BATCH):
        images, masks = pictures(footage, loaded, slice(start, start + BATCH), device)
        prediction, _ = loaded.model(images, masks, renderer)
        bases.append(prediction.base)
        meshes.append(prediction.vertices)
        cameras.append(prediction.camera)
        report(min(start + BATCH, len(footage.numbers)), len(footage.numbers))
    return _predicted(footage, loaded, torch.cat(bases).mean(0), torch.cat(meshes), WeakCamera.joined(cameras))


def pictures(footage: Footage, loaded: LoadedModel, frames: slice, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (N, 3, S, S) and masks (N, S, S) of some frames, as the model takes them."""
    images, masks = (torch.from_numpy(values).to(device) for values in (
        footage.images[frames].transpose(0, 3, 1, 2).astype(np.float32) / 255, footage.masks[frames]))
    return at_size(images, masks, loaded.model.architecture.image_size)


def _all_pictures(footage: Footage, loaded: LoadedModel, device: torch.device) -> tuple[Tensor, Tensor]:
    """Those of all frames, a few at a time: as floats, whole crops would take more memory than all the rest."""
    chunks = [pictures(footage, loaded, slice(start, start + BATCH), device)
              for start in range(0, len(footage.numbers), BATCH)]
    images, masks = zip(*chunks, strict=True)
    return torch.cat(images), torch.cat(masks)


def _predicted(footage: Footage, loaded: LoadedModel, rest: Tensor, vertices: Tensor,
               camera: WeakCamera) -> Reconstruction:
    """Of meshes (T, V, 3) and their cameras in crop units. The rest shape is the mean base shape."""
    scale = 1 / extent_of(rest)
    half, centre = (torch.from_numpy(values).to(vertices) for values in (footage.crop_half, footage.crop_centre))
    in_pixels = WeakCamera(camera.rotation, camera.scale * half / scale, centre + half[:, None] * camera.shift)
    vertices = scale * vertices
    return reconstruction_of(footage, scale * rest, vertices, long_focus(vertices, in_pixels, footage.image_size),
                             _arrays_of(loaded))


def _arrays_of(loaded: LoadedModel) -> dict[str, Any]:
    """What a result holds of a category, whatever the subject."""
    sphere = loaded.model.shape.sphere
    arrays: dict[str, Any] = {"faces": sphere.faces, "uv": spherical_uv(sphere)}
    if loaded.affinity is not None:
        arrays |= {"keypoint_names": np.array(loaded.card.category.keypoints), "keypoint_weights": loaded.affinity}
    return arrays


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
