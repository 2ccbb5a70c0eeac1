"""A result is loaded, once, before its pictures are drawn; whatever becomes of these, it stays."""

import time
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from test_runs import Followed

LATE = "Cancelled before its pictures were drawn: Reconstruct offers them"


@pytest.fixture
def follow(extension, backend, footage):
    """Starts a run with a preview that yields a result and then draws: `follow("in vain")`."""
    (backend.folder / "snapshot.npz").write_bytes((backend.folder / "result" / "reconstruction.npz").read_bytes())

    def start(how=""):
        backend.behave(f"yield the result and draw {how}".strip())
        return Followed(extension)

    yield start
    extension.module("operators.runs").abandon_all()


@pytest.fixture
def loaded(follow):
    """A run whose result is loaded, and whose pictures are never drawn to the end."""
    bpy.ops.ed.undo_push(message="before")
    followed = follow("forever")
    followed.until(lambda: "walk" in bpy.data.objects)
    return followed


def meshes() -> list[str]:
    return [one.name for one in bpy.data.objects if one.type == "MESH"]


def test_the_result_is_there_while_pictures_are_drawn_and_no_preview_beside_it(loaded):
    child = loaded.activity.child
    for _ in range(5):
        loaded.runs._follow_all()
        time.sleep(0.02)
    assert child.running and meshes() == ["walk"] and loaded.activity.preview is None
    assert loaded.activity.text == "Pictures 1/2"


def test_cancelled_meanwhile_it_stays_which_is_said_and_no_child_is_left(loaded, footage):
    child = loaded.activity.child
    assert bpy.ops.vmr.cancel() == {"FINISHED"}
    loaded.until_the_end()
    ended = loaded.activity.ended[footage.session_uid]
    assert (ended.text, ended.state, ended.warnings) == ("Added walk: 5 frames", "DONE", [LATE])
    assert child.returncode is not None and meshes() == ["walk"] and loaded.activity.preview is None


def test_undone_meanwhile_it_is_not_loaded_again(loaded, untouched):
    bpy.ops.ed.undo()
    assert not meshes()
    bpy.ops.vmr.cancel()
    loaded.until_the_end()
    assert not meshes() and loaded.activity.last.state == "DONE"
    bpy.ops.ed.redo()
    assert meshes() == ["walk"]


def test_another_file_opened_meanwhile_is_left_alone(loaded):
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.vmr.cancel()
    loaded.until_the_end()
    assert not bpy.data.objects and not loaded.activity.waiting and loaded.activity.last.text == "Added walk: 5 frames"


@pytest.mark.parametrize("moment", ["before the result", "after it"])
def test_a_clip_that_is_deleted_gets_nothing_more(follow, footage, moment):
    followed = follow()
    if moment == "after it":
        followed.until(lambda: "walk" in bpy.data.objects)
    bpy.data.movieclips.remove(footage)
    followed.until_the_end()
    assert meshes() == ["walk"] * (moment == "after it")
    assert list(followed.activity.waiting.values()) == ["walk"] * (moment != "after it")


@pytest.mark.parametrize("how", ["followed", "to the end"])
@pytest.mark.parametrize("deed, warnings", [("", []), ("in vain", ["walk: no such folder; the result is whole"])])
def test_it_is_loaded_once_whether_pictures_can_be_drawn_or_not(
        extension, backend, footage, follow, how, deed, warnings):
    if how == "followed":
        follow(deed).until_the_end()
    else:
        backend.behave(f"yield the result and draw {deed}".strip())
        assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    ended = extension.module("properties").reconstruction_activity.ended[footage.session_uid]
    assert (ended.text, ended.state, ended.warnings) == ("Added walk: 5 frames", "DONE", warnings)
    assert meshes() == ["walk"]


def test_while_blender_is_busy_it_is_loaded_later_though_the_pictures_fail_meanwhile(follow, monkeypatch):
    followed = follow("in vain")
    monkeypatch.setattr(followed.runs, "is_busy", lambda _context: True)
    followed.until(lambda: followed.activity.text == "Waiting until Blender is free")
    assert "walk" not in meshes()
    monkeypatch.undo()
    followed.until_the_end()
    assert meshes() == ["walk"] and followed.activity.last.warnings == ["walk: no such folder; the result is whole"]


def test_a_result_that_cannot_be_read_is_reported_once_pictures_are_drawn(backend, follow):
    archive = backend.folder / "result" / "reconstruction.npz"
    archive.write_bytes(archive.read_bytes()[:5000])
    followed = follow()
    followed.until_the_end()
    assert followed.activity.last.state == "FAILED" and "cannot be read" in followed.activity.last.text
    assert not meshes() and followed.activity.last.warnings == []


def test_pictures_that_lack_are_offered_and_drawn_without_another_mesh(loaded, extension, backend, footage):
    bpy.ops.vmr.cancel()
    loaded.until_the_end()
    folder, jobs = Path(loaded.activity.folder), extension.module("jobs.folder")
    assert jobs.is_finished(folder) and not jobs.can_resume(folder) and not jobs.has_pictures(folder)
    backend.behave("yield the result and draw")
    assert bpy.ops.vmr.reconstruct(folder=str(folder), only_pictures=True) == {"FINISHED"}
    assert meshes() == ["walk"] and jobs.has_pictures(folder) and "--resume" in backend.calls[-1]
    assert loaded.activity.last.text == "Drew the pictures of walk"


@pytest.mark.parametrize("left, offered", [
    ([], ["Load Result", "Draw Pictures", "Start Over"]),
    (["overlay.mp4"], ["Load Result", "Draw Pictures", "Start Over"]),
    (["overlay.mp4", "preview.png"], ["Load Result", "Start Over"]),
    (["run/job.json"], ["Resume", "Load Result", "Start Over"])])
def test_the_question_offers_what_can_be_done(extension, backend, footage, left, offered):
    bpy.ops.vmr.reconstruct()
    folder = Path(extension.module("properties").reconstruction_activity.folder)
    for name in left:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    shown: list[str] = []

    def operator(_name, text, icon):
        shown.append(text)
        return SimpleNamespace()

    def popup_menu(draw, title, icon):
        draw(SimpleNamespace(layout=SimpleNamespace(operator=operator)), None)

    context = SimpleNamespace(window_manager=SimpleNamespace(popup_menu=popup_menu))
    extension.module("operators.reconstruct").ask(context, folder)
    assert shown == offered
