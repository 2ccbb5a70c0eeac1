"""The zip that Blender's own tool builds holds what the add-on needs and nothing else, and comes and goes cleanly."""

import zipfile
from pathlib import Path, PurePosixPath

import bpy
import pytest

ROOT = Path(__file__).parents[2]
LARGEST_BYTES, LARGEST_NETWORKS = 2_000_000, 5_000_000
"""Without wheels and models: source code, and the networks that find masks and their edges, and follow parts."""
LARGEST_TEMPLATES = 4_000_000
"""Of all rigged bodies that come along."""
LARGEST_MODEL = 25_000_000
CATEGORIES = {"bird", "quadruped"}


@pytest.fixture(scope="module")
def infos(extension_zip):
    with zipfile.ZipFile(extension_zip) as archive:
        return [info for info in archive.infolist() if not info.is_dir()]


@pytest.fixture(scope="module")
def members(infos):
    return [PurePosixPath(info.filename) for info in infos]


def traces() -> dict:
    """What an add-on leaves in Blender while it is enabled."""
    kinds = (bpy.types.Operator, bpy.types.Panel, bpy.types.Menu, bpy.types.PropertyGroup, bpy.types.AddonPreferences)
    handlers = {name: len(found) for name in dir(bpy.app.handlers)
                if isinstance(found := getattr(bpy.app.handlers, name), list)}
    return {
        "classes": {cls.__name__ for kind in kinds for cls in kind.__subclasses__() if cls.is_registered},
        "operators": set(dir(bpy.ops.vmr)),
        "scene": set(bpy.types.Scene.bl_rna.properties.keys()),
        "window manager": set(bpy.types.WindowManager.bl_rna.properties.keys()),
        "export menu": len(getattr(bpy.types.TOPBAR_MT_file_export.draw, "_draw_funcs", [])),
        "handlers": handlers,
    }


def test_it_is_valid(extension_tool, extension_zip):
    for path in (ROOT, extension_zip):
        assert "Success" in extension_tool("validate", path)


def test_it_holds_the_add_on_and_the_backend_but_no_tests_samples_or_leftovers(members, infos):
    names = set(map(str, members))
    assert {"__init__.py", "blender_manifest.toml", "scene/result.py", "vmr_backend/reconstruction.py"} <= names
    folders = {member.parts[0] for member in members if len(member.parts) > 1}
    assert not folders & {"tests", "samples", "demo", "docs", "build", "dist", "requirements"}
    assert not [n for n in names if n.startswith(".") or "__pycache__" in n or n.endswith((".whl", ".mp4", ".blend"))]
    bodies = "vmr_backend/templates/"
    learnt = {info.filename: info.compress_size for info in infos if info.filename.endswith(".safetensors")
              and not info.filename.startswith("models/")}
    templates = {file: size for file, size in learnt.items() if file.startswith(bodies)}
    networks = [size for file, size in learnt.items() if file not in templates]
    sources = [info.compress_size for info in infos if not info.filename.startswith("models/")
               and info.filename not in learnt]
    assert set(templates) == {f"{bodies}quadruped.safetensors"} and sum(templates.values()) < LARGEST_TEMPLATES
    assert len(networks) == 3 and sum(networks) < LARGEST_NETWORKS and sum(sources) < LARGEST_BYTES


def test_it_brings_a_category_model_of_each_kind(infos):
    models = {PurePosixPath(info.filename).stem: info.file_size for info in infos
              if info.filename.startswith("models/") and info.filename.endswith(".safetensors")}
    assert set(models) == CATEGORIES
    assert max(models.values()) < LARGEST_MODEL


def test_it_is_enabled_under_the_name_that_extensions_have(installed_extension):
    assert installed_extension == "bl_ext.user_default.video_mesh_reconstruction"
    assert bpy.ops.vmr.export_fbx.idname() == "VMR_OT_export_fbx"
    assert bpy.ops.vmr.export_gltf.idname() == "VMR_OT_export_gltf"
    assert "vmr" in bpy.types.Scene.bl_rna.properties


def test_disabling_and_enabling_leaves_nothing_behind(installed_extension):
    enabled = traces()
    assert {"VMR_OT_export_fbx", "VMR_OT_reconstruct"} <= enabled["classes"]
    for _ in range(2):
        bpy.ops.preferences.addon_disable(module=installed_extension)
        disabled = traces()
        assert not [name for name in disabled["classes"] if name.startswith("VMR_")]
        assert not disabled["operators"]
        assert "vmr" not in disabled["scene"]
        assert disabled["export menu"] < enabled["export menu"]
        bpy.ops.preferences.addon_enable(module=installed_extension)
        assert traces() == enabled


def test_installing_it_again_over_itself_keeps_it_enabled_and_whole(installed_extension, extension_zip):
    before = traces()
    bpy.ops.extensions.package_install_files(
        filepath=str(extension_zip), repo="user_default", enable_on_install=True, overwrite=True
    )
    assert installed_extension in bpy.context.preferences.addons
    assert traces() == before


def test_scenes_made_before_and_after_enabling_have_the_settings(installed_extension, empty_file):
    assert bpy.data.scenes.new("later").vmr is not None
    assert bpy.context.scene.vmr is not None
