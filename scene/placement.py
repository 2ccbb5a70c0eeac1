"""The location of a new result in a scene: at the 3D cursor, or the first free one along x.

Mesh (or armature) and camera of a result hang on one empty, its root, so that they are moved, turned and scaled as one.
A location is free where the mesh intersects nothing, nothing occludes it from its camera at any frame, and it occludes
no other result from that one's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..vmr_backend.reconstruction import Reconstruction
from .camera import camera_centres

BODY_KEY, CENTRES_KEY, LOCATION_KEY = "vmr_body", "vmr_eyes", "vmr_place"
"""Custom properties of a root: the footprint of its result, relative to the root, and its first location."""
ROOT_SIZE = 0.7
"""Half the length of a root's axes: longer than a body of length 1."""
GAP, STEP = 0.25, 0.25
"""Gap between a body and its neighbours; offsets are multiples of the step, so that they stay the same while the
footprint changes a little, as it does during a run. The subject's length is 1."""
SAMPLES = 8
"""Frames of a result at which the bounds of moving objects are taken."""
GEOMETRY = {"MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD", "VOLUME", "GPENCIL", "GREASEPENCIL"}


@dataclass(frozen=True)
class Footprint:
    """The space of a result: its body, and its camera's view of it."""

    body: np.ndarray
    """(2, 3) bounding box of all vertices in all frames."""
    centres: np.ndarray
    """(T, 3) the camera's centres of projection."""

    def moved(self, matrix: Matrix) -> Footprint:
        return Footprint(_box(_corners(self.body), matrix), _apply(matrix, self.centres))


def footprint_of(result: Reconstruction) -> Footprint:
    """The footprint of a result in object space."""
    vertices = result.vertices.astype(np.float64).reshape(-1, 3)
    return Footprint(np.stack([vertices.min(0), vertices.max(0)]), camera_centres(result))


def new_root(name: str, footprint: Footprint, location: Vector) -> bpy.types.Object:
    """An empty as parent of a result; not linked anywhere yet."""
    root = bpy.data.objects.new(name, None)
    root.empty_display_type, root.empty_display_size = "PLAIN_AXES", ROOT_SIZE
    root.location = location
    root[BODY_KEY], root[CENTRES_KEY] = footprint.body.ravel().tolist(), footprint.centres.ravel().tolist()
    root[LOCATION_KEY] = list(location)
    return root


def root_of(one: bpy.types.Object | None) -> bpy.types.Object | None:
    """The root of the result that an object belongs to, or is; None where it belongs to none."""
    while one is not None and BODY_KEY not in one:
        one = one.parent
    return one


def roots_of(one: bpy.types.Object | None) -> list[bpy.types.Object]:
    """The root of the result that an object belongs to, or those that hang on the armature that it is, or that moves
    it."""
    if one is None:
        return []
    if root := root_of(one):
        return [root]
    armature = one if one.type == "ARMATURE" else one.find_armature()
    return [] if armature is None else [child for child in armature.children if BODY_KEY in child]


def roots_in(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    return [one for one in scene.objects if BODY_KEY in one]


def location_for(footprint: Footprint, scene: bpy.types.Scene, obstacles: np.ndarray) -> Vector:
    """Of a result: the 3D cursor if the user has moved it, else beside the obstacles (N, 2, 3).

    Where a result is at the cursor already, the next one goes beside it.
    """
    cursor, roots = scene.cursor.location, roots_in(scene)
    is_taken = any((root.matrix_world.translation - cursor).length < STEP for root in roots)
    if cursor.length > 1e-6 and not is_taken:
        return cursor.copy()
    wanted = footprint.moved(Matrix.Translation(cursor))
    others = [Footprint(np.reshape(root[BODY_KEY], (2, 3)), np.reshape(root[CENTRES_KEY], (-1, 3)))
              .moved(root.matrix_world) for root in roots]
    sides = np.concatenate([wanted.body, wanted.centres])[:, 1:]  # outside in y or z: outside at each x
    near = (obstacles[:, 0, 1:] < sides.max(0) + GAP) & (obstacles[:, 1, 1:] > sides.min(0) - GAP)
    obstacles = obstacles[near.all(1)]
    occluded = [_blocked_offsets(wanted, obstacle) for obstacle in [*obstacles, *(other.body for other in others)]
              if not _contains(obstacle, wanted)]
    occluding = [-_blocked_offsets(other, wanted.body)[:, ::-1] for other in others]
    return cursor + Vector((_first_free(np.concatenate([np.empty((0, 2)), *occluded, *occluding])), 0, 0))


def obstacles_in(scene: bpy.types.Scene, layer: bpy.types.ViewLayer, frames: np.ndarray) -> np.ndarray:
    """(N, 2, 3) bounding boxes, in the world, of all that is visible in a scene or rendered.

    frames   scene frames (T,); moving objects have a box for each of some of them

    The scene stays at its frame: moving objects are evaluated in a scene of their own.
    """
    layer.update()
    visible = [one for one in layer.objects if not _is_preview(one) and (one.visible_get(view_layer=layer) or
                                                                      not one.hide_render)]
    boxes = [_box(np.array(one.bound_box), one.matrix_world) for one in visible if one.type in GEOMETRY]
    boxes += _boxes_in(layer.depsgraph)
    if moving := [one for one in visible if _moves(one)]:
        with _copy_of(moving) as copy:
            for frame in np.linspace(frames[0], frames[-1], SAMPLES).round():
                copy.frame_set(int(frame))
                boxes += _boxes_in(copy.view_layers[0].depsgraph)
    found = np.reshape(boxes, (-1, 2, 3))
    return found[(found[:, 1] > found[:, 0]).any(1)]  # a mesh without vertices has no box


@contextmanager
def _copy_of(objects: list[bpy.types.Object]) -> Iterator[bpy.types.Scene]:
    """A scene of some objects, in which they are evaluated without being changed, and without any handlers."""
    scene = bpy.data.scenes.new("Placement")
    lists = (bpy.app.handlers.frame_change_pre, bpy.app.handlers.frame_change_post)
    handlers = [list(one) for one in lists]
    try:
        for one in lists:
            one.clear()
        for one in objects:
            scene.collection.objects.link(one)
        yield scene
    finally:
        for one, before in zip(lists, handlers, strict=True):
            one.extend(before)
        bpy.data.scenes.remove(scene)


def _boxes_in(depsgraph: bpy.types.Depsgraph) -> list[np.ndarray]:
    """Of each evaluated object, one of itself and all of its instances."""
    shapes: dict[int, np.ndarray] = {}
    placed: dict[int, dict[int, list[tuple[float, ...]]]] = {}
    for one in depsgraph.object_instances:  # there may be a hundred thousand
        shown = one.object
        owner = (one.parent if one.is_instance else shown).original
        if shown.type in GEOMETRY and not _is_preview(owner):
            if (shape := shown.data.as_pointer()) not in shapes:
                shapes[shape] = np.array(shown.bound_box)
            rows: Any = one.matrix_world
            placed.setdefault(owner.session_uid, {}).setdefault(shape, []).append((*rows[0], *rows[1], *rows[2]))
    boxes = []
    for rows_of in placed.values():
        points = []
        for shape, numbers in rows_of.items():
            matrices = np.reshape(numbers, (-1, 3, 4))
            points.append(shapes[shape] @ matrices[:, :, :3].transpose(0, 2, 1) + matrices[:, None, :, 3])
        there = np.concatenate(points).reshape(-1, 3)
        boxes.append(np.stack([there.min(0), there.max(0)]))
    return boxes


def _is_preview(one: bpy.types.Object) -> bool:
    return one.is_runtime_data


def _moves(one: bpy.types.Object) -> bool:
    """Whether an object may be elsewhere, or of another shape, at another frame."""
    chain = list(_with_parents(one))
    data = [one.data, getattr(one.data, "shape_keys", None), one.find_armature(), one.instance_collection]
    return any(member.constraints for member in chain) or any(
        owner is not None and owner.animation_data is not None for owner in [*chain, *data[:3]]) or \
        data[3] is not None and any(_moves(member) for member in data[3].all_objects)


def _with_parents(one: bpy.types.Object | None) -> Iterator[bpy.types.Object]:
    while one is not None:
        yield one
        one = one.parent


def _blocked_offsets(footprint: Footprint, solid: np.ndarray) -> np.ndarray:
    """(n, 2) intervals of offsets along x at which a solid box (2, 3) would intersect or occlude the body.

    The view from a centre of projection c is, for s from 0 to 1, the body's box shrunk and moved towards it:
    (1 - s) * body + s * c. Its sides are linear in s, so y and z leave an interval of s, and x one of offsets.
    """
    (low, high), (solid_low, solid_high) = footprint.body, solid + [[-GAP], [GAP]]
    first, last = np.zeros(len(footprint.centres)), np.ones(len(footprint.centres))
    for axis in (1, 2):
        # low + s * (c - low) < solid_high and high + s * (c - high) > solid_low
        for start, slope in ((solid_high[axis] - low[axis], footprint.centres[:, axis] - low[axis]),
                             (high[axis] - solid_low[axis], high[axis] - footprint.centres[:, axis])):
            crossing = start / np.where(slope == 0, 1, slope)  # slope * s < start
            last = np.where(slope > 0, np.minimum(last, crossing), np.where(slope < 0, last, last if start > 0 else -1))
            first = np.where(slope < 0, np.maximum(first, crossing), first)
    meets = first < last
    ends = np.stack([first, last])[:, meets]
    centre = footprint.centres[meets, 0]
    lows, highs = low[0] + ends * (centre - low[0]), high[0] + ends * (centre - high[0])
    return np.stack([solid_low[0] - highs.max(0), solid_high[0] - lows.min(0)], 1)


def _first_free(taken: np.ndarray) -> float:
    """The first multiple of the step, from 0 on, that lies in none of the intervals (n, 2)."""
    offset = 0.0
    while len(ends := taken[(taken[:, 0] < offset) & (offset < taken[:, 1]), 1]):
        offset = math.ceil(ends.max() / STEP) * STEP
    return offset


def _contains(solid: np.ndarray, footprint: Footprint) -> bool:
    """Whether a box contains both body and camera: a hall or a sky."""
    points = np.concatenate([footprint.body, footprint.centres])
    return bool(((solid[0] < points) & (points < solid[1])).all())


def _corners(box: np.ndarray) -> np.ndarray:
    """(8, 3) of a box (2, 3)."""
    return np.stack(np.meshgrid(*box.T, indexing="ij"), -1).reshape(-1, 3)


def _apply(matrix: Matrix, points: np.ndarray) -> np.ndarray:
    numbers = np.array(matrix)
    return points @ numbers[:3, :3].T + numbers[:3, 3]


def _box(points: np.ndarray, matrix: Matrix) -> np.ndarray:
    """(2, 3) bounding box of points (n, 3), transformed to the world by a matrix."""
    there = _apply(matrix, points)
    return np.stack([there.min(0), there.max(0)])
