"""An armature whose bones move as a result's do, and the mesh that hangs on it by vertex groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from ..vmr_backend.reconstruction import Reconstruction
from .action import add_keys, continuous, new_channels

UNKNOWN_LENGTH = 0.1
"""Length of bones where the result has none; the subject's is 1."""
SHIFT_TOLERANCE = 2e-6
"""Shifts of a joint below this are rounding to single precision; the subject's length is 1."""


def move_by_armature(
    mesh_object: bpy.types.Object, result: Reconstruction, scene_frames: np.ndarray
) -> bpy.types.Object:
    """Hang the mesh on a new armature object, not linked anywhere yet, keyed at each of the scene frames (T,).

    Blender's Armature modifier without Preserve Volume is the linear blend skinning of the format.
    """
    armature = bpy.data.armatures.new(f"{mesh_object.name} Armature")
    armature_object = bpy.data.objects.new(armature.name, armature)
    armature_object.show_in_front = True  # else the body hides them
    names = bone_names(result)
    connected = _connected(result)
    _add_bones(armature_object, result, names, connected)
    _key_bones(armature_object, result, names, connected, scene_frames)
    _hang(mesh_object, armature_object, result, names)
    return armature_object


def bone_names(result: Reconstruction) -> list[str]:
    """Names of the bones, and of the vertex groups."""
    if result.bone_names is not None:
        return [str(name) for name in result.bone_names]
    return [f"bone_{number:02d}" for number in range(len(result.bone_parents))]


def _connected(result: Reconstruction) -> np.ndarray:
    """(B,) bool: the bone's joint lies on its parent's tail, at rest and in every frame."""
    parents, lengths = result.bone_parents, _lengths(result)
    poses = np.concatenate([result.bone_rest[None], result.bone_pose]).astype(np.float64)
    tails = poses[..., :3, 3] + poses[..., :3, 1] * lengths[:, None]
    away = np.linalg.norm(poses[..., :3, 3] - tails[:, parents], axis=-1).max(0)
    return (parents >= 0) & (away < SHIFT_TOLERANCE)


def _lengths(result: Reconstruction) -> np.ndarray:
    if result.bone_lengths is None:
        return np.full(len(result.bone_parents), UNKNOWN_LENGTH)
    return result.bone_lengths.astype(np.float64)


def _add_bones(
    armature_object: bpy.types.Object, result: Reconstruction, names: list[str], connected: np.ndarray
) -> None:
    """Joint, direction and roll of each bone as at rest, its length, and the bone above it."""
    with _edit_bones(armature_object) as edit_bones:
        bones = [edit_bones.new(name) for name in names]
        for bone, rest, length in zip(bones, result.bone_rest, _lengths(result), strict=True):
            bone.tail = 0.0, length, 0.0
            bone.matrix = Matrix(rest)
        for bone, parent, is_connected in zip(bones, result.bone_parents, connected, strict=True):
            if parent >= 0:
                bone.parent = bones[parent]
                bone.use_connect = bool(is_connected)


@contextmanager
def _edit_bones(armature_object: bpy.types.Object) -> Iterator[bpy.types.ArmatureEditBones]:
    """Blender has them in edit mode only: entered in a scene of its own, so that the user's mode and selection stay."""
    scene = bpy.data.scenes.new(armature_object.name)
    try:
        scene.collection.objects.link(armature_object)
        layer = scene.view_layers[0]
        layer.objects.active = armature_object
        with bpy.context.temp_override(
                scene=scene, view_layer=layer, active_object=armature_object, object=armature_object,
                selected_objects=[]):
            bpy.ops.object.mode_set(mode="EDIT")
            try:
                yield armature_object.data.edit_bones
            finally:
                bpy.ops.object.mode_set(mode="OBJECT")
    finally:
        bpy.data.scenes.remove(scene)


def _key_bones(
    armature_object: bpy.types.Object, result: Reconstruction, names: list[str], connected: np.ndarray,
    scene_frames: np.ndarray,
) -> None:
    """Key each bone's turn and, where its joint shifts against the bone above, its shift.

    Blender builds a pose from the top down: pose = parent_pose @ parent_rest^-1 @ rest @ basis.
    """
    given, pose = result.bone_rest.astype(np.float64), result.bone_pose.astype(np.float64)
    # A bone in Blender is head, tail and roll: its rest matrix is the given one up to rounding.
    rest = np.array([armature_object.data.bones[name].matrix_local for name in names], np.float64)
    wanted = pose @ np.linalg.inv(given) @ rest
    channels = new_channels(armature_object, armature_object.name)
    posed = np.empty_like(wanted)
    for bone in _from_the_top(result.bone_parents):
        parent = result.bone_parents[bone]
        above = posed[:, parent] @ np.linalg.inv(rest[parent]) @ rest[bone] if parent >= 0 else rest[bone][None]
        basis = np.linalg.inv(above) @ wanted[:, bone]
        shifts = not connected[bone] and bool(np.abs(basis[:, :3, 3]).max() > SHIFT_TOLERANCE)
        if not shifts:
            basis[:, :3, 3] = 0
        posed[:, bone] = above @ basis
        path = f'pose.bones["{bpy.utils.escape_identifier(names[bone])}"]'
        turns = continuous(np.array([Matrix(matrix).to_quaternion() for matrix in basis]))
        keyed = {"rotation_quaternion": turns} | ({"location": basis[:, :3, 3]} if shifts else {})
        for name, values in keyed.items():
            for index, component in enumerate(values.T):
                add_keys(channels, f"{path}.{name}", scene_frames, component, index, group=names[bone])


def _from_the_top(parents: np.ndarray) -> list[int]:
    """The numbers of all bones, each after its parent's."""
    depth = np.zeros(len(parents), int)
    above = parents
    while (above >= 0).any():
        depth += above >= 0
        above = np.where(above < 0, -1, parents[above])
    return [int(bone) for bone in np.argsort(depth, kind="stable")]


def _hang(
    mesh_object: bpy.types.Object, armature_object: bpy.types.Object, result: Reconstruction, names: list[str]
) -> None:
    """Vertex groups of the skin weights, the modifier, and the armature as parent: moved, it takes the mesh along."""
    groups = [mesh_object.vertex_groups.new(name=name) for name in names]
    for vertex, bone in zip(*np.nonzero(result.skin_weights), strict=True):
        groups[bone].add([int(vertex)], float(result.skin_weights[vertex, bone]), "REPLACE")
    modifier: Any = mesh_object.modifiers.new("Armature", "ARMATURE")
    modifier.object = armature_object
    mesh_object.parent = armature_object
