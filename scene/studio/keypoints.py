"""Keypoints of a subject: bones' heads and tips, or vertex groups; their positions and visibility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree

from ...vmr_backend.annotations import HIDDEN, VISIBLE, Category
from ...vmr_backend.job import BadInput
from .subject import DatasetSubject

MOST = 32
TIP = " tip"
"""Suffix of the keypoint at the tail of a bone: a nose, a toe."""
MERGE_DISTANCE = 1e-2
"""Of the subject's size: a bone's head at its parent's tail is one keypoint."""
OCCLUSION_DEPTHS, OCCLUSION_TOLERANCE = 2.0, 0.06
"""A keypoint lies inside the body: it is occluded where the first surface on its ray is farther from it than this many
times the nearest surface plus this fraction of the subject's size."""


@dataclass(frozen=True)
class Keypoint:
    name: str
    source: str
    """Name of the bone or vertex group."""
    kind: str
    """head, tip or group."""


def choose_keypoints(subject: DatasetSubject, names: Sequence[str] = ()) -> list[Keypoint]:
    """The keypoints of these names; without names, at most MOST by farthest point sampling, both or none of a pair.

    BadInput where a name is neither that of a bone, of a bone's tip nor of a vertex group.
    """
    known = _all_keypoints(subject)
    if names:
        if missing := [name for name in names if name not in known]:
            raise BadInput(f"keypoints: found no bone or vertex group {missing[0]!r} in {subject.name}; needs some of "
                           f"{_some(known)}")
        return [known[name] for name in dict.fromkeys(names)]
    candidates = _candidates(subject, known)
    positions = rest_positions(subject, candidates)
    kept = [index for index in range(len(candidates)) if np.isfinite(positions[index]).all()]
    return _spread([candidates[index] for index in kept], positions[kept])


def category_of(subject: DatasetSubject, name: str, keypoints: Sequence[Keypoint]) -> Category:
    """The category with the keypoints' names, and a skeleton from each to that of its nearest ancestor bone."""
    indices = {(keypoint.kind, keypoint.source): index for index, keypoint in enumerate(keypoints)}
    pairs = []
    for index, keypoint in enumerate(keypoints):
        if keypoint.kind == "group":
            continue
        bone = subject.armature.data.bones[keypoint.source]
        above = [("head", parent.name) for parent in bone.parent_recursive]
        above = [("head", bone.name), *above] if keypoint.kind == "tip" else above
        parent = next((indices[key] for key in above if key in indices), None)
        if parent is not None:
            pairs.append((parent, index))
    return Category(name, tuple(keypoint.name for keypoint in keypoints), tuple(pairs))


def rest_positions(subject: DatasetSubject, keypoints: Sequence[Keypoint]) -> np.ndarray:
    """(K, 3) in the rest pose, in the space of the armature or mesh of each; NaN where a group is empty."""
    groups = group_positions(subject, {mesh: mesh.data for mesh in subject.meshes})
    positions = np.full((len(keypoints), 3), np.nan)
    for index, keypoint in enumerate(keypoints):
        if keypoint.kind == "group":
            positions[index] = groups.get(keypoint.source, np.nan)
        else:
            bone = subject.armature.data.bones[keypoint.source]
            positions[index] = bone.head_local if keypoint.kind == "head" else bone.tail_local
    return positions


def posed_positions(subject: DatasetSubject, keypoints: Sequence[Keypoint], armature: bpy.types.Object | None,
                 to_object: np.ndarray, baked: dict[bpy.types.Object, bpy.types.Mesh]) -> np.ndarray:
    """(K, 3) in object space.

    armature   as evaluated, None where the subject has none
    to_object  (4, 4) from the world
    baked      each mesh as evaluated, in object space
    """
    needs_groups = any(keypoint.kind == "group" for keypoint in keypoints)
    groups = group_positions(subject, baked) if needs_groups else {}
    positions = np.full((len(keypoints), 3), np.nan)
    from_armature = to_object @ np.array(armature.matrix_world) if armature is not None else None
    for index, keypoint in enumerate(keypoints):
        if keypoint.kind == "group":
            positions[index] = groups.get(keypoint.source, np.nan)
        else:
            bone = armature.pose.bones[keypoint.source]
            end = bone.head if keypoint.kind == "head" else bone.tail
            positions[index] = (from_armature @ [*end, 1.0])[:3]
    return positions


def group_positions(subject: DatasetSubject, meshes: dict[bpy.types.Object, bpy.types.Mesh]) -> dict[str, np.ndarray]:
    """The weighted mean (3,) of each vertex group of the subject's meshes; empty groups are left out."""
    sums: dict[str, np.ndarray] = {}
    for mesh_object, mesh in meshes.items():
        names = [group.name for group in mesh_object.vertex_groups]
        totals = np.zeros((len(names), 4))
        for vertex in mesh.vertices:
            for element in vertex.groups:
                if element.group < len(names):
                    totals[element.group] += element.weight * np.array([*vertex.co, 1.0])
        for name, total in zip(names, totals, strict=True):
            sums[name] = sums.get(name, 0) + total
    return {name: total[:3] / total[3] for name, total in sums.items() if total[3] > 0}


def visibility(positions: np.ndarray, centre: np.ndarray, vertices: np.ndarray,
               faces: Sequence[Sequence[int]]) -> np.ndarray:
    """(K,) VISIBLE or HIDDEN, by a ray from the centre of projection to each keypoint.

    positions  (K, 3), centre (3,), vertices (V, 3): in one space
    faces      vertex indices of each polygon
    """
    tree: Any = BVHTree.FromPolygons(vertices.tolist(), faces)
    size = float(np.linalg.norm(np.ptp(vertices, 0)))
    found = np.full(len(positions), VISIBLE)
    for index, position in enumerate(positions):
        ray = position - centre
        length = float(np.linalg.norm(ray))
        *_, hit = tree.ray_cast(Vector(centre), Vector(ray / length), length)
        *_, depth = tree.find_nearest(Vector(position))
        if hit is not None and length - hit > OCCLUSION_DEPTHS * depth + OCCLUSION_TOLERANCE * size:
            found[index] = HIDDEN
    return found


def _all_keypoints(subject: DatasetSubject) -> dict[str, Keypoint]:
    """By name: groups first, so that bones, whose heads are joints, replace the groups that they move."""
    known = {group.name: Keypoint(group.name, group.name, "group")
             for mesh in subject.meshes for group in mesh.vertex_groups}
    for bone in subject.armature.data.bones if subject.armature else ():
        known[bone.name] = Keypoint(bone.name, bone.name, "head")
        known[bone.name + TIP] = Keypoint(bone.name + TIP, bone.name, "tip")
    return known


def _candidates(subject: DatasetSubject, known: dict[str, Keypoint]) -> list[Keypoint]:
    """What automatic keypoints are chosen from: deforming bones and their tips, or vertex groups."""
    if subject.armature is None:
        return [keypoint for keypoint in known.values() if keypoint.kind == "group"]
    weighted = {group.name for mesh in subject.meshes for group in mesh.vertex_groups}
    bones = list(subject.armature.data.bones)
    deforming = [bone for bone in bones if bone.use_deform and bone.name in weighted] or \
        [bone for bone in bones if bone.use_deform] or bones
    return [known[bone.name] for bone in deforming] + [known[bone.name + TIP] for bone in deforming]


def _spread(keypoints: list[Keypoint], positions: np.ndarray) -> list[Keypoint]:
    """At most MOST of them by farthest point sampling, a mirrored pair at once."""
    if not keypoints:
        return []
    size = float(np.linalg.norm(np.ptp(positions, 0))) or 1.0
    first = [index for index in range(len(keypoints))
             if not (np.linalg.norm(positions[:index] - positions[index], axis=1) < MERGE_DISTANCE * size).any()]
    mirror = Category("", tuple(keypoints[index].name for index in first)).mirror
    units = sorted({tuple(sorted({index, mirror[index]})) for index in range(len(first))})
    positions = positions[first]
    nearest = np.linalg.norm(positions - positions.mean(0), axis=1)
    taken: list[int] = []
    while units:
        unit = max(units, key=lambda unit: min(nearest[index] for index in unit))
        units.remove(unit)
        if len(taken) + len(unit) > MOST:
            continue
        distances = [np.linalg.norm(positions - positions[index], axis=1) for index in unit]
        nearest = np.minimum.reduce([*distances, nearest] if taken else distances)
        taken += unit
    return [keypoints[first[index]] for index in sorted(taken)]


def _some(known: dict[str, Keypoint]) -> str:
    names = sorted(known)
    return ", ".join(names[:8]) + " ..." * (len(names) > 8) if names else "bones or vertex groups, of which it has none"
