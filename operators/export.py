"""What exports of a result share: which objects go, where to, and one line where that cannot be."""

import os
from collections.abc import Callable

import bpy
from bpy_extras.io_utils import ExportHelper

from ..scene.placement import root_of, roots_of
from .runs import HasObstacle


class ExportsResult(HasObstacle, ExportHelper):
    """Mixin: an operator that writes results with their cameras, over the scene's frame range."""

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    exporter: str
    """Blender's own, by the name of its class."""
    format_name: str
    filename_ext: str
    report: Callable[[set[str], str], None]

    def write(self, context: bpy.types.Context, path: str, objects: list[bpy.types.Object]) -> None:
        raise NotImplementedError

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        if not hasattr(bpy.types, cls.exporter):
            return f"Enable the add-on {cls.format_name} in the preferences first"
        return "" if objects_to_export(context) else "Select a reconstructed mesh, or make its collection active, first"

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = bpy.path.ensure_ext(bpy.path.abspath(self.filepath), self.filename_ext)
        if not os.path.isdir(os.path.dirname(path)):
            self.report({"ERROR"}, f"{os.path.dirname(path)}: no such folder; choose another one")
            return {"CANCELLED"}
        try:
            self.write(context, path, objects_to_export(context))
        except (RuntimeError, OSError) as error:
            self.report({"ERROR"}, f"{path}: cannot be written ({str(error).strip().splitlines()[-1]})")
            return {"CANCELLED"}
        scene = context.scene
        self.report({"INFO"}, f"Exported {path}, frames {scene.frame_start} to {scene.frame_end}")
        return {"FINISHED"}


def objects_to_export(context: bpy.types.Context) -> list[bpy.types.Object]:
    """Animated meshes among the selected objects, else in the active collection, their armatures and cameras."""
    meshes = [o for o in context.selected_objects if _is_animated_mesh(o)]
    if not meshes and context.collection is not None:
        meshes = [o for o in context.collection.all_objects if _is_animated_mesh(o)]
    armatures = [armature for mesh in meshes if (armature := mesh.find_armature())]
    cameras = [camera for mesh in meshes for camera in _cameras_of(mesh)]
    return list(dict.fromkeys(meshes + armatures + cameras))


def _cameras_of(mesh: bpy.types.Object) -> list[bpy.types.Object]:
    """Those beside a mesh; of the user's own, those that were found with its motion."""
    beside = [one for home in mesh.users_collection for one in home.objects]
    if root_of(mesh) is None:
        beside = [one for root in roots_of(mesh) for one in root.children] or beside
    return [one for one in beside if one.type == "CAMERA"]


def keep_shape_keys(objects: list[bpy.types.Object]) -> bool:
    """Whether modifiers must not be applied, which would cost shape keys."""
    return any(one.type == "MESH" and one.data.shape_keys is not None for one in objects)


def _is_animated_mesh(candidate: bpy.types.Object) -> bool:
    if candidate.type != "MESH":
        return False
    movers = [mover for mover in (candidate.data.shape_keys, candidate.find_armature()) if mover is not None]
    data = [mover.animation_data for mover in movers if mover.animation_data is not None]
    return any(animation.action is not None or len(animation.nla_tracks) for animation in data)
