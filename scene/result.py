"""Puts a reconstruction into the scene: mesh, material, camera, and the scene settings that match the footage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np

from ..vmr_backend.job import BadInput
from ..vmr_backend.reconstruction import TEXTURE_NAME, Reconstruction
from .armature import move_by_armature
from .camera import new_camera_object, pixel_aspect
from .clip import scene_frame
from .landmarks import new_landmarks
from .material import new_material
from .mesh import move_by_shape_keys, new_mesh_object

ASPECT_TOLERANCE = 0.01
KINDS = ("collections", "objects", "meshes", "armatures", "cameras", "materials", "images", "actions")
"""The kinds of datablocks that a result is made of."""
SCENE_SETTINGS = ("camera", "frame_start", "frame_end")
RENDER_SETTINGS = (
    "resolution_x", "resolution_y", "resolution_percentage", "pixel_aspect_x", "pixel_aspect_y", "fps", "fps_base",
)


def add_result(
    context: bpy.types.Context, clip: bpy.types.MovieClip, result: Reconstruction, result_folder: Path, name: str,
    motion: str = "SHAPE_KEYS", is_textured: bool = True,
) -> bpy.types.Object:
    """Add a result to the context's scene, in a new collection; the mesh object.

    motion       how the mesh moves: "SHAPE_KEYS", or "ARMATURE" where the result has bones
    is_textured  False for what a run had found when it was stopped, before it baked a texture: its material is plain

    The scene gets the camera, the footage's size and rate, and the result's frame range. If anything fails, the scene
    and the file are as they were before.
    """
    result.check(str(result_folder))
    check_footage(clip, result)
    scene = context.scene
    frames = np.array([scene_frame(clip, number) for number in result.frames])
    with _all_or_nothing(scene):
        collection = bpy.data.collections.new(name)
        material = new_material(name, Path(result_folder) / TEXTURE_NAME if is_textured else None)
        mesh_object = new_mesh_object(name, result, material)
        if motion == "ARMATURE" and result.skin_weights is not None:
            collection.objects.link(move_by_armature(mesh_object, result, frames))
        else:
            move_by_shape_keys(mesh_object, result, frames)
        camera_object = new_camera_object(f"{name} Camera", result, frames, clip)
        collection.objects.link(mesh_object)
        collection.objects.link(camera_object)
        if landmarks := new_landmarks(mesh_object, result):
            collection.children.link(landmarks)
        scene.collection.children.link(collection)
        scene.camera = camera_object
        _match_footage(scene, clip, result)
        _show_frames(scene, int(frames[0]), int(frames[-1]))
        _select(context, mesh_object)
    return mesh_object


def check_footage(clip: bpy.types.MovieClip, result: Reconstruction) -> None:
    """BadInput for a result of other footage, or of a turned picture: it must not end up over this clip."""
    (width, height), (result_width, result_height) = clip.size, (int(side) for side in result.image_size)
    if width and height and abs(width * result_height / (height * result_width) - 1) > ASPECT_TOLERANCE:
        raise BadInput(
            f"{clip.name}: found a clip of {width}x{height} pixels and a result of {result_width}x{result_height}; "
            "needs a result of this clip"
        )


def _match_footage(scene: bpy.types.Scene, clip: bpy.types.MovieClip, result: Reconstruction) -> None:
    render = scene.render
    render.resolution_x, render.resolution_y = (int(side) for side in result.image_size)
    render.resolution_percentage = 100
    render.pixel_aspect_x, render.pixel_aspect_y = pixel_aspect(result)
    if clip.fps > 0:  # image sequences have no rate: they play at the scene's
        render.fps = max(round(clip.fps), 1)
        render.fps_base = render.fps / clip.fps


def _show_frames(scene: bpy.types.Scene, first: int, last: int) -> None:
    scene.frame_start, scene.frame_end = first, last
    scene.frame_set(min(max(scene.frame_current, first), last))


def _select(context: bpy.types.Context, mesh_object: bpy.types.Object) -> None:
    if context.mode != "OBJECT":  # the user is editing something: that stays active
        return
    for other in context.view_layer.objects:
        other.select_set(other == mesh_object)
    context.view_layer.objects.active = mesh_object


@contextmanager
def _all_or_nothing(scene: bpy.types.Scene) -> Iterator[None]:
    """Take back new datablocks and changed scene settings when the body raises."""
    existing = {kind: {block.as_pointer() for block in getattr(bpy.data, kind)} for kind in KINDS}
    settings = [(scene, name, getattr(scene, name)) for name in SCENE_SETTINGS]
    settings += [(scene.render, name, getattr(scene.render, name)) for name in RENDER_SETTINGS]
    frame = scene.frame_current
    try:
        yield
    except BaseException:
        for owner, name, value in settings:
            setattr(owner, name, value)
        for kind in KINDS:
            new = [block for block in getattr(bpy.data, kind) if block.as_pointer() not in existing[kind]]
            bpy.data.batch_remove(new)
        scene.frame_set(frame)
        raise
