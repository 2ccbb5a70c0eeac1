"""A preview shows the frame that the scene shows, is no part of the file, and leaves nothing behind."""

from dataclasses import replace

import bpy
import numpy as np
import pytest
from blender_clips import make_images, pixels_of
from blender_view import seen_pixels, world_vertices
from nodding_ball import nodding_ball
from video_mesh_reconstruction.scene.preview import Preview, remove_previews
from video_mesh_reconstruction.vmr_backend.job import BadInput
from wobbling_ball import drawn_mask, wobbling_ball

NUMBERS = [105, 106, 107, 110]
FRAMES = [11, 12, 13, 16]


@pytest.fixture
def clip(empty_file, tmp_path):
    """An image sequence from 105 at scene frame 11."""
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", range(105, 115), size=(160, 120))))
    clip.frame_start = 11
    return clip


@pytest.fixture
def preview(clip):
    bpy.context.scene.frame_set(12)
    return Preview(bpy.context.scene, clip, "ball Preview", wobbling_ball(NUMBERS))


def blocks():
    """All datablocks' names by kind (Blender 5.2 has them all in `all_ids` once more)."""
    kinds = [name for name, value in bpy.data.bl_rna.properties.items()
             if value.type == "COLLECTION" and name != "all_ids"]
    return {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds}


def objects():
    (collection,) = (one for one in bpy.data.collections if one.name.endswith("Preview"))
    mesh, camera = sorted(collection.objects, key=lambda one: one.type, reverse=True)
    return mesh, camera


def test_it_is_the_mesh_of_the_shown_frame_in_a_collection_of_its_own(preview):
    mesh, camera = objects()
    assert (mesh.name, camera.name, camera.type) == ("ball Preview", "ball Preview Camera", "CAMERA")
    assert [one.name for one in bpy.context.scene.collection.children] == ["ball Preview"]
    assert np.array_equal(world_vertices(mesh, 12), preview.snapshot.vertices[1])
    assert mesh.data.shape_keys is None and not bpy.data.actions


@pytest.mark.parametrize("frame, index", [(11, 0), (13, 2), (14, 2), (15, 3), (16, 3), (3, 0), (99, 3)])
def test_refreshed_it_is_that_of_the_frame_or_of_the_nearest_one(preview, frame, index):
    bpy.context.scene.frame_set(frame)
    preview.refresh()
    mesh, _ = objects()
    assert np.array_equal(world_vertices(mesh, frame), preview.snapshot.vertices[index])


def test_its_camera_sees_the_mesh_where_the_footage_shows_it(preview):
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = 160, 120
    mesh, camera = objects()
    for frame, seen in zip(FRAMES, preview.snapshot.projected(), strict=True):
        bpy.context.scene.frame_set(frame)
        preview.refresh()
        assert np.abs(seen_pixels(camera, frame, world_vertices(mesh, frame)) - seen).max() < 0.01
    assert camera.data.background_images[0].clip == preview.clip


def test_the_footage_behind_is_as_wide_as_its_pixels_make_it(clip):
    clip.display_aspect = 2, 1
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = 300, 120
    Preview(bpy.context.scene, clip, "ball Preview", wobbling_ball(NUMBERS))
    assert objects()[1].data.background_images[0].frame_method == "FIT"


@pytest.mark.parametrize(("size", "aspect", "method"), [
    ((1920, 1080), 1.0, "CROP"), ((1080, 1920), 1.0, "FIT"), ((160, 120), 1.0, "FIT"), ((120, 120), 2.0, "CROP")])
def test_the_footage_behind_is_as_wide_as_the_picture_whatever_the_render_size(clip, size, aspect, method):
    render = bpy.context.scene.render
    (render.resolution_x, render.resolution_y), render.pixel_aspect_x = size, aspect
    Preview(bpy.context.scene, clip, "ball Preview", wobbling_ball(NUMBERS))
    _, camera = objects()
    assert [one.frame_method for one in camera.data.background_images] == [method]


def test_the_next_snapshot_takes_the_place_of_the_one_before(preview):
    mesh, camera = objects()
    mesh.hide_set(True)
    before, nodding = blocks(), nodding_ball(NUMBERS)
    preview.show(nodding)
    assert objects() == (mesh, camera) and mesh.hide_get() and blocks() == before
    assert np.array_equal(world_vertices(mesh, 12), nodding.vertices[1])


def test_a_snapshot_with_other_faces_takes_it_too(preview):
    ball = wobbling_ball([105, 106])
    used, faces = np.unique(ball.faces[:-30], return_inverse=True)
    part = replace(ball, faces=faces.reshape(-1, 3).astype(np.int32), uv=ball.uv[:-30],
                   rest_vertices=ball.rest_vertices[used], vertices=ball.vertices[:, used])
    before = blocks()
    preview.show(part)
    mesh, _ = objects()
    assert len(mesh.data.polygons) == len(faces.reshape(-1, 3))
    assert np.array_equal(world_vertices(mesh, 12), part.vertices[1])
    assert {**blocks(), "meshes": []} == {**before, "meshes": []} and len(bpy.data.meshes) == 1


def test_scene_and_selection_stay_as_they_were(clip):
    scene = bpy.context.scene
    mesh = bpy.data.objects.new("mine", bpy.data.meshes.new("mine"))
    scene.collection.objects.link(mesh)
    bpy.context.view_layer.objects.active = mesh
    mesh.select_set(True)
    bpy.ops.object.mode_set(mode="EDIT")
    before = [scene.camera, scene.frame_start, scene.frame_end, scene.frame_current, scene.render.resolution_x]
    preview = Preview(scene, clip, "ball Preview", wobbling_ball(NUMBERS))
    preview.refresh()
    assert before == [scene.camera, scene.frame_start, scene.frame_end, scene.frame_current, scene.render.resolution_x]
    assert (bpy.context.view_layer.objects.active, bpy.context.mode) == (mesh, "EDIT_MESH")
    assert bpy.context.selected_objects == [mesh]
    remove_previews()
    assert list(scene.objects) == [mesh] and bpy.context.mode == "EDIT_MESH"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_renders_leave_it_out(preview, tmp_path):
    scene, (mesh, camera) = bpy.context.scene, objects()
    scene.camera, scene.render.engine, scene.render.film_transparent = camera, "CYCLES", True
    scene.cycles.samples, scene.render.filepath = 1, str(tmp_path / "look.png")
    scene.render.resolution_x, scene.render.resolution_y = 160, 120
    bpy.ops.render.render(write_still=True)
    assert not pixels_of(tmp_path / "look.png")[..., 3].any()
    for hidden in (mesh, mesh.users_collection[0]):
        hidden.hide_render = False
    bpy.ops.render.render(write_still=True)
    seen = pixels_of(tmp_path / "look.png")[::-1, :, 3] > 0.5
    drawn = drawn_mask(preview.snapshot, 1)
    assert (seen & drawn).sum() / (seen | drawn).sum() > 0.95, "it would be seen"


def test_a_saved_file_does_not_hold_it(clip, tmp_path):
    before = blocks()
    Preview(bpy.context.scene, clip, "ball Preview", wobbling_ball(NUMBERS))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert "ball Preview" in bpy.data.objects, "it is still shown"
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert blocks() == before and not bpy.context.scene.collection.children


def test_removed_it_leaves_nothing_behind(clip):
    before = blocks()
    Preview(bpy.context.scene, clip, "ball Preview", wobbling_ball(NUMBERS))
    assert blocks() != before
    remove_previews()
    assert blocks() == before
    remove_previews()


def test_what_the_user_put_into_its_collection_or_copied_stays(preview):
    mesh, _ = objects()
    collection, scene = mesh.users_collection[0], bpy.context.scene
    cube = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    copied = mesh.copy()
    copied.data, copied.name = mesh.data.copy(), "copied"
    inner = bpy.data.collections.new("inner")
    collection.children.link(inner)
    for guest in (cube, copied):
        collection.objects.link(guest)
    remove_previews()
    assert set(scene.collection.objects) == {cube, copied} and list(scene.collection.children) == [inner]
    assert len(copied.data.vertices) == preview.snapshot.vertices.shape[1]


def test_a_removed_object_of_it_comes_back_whole(preview):
    bpy.data.objects.remove(objects()[0])
    preview.refresh()
    mesh, _ = objects()
    assert np.array_equal(world_vertices(mesh, 12), preview.snapshot.vertices[1])
    assert len(bpy.data.collections) == 1 and len(bpy.data.meshes) == len(bpy.data.cameras) == 1


def test_without_its_clip_or_scene_it_stands_still(preview):
    scene = bpy.data.scenes.new("other")
    bpy.data.movieclips.remove(preview.clip)
    preview.refresh()
    assert preview.clip is None
    bpy.data.scenes.remove(preview.scene)
    assert preview.scene is None and scene
    preview.refresh()


def test_a_snapshot_of_other_footage_is_refused_and_the_one_before_stays(preview, clip):
    before, turned = blocks(), wobbling_ball(NUMBERS, size=(120, 160))
    with pytest.raises(BadInput, match="found a clip of 160x120"):
        preview.show(turned)
    assert blocks() == before and preview.snapshot is not turned
    remove_previews()
    with pytest.raises(BadInput):
        Preview(bpy.context.scene, clip, "second Preview", turned)
    assert not bpy.data.collections and not bpy.data.meshes
