"""How far joints turn: as the file has it, else hinges are told by how they are bent at rest."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tadpole import rest_of, tadpole

from vmr_backend.templates.joint_limits import BALL, FOLDED, SPREAD, STIFF, STRAIGHT, TRUNK, TWIST, limits_of

KNEE = np.radians(30)
LEG = [[[0.2, 0, 1.0], [0.2, -0.25, 0.567]], [[0.2, -0.25, 0.567], [0.2, -0.25, 0.1]],
       [[0.2, -0.25, 0.1], [0.2, -0.4, 0]]]


def walker():
    """A trunk and a pair of legs: thigh, which leans forward, a shank that hangs down from it, and a foot."""
    legs = np.array(LEG)
    ends = np.concatenate([[[[0, 0, 1.0], [0, -0.5, 1.0]]], legs, legs * [-1, 1, 1]])
    template = tadpole()
    card = replace(template.card, bone_names=("trunk", "thigh.L", "shin.L", "foot.L", "thigh.R", "shin.R", "foot.R"))
    return type(template)(**{**vars(template), "card": card, "bone_rest": rest_of(ends).astype(np.float32),
                             "bone_parents": np.int32([-1, 0, 1, 2, 0, 4, 5]),
                             "bone_twins": np.int32([0, 4, 5, 6, 1, 2, 3])})


def test_those_of_the_file_are_taken():
    given = np.tile(np.float32([[-0.2, 0.5]]), (6, 3, 1))
    found = limits_of(tadpole(joint_limits=given))
    np.testing.assert_array_equal(found.limits, given)
    np.testing.assert_array_equal(found.axes, np.tile(np.eye(3), (6, 1, 1)))


def test_a_knee_bends_further_and_stretches_until_it_is_straight():
    template = walker()
    found = limits_of(template)
    rest = template.bone_rest.astype(float)
    for shank, thigh in ((2, 1), (5, 4)):
        hinge = found.axes[shank][:, 0]
        (least, most), play = found.limits[shank, 0], found.limits[shank, 1:]
        assert np.isclose(least, -(KNEE + STRAIGHT), atol=1e-3) and most == FOLDED and np.abs(play).max() < 0.5
        above = rest[shank, :3, 3] - rest[thigh, :3, 3]
        angles = []
        for turn in (-KNEE, 0.0, 0.5):
            turned = rest[shank, :3, :3] @ Rotation.from_rotvec(turn * hinge).as_matrix()
            angles.append(np.arccos(turned[:, 1] @ above / np.linalg.norm(above)))
        np.testing.assert_allclose(angles, [0, KNEE, KNEE + 0.5], atol=1e-3)


def test_legs_swing_to_the_front_and_back_more_than_to_the_sides_and_the_trunk_turns_all_ways():
    found, rest = limits_of(walker()), walker().bone_rest.astype(float)
    np.testing.assert_allclose(found.limits[..., 0][[0, 1, 4]], -found.limits[..., 1][[0, 1, 4]])
    assert found.limits[0, :, 1].min() >= TRUNK
    for thigh in (1, 4):
        np.testing.assert_allclose(rest[thigh, :3, :3] @ found.axes[thigh][:, 0], [1, 0, 0], atol=1e-6)
        assert found.limits[thigh, 0, 1] == BALL and found.limits[thigh, 1:, 1].max() == SPREAD
    np.testing.assert_allclose(found.axes.transpose(0, 2, 1) @ found.axes, np.tile(np.eye(3), (7, 1, 1)), atol=1e-6)


@pytest.mark.parametrize("name, bends", [
    ("DEF-thigh.L.001", False), ("thigh_twist_01_l", False), ("DEF-shin.L", True), ("thigh.001", True)])
def test_a_bone_that_spreads_a_twist_does_not_bend_the_limb(name, bends):
    template = walker()
    rest = template.bone_rest.copy()
    rest[2, :3, :3] = rest[1, :3, :3]  # in line with the thigh
    names = ("trunk", "DEF-thigh.L", name, "foot.L", "DEF-thigh.R", "shin.R", "foot.R")
    card = replace(template.card, bone_names=names)
    found = limits_of(type(template)(**{**vars(template), "bone_rest": rest, "card": card}))
    most = found.limits[2, :, 1]
    assert most[1] == TWIST and (most[0] > 10 * STIFF) == bends and (most[2] > 5 * STIFF) == bends
    assert found.limits[1, 0, 1] == BALL, "the thigh itself swings"
