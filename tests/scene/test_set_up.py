"""A result sets up an untouched scene, and takes over nothing where the user works on something else."""

import bpy
import numpy as np
import pytest
from blender_clips import make_movie
from blender_view import seen_pixels, world_vertices
from video_mesh_reconstruction.scene.result import add_result, is_set_up
from video_mesh_reconstruction.scene.set_up import SETTINGS_KEY
from wobbling_ball import save_texture, wobbling_ball


def settings():
    """What a finishing run must not move."""
    scene, render, layer = bpy.context.scene, bpy.context.scene.render, bpy.context.view_layer
    return [scene.camera, scene.frame_start, scene.frame_end, scene.frame_current, render.resolution_x,
            render.resolution_y, render.resolution_percentage, render.pixel_aspect_x, render.pixel_aspect_y, render.fps,
            render.fps_base, layer.objects.active, list(layer.objects.selected), bpy.context.mode, views()]


def views():
    return [area.spaces.active.region_3d.view_perspective for window in bpy.context.window_manager.windows
            for area in window.screen.areas if area.type == "VIEW_3D"]


def work():
    """Something of the user's, selected."""
    bpy.ops.mesh.primitive_monkey_add(location=(0, 8, 0))


def moved_cube():
    bpy.data.objects["Cube"].location.z = 1


def sculpted_cube():
    bpy.data.objects["Cube"].data.vertices[0].co.z = 3


def edited_cube():
    bpy.context.view_layer.objects.active = bpy.data.objects["Cube"]
    bpy.ops.object.mode_set(mode="EDIT")


def moved_camera():
    bpy.data.objects["Camera"].location.x += 1


def chosen_camera():
    bpy.ops.object.camera_add(location=(0, -9, 2))
    bpy.context.scene.camera = bpy.context.object


def keyed_camera():
    bpy.data.objects["Camera"].keyframe_insert("location", frame=1)


def keyed_lens():
    bpy.data.objects["Camera"].data.keyframe_insert("lens", frame=1)


def render_size():
    bpy.context.scene.render.resolution_x = 4096


def frame_range():
    bpy.context.scene.frame_end = 99


def another_frame():
    bpy.context.scene.frame_set(77)


def marker():
    bpy.context.scene.timeline_markers.new("cut", frame=40)


def strip():
    editor = bpy.context.scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strips.new_effect("colour", "COLOR", 1, frame_start=1, **(
        {"length": 20} if bpy.app.version >= (5, 0) else {"frame_end": 20}))


def compositing():
    scene = bpy.context.scene
    if hasattr(scene, "compositing_node_group"):
        scene.compositing_node_group = bpy.data.node_groups.new("keying", "CompositorNodeTree")
    else:
        scene.use_nodes = True


def result_that_the_user_placed():
    """An earlier result, moved by its root."""
    bpy.data.objects["earlier Root"].location.y = 5


TOUCHES = [work, moved_cube, sculpted_cube, edited_cube, moved_camera, chosen_camera, keyed_camera, keyed_lens,
           render_size, frame_range, another_frame, marker, strip, compositing]


def test_the_default_scene_is_set_up_and_its_viewports_look_through_the_camera(add_to_default):
    added = add_to_default()
    scene, layer = bpy.context.scene, bpy.context.view_layer
    assert is_set_up(added.mesh) and scene.camera == added.camera
    assert (scene.frame_start, scene.frame_end, scene.frame_current) == (11, 15, 11)
    assert (scene.render.resolution_x, scene.render.resolution_y) == (160, 120)
    assert layer.objects.active == added.mesh and list(layer.objects.selected) == [added.mesh]
    assert set(views()) == {"CAMERA"}


def test_it_is_done_once(add_to_default):
    add_to_default()
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.spaces.active.region_3d.view_perspective = "PERSP"
    bpy.context.scene.frame_set(13)
    work()
    before = settings()
    add_to_default(wobbling_ball(range(105, 108)))
    assert settings() == before


@pytest.mark.parametrize("touch", TOUCHES)
def test_where_the_user_works_on_something_else_all_stays_as_it_is(add_to_default, touch):
    touch()
    before = settings()
    added = add_to_default()
    try:
        assert settings() == before and not is_set_up(added.mesh)
        bpy.context.scene.frame_set(0)
        for frame, vertices in zip(added.frames, added.result.vertices, strict=True):
            there = world_vertices(added.mesh, frame) - np.array(added.root.location)
            assert np.abs(there - vertices).max() < 1e-4, "it moves at the frames of the clip"
    finally:
        if bpy.context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize("touch", TOUCHES)
def test_set_up_scene_takes_it_all_the_same(add_to_default, touch):
    touch()
    editing = bpy.context.mode
    added = add_to_default(set_up_scene=True)
    scene = bpy.context.scene
    try:
        assert scene.camera == added.camera and is_set_up(added.mesh) and set(views()) == {"CAMERA"}
        assert (scene.frame_start, scene.frame_end) == (11, 15) and 11 <= scene.frame_current <= 15
        assert (scene.render.resolution_x, scene.render.resolution_y) == (160, 120)
        assert bpy.context.mode == editing
        assert (bpy.context.view_layer.objects.active == added.mesh) == (editing == "OBJECT")
    finally:
        if bpy.context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")


def test_earlier_results_do_not_count_as_something_else(add_to_default):
    first = add_to_default()
    bpy.context.scene.frame_set(13)
    second = add_to_default(wobbling_ball(range(106, 112), focal=(300, 200)))
    scene = bpy.context.scene
    assert scene.camera == second.camera and (scene.frame_start, scene.frame_end) == (12, 17)
    assert scene.frame_current == 13, "it lies in the new range"
    bpy.data.batch_remove([*first.mesh.users_collection[0].objects, *second.mesh.users_collection[0].objects])
    third = add_to_default()
    assert scene.camera == third.camera, "settings that a result has set are not the user's"


def test_an_earlier_result_that_the_user_placed_does(add_to_default):
    first = add_to_default(name="earlier")
    result_that_the_user_placed()
    before = settings()
    second = add_to_default()
    assert settings() == before and is_set_up(first.mesh) and not is_set_up(second.mesh)


def test_a_frame_of_the_clip_at_which_the_user_looks_stays(add_to_default):
    bpy.context.scene.frame_set(14)
    added = add_to_default()
    assert is_set_up(added.mesh) and bpy.context.scene.frame_current == 14


def test_in_a_scene_left_as_it_is_the_camera_still_films_the_body_over_the_footage(add_to_default):
    render_size()
    added = add_to_default()
    render, frame = bpy.context.scene.render, added.frames[1]
    seen = seen_pixels(added.camera, frame, world_vertices(added.mesh, frame))
    wide, high = added.result.image_size
    middle = np.array([render.resolution_x, render.resolution_y]) / 2
    expected = middle + (added.result.projected()[1] - np.array([wide, high]) / 2) * render.resolution_x / wide
    assert np.abs(seen - expected).max() < 0.05
    (behind,) = added.camera.data.background_images
    assert behind.frame_method == "CROP", "as wide as the picture"


def test_asked_for_by_the_user_it_is_selected_and_nothing_else_changes(add_to_default):
    work()
    before = settings()
    added = add_to_default(select=True)
    assert bpy.context.selected_objects == [added.mesh] == [bpy.context.view_layer.objects.active]
    after = settings()
    assert after[:11] == before[:11] and after[13:] == before[13:]


def test_a_rate_of_the_users_own_is_kept_from_a_movie_and_in_no_sequences_way(add_to_default, tmp_path):
    bpy.context.scene.render.fps = 60
    assert is_set_up(add_to_default().mesh) and bpy.context.scene.render.fps == 60
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    bpy.context.scene.render.fps = 60
    clip = bpy.data.movieclips.load(str(make_movie(tmp_path / "a.mp4", count=5, fps=30)))
    save_texture(tmp_path)
    before = settings()
    add_result(bpy.context, clip, wobbling_ball(range(5), size=(64, 48)), tmp_path, "movie")
    assert settings() == before


def test_a_failure_takes_back_what_was_set_up(add_to_default, monkeypatch):
    before = settings()
    monkeypatch.setattr("video_mesh_reconstruction.scene.result.select_alone", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add_to_default()
    assert settings() == before and SETTINGS_KEY not in bpy.context.scene
