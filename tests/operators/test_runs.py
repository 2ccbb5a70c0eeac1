"""Runs that are followed by a timer belong to Blender: not to a window, a file or a clip that is looked at.

Without a window Blender's timers do not fire: the tests give the runs their turns.
"""

import time

import bpy
import pytest
from blender_clips import make_images


class Followed:
    """A reconstruction that was started as with the button."""

    def __init__(self, extension):
        self.runs = extension.module("operators.runs")
        self.activity = extension.module("properties").reconstruction_activity
        run = extension.module("operators.reconstruct").Reconstructing()
        assert run.start(bpy.context) is None
        self.runs.follow(run)

    def until(self, is_so):
        end = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < end
            self.runs._follow_all()
            time.sleep(0.02)

    def until_the_end(self):
        self.until(lambda: not self.activity.running)


@pytest.fixture
def followed(extension, backend, footage):
    backend.behave("wait")
    one = Followed(extension)
    yield one
    one.runs.abandon_all()


def test_the_result_is_one_step_of_undo(extension, backend, footage, untouched):
    bpy.ops.ed.undo_push(message="before")
    before = untouched()
    followed = Followed(extension)
    assert bpy.app.timers.is_registered(followed.runs._follow_all)
    followed.until_the_end()
    assert followed.runs._follow_all() is None, "the timer ends with the last run"
    assert "walk" in bpy.data.objects
    bpy.ops.ed.undo()
    assert untouched() == before
    bpy.ops.ed.redo()
    assert "walk" in bpy.data.objects
    bpy.app.timers.unregister(followed.runs._follow_all)


@pytest.mark.parametrize("mode", ["POSE", "WEIGHT_PAINT", "EDIT", "SCULPT"])
def test_undo_in_other_modes_takes_back_what_the_user_did_last_and_redo_brings_back_all(
        extension, backend, footage, mode):
    if mode == "POSE":
        bpy.ops.object.armature_add(enter_editmode=False)
    else:
        bpy.ops.mesh.primitive_cube_add()
    mine = bpy.context.object.name
    bpy.ops.object.mode_set(mode=mode)
    bpy.ops.ed.undo_push(message="before")
    followed = Followed(extension)
    followed.until_the_end()
    bpy.app.timers.unregister(followed.runs._follow_all)
    assert bpy.context.object.name == mine and bpy.context.object.mode == mode, "the user goes on"
    bpy.context.scene.frame_end = 77
    bpy.ops.ed.undo_push(message="the user's next step")
    bpy.ops.ed.undo()
    assert "walk" in bpy.data.objects and bpy.context.object.mode == mode
    bpy.ops.ed.undo()
    bpy.ops.ed.redo()
    assert "walk" in bpy.data.objects


def test_another_file_lets_it_go_on_and_its_result_is_offered(extension, backend, footage, tmp_path):
    backend.behave("leave a snapshot and yield the result")
    (backend.folder / "snapshot.npz").write_bytes((backend.folder / "result" / "reconstruction.npz").read_bytes())
    followed = Followed(extension)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    followed.until_the_end()
    assert followed.activity.last.state == "DONE" and not bpy.data.objects and not bpy.data.movieclips
    ((folder, name),) = followed.activity.waiting.items()
    assert name == "walk"
    assert bpy.ops.vmr.load_result(directory=folder) == {"FINISHED"}
    assert "walk" in bpy.data.objects and len(bpy.data.movieclips) == 1 and not followed.activity.waiting


def test_a_scene_removed_meanwhile_leaves_the_result_to_be_loaded_into_another(extension, backend, footage):
    bpy.ops.scene.new(type="EMPTY")
    bpy.context.scene.vmr.clip = footage
    followed = Followed(extension)
    bpy.ops.scene.delete()
    followed.until_the_end()
    ((folder, _),) = followed.activity.waiting.items()
    assert "walk" not in bpy.data.objects and bpy.ops.vmr.load_result(directory=folder) == {"FINISHED"}
    assert followed.activity.ended[footage.session_uid].text == "Added walk: 5 frames"
    bpy.app.timers.unregister(followed.runs._follow_all)


def test_a_clip_that_shows_other_footage_by_then_gets_no_result_of_it(extension, backend, footage, tmp_path):
    followed = Followed(extension)
    footage.filepath = str(make_images(tmp_path / "run", range(3, 8)))
    followed.until_the_end()
    assert list(followed.activity.waiting.values()) == ["walk"] and not bpy.data.objects
    bpy.app.timers.unregister(followed.runs._follow_all)


def test_masks_of_other_footage_than_the_clip_shows_by_then_are_not_its_own(extension, backend, footage, tmp_path):
    bpy.ops.vmr.mark_box(box=(10, 8, 30, 20))
    run = extension.module("operators.masks").FindingMasks()
    assert run.start(bpy.context) is None
    footage.filepath = str(make_images(tmp_path / "run", range(3, 8)))
    while run.activity.child.running:
        time.sleep(0.02)
    ended = run.end(bpy.context)
    assert ended.state == "FAILED" and "its masks are in" in ended.text
    assert footage.vmr.subjects[0].inputs.masks == str(tmp_path / "walk masks")


def test_disabling_the_extension_ends_it_and_clears_what_it_showed(followed, extension):
    child = followed.activity.child
    for workspace in bpy.data.workspaces:
        workspace.status_text_set("Draw Box: drag around the subject")
    operators = extension.module("operators")
    operators.unregister()
    try:
        assert child.cancelled and child.returncode is not None and not followed.activity.running
        assert not bpy.app.timers.is_registered(followed.runs._follow_all)
    finally:
        operators.register()


def test_an_installation_that_is_cancelled_does_not_count_as_done(extension, monkeypatch):
    runs, backend = extension.module("operators.runs"), extension.module("operators.backend")
    run = backend.Installing()
    assert run.start(bpy.context) is None
    assert bpy.ops.vmr.cancel_backend() == {"FINISHED"}
    end = time.monotonic() + 30
    while run.turn():
        assert time.monotonic() < end
    assert (run.activity.last.text, run.activity.last.state) == ("Installation cancelled", "CANCELLED")
    assert extension.module("panels.text").ICONS["CANCELLED"] != "CHECKMARK" and not runs._followed


def test_masks_belong_to_their_clip_and_to_its_subject(extension, backend, footage, tmp_path):
    other = bpy.data.movieclips.load(str(make_images(tmp_path / "run", range(3))))
    scene, inputs_of = bpy.context.scene, extension.module("properties").inputs_of
    scene.vmr.clip = other
    assert extension.module("operators.request").request_of(bpy.context, other).masks is None
    scene.vmr.clip = footage
    assert inputs_of(footage).masks == str(tmp_path / "walk masks") and not inputs_of(other).masks
    bpy.ops.vmr.add_subject(name="Fox")
    assert inputs_of(footage).masks == str(tmp_path / "walk masks"), "the first subject is whom they were chosen for"
    bpy.ops.vmr.add_subject(name="Hen")
    assert not inputs_of(footage).masks
    inputs_of(footage).masks = str(tmp_path / "hen masks")
    footage.vmr.active = 0
    assert inputs_of(footage).masks == str(tmp_path / "walk masks")


def test_what_files_of_before_kept_with_the_scene_goes_to_its_clip(extension, footage, tmp_path):
    scene, other = bpy.context.scene, bpy.data.movieclips.load(str(make_images(tmp_path / "run", range(3))))
    scene.vmr.masks, scene.vmr.subject_by, scene.vmr.box = str(tmp_path / "old"), "BOX", (1, 2, 30, 40)
    scene.vmr.use_clip_lens = True
    assert footage.vmr.inputs.masks == str(tmp_path / "walk masks") and not other.vmr.inputs.masks, "it may be either's"
    scene.vmr.clip = footage
    footage.vmr.property_unset("inputs")
    footage.use_fake_user = other.use_fake_user = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "old.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "old.blend"))
    walk, run = bpy.data.movieclips["f_0003.png"], bpy.data.movieclips["f_0000.png"]
    assert (walk.vmr.inputs.masks, walk.vmr.inputs.subject_by, walk.vmr.use_clip_lens) == (
        str(tmp_path / "old"), "BOX", True)
    assert tuple(walk.vmr.inputs.box) == (1, 2, 30, 40) and not run.vmr.inputs.masks and not run.vmr.use_clip_lens
    assert not bpy.context.scene.vmr.masks


def test_masks_that_were_found_tell_whose_they_are(extension, footage, tmp_path):
    other = bpy.data.movieclips.load(str(make_images(tmp_path / "run", range(3))))
    bpy.context.scene.vmr.masks = str(tmp_path / "run masks" / "Fox" / "masks")
    assert other.vmr.inputs.masks.endswith("masks") and not bpy.context.scene.vmr.masks


def test_scenes_that_asked_otherwise_of_one_clip_make_subjects_of_it(extension, footage, tmp_path):
    properties = extension.module("properties")
    footage.use_fake_user = True
    footage.vmr.property_unset("inputs")
    for name, label in (("Scene", 2), ("Second", 3)):
        scene = bpy.data.scenes.get(name) or bpy.data.scenes.new(name)
        kept = scene.vmr
        kept["clip"], kept["masks"], kept["subject"] = footage, str(tmp_path / name), label
    properties._on_load()
    kept = {one.name: (one.inputs.masks, one.inputs.subject) for one in footage.vmr.subjects}
    assert kept == {"Subject": (str(tmp_path / "Scene"), 2), "Second": (str(tmp_path / "Second"), 3)}
    properties._on_load()
    assert len(footage.vmr.subjects) == 2 and not properties.held_inputs(bpy.data.scenes["Second"])


def test_masks_that_were_found_are_their_subjects_own(extension, footage, tmp_path):
    for name in ("Fox", "Hen"):
        bpy.ops.vmr.add_subject(name=name)
        subject = footage.vmr.subjects[name]
        subject.inputs.property_unset("masks")
        subject.folder, subject.found = str(tmp_path / "walk masks" / name), 5
    scene = bpy.context.scene
    scene.vmr["masks"] = str(tmp_path / "walk masks" / "Fox" / "masks")
    extension.module("properties")._on_load()
    assert {one.name: one.inputs.masks for one in footage.vmr.subjects} == {
        name: str(tmp_path / "walk masks" / name / "masks") for name in ("Fox", "Hen")}
    footage.vmr.subjects["Hen"].inputs.masks = ""
    extension.module("properties")._on_load()
    assert not footage.vmr.subjects["Hen"].inputs.masks, "taken out by the user, they stay out"


def test_what_nobody_can_say_the_clip_of_is_used_for_none_until_the_user_says_so(extension, footage, tmp_path):
    other = bpy.data.movieclips.load(str(make_images(tmp_path / "run", range(3))))
    scene = bpy.context.scene
    scene.vmr.masks = str(tmp_path / "old")
    scene.vmr.clip = other
    assert bpy.ops.vmr.take_inputs() == {"FINISHED"}
    assert other.vmr.inputs.masks == str(tmp_path / "old") and footage.vmr.inputs.masks == str(tmp_path / "walk masks")
    scene.vmr.clip = None
    scene.vmr.masks = str(tmp_path / "older")
    assert bpy.ops.vmr.forget_inputs() == {"FINISHED"} and not scene.vmr.masks


def test_what_was_kept_before_replaces_nothing_that_was_chosen_since(extension, footage, tmp_path):
    bpy.data.movieclips.load(str(make_images(tmp_path / "run", range(3))))
    scene = bpy.context.scene
    scene.vmr.masks = str(tmp_path / "old")
    scene.vmr.clip = footage
    asked = extension.module("operators.request").request_of(bpy.context, footage)
    assert asked.masks == str(tmp_path / "walk masks")
    assert [one.inputs.masks for one in footage.vmr.subjects] == [str(tmp_path / "walk masks"), str(tmp_path / "old")]


@pytest.mark.parametrize("how", ["linked", "override"])
def test_nothing_is_kept_with_a_clip_of_another_file_for_it_would_not_be_saved(extension, footage, tmp_path, how):
    footage.name, footage.use_fake_user = "walk", True
    bpy.ops.vmr.add_subject(name="Fox")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.movieclips = ["walk"]
    clip = wanted.movieclips[0]
    bpy.context.scene.vmr.clip = clip = clip if how == "linked" else clip.override_create()
    for operator in ("add_subject", "remove_subject", "clear_marks", "find_masks", "use_mask"):
        with pytest.raises(RuntimeError, match="make it local"):
            getattr(bpy.ops.vmr, operator)()
    masks = extension.module("operators.request").request_of(bpy.context, clip).masks
    assert masks == str(tmp_path / "walk masks"), "what its file gives can be used"
    copy = bpy.data.movieclips.load(str(make_images(tmp_path / "copy", range(3, 8))))
    extension.module("properties").copy_subjects(clip.vmr, copy.vmr)
    assert copy.vmr.subjects["Fox"].inputs.masks == str(tmp_path / "walk masks")
