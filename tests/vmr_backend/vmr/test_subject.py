"""One subject fitted to all frames of a clip: an egg on film that turns by 60 degrees, whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_models import BALL, EGGS, RENDERER, model_of

from vmr_backend.geometry.cameras import project
from vmr_backend.geometry.rotations import angle_between
from vmr_backend.known import Known
from vmr_backend.settings import Settings
from vmr_backend.video.observations import observe
from vmr_backend.video.view import View
from vmr_backend.vmr.instances import Instances
from vmr_backend.vmr.model import State
from vmr_backend.vmr.subject import RUN, Looked, Subject, _towards, fit_subject, terms

CPU = torch.device("cpu")
SETTINGS = Settings().with_values({"visits": 40})


@pytest.fixture(scope="module")
def view(turning_egg) -> View:
    return View.of(turning_egg.footage, Known(focal_length=float(turning_egg.truth.intrinsics[0, 0])), SETTINGS, CPU)


def state_of(egg, view: View, jitter: float) -> State:
    """Where the egg truly is in each frame, but for a jitter in radians."""
    truth, frames = egg.truth, len(egg.truth.frames)
    turn = Rotation.from_rotvec(jitter * np.random.default_rng(0).normal(size=(frames, 3))).as_matrix()
    rotation = torch.from_numpy(turn @ truth.camera_rotation).float()
    x, y, depth = torch.from_numpy(truth.camera_translation).float().unbind(1)
    fx, fy, cx, cy = view.intrinsics.unbind(1)
    pixel = torch.stack([fx * x / depth + cx, fy * y / depth + cy], 1)
    shift = (pixel - view.crop_centre) / view.crop_half[:, None]
    size = np.ptp(truth.rest_vertices[:, 1]) / (2 * EGGS[0][1])
    scale = (size * fx / depth / view.crop_half).log()
    return State(torch.zeros(frames, 2), torch.zeros(frames, 8, 9), rotation, torch.cat([shift, scale[:, None]], 1))


def overlap(subject: Subject, footage) -> float:
    """Mean mask IoU."""
    every = torch.arange(len(subject))
    with torch.no_grad():
        points = project(subject.vertices(subject.base(), subject.instances), subject.camera(subject.instances, every))
    drawn = RENDERER.visibility(points, subject.shape.faces, footage.masks.shape[1]).face_index.numpy() >= 0
    mask = footage.masks > 0.5
    return float(((drawn & mask).sum((1, 2)) / (drawn | mask).sum((1, 2))).mean())


def test_the_subject_starts_where_a_weak_perspective_camera_shows_it(turning_egg, view):
    state = state_of(turning_egg, view, 0.0)
    subject = Subject.of(model_of(), state, view)
    every = torch.arange(len(subject))
    middle = project(torch.zeros(len(subject), 1, 3), subject.camera(subject.instances, every))
    torch.testing.assert_close(middle[:, 0, :2], state.placement[:, :2], rtol=0, atol=1e-5)
    off = BALL[None] * 0.001
    seen = project(off.expand(len(subject), -1, -1), subject.camera(subject.instances, every))[..., :2]
    weak = state.camera.project(off)[..., :2]
    # A small thing near the middle of the lens looks alike under both.
    torch.testing.assert_close(seen - middle[..., :2], weak - state.placement[:, None, :2], rtol=0, atol=1e-4)


def test_the_axis_is_carried_to_the_ray_by_the_shortest_turn():
    rays = torch.tensor([[0.0, 0, 1], [0.5, 0, 1], [-0.2, 0.7, 1]])
    turns = _towards(rays)
    torch.testing.assert_close(turns[..., 2], rays / rays.norm(dim=1, keepdim=True))
    angle = torch.atan2(rays[:, :2].norm(dim=1), rays[:, 2])
    torch.testing.assert_close(angle_between(turns, torch.eye(3).expand(3, 3, 3)), angle, rtol=0, atol=1e-5)


def test_places_do_not_depend_on_how_a_frame_is_cropped(turning_egg, view):
    subject = Subject.of(model_of(), state_of(turning_egg, view, 0.0), view)
    other = replace(view, crop_centre=view.crop_centre + torch.linspace(-5, 5, len(subject))[:, None],
                    crop_half=view.crop_half)
    moved = Subject.of(model_of(), state_of(turning_egg, other, 0.0), other)
    every = torch.arange(len(subject))
    torch.testing.assert_close(subject.places(subject.instances, every), moved.places(moved.instances, every),
                               rtol=0, atol=1e-4)


def test_what_is_fitted_covers_the_masks_and_turns_steadily(turning_egg, view):
    subject = Subject.of(model_of(), state_of(turning_egg, view, 0.15), view)
    before, shaky = overlap(subject, turning_egg.footage), subject.instances.camera.rotation
    told = []
    fit_subject(subject, turning_egg.footage, SETTINGS, RENDERER, 0, lambda step, steps: told.append((step, steps)))
    assert overlap(subject, turning_egg.footage) > max(0.93, before + 0.03)
    assert told[-1] == (50, 50) and [step for step, _ in told] == list(range(1, 51))
    steps = [angle_between(path[1:] @ path[:-1].mT, (path[1:] @ path[:-1].mT).roll(1, 0))[1:].mean()
             for path in (subject.instances.camera.rotation, shaky)]
    assert steps[0] < 0.5 * steps[1], "the rate of turning hardly changes"
    extent, true = (np.ptp(shape, axis=0) for shape in (subject.base()[0].detach().numpy(),
                                                        turning_egg.truth.rest_vertices))
    assert extent[1] / extent[2] == pytest.approx(true[1] / true[2], rel=0.15)


def test_the_same_seed_finds_the_same_subject(turning_egg, view):
    found = []
    for _ in range(2):
        subject = Subject.of(model_of(), state_of(turning_egg, view, 0.1), view)
        fit_subject(subject, turning_egg.footage, Settings().with_values({"visits": 3}), RENDERER, 4, lambda *_: None)
        found.append(subject.instances.handles)
    assert torch.equal(*found)


def test_every_weight_has_its_term_and_every_term_its_weight(turning_egg, view):
    seen = observe(turning_egg.footage, [], 64, CPU, np.random.default_rng(0))
    looked = Looked.draw(seen, 8, 0, np.random.default_rng(0))
    subject = Subject.of(model_of(), state_of(turning_egg, view, 0.0), view)
    found = terms(subject, some_of(subject, looked), seen, looked, RENDERER)
    others = {setting.name.removeprefix("weight_") for setting in Settings.describe() if setting.method == "lasr"}
    of_windows = {"base_swap", "texture_distance", "deformation", "part", "path"}
    assert set(found) == set(Settings().weights()) - others - of_windows


def some_of(subject: Subject, looked: Looked) -> Instances:
    return Instances(*(getattr(subject.instances, name)[looked.frames] for name in
                       ("rotation", "turn", "place", "handles")))


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_what_is_looked_at_has_the_flow_of_its_pairs(turning_egg, number):
    footage = turning_egg.footage
    seen = observe(footage, [], 64, CPU, np.random.default_rng(0))
    far = replace(seen, links=[seen.links[0], replace(seen.links[0], gap=3)])
    looked = Looked.draw(far, 8, number, np.random.default_rng(number))
    frames = looked.frames
    assert looked.runs == (number % 2 == 0) and (frames >= 0).all() and (frames < len(footage.numbers)).all()
    step = 1 if looked.runs else 3
    assert looked.link.gap == step
    for partner, sign in ((looked.later, 1), (looked.earlier, -1)):
        gap = frames[partner] - frames
        own = partner == torch.arange(len(frames))
        assert ((gap == sign * step) | own).all() and (~own).sum() == (6 if looked.runs else 4)
    if looked.runs:
        assert (looked.in_runs(frames).diff() == 1).all() and looked.in_runs(frames).shape[1] == RUN


def test_every_frame_is_looked_at_about_as_often():
    seen = observe_nothing(20)
    random = np.random.default_rng(0)
    counts = sum(torch.bincount(Looked.draw(seen, 8, 0, random).frames, minlength=20) for _ in range(2000))
    assert counts.min() > 0.5 * counts.float().mean() and counts.max() < 2 * counts.float().mean()


def observe_nothing(frames: int):
    """As much of observations as drawing needs."""
    class Nothing:
        masks, links = torch.zeros(frames, 1, 1), [None]
    return Nothing


def test_a_subject_that_is_where_the_film_has_it_has_small_terms(turning_egg, view):
    """And one whose surface turns the other way has flow that contradicts it."""
    footage = turning_egg.footage
    seen = observe(footage, [], 64, CPU, np.random.default_rng(0))
    looked = Looked.draw(seen, 8, 0, np.random.default_rng(0))
    base = BALL * torch.tensor(np.ptp(turning_egg.truth.rest_vertices, axis=0)) / 2
    base = base * (2 * EGGS[0][1] / float(np.ptp(turning_egg.truth.rest_vertices[:, 1])))
    model = model_of(1)
    with torch.no_grad():
        model.shape.latent.copy_(model.shape.preconditioner.latent(base[None]))
    state = state_of(turning_egg, view, 0.0)
    state = replace(state, basis_logits=torch.zeros(len(state.placement), 1))

    def found(rotation):
        subject = Subject.of(model, replace(state, rotation=rotation), view)
        values = terms(subject, some_of(subject, looked), seen, looked, RENDERER)
        return {name: float(value.detach().mean()) for name, value in values.items()}

    true, backwards = found(state.rotation), found(state.rotation.flip(0))
    assert true["mask"] < 0.15 and true["flow"] < 0.01 and true["arap"] < 1e-4 and true["handle"] == 0
    assert backwards["flow"] > 3 * true["flow"] and backwards["texture_swap"] > 1.5 * true["texture_swap"]
    assert all(math.isfinite(value) for value in true.values())
