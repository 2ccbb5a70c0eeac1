"""Hints: what the user's arrows say of the subject, whatever the camera and the scene do."""

import math

import bpy
import numpy as np
import pytest
from blender_clips import make_images
from mathutils import Euler, Matrix, Vector
from video_mesh_reconstruction.scene.hints import add_hint, facings, hints_in
from video_mesh_reconstruction.scene.result import add_result
from video_mesh_reconstruction.vmr_backend.job import BadInput, JobRequest, facing
from wobbling_ball import save_texture, wobbling_ball


@pytest.fixture
def clip(empty_file, tmp_path):
    found = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", range(105, 115), size=(320, 240))))
    found.frame_start = 11
    return found


def hint_at(frame, clip, degrees=90.0):
    bpy.context.scene.frame_set(frame)
    return add_hint(bpy.context, clip, degrees, 30.0)


def said(clip):
    return facings(bpy.context.scene, clip)


def assert_same(found, expected):
    assert [entry.frame for entry in found] == [entry.frame for entry in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.rotation, other.rotation, atol=1e-5)


@pytest.mark.parametrize("degrees", [0, 90, -60, 180])
def test_a_hint_says_what_it_was_added_with(clip, degrees):
    hint_at(13, clip, degrees)
    assert_same(said(clip), [facing(107, degrees)])
    JobRequest("/fox.mp4", hints=said(clip)).check()


def test_the_arrow_points_where_the_subject_faces_in_the_picture(clip):
    hint = hint_at(13, clip, 90)
    bpy.context.view_layer.update()
    np.testing.assert_allclose(hint.matrix_world.to_3x3().col[2], (1, 0, 0), atol=1e-6)
    hint_at(14, clip, 0)
    bpy.context.view_layer.update()
    np.testing.assert_allclose(bpy.context.object.matrix_world.to_3x3().col[2], (0, -1, 0), atol=1e-6)


def test_turning_the_arrow_about_the_vertical_turns_the_subject(clip):
    hint = hint_at(13, clip, 90)
    bpy.context.view_layer.update()
    # Seen from above, against the clock: from the right of the picture away from the camera.
    hint.matrix_world = Matrix.Rotation(math.radians(30), 4, "Z") @ hint.matrix_world
    assert_same(said(clip), [facing(107, 120)])


def test_a_hint_belongs_to_the_camera_it_was_set_through(clip):
    hint = hint_at(13, clip, 40)
    camera = hint.parent
    camera.rotation_euler, camera.location = Euler((1.1, 0.2, 2.0)), (3, 4, 5)
    other = bpy.data.objects.new("other", bpy.data.cameras.new("other"))
    other.rotation_euler = (0.3, 0, 0)
    bpy.context.scene.collection.objects.link(other)
    bpy.context.scene.camera = other
    assert_same(said(clip), [facing(107, 40)])


def test_the_scenes_camera_counts_where_a_hint_has_none(clip):
    hint = hint_at(13, clip, 40)
    bpy.context.view_layer.update()
    world = hint.matrix_world.copy()
    hint.parent = None
    hint.matrix_world = world
    assert_same(said(clip), [facing(107, 40)])
    bpy.context.scene.camera = None
    with pytest.raises(BadInput, match="hint Facing 13: found no camera"):
        said(clip)


def test_a_moving_camera_is_taken_as_it_stands_at_the_hints_frame(clip):
    first = hint_at(13, clip, 0)
    camera = first.parent
    first.parent = None
    for frame, angle in ((11, 0.0), (21, 1.0)):
        camera.rotation_euler[2] = angle
        camera.keyframe_insert("rotation_euler", frame=frame)
    first.matrix_world = Matrix.Rotation(math.pi / 2, 4, "X")
    bpy.context.scene.frame_set(13)
    angle = camera.rotation_euler[2]
    assert 0.05 < angle < 0.5
    bpy.context.scene.frame_set(20)
    # The camera turns to the left, so the subject turns to the right before it.
    assert_same(said(clip), [facing(107, math.degrees(-angle))])
    assert bpy.context.scene.frame_current == 20


def test_each_key_of_a_hint_is_one(clip):
    hint = hint_at(13, clip, 0)
    hint.rotation_mode = "XYZ"
    for frame, degrees in ((12, 10), (16, 50), (20, -30)):
        # The default camera's y is up: turning about it turns the arrow to the right of the picture.
        hint.rotation_euler = (0, math.radians(degrees), 0)
        hint.keyframe_insert("rotation_euler", frame=frame)
    assert_same(said(clip), [facing(106, 10), facing(110, 50), facing(114, -30)])


def test_hints_are_told_by_frame_and_belong_to_their_clip(clip, tmp_path):
    other = bpy.data.movieclips.load(str(make_images(tmp_path / "other", range(3))))
    hint_at(20, clip, 10)
    hint_at(13, clip, 20)
    hint_at(2, other, 30)
    assert [hint.name for hint in hints_in(bpy.context.scene, clip)] == ["Facing 13", "Facing 20"]
    assert_same(said(clip), [facing(107, 20), facing(114, 10)])
    assert_same(said(other), [facing(1, 30)])


def test_two_hints_at_a_frame_are_refused(clip):
    hint_at(13, clip)
    hint_at(13, clip)
    with pytest.raises(BadInput, match="hints: found two at frame 13"):
        said(clip)


def test_a_hint_is_seen_whole_in_the_picture(clip):
    from bpy_extras.object_utils import world_to_camera_view

    data = bpy.data.cameras.new("long lens")
    data.lens = 200
    camera = bpy.data.objects.new("long lens", data)
    camera.location, camera.rotation_euler = (9, 0, 1), (math.pi / 2, 0, math.pi / 2)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    bpy.context.view_layer.update()
    hint = hint_at(13, clip, 90)
    bpy.context.view_layer.update()
    assert hint.parent == camera
    tail, tip = hint.matrix_world.translation, hint.matrix_world @ Matrix.Translation(
        (0, 0, hint.empty_display_size)).translation
    seen = [world_to_camera_view(bpy.context.scene, camera, point) for point in (tail, tip)]
    assert all(0.2 < x < 0.8 and 0.2 < y < 0.8 for x, y, _ in seen) and seen[1][0] - seen[0][0] > 0.1
    assert seen[0][2] == pytest.approx(9, abs=0.01)


def test_without_a_camera_one_with_the_clip_behind_it_is_made(clip):
    hint = hint_at(13, clip)
    camera = bpy.context.scene.camera
    assert hint.parent == camera and camera.data.background_images[0].clip == clip
    assert math.degrees(camera.data.angle_x) == pytest.approx(30)
    hint_at(15, clip)
    assert len(bpy.data.cameras) == 1 and bpy.context.view_layer.objects.active.name == "Facing 15"


def test_through_a_results_camera_it_stands_at_the_result_wherever_that_is(clip, tmp_path):
    result = wobbling_ball(range(105, 110), size=(320, 240), centre=(160, 120))
    save_texture(tmp_path)
    bpy.context.scene.cursor.location = 5, 6, 7
    mesh = add_result(bpy.context, clip, result, tmp_path, "ball")
    mesh.parent.scale = 2, 2, 2
    bpy.context.view_layer.update()
    hint = hint_at(13, clip, 40)
    bpy.context.view_layer.update()
    assert hint.parent == bpy.context.scene.camera and (hint.matrix_world.translation - Vector((5, 6, 7))).length < 0.01
    assert_same(said(clip), [facing(107, 40)])
