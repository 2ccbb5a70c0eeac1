"""Exports a result as FBX with the options that keep its animation."""

from __future__ import annotations

import os

import bpy
from bpy_extras.io_utils import ExportHelper

FIXED_OPTIONS = {
    # With NLA strips or all actions the exporter drops or shifts the animation of shape keys.
    "bake_anim": True,
    "bake_anim_use_nla_strips": False,
    "bake_anim_use_all_actions": False,
    "bake_anim_simplify_factor": 0.0,
    # Applied modifiers would cost the shape keys.
    "use_mesh_modifiers": False,
    "use_selection": True,
    "object_types": {"MESH", "CAMERA", "ARMATURE"},
    "add_leaf_bones": False,
    "path_mode": "COPY",
    "embed_textures": True,
}


class VMR_OT_export_fbx(bpy.types.Operator, ExportHelper):
    bl_idname = "vmr.export_fbx"
    bl_label = "Export Animated FBX"
    bl_description = (
        "Export the selected results, or those of the active collection, with their cameras and textures over the "
        "scene's frame range; Blender's own FBX options would lose or shift the animation"
    )
    bl_options = {"PRESET"}

    filename_ext = ".fbx"
    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    filter_glob: bpy.props.StringProperty(default="*.fbx", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not hasattr(bpy.types, "EXPORT_SCENE_OT_fbx"):
            cls.poll_message_set("Enable the add-on FBX format in the preferences first")
            return False
        if not objects_to_export(context):
            cls.poll_message_set("Select a reconstructed mesh, or make its collection active, first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = bpy.path.ensure_ext(bpy.path.abspath(self.filepath), ".fbx")
        objects = objects_to_export(context)
        if not os.path.isdir(os.path.dirname(path)):
            self.report({"ERROR"}, f"{os.path.dirname(path)}: no such folder; choose another one")
            return {"CANCELLED"}
        try:
            # The exporter asks the context for the selection: the user's own stays as it is.
            with context.temp_override(selected_objects=objects):
                bpy.ops.export_scene.fbx(filepath=path, check_existing=False, **FIXED_OPTIONS)
        except (RuntimeError, OSError) as error:
            self.report({"ERROR"}, f"{path}: cannot be written ({str(error).strip().splitlines()[-1]})")
            return {"CANCELLED"}
        scene = context.scene
        self.report({"INFO"}, f"Exported {path}, frames {scene.frame_start} to {scene.frame_end}")
        return {"FINISHED"}


def objects_to_export(context: bpy.types.Context) -> list[bpy.types.Object]:
    """Meshes with animated shapes among the selected objects, else in the active collection, and their cameras."""
    meshes = [o for o in context.selected_objects if _is_animated_mesh(o)]
    if not meshes and context.collection is not None:
        meshes = [o for o in context.collection.all_objects if _is_animated_mesh(o)]
    cameras = [o for mesh in meshes for home in mesh.users_collection for o in home.objects if o.type == "CAMERA"]
    return list(dict.fromkeys(meshes + cameras))


def _is_animated_mesh(candidate: bpy.types.Object) -> bool:
    keys = candidate.data.shape_keys if candidate.type == "MESH" else None
    return keys is not None and keys.animation_data is not None and keys.animation_data.action is not None
