"""Gradient descent on the parameters of a model over random frame pairs: one leg of the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.smoothing import BETAS, UniformAdam, falling
from ..rendering import Renderer
from ..settings import Settings
from ..video.observations import Observations
from .model import Model
from .objective import Regularity, terms

MESH_RATE, COLOUR_RATE, CAMERA_RATE, BONE_RATE, MOTION_RATE, ZOOM_RATE = 0.3, 2e-2, 5e-3, 3e-3, 5e-3, 2e-2
"""Learning rates by kind of parameter, measured. The mesh's is that of `UniformAdam`, whose steps are mostly far
smaller than its rate; the others are Adam's."""

SETTLED = 0.03
"""Factor of the rate at which the camera still turns once there are bones. At the full rate bones and camera trade a
turn for a stretch, and a path that the rigid stage had found to within 5 degrees is lost."""

FASTEST, RELEASED = 4.0, 0.7
"""Frames that bones take at the least to move to and fro, and the share of a leg after which not even that holds."""

CHECKED = 50
"""Iterations after which a GPU is asked whether the objective is still finite: it has to finish all its work to answer.
On the CPU each is checked, since PyTorch crashes where it looks up pictures at places that are not finite."""

FINAL_RATE = 0.1
"""Of the first, reached along a cosine."""


@dataclass(frozen=True)
class Schedule:
    """How one leg runs. Pairs are the values at its start and at its end; they change evenly in between."""

    iterations: int
    symmetry: tuple[float, float] = (0.0, 0.0)
    """How far the rest mesh is forced onto its mirror image."""
    freedom: tuple[float, float] = (1.0, 1.0)
    """How far the camera may leave an upright turn."""
    stiffness: tuple[float, float] = (0.1, 0.1)
    """Factor of the terms that smooth the rest mesh (LASR lets its fall from 0.5 to 0.05)."""
    rate: float = 1.0
    """Factor of the learning rates."""
    shortest: float = 0.0
    """Frames that bones take at the least to move to and fro at its start; falls by octaves to FASTEST. Slow motion
    first: two limbs that pass each other then do pass, and do not turn back half-way, which takes twice the speed
    (coarse to fine as in Nerfies, Park et al. 2021)."""


def descend(model: Model, seen: Observations, renderer: Renderer, settings: Settings, schedule: Schedule,
            random: np.random.Generator, progress: Callable[[int, int], None]) -> dict[str, Tensor]:
    """Improve the model in place. Returns the mean of each term and of their "total" over the last third, (H,) each."""
    optimisers = [UniformAdam([{"params": [model.mesh.latent], "lr": schedule.rate * MESH_RATE}]),
                  torch.optim.Adam(_groups(model, schedule.rate), betas=BETAS)]
    curve = _rate_curve(schedule.iterations)
    rates = [torch.optim.lr_scheduler.LambdaLR(optimiser, curve) for optimiser in optimisers]
    regularity, weights = Regularity.of(model), settings.weights()
    pairs = max(1, settings.frames_per_iteration // 2)
    frames = len(seen.masks)
    tail: list[dict[str, Tensor]] = []
    for i in range(schedule.iterations):
        at = i / schedule.iterations
        # Every other iteration looks at neighbours, the rest at frames further apart.
        link = seen.links[0 if i % 2 == 0 else i // 2 % len(seen.links)]
        starts = torch.from_numpy(random.permutation(frames - link.gap)[:pairs])
        starts = starts.to(seen.masks.device, non_blocking=True)
        found = terms(model, seen, link, starts, renderer, regularity, _between(schedule.symmetry, at),
                      _between(schedule.freedom, at), _shortest(schedule.shortest, at))
        stiffness = _between(schedule.stiffness, at)
        total = torch.stack([weights[name] * (stiffness if name in ("laplacian", "flatten") else 1) * value
                             for name, value in found.items()]).sum(0)
        last = i + 1 == schedule.iterations
        checked = last or i % CHECKED == 0 or not total.is_cuda
        if checked and not torch.isfinite(total).all():
            raise FloatingPointError("the fit diverged; another seed, or lower loss weights, may help")
        model.zero_grad(set_to_none=True)
        total.sum().backward()
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.step()
            rate.step()
        if at >= 2 / 3 or last:
            tail.append({name: value.detach() for name, value in (found | {"total": total}).items()})
        progress(i + 1, schedule.iterations)
    return {name: torch.stack([values[name] for values in tail]).mean(0) for name in tail[0]}


def _groups(model: Model, rate: float) -> list[dict]:
    groups: list[tuple] = [([model.colours], COLOUR_RATE)]
    camera = model.camera
    heading = CAMERA_RATE * (1 if model.skeleton is None else SETTLED)
    turning = 0.0 if camera.solved else heading
    groups += [([camera.heading], heading), ([camera.elevation, *camera.slow.parameters()], turning),
               (camera.fast.parameters(), CAMERA_RATE)]
    # A rigid shape is too rough to tell perspective by.
    groups.append(([camera.log_zoom], ZOOM_RATE if model.view.guessed and model.skeleton is not None else 0.0))
    if model.skeleton is not None:
        skeleton = model.skeleton
        groups += [([skeleton.centres, skeleton.log_precision, skeleton.orientation], BONE_RATE),
                   (skeleton.motion.parameters(), MOTION_RATE)]
    return [{"params": list(parameters), "lr": rate * value} for parameters, value in groups]


def _rate_curve(iterations: int) -> Callable[[int], float]:
    """Warm-up over the first fiftieth, then half a cosine."""
    warm = max(1, iterations // 50)

    def factor(i: int) -> float:
        return min(1.0, (i + 1) / warm) * falling(i / iterations, FINAL_RATE)

    return factor


def _shortest(first: float, at: float) -> float:
    """Of a schedule's periods (frames) at a share of its leg."""
    return first * (FASTEST / first) ** (at / RELEASED) if first and at < RELEASED else 0.0


def _between(ends: tuple[float, float], at: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * at
