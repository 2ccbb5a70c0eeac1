"""What is rendered as one animal: its meshes, the armature that deforms them, and the actions that animate them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from ...vmr_backend.job import BadInput
from ..action import KEY_PATH, curves_by_slot

BONE_PATH = re.compile(r'pose\.bones\["(.+?)"\]\.')
MIN_MATCH = 0.5
"""An action of another rig may share a bone's name or two; one of this rig moves mostly bones that are there."""

UPRIGHT = 0.7
"""Cosine of the angle up to which an axis counts as pointing up: some 45 degrees."""


@dataclass(frozen=True)
class DatasetSubject:
    """What is rendered as one animal."""

    name: str
    root: bpy.types.Object
    """Its axes are those of object space: -Y its front, Z up. The armature, where there is one."""
    meshes: tuple[bpy.types.Object, ...]
    armature: bpy.types.Object | None

    @property
    def objects(self) -> list[bpy.types.Object]:
        return list(dict.fromkeys([self.root, *self.meshes, *([self.armature] if self.armature else [])]))


@dataclass(frozen=True)
class Motion:
    """An action that animates the armature's bones or the shape keys of one mesh."""

    owner: bpy.types.Object | bpy.types.Key
    action: bpy.types.Action
    slot: Any
    """Which of the action's slots; None before Blender 4.4, where actions have none."""

    def start(self) -> None:
        data: Any = self.owner.animation_data or self.owner.animation_data_create()
        data.use_nla = False  # strips of the file would mix with it
        data.action = self.action
        if self.slot is not None:
            data.action_slot = self.slot


def subject_of(chosen: bpy.types.Object) -> DatasetSubject:
    """The meshes that belong to an object: its own, its children's, and all that its armature deforms.

    Meshes hidden in renders do not count. BadInput where none is left.
    """
    armature = _armature_of(chosen)
    root = armature or chosen
    candidates = [root, *root.children_recursive, chosen, *chosen.children_recursive]
    if armature is not None:
        candidates += [other for other in bpy.data.objects if _moved_by(other) is armature]
    meshes = [one for one in dict.fromkeys(candidates) if one.type == "MESH" and not one.hide_render]
    if not meshes:
        raise BadInput(f"{chosen.name}: found no mesh in it that renders show; needs a mesh, an armature that moves "
                       "one, or an empty that holds one")
    return DatasetSubject(chosen.name, root, tuple(meshes), armature)


def motions_of(subject: DatasetSubject) -> list[Motion]:
    """The file's actions that fit the subject, by owner and name."""
    owners: list[tuple[Any, re.Pattern, set[str]]] = []
    if subject.armature is not None:
        owners.append((subject.armature, BONE_PATH, set(subject.armature.pose.bones.keys())))
    for mesh in subject.meshes:
        if keys := mesh.data.shape_keys:
            owners.append((keys, KEY_PATH, set(keys.key_blocks.keys())))
    motions = []
    for owner, pattern, names in owners:
        for action in sorted(bpy.data.actions, key=lambda action: action.name):
            for slot, curves in curves_by_slot(action):
                moved = {match[1] for curve in curves if (match := pattern.match(curve.data_path))}
                if moved and len(moved & names) >= MIN_MATCH * len(moved):
                    motions.append(Motion(owner, action, slot))
    return motions


def is_upright(subject: DatasetSubject) -> bool:
    """Whether the root's Z axis, which is up in object space, points up in the world."""
    up = subject.root.matrix_world.to_3x3().normalized().col[2]
    return up.z > UPRIGHT


def fingerprint(subject: DatasetSubject) -> str:
    """A digest of shapes, rest pose, pose and motions: images of another state do not belong to the same collection."""
    digest = hashlib.sha256()
    for part in _state(subject):
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()[:16]


def _state(subject: DatasetSubject) -> Iterator[Any]:
    motions = motions_of(subject)
    moved = [motion.owner for motion in motions]
    for mesh in subject.meshes:
        yield mesh.name, [(modifier.name, modifier.type, modifier.show_viewport) for modifier in mesh.modifiers]
        yield _coordinates(mesh.data.vertices)
        yield [slot.material and slot.material.name for slot in mesh.material_slots]
        if keys := mesh.data.shape_keys:
            for key in keys.key_blocks:
                yield key.name, _coordinates(key.data), keys not in moved and round(key.value, 5)
    if subject.armature is not None:
        for bone in subject.armature.pose.bones:
            yield bone.name, np.round(bone.bone.matrix_local, 5).tolist()
            yield subject.armature not in moved and np.round(bone.matrix_basis, 5).tolist()
    for motion in motions:
        yield motion.action.name, tuple(motion.action.frame_range)


def _coordinates(points: Any) -> bytes:
    values = np.empty(3 * len(points), np.float32)
    points.foreach_get("co", values)
    return values.tobytes()


def _armature_of(chosen: bpy.types.Object) -> bpy.types.Object | None:
    if chosen.type == "ARMATURE":
        return chosen
    if chosen.type == "MESH":
        return _moved_by(chosen)
    inside = chosen.children_recursive
    return next((one for one in inside if one.type == "ARMATURE"), None) or \
        next((armature for one in inside if (armature := _moved_by(one))), None)


def _moved_by(other: bpy.types.Object) -> bpy.types.Object | None:
    """The armature that deforms a mesh object by a modifier, or is its parent."""
    if other.type != "MESH":
        return None
    modifiers: Any = [modifier for modifier in other.modifiers if modifier.type == "ARMATURE"]
    by_modifier = [modifier.object for modifier in modifiers if modifier.object]
    by_parent = [other.parent] if other.parent is not None and other.parent.type == "ARMATURE" else []
    return next(iter(by_modifier + by_parent), None)
