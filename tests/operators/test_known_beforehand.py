"""Hints, lens and solve on their way from the scene into the request."""

import math
import os

import bpy
import numpy as np
import pytest
from blender_clips import make_movie
from model_files import save_model
from solved_clip import make_solve
from test_reconstruct import error_of, request_in


def turning(job, count):
    return np.array([np.reshape(job.facing(0, 8 * t).rotation, (3, 3)) for t in range(count)])


@pytest.fixture
def job(extension):
    return extension.module("vmr_backend.job")


def test_hints_reach_the_backend(extension, backend, footage, job):
    scene = bpy.context.scene
    for frame, degrees in ((2, 90), (5, -30)):
        scene.frame_set(frame)
        assert bpy.ops.vmr.add_hint(facing=math.radians(degrees)) == {"FINISHED"}
    bpy.ops.vmr.reconstruct()
    found = request_in(extension).hints
    assert [hint.frame for hint in found] == [4, 7], "the clip's first image is number 3, at scene frame 1"
    for hint, degrees in zip(found, (90, -30), strict=True):
        np.testing.assert_allclose(hint.rotation, job.facing(0, degrees).rotation, atol=1e-5)


def test_without_hints_lens_and_solve_nothing_is_known(extension, backend, footage):
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert (request.hints, request.camera_solve, request.focal_length, request.principal_point) == (None,) * 4
    assert (request.subject, request.box, request.at) == (None,) * 3


def test_the_shape_of_pixels_and_what_is_shown_of_a_movie_reach_the_backend(extension, backend, footage, tmp_path, job):
    request_of = extension.module("operators.request").request_of
    footage.display_aspect = 16, 11
    bpy.context.scene.vmr.clip = footage
    request = request_of(bpy.context, footage)
    assert (request.pixel_aspect, request.shown) == (pytest.approx(16 / 11), None)
    movie = bpy.data.movieclips.load(str(make_movie(tmp_path / "run.mp4", count=6, fps=30, fps_base=1.001)))
    request = request_of(bpy.context, movie)
    assert (request.pixel_aspect, request.first, request.last) == (1, 0, 5)
    assert request.shown.fps == pytest.approx(30 / 1.001) and request.shown.frames == 6
    request.save(tmp_path / "job")
    assert job.JobRequest.load(tmp_path / "job") == request


def test_the_clips_lens_is_taken_where_the_user_says_so(extension, backend, footage):
    bpy.data.movieclips[0].vmr.use_clip_lens = True
    camera = footage.tracking.camera
    camera.sensor_width, camera.focal_length, camera.principal_point_pixels = 36, 45, (30, 30)
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert request.focal_length == pytest.approx(45 * 64 / 36, rel=1e-5)
    assert request.principal_point == pytest.approx([30, 18])


@pytest.mark.parametrize("wanted", [True, False])
def test_a_solve_is_taken_with_its_lens_unless_the_user_says_no(extension, backend, footage, job, wanted):
    bpy.data.movieclips[0].vmr.use_camera_solve = wanted
    make_solve(footage, turning(job, 5), "fox")
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    if not wanted:
        assert request.camera_solve is None and request.focal_length is None
        return
    assert [one.frame for one in request.camera_solve] == [3, 4, 5, 6, 7]
    assert request.focal_length == pytest.approx(50 * 64 / 36, rel=1e-3)


def test_the_chosen_subject_reaches_the_backend(extension, backend, footage):
    props = bpy.context.scene.vmr
    props.subject_by, props.subject = "LABEL", 3
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert (request.subject, request.box, request.at) == (3, None, None)


def test_the_box_reaches_the_backend_with_its_frame(extension, backend, footage):
    props = bpy.context.scene.vmr
    props.subject_by, props.box, props.box_frame = "BOX", (5, 6, 20, 10), 3
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert (request.subject, request.box, request.at) == (None, [5, 6, 20, 10], 5)


def test_a_box_without_a_size_is_refused(extension, backend, footage):
    bpy.context.scene.vmr.subject_by = "BOX"
    assert "box: found [0.0, 0.0, 0.0, 0.0], needs left, top, width, height" in error_of(bpy.ops.vmr.reconstruct)


def test_adding_a_hint_is_one_undo_step(extension, footage, untouched):
    bpy.ops.ed.undo_push(message="before")
    before = untouched()
    bpy.ops.vmr.add_hint("EXEC_DEFAULT", True)
    assert {"Facing 1", "Footage Camera"} <= set(bpy.data.objects.keys())
    bpy.ops.ed.undo()
    assert untouched() == before


def test_removing_takes_the_selected_hints_or_the_one_at_this_frame(extension, footage):
    scene = bpy.context.scene
    for frame in (1, 2, 3):
        scene.frame_set(frame)
        bpy.ops.vmr.add_hint()
    for hint in bpy.context.selected_objects:
        hint.select_set(False)
    scene.frame_set(2)
    assert bpy.ops.vmr.remove_hint() == {"FINISHED"}
    assert "Facing 2" not in bpy.data.objects
    assert "No hint is selected, and none is at frame 2" in error_of(bpy.ops.vmr.remove_hint)
    bpy.data.objects["Facing 3"].select_set(True)
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.vmr.remove_hint("EXEC_DEFAULT", True)
    assert "Facing 3" not in bpy.data.objects and "Facing 1" in bpy.data.objects
    bpy.ops.ed.undo()
    assert "Facing 3" in bpy.data.objects
    bpy.data.objects["Facing 1"].select_set(True)
    bpy.ops.vmr.remove_hint()
    assert "There are no hints" in error_of(bpy.ops.vmr.remove_hint)


def test_a_frame_has_one_hint_and_a_clip_is_needed(extension, footage):
    bpy.ops.vmr.add_hint()
    assert "Frame 1 has a hint already" in error_of(bpy.ops.vmr.add_hint)
    bpy.data.objects.remove(bpy.data.objects["Facing 1"])
    bpy.data.movieclips.remove(footage)
    assert "Open a movie clip first" in error_of(bpy.ops.vmr.add_hint)


def test_hints_and_choices_are_saved_with_the_file(extension, backend, footage, tmp_path):
    bpy.ops.vmr.add_hint(facing=0.5)
    bpy.context.scene.vmr.subject_by = "BOX"
    bpy.context.scene.vmr.box = (1, 2, 30, 40)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert [hint.frame for hint in request.hints] == [3] and request.box == [1, 2, 30, 40]


@pytest.mark.parametrize(("method", "start", "expected"), [
    ("lasr", False, (False, False)), ("lasr", True, (True, False)), ("vmr", False, (True, True))])
def test_a_run_starts_from_what_the_other_method_knows_where_the_user_says_so(extension, backend, footage, tmp_path,
                                                                              method, start, expected):
    props, model = bpy.context.scene.vmr, save_model(tmp_path / "goat.safetensors")
    props.method, props.model, props.start_shape = method, str(model), str(tmp_path)
    props.start_model = str(model) if start else ""
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert (request.model == str(model), request.shape is not None) == expected
    assert request.shape is None or os.path.samefile(request.shape, tmp_path)


def test_a_model_to_start_from_that_is_not_there_is_refused(extension, backend, footage):
    bpy.context.scene.vmr.method, bpy.context.scene.vmr.start_model = "lasr", "unicorn"
    assert "found no category model 'unicorn'" in error_of(bpy.ops.vmr.reconstruct)
