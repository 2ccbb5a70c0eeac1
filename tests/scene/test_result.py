"""A result comes into the scene whole, with the settings that match the footage, or not at all."""

from dataclasses import replace

import bpy
import numpy as np
import pytest
from blender_clips import make_movie
from blender_view import world_vertices
from nodding_ball import nodding_ball
from video_mesh_reconstruction.scene.result import add_result
from video_mesh_reconstruction.vmr_backend.job import BadInput
from wobbling_ball import save_texture, wobbling_ball

MOTIONS = ["SHAPE_KEYS", "ARMATURE"]


def everything() -> dict:
    """All datablocks by kind, and the settings of the scene."""
    kinds = [name for name, value in bpy.data.bl_rna.properties.items() if value.type == "COLLECTION"]
    scene, render = bpy.context.scene, bpy.context.scene.render
    found = {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds}
    found["scene"] = [scene.camera, scene.frame_start, scene.frame_end, scene.frame_current, len(scene.objects)]
    found["render"] = [getattr(render, name) for name in (
        "resolution_x", "resolution_y", "resolution_percentage", "pixel_aspect_x", "pixel_aspect_y", "fps", "fps_base")]
    found["selected"] = [o.name for o in bpy.context.selected_objects]
    found["active"] = bpy.context.view_layer.objects.active
    return found


def test_everything_is_in_one_collection_of_the_scene(add):
    added = add(name="camel é")
    collection = bpy.data.collections["camel é"]
    assert collection in list(bpy.context.scene.collection.children)
    assert set(collection.objects) == {added.mesh, added.camera, added.root} == set(bpy.context.scene.objects)
    assert bpy.context.view_layer.objects.active == added.mesh
    assert bpy.context.selected_objects == [added.mesh]


def test_the_scene_matches_the_footage(add):
    add(wobbling_ball([106, 109], focal=(300, 200)))
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end, scene.frame_current) == (12, 15, 12)
    assert (scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage) == (160, 120, 100)
    assert (scene.render.pixel_aspect_x, scene.render.pixel_aspect_y) == pytest.approx((1, 1.5))


def test_a_movie_sets_the_rate_and_a_sequence_keeps_the_scenes(add, empty_file, tmp_path):
    render = bpy.context.scene.render
    render.fps, render.fps_base = 37, 1.0
    add()
    assert (render.fps, render.fps_base) == (37, 1.0)
    clip = bpy.data.movieclips.load(str(make_movie(tmp_path / "a.mp4", count=5, fps=30, fps_base=1.001)))
    save_texture(tmp_path)
    add_result(bpy.context, clip, wobbling_ball(range(5), size=(64, 48)), tmp_path, "movie")
    assert render.fps == 30
    assert render.fps / render.fps_base == pytest.approx(30 / 1.001, abs=1e-3)


def test_two_results_of_one_name_live_beside_each_other(add):
    first, second = add(), add(wobbling_ball(range(106, 112)))
    assert first.mesh != second.mesh and bpy.context.scene.camera == second.camera
    assert np.abs(world_vertices(first.mesh, first.frames[2]) - first.result.vertices[2]).max() < 1e-4
    there = second.result.vertices[2] + np.array(second.root.location)
    assert np.abs(world_vertices(second.mesh, second.frames[2]) - there).max() < 1e-4


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_object_that_the_user_edits_stays_active(add, motion):
    mesh = bpy.data.objects.new("edited", bpy.data.meshes.new("edited"))
    bpy.context.scene.collection.objects.link(mesh)
    bpy.context.view_layer.objects.active = mesh
    bpy.ops.object.mode_set(mode="EDIT")
    added = add(nodding_ball(range(105, 110)), motion=motion)
    assert (bpy.context.view_layer.objects.active, bpy.context.mode) == (mesh, "EDIT_MESH")
    assert np.abs(world_vertices(added.mesh, added.frames[2]) - added.result.vertices[2]).max() < 1e-4
    bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize("motion", MOTIONS)
def test_saving_and_loading_keeps_the_motion_the_camera_and_the_clip(add, tmp_path, motion):
    added = add(nodding_ball(range(105, 110)), motion=motion)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    mesh, camera = bpy.data.objects["ball"], bpy.context.scene.camera
    for frame, vertices in zip(added.frames, added.result.vertices, strict=True):
        assert np.abs(world_vertices(mesh, frame) - vertices).max() < 1e-4
    place = -added.result.camera_rotation[-1].T @ added.result.camera_translation[-1]
    assert np.abs(np.array(camera.matrix_world.translation) - place).max() < 1e-4
    assert camera.data.background_images[0].clip.frame_start == 11


def test_a_missing_texture_leaves_nothing_behind(add, tmp_path):
    added = add()
    (added.folder / "texture.png").unlink()
    bpy.context.scene.frame_set(14)
    before = everything()
    with pytest.raises(BadInput, match=r"texture\.png: texture not found"):
        add_result(bpy.context, added.clip, wobbling_ball(range(106, 108)), added.folder, "second")
    assert everything() == before


def test_a_damaged_texture_leaves_nothing_behind(add, tmp_path):
    added = add()
    (added.folder / "texture.png").write_bytes(b"no picture")
    before = everything()
    with pytest.raises(BadInput, match=r"texture\.png: found no image"):
        add_result(bpy.context, added.clip, added.result, added.folder, "second")
    assert everything() == before


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_failure_at_the_very_end_leaves_nothing_behind(add, monkeypatch, motion):
    added = add()
    before = everything()
    monkeypatch.setattr("video_mesh_reconstruction.scene.result.select_alone", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        result = nodding_ball(range(106, 112), focal=(300, 200))
        add_result(bpy.context, added.clip, result, added.folder, "second", motion)
    assert everything() == before
    assert np.abs(world_vertices(added.mesh, added.frames[1]) - added.result.vertices[1]).max() < 1e-4


def test_a_failure_among_the_bones_leaves_nothing_behind_and_the_users_mode(add, monkeypatch):
    added = add()
    bpy.ops.object.mode_set(mode="EDIT")
    before = everything()
    monkeypatch.setattr("video_mesh_reconstruction.scene.armature.Matrix", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add_result(bpy.context, added.clip, nodding_ball(range(106, 112)), added.folder, "second", "ARMATURE")
    assert everything() == before and bpy.context.mode == "EDIT_MESH"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_a_result_that_does_not_fit_the_clip_or_itself_is_refused(add):
    added = add()
    before = everything()
    with pytest.raises(BadInput, match="found a clip of 160x120 pixels and a result of 120x160"):
        add_result(bpy.context, added.clip, wobbling_ball(range(105, 110), size=(120, 160)), added.folder, "turned")
    with pytest.raises(BadInput, match="camera_translation"):
        broken = replace(added.result, camera_translation=added.result.camera_translation[:2])
        add_result(bpy.context, added.clip, broken, added.folder, "cut short")
    assert everything() == before
