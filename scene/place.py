"""Where a new result stands in a scene: at the 3-D cursor, or in the first free place along x.

Mesh (or armature) and camera of a result hang on one empty, its root, so that they are moved, turned and scaled as one.
A place is free where the mesh stands in nothing else, nothing hides it from its camera at any frame, and it hides no
other result from that one's.
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

BODY_KEY, EYES_KEY, PLACE_KEY = "vmr_body", "vmr_eyes", "vmr_place"
"""Custom properties of a root: the room of its result, about the root, and where it was put."""
ROOT_SIZE = 0.7
"""Half the length of a root's axes: they stick out of a body of length 1."""
GAP, STEP = 0.25, 0.25
"""Between a body and what stands beside it; shifts are multiples of the step, so that they stay the same while the room
changes a little, as it does during a run. The subject's length is 1."""
SAMPLES = 8
"""At how many frames of a result it is looked where moving things are."""
GEOMETRY = {"MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD", "VOLUME", "GPENCIL", "GREASEPENCIL"}


@dataclass(frozen=True)
class Room:
    """What a result needs: its body, and the view of it from its camera."""

    body: np.ndarray
    """(2, 3) lowest and highest corner of all vertices in all frames."""
    eyes: np.ndarray
    """(T, 3) where the camera stands."""

    def moved(self, matrix: Matrix) -> Room:
        return Room(_box(_corners(self.body), matrix), _apply(matrix, self.eyes))


def room_of(result: Reconstruction) -> Room:
    """The room of a result about its object's origin."""
    vertices = result.vertices.astype(np.float64).reshape(-1, 3)
    return Room(np.stack([vertices.min(0), vertices.max(0)]), camera_centres(result))


def new_root(name: str, room: Room, place: Vector) -> bpy.types.Object:
    """An empty at a place, to hang a result on; not linked anywhere yet."""
    root = bpy.data.objects.new(name, None)
    root.empty_display_type, root.empty_display_size = "PLAIN_AXES", ROOT_SIZE
    root.location = place
    root[BODY_KEY], root[EYES_KEY] = room.body.ravel().tolist(), room.eyes.ravel().tolist()
    root[PLACE_KEY] = list(place)
    return root


def root_of(one: bpy.types.Object | None) -> bpy.types.Object | None:
    """The root of the result that an object belongs to, or is; None where it belongs to none."""
    while one is not None and BODY_KEY not in one:
        one = one.parent
    return one


def roots_in(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    return [one for one in scene.objects if BODY_KEY in one]


def place_for(room: Room, scene: bpy.types.Scene, obstacles: np.ndarray) -> Vector:
    """Where a result stands: at the 3-D cursor where the user has moved that, else beside the obstacles (N, 2, 3).

    Where a result stands at the cursor already, the next one stands beside it.
    """
    cursor, roots = scene.cursor.location, roots_in(scene)
    is_taken = any((root.matrix_world.translation - cursor).length < STEP for root in roots)
    if cursor.length > 1e-6 and not is_taken:
        return cursor.copy()
    wanted = room.moved(Matrix.Translation(cursor))
    others = [Room(np.reshape(root[BODY_KEY], (2, 3)), np.reshape(root[EYES_KEY], (-1, 3))).moved(root.matrix_world)
              for root in roots]
    sides = np.concatenate([wanted.body, wanted.eyes])[:, 1:]  # what lies beside these, lies beside it at each x
    near = (obstacles[:, 0, 1:] < sides.max(0) + GAP) & (obstacles[:, 1, 1:] > sides.min(0) - GAP)
    obstacles = obstacles[near.all(1)]
    hidden = [_shifts_that_hide(wanted, obstacle) for obstacle in [*obstacles, *(other.body for other in others)]
              if not _holds(obstacle, wanted)]
    hiding = [-_shifts_that_hide(other, wanted.body)[:, ::-1] for other in others]
    return cursor + Vector((_first_free(np.concatenate([np.empty((0, 2)), *hidden, *hiding])), 0, 0))


def obstacles_in(scene: bpy.types.Scene, layer: bpy.types.ViewLayer, frames: np.ndarray) -> np.ndarray:
    """(N, 2, 3) lowest and highest corners, in the world, of all that is seen in a scene or rendered.

    frames   scene frames (T,); what moves is there where it is at some of them

    The scene stays at its frame: moving things are looked at in a scene of their own.
    """
    layer.update()
    seen = [one for one in layer.objects if not _is_preview(one) and (one.visible_get(view_layer=layer) or
                                                                      not one.hide_render)]
    boxes = [_box(np.array(one.bound_box), one.matrix_world) for one in seen if one.type in GEOMETRY]
    boxes += _boxes_in(layer.depsgraph)
    if moving := [one for one in seen if _moves(one)]:
        with _stage_of(moving) as stage:
            for frame in np.linspace(frames[0], frames[-1], SAMPLES).round():
                stage.frame_set(int(frame))
                boxes += _boxes_in(stage.view_layers[0].depsgraph)
    found = np.reshape(boxes, (-1, 2, 3))
    return found[(found[:, 1] > found[:, 0]).any(1)]  # a mesh without vertices is nowhere


@contextmanager
def _stage_of(objects: list[bpy.types.Object]) -> Iterator[bpy.types.Scene]:
    """A scene of some objects, in which they are evaluated without being changed, and without anybody's handlers."""
    stage = bpy.data.scenes.new("Places")
    lists = (bpy.app.handlers.frame_change_pre, bpy.app.handlers.frame_change_post)
    handlers = [list(one) for one in lists]
    try:
        for one in lists:
            one.clear()
        for one in objects:
            stage.collection.objects.link(one)
        yield stage
    finally:
        for one, before in zip(lists, handlers, strict=True):
            one.extend(before)
        bpy.data.scenes.remove(stage)


def _boxes_in(depsgraph: bpy.types.Depsgraph) -> list[np.ndarray]:
    """Of each evaluated object, one around itself and all of its instances."""
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


def _shifts_that_hide(room: Room, solid: np.ndarray) -> np.ndarray:
    """(n, 2) by how much along x, from and to, a room may not be moved: a solid box (2, 3) would be in the view.

    What is between body and eye is, for a share s of the way from 0 to 1, the body's box shrunk and moved towards the
    eye: (1 - s) * body + s * eye. Its sides are linear in s, so y and z leave a range of s, and x one of shifts.
    """
    (low, high), (solid_low, solid_high) = room.body, solid + [[-GAP], [GAP]]
    first, last = np.zeros(len(room.eyes)), np.ones(len(room.eyes))
    for axis in (1, 2):
        # low + s * (eye - low) < solid_high and high + s * (eye - high) > solid_low
        for start, slope in ((solid_high[axis] - low[axis], room.eyes[:, axis] - low[axis]),
                             (high[axis] - solid_low[axis], high[axis] - room.eyes[:, axis])):
            crossing = start / np.where(slope == 0, 1, slope)  # slope * s < start
            last = np.where(slope > 0, np.minimum(last, crossing), np.where(slope < 0, last, last if start > 0 else -1))
            first = np.where(slope < 0, np.maximum(first, crossing), first)
    meets = first < last
    ends = np.stack([first, last])[:, meets]
    eye = room.eyes[meets, 0]
    lows, highs = low[0] + ends * (eye - low[0]), high[0] + ends * (eye - high[0])
    return np.stack([solid_low[0] - highs.max(0), solid_high[0] - lows.min(0)], 1)


def _first_free(taken: np.ndarray) -> float:
    """The first multiple of the step, from 0 on, that lies in none of the ranges (n, 2)."""
    shift = 0.0
    while len(ends := taken[(taken[:, 0] < shift) & (shift < taken[:, 1]), 1]):
        shift = math.ceil(ends.max() / STEP) * STEP
    return shift


def _holds(solid: np.ndarray, room: Room) -> bool:
    """Whether a box is around body and camera alike: a hall or a sky, in which they stand."""
    points = np.concatenate([room.body, room.eyes])
    return bool(((solid[0] < points) & (points < solid[1])).all())


def _corners(box: np.ndarray) -> np.ndarray:
    """(8, 3) of a box (2, 3)."""
    return np.stack(np.meshgrid(*box.T, indexing="ij"), -1).reshape(-1, 3)


def _apply(matrix: Matrix, points: np.ndarray) -> np.ndarray:
    numbers = np.array(matrix)
    return points @ numbers[:3, :3].T + numbers[:3, 3]


def _box(points: np.ndarray, matrix: Matrix) -> np.ndarray:
    """(2, 3) around points (n, 3), which a matrix brings into the world."""
    there = _apply(matrix, points)
    return np.stack([there.min(0), there.max(0)])
