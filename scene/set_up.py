"""What a scene takes from a result: camera, frame range, render size and rate; and whether that would be in the way.

A scene is untouched where it holds what Blender starts with, and results as they were added, at most. Where it holds
more, the user works on something else there, and all of that stays as it is.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..vmr_backend.reconstruction import Reconstruction
from .camera import pixel_aspect
from .clip import go_to_frame
from .hints import FRAME_KEY
from .placement import LOCATION_KEY, root_of

SCENE_SETTINGS = ("frame_start", "frame_end")
RENDER_SETTINGS = (
    "resolution_x", "resolution_y", "resolution_percentage", "pixel_aspect_x", "pixel_aspect_y", "fps", "fps_base",
)
FIRST_CAMERA, FIRST_LENS = (7.35889, -6.92579, 4.95831, 1.10932, 0.0, 0.81493), 50.0
"""Location and rotation of the camera that Blender starts with, and its lens, mm."""
SETTINGS_KEY = "vmr_settings"
"""Custom property of a result's root: the settings that a scene would take from it; of a scene: those that
it had when it last took some."""


def settings_for(clip: bpy.types.MovieClip, result: Reconstruction, frames: np.ndarray) -> dict[str, float]:
    """By name the settings with which a scene shows and renders what the footage does.

    frames   scene frames (T,) of the result
    """
    width, height = (int(side) for side in result.image_size)
    aspect_x, aspect_y = pixel_aspect(result)
    rate: dict[str, float] = {}
    if clip.fps > 0:  # image sequences have no rate: they play at the scene's
        whole = max(round(clip.fps), 1)
        rate = {"fps": whole, "fps_base": whole / clip.fps}
    return {"frame_start": int(frames[0]), "frame_end": int(frames[-1]), "resolution_x": width, "resolution_y": height,
            "resolution_percentage": 100, "pixel_aspect_x": aspect_x, "pixel_aspect_y": aspect_y, **rate}


def is_untouched(scene: bpy.types.Scene, wanted: dict[str, float]) -> bool:
    """Whether nobody works on something else in a scene, to which a result with the `wanted` settings comes.

    Its settings are Blender's own, a result's, or those wanted; it is at its first frame or at one of the result's;
    its camera is Blender's own or a result's; nobody edits or animates anything, cuts or composites. Beside results and
    hints it holds lights, cameras and the cube that Blender starts with.
    """
    now = scene.frame_current
    taken: dict[str, float] = dict(scene.get(SETTINGS_KEY, {}))
    is_at_start = now == scene.frame_start or wanted["frame_start"] <= now <= wanted["frame_end"]
    return (
        is_at_start
        and all(_is_ours(scene, name, (value, taken.get(name))) for name, value in wanted.items())
        and _is_unchosen(scene.camera)
        and all(_is_nobodys(one) for one in scene.objects)
        and not (scene.animation_data or scene.timeline_markers or scene.use_preview_range)
        and not _is_cut_or_composited(scene)
    )


def set_up(scene: bpy.types.Scene, camera_object: bpy.types.Object, wanted: dict[str, float]) -> None:
    """Give a scene a result's camera and settings; its frame moves only where it lies outside of the new range."""
    scene.camera = camera_object
    for name, value in wanted.items():
        setattr(_owner(scene, name), name, value)
    names = (*SCENE_SETTINGS, *RENDER_SETTINGS)
    scene[SETTINGS_KEY] = {name: getattr(_owner(scene, name), name) for name in names}
    go_to_frame(scene, min(max(scene.frame_current, scene.frame_start), scene.frame_end))


def look_through_camera(scene: bpy.types.Scene) -> None:
    """Turn the 3D Viewports of all windows that show a scene to its camera."""
    for window in bpy.context.window_manager.windows:
        if window.scene == scene:
            for area in window.screen.areas:
                if area.type == "VIEW_3D":
                    space: Any = area.spaces.active
                    space.region_3d.view_perspective = "CAMERA"
                    area.tag_redraw()


def _owner(scene: bpy.types.Scene, name: str) -> Any:
    return scene if name in SCENE_SETTINGS else scene.render


def _is_ours(scene: bpy.types.Scene, name: str, values: tuple) -> bool:
    """Whether a setting is Blender's own, or one of some values."""
    owner = _owner(scene, name)
    allowed = (owner.bl_rna.properties[name].default, *values)
    return any(value is not None and abs(getattr(owner, name) - value) < 1e-5 for value in allowed)


def _is_nobodys(one: bpy.types.Object) -> bool:
    """Whether an object is what Blender starts with, or of the extension and as it was added."""
    if one.mode != "OBJECT":
        return False
    if root := root_of(one):
        return root.animation_data is None and np.allclose(root.matrix_basis, _matrix_at(root[LOCATION_KEY]), atol=1e-5)
    if one.is_runtime_data or FRAME_KEY in one:
        return True
    if one.animation_data or one.constraints or one.modifiers:
        return False
    if one.type in {"CAMERA", "LIGHT"}:
        return one.data.animation_data is None
    return one.type == "MESH" and _is_first_cube(one)


def _is_unchosen(camera: bpy.types.Object | None) -> bool:
    """Whether a scene's camera is none that the user has placed or chosen."""
    if camera is None or root_of(camera):
        return True
    return (camera.type == "CAMERA" and camera.name == "Camera" and camera.data.lens == FIRST_LENS
            and np.allclose([*camera.location, *camera.rotation_euler], FIRST_CAMERA, atol=1e-4))


def _is_first_cube(one: bpy.types.Object) -> bool:
    vertices = one.data.vertices
    return (one.name == "Cube" and len(vertices) == 8 and not one.data.shape_keys
            and np.allclose(one.matrix_basis, np.eye(4)) and all(np.allclose(np.abs(v.co), 1) for v in vertices))


def _matrix_at(location: Any) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = location
    return matrix


def _is_cut_or_composited(scene: bpy.types.Scene) -> bool:
    editor: Any = scene.sequence_editor
    strips = getattr(editor, "strips_all", None) or getattr(editor, "sequences_all", None)
    if hasattr(scene, "compositing_node_group"):
        return bool(strips or scene.compositing_node_group)
    return bool(strips or scene.use_nodes)
