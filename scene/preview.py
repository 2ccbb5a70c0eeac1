"""The latest snapshot of a run in the viewport: mesh and camera of the scene's frame, at the location of a result.

A preview is no part of the user's file: renders leave it out, it is not saved, and it goes when the run has ended. Undo
takes its datablocks away and brings old ones back, so they are found by a mark whenever they are needed.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..vmr_backend.reconstruction import Reconstruction
from .camera import match_width_behind, set_to_frame, show_behind
from .clip import scene_frame
from .identity import still_there
from .mesh import new_mesh, set_shape
from .placement import footprint_of, location_for, obstacles_in
from .result import check_footage

MARK = "vmr_preview"
"""Custom property of a preview's datablocks. It holds their session_uid: copies that the user makes are the user's."""
KINDS = ("collections", "objects", "meshes", "cameras")


class Preview:
    """The preview of one run, over a clip and in a scene."""

    def __init__(self, scene: bpy.types.Scene, clip: bpy.types.MovieClip, name: str, snapshot: Reconstruction):
        """BadInput where the snapshot is of other footage than the clip."""
        self.name = name
        self._scene, self._clip = scene.session_uid, clip.session_uid
        frames = np.array([scene_frame(clip, number) for number in snapshot.frames])
        self._obstacles = obstacles_in(scene, scene.view_layers[0], frames)
        self.show(snapshot)

    @property
    def scene(self) -> bpy.types.Scene | None:
        return still_there(bpy.data.scenes, self._scene)

    @property
    def clip(self) -> bpy.types.MovieClip | None:
        return still_there(bpy.data.movieclips, self._clip)

    def show(self, snapshot: Reconstruction) -> None:
        """Show a newer snapshot; BadInput where it is of other footage than the clip."""
        if clip := self.clip:
            check_footage(clip, snapshot)
        self.snapshot = snapshot
        if scene := self.scene:
            self._location = location_for(footprint_of(snapshot), scene, self._obstacles)
        self.refresh()

    def refresh(self) -> None:
        """Show the mesh and the camera of the scene's frame, outside of the clip those of the nearest one.

        Nothing happens while Blender renders, which would read what is written here, nor without the clip or the scene.
        """
        scene, clip = self.scene, self.clip
        if scene is None or clip is None or bpy.app.is_job_running("RENDER"):
            return
        mesh_object, camera_object = _objects() or self._add(scene, clip)
        frames = np.array([scene_frame(clip, number) for number in self.snapshot.frames])
        index = int(np.abs(frames - scene.frame_current).argmin())
        if mesh_object.mode == "OBJECT":  # what is written to a mesh that is edited would be lost
            self._match_faces(mesh_object)
            set_shape(mesh_object.data, self.snapshot.vertices[index])
        set_to_frame(camera_object, self.snapshot, index)
        mesh_object.location = self._location
        camera_object.location += self._location

    def _add(self, scene: bpy.types.Scene, clip: bpy.types.MovieClip) -> tuple[bpy.types.Object, bpy.types.Object]:
        """Mesh object and camera object in a new collection of the scene."""
        remove_previews()
        collection = _marked(bpy.data.collections.new(self.name))
        mesh_object = _marked(bpy.data.objects.new(self.name, _marked(new_mesh(self.name, self.snapshot))))
        camera = _marked(bpy.data.cameras.new(f"{self.name} Camera"))
        show_behind(camera, clip)
        match_width_behind(camera, clip, scene.render)
        camera_object = _marked(bpy.data.objects.new(camera.name, camera))
        mesh_object.hide_select = True  # and so neither edited nor among what is selected for an export
        for hidden in (collection, mesh_object, camera_object):
            hidden.hide_render = True
        collection.objects.link(mesh_object)
        collection.objects.link(camera_object)
        scene.collection.children.link(collection)
        return mesh_object, camera_object

    def _match_faces(self, mesh_object: bpy.types.Object) -> None:
        """Another mesh for the object where the snapshot's has other faces than the one before."""
        mesh = mesh_object.data
        faces = np.empty(len(mesh.loops), np.int32)
        mesh.loops.foreach_get("vertex_index", faces)
        is_same = len(mesh.vertices) == self.snapshot.vertices.shape[1]
        if not is_same or not np.array_equal(faces, self.snapshot.faces.ravel()):
            mesh_object.data = _marked(new_mesh(self.name, self.snapshot))
            bpy.data.meshes.remove(mesh)


def remove_previews() -> None:
    """Take all previews out of the file; what the user put into their collections stays in the scene."""
    for collection in filter(_is_marked, bpy.data.collections):
        _move_guests_out(collection)
    bpy.data.batch_remove([block for kind in KINDS for block in getattr(bpy.data, kind) if _is_marked(block)])


def _objects() -> tuple[bpy.types.Object, bpy.types.Object] | None:
    """The mesh object and the camera object of the preview; None where one is not there."""
    members = [one for collection in filter(_is_marked, bpy.data.collections)
               for one in collection.objects if _is_marked(one)]
    by_type = {one.type: one for one in members}
    return (by_type["MESH"], by_type["CAMERA"]) if {"MESH", "CAMERA"} <= set(by_type) else None


def _marked(block: Any) -> Any:
    block[MARK] = block.session_uid
    block.is_runtime_data = True  # not written to files
    return block


def _is_marked(block: bpy.types.ID) -> bool:
    return block.get(MARK) == block.session_uid


def _move_guests_out(collection: bpy.types.Collection) -> None:
    parents = [*(scene.collection for scene in bpy.data.scenes), *bpy.data.collections]
    for home in (parent for parent in parents if collection in list(parent.children)):
        for guest in collection.objects:
            if not _is_marked(guest) and guest.name not in home.objects:
                home.objects.link(guest)
        for guest in collection.children:
            if guest.name not in home.children:
                home.children.link(guest)
