"""A template fitted to a clip: a tadpole that beats its tail is found in its true poses, the same every time."""

import shutil
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from spheres import fitter_of
from tadpole import NAMES, tadpole
from turning_eggs import speckled, write

from vmr_backend.bodies.rig import RigBody
from vmr_backend.fitting.stages import Course
from vmr_backend.fitting.view import View
from vmr_backend.job import BadInput
from vmr_backend.metrics.mask_agreement import evaluate
from vmr_backend.priors import Priors
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.template.fit import costs_of, fit
from vmr_backend.video.footage import load_footage

FRAMES = 12
TAIL, TIP = NAMES.index("tail"), NAMES.index("tip")
WAG = 0.6
"""Radians by which the tail turns up and down, which is seen from the side."""


@pytest.fixture(scope="module")
def template():
    return tadpole(level=2)


@pytest.fixture(scope="module")
def wagging(template, egg_seen_from, filmed, tmp_path_factory):
    """Truth and footage of the tadpole, its tail going up and down once, while the camera goes round its left side."""
    truth = egg_seen_from(np.linspace(70, 120, FRAMES), size=(160, 140))
    numbers = torch.arange(FRAMES)
    body = RigBody(View(numbers, torch.ones(FRAMES, 4), torch.zeros(FRAMES, 2), torch.ones(FRAMES)), template, 1, False)
    turns = torch.zeros(1, FRAMES, len(NAMES), 3)
    turns[0, :, TAIL, 0] = turns[0, :, TIP, 0] = WAG * torch.sin(2 * torch.pi * numbers / FRAMES)
    body.turns = lambda constraints: turns
    rest, vertices = body.whole()
    scale = 1 / (rest.amax(0) - rest.amin(0)).max()
    arrays = {name: np.asarray(value) for name, value in body.arrays(scale).items()}
    arrays = {name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in arrays.items()}
    truth = replace(truth, rest_vertices=(scale * rest).numpy(), vertices=(scale * vertices).numpy(), **arrays)
    film = filmed(truth, speckled())
    folder = tmp_path_factory.mktemp("tadpole")
    frames = write(folder / "frames", [image[..., ::-1] for image in film.images])
    masks = write(folder / "masks", [mask * np.uint8(255) for mask in film.masks])
    return truth, dict(enumerate(film.masks)), load_footage(frames, masks, crop_size=64)


@pytest.fixture(scope="module")
def brief(quick):
    return quick.with_values({"hypotheses": 4, "rigid_iterations": 10, "coarse_iterations": 10, "fine_iterations": 10})


def run(wagging, template, settings, **course):
    return fit(fitter_of(wagging[2], settings), Course(0, **course), template, Priors())


def direction_of(result: Reconstruction, bone: int) -> np.ndarray:
    """(T, 3) along a bone, in camera space. A round tail does not show how far it is twisted."""
    return np.einsum("tij,tj->ti", result.camera_rotation, result.bone_pose[:, bone, :3, 1])


@pytest.fixture(scope="module")
def found(wagging, template, quick):
    settings = quick.with_values({"hypotheses": 8, "rigid_iterations": 80, "coarse_iterations": 180,
                                  "fine_iterations": 600, "frames_per_iteration": 6})
    return run(wagging, template, settings)


def test_the_poses_are_the_true_ones(wagging, found):
    truth, masks, _ = wagging
    result = found.reconstruction
    assert evaluate(result, masks).j.mean() > 0.9
    for bone in (TAIL, TIP):
        cosine = (direction_of(result, bone) * direction_of(truth, bone)).sum(1)
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 20
    # The tail beats, it does not merely hang in the middle.
    lifted = [direction_of(r, TIP)[:, 1] for r in (result, truth)]
    assert np.corrcoef(*lifted)[0, 1] > 0.9


def test_the_head_is_told_from_the_tail(wagging, found):
    truth = wagging[0]
    ahead = [(r.projected()[:, r.rest_vertices[:, 1].argmin()] - r.projected()[:, r.rest_vertices[:, 1].argmax()])
             for r in (found.reconstruction, truth)]
    assert ((ahead[0] * ahead[1]).sum(1) > 0).all()


def test_a_result_holds_the_templates_own_bones_and_topology(template, found):
    result = found.reconstruction
    result.check("here")
    assert tuple(result.bone_names) == NAMES
    np.testing.assert_array_equal(result.bone_parents, template.bone_parents)
    np.testing.assert_array_equal(result.faces, template.faces)
    np.testing.assert_array_equal(result.uv, template.uv)
    moved = result.bone_pose @ np.linalg.inv(result.bone_rest)
    points = np.concatenate([result.rest_vertices, np.ones((len(result.rest_vertices), 1))], 1)
    blended = np.einsum("vb,tbij,vj->tvi", result.skin_weights, moved, points)[..., :3]
    np.testing.assert_allclose(blended, result.vertices, atol=1e-4)
    # Kept as it was modelled.
    shape = template.vertices / np.ptp(template.vertices, axis=0).max()
    np.testing.assert_allclose(np.ptp(result.rest_vertices, axis=0), np.ptp(shape, axis=0), atol=1e-5)


@pytest.mark.parametrize("shape", ["keep", "adapt"])
def test_a_fit_that_was_stopped_goes_on_to_the_same_result(wagging, template, brief, tmp_path, shape):
    settings = brief.with_values({"template_shape": shape})
    stages: list[str] = []

    def progress(stage, step, steps):
        if stage not in stages:
            stages.append(stage)
            if len(stages) > 1:
                shutil.copytree(tmp_path / "run", tmp_path / stage)

    (tmp_path / "run").mkdir()
    whole = run(wagging, template, settings, progress=progress, folder=tmp_path / "run").reconstruction
    assert stages == list(costs_of(settings)) == ["camera", "pose", "gait", "body", "detail"]
    for stage in stages[1:]:
        again = run(wagging, template, settings, folder=tmp_path / stage, resume=True).reconstruction
        for field in fields(Reconstruction):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(whole, field.name), err_msg=stage)


def test_a_checkpoint_of_another_template_is_refused(wagging, template, brief, tmp_path):
    run(wagging, template, brief, folder=tmp_path)
    renamed = replace(template, card=replace(template.card, bone_names=tuple(f"{name}s" for name in NAMES)))
    reshaped = replace(template, vertices=template.vertices * np.float32([1, 1, 1.1]))
    for other in (renamed, reshaped):
        with pytest.raises(BadInput, match="another clip, model or of other settings"):
            run(wagging, other, brief, folder=tmp_path, resume=True)
