"""An exported FBX, read back by Blender, moves, looks and is filmed as the result."""

import importlib

import bpy
import numpy as np
import pytest
from blender_clips import make_images
from blender_view import seen_pixels, world_vertices
from video_mesh_reconstruction.scene.result import add_result
from video_mesh_reconstruction.vmr_backend.reconstruction import TEXTURE_NAME
from wobbling_ball import save_texture, wobbling_ball

pytestmark = pytest.mark.usefixtures("installed_extension")


@pytest.fixture
def added(empty_file, tmp_path):
    """A wobbling ball at scene frames 11 to 18, two frames left out, beside another object."""
    other = bpy.data.objects.new("other", bpy.data.meshes.new("other"))
    bpy.context.scene.collection.objects.link(other)
    result = wobbling_ball([105, 106, 107, 109, 110, 112])
    save_texture(tmp_path)
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", range(105, 115), size=(160, 120))))
    clip.frame_start = 11
    mesh = add_result(bpy.context, clip, result, tmp_path, "ball")
    return mesh, result


IMPORTERS = ["import_scene.fbx", pytest.param("wm.fbx_import", marks=pytest.mark.skipif(
    bpy.app.version < (4, 5), reason="Blender has its second importer since 4.5"))]


def read_back(path, importer=IMPORTERS[0]):
    """The mesh and the camera of an FBX, read into an empty file whose scene renders 160 x 120."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 160, 120
    if importer == IMPORTERS[0]:
        bpy.ops.import_scene.fbx(filepath=str(path), anim_offset=0.0)
    else:
        bpy.ops.wm.fbx_import(filepath=str(path), anim_offset=0.0)
    (mesh,) = (o for o in bpy.data.objects if o.type == "MESH")
    (camera,) = (o for o in bpy.data.objects if o.type == "CAMERA")
    return mesh, camera


@pytest.mark.parametrize("importer", IMPORTERS)
def test_the_vertices_move_as_before(added, tmp_path, importer):
    _, result = added
    bpy.ops.vmr.export_fbx(filepath=str(tmp_path / "out é.fbx"))
    mesh, _ = read_back(tmp_path / "out é.fbx", importer)
    for number, vertices in zip(result.frames, result.vertices, strict=True):
        assert np.abs(world_vertices(mesh, number - 105 + 11) - vertices).max() < 1e-4
    assert np.abs(world_vertices(mesh, 14) - (result.vertices[2] + result.vertices[3]) / 2).max() < 1e-4


def test_the_camera_films_it_as_before(added, tmp_path):
    _, result = added
    bpy.ops.vmr.export_fbx(filepath=str(tmp_path / "out.fbx"))
    _, camera = read_back(tmp_path / "out.fbx")
    for number, vertices, expected in zip(result.frames, result.vertices, result.projected(), strict=True):
        assert np.abs(seen_pixels(camera, number - 105 + 11, vertices) - expected).max() < 0.01


def test_the_texture_travels_inside_the_file(added, tmp_path):
    export, elsewhere = tmp_path / "export", tmp_path / "elsewhere"
    export.mkdir()
    expected = save_texture(tmp_path)
    bpy.ops.vmr.export_fbx(filepath=str(export / "out.fbx"))
    (tmp_path / TEXTURE_NAME).unlink()
    elsewhere.mkdir()
    (export / "out.fbx").rename(elsewhere / "out.fbx")
    mesh, _ = read_back(elsewhere / "out.fbx")
    nodes = mesh.data.materials[0].node_tree.nodes
    image = next(node.image for node in nodes if node.type == "TEX_IMAGE")
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    assert np.abs(values.reshape(*expected.shape[:2], 4)[..., :3] - expected).max() < 0.005


def test_it_takes_the_selected_result_or_that_of_the_active_collection(added, tmp_path, installed_extension):
    objects_to_export = importlib.import_module(f"{installed_extension}.operators.export_fbx").objects_to_export
    mesh, result = added
    other = bpy.data.objects["other"]
    second = add_result(bpy.context, bpy.data.movieclips[0], result, tmp_path, "second")
    assert objects_to_export(bpy.context) == [second, bpy.context.scene.camera]
    second.select_set(False)
    other.select_set(True)
    layer = bpy.context.view_layer.layer_collection.children
    bpy.context.view_layer.active_layer_collection = layer["ball"]
    assert [o.name for o in objects_to_export(bpy.context)] == ["ball", "ball Camera"]
    mesh.select_set(True)
    bpy.ops.vmr.export_fbx(filepath=str(tmp_path / "out.fbx"))
    assert set(bpy.context.selected_objects) == {other, mesh}
    read_back(tmp_path / "out.fbx")


def test_a_scene_without_a_result_greys_it_out(empty_file, tmp_path):
    assert not bpy.ops.vmr.export_fbx.poll()
    with pytest.raises(RuntimeError, match="Select a reconstructed mesh"):
        bpy.ops.vmr.export_fbx(filepath=str(tmp_path / "out.fbx"))


def test_a_file_that_cannot_be_written_gives_one_line(added, tmp_path):
    (tmp_path / "folder.fbx").mkdir()
    for path in (tmp_path / "missing" / "out.fbx", tmp_path / "folder.fbx"):
        with pytest.raises(RuntimeError) as error:
            bpy.ops.vmr.export_fbx(filepath=str(path))
        (line,) = str(error.value).strip().splitlines()
        assert line.startswith("Error: ") and tmp_path.name in line
