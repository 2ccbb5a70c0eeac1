"""Camera priors from a clip's tracking: the intrinsics, and the rotation of camera against subject."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..vmr_backend.job import FrameRotation
from .camera import OPENCV_TO_BLENDER
from .clip import frame_number

OFF_CENTRE_PX = 0.5
"""A principal point nearer to the image centre than this counts as centred."""


@dataclass(frozen=True)
class ClipLens:
    """Intrinsics in pixels of the full frame, from its top left corner."""

    focal_length: float
    principal_point: list[float] | None
    """None: at the image centre."""


def lens_of(clip: bpy.types.MovieClip) -> ClipLens:
    """The lens that the clip's tracking camera has, set by the user or found by a solve; its distortion is left out."""
    camera, (width, height) = clip.tracking.camera, clip.size
    x, y = camera.principal_point_pixels
    is_off = max(abs(x - width / 2), abs(y - height / 2)) > OFF_CENTRE_PX
    return ClipLens(camera.focal_length * width / camera.sensor_width, [x, height - y] if is_off else None)


def solved(clip: bpy.types.MovieClip) -> bpy.types.MovieTrackingObject | None:
    """What was solved in a clip, tracked objects before the camera, the active one first; None where nothing was.

    The solve of an object has the rotation of the camera against it, that of the camera the rotation against the set:
    the same for a subject that keeps its heading.
    """
    tracking = clip.tracking
    ordered = sorted(tracking.objects, key=lambda one: (one.is_camera, one != tracking.objects.active))
    return next((one for one in ordered if one.reconstruction.is_valid and len(one.reconstruction.cameras)), None)


def solve_of(clip: bpy.types.MovieClip, first: int, last: int) -> list[FrameRotation] | None:
    """Object to camera at each solved frame from `first` to `last` (the clip's numbers); None where nothing is solved.

    Axes of the object are those of the solve, which the subject's own differ from by one rotation in all frames.
    """
    one = solved(clip)
    if one is None:
        return None
    found = []
    for camera in one.reconstruction.cameras:
        # Solves count a clip's frames from 1, wherever in the scene it begins.
        number = frame_number(clip, camera.frame + clip.frame_start - 1)
        if first <= number <= last:
            to_object = np.array(camera.matrix.to_3x3().normalized()) @ OPENCV_TO_BLENDER
            found.append(FrameRotation(number, to_object.T.ravel().tolist()))
    return found or None
