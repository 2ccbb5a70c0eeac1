"""How far joints turn: as the file has it, else hinges are told by how they are bent at rest."""

import numpy as np
from scipy.spatial.transform import Rotation
from tadpole import rest_of, tadpole

from vmr_backend.templates.joint_limits import FOLDED, STRAIGHT, TRUNK, limits_of

KNEE = np.radians(30)
LEG = [[[0.2, 0, 1.0], [0.2, -0.25, 0.567]], [[0.2, -0.25, 0.567], [0.2, -0.25, 0.1]],
       [[0.2, -0.25, 0.1], [0.2, -0.4, 0]]]


def walker():
    """A trunk and a pair of legs: thigh, which leans forward, a shank that hangs down from it, and a foot."""
    legs = np.array(LEG)
    ends = np.concatenate([[[[0, 0, 1.0], [0, -0.5, 1.0]]], legs, legs * [-1, 1, 1]])
    template = tadpole()
    return type(template)(**{**vars(template), "bone_rest": rest_of(ends).astype(np.float32),
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


def test_joints_of_the_trunk_and_of_limbs_at_it_turn_all_ways():
    found = limits_of(walker())
    for bone in (0, 1, 4):
        np.testing.assert_allclose(found.limits[bone, :, 0], -found.limits[bone, :, 1])
        assert found.limits[bone, 0, 1] >= TRUNK
