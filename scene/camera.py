"""A camera with the extrinsics and intrinsics of the footage's, and the clip as its background.

Results have pixels from the top left corner, pixel centres at +0.5, camera axes x right, y down, z forward; Blender's
camera looks along -z with y up, its sensor is centred and measured in widths of the image.
"""

from __future__ import annotations

from dataclasses import replace

import bpy
import numpy as np
from mathutils import Matrix

from ..vmr_backend.reconstruction import Reconstruction
from .action import add_keys, continuous, new_channels

SENSOR_WIDTH = 36.0
LENS_TOLERANCE_PX = 0.02
"""A lens is keyed only if a constant one would move a point at the image border further than this."""
OPENCV_TO_BLENDER = np.diag([1.0, -1.0, -1.0])
CLIP_RANGE = 100.0
"""Clipping distances: that of the subject divided and multiplied by this."""


def new_camera_object(
    name: str, result: Reconstruction, scene_frames: np.ndarray, clip: bpy.types.MovieClip
) -> bpy.types.Object:
    """A keyed camera object, not linked anywhere yet; it matches a render of the result's size and pixel aspect."""
    camera = bpy.data.cameras.new(name)
    show_behind(camera, clip)
    _set_range(camera, result)
    _key_lens(camera, result, scene_frames)
    camera_object = bpy.data.objects.new(name, camera)
    _key_pose(camera_object, result, scene_frames)
    return camera_object


def set_to_frame(camera_object: bpy.types.Object, result: Reconstruction, index: int) -> None:
    """Give a camera the extrinsics and intrinsics of the result's `index`-th frame, without keys."""
    there = _frame_alone(result, index)
    camera = camera_object.data
    _set_range(camera, there)
    for name, (values, _) in _lens(there).items():
        setattr(camera, name, values[0])
    locations, quaternions = _poses(there)
    camera_object.rotation_mode = "QUATERNION"
    camera_object.location, camera_object.rotation_quaternion = locations[0], quaternions[0]


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


def match_width_behind(camera: bpy.types.Camera, clip: bpy.types.MovieClip, render: bpy.types.RenderSettings) -> None:
    """Show the footage as wide as the render, as the camera's sensor is, whatever aspect ratio the scene renders."""
    shape = render.resolution_x * render.pixel_aspect_x / (render.resolution_y * render.pixel_aspect_y)
    footage = clip.size[0] / max(clip.size[1], 1) * clip.display_aspect[0] / clip.display_aspect[1]
    for background in camera.background_images:
        background.frame_method = "CROP" if shape > footage else "FIT"


def _frame_alone(result: Reconstruction, index: int) -> Reconstruction:
    """What the camera depends on, of one frame of many."""
    arrays = ("frames", "vertices", "camera_rotation", "camera_translation", "intrinsics")
    return replace(result, **{name: getattr(result, name)[index:index + 1] for name in arrays})


def _set_range(camera: bpy.types.Camera, result: Reconstruction) -> None:
    """Sensor, and clipping distances."""
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    depth = result.in_camera()[..., 2]
    camera.clip_start = max(float(depth.min()), 1e-3) / CLIP_RANGE
    camera.clip_end = max(float(depth.max()), 1.0) * CLIP_RANGE


def _lens(result: Reconstruction) -> dict[str, tuple[np.ndarray, float]]:
    """By property of the camera: its value at each frame (T,), and pixels that one unit moves the image border."""
    width, height = (int(side) for side in result.image_size)
    fx, _, cx, cy = result.intrinsics.astype(np.float64).T
    aspect_x, aspect_y = pixel_aspect(result)
    return {
        "lens": (fx * SENSOR_WIDTH / width, width**2 / (2 * SENSOR_WIDTH) / fx.mean()),
        "shift_x": (-(cx - width / 2) / width, width),
        "shift_y": ((cy - height / 2) / width * aspect_y / aspect_x, width),
    }


def _key_lens(camera: bpy.types.Camera, result: Reconstruction, scene_frames: np.ndarray) -> None:
    """Lens and shift from fx, cx, cy: constant where they can be (every exporter supports that), else keyed."""
    keyed = {}
    for name, (values, pixels_per_unit) in _lens(result).items():
        middle = (values.min() + values.max()) / 2
        setattr(camera, name, middle)
        if np.abs(values - middle).max() * pixels_per_unit > LENS_TOLERANCE_PX:
            keyed[name] = values
    if keyed:
        channels = new_channels(camera, camera.name)
        for name, values in keyed.items():
            add_keys(channels, name, scene_frames, values)


def _poses(result: Reconstruction) -> tuple[np.ndarray, np.ndarray]:
    """Locations (T, 3) and quaternions (T, 4): the inverse of object-to-camera, with Blender's camera axes."""
    to_object = result.camera_rotation.astype(np.float64).transpose(0, 2, 1)
    quaternions = np.array([Matrix(m).to_quaternion() for m in to_object @ OPENCV_TO_BLENDER])
    return camera_centres(result), continuous(quaternions)


def camera_centres(result: Reconstruction) -> np.ndarray:
    """(T, 3) centres of projection in object space."""
    to_object = result.camera_rotation.astype(np.float64).transpose(0, 2, 1)
    return -np.einsum("tij,tj->ti", to_object, result.camera_translation.astype(np.float64))


def _key_pose(camera_object: bpy.types.Object, result: Reconstruction, scene_frames: np.ndarray) -> None:
    locations, quaternions = _poses(result)
    camera_object.rotation_mode = "QUATERNION"
    channels = new_channels(camera_object, camera_object.name)
    for path, values in (("location", locations), ("rotation_quaternion", quaternions)):
        for index, component in enumerate(values.T):
            add_keys(channels, path, scene_frames, component, index)
