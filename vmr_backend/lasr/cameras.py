"""The search for the camera path: many hypotheses on a rigid shape, fitted together and pruned in rounds.

Root pose is where these methods fail, so it comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..geometry.rotations import about_x, about_z
from ..rendering import Renderer
from ..settings import Settings
from .descent import Schedule, descend
from .known import Known, starting_rotations, starting_turns, yaw_of
from .model import ELEVATION, LEVEL_CAMERA, Model
from .observations import Observations

RATES = (0.6, -0.6, 1.8, -1.8)
"""Turns over the whole clip in radians, both senses."""

HEADINGS = (math.pi / 2, 0.0, math.pi / 4, -math.pi / 4)
"""Of the symmetry plane in the middle of the clip: side view, front or back, and between. Head and tail look alike to
a plane, so half a circle is enough."""

ROUNDS = ((0.15, 0.5), (0.2, 0.375), (0.25, 0.25), (0.4, 0.0))
"""Share of the rigid iterations in each round, and of the hypotheses that live on after it; one after the last."""

COLOUR_VOTE = 2.0
"""What colour counts for in a score, beside its weight in the objective. Colours are forced to be symmetric, too: seen
along the wrong heading, or turning the wrong way, they contradict each other, where outlines and flow may not. A weight
of this size in the objective itself would drag the shape after the picture's brightness."""


@dataclass
class Hypothesis:
    """A camera path that was tried."""

    heading: float
    """Radians, in the middle of the clip."""
    turn: float
    """Radians over the whole clip, at the start of the fit."""
    scores: list[float] = field(default_factory=list)
    """At the end of each round that it lived through, the objective and its vote of colour; lower is better."""
    kept: bool = True
    found_heading: float = math.nan
    """Radians, where the search left it: the mean over the clip."""
    found_turn: float = math.nan
    """Radians from first to last frame, likewise."""


@dataclass(frozen=True)
class Starts:
    """Camera paths that the search starts from."""

    hypotheses: list[Hypothesis]
    turn: np.ndarray
    """(H, T) yaw in radians."""
    tilt: np.ndarray
    """(T, 3, 3) rotations that follow the upright ones, in camera axes: the identity where nothing is known of them."""
    solved: bool = False
    """The turning is known; only the heading is open."""

    def first(self) -> Starts:
        return replace(self, hypotheses=self.hypotheses[:1], turn=self.turn[:1])


def starts_of(count: int, known: Known, numbers: np.ndarray) -> Starts:
    """Paths to try at frame numbers (T,): `count` of a grid of headings and rates, or what is left open by what is
    known. Repeated ones differ by their networks' random start."""
    if known.solve is not None:
        # A solve leaves no rate open, and is not blind to front and back.
        open_headings = [h + half for h in HEADINGS for half in (0.0, math.pi)] if known.hints is None else [0.0]
        rotations = np.stack([starting_rotations(known, numbers, heading) for heading in open_headings])
        turn = np.unwrap(yaw_of(rotations), axis=1)
        return Starts(_hypotheses(turn), turn, _tilts(rotations[0], turn[0]), solved=True)
    if known.hints is not None:
        turn = starting_turns(known, numbers, [0.0, *RATES] if len(known.hints.frames) == 1 else [0.0])
        rotations = starting_rotations(known, numbers)
        return Starts(_hypotheses(turn), turn, _tilts(rotations, yaw_of(rotations)))
    grid = [(heading, rate) for heading in HEADINGS for rate in RATES]
    time = (numbers - numbers.min()) / max(numbers.max() - numbers.min(), 1) - 0.5
    turn = np.stack([heading + rate * time for heading, rate in (grid[i % len(grid)] for i in range(count))])
    return Starts(_hypotheses(turn), turn, np.repeat(np.eye(3)[None], len(numbers), 0))


def _hypotheses(turn: np.ndarray) -> list[Hypothesis]:
    return [Hypothesis(float((path[0] + path[-1]) / 2), float(path[-1] - path[0])) for path in turn]


def _tilts(rotations: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """What rotations (T, 3, 3) do besides showing an upright subject of this yaw (T,) to a camera at ELEVATION."""
    yaw = torch.from_numpy(yaw)
    upright = about_x(torch.tensor(ELEVATION, dtype=yaw.dtype)) @ LEVEL_CAMERA.to(yaw.dtype) @ about_z(yaw)
    return rotations @ upright.mT.numpy()


def search(model: Model, starts: list[Hypothesis], seen: Observations, renderer: Renderer, settings: Settings,
           random: np.random.Generator, progress: Callable[[int, int], None]) -> list[Hypothesis]:
    """Fit all hypotheses of the model, prune to one. Returns them with their scores, the best first."""
    alive = list(starts)
    total, done = settings.rigid_iterations, 0
    for share, survivors in ROUNDS:
        iterations = max(1, round(share * total) if survivors else total - done)
        freedom = 0.0 if settings.upright else 1.0
        schedule = Schedule(iterations, (1.0, 1.0), (freedom, freedom), (1.0, 1.0))
        found = descend(model, seen, renderer, settings, schedule, random,
                        lambda i, _, before=done: progress(min(before + i, total), total))
        done += iterations
        scores = (found["total"] + COLOUR_VOTE * found["colour"]).tolist()
        yaws = np.unwrap(yaw_of(model.camera(freedom)[0].detach().cpu().numpy()), axis=1)
        for hypothesis, score, yaw in zip(alive, scores, yaws, strict=True):
            hypothesis.scores.append(score)
            hypothesis.found_heading, hypothesis.found_turn = float(yaw.mean()), float(yaw[-1] - yaw[0])
        keep = _survivors(alive, max(2, round(survivors * len(starts))) if survivors else 1)
        model.keep(torch.tensor(keep))
        for hypothesis in alive:
            hypothesis.kept = False
        alive = [alive[i] for i in keep]
        for hypothesis in alive:
            hypothesis.kept = True
    return sorted(starts, key=lambda h: (-len(h.scores), not h.kept, h.scores[-1]))


def _survivors(alive: list[Hypothesis], count: int) -> list[int]:
    """Indices of those that go on: the best of each turning sense, then the best of the rest."""
    order = sorted(range(len(alive)), key=lambda i: alive[i].scores[-1])
    if count == 1:
        return order[:1]
    first = [next(i for i in order if (alive[i].turn > 0) == sense) for sense in {h.turn > 0 for h in alive}]
    return sorted((first + [i for i in order if i not in first])[:count])
