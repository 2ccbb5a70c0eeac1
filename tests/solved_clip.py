"""Solves a clip in Blender: tracks of a known cloud of points that turns before the camera, then Blender's solver."""

import bpy
import numpy as np

DISTANCE = 6.0
"""Of the camera from the middle of the points, which fill a cube of side 2."""


def make_solve(clip: bpy.types.MovieClip, rotations: np.ndarray, name: str | None = None, lens=50.0, sensor=36.0):
    """Track and solve points that the camera sees turned by rotations (T, 3, 3), object to camera, frame by frame.

    name   of a tracked object; None: the camera is solved
    """
    tracking = clip.tracking
    tracking.camera.sensor_width, tracking.camera.focal_length = sensor, lens
    solved = tracking.objects.new(name) if name else next(one for one in tracking.objects if one.is_camera)
    tracking.objects.active = solved
    width, height = clip.size
    focal = lens * width / sensor
    for number, point in enumerate(np.random.default_rng(0).uniform(-1, 1, (20, 3))):
        track = solved.tracks.new(name=f"point {number}", frame=1)
        for frame, rotation in enumerate(rotations, 1):
            x, y, z = rotation @ point + [0, 0, DISTANCE]
            track.markers.insert_frame(frame, co=(focal * x / z / width + 0.5, 0.5 - focal * y / z / height))
    solved.keyframe_a, solved.keyframe_b = 1, len(rotations)
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    before, area.type = area.type, "CLIP_EDITOR"
    area.spaces.active.clip = clip
    try:
        region = next(region for region in area.regions if region.type == "WINDOW")
        with bpy.context.temp_override(window=window, area=area, region=region):
            assert bpy.ops.clip.solve_camera() == {"FINISHED"}
    finally:
        area.type = before
    assert solved.reconstruction.is_valid
