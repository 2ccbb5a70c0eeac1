"""Puts a reconstruction into the scene, beside what is there: mesh, material and camera on one root."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np

from ..vmr_backend.job import BadInput
from ..vmr_backend.reconstruction import TEXTURE_NAME, Reconstruction
from .armature import move_by_armature
from .camera import match_width_behind, new_camera_object
from .clip import go_to_frame, scene_frame
from .landmarks import new_landmarks
from .material import new_material
from .mesh import move_by_shape_keys, new_mesh_object
from .placement import footprint_of, location_for, new_root, obstacles_in, root_of, roots_of
from .set_up import (
    RENDER_SETTINGS,
    SCENE_SETTINGS,
    SETTINGS_KEY,
    is_untouched,
    look_through_camera,
    set_up,
    settings_for,
)

ASPECT_TOLERANCE = 0.01
KINDS = ("collections", "objects", "meshes", "armatures", "cameras", "materials", "images", "actions")
"""The kinds of datablocks that a result is made of."""


def add_result(
    context: bpy.types.Context, clip: bpy.types.MovieClip, result: Reconstruction, result_folder: Path, name: str,
    motion: str = "SHAPE_KEYS", is_textured: bool = True, set_up_scene: bool = False, select: bool = False,
) -> bpy.types.Object:
    """Add a result to the context's scene, in a new collection; the mesh object.

    motion        how the mesh moves: "SHAPE_KEYS", or "ARMATURE" where the result has bones
    is_textured   False for what a run had found when it was stopped, before it baked a texture: its material is plain
    set_up_scene  the scene takes the camera, the footage's size and rate and the result's frame range, its 3D Viewports
                  look through the camera, and the mesh is selected; an untouched scene (set_up.py) does so anyway
    select        the mesh is selected in any case: the user has just asked for it

    Mesh and camera hang on an empty, at a location of placement.py. If anything fails, the scene and the file are as
    they were before.
    """
    result.check(str(result_folder))
    check_footage(clip, result)
    scene, layer = context.scene, context.view_layer
    frames = np.array([scene_frame(clip, number) for number in result.frames])
    settings = settings_for(clip, result, frames)
    takes_over = set_up_scene or is_untouched(scene, settings)
    with all_or_nothing(scene):
        footprint = footprint_of(result)
        location = location_for(footprint, scene, obstacles_in(scene, layer, frames))
        root = new_root(f"{name} Root", footprint, location)
        root[SETTINGS_KEY] = settings
        collection = bpy.data.collections.new(name)
        material = new_material(name, Path(result_folder) / TEXTURE_NAME if is_textured else None)
        mesh_object = new_mesh_object(name, result, material)
        if motion == "ARMATURE" and result.skin_weights is not None:
            moved = move_by_armature(mesh_object, result, frames)
            collection.objects.link(moved)
        else:
            moved = mesh_object
            move_by_shape_keys(mesh_object, result, frames)
        camera_object = new_camera_object(f"{name} Camera", result, frames, clip)
        for one in (root, mesh_object, camera_object):
            collection.objects.link(one)
        moved.parent = camera_object.parent = root
        if landmarks := new_landmarks(mesh_object, result):
            collection.children.link(landmarks)
            for empty in landmarks.objects:
                empty.parent = root
        scene.collection.children.link(collection)
        if takes_over:
            set_up(scene, camera_object, settings)
        else:
            match_width_behind(camera_object.data, clip, scene.render)
        if takes_over or select:
            select_alone(context, [mesh_object])
    if takes_over:
        look_through_camera(scene)
    return mesh_object


def is_set_up(mesh_object: bpy.types.Object) -> bool:
    """Whether a scene that a result is in has the result's camera, as it does once it is set up for it."""
    cameras = [root_of(scene.camera) for scene in mesh_object.users_scene]
    return any(root in cameras for root in roots_of(mesh_object))


def check_footage(clip: bpy.types.MovieClip, result: Reconstruction) -> None:
    """BadInput for a result of other footage, or of a turned picture: it must not end up over this clip."""
    (width, height), (result_width, result_height) = clip.size, (int(side) for side in result.image_size)
    if width and height and abs(width * result_height / (height * result_width) - 1) > ASPECT_TOLERANCE:
        raise BadInput(
            f"{clip.name}: found a clip of {width}x{height} pixels and a result of {result_width}x{result_height}; "
            "needs a result of this clip"
        )


def select_alone(context: bpy.types.Context, meshes: Sequence[bpy.types.Object]) -> None:
    """Select some meshes and nothing else, the first of them active, unless something is edited."""
    if context.mode != "OBJECT":  # the user is editing something: that stays active
        return
    for other in context.view_layer.objects:
        other.select_set(other in meshes)
    there = [mesh for mesh in meshes if mesh.name in context.view_layer.objects]
    context.view_layer.objects.active = there[0] if there else None


@contextmanager
def all_or_nothing(scene: bpy.types.Scene) -> Iterator[None]:
    """Take back new datablocks and changed scene settings when the body raises."""
    existing = {kind: {block.as_pointer() for block in getattr(bpy.data, kind)} for kind in KINDS}
    settings = [(scene, name, getattr(scene, name)) for name in ("camera", *SCENE_SETTINGS)]
    settings += [(scene.render, name, getattr(scene.render, name)) for name in RENDER_SETTINGS]
    frame = scene.frame_current
    taken: dict[str, float] = dict(scene.get(SETTINGS_KEY, {}))
    try:
        yield
    except BaseException:
        for owner, name, value in settings:
            setattr(owner, name, value)
        for kind in KINDS:
            new = [block for block in getattr(bpy.data, kind) if block.as_pointer() not in existing[kind]]
            bpy.data.batch_remove(new)
        if taken:
            scene[SETTINGS_KEY] = taken
        else:
            scene.pop(SETTINGS_KEY, None)
        if scene.frame_current != frame:
            go_to_frame(scene, frame)
        raise
