"""The baked texture shows on the mesh the right way up, and travels in the .blend file."""

import shutil

import bpy
import numpy as np
from blender_clips import pixels_of
from video_mesh_reconstruction.scene.result import add_result
from wobbling_ball import save_texture, wobbling_ball


def texture_of(material) -> bpy.types.Image:
    return next(node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE")


def pixels(image) -> np.ndarray:
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return values.reshape(image.size[1], image.size[0], 4)[..., :3]


def test_the_texture_is_packed_and_survives_saving_without_its_file(add, tmp_path):
    added = add()
    expected = save_texture(added.folder)
    shutil.rmtree(added.folder)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved é.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved é.blend"))
    image = texture_of(bpy.data.objects["ball"].data.materials[0])
    assert image.packed_file is not None
    assert np.abs(pixels(image) - expected).max() < 0.005


def test_the_surface_hardly_shines(add):
    nodes = add().mesh.data.materials[0].node_tree.nodes
    surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    assert surface.inputs["Specular IOR Level"].default_value < 0.1
    assert surface.inputs["Roughness"].default_value > 0.8
    assert surface.inputs["Base Color"].is_linked


def test_a_result_of_a_stopped_run_has_a_plain_surface(add):
    added = add()
    (added.folder / "texture.png").unlink()
    plain = add_result(bpy.context, added.clip, added.result, added.folder, "plain", is_textured=False)
    nodes = plain.data.materials[0].node_tree.nodes
    surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    assert not surface.inputs["Base Color"].is_linked and surface.inputs["Roughness"].default_value > 0.8
    assert not [node for node in nodes if node.type == "TEX_IMAGE"]


def test_a_render_shows_each_place_in_the_colour_that_its_uv_has(add, tmp_path):
    """Red grows along u, green along v: in the render red follows the columns of the ball, green its height."""
    added = add(wobbling_ball(range(105, 107)))
    scene = bpy.context.scene
    scene.world = bpy.data.worlds.new("white")
    scene.world.color = (1, 1, 1)
    scene.view_settings.view_transform = "Raw"
    scene.render.engine, scene.cycles.samples, scene.render.film_transparent = "CYCLES", 16, True
    scene.render.filepath = str(tmp_path / "colours.png")
    scene.frame_set(added.frames[0])
    bpy.ops.render.render(write_still=True)
    image = pixels_of(tmp_path / "colours.png")[::-1]
    result, width = added.result, int(added.result.image_size[0])
    towards = result.in_camera()[0][:, 2]
    seen = [f for f in range(len(result.faces)) if towards[result.faces[f]].max() < towards.mean() - 0.2]
    places = result.projected()[0][result.faces[seen]].mean(1).astype(int)
    colours, uv = image[places[:, 1], np.minimum(places[:, 0], width - 1)], result.uv[seen].mean(1)
    assert len(seen) > 40
    for channel in (0, 1):
        assert np.corrcoef(colours[:, channel], uv[:, channel])[0, 1] > 0.95
