"""A template fitted to a clip: cameras on the body at rest, then its pose, slow motion first, its gait, proportions."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..bodies.rig import RigBody
from ..checkpoint import Checkpoint
from ..fitting.body import Constraints
from ..fitting.camera import CameraPath
from ..fitting.fitter import Fitter, Schedule, Solution
from ..fitting.observations import far_flows
from ..fitting.result import Fit, result_of
from ..fitting.roll import roll_path
from ..fitting.search import ALL_ROUND, Hypothesis, Starts, best_first, prune, rigid_schedule, starts_of
from ..fitting.stages import Course, Report, Stages
from ..fitting.view import View
from ..priors import Priors
from ..settings import Settings
from ..templates.template import Template
from .gaits import Walker, cycles_of, exchanges, leg_pairs, move

SEARCH_SIZE = 64
"""Pixels across the crops of the search."""
SEARCH_SAMPLES = 192
"""Mask pixels of a frame that are compared there: half of what later stages have, since many hypotheses are."""
HEADINGS = len({heading for heading, _ in ALL_ROUND})
"""No fewer hypotheses are tried."""
RIGID_ROUNDS = ((0.2, 16), (0.35, 8), (0.45, 4))
"""Of the search on the body at rest: fractions of its iterations, and hypotheses that live on."""
POSED_ROUNDS = ((0.5, 2), (0.5, 1))
"""The same of the search on the body that moves."""
GAIT_ROUNDS = ((0.04, 6), (0.06, 3), (0.09, 1))
EXCHANGE_ROUNDS = ((0.06, 2), (0.1, 1))
"""The same of the search for a gait, and then with its legs exchanged: fractions of the coarse iterations."""
SLOW, QUICK = 48.0, 10.0
"""Frames that bones first take at the least to move to and fro: while the camera is searched, and then the gait."""
LEFT_FREE = 0.3
"""How far the camera may leave an upright turn at the end of the search."""
SETTLING = {"pose": 0.5, "gait": 0.1, "body": 0.1, "detail": 0.03}
"""Factor of the rate at which the camera still turns in each stage."""


@dataclass(frozen=True)
class PosedStage:
    """A stage after the search."""

    name: str
    size: int
    """Side of the crops in pixels."""
    schedule: Schedule
    detailed: bool
    """Whether vertices move by themselves."""


def posed_stages_of(settings: Settings) -> list[PosedStage]:
    """The stages after the search, coarse to fine."""
    upright = (LEFT_FREE, 1.0) if settings.upright else (1.0, 1.0)
    stages = [PosedStage("body", min(96, settings.crop_size),
                         Schedule(settings.fine_iterations // 5, freedom=upright), False),
              PosedStage("detail", min(128, settings.crop_size), Schedule(settings.fine_iterations // 4), True)]
    return [stage for stage in stages if stage.schedule.iterations]


def costs_of(settings: Settings) -> dict[str, float]:
    """About how long each stage takes, in milliseconds on two cores, for the forecast of the time left."""
    costs = {"camera": settings.rigid_iterations / 2 * (6.0 * settings.hypotheses + 20),
             "pose": settings.coarse_iterations / 3 * 90.0, "gait": settings.coarse_iterations * 60.0}
    for stage in posed_stages_of(settings):
        costs[stage.name] = stage.schedule.iterations * (25 + stage.size**2 / 400)
    return costs


def fit(fitter: Fitter, course: Course, template: Template, priors: Priors) -> Fit:
    """Find camera and pose of a template in the fitter's footage, and its proportions where it adapts.

    priors  what is known of the camera beforehand
    """
    footage, settings = fitter.footage, fitter.settings
    stages = Stages(course, {"settings": dict(settings.items()), "template": template.digest})
    view = View.of(footage, priors, settings, fitter.device)
    # Where landmarks are predicted, their path is the likeliest, and others are there in case it is wrong.
    count = HEADINGS if priors.landmarks is not None else max(HEADINGS, 2 * settings.hypotheses)
    starts = starts_of(count, priors, footage.numbers, roll_path(footage), ALL_ROUND)
    torch.manual_seed(course.seed)
    if stages.found:
        solution, hypotheses = stages.resumed(lambda found: _resumed(found, view, starts, template, settings))
    else:
        hypotheses, solution = starts.hypotheses, _solution(view, starts, template, settings)
    body, camera = solution.body, solution.cameras
    assert isinstance(camera, CameraPath)
    stages.state = lambda: ({"hypotheses": [asdict(h) for h in hypotheses]}, solution.state_dict())

    def alive() -> list[Hypothesis]:
        return [h for h in hypotheses if h.kept]

    def find_camera(random: np.random.Generator, report: Report) -> None:
        observations = fitter.observe(SEARCH_SIZE, far_flows(footage), random, SEARCH_SAMPLES)
        rounds = [(rigid_schedule(settings, max(1, round(part * settings.rigid_iterations / 2))), count)
                  for part, count in RIGID_ROUNDS]
        prune(solution, alive(), observations, fitter, rounds, random, report, _kind)

    def find_pose(random: np.random.Generator, report: Report) -> None:
        observations = fitter.observe(SEARCH_SIZE, far_flows(footage), random, SEARCH_SAMPLES)
        body.articulate()
        camera.settled = SETTLING["pose"]
        freedom = (0.0, LEFT_FREE) if settings.upright else (1.0, 1.0)
        rounds = [(Schedule(max(1, round(part * settings.coarse_iterations / 3)), freedom=freedom, min_period=SLOW),
                   count) for part, count in POSED_ROUNDS]
        prune(solution, alive(), observations, fitter, rounds, random, report, _kind)
        hypotheses[:] = best_first(hypotheses)

    def find_gait(random: np.random.Generator, report: Report) -> None:
        legs = leg_pairs(template)
        if not legs:
            report(1, 1)
            return
        observations = fitter.observe(SEARCH_SIZE, far_flows(footage), random, SEARCH_SAMPLES)
        camera.settled = SETTLING["gait"]
        freedom = LEFT_FREE if settings.upright else 1.0
        walker = Walker(solution, legs, observations, fitter.renderer, Constraints(freedom=freedom))
        gaits = walker.best(cycles_of(footage))
        # The pose that is there already may be the right one: it lives on to the last round.
        motions = torch.cat([walker.now[None], walker.motions(gaits)])
        steps = [(Schedule(max(1, round(part * settings.coarse_iterations)), freedom=(freedom, freedom),
                           min_period=QUICK), left) for part, left in (*GAIT_ROUNDS, *EXCHANGE_ROUNDS)]
        total = sum(schedule.iterations for schedule, _ in steps)

        def best_of(motions: Tensor, rounds: list[tuple[Schedule, int]], before: int) -> None:
            move(solution, motions)
            tried = [replace(alive()[0], scores=[]) for _ in motions]
            prune(solution, tried, observations, fitter, rounds, random,
                  lambda step, _: report(min(before + step, total), total), lambda one: one is tried[0])

        rounds, last = steps[:len(GAIT_ROUNDS)], steps[len(GAIT_ROUNDS):]
        best_of(motions, rounds, 0)
        best_of(exchanges(body, legs), last, sum(schedule.iterations for schedule, _ in rounds))

    stages.run("camera", find_camera)
    stages.run("pose", find_pose)
    stages.run("gait", find_gait)
    for stage in posed_stages_of(settings):

        def refine(random: np.random.Generator, report: Report, stage: PosedStage = stage) -> None:
            observations = fitter.guided(solution, stage.size, random, stage.schedule.freedom[0])
            camera.settled = SETTLING[stage.name]
            body.articulate()
            body.refine()
            if stage.detailed:
                body.detail()

            def after_step(step: int, steps: int) -> None:
                report(step, steps)
                course.show(lambda: result_of(solution, footage))

            fitter.improve(solution, observations, stage.schedule, random, after_step)

        stages.run(stage.name, refine)
    return Fit(result_of(solution, footage), stages.seconds, hypotheses)


def _kind(hypothesis: Hypothesis) -> Hashable:
    """Which way it turns, how it rolls, and to which side of the picture the head is."""
    return hypothesis.turn > 0, hypothesis.roll, math.sin(hypothesis.heading) > 0


def _solution(view: View, starts: Starts, template: Template, settings: Settings) -> Solution[RigBody]:
    device = view.numbers.device
    turn, tilt = (torch.from_numpy(path).float().to(device) for path in (starts.turn, starts.tilt))
    shape = template.card.shape if settings.template_shape == "auto" else settings.template_shape
    body = RigBody(view, template, len(starts.hypotheses), adapt=shape == "adapt")
    return Solution(body, CameraPath(view, turn, tilt, starts.solved)).to(device)


def _resumed(found: Checkpoint, view: View, starts: Starts, template: Template,
             settings: Settings) -> tuple[Solution[RigBody], list[Hypothesis]]:
    """Solution and hypotheses as they were when the checkpoint was written."""
    hypotheses = [Hypothesis(**h) for h in found.facts["hypotheses"]]
    count = sum(h.kept for h in hypotheses)
    some = Starts(hypotheses[:count], np.resize(starts.turn, (count, *starts.turn.shape[1:])),
                  np.resize(starts.tilt, (count, *starts.tilt.shape[1:])), starts.solved)
    solution = _solution(view, some, template, settings)
    if "pose" in found.facts["seconds"]:
        solution.body.articulate()
    if any(stage.name in found.facts["seconds"] for stage in posed_stages_of(settings)):
        solution.body.refine()
    if "body.offset" in found.tensors:
        solution.body.detail()
    solution.load_state_dict(found.tensors)
    return solution, hypotheses
