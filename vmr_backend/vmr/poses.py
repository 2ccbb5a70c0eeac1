"""A category model's prediction of a clip: each frame by itself, under the one path of the camera that fits all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..fitting.data_terms import mask_term
from ..fitting.view import Hints
from ..geometry.arap import arap_energy
from ..geometry.rotations import angle_between, from_axis_angle, to_axis_angle
from ..rendering import Renderer
from .model import MISFIT, CategoryModel, InitialPrediction, Prediction, State

BATCH = 32
"""Frames predicted together."""
IMPROBABILITY, SILHOUETTE, STRETCH = 0.5, 2.0, 30.0
"""Weights of a hypothesis' negative log probability, its silhouette's error and its stretching, beside the landmarks'
residuals."""
TURNING, USUAL_TURN = 5.0, 0.2
"""Weight of a turn from one frame to the next, per radian, and the radians below which it counts less."""
SMOOTHING, REACH = 4.0, 3.0
"""Standard deviation of the smoothing over time, in frames, and how many of it the window reaches to each side."""
OUTLYING = 0.1
"""Radians beyond which residuals of rotations count less and less."""
ROUNDS = 8
"""Of smoothing, each with weights from the one before."""
HINT = 20.0
"""Weight of a user's hint, per radian."""


@dataclass(frozen=True)
class Candidates:
    """Predictions of T frames under each of C hypotheses of the camera."""

    states: list[State]
    """C states of T frames."""
    costs: Tensor
    """(T, C) of each."""
    misfits: Tensor
    """(T, C) crop units: distance of the landmarks in the picture from those of the mesh, weighted by the confidence in
    them, over the mean of that."""

    @property
    def rotations(self) -> Tensor:
        """(T, C, 3, 3), object to camera."""
        return torch.stack([state.rotation for state in self.states], 1)

    def along(self, path: Tensor) -> State:
        """With hypothesis `path` (T,) of each frame."""
        frames = torch.arange(len(path), device=path.device)
        every = zip(*(state.values() for state in self.states), strict=True)
        return State(*(torch.stack(values, 1)[frames, path] for values in every))


@torch.no_grad()
def candidates(model: CategoryModel, images: Tensor, masks: Tensor, renderer: Renderer,
               progress: Callable[[int, int], None]) -> Candidates:
    """Predictions of frames (T, 3, S, S) with masks (T, S, S) in 0..1, each by itself, under every hypothesis."""
    count = model.architecture.hypotheses
    states: list[list[State]] = [[] for _ in range(count)]
    costs: list[list[Tensor]] = [[] for _ in range(count)]
    misfits: list[list[Tensor]] = [[] for _ in range(count)]
    done, chunks = 0, list(zip(images.split(BATCH), masks.split(BATCH), strict=True))
    for few, few_masks in chunks:
        initial = model.initial_prediction(few, few_masks)
        for which in range(count):
            index = torch.full((len(few),), which, device=few.device)
            prediction = model.refined(initial.encoding, model.predict(initial.state_under(index)), renderer)
            states[which].append(prediction.state)
            cost, misfit = _cost_and_misfit(model, initial, prediction, which, renderer)
            costs[which].append(cost)
            misfits[which].append(misfit)
            done += 1
            progress(done, count * len(chunks))
    return Candidates([State.joined(parts) for parts in states],
                      *(torch.stack([torch.cat(parts) for parts in each], 1) for each in (costs, misfits)))


def _cost_and_misfit(model: CategoryModel, initial: InitialPrediction, prediction: Prediction, which: int,
                     renderer: Renderer) -> tuple[Tensor, Tensor]:
    """Both (N,), of one hypothesis, by its number `which`: see `Candidates`."""
    points, masks = prediction.camera.project(prediction.vertices), initial.encoding.masks
    apart = (points[:, model.landmarks, :2] - initial.encoding.landmarks).norm(dim=-1)
    confidence = initial.encoding.confidence
    residual = (confidence * apart).mean(1)
    stretch = arap_energy(prediction.base, prediction.vertices, model.shape.edges,
                          model.shape.cotangents(prediction.base))
    cost = (SILHOUETTE * mask_term(points, model.shape.faces, masks, renderer) + STRETCH * stretch
            + residual / MISFIT
            - IMPROBABILITY * initial.hypotheses.logits.log_softmax(1)[:, which])
    return cost, residual / confidence.mean(1).square()


def steady_state(found: Candidates, numbers: Tensor, hints: Hints | None = None,
                 turning: Tensor | None = None) -> State:
    """The state of each frame under the camera's likeliest path, which is smoothed.

    numbers  (T,) of the frames
    hints    which way the subject faces in some frames, by the user
    turning  (T, 3, 3) object to camera, up to one rotation of the object, where the camera is solved
    """
    costs, rotations = found.costs, found.rotations
    if hints is not None:
        off = angle_between(rotations[hints.frames], hints.rotations.to(costs).unsqueeze(1))
        costs = costs.index_add(0, hints.frames, HINT * off)
    relative = rotations if turning is None else turning.mT.unsqueeze(1) @ rotations
    state = found.along(likeliest_path(costs, relative))
    if turning is None:
        return replace(state, rotation=smooth_path(state.rotation, numbers))
    return replace(state, rotation=turning @ middle_rotation(turning.mT @ state.rotation))


def likeliest_path(costs: Tensor, rotations: Tensor) -> Tensor:
    """(T,) the hypothesis of each frame by which costs (T, C) and turns between rotations (T, C, 3, 3) of one frame and
    the next are least in sum (Viterbi 1967). A large turn counts like a line, a small one like a square."""
    total, before = costs[0], []
    for cost, here, there in zip(costs[1:], rotations[:-1], rotations[1:], strict=True):
        turn = angle_between(here.unsqueeze(1), there.unsqueeze(0))
        least = (total.unsqueeze(1) + TURNING * turn.square() / (turn + USUAL_TURN)).min(0)
        total = least.values + cost
        before.append(least.indices)
    path = [total.argmin()]
    for chosen in reversed(before):
        path.append(chosen[path[-1]])
    return torch.stack(path[::-1])


def smooth_path(rotations: Tensor, numbers: Tensor) -> Tensor:
    """Rotations (T, 3, 3) at frame numbers (T,), each moved onto a line fitted robustly to its neighbours (iteratively
    reweighted least squares): predictions frame by frame jitter, and a camera does not."""
    reach = min(len(rotations) - 1, round(SMOOTHING * REACH))
    indices = torch.arange(len(rotations), device=rotations.device)[:, None]
    beside = indices + torch.arange(-reach, reach + 1, device=rotations.device)
    inside = (beside >= 0) & (beside < len(rotations))
    beside = beside.clamp(0, len(rotations) - 1)
    step = numbers.diff().median().clamp_min(1)
    apart = (numbers[beside] - numbers[:, None]) / step
    near = inside * torch.exp(-0.5 * (apart / SMOOTHING).square())
    smoothed = rotations
    for _ in range(ROUNDS):
        off = to_axis_angle(rotations[beside] @ smoothed.unsqueeze(1).mT)
        weight = near / (off.norm(dim=-1) + OUTLYING)
        weight = (weight / weight.sum(1, keepdim=True)).unsqueeze(-1)
        middle, time = (weight * off).sum(1), (weight * apart.unsqueeze(-1)).sum(1)
        late = apart.unsqueeze(-1) - time.unsqueeze(1)
        slope = (weight * late * (off - middle.unsqueeze(1))).sum(1) / (weight * late.square()).sum(1).clamp_min(1e-6)
        smoothed = from_axis_angle(middle - slope * time) @ smoothed
    return smoothed


def middle_rotation(rotations: Tensor) -> Tensor:
    """(3, 3) a robust mean of rotations (T, 3, 3): outliers count little."""
    apart = angle_between(rotations.unsqueeze(1), rotations.unsqueeze(0))
    middle = rotations[apart.sum(1).argmin()]
    for _ in range(ROUNDS):
        off = to_axis_angle(rotations @ middle.mT)
        weight = 1 / (off.norm(dim=-1, keepdim=True) + OUTLYING)
        middle = from_axis_angle((weight * off).sum(0) / weight.sum()) @ middle
    return middle
