"""One descent of a fit: what draws the camera where, what stays, and that going wrong ends it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from spheres import fitter_of, sphere_seen_by, unknown, view_of

from vmr_backend.fitting.camera import ELEVATION
from vmr_backend.fitting.fitter import Schedule, Solution
from vmr_backend.fitting.observations import far_flows
from vmr_backend.fitting.search import Hypothesis, Starts
from vmr_backend.fitting.view import Hints
from vmr_backend.geometry.cameras import LEVEL_CAMERA
from vmr_backend.geometry.rotations import about_x, about_z, angle_between
from vmr_backend.losses import HINT_SLACK


def solution_of(egg, yaws, solved=False, **view) -> Solution:
    """A hypothesis for each yaw in degrees, of a subject that stands still."""
    frames = len(egg.footage.numbers)
    turn = np.radians(yaws)[:, None].repeat(frames, 1)
    tilt = np.broadcast_to(np.eye(3), (len(yaws), frames, 3, 3)).copy()
    starts = Starts([Hypothesis(0.0, 0.0)] * len(yaws), turn, tilt, solved)
    return sphere_seen_by(replace(view_of(egg.footage, 30.0), **view), starts)


def descended(solution: Solution, egg, settings, freedom, weights) -> Solution:
    """The solution after forty large steps on the terms of these weights alone."""
    only = settings.with_values({name: 0 for name, _ in settings.items() if name.startswith("weight_")} | weights)
    random = np.random.default_rng(0)
    fitter = fitter_of(egg.footage, only)
    seen = fitter.observe(32, far_flows(egg.footage), random)
    schedule = Schedule(40, freedom=(freedom, freedom), rate=4.0)
    fitter.improve(solution, seen, schedule, random, lambda step, steps: None)
    return solution


def hints_of(*degrees) -> Hints:
    """In the first frames, before a camera at ELEVATION."""
    yaw = torch.tensor(degrees).float().deg2rad()
    return Hints(torch.arange(len(degrees)), about_x(torch.tensor(ELEVATION)) @ LEVEL_CAMERA @ about_z(yaw))


@pytest.mark.parametrize("freedom", [0.0, 1.0], ids=["upright", "free"])
def test_cameras_that_strayed_from_hints_are_drawn_back_to_where_a_user_may_be_wrong(turning_egg, quick, freedom):
    solution = solution_of(turning_egg, [10.0, 45.0, -50.0], hints=hints_of(0, 0))
    before = solution.cameras(freedom)[0].detach()
    descended(solution, turning_egg, quick, freedom, {"weight_hints": 1})
    after = solution.cameras(freedom)[0].detach()
    assert torch.allclose(after[0], before[0], atol=1e-5), "it was near enough"
    off = angle_between(solution.cameras.view.hints.rotations, after[1:, :2])
    assert (off < HINT_SLACK + 0.02).all()


@pytest.mark.parametrize(("guessed", "bones"), [(True, 4), (False, 4), (True, 0)])
def test_only_a_guessed_focal_length_is_fitted_and_only_with_bones(turning_egg, quick, guessed, bones):
    solution = solution_of(turning_egg, [90.0], guessed=guessed)
    with torch.no_grad():
        solution.cameras.log_zoom.fill_(1.0)
    if bones:
        solution.body.grow_skeleton(bones)
    descended(solution, turning_egg, quick, 1.0, {"weight_lens": 1})
    assert (solution.cameras.log_zoom.item() < 0.9) == (guessed and bones > 0)


def test_hints_turn_a_solve_about_the_vertical_alone(turning_egg, quick):
    solution = solution_of(turning_egg, [40.0], solved=True, hints=hints_of(0, 0))
    before = solution.cameras(1.0)[0].detach()
    after = descended(solution, turning_egg, quick, 1.0, {"weight_hints": 1}).cameras(1.0)[0].detach()
    common = before.mT @ after
    assert torch.allclose(common, about_z(solution.cameras.heading.detach()).expand_as(common), atol=1e-5)
    assert (angle_between(solution.cameras.view.hints.rotations, after[:, :2]) < HINT_SLACK + 0.02).all()


def test_a_fit_that_diverges_ends_before_it_goes_on_with_what_is_not_finite(turning_egg, quick):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    view = view_of(turning_egg.footage, quick.field_of_view)
    solution = sphere_seen_by(view, unknown(1, view))
    done = []

    def lose(iteration, _):
        done.append(iteration)
        if iteration == 2:
            solution.cameras.heading.data.fill_(torch.nan)

    fitter = fitter_of(turning_egg.footage, quick)
    seen = fitter.observe(32, [], random)
    with pytest.raises(FloatingPointError, match="diverged"):
        fitter.improve(solution, seen, Schedule(5), random, lose)
    assert done == [1, 2]
