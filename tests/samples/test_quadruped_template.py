"""The quadruped template against the family that it is made from: its shapes, its poses, its keypoints."""

from pathlib import Path

import numpy as np
import pytest

from samples.families.quadruped import KEYPOINTS, drawn_body, drawn_pose, parts_of
from samples.templates.anatomy import (
    BONES,
    PARENTS,
    SPINE_JOINTS,
    body_at_rest,
    frames_of,
    markers_of,
    posed_bones,
    turns_of,
)
from samples.templates.build import kinds
from samples.templates.surface import Union
from vmr_backend.templates import template as template_module
from vmr_backend.templates.template import Template


@pytest.fixture(scope="module")
def quadruped():
    return Template.load(Path(template_module.__file__).with_name("quadruped.safetensors"))


@pytest.fixture(scope="module")
def unit(quadruped):
    """The family's unit, the length of a trunk, in template space."""
    first, last = (quadruped.bone_rest[BONES.index(name), 1, 3] for name in ("spine.005", "spine.008"))
    return (first - last) / (SPINE_JOINTS[0] - SPINE_JOINTS[-1])


def test_bones_are_the_template_s(quadruped):
    assert quadruped.card.bone_names == BONES and quadruped.card.landmark_names == KEYPOINTS
    assert [BONES[p] if p >= 0 else None for p in quadruped.bone_parents] == list(PARENTS.values())


@pytest.mark.parametrize("kind", ["dog", "camel", "giraffe"])
def test_its_basis_holds_the_kinds(quadruped, unit, kind):
    parts, points, heads, tails = body_at_rest(kinds()[kind])
    union, left = Union(parts), quadruped.vertices[:, 0] >= 0
    mean, basis = quadruped.vertices[left] / unit, quadruped.shape_vertices[:, left] / unit
    ends = quadruped.bone_rest[:, :3, 3] / unit
    joints = quadruped.shape_heads.reshape(len(basis), -1) / unit
    shape = np.zeros(len(basis))
    # Gauss-Newton on the distances of vertices from the kind's surface, and of joints from its joints.
    for _ in range(8):
        distance, normal = union.distance(mean + np.tensordot(shape, basis, 1))
        slopes = np.vstack([np.einsum("kvx,vx->vk", basis, normal), 3 * joints.T])
        off = np.concatenate([distance, 3 * ((ends - heads).ravel() + shape @ joints)])
        pull = 5e-6 * len(distance) * np.eye(len(basis))
        shape -= np.linalg.solve(slopes.T @ slopes + pull, slopes.T @ off + pull @ shape)
    assert np.abs(shape).max() < 6
    vertices = (quadruped.vertices + np.tensordot(shape, quadruped.shape_vertices, 1)) / unit
    assert np.abs(union.distance(vertices[left])[0]).mean() < 0.01
    marks = quadruped.landmark_weights @ vertices
    errors = np.linalg.norm(marks - [points[name][0] for name in KEYPOINTS], axis=1)
    assert errors.mean() < 0.03 and errors.max() < 0.12, dict(zip(KEYPOINTS, errors.round(3), strict=True))
    found = (quadruped.bone_rest[:, :3, 3] + np.tensordot(shape, quadruped.shape_heads, 1)) / unit
    assert np.linalg.norm(found - heads, axis=1).max() < 0.06


def test_limits_leave_room_for_the_family_s_poses_and_the_prior_knows_them(quadruped):
    rng, turns = np.random.default_rng(77), []
    for _ in range(60):
        body = drawn_body(rng)
        pose = drawn_pose(rng, body)
        parts, _, heads, tails = body_at_rest(body)
        turns.append(turns_of(markers_of(parts), markers_of(parts_of(body, pose)[0]), frames_of(heads, tails)))
    turns = np.array(turns)
    least, most = quadruped.joint_limits[..., 0], quadruped.joint_limits[..., 1]
    assert ((turns >= least) & (turns <= most)).mean() > 0.995
    off = (turns - quadruped.pose_mean).reshape(len(turns), -1)
    # Squared Mahalanobis distance, per dimension: below one, since much of the covariance is the floor under it.
    distance = (off * np.linalg.solve(quadruped.pose_covariance.astype(float), off.T).T).sum(1) / off.shape[1]
    assert 0.1 < distance.mean() < 1.0


def test_turns_put_the_bones_where_the_family_has_them():
    rng = np.random.default_rng(5)
    body = kinds()["dog"]
    pose = drawn_pose(rng, body)
    parts, _, heads, tails = body_at_rest(body)
    posed, points = parts_of(body, pose)
    frames = frames_of(heads, tails)
    moved = posed_bones(frames, turns_of(markers_of(parts), markers_of(posed), frames))
    paws = ((moved[BONES.index(name), :3, 3] - moved[BONES.index(first), :3, 3],
             points[f"left_{joint}"][0] - points[f"left_{start}"][0])
            for name, first, joint, start in (("foot.L", "thigh.L", "hock", "hip"),
                                              ("front_foot.L", "front_thigh.L", "wrist", "shoulder")))
    assert all(np.linalg.norm(a - b) < 0.02 for a, b in paws)
    assert np.allclose(np.linalg.det(moved[:, :3, :3]), 1)
