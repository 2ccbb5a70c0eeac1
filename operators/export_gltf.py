"""Exports a result as a binary glTF file with the options that keep its animation."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

from .export import ExportsResult, keep_shape_keys
from .glb_times import correct_times

FIXED_OPTIONS = {
    "export_format": "GLB",
    "use_selection": True,
    "export_cameras": True,
    # One animation of everything, as the scene plays it, layers in the NLA editor too: by actions it falls apart into
    # several, which viewers play one at a time. Below 4.5 the scene's camera makes the exporter fail.
    "export_animations": True,
    "export_animation_mode": "SCENE" if bpy.app.version >= (4, 5) else "ACTIVE_ACTIONS",
    "export_anim_scene_split_object": False,
    # Else the actions of every other armature come into the one that is exported.
    "export_anim_single_armature": False,
    "export_force_sampling": True,
    "export_frame_range": True,
    # Keys that the exporter takes for redundant would be missing when frames are compared.
    "export_optimize_animation_size": False,
    "export_skins": True,
    # Else four bones a vertex; templates have up to eight.
    "export_all_influences": True,
    "export_morph": True,
    # Normals of every frame would double the file; viewers compute them.
    "export_morph_normal": False,
    # Many programs multiply the texture by the vertex colours: here they are the coverage.
    "export_vertex_color": "NONE",
}


class VMR_OT_export_gltf(ExportsResult, bpy.types.Operator):
    bl_idname = "vmr.export_gltf"
    bl_label = "Export Animated glTF"
    bl_description = (
        "Export the selected results, or those of the active collection, with their cameras and textures over the "
        "scene's frame range as one animation in one binary file"
    )
    bl_options = {"PRESET"}

    exporter, format_name = "EXPORT_SCENE_OT_gltf", "glTF 2.0 format"
    filename_ext = ".glb"
    filter_glob: bpy.props.StringProperty(default="*.glb", options={"HIDDEN"})

    def write(self, context: bpy.types.Context, path: str, objects: list[bpy.types.Object]) -> None:
        with selected_alone(context, objects):
            bpy.ops.export_scene.gltf(filepath=path, check_existing=False,
                                      export_apply=not keep_shape_keys(objects), **FIXED_OPTIONS)
        render = context.scene.render
        correct_times(Path(path), render.fps, render.fps_base)


@contextmanager
def selected_alone(context: bpy.types.Context, objects: list[bpy.types.Object]) -> Iterator[None]:
    """For the exporter, which asks each object whether it is selected; afterwards the user's selection is back."""
    before = list(context.selected_objects)
    _select(context, objects)
    try:
        yield
    finally:
        _select(context, before)


def _select(context: bpy.types.Context, objects: list[bpy.types.Object]) -> None:
    for other in context.view_layer.objects:
        other.select_set(other in objects)
