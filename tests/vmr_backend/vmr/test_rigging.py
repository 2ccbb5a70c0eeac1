"""Bones for a result that has none: the quadruped's own mesh, posed by known bones, gets these back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vmr_backend.bodies.rig import RigBody
from vmr_backend.fitting.view import View
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.templates.shelf import find_template
from vmr_backend.templates.template import Template
from vmr_backend.vmr import rigging
from vmr_backend.vmr.rigging import knows, rigged

FRAMES = 4
SWING = {"thigh.L": 0.5, "thigh.R": -0.4, "shin.L": -0.3, "front_thigh.L": -0.4, "front_thigh.R": 0.3, "spine.010": 0.2}
"""Radians about bones' x axes in the last frame; in the first all are at rest."""


@pytest.fixture(scope="module", autouse=True)
def briefly():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rigging, "LAYING", 80)
        patch.setattr(rigging, "MOVING", (60, 40))
        yield


@pytest.fixture(scope="module")
def template():
    return Template.load(find_template("quadruped"))


@pytest.fixture(scope="module")
def truth(template) -> Reconstruction:
    """The template's mesh as a result, posed by its bones."""
    numbers = torch.arange(FRAMES)
    view = View(numbers, torch.ones(FRAMES, 4), torch.zeros(FRAMES, 2), torch.ones(FRAMES))
    body = RigBody(view, template, 1, adapt=False)
    names = list(template.card.bone_names)
    turns = torch.zeros(1, FRAMES, len(names), 3)
    for name, angle in SWING.items():
        turns[0, :, names.index(name), 0] = angle * numbers / (FRAMES - 1)
    body.turns = lambda constraints: turns
    rest, vertices = body.whole()
    scale = 1 / (rest.amax(0) - rest.amin(0)).max()
    arrays = {name: np.asarray(value) for name, value in body.arrays(scale).items()}
    arrays = {name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in arrays.items()}
    pose = np.tile(np.eye(3, dtype=np.float32), (FRAMES, 1, 1))
    return Reconstruction(
        frames=np.arange(FRAMES, dtype=np.int32), vertices=(scale * vertices).numpy(),
        rest_vertices=(scale * rest).numpy(),
        camera_rotation=pose, camera_translation=np.float32([[0, 0, 3]] * FRAMES),
        intrinsics=np.float32([[100, 100, 50, 50]] * FRAMES), image_size=np.int32([100, 100]), **arrays)


@pytest.fixture(scope="module")
def without_bones(truth):
    return replace(truth, bone_parents=None, bone_rest=None, bone_pose=None, skin_weights=None, bone_names=None,
                   bone_lengths=None)


@pytest.fixture(scope="module")
def found(without_bones, template):
    return rigged(without_bones, template)


def skinned(result: Reconstruction) -> np.ndarray:
    moves = result.bone_pose @ np.linalg.inv(result.bone_rest)
    points = np.concatenate([result.rest_vertices, np.ones((len(result.rest_vertices), 1))], 1)
    return np.einsum("vb,tbij,vj->tvi", result.skin_weights, moves, points)[..., :3]


def test_the_bones_carry_the_mesh_as_it_moved(truth, found):
    result, off = found
    result.check("here")
    np.testing.assert_allclose(np.ptp(result.rest_vertices, axis=0).max(), 1, atol=1e-5)
    apart = np.linalg.norm(skinned(result) - result.vertices, axis=-1)
    assert apart.mean() == pytest.approx(off, rel=1e-3) and off < 0.008
    still = np.linalg.norm(truth.vertices[-1] - truth.vertices[0], axis=-1).mean()
    assert apart[-1].mean() < 0.4 * still, "most of the motion is the bones'"


def test_they_are_the_templates_and_lie_where_they_did(truth, template, found):
    result, _ = found
    assert tuple(result.bone_names) == template.card.bone_names
    np.testing.assert_array_equal(result.bone_parents, template.bone_parents)
    joints = np.linalg.norm(result.bone_pose[..., :3, 3] - truth.bone_pose[..., :3, 3], axis=-1)
    assert joints.mean() < 0.03
    legs = [index for index, name in enumerate(result.bone_names) if str(name).startswith(("thigh", "front_thigh"))]
    along = (result.bone_pose[-1, legs, :3, 1] * truth.bone_pose[-1, legs, :3, 1]).sum(-1)
    assert np.degrees(np.arccos(along.clip(-1, 1))).max() < 25


def test_what_the_camera_sees_stays(without_bones, found):
    np.testing.assert_allclose(found[0].projected(), without_bones.projected(), atol=1e-2)


def test_no_bones_for_what_has_some_or_has_other_landmarks(truth, without_bones, template):
    assert knows(template, without_bones) and not knows(template, truth)
    assert not knows(template, replace(without_bones, keypoint_names=None, keypoint_weights=None))
    others = np.array([f"{name}s" for name in without_bones.keypoint_names])
    assert not knows(template, replace(without_bones, keypoint_names=others))
