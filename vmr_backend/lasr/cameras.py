"""The search for the camera path: many hypotheses on a rigid shape, fitted together and pruned in rounds.

Root pose is where these methods fail, so it comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..rendering import Renderer
from ..settings import Settings
from .descent import Schedule, descend
from .model import Model
from .observations import Observations

RATES = (0.6, -0.6, 1.8, -1.8)
"""Turns over the whole clip in radians, both senses."""

HEADINGS = (math.pi / 2, 0.0, math.pi / 4, -math.pi / 4)
"""Of the symmetry plane in the middle of the clip: side view, front or back, and between. Head and tail look alike to
a plane, so half a circle is enough."""

ROUNDS = ((0.15, 0.5), (0.2, 0.375), (0.25, 0.25), (0.4, 0.0))
"""Share of the rigid iterations in each round, and of the hypotheses that live on after it; one after the last."""


@dataclass
class Hypothesis:
    """A camera path that was tried."""

    heading: float
    """Radians, in the middle of the clip."""
    turn: float
    """Radians over the whole clip, at the start of the fit."""
    scores: list[float] = field(default_factory=list)
    """Objective at the end of each round that it lived through; lower is better."""
    kept: bool = True


def hypotheses(count: int) -> list[Hypothesis]:
    """The first `count` of a grid of headings and turns; repeated ones differ by their networks' random start."""
    grid = [(heading, turn) for heading in HEADINGS for turn in RATES]
    return [Hypothesis(*grid[i % len(grid)]) for i in range(count)]


def turns(starts: list[Hypothesis], numbers: Tensor) -> Tensor:
    """Yaw (H, T) in radians of each hypothesis at each frame number (T,)."""
    time = (numbers - numbers.min()) / (numbers.max() - numbers.min()).clamp_min(1) - 0.5
    return torch.stack([h.heading + h.turn * time for h in starts])


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
        scores = found["total"].tolist()
        for hypothesis, score in zip(alive, scores, strict=True):
            hypothesis.scores.append(score)
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
