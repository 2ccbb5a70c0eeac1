"""One subject fitted to all frames of a clip: an egg on film that turns by 60 degrees, whose truth is known."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from spheres import CPU, fitter_of
from tiny_models import BALL, EGGS, RENDERER, model_of

from vmr_backend.fitting.batch import runs_and_pairs
from vmr_backend.fitting.body import Constraints
from vmr_backend.fitting.fitter import Solution
from vmr_backend.fitting.observations import observe
from vmr_backend.fitting.view import View
from vmr_backend.geometry.rotations import angle_between
from vmr_backend.priors import Priors
from vmr_backend.settings import Settings
from vmr_backend.vmr.clip import SIZE, schedule_of, solution_of
from vmr_backend.vmr.model import State
from vmr_backend.vmr.model_file import LoadedModel

SETTINGS = Settings().with_values({"visits": 40})


@pytest.fixture(scope="module")
def view(turning_egg) -> View:
    priors = Priors(focal_length=float(turning_egg.truth.intrinsics[0, 0]))
    return View.of(turning_egg.footage, priors, SETTINGS, CPU)


def subject_of(egg, view: View, jitter: float = 0.0, model=None, backwards: bool = False) -> Solution:
    """A model's egg where it truly is in each frame, but for a jitter in radians."""
    model, truth, frames = model or model_of(), egg.truth, len(egg.truth.frames)
    turn = Rotation.from_rotvec(jitter * np.random.default_rng(0).normal(size=(frames, 3))).as_matrix()
    rotation = torch.from_numpy(turn @ truth.camera_rotation).float()
    x, y, depth = torch.from_numpy(truth.camera_translation).float().unbind(1)
    fx, fy, cx, cy = view.intrinsics.unbind(1)
    pixel = torch.stack([fx * x / depth + cx, fy * y / depth + cy], 1)
    shift = (pixel - view.crop_centre) / view.crop_half[:, None]
    size = np.ptp(truth.rest_vertices[:, 1]) / (2 * EGGS[0][1])
    scale = (size * fx / depth / view.crop_half).log()
    state = State(torch.zeros(frames, len(model.shape.latent)), torch.zeros(frames, 8, 9),
                  rotation.flip(0) if backwards else rotation, torch.cat([shift, scale[:, None]], 1))
    return solution_of(LoadedModel(model, None, None), state, view)


def fit(subject: Solution, footage, settings: Settings, seed: int, progress=lambda step, steps: None) -> None:
    random, fitter = np.random.default_rng(seed), fitter_of(footage, settings)
    torch.manual_seed(seed)
    fitter.improve(subject, fitter.observe(SIZE, [], random), schedule_of(settings, len(footage.numbers)), random,
                   progress, runs_and_pairs)


def overlap(subject: Solution, footage) -> float:
    """Mean mask IoU."""
    drawn = RENDERER.visibility(subject.on_screen(), subject.body.faces, footage.masks.shape[1]).face_index.numpy() >= 0
    mask = footage.masks > 0.5
    return float(((drawn & mask).sum((1, 2)) / (drawn | mask).sum((1, 2))).mean())


def test_what_is_fitted_covers_the_masks_and_turns_steadily(turning_egg, view):
    subject = subject_of(turning_egg, view, 0.15)
    before, shaky = overlap(subject, turning_egg.footage), subject.cameras.in_footage().rotation.detach()
    told = []
    fit(subject, turning_egg.footage, SETTINGS, 0, lambda step, steps: told.append((step, steps)))
    assert overlap(subject, turning_egg.footage) > max(0.93, before + 0.03)
    assert told[-1] == (50, 50) and [step for step, _ in told] == list(range(1, 51))
    steps = [angle_between(path[1:] @ path[:-1].mT, (path[1:] @ path[:-1].mT).roll(1, 0))[1:].mean()
             for path in (subject.cameras.in_footage().rotation.detach(), shaky)]
    assert steps[0] < 0.5 * steps[1], "the rate of turning hardly changes"
    rest = subject.body.posed(torch.arange(1), Constraints()).rest[0].detach().numpy()
    extent, true = (np.ptp(shape, axis=0) for shape in (rest, turning_egg.truth.rest_vertices))
    assert extent[1] / extent[2] == pytest.approx(true[1] / true[2], rel=0.15)


def test_the_same_seed_finds_the_same_subject(turning_egg, view):
    found = []
    for _ in range(2):
        subject = subject_of(turning_egg, view, 0.1)
        fit(subject, turning_egg.footage, Settings().with_values({"visits": 3}), 4)
        found.append(subject.body.handles)
    assert torch.equal(*found)


def terms_of(subject: Solution, footage) -> dict[str, torch.Tensor]:
    seen = observe(footage, [], 64, CPU, np.random.default_rng(0))
    batch = runs_and_pairs(seen, 8, 0, np.random.default_rng(0))
    return subject.terms(seen, batch, RENDERER, Constraints())


def test_every_weight_has_its_term_and_every_term_its_weight(turning_egg, view):
    found = terms_of(subject_of(turning_egg, view), turning_egg.footage)
    others = {setting.name.removeprefix("weight_") for setting in Settings.describe() if not setting.is_read_by("vmr")}
    of_windows = {"base_swap", "texture_distance", "deformation", "part", "path"}
    assert set(found) == set(Settings().weights()) - others - of_windows
    assert all(value.shape == (1,) for value in found.values())


def test_a_subject_that_is_where_the_film_has_it_has_small_terms(turning_egg, view):
    """And one whose surface turns the other way has flow that contradicts it."""
    base = BALL * torch.tensor(np.ptp(turning_egg.truth.rest_vertices, axis=0)) / 2
    base = base * (2 * EGGS[0][1] / float(np.ptp(turning_egg.truth.rest_vertices[:, 1])))
    model = model_of(1)
    with torch.no_grad():
        model.shape.latent.copy_(model.shape.preconditioner.latent(base[None]))

    def found(backwards):
        values = terms_of(subject_of(turning_egg, view, model=model, backwards=backwards), turning_egg.footage)
        return {name: float(value.detach()) for name, value in values.items()}

    true, backwards = found(False), found(True)
    assert true["mask"] < 0.15 and true["flow"] < 0.01 and true["arap"] < 1e-4 and true["handle"] == 0
    assert backwards["flow"] > 3 * true["flow"] and backwards["texture_swap"] > 1.5 * true["texture_swap"]
    assert all(math.isfinite(value) for value in true.values())
