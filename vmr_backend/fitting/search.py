"""The search for the camera path: many hypotheses on a rigid shape, fitted together and pruned in rounds.

Root pose is where these methods fail, so it comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..geometry.cameras import LEVEL_CAMERA
from ..geometry.rotations import about_x, about_z
from ..priors import Priors, starting_rotations, starting_turns, yaw_of
from ..settings import Settings
from .camera import ELEVATION, CameraPath
from .fitter import Fitter, Schedule, Solution
from .observations import Observations

RATES = (0.6, -0.6, 1.8, -1.8)
"""Turns over the whole clip in radians, both senses."""

ROLLING_RATES = (1.2, -1.2)
"""The same for subjects that may roll."""

ROLL_FRACTIONS = (0.6, 1.0)
"""Of the roll that flow shows: where the camera looks down, turning about the vertical is part of it."""

NOTABLE_ROLL = math.radians(40)
"""Between the extremes of the clip, from which on subjects that roll are tried, too."""

HEADINGS = (math.pi / 2, 0.0, math.pi / 4, -math.pi / 4)
"""Of the symmetry plane in the middle of the clip: side view, front or back, and between. Head and tail look alike to
a plane, so half a circle is enough."""

HALF_ROUND = tuple((heading, rate) for heading in HEADINGS for rate in RATES)
ALL_ROUND = tuple((heading, rate) for rate in RATES for heading in (k * math.pi / 4 for k in range(8)))
"""Headings and rates that are tried, of a plane, and of a body whose head and tail differ: all headings before another
rate."""

ROUNDS = ((0.15, 0.5), (0.2, 0.375), (0.25, 0.25), (0.4, 0.0))
"""Fraction of the rigid iterations in each round, and of the hypotheses that live on after it; one after the last."""

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
    roll: float = 0.0
    """Radians between the extremes of the clip by which the subject turns in the picture's plane, likewise."""
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
    """(H, T, 3, 3) rotations that follow the upright ones, in camera axes: the identity for upright subjects."""
    solved: bool = False
    """The turning is known; only the heading is open."""

    def first(self) -> Starts:
        return replace(self, hypotheses=self.hypotheses[:1], turn=self.turn[:1], tilt=self.tilt[:1])


def starts_of(count: int, priors: Priors, numbers: np.ndarray, roll: np.ndarray,
              grid: Sequence[tuple[float, float]] = HALF_ROUND) -> Starts:
    """Paths to try at frame numbers (T,): the first `count` of a grid of headings and rates, or what is left open by
    what is known. Repeated ones differ by their networks' random start. Where the flow shows that the subject may roll,
    by the angles `roll` (T,) in radians, a grid of paths that do follows. The path that a category model predicts comes
    first."""
    if priors.solve is not None:
        # A solve leaves no rate open, and is not blind to front and back.
        open_headings = [h + half for h in HEADINGS for half in (0.0, math.pi)] if priors.hints is None else [0.0]
        rotations = np.stack([starting_rotations(priors, numbers, heading) for heading in open_headings])
        turn = np.unwrap(yaw_of(rotations), axis=1)
        return Starts(_hypotheses(turn), turn, _tilts(rotations[0], turn[0], len(turn)), solved=True)
    if priors.hints is not None:
        turn = starting_turns(priors, numbers, [0.0, *RATES] if len(priors.hints.frames) == 1 else [0.0])
        rotations = starting_rotations(priors, numbers)
        return Starts(_hypotheses(turn), turn, _tilts(rotations, yaw_of(rotations), len(turn)))
    first, rates = np.array([grid[i % len(grid)] for i in range(count)]).T
    upright = _evenly(first, rates, np.zeros(count), numbers, roll)
    if priors.landmarks is not None:
        path = priors.landmarks.headings[None]
        upright = _joined(Starts(_hypotheses(path), path, np.eye(3) * np.ones((1, len(numbers), 1, 1))), upright)
    if np.ptp(roll) < NOTABLE_ROLL:
        return upright
    headings = list(dict.fromkeys(heading for heading, _ in grid))
    fractions, first, rates = (np.ravel(each) for each in np.meshgrid(ROLL_FRACTIONS, headings, ROLLING_RATES))
    rolling = _evenly(first, rates, fractions, numbers, roll)
    return _joined(upright, rolling)


def _joined(some: Starts, others: Starts) -> Starts:
    return Starts(some.hypotheses + others.hypotheses, np.concatenate([some.turn, others.turn]),
                  np.concatenate([some.tilt, others.tilt]))


def _evenly(headings: np.ndarray, rates: np.ndarray, fractions: np.ndarray, numbers: np.ndarray,
            roll: np.ndarray) -> Starts:
    """Paths of headings and rates (H,) that turn evenly at frame numbers (T,), and roll by fractions (H,) of roll
    (T,)."""
    time = (numbers - numbers.min()) / max(numbers.max() - numbers.min(), 1) - 0.5
    turn = headings[:, None] + rates[:, None] * time
    tilt = np.stack([Rotation.from_rotvec(part * roll[:, None] * [0, 0, 1]).as_matrix() for part in fractions])
    rolls = (fractions * np.ptp(roll)).tolist()
    return Starts([replace(h, roll=r) for h, r in zip(_hypotheses(turn), rolls, strict=True)], turn, tilt)


def _hypotheses(turn: np.ndarray) -> list[Hypothesis]:
    return [Hypothesis(float((path[0] + path[-1]) / 2), float(path[-1] - path[0])) for path in turn]


def _tilts(rotations: np.ndarray, yaw: np.ndarray, count: int) -> np.ndarray:
    """What rotations (T, 3, 3) do besides showing an upright subject of this yaw (T,) to a camera at ELEVATION, for
    every one of `count` hypotheses: (count, T, 3, 3)."""
    yaw = torch.from_numpy(yaw)
    upright = about_x(torch.tensor(ELEVATION, dtype=yaw.dtype)) @ LEVEL_CAMERA.to(yaw.dtype) @ about_z(yaw)
    return np.repeat((rotations @ upright.mT.numpy())[None], count, 0)


def rigid_schedule(settings: Settings, iterations: int) -> Schedule:
    """Of a symmetric body that does not deform, under an upright camera where that is given."""
    freedom = 0.0 if settings.upright else 1.0
    return Schedule(iterations, symmetry=(1.0, 1.0), freedom=(freedom, freedom))


def search(solution: Solution, starts: list[Hypothesis], observations: Observations, fitter: Fitter,
           random: np.random.Generator, progress: Callable[[int, int], None]) -> list[Hypothesis]:
    """Fit all hypotheses of a solution, whose cameras are paths, and prune to one. Returns them with their scores, the
    best first."""
    total, settings = fitter.settings.rigid_iterations, fitter.settings
    count, first = min(settings.hypotheses, len(starts)), [round(part * total) for part, _ in ROUNDS[:-1]]
    rounds = [(rigid_schedule(settings, max(1, iterations)), max(2, round(survivors * count)) if survivors else 1)
              for iterations, (_, survivors) in zip([*first, total - sum(first)], ROUNDS, strict=True)]
    prune(solution, list(starts), observations, fitter, rounds, random, progress)
    return best_first(starts)


def sense_of(hypothesis: Hypothesis) -> Hashable:
    """Which way it turns, and by how much it rolls."""
    return hypothesis.turn > 0, hypothesis.roll


def best_first(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """The one that is left, then the others, those that lived longest and scored best first."""
    return sorted(hypotheses, key=lambda h: (-len(h.scores), not h.kept, h.scores[-1]))


def prune(solution: Solution, alive: list[Hypothesis], observations: Observations, fitter: Fitter,
          rounds: Sequence[tuple[Schedule, int]], random: np.random.Generator, progress: Callable[[int, int], None],
          kind: Callable[[Hypothesis], Hashable] = sense_of) -> list[Hypothesis]:
    """Fit the hypotheses of a solution, whose cameras are paths, and drop those that fit worse. Returns those left.

    rounds  how each round is fitted, and how many live on after it
    kind    the best of each kind lives on where that many do
    """
    camera = solution.cameras
    assert isinstance(camera, CameraPath)
    total, done = sum(schedule.iterations for schedule, _ in rounds), 0
    for schedule, survivors in rounds:
        found = fitter.improve(solution, observations, schedule, random,
                               lambda i, _, before=done: progress(min(before + i, total), total))
        done += schedule.iterations
        scores = (found["total"] + COLOUR_VOTE * found["colour"]).tolist()
        upright = camera.tilt.mT @ camera(schedule.freedom[0])[0].detach()
        yaws = np.unwrap(yaw_of(upright.cpu().numpy()), axis=1)
        for hypothesis, score, yaw in zip(alive, scores, yaws, strict=True):
            hypothesis.scores.append(score)
            hypothesis.found_heading, hypothesis.found_turn = float(yaw.mean()), float(yaw[-1] - yaw[0])
        keep = _survivors(alive, survivors, kind)
        select(solution, torch.tensor(keep))
        for hypothesis in alive:
            hypothesis.kept = False
        alive = [alive[i] for i in keep]
        for hypothesis in alive:
            hypothesis.kept = True
    return alive


def select(solution: Solution, hypotheses: torch.Tensor) -> None:
    """Go on with these hypotheses only (H,) int64, whose cameras are paths; one may be there several times."""
    camera = solution.cameras
    assert isinstance(camera, CameraPath)
    for module in solution.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(parameter.detach()[hypotheses].clone()))
    camera.turn, camera.tilt = camera.turn[hypotheses], camera.tilt[hypotheses]


def _survivors(alive: list[Hypothesis], count: int, kind: Callable[[Hypothesis], Hashable] = sense_of) -> list[int]:
    """Indices of those that go on: the best of each kind, then the best of the rest."""
    order = sorted(range(len(alive)), key=lambda i: alive[i].scores[-1])
    if count == 1:
        return order[:1]
    kinds = [kind(hypothesis) for hypothesis in alive]
    first = [next(i for i in order if kinds[i] == one) for one in dict.fromkeys(kinds)]
    return sorted((first + [i for i in order if i not in first])[:max(count, len(first))])
