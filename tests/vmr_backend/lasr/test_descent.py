"""One leg of descent: what draws the camera where, what stays, and that going wrong ends it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from spheres import sphere_seen_by, unknown, view_of

from vmr_backend.fitting.camera import ELEVATION
from vmr_backend.fitting.fitter import Schedule
from vmr_backend.fitting.observations import far_flows, observe
from vmr_backend.fitting.optimise import descend
from vmr_backend.fitting.search import Hypothesis, Starts
from vmr_backend.fitting.view import Hints
from vmr_backend.geometry.cameras import LEVEL_CAMERA
from vmr_backend.geometry.rotations import about_x, about_z, angle_between
from vmr_backend.losses import HINT_SLACK
from vmr_backend.rendering import get_renderer

CPU = torch.device("cpu")


def model_of(egg, yaws, solved=False, **view) -> Model:
    """A hypothesis for each yaw in degrees, of a subject that stands still."""
    frames = len(egg.footage.numbers)
    turn = np.radians(yaws)[:, None].repeat(frames, 1)
    tilt = np.broadcast_to(np.eye(3), (len(yaws), frames, 3, 3)).copy()
    starts = Starts([Hypothesis(0.0, 0.0)] * len(yaws), turn, tilt, solved)
    return sphere_seen_by(replace(view_of(egg.footage, 30.0), **view), starts)


def descended(model: Model, egg, settings, freedom, weights) -> Model:
    """The model after forty large steps on the terms of these weights alone."""
    only = settings.with_values({name: 0 for name, _ in settings.items() if name.startswith("weight_")} | weights)
    random = np.random.default_rng(0)
    seen = observe(egg.footage, far_flows(egg.footage), 32, CPU, random)
    schedule = Schedule(40, freedom=(freedom, freedom), rate=4.0)
    descend(model, seen, get_renderer("warp", CPU), only, schedule, random, lambda step, steps: None)
    return model


def hints_of(*degrees) -> Hints:
    """In the first frames, before a camera at ELEVATION."""
    yaw = torch.tensor(degrees).float().deg2rad()
    return Hints(torch.arange(len(degrees)), about_x(torch.tensor(ELEVATION)) @ LEVEL_CAMERA @ about_z(yaw))


@pytest.mark.parametrize("freedom", [0.0, 1.0], ids=["upright", "free"])
def test_cameras_that_strayed_from_hints_are_drawn_back_to_where_a_user_may_be_wrong(turning_egg, quick, freedom):
    model = model_of(turning_egg, [10.0, 45.0, -50.0], hints=hints_of(0, 0))
    before = model.camera(freedom)[0].detach()
    descended(model, turning_egg, quick, freedom, {"weight_hints": 1})
    after = model.camera(freedom)[0].detach()
    assert torch.allclose(after[0], before[0], atol=1e-5), "it was near enough"
    off = angle_between(model.view.hints.rotations, after[1:, :2])
    assert (off < HINT_SLACK + 0.02).all()


@pytest.mark.parametrize(("guessed", "bones"), [(True, 4), (False, 4), (True, 0)])
def test_only_a_guessed_focal_length_is_fitted_and_only_with_bones(turning_egg, quick, guessed, bones):
    model = model_of(turning_egg, [90.0], guessed=guessed)
    with torch.no_grad():
        model.camera.log_zoom.fill_(1.0)
    if bones:
        model.grow_skeleton(bones)
    descended(model, turning_egg, quick, 1.0, {"weight_lens": 1})
    assert (model.camera.log_zoom.item() < 0.9) == (guessed and bones > 0)


def test_hints_turn_a_solve_about_the_vertical_alone(turning_egg, quick):
    model = model_of(turning_egg, [40.0], solved=True, hints=hints_of(0, 0))
    before = model.camera(1.0)[0].detach()
    after = descended(model, turning_egg, quick, 1.0, {"weight_hints": 1}).camera(1.0)[0].detach()
    common = before.mT @ after
    assert torch.allclose(common, about_z(model.camera.heading.detach()).expand_as(common), atol=1e-5)
    assert (angle_between(model.view.hints.rotations, after[:, :2]) < HINT_SLACK + 0.02).all()


def test_a_fit_that_diverges_ends_before_it_goes_on_with_what_is_not_finite(turning_egg, quick):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    view = view_of(turning_egg.footage, quick.field_of_view)
    model = sphere_seen_by(view, unknown(1, view))
    done = []

    def lose(iteration, _):
        done.append(iteration)
        if iteration == 2:
            model.camera.heading.data.fill_(torch.nan)

    seen = observe(turning_egg.footage, [], 32, CPU, random)
    with pytest.raises(FloatingPointError, match="diverged"):
        descend(model, seen, get_renderer("warp", CPU), quick, Schedule(5), random, lose)
    assert done == [1, 2]
