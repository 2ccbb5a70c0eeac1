"""A camera that moves and sees as the footage's did, with the clip behind the scene.

Results have pixels from the top left corner, pixel centres at +0.5, camera axes x right, y down, z forward; Blender's
camera looks along -z with y up, its film is centred and measured in widths of the picture.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from ..vmr_backend.reconstruction import Reconstruction
from .action import add_keys, continuous, new_channels

SENSOR_WIDTH = 36.0
STEADY_WITHIN_PX = 0.02
"""A lens is keyed only if holding it steady would move a point at the picture's border further than this."""
OPENCV_TO_BLENDER = np.diag([1.0, -1.0, -1.0])
CLIP_RANGE = 100.0
"""Nearest and farthest visible distance: that of the subject divided and multiplied by this."""


def new_camera_object(
    name: str, result: Reconstruction, scene_frames: np.ndarray, clip: bpy.types.MovieClip
) -> bpy.types.Object:
    """A keyed camera object, not linked anywhere yet; it matches a render of the result's size and pixel aspect."""
    camera = bpy.data.cameras.new(name)
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    depth = result.in_camera()[..., 2]
    camera.clip_start = max(float(depth.min()), 1e-3) / CLIP_RANGE
    camera.clip_end = max(float(depth.max()), 1.0) * CLIP_RANGE
    show_behind(camera, clip)
    _set_lens(camera, result, scene_frames)
    camera_object = bpy.data.objects.new(name, camera)
    _key_pose(camera_object, result, scene_frames)
    return camera_object


def pixel_aspect(result: Reconstruction) -> tuple[float, float]:
    """Blender's pixel aspect x and y, the smaller of them 1: pixels are fx/fy times as high as wide."""
    ratio = float(np.median(result.intrinsics[:, 0] / result.intrinsics[:, 1]))
    if abs(ratio - 1) < 1e-5:
        return 1.0, 1.0
    return max(1 / ratio, 1.0), max(ratio, 1.0)


def show_behind(camera: bpy.types.Camera, clip: bpy.types.MovieClip) -> None:
    camera.show_background_images = True
    background = camera.background_images.new()
    background.source = "MOVIE_CLIP"
    background.clip = clip
    background.alpha = 1.0


def _set_lens(camera: bpy.types.Camera, result: Reconstruction, scene_frames: np.ndarray) -> None:
    """Lens and shift from fx, cx, cy: fixed where they are steady (every exporter carries that), else keyed."""
    width, height = (int(side) for side in result.image_size)
    fx, _, cx, cy = result.intrinsics.astype(np.float64).T
    aspect_x, aspect_y = pixel_aspect(result)
    pixels = {  # property: its value, and what one unit of it moves at the picture's border, px
        "lens": (fx * SENSOR_WIDTH / width, width**2 / (2 * SENSOR_WIDTH) / fx.mean()),
        "shift_x": (-(cx - width / 2) / width, width),
        "shift_y": ((cy - height / 2) / width * aspect_y / aspect_x, width),
    }
    keyed = {}
    for name, (values, pixels_per_unit) in pixels.items():
        middle = (values.min() + values.max()) / 2
        setattr(camera, name, middle)
        if np.abs(values - middle).max() * pixels_per_unit > STEADY_WITHIN_PX:
            keyed[name] = values
    if keyed:
        channels = new_channels(camera, camera.name)
        for name, values in keyed.items():
            add_keys(channels, name, scene_frames, values)


def _key_pose(camera_object: bpy.types.Object, result: Reconstruction, scene_frames: np.ndarray) -> None:
    """Location and rotation: the inverse of object-to-camera, with Blender's camera axes."""
    to_object = result.camera_rotation.astype(np.float64).transpose(0, 2, 1)
    locations = -np.einsum("tij,tj->ti", to_object, result.camera_translation.astype(np.float64))
    quaternions = continuous(np.array([Matrix(m).to_quaternion() for m in to_object @ OPENCV_TO_BLENDER]))
    camera_object.rotation_mode = "QUATERNION"
    channels = new_channels(camera_object, camera_object.name)
    for path, values in (("location", locations), ("rotation_quaternion", quaternions)):
        for index, component in enumerate(values.T):
            add_keys(channels, path, scene_frames, component, index)
