"""The fitter: a body and its cameras, compared with a clip's frames and improved, whatever the body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..geometry.cameras import project
from ..rendering import Renderer
from ..rendering.surface import facing_all_round
from ..settings import Settings
from ..video.flow import CropFlow
from ..video.footage import Footage
from .batch import Draw, FrameBatch, pairs
from .body import Body, Constraints
from .camera import Cameras
from .data_terms import data_terms
from .guided_flow import guided_flows
from .observations import SAMPLES, Observations, observe
from .optimise import descend, falling

POSES = 2
"""Of an iteration's frames, at how many a body is also seen from a random side."""

FASTEST, RELEASED = 4.0, 0.7
"""Frames that motion to and fro takes at the least, and the fraction of a stage after which not even that holds."""


@dataclass(frozen=True)
class Schedule:
    """How one descent runs. Pairs are the values at its start and at its end; they change evenly in between."""

    iterations: int
    symmetry: tuple[float, float] = (0.0, 0.0)
    """How far the rest mesh is forced onto its mirror image."""
    freedom: tuple[float, float] = (1.0, 1.0)
    """How far the camera may leave an upright turn."""
    stiffness: tuple[float, float] = (1.0, 1.0)
    """Factor of the terms that smooth the rest mesh (LASR lets its fall from 0.5 to 0.05)."""
    rate: float = 1.0
    """Factor of the learning rates."""
    warm_up: float = 1 / 50
    """Fraction of the iterations over which the learning rates grow."""
    final_rate: float = 0.1
    """Factor of the learning rates at the end, reached along half a cosine."""
    min_period: float = 0.0
    """Frames that motion to and fro takes at the least at the start; falls by octaves to FASTEST. Slow motion first:
    two limbs that pass each other then do pass, and do not turn back half-way, which takes twice the speed (coarse to
    fine as in Nerfies, Park et al. 2021)."""
    guided: tuple[float, ...] = ()
    """Fractions of the iterations after which flow across long gaps is found anew, guided by what is fitted so far."""

    def constraints(self, iteration: int) -> Constraints:
        at, first = iteration / self.iterations, self.min_period
        period = first * (FASTEST / first) ** (at / RELEASED) if first and at < RELEASED else 0.0
        return Constraints(_between(self.symmetry, at), _between(self.freedom, at), period)

    def weights(self, weights: dict[str, float], iteration: int) -> dict[str, float]:
        """Those of the terms in an iteration."""
        stiffness = _between(self.stiffness, iteration / self.iterations)
        return weights | {name: stiffness * weights[name] for name in ("laplacian", "flatten")}

    def rate_at(self, iteration: int) -> float:
        """Factor of the learning rates in an iteration."""
        grown = min(1.0, (iteration + 1) / max(1, int(self.warm_up * self.iterations + 1e-9)))
        return self.rate * grown * falling(iteration / self.iterations, self.final_rate)


B = TypeVar("B", bound=Body)


class Solution(nn.Module, Generic[B]):
    """All that is fitted: a body and its cameras. H hypotheses."""

    def __init__(self, body: B, cameras: Cameras):
        super().__init__()
        self.body: B = body
        self.cameras = cameras

    def terms(self, observations: Observations, batch: FrameBatch, renderer: Renderer,
              constraints: Constraints) -> dict[str, Tensor]:
        """Every term of a batch, unweighted, one value per hypothesis (H,)."""
        body = self.body
        pose = body.posed(batch.frames, constraints)
        camera, penalties = self.cameras.regularised(batch, constraints)
        points = project(pose.vertices, camera)
        colours = body.colours(constraints)
        found = data_terms(points, body.faces, observations, batch, renderer, colours, body.free_hidden,
                           body.between)
        some = None
        if not body.rigid:
            some = pose.vertices[:, torch.randperm(len(batch.frames), device=batch.frames.device)[:POSES]]
        found |= body.regularisers(pose, points, some, batch) | penalties
        if some is not None:
            found["facing"] = found["facing"] + facing_all_round(some, body.faces, renderer)
        return found

    @torch.no_grad()
    def on_screen(self, freedom: float = 1.0) -> Tensor:
        """Vertices (T, V, 3) of the single hypothesis in every frame's crop; depth in object units."""
        constraints = Constraints(freedom=freedom)
        every = torch.arange(len(self.cameras.view.numbers), device=self.body.faces.device)
        return project(self.body.posed(every, constraints).vertices, self.cameras.at(every, constraints))[0]


@dataclass(frozen=True)
class Fitter:
    """A clip and what it is fitted with."""

    footage: Footage
    settings: Settings
    renderer: Renderer
    device: torch.device

    def observe(self, size: int, far: list[CropFlow], random: np.random.Generator,
                samples: int = SAMPLES) -> Observations:
        """The footage and its flow across long gaps at a resolution, never a finer one than the footage's."""
        return observe(self.footage, far, min(size, self.footage.masks.shape[1]), self.device, random, samples)

    def guided(self, solution: Solution, size: int, random: np.random.Generator, freedom: float = 1.0) -> Observations:
        """The same, where the single hypothesis, its camera so free, guides the flow across long gaps."""
        points = solution.on_screen(freedom)
        return self.observe(size, guided_flows(points, solution.body.faces, self.footage, self.renderer), random)

    def improve(self, solution: Solution, observations: Observations, schedule: Schedule, random: np.random.Generator,
                progress: Callable[[int, int], None], draw: Draw = pairs) -> dict[str, Tensor]:
        """Improve a solution in place. Returns the mean of each term and of their "total" over the last third, (H,)."""
        weights, count = self.settings.weights(), self.settings.frames_per_iteration
        guided = {round(at * schedule.iterations) for at in schedule.guided}

        def evaluate(i: int) -> dict[str, Tensor]:
            nonlocal observations
            if i in guided:
                observations = self.guided(solution, observations.size, random)
            batch = draw(observations, count, i, random)
            return solution.terms(observations, batch, self.renderer, schedule.constraints(i))

        groups = solution.body.parameter_groups() + solution.cameras.parameter_groups(solution.body.rigid)
        return descend(groups, evaluate, lambda i: schedule.weights(weights, i), schedule.iterations, schedule.rate_at,
                       progress)


def _between(ends: tuple[float, float], at: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * at
