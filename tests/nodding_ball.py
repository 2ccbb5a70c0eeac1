"""A small reconstruction with bones: a ball on a spine of three bones with a fourth at its side, skinned by NumPy."""

from dataclasses import replace

import numpy as np
from video_mesh_reconstruction.vmr_backend.reconstruction import Reconstruction
from wobbling_ball import wobbling_ball

NAMES = ["hüfte", "spine", "head", "ear.L"]
PARENTS = [-1, 0, 1, 2]
LENGTHS = [0.3, 0.25, 0.3, 0.15]
HEADS = [[0, 0.05, -0.35], [0, 0, -0.1], [0, 0, 0.15], [0.2, 0.1, 0.3]]
TAILS = [None, None, [0, 0, 0.45], [0.3, 0.15, 0.39]]
"""Of the first two, the joint of the next bone."""


def nodding_ball(numbers=range(5), turn=1.0, slide=0.02, order=range(4), **options) -> Reconstruction:
    """The wobbling ball's camera and rest shape, moved by four bones.

    `spine` starts at the tail of `hüfte` in every frame, `head` slides along by `slide` and `ear.L` starts elsewhere;
    the root turns by more than half a circle, so that quaternions change their sign. `order` is the order of the bones.
    """
    ball = wobbling_ball(numbers, **options)
    rest = np.stack([_rest_matrix(bone) for bone in range(4)])
    time = (ball.frames - ball.frames[0]).astype(float)
    lengths = np.linalg.norm(np.diff(np.array(HEADS, float)[:3], axis=0), axis=1)
    pose = np.stack([_pose(rest, lengths, t, turn, slide) for t in time])
    joints = np.array(HEADS, float)
    nearness = np.exp(-6 * np.linalg.norm(ball.rest_vertices[:, None] - joints, axis=-1))
    nearness[nearness < 0.05 * nearness.max(1, keepdims=True)] = 0
    weights = nearness / nearness.sum(1, keepdims=True)
    order = list(order)
    place = {bone: new for new, bone in enumerate(order)} | {-1: -1}
    result = replace(
        ball, bone_parents=np.int32([place[PARENTS[bone]] for bone in order]),
        bone_rest=rest[order].astype(np.float32), bone_pose=pose[:, order].astype(np.float32),
        skin_weights=weights[:, order].astype(np.float32), bone_names=np.array([NAMES[bone] for bone in order]),
        bone_lengths=np.float32([*lengths, *LENGTHS[2:]])[order],
        coverage=np.linspace(0, 1, len(ball.rest_vertices)).astype(np.float32))
    return replace(result, vertices=skinned(result))


def skinned(result: Reconstruction) -> np.ndarray:
    """(T, V, 3) float32: linear blend skinning, vertex by vertex the mean of where its bones would take it."""
    rest = np.concatenate([result.rest_vertices, np.ones((len(result.rest_vertices), 1))], 1).astype(np.float64)
    vertices = np.zeros_like(result.vertices, np.float64)
    for bone in range(len(result.bone_parents)):
        from_rest = result.bone_pose[:, bone].astype(np.float64) @ np.linalg.inv(result.bone_rest[bone].astype(float))
        moved = np.stack([rest @ matrix.T for matrix in from_rest])[..., :3]
        vertices += result.skin_weights[:, bone, None] * moved
    return vertices.astype(np.float32)


def _rest_matrix(bone) -> np.ndarray:
    """Joint as origin, y axis to the tail, turned about it by some angle."""
    head = np.array(HEADS[bone], float)
    tail = np.array(TAILS[bone] or HEADS[bone + 1], float)
    along = (tail - head) / np.linalg.norm(tail - head)
    side = np.cross(along, [0.3, 1.0, 0.2])
    side /= np.linalg.norm(side)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([side, along, np.cross(side, along)], 1) @ _about(1, 0.7 * bone)
    matrix[:3, 3] = head
    return matrix


def _pose(rest, lengths, time, turn, slide) -> np.ndarray:
    """(4, 4, 4) poses at a time, from the root on."""
    root = rest[0].copy()
    root[:3, :3] = _about(2, 0.9 * turn * time) @ rest[0, :3, :3]
    root[:3, 3] += [0.05 * time, 0.02 * np.sin(time), 0]
    poses = [root]
    for bone in (1, 2, 3):
        bend = np.eye(4)
        bend[:3, :3] = _about(0, 0.25 * bone * np.sin(time + bone)) @ _about(1, 0.2 * np.sin(2 * time))
        if bone == 2:
            bend[:3, 3] = slide * np.sin(time), 0, slide * np.cos(time)
        poses.append(poses[-1] @ np.linalg.inv(rest[bone - 1]) @ rest[bone] @ bend)
    return np.stack(poses)


def _about(axis, angle) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[first, first, second, second], [first, second, first, second]] = cos, -sin, sin, cos
    return matrix
