"""Enabling and disabling the extension leaves Blender as it was."""

import bpy


def ours() -> set[str]:
    types = {name for name in dir(bpy.types) if name.startswith("VMR_")}
    operators = {name for name in dir(bpy.ops.vmr) if not name.startswith("_")}
    properties = {name for name in bpy.types.Scene.bl_rna.properties.keys() if name == "vmr"}
    menu = {entry.__module__ for entry in bpy.types.TOPBAR_MT_file_export._dyn_ui_initialize()
            if "video_mesh" in entry.__module__}
    return types | operators | properties | menu


def test_disabling_leaves_nothing_and_enabling_brings_all_back(installed_extension, empty_file):
    before = ours()
    assert {"VMR_PT_reconstruct", "reconstruct", "vmr"} < before
    bpy.ops.preferences.addon_disable(module=installed_extension)
    try:
        assert ours() == set()
    finally:
        bpy.ops.preferences.addon_enable(module=installed_extension)
    assert ours() == before


def test_operators_and_panels_read_well():
    from video_mesh_reconstruction.operators import CLASSES

    for cls in CLASSES:
        description = getattr(cls, "bl_description", None) or cls.__doc__
        assert cls.bl_label == cls.bl_label.title().replace("Fbx", "FBX").replace(" To ", " to ")
        assert not description.endswith(".") and "\n" not in description
