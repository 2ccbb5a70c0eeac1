"""Hints of the user: empties whose arrow is the direction in which the subject faces at a frame, before the camera.

The arrow of a hint, its z axis, points where the subject's front does, its y axis where the subject's up does. A hint
is a child of the camera through which it was set. Its frame is a custom property; where its rotation is keyed, each of
its key frames is a hint.
"""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..vmr_backend.job import BadInput, FrameRotation, facing
from .action import curves_by_slot
from .camera import OPENCV_TO_BLENDER, SENSOR_WIDTH, show_behind
from .clip import frame_number, frame_shown
from .placement import BODY_KEY

FRAME_KEY, CLIP_KEY = "vmr_hint_frame", "vmr_hint_clip"
TO_HINT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From the object's axes (front -y, up z) to those of a hint (front z, up y)."""
ARROW_LENGTH = 0.2
"""Length of a hint's arrow over the width of the image."""
DISTANCE = 4.0
"""Of a new camera from the middle of the scene, and of a hint from a camera that points elsewhere."""


def hints_in(scene: bpy.types.Scene, clip: bpy.types.MovieClip) -> list[bpy.types.Object]:
    """The hints on a clip, by frame."""
    hints = [one for one in scene.objects if FRAME_KEY in one and one.get(CLIP_KEY) in (clip, None)]
    return sorted(hints, key=lambda one: one[FRAME_KEY])


def add_hint(context: bpy.types.Context, clip: bpy.types.MovieClip, degrees: float, view: float) -> bpy.types.Object:
    """A hint at the displayed frame, selected alone and active, at the centre of the scene camera's image.

    degrees  direction that it faces: 0 into the camera, 90 to the right of the image
    view     horizontal angle in degrees of the camera that is added where the scene has none
    """
    scene = context.scene
    camera = scene.camera or _add_camera(scene, clip, view)
    frame = frame_shown(context)
    hint = bpy.data.objects.new(f"Facing {frame}", None)
    hint[FRAME_KEY], hint[CLIP_KEY] = frame, clip
    scene.collection.objects.link(hint)
    hint.parent = camera
    distance = _distance(camera)
    width = 2 * distance * math.tan(camera.data.angle_x / 2) if camera.data.type == "PERSP" else camera.data.ortho_scale
    hint.empty_display_type, hint.empty_display_size = "SINGLE_ARROW", ARROW_LENGTH * width
    hint.show_name = hint.show_in_front = True
    in_camera = OPENCV_TO_BLENDER @ np.reshape(facing(frame, degrees).rotation, (3, 3)) @ TO_HINT.T
    hint.matrix_local = Matrix.Translation((0, 0, -distance)) @ Matrix(in_camera.tolist()).to_4x4()
    _select_alone(context, hint)
    return hint


def facings(scene: bpy.types.Scene, clip: bpy.types.MovieClip) -> list[FrameRotation]:
    """Rotations of the hints on a clip, by the clip's frame numbers; the scene is at the same frame afterwards."""
    hints = [(frame, hint) for hint in hints_in(scene, clip) for frame in _frames_of(hint)]
    now = scene.frame_current, scene.frame_subframe
    found: dict[int, tuple[str, list[float]]] = {}
    try:
        for frame, hint in hints:
            scene.frame_set(frame)
            number = frame_number(clip, frame)
            if number in found:
                raise BadInput(f"hints: found two at frame {frame}, {found[number][0]} and {hint.name}; needs one")
            found[number] = hint.name, _rotation(scene, hint)
    finally:
        if hints:
            scene.frame_set(now[0], subframe=now[1])
    return [FrameRotation(number, rotation) for number, (_, rotation) in sorted(found.items())]


def _rotation(scene: bpy.types.Scene, hint: bpy.types.Object) -> list[float]:
    """Object to camera, 9 numbers, as a hint stands now."""
    camera = hint.parent if hint.parent and hint.parent.type == "CAMERA" else scene.camera
    if camera is None:
        raise BadInput(f"hint {hint.name}: found no camera to see it through; needs one as its parent or in the scene")
    turn = (camera.matrix_world.inverted() @ hint.matrix_world).to_quaternion().to_matrix()
    return (OPENCV_TO_BLENDER @ np.array(turn) @ TO_HINT).ravel().tolist()


def _frames_of(hint: bpy.types.Object) -> list[int]:
    """Scene frames at which a hint holds: the keys of its rotation, else the frame that it was added at."""
    data: Any = hint.animation_data
    if data is None or data.action is None:
        return [hint[FRAME_KEY]]
    chosen = getattr(data, "action_slot", None)
    keys = {round(key.co[0]) for slot, curves in curves_by_slot(data.action) if slot == chosen
            for curve in curves if curve.data_path.startswith("rotation") for key in curve.keyframe_points}
    return sorted(keys) or [hint[FRAME_KEY]]


def _add_camera(scene: bpy.types.Scene, clip: bpy.types.MovieClip, view: float) -> bpy.types.Object:
    """A level camera before the scene, with the clip behind it, as the scene's camera."""
    data = bpy.data.cameras.new("Footage Camera")
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    data.angle_x = math.radians(view)
    show_behind(data, clip)
    camera = bpy.data.objects.new(data.name, data)
    camera.location, camera.rotation_euler = (0, -DISTANCE, 0), (math.pi / 2, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def _distance(camera: bpy.types.Object) -> float:
    """From a camera along its view to the result that it is of, else to the middle of the scene; in its own units."""
    root = camera.parent if camera.parent and BODY_KEY in camera.parent else None
    middle = root.matrix_world.translation if root else Vector()
    along = -(camera.matrix_world.inverted() @ middle).z
    return along if along > 2 * camera.data.clip_start else DISTANCE


def _select_alone(context: bpy.types.Context, chosen: bpy.types.Object) -> None:
    layer = context.view_layer
    for other in layer.objects.selected:
        other.select_set(False)
    chosen.select_set(True)
    layer.objects.active = chosen
