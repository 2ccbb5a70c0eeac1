"""Exports a result as FBX with the options that keep its animation."""

import bpy

from .export import ExportsResult, keep_shape_keys

FIXED_OPTIONS = {
    # With NLA strips or all actions the exporter drops or shifts the animation of shape keys.
    "bake_anim": True,
    "bake_anim_use_nla_strips": False,
    "bake_anim_use_all_actions": False,
    "bake_anim_simplify_factor": 0.0,
    "use_selection": True,
    "object_types": {"MESH", "CAMERA", "ARMATURE"},
    "add_leaf_bones": False,
    # Many programs multiply the texture by the vertex colours: here they are the coverage.
    "colors_type": "NONE",
    "path_mode": "COPY",
    "embed_textures": True,
}


class VMR_OT_export_fbx(ExportsResult, bpy.types.Operator):
    bl_idname = "vmr.export_fbx"
    bl_label = "Export Animated FBX"
    bl_description = (
        "Export the selected results, or those of the active collection, with their cameras and textures over the "
        "scene's frame range; Blender's own FBX options would lose or shift the animation"
    )
    bl_options = {"PRESET"}

    exporter, format_name = "EXPORT_SCENE_OT_fbx", "FBX format"
    filename_ext = ".fbx"
    filter_glob: bpy.props.StringProperty(default="*.fbx", options={"HIDDEN"})

    def write(self, context: bpy.types.Context, path: str, objects: list[bpy.types.Object]) -> None:
        # The exporter asks the context for the selection: the user's own stays as it is.
        with context.temp_override(selected_objects=objects):
            bpy.ops.export_scene.fbx(filepath=path, check_existing=False,
                                     use_mesh_modifiers=not keep_shape_keys(objects), **FIXED_OPTIONS)
