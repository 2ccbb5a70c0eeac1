"""What the report says of a result stays with its mesh, and the user gets from one doubtful frame to the next."""

import json
from types import SimpleNamespace

import bpy
import pytest

SENTENCE = "Use this result with care: 2 of 5 frames are doubtful. Look at these frames before you use them."
REPORT = {
    "verdict": {"trust": "careful", "sentence": SENTENCE}, "doubtful_frames": [4, 6],
    "frames": [{"frame": 3, "doubts": []}, {"frame": 4, "doubts": ["the camera jumps"]},
               {"frame": 6, "doubts": ["blurred", "cut off by the left border"]}],
}


@pytest.fixture
def reported(backend):
    (backend.folder / "result" / "report.json").write_text(json.dumps(REPORT), encoding="utf-8")
    return backend


def frames_of(result):
    return [(doubt.frame, doubt.reasons) for doubt in result.doubts]


def added():
    return bpy.data.objects["walk"].vmr_result


def check_added(shift):
    result = added()
    assert (result.trust, result.verdict) == ("CAREFUL", SENTENCE)
    assert frames_of(result) == [
        (4 + shift, "the camera jumps"), (6 + shift, "blurred; cut off by the left border")]


@pytest.fixture(params=["reconstruct", "load_result", "load_recent"])
def way(request, extension, reported, footage):
    """Each way by which a result comes into the scene; number 3 is shown at scene frame 21."""
    footage.frame_start = 21
    bpy.ops.vmr.reconstruct()
    if request.param == "reconstruct":
        return
    bpy.data.batch_remove(list(bpy.data.objects))
    (folder,) = extension.module("jobs.folder").finished(extension.module("preferences").jobs_folder())
    if request.param == "load_result":
        bpy.ops.vmr.load_result(directory=str(folder))
    else:
        bpy.ops.vmr.load_recent(job=str(folder))


def test_a_result_keeps_its_verdict_at_the_scene_s_frames(way):
    check_added(18)


def test_it_is_saved_with_the_file(extension, reported, footage, tmp_path):
    bpy.ops.vmr.reconstruct()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "kept.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert "walk" not in bpy.data.objects
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "kept.blend"))
    check_added(-2)
    bpy.ops.vmr.doubtful_frame()
    assert bpy.context.scene.frame_current == 2


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_without_a_verdict_in_the_report_a_result_is_added_all_the_same(extension, backend, footage, text):
    if text is not None:
        (backend.folder / "result" / "report.json").write_text(text)
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    assert added().trust == "UNKNOWN" and not added().doubts
    assert not bpy.ops.vmr.doubtful_frame.poll()


def test_the_next_and_the_one_before_are_found_from_any_frame(extension, reported, footage):
    bpy.ops.vmr.reconstruct()       # frames 3 to 7 at scene frames 1 to 5: doubtful are 2 and 4
    scene = bpy.context.scene
    for now, forward, there in [(1, True, 2), (2, True, 4), (3, True, 4), (5, False, 4), (4, False, 2), (3, False, 2),
                                (-10, True, 2), (900, False, 4)]:
        scene.frame_set(now)
        assert bpy.ops.vmr.doubtful_frame(next=forward) == {"FINISHED"}
        assert scene.frame_current == there
    for now, forward in [(4, True), (5, True), (2, False), (1, False)]:
        scene.frame_set(now)
        assert bpy.ops.vmr.doubtful_frame(next=forward) == {"CANCELLED"} and scene.frame_current == now


def test_the_button_is_grey_where_nothing_is_doubtful(extension, reported, footage):
    assert not bpy.ops.vmr.doubtful_frame.poll()
    bpy.ops.vmr.reconstruct()
    assert bpy.ops.vmr.doubtful_frame.poll()
    bpy.context.view_layer.objects.active = bpy.context.scene.camera
    assert bpy.ops.vmr.doubtful_frame.poll(), "the camera of the result stands for it"
    bpy.context.view_layer.objects.active = bpy.context.scene.camera.parent
    assert bpy.ops.vmr.doubtful_frame.poll(), "and so does its root"
    added().doubts.clear()
    assert not bpy.ops.vmr.doubtful_frame.poll()
    with pytest.raises(RuntimeError, match="No result with doubtful frames"):
        bpy.ops.vmr.doubtful_frame()


@pytest.fixture
def editor():
    """A Movie Clip Editor in the window of a started Blender, to be the context's."""
    window = bpy.context.window_manager.windows[0]
    area = max(window.screen.areas, key=lambda area: area.width * area.height)
    before, area.type = area.type, "CLIP_EDITOR"
    yield SimpleNamespace(window=window, area=area, space=area.spaces.active)
    area.type = before


def inside(editor):
    return bpy.context.temp_override(window=editor.window, area=editor.area, region=editor.area.regions[-1])


def test_a_movie_clip_editor_goes_along_wherever_the_button_is_pressed(extension, reported, footage, editor):
    bpy.ops.vmr.reconstruct()
    scene, editor.space.clip = bpy.context.scene, footage
    scene.frame_set(1)
    bpy.ops.vmr.doubtful_frame()
    assert (scene.frame_current, editor.space.clip_user.frame_current) == (2, 2)
    with inside(editor):
        bpy.ops.vmr.doubtful_frame()
    assert (scene.frame_current, editor.space.clip_user.frame_current) == (4, 4)


def test_in_a_movie_clip_editor_the_way_begins_at_its_own_frame(extension, reported, footage, editor):
    bpy.ops.vmr.reconstruct()
    scene, editor.space.clip = bpy.context.scene, footage
    scene.frame_set(1)
    editor.space.clip_user.frame_current = 3  # as after a script's frame_set, which it does not follow
    with inside(editor):
        bpy.ops.vmr.doubtful_frame()
        assert (scene.frame_current, editor.space.clip_user.frame_current) == (4, 4)
        scene.frame_set(1)
        bpy.ops.vmr.doubtful_frame(next=False)
        assert (scene.frame_current, editor.space.clip_user.frame_current) == (2, 2)


def test_an_editor_in_a_window_of_another_scene_stays(extension, reported, footage, editor):
    bpy.ops.vmr.reconstruct()
    scene = bpy.context.scene
    scene.frame_set(1)
    editor.window.scene = bpy.data.scenes.new("other")
    editor.space.clip_user.frame_current = 5
    with bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
        bpy.ops.vmr.doubtful_frame()
    assert (scene.frame_current, editor.space.clip_user.frame_current) == (2, 5)


def test_a_hint_belongs_to_the_frame_that_the_editor_shows(extension, footage, editor):
    scene, editor.space.clip = bpy.context.scene, footage
    scene.frame_set(1)
    editor.space.clip_user.frame_current = 3
    with inside(editor):
        bpy.ops.vmr.add_hint()
    assert bpy.context.view_layer.objects.active.name == "Facing 3"
