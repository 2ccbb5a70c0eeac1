"""A template of a user's object: its meshes at rest and what of its armature holds them, as the backend needs it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from ..vmr_backend.job import BadInput
from ..vmr_backend.templates import rig_file
from ..vmr_backend.templates.rig_file import HELD_BY, MOST_BONES, MOST_FACES, MOST_VERTICES
from .action import KEY_PATH, curves_by_slot
from .skeleton import (
    FRONTS,
    HOLDS,
    Bones,
    along_the_bones,
    contact_of,
    extent_of,
    from_the_top,
    from_their_joints,
    front_of,
    lengthened,
    mirror_of,
    to_segments,
    tree_over,
    twins_of,
)

AUTO = "AUTO"
LEFT_OUT = {"ARMATURE", "SUBSURF", "MULTIRES", "CLOTH", "SOFT_BODY"}
"""Modifiers that pose, subdivide or simulate."""
UNEVEN = 0.01
"""Share by which an armature's scale may differ between axes."""
OFF = 0.5
"""Share of the rig's extent by which half of a mesh may lie off the bones that hold it."""
SEVERAL, LEAST_PART, MOST_PART = 3, 0.05, 3.0
"""The joints of so many bones or more spread over more and less than these shares of the mesh's extent."""
INSIDE_OUT = -0.01
"""Volume, of that of the box around a mesh, below which its faces look inwards."""
AT_ONCE = 4096
"""Vertices whose distances from all bones are held at once."""


@dataclass(frozen=True)
class RiggedObject:
    """An armature and the meshes that it moves."""

    name: str
    """The mesh's where it is one."""
    armature: bpy.types.Object
    meshes: tuple[bpy.types.Object, ...]


@dataclass(frozen=True)
class _SkinnedMesh:
    """Triangles and skin of meshes. V vertices, F faces, W weights."""

    vertices: np.ndarray
    """(V, 3) float64."""
    faces: np.ndarray
    """(F, 3) int."""
    uv: np.ndarray
    """(F, 3, 2)"""
    mapped: np.ndarray
    """(F,) bool, faces that have UVs."""
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]
    """(W,) vertices, (W,) bones, (W,) weights above 0."""


def rigged_object(chosen: bpy.types.Object) -> RiggedObject:
    """The armature of an object, and what it moves: of an armature all meshes, of a mesh that one.

    Meshes hidden in renders count where all are. BadInput where there is no armature or no mesh.
    """
    if chosen.type == "ARMATURE":
        meshes = [one for one in bpy.data.objects if chosen in _armatures_of(one)]
        if not meshes:
            raise BadInput(f"{chosen.name}: found no mesh that this armature moves; parent one to it with Armature "
                           "Deform (Ctrl P)")
        meshes = [one for one in meshes if not one.hide_render] or meshes
        return RiggedObject(meshes[0].name if len(meshes) == 1 else chosen.name, chosen, tuple(meshes))
    if chosen.type != "MESH":
        raise BadInput(f"{chosen.name}: found an object of type {chosen.type.lower()}; needs an armature, or a mesh "
                       "that one moves")
    armatures = _armatures_of(chosen)
    if not armatures:
        raise BadInput(f"{chosen.name}: found no armature that moves it; needs an Armature modifier with an object "
                       "(Ctrl P, Armature Deform)")
    if len(armatures) > 1:
        raise BadInput(f"{chosen.name}: found {len(armatures)} armatures that move it "
                       f"({', '.join(one.name for one in armatures)}); needs one: remove the others' modifiers")
    return RiggedObject(chosen.name, armatures[0], (chosen,))


def only_rigged_object(file: str = "") -> RiggedObject:
    """The one armature of the file that moves meshes; BadInput names them where there are several or none.

    file  its name, where it was imported
    """
    objects = sorted(bpy.data.objects, key=lambda one: one.name)
    found = [one for one in objects if one.type == "ARMATURE" and any(one in _armatures_of(other) for other in objects)]
    if len(found) == 1:
        return rigged_object(found[0])
    file = file or Path(bpy.data.filepath).name or "the file"
    if not found:
        raise BadInput(f"{file}: found no armature that moves a mesh; needs a rigged object (Ctrl P, Armature Deform)")
    raise BadInput(f"{file}: found {len(found)} armatures that move meshes; name one by --object: "
                   f"{', '.join(one.name for one in found[:8])}" + " ..." * (len(found) > 8))


def save_rig(path: Path, rigged: RiggedObject, front: str = AUTO) -> dict[str, Any]:
    """Write what `gather` returns to a file that the backend makes a template of; returns the facts."""
    arrays, facts = gather(rigged, front)
    rig_file.save_rig(path, arrays, facts)
    return facts


def gather(rigged: RiggedObject, front: str = AUTO) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a `Template` by name, in template space, and facts: those of its card, `front` and `warnings`.

    The meshes are as Blender evaluates them in rest position, without subdivision; nothing in the file is changed,
    whatever mode Blender is in.
    front  where the object looks, one of FRONTS, along the axes of the armature with the one upright that is nearest
           to the world's z; or AUTO
    BadInput names the object and the cure.
    """
    if front not in (AUTO, *FRONTS):
        raise BadInput(f"front: found {front!r}, needs one of {', '.join([AUTO, *FRONTS])}")
    others = {one for mesh in rigged.meshes for one in _armatures_of(mesh)} - {rigged.armature}
    if others:
        raise BadInput(f"{rigged.name}: found meshes that {sorted(one.name for one in others)[0]} moves, too; needs "
                       "meshes of one armature")
    warnings: list[str] = []
    if rigged.armature.mode == "EDIT":
        rigged.armature.update_from_editmode()
    bpy.context.view_layer.update()  # matrices of what was moved by a script are old until then
    world = np.array(rigged.armature.matrix_world, np.float64)
    turn, scale = _rotation_and_scale(rigged, world, warnings)
    upright = _upright(turn) @ turn.T
    to_upright = np.eye(4)
    to_upright[:3, :3], to_upright[:3, 3] = upright, -upright @ world[:3, 3]
    bones = _bones_of(rigged.armature, to_upright @ world)
    surface = _surfaces(rigged, bones, to_upright)
    skin_bones, skin_weights, holding = _skin(rigged, bones, surface)

    extent = extent_of(surface.vertices)
    bones = lengthened(bones, surface.vertices, skin_bones[:, 0], extent)
    held = np.bincount(skin_bones.ravel(), skin_weights.ravel(), len(bones))
    lateral = None if front == AUTO else 1 - "XY".index(front[1])
    mirror = mirror_of(bones, holding, surface.vertices, lateral)
    if front == AUTO:
        found = front_of(bones, holding, mirror, surface.vertices)
        if found is None:
            found = "-" + "XY"[1 - mirror.axis]
            warnings.append(f"{rigged.name}: found nothing that tells its front from its back, {found} is taken for "
                            "the front; choose another where it looks elsewhere")
        front = found
    twins = twins_of(bones, mirror, extent)
    edges = np.concatenate([surface.faces[:, [0, 1]], surface.faces[:, [1, 2]], surface.faces[:, [2, 0]]])
    contact = contact_of(skin_bones, skin_weights, edges, len(bones))
    parents = tree_over(bones, holding, held, contact, twins, extent)
    order = from_the_top(parents, holding)
    bones = from_their_joints(bones, parents, extent)
    axes, lengths = along_the_bones(bones, parents, order, surface.vertices, skin_bones[:, 0], extent)

    placed = np.eye(4)
    placed[:3, :3] = _about_z(FRONTS[front])
    placed[0, 3] = -mirror.position * placed[0, mirror.axis]
    place = np.full(len(bones) + 1, -1)
    place[order] = np.arange(len(order))
    twins = np.array([twins[bone] if holding[twins[bone]] else bone for bone in order])
    rest = np.tile(np.eye(4), (len(order), 1, 1))
    rest[:, :3, :3] = placed[:3, :3] @ axes[order]
    rest[:, :3, 3] = bones.heads[order] @ placed[:3, :3].T + placed[:3, 3]
    placement = placed @ to_upright @ world
    placement[:3, :3] = placed[:3, :3] @ _upright(turn) * scale
    arrays = {
        "vertices": (surface.vertices @ placed[:3, :3].T + placed[:3, 3]).astype(np.float32),
        "faces": surface.faces.astype(np.int32),
        "uv": _uv_of(surface),
        "skin_bones": np.maximum(place[skin_bones], 0).astype(np.int32),
        "skin_weights": skin_weights.astype(np.float32),
        "bone_parents": place[parents[order]].astype(np.int32),
        "bone_rest": rest.astype(np.float32),
        "bone_lengths": lengths[order].astype(np.float32),
        "bone_twins": place[twins].astype(np.int32),
        "placement": placement.astype(np.float32),
    }
    file = Path(bpy.data.filepath).name
    facts = {"name": " ".join(rigged.name.split()), "bone_names": [bones.names[bone] for bone in order],
             "source": " ".join(f"{file}: {rigged.name}".split() if file else rigged.name.split()),
             "front": front, "warnings": warnings}
    return arrays, facts


def _armatures_of(chosen: bpy.types.Object) -> list[bpy.types.Object]:
    """The armatures that move an object's mesh: by modifiers, or as a parent that deforms it or one of whose bones
    holds it."""
    if chosen.type != "MESH":
        return []
    modifiers: Any = [one for one in chosen.modifiers if one.type == "ARMATURE"]
    found = [one.object for one in modifiers if one.object is not None]
    if chosen.parent is not None and chosen.parent.type == "ARMATURE" \
            and chosen.parent_type in ("ARMATURE", "BONE") and not found:
        found.append(chosen.parent)
    return list(dict.fromkeys(found))


# The armature.

def _rotation_and_scale(rigged: RiggedObject, world: np.ndarray, warnings: list[str]) -> tuple[np.ndarray, float]:
    """The armature's rotation (3, 3) in the world, and its scale: their geometric mean."""
    left, scales, right = np.linalg.svd(world[:3, :3])
    name = rigged.armature.name
    if scales[2] <= 1e-9 * max(scales[0], 1e-9):
        raise BadInput(f"{name}: found an armature that is scaled to nothing; needs a scale above 0 on all axes")
    if np.linalg.det(world[:3, :3]) < 0:
        raise BadInput(f"{name}: found an armature that a negative scale mirrors; needs one that is not: apply its "
                       "scale (Ctrl A)")
    if scales[0] > scales[2] * (1 + UNEVEN):
        warnings.append(f"{name}: its scale differs between axes, so that its bones shear as they turn and the "
                        "template's do not; apply its scale (Ctrl A)")
    return left @ right, float(np.cbrt(scales.prod()))


def _upright(turn: np.ndarray) -> np.ndarray:
    """(3, 3) the rotation about x, or where that is not enough about y, by quarter turns, that brings up the axis of
    an object which is nearest to the world's z."""
    axis = int(np.abs(turn[2]).argmax())
    sign = 1.0 if turn[2, axis] > 0 else -1.0
    if axis == 2:
        return np.diag([1.0, sign, sign])
    upright = np.zeros((3, 3))
    upright[1 - axis, 1 - axis], upright[2, axis], upright[axis, 2] = 1, sign, -sign
    return upright


def _about_z(quarters: int) -> np.ndarray:
    """(3, 3) rotation about z, counter-clockwise from above."""
    return np.rint(np.array(Matrix.Rotation(quarters * np.pi / 2, 3, "Z"), np.float64))


def _bones_of(armature: bpy.types.Object, to_upright: np.ndarray) -> Bones:
    """The bones at rest, through a matrix from armature space; axes are made rigid where that shears them."""
    bones = list(armature.data.bones)
    if not bones:
        raise BadInput(f"{armature.name}: found an armature without bones; needs one that moves the mesh")
    index = {bone.name: number for number, bone in enumerate(bones)}
    matrices = to_upright @ np.array([bone.matrix_local for bone in bones], np.float64)
    tails = np.array([bone.tail_local for bone in bones], np.float64) @ to_upright[:3, :3].T + to_upright[:3, 3]
    y = matrices[:, :3, 1] / np.linalg.norm(matrices[:, :3, 1], axis=1, keepdims=True)
    x = matrices[:, :3, 0] - (matrices[:, :3, 0] * y).sum(1, keepdims=True) * y
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    pulls = np.full(len(bones), -1)
    for posed in armature.pose.bones if armature.pose else ():
        constraints: Any = posed.constraints
        for constraint in constraints:
            if constraint.type == "IK" and constraint.target == armature and constraint.subtarget in index \
                    and posed.name in index:
                pulls[index[constraint.subtarget]] = index[posed.name]
    parents = np.array([index[bone.parent.name] if bone.parent else -1 for bone in bones])
    return Bones(tuple(index), parents, matrices[:, :3, 3], tails, np.stack([x, y, np.cross(x, y)], -1), pulls)


# The meshes.

def _surfaces(rigged: RiggedObject, bones: Bones, to_upright: np.ndarray) -> _SkinnedMesh:
    """The meshes as one, at rest, through a matrix from the world."""
    index = {name: number for number, name in enumerate(bones.names)}
    deforming = {bone.name: index[bone.name] for bone in rigged.armature.data.bones
                 if bone.use_deform and bone.name in index}
    found = []
    with _at_rest(rigged) as (copies, depsgraph):
        for mesh, copy in zip(rigged.meshes, copies, strict=True):
            held_by = index.get(mesh.parent_bone) if mesh.parent_type == "BONE" else None
            evaluated = copy.evaluated_get(depsgraph)
            # Only what a bone holds is elsewhere at rest; a copy's own matrix cannot shear.
            matrix = np.array(mesh.matrix_world if held_by is None else evaluated.matrix_world, np.float64)
            surface = _surface_of(mesh, evaluated, deforming, held_by, to_upright @ matrix, depsgraph)
            if surface is not None:
                found.append(surface)
    if not found:
        raise BadInput(f"{rigged.name}: found no faces in its mesh; needs a surface")
    starts = itertools.accumulate([len(one.vertices) for one in found], initial=0)
    moved = [(one, start) for one, start in zip(found, starts, strict=False)]
    surface = _SkinnedMesh(
        np.concatenate([one.vertices for one in found]),
        np.concatenate([one.faces + start for one, start in moved]),
        np.concatenate([one.uv for one in found]), np.concatenate([one.mapped for one in found]),
        (np.concatenate([one.weights[0] + start for one, start in moved]),
         np.concatenate([one.weights[1] for one in found]), np.concatenate([one.weights[2] for one in found])))
    for word, count, most in (("vertices", len(surface.vertices), MOST_VERTICES),
                              ("triangles", len(surface.faces), MOST_FACES)):
        if count > most:
            raise BadInput(f"{rigged.name}: found {count} {word}, needs at most {most}; a Decimate modifier takes "
                           "some away")
    if not np.isfinite(surface.vertices).all() or extent_of(surface.vertices) <= 0:
        raise BadInput(f"{rigged.name}: found vertices that are not finite or all in one point; needs a surface")
    return surface


@contextmanager
def _at_rest(rigged: RiggedObject) -> Iterator[tuple[list[bpy.types.Object], bpy.types.Depsgraph]]:
    """Copies of the meshes' objects in rest position, in a scene of their own, and what Blender evaluates there.

    Copies, since the user's own objects may be hidden, in edit mode or linked from a library, and shall stay as they
    are.
    """
    scene = bpy.data.scenes.new(rigged.name)
    made: list[Any] = [scene]
    try:
        scene.frame_current = bpy.context.scene.frame_current
        armature = _copy(rigged.armature, scene, made)
        armature.parent = None
        armature.matrix_world = rigged.armature.matrix_world
        armature.data.pose_position = "REST"
        copies = [_copy(mesh, scene, made) for mesh in rigged.meshes]
        for mesh, copy in zip(rigged.meshes, copies, strict=True):
            if mesh.parent == rigged.armature:
                copy.parent = armature  # which keeps the matrix between them
                copy.matrix_parent_inverse = mesh.matrix_parent_inverse
            else:
                copy.parent = None
                copy.matrix_world = mesh.matrix_world
            for modifier in copy.modifiers:
                if modifier.type in LEFT_OUT:
                    modifier.show_viewport = False
            _forget_poses(copy.data)
        layer = scene.view_layers[0]
        layer.update()
        yield copies, layer.depsgraph
    finally:
        for block in made[::-1]:
            collection: Any = {
                "SCENE": bpy.data.scenes, "OBJECT": bpy.data.objects, "MESH": bpy.data.meshes,
                "ARMATURE": bpy.data.armatures}[block.id_type]
            collection.remove(block)


def _copy(original: bpy.types.Object, scene: bpy.types.Scene, made: list[Any]) -> bpy.types.Object:
    """A copy of an object and its data in a scene, without what animates or holds it."""
    if original.type == "MESH" and original.mode == "EDIT":
        original.update_from_editmode()
    copy = original.copy()
    copy.data = original.data.copy()
    made += [copy.data, copy]
    copy.animation_data_clear()
    copy.constraints.clear()
    copy.hide_viewport = False
    if copy.type == "MESH":
        copy.show_only_shape_key = False
    scene.collection.objects.link(copy)
    return copy


def _forget_poses(mesh: bpy.types.Mesh) -> None:
    """Put shape keys that a pose drives, or an action animates, to 0."""
    keys = mesh.shape_keys
    data = keys.animation_data if keys else None
    if data is None:
        return
    curves = list(data.drivers)
    if data.action is not None:
        slot = getattr(data, "action_slot", None)
        curves += [curve for one, its in curves_by_slot(data.action) if one is None or one == slot for curve in its]
    moved = [match[1] for curve in curves if (match := KEY_PATH.match(curve.data_path))]
    keys.animation_data_clear()
    for name in moved:
        if name in keys.key_blocks:
            keys.key_blocks[name].value = 0.0


def _surface_of(original: bpy.types.Object, evaluated: bpy.types.Object, deforming: dict[str, int],
                held_by: int | None, matrix: np.ndarray, depsgraph: bpy.types.Depsgraph) -> _SkinnedMesh | None:
    """The triangles of a mesh through a matrix, counter-clockwise from outside; None where it has none."""
    mesh = evaluated.to_mesh(preserve_all_data_layers=True, depsgraph=depsgraph)
    try:
        mesh.calc_loop_triangles()
        count = len(mesh.loop_triangles)
        if not count:
            return None
        points = _read(mesh.vertices, "co", (len(mesh.vertices), 3), np.float32).astype(np.float64)
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
        faces = _read(mesh.loop_triangles, "vertices", (count, 3), np.int32).astype(np.int64)
        layer = mesh.uv_layers.active
        uv = np.zeros((count, 3, 2), np.float32)
        if layer is not None:
            corners = _read(mesh.loop_triangles, "loops", (count, 3), np.int32)
            uv = _read(layer.uv, "vector", (len(mesh.loops), 2), np.float32)[corners]
        names = [group.name for group in evaluated.vertex_groups]
        weights = _weights_of(mesh, names, deforming)
        if held_by is not None and not len(weights[0]):
            every = np.arange(len(points))
            weights = every, np.full(len(every), held_by), np.ones(len(every))
        elif not len(weights[0]):
            raise BadInput(_without_weights(original, names, deforming))
    finally:
        evaluated.to_mesh_clear()
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces, uv = faces[:, ::-1], uv[:, ::-1]
    if _volume(points, faces) < INSIDE_OUT * np.ptp(points, axis=0).prod():
        faces, uv = faces[:, ::-1], uv[:, ::-1]
    # Vertices of no face are no surface: guides, leftovers.
    used = np.zeros(len(points), bool)
    used[faces] = True
    place = np.cumsum(used) - 1
    kept = used[weights[0]]
    return _SkinnedMesh(points[used], place[faces], uv, np.full(count, layer is not None),
                    (place[weights[0][kept]], weights[1][kept], weights[2][kept]))


def _read(collection: Any, name: str, shape: tuple[int, ...], kind: type) -> np.ndarray:
    values: np.ndarray = np.empty(int(np.prod(shape)), kind)
    collection.foreach_get(name, values)
    return values.reshape(shape)


def _weights_of(mesh: bpy.types.Mesh, names: Sequence[str], deforming: dict[str, int]
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(W,) vertices, bones and weights of the groups that are called as deforming bones."""
    bone_of = np.array([deforming.get(name, -1) for name in names] + [-1])
    counts, groups, weights = [], [], []
    for vertex in mesh.vertices:  # there is no way to read them at once
        held = vertex.groups
        counts.append(len(held))
        for one in held:
            groups.append(one.group)
            weights.append(one.weight)
    vertices = np.repeat(np.arange(len(counts)), counts)
    groups = np.array(groups, np.int64)
    bones, shares = bone_of[np.where(groups < len(names), groups, -1)], np.array(weights, np.float64)
    kept = (bones >= 0) & (shares > 0)
    return vertices[kept], bones[kept], shares[kept]


def _without_weights(mesh: bpy.types.Object, names: Sequence[str], deforming: dict[str, int]) -> str:
    if not deforming:
        return f"{mesh.name}: found no bone that deforms; switch Deform on in the bones that shall hold the mesh"
    if not set(names) & set(deforming):
        return (f"{mesh.name}: found no vertex groups that are called as bones that deform; parent it to the armature "
                "anew With Automatic Weights (Ctrl P)")
    return (f"{mesh.name}: found no weights in its vertex groups; parent it to the armature anew With Automatic "
            "Weights (Ctrl P), or paint some")


def _volume(points: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (points[faces[:, corner]] - points.mean(0) for corner in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def _skin(rigged: RiggedObject, bones: Bones, surface: _SkinnedMesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(V, HELD_BY) bones and weights of each vertex, the largest, which sum to 1; (B,) bool, bones that hold any.

    What no bone holds goes to the nearest of these.
    """
    count = len(surface.vertices)
    vertices, held_by, weights = surface.weights
    order = np.lexsort((-weights, vertices))
    vertices, held_by, weights = vertices[order], held_by[order], weights[order]
    rank = np.arange(len(vertices)) - np.searchsorted(vertices, vertices)
    first = rank < HELD_BY
    skin_bones, skin_weights = np.zeros((count, HELD_BY), np.int64), np.zeros((count, HELD_BY))
    skin_bones[vertices[first], rank[first]] = held_by[first]
    skin_weights[vertices[first], rank[first]] = weights[first]
    skin_weights /= np.maximum(skin_weights.sum(1, keepdims=True), 1e-12)
    most = np.zeros(len(bones))
    np.maximum.at(most, skin_bones.ravel(), skin_weights.ravel())
    holding = most >= HOLDS
    if holding.sum() > MOST_BONES:
        raise BadInput(f"{rigged.name}: found {holding.sum()} bones that hold vertices, needs at most {MOST_BONES}; "
                       "switch Deform off where a bone may be left out")
    skin_weights *= holding[skin_bones]
    sums = skin_weights.sum(1)
    free = np.flatnonzero(sums < 1e-9)
    sums[free] = 1
    skin_weights /= sums[:, None]
    holders = np.flatnonzero(holding)
    for some in np.array_split(free, max(1, -(-len(free) // AT_ONCE))):
        away = to_segments(surface.vertices[some], bones.heads[holders], bones.tails[holders])
        skin_bones[some, 0], skin_weights[some, 0] = holders[away.argmin(1)], 1
    _check_place(rigged, bones, surface, skin_bones[:, 0])
    return skin_bones, skin_weights, holding


def _check_place(rigged: RiggedObject, bones: Bones, surface: _SkinnedMesh, main: np.ndarray) -> None:
    """BadInput where the mesh at rest does not lie where its bones are, or is of another size."""
    along = bones.tails[main] - bones.heads[main]
    towards = surface.vertices - bones.heads[main]
    share = np.clip((towards * along).sum(1) / np.maximum((along**2).sum(1), 1e-24), 0, 1)
    away = np.median(np.linalg.norm(towards - share[:, None] * along, axis=1))
    extent, between = extent_of(surface.vertices), extent_of(bones.heads[main])
    is_other_size = len(np.unique(main)) >= SEVERAL and not LEAST_PART < between / extent < MOST_PART
    if is_other_size or away > OFF * extent_of(np.concatenate([bones.heads[main], surface.vertices])):
        raise BadInput(f"{rigged.name}: found its mesh away from the bones that hold it in rest position; needs both "
                       "in one place: apply their transforms (Ctrl A), or bind the mesh anew (Ctrl P)")


def _uv_of(surface: _SkinnedMesh) -> np.ndarray:
    """(F, 3, 2) float32 within 0 to 1: each face of a tiled map in its tile; without any map a cell for two faces."""
    count = len(surface.faces)
    if surface.mapped.any():
        uv = np.nan_to_num(surface.uv.astype(np.float64))
        return np.clip(uv - np.floor(uv.mean(1, keepdims=True)), 0, 1).astype(np.float32)
    side = int(np.ceil(np.sqrt(count / 2)))
    row, column = np.divmod(np.arange(count) // 2, side)
    halves = np.array([[[0.05, 0.05], [0.9, 0.05], [0.05, 0.9]], [[0.95, 0.95], [0.1, 0.95], [0.95, 0.1]]])
    corners = halves[np.arange(count) % 2]
    return ((np.stack([column, row], -1)[:, None] + corners) / side).astype(np.float32)

