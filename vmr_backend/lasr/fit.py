"""LASR: cameras on a rigid shape, then bones, then the fine mesh, from nothing but the clip (Yang et al. 2021)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..bodies.sphere_bones import RestMesh, Skeleton, SphereBones
from ..checkpoint import Checkpoint
from ..fitting.camera import INITIAL_COVER, CameraPath
from ..fitting.fitter import Fitter, Schedule, Solution
from ..fitting.observations import far_flows
from ..fitting.result import Fit, result_of
from ..fitting.roll import roll_path
from ..fitting.search import Hypothesis, Starts, rigid_schedule, search, starts_of
from ..fitting.stages import Course, Report, Stages
from ..fitting.view import View
from ..geometry.body import BODY_RADIUS
from ..geometry.sphere import Sphere, icosphere
from ..priors import NOTHING, Priors
from ..settings import Settings
from ..video.footage import Footage

COARSE_LEVEL = 3
RIGID_SMOOTHING, FINE_SMOOTHING = 10.0, 10.0
"""Strengths of the rest mesh's preconditioner; more vertices want more for the same smoothness."""

SLOW = 48.0
"""Frames (two seconds of film) that bones first take at the least to move to and fro."""

REFINEMENTS = 2
"""How often the camera found is refined with flow that it helped to find itself."""


@dataclass(frozen=True)
class Refinement:
    """A stage after the camera search."""

    name: str
    size: int
    """Side of the crops in pixels."""
    level: int
    """Of the mesh."""
    smoothing: float
    schedule: Schedule


def refinements_of(settings: Settings) -> list[Refinement]:
    """The stages after the camera search, coarse to fine (LASR's S1 to S3)."""
    level, crop = settings.subdivision, settings.crop_size
    half = settings.fine_iterations // 2
    upright = (0.0, 1.0) if settings.upright else (1.0, 1.0)
    # Whatever stage is the last lets symmetry go, and smooths least.
    symmetry, stiffness = (1.0, 0.5) if settings.fine_iterations else (0.0, 0.2)
    stages = [
        Refinement("coarse", min(96, crop), level, FINE_SMOOTHING,
                   Schedule(settings.coarse_iterations, (1.0, symmetry), upright, (1.0, stiffness), min_period=SLOW)),
        Refinement("fine", min(128, crop), level, FINE_SMOOTHING,
                   Schedule(half, (1.0, 1.0), stiffness=(0.5, 0.3))),
        Refinement("finest", 3 * crop // 4, level, FINE_SMOOTHING,
                   Schedule(settings.fine_iterations - half, (1.0, 0.0), stiffness=(0.3, 0.2), rate=0.5)),
    ]
    return [stage for stage in stages if stage.schedule.iterations]


def costs_of(settings: Settings) -> dict[str, float]:
    """About how long each stage takes, in milliseconds on two cores, for the forecast of the time left."""
    # Of the search's hypotheses a bit less than half are alive on the average; one is refined afterwards.
    costs = {"camera": settings.rigid_iterations * (7.0 * settings.hypotheses + 25)}
    for stage in refinements_of(settings):
        each = 20 * 2.0 ** (stage.level - COARSE_LEVEL) + stage.size**2 / 900
        costs[stage.name] = stage.schedule.iterations * each
    return costs


def fit(fitter: Fitter, course: Course, priors: Priors = NOTHING) -> Fit:
    """Reconstruct the subject of the fitter's footage.

    priors  what is known of the camera, and perhaps of the shape, beforehand
    """
    footage, settings = fitter.footage, fitter.settings
    stages = Stages(course, {"settings": dict(settings.items())})
    view = View.of(footage, priors, settings, fitter.device)
    starts = starts_of(settings.hypotheses, priors, footage.numbers, roll_path(footage))
    torch.manual_seed(course.seed)
    if stages.found:
        solution, hypotheses = stages.resumed(lambda found: _resumed(found, view, starts, settings))
    else:
        hypotheses = starts.hypotheses
        solution = (_ellipsoids(view, starts, _extent(footage)) if priors.shape is None
                    else _shaped(view, starts, priors.shape.vertices, priors.shape.sphere))
    body = solution.body
    stages.state = lambda: ({"hypotheses": [asdict(h) for h in hypotheses]}, solution.state_dict())

    def find_camera(random: np.random.Generator, report: Report) -> None:
        size = min(64, settings.crop_size)
        again = max(1, settings.rigid_iterations // 2)
        # A step of the refinements, with one hypothesis, takes far less time than one of the search.
        steps = settings.rigid_iterations + REFINEMENTS * again // 8
        observations = fitter.observe(size, far_flows(footage), random)
        hypotheses[:] = search(solution, hypotheses, observations, fitter, random, lambda step, _: report(step, steps))
        schedule = rigid_schedule(settings, again)
        for k in range(REFINEMENTS):
            observations = fitter.guided(solution, size, random, schedule.freedom[0])
            fitter.improve(solution, observations, schedule, random, lambda step, _, done=k * again: report(
                settings.rigid_iterations + (done + step) // 8, steps))

    stages.run("camera", find_camera)
    for stage in refinements_of(settings):

        def deform(random: np.random.Generator, report: Report, stage: Refinement = stage) -> None:
            # The camera is all free at the end of a stage, at the start of the first as free as the search left it.
            observations = fitter.guided(solution, stage.size, random, stage.schedule.freedom[0])
            body.refine(stage.level, stage.smoothing)
            if body.skeleton is None or stage.name == "fine":
                body.grow_skeleton(settings.bones)

            def after_step(step: int, steps: int) -> None:
                report(step, steps)
                course.show(lambda: result_of(solution, footage))

            fitter.improve(solution, observations, stage.schedule, random, after_step)

        stages.run(stage.name, deform)
    return Fit(result_of(solution, footage), stages.seconds, hypotheses)


def _resumed(found: Checkpoint, view: View, starts: Starts,
             settings: Settings) -> tuple[Solution[SphereBones], list[Hypothesis]]:
    """Solution and hypotheses as they were when the checkpoint was written."""
    solution = _ellipsoids(view, starts.first(), (INITIAL_COVER, INITIAL_COVER))
    if "body.skeleton.centres" in found.tensors:
        solution.body.skeleton = Skeleton.empty(view, len(found.tensors["body.skeleton.centres"]))
    for stage in refinements_of(settings):
        if stage.name in found.facts["seconds"]:
            solution.body.refine(stage.level, stage.smoothing)
    solution.load_state_dict(found.tensors)
    return solution, [Hypothesis(**h) for h in found.facts["hypotheses"]]


def _ellipsoids(view: View, starts: Starts, extent: tuple[float, float]) -> Solution[SphereBones]:
    """Each hypothesis' start: an ellipsoid as wide and high as the masks, seen along the hypothesis' path.

    extent  half width and half height of the subject, crop units
    """
    sphere = icosphere(COARSE_LEVEL)
    return _shaped(view, starts, sphere.vertices * _radii(starts.hypotheses, extent).numpy()[:, None], sphere)


def _shaped(view: View, starts: Starts, vertices: np.ndarray, sphere: Sphere) -> Solution[SphereBones]:
    """Hypotheses that start from shapes ([H,] V, 3), crop units, seen along their paths."""
    device = view.numbers.device
    every = np.broadcast_to(BODY_RADIUS / INITIAL_COVER * vertices, (len(starts.hypotheses), *vertices.shape[-2:]))
    mesh = RestMesh(torch.from_numpy(every.copy()).float().to(device), sphere, RIGID_SMOOTHING)
    turn, tilt = (torch.from_numpy(path).float().to(device) for path in (starts.turn, starts.tilt))
    return Solution(SphereBones(view, mesh), CameraPath(view, turn, tilt, starts.solved)).to(device)


def _radii(hypotheses: list[Hypothesis], extent: tuple[float, float]) -> torch.Tensor:
    """(H, 3) radii in crop units: along the picture the masks' width, into the picture their smaller extent."""
    width, height = extent
    thin = min(width, height)
    heading = torch.tensor([h.heading for h in hypotheses])
    return torch.stack([thin + (width - thin) * heading.cos().abs(), thin + (width - thin) * heading.sin().abs(),
                        torch.full_like(heading, height)], 1)


def _extent(footage: Footage) -> tuple[float, float]:
    """Half width and half height (crop units) of the subject in the frame where it is widest, and on the average."""
    size = footage.masks.shape[1]
    widths, heights = ((footage.masks > 0.5).any(axis).sum(1) / size for axis in (1, 2))
    return float(np.quantile(widths, 0.9)), float(np.median(heights))
