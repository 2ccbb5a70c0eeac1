"""The Reconstruct operator in a real Blender, with a backend whose answers are known."""

import bpy
import numpy as np
import pytest


def error_of(operator, *arguments, **options) -> str:
    with pytest.raises(RuntimeError) as error:
        operator(*arguments, **options)
    return str(error.value).strip()


def request_in(extension):
    """The only job's request."""
    (path,) = extension.module("preferences").jobs_folder().glob("*/job.json")
    return extension.module("vmr_backend.job").JobRequest.load(path.parent)


def test_a_clip_becomes_a_mesh_that_moves_as_the_result(extension, backend, footage):
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    mesh = bpy.context.view_layer.objects.active
    assert mesh.name == "walk"
    # The clip's first image is shown at scene frame 1.
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (1, 5)
    for index, expected in enumerate(backend.result.vertices):
        bpy.context.scene.frame_set(1 + index)
        evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
        found = np.empty(expected.size, np.float32)
        evaluated.data.vertices.foreach_get("co", found)
        np.testing.assert_allclose(found.reshape(-1, 3), expected, atol=1e-4)


def test_the_backend_gets_what_the_scene_says(extension, backend, footage, tmp_path):
    props = bpy.context.scene.vmr
    props.preset, props.seed = "preview", 7
    props.settings.bones, props.settings.weight_arap = 9, 0.25
    extension.preferences.device, extension.preferences.renderer = "cpu", "pytorch3d"
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert (request.clip, request.masks) == (str(tmp_path / "walk"), str(tmp_path / "walk masks"))
    assert (request.first, request.last, len(request.files)) == (3, 7, 5)
    assert (request.method, request.preset, request.device, request.seed) == ("auto", "preview", "cpu", 7)
    assert request.renderer == "pytorch3d"
    assert request.settings == {"bones": 9, "weight_arap": 0.25}


def test_an_image_of_the_masks_stands_for_their_folder(extension, backend, footage, tmp_path):
    footage.vmr.inputs.masks = str(tmp_path / "walk masks" / "f_0004.png")
    bpy.ops.vmr.reconstruct()
    assert request_in(extension).masks == str(tmp_path / "walk masks")


def test_the_scenes_range_chooses_frames(extension, backend, footage):
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end, scene.vmr.use_scene_range = 2, 4, True
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert (request.first, request.last) == (4, 6)


def test_warnings_of_the_run_are_shown(extension, backend, footage):
    bpy.ops.vmr.reconstruct()
    activity = extension.module("properties").reconstruction_activity
    ended = activity.ended[footage.session_uid]
    assert (ended.text, ended.state) == ("Added walk: 5 frames", "DONE")
    assert ended.warnings == ["frame 5: the subject is cut off"] and not activity.running


def test_one_undo_step_takes_all_back(extension, backend, footage, untouched):
    bpy.ops.ed.undo_push(message="before")
    before = untouched()
    bpy.ops.vmr.reconstruct("EXEC_DEFAULT", True)
    assert "walk" in bpy.data.objects
    bpy.ops.ed.undo()
    assert untouched() == before


def test_a_stopped_run_goes_on_and_can_be_started_over(extension, backend, footage):
    backend.behave("stop with a checkpoint")
    assert "out of memory" in error_of(bpy.ops.vmr.reconstruct)
    run = extension.preferences.stopped_run(footage)
    assert run.folder.parent == extension.module("preferences").jobs_folder()
    error_of(bpy.ops.vmr.reconstruct)
    error_of(bpy.ops.vmr.reconstruct, start_over=True)
    bpy.context.scene.vmr.seed = 5
    error_of(bpy.ops.vmr.reconstruct, folder=str(run.folder))
    assert ["--resume" in call for call in backend.calls] == [False, True, False, True]
    bpy.context.scene.vmr.seed = 0
    backend.behave("yield the result")
    bpy.ops.vmr.reconstruct()
    assert extension.preferences.stopped_run(footage) is None


def test_a_finished_result_is_loaded_and_not_made_again_unless_that_is_asked_for(extension, backend, footage):
    bpy.ops.vmr.reconstruct()
    folder = extension.module("jobs.folder").finished(extension.module("preferences").jobs_folder())[0]
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    backend.python.chmod(0o644)
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    ended = extension.module("properties").reconstruction_activity.ended[footage.session_uid]
    assert ended.text == "Added walk.001: 5 frames, the earlier result of the same settings"
    assert "cannot be started" in error_of(bpy.ops.vmr.reconstruct, start_over=True) and len(backend.calls) == 1
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {name: after[name] for name in before if name != "log.txt"} == {
        name: content for name, content in before.items() if name != "log.txt"}


def without_clip(_extension, _backend, clip, _tmp_path):
    bpy.data.movieclips.remove(clip)


def with_lost_file(_extension, _backend, _clip, tmp_path):
    (tmp_path / "walk" / "f_0003.png").unlink()


def with_photographs_without_masks(_extension, _backend, clip, tmp_path):
    bpy.data.movieclips.remove(clip)
    for path in sorted((tmp_path / "walk").glob("*.png")):
        path = path.rename(path.with_suffix(".jpg"))
    bpy.data.movieclips.load(str(path.with_name("f_0003.jpg")))


def with_lost_masks(_extension, _backend, clip, tmp_path):
    clip.vmr.inputs.masks = str(tmp_path / "nowhere")


def with_the_clip_as_masks(_extension, _backend, clip, tmp_path):
    clip.vmr.inputs.masks = str(tmp_path / "walk" / "f_0003.png")


def with_the_other_method(_extension, _backend, _clip, _tmp_path):
    bpy.context.scene.vmr.method = "vmr"


def without_backend(extension, _backend, _clip, _tmp_path):
    extension.preferences.backend_python = ""


def with_an_interpreter_that_is_none(extension, _backend, _clip, tmp_path):
    extension.preferences.backend_python = str(tmp_path / "no python")


def with_an_unwritable_jobs_folder(extension, _backend, _clip, tmp_path):
    (tmp_path / "file").write_text("in the way")
    extension.preferences.jobs_folder = str(tmp_path / "file")


def with_frames_elsewhere(_extension, _backend, _clip, _tmp_path):
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end, scene.vmr.use_scene_range = 50, 60, True


def with_masks_that_the_backend_refuses(_extension, backend, _clip, _tmp_path):
    backend.behave("refuse the masks")


def with_half_a_result(_extension, backend, _clip, _tmp_path):
    backend.behave("yield half a result")


def with_a_backend_that_yields_nothing(_extension, backend, _clip, _tmp_path):
    backend.behave("do nothing")


@pytest.mark.parametrize("trouble, text", [
    (without_clip, "Open a movie clip first"),
    (with_lost_file, "f_0003.png: file of the clip"),
    (with_photographs_without_masks, "masks: none chosen"),
    (with_lost_masks, "nowhere: no such file"),
    (with_the_clip_as_masks, "the clip's own"),
    (with_the_other_method, "Choose a category model first"),
    (without_backend, "Install the backend first"),
    (with_an_interpreter_that_is_none, "no python: cannot be started"),
    (with_an_unwritable_jobs_folder, "cannot be written"),
    (with_frames_elsewhere, "scene frames 50 to 60"),
    (with_masks_that_the_backend_refuses, "masks: all are empty, needs white where the subject is"),
    (with_half_a_result, "reconstruction.npz: cannot be read"),
    (with_a_backend_that_yields_nothing, "reconstruction.npz: not found"),
])
def test_bad_input_gives_one_line_and_leaves_the_scene_untouched(
        extension, backend, footage, untouched, tmp_path, trouble, text):
    trouble(extension, backend, footage, tmp_path)
    before = untouched()
    message = error_of(bpy.ops.vmr.reconstruct)
    assert text in message
    assert "\n" not in message.removeprefix("Error: ")
    assert "Traceback" not in message
    assert untouched() == before
    assert not extension.module("properties").reconstruction_activity.running


def test_the_extensions_own_folder_holds_jobs_by_default(extension, backend, footage):
    extension.preferences.jobs_folder = ""
    bpy.ops.vmr.reconstruct()
    folder = bpy.utils.extension_path_user(extension.name, path="jobs")
    assert str(extension.module("preferences").jobs_folder()) == folder
    assert request_in(extension).first == 3


