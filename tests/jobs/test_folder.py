"""Where runs live, and when one goes on."""

import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from video_mesh_reconstruction.jobs.folder import (
    can_resume,
    clip_name,
    finished,
    folder_name,
    is_at_work,
    is_finished,
    mean_fit,
    note_blend,
    out_of_reach,
    prepare,
    remove,
    size_of,
    stopped,
    total_size,
)
from video_mesh_reconstruction.vmr_backend.job import LOCK_NAME, RUN_NAME, WHOLE_NAME, BadInput, JobRequest


@pytest.fixture
def request_(tmp_path):
    clip, masks = tmp_path / "A fox.mp4", tmp_path / "masks"
    clip.write_bytes(b"clip")
    masks.mkdir()
    (masks / "0001.png").write_bytes(b"mask")
    return JobRequest(clip=str(clip), masks=str(masks))


@contextlib.contextmanager
def holding(folder: Path):
    """Another process at work in a folder."""
    code = f"import fcntl, time; file = open({str(folder / LOCK_NAME)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX); " \
        "print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.kill()


def leave_stopped_run(folder: Path, request: JobRequest) -> None:
    request.save(folder / RUN_NAME)
    (folder / RUN_NAME / "checkpoint.json").write_text("{}")


def test_the_same_request_has_the_same_folder_in_which_a_stopped_run_can_go_on(tmp_path, request_):
    folder = prepare(tmp_path / "jobs", request_)
    assert JobRequest.load(folder) == request_ and not can_resume(folder)
    leave_stopped_run(folder, request_)
    assert prepare(tmp_path / "jobs", request_) == folder and can_resume(folder)
    (run,) = stopped(tmp_path / "jobs")
    assert (run.folder, run.clip) == (folder, request_.clip)


def test_a_finished_result_and_a_stopped_run_stay_as_they_are_until_another_is_whole(tmp_path, request_):
    folder = prepare(tmp_path / "jobs", request_)
    leave_stopped_run(folder, request_)
    for name in ("reconstruction.npz", "texture.png", "report.json", "notes of mine.txt"):
        (folder / name).write_text("left")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert prepare(tmp_path / "jobs", request_) == folder and is_finished(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_was_whole_when_its_move_was_interrupted_is_moved_by_the_next(tmp_path, request_):
    folder = prepare(tmp_path / "jobs", request_)
    leave_stopped_run(folder, request_)
    for where, text in ((folder, "old"), (folder / RUN_NAME, "new")):
        for name in ("reconstruction.npz", "texture.png"):
            (where / name).write_text(text)
    (folder / RUN_NAME / WHOLE_NAME).write_bytes(b"")
    prepare(tmp_path / "jobs", request_)
    assert (folder / "reconstruction.npz").read_text() == (folder / "texture.png").read_text() == "new"
    assert not (folder / RUN_NAME).exists() and not can_resume(folder)


def test_a_model_trained_anew_is_another_job(tmp_path, request_):
    model = tmp_path / "fox.safetensors"
    model.write_bytes(b"one")
    request = replace(request_, method="vmr", model=str(model))
    first = prepare(tmp_path / "jobs", request)
    assert prepare(tmp_path / "jobs", request) == first
    model.write_bytes(b"another")
    assert prepare(tmp_path / "jobs", request) != first


def test_other_settings_or_changed_masks_are_another_job(tmp_path, request_):
    name = folder_name(request_)
    assert folder_name(replace(request_, seed=1)) != name
    os.utime(Path(request_.masks) / "0001.png", (1, 1))
    assert folder_name(request_) != name


def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path, request_):
    (tmp_path / "jobs").write_text("a file in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        prepare(tmp_path / "jobs", request_)


def test_finished_jobs_are_listed_newest_first(tmp_path):
    for name, age in (("old", 1), ("new", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "reconstruction.npz").write_bytes(b"")
        os.utime(tmp_path / name / "reconstruction.npz", (age, age))
    (tmp_path / "stopped").mkdir()
    assert [folder.name for folder in finished(tmp_path)] == ["new", "old"]
    assert finished(tmp_path / "nowhere") == []


def test_names_tell_the_clip():
    assert clip_name(Path("/clips/A fox é.mp4")) == "A_fox_é"
    assert clip_name(Path("/davis/camel")) == "camel"
    assert clip_name(Path("/rendered/fox_walk/frames")) == "fox_walk"
    assert clip_name(Path("/samples/dog/clip.mp4")) == "dog"


def test_the_fit_is_read_from_the_report_where_there_is_one(tmp_path):
    assert mean_fit(tmp_path) is None
    for text, fit in (('{"scores": {"J": 0.93, "F": 0.9}}', 0.93), ('{"scores": null}', None), ("{", None)):
        (tmp_path / "report.json").write_text(text)
        assert mean_fit(tmp_path) == fit


def test_folders_whose_footage_is_gone_are_told_and_removed_one_by_one(tmp_path, request_):
    jobs = tmp_path / "jobs"
    kept = prepare(jobs, request_)
    lost = prepare(jobs, replace(request_, clip=str(tmp_path / "lost.mp4")))
    at_work = prepare(jobs, replace(request_, clip=str(tmp_path / "lost.mp4"), seed=2))
    leave_stopped_run(at_work, request_)
    without_blend = prepare(jobs, replace(request_, seed=3))
    for blend in (tmp_path / "old.blend", kept / "mine.blend"):
        note_blend(without_blend, str(blend))
    note_blend(kept, "")
    note_blend(kept, str(tmp_path / "A fox.mp4"))
    (jobs / "mine").mkdir()
    (jobs / "mine" / "job.json").write_text("{}")
    (lost / "texture.png").write_bytes(bytes(5000))
    assert total_size(jobs) == sum(path.stat().st_size for path in jobs.rglob("*-*/**/*") if path.is_file())
    (lost / "gone meanwhile").symlink_to(lost / "nothing")
    assert size_of(lost) >= 5000 and size_of(tmp_path / "nowhere") == 0
    with holding(at_work):
        assert is_at_work(at_work) and not is_at_work(lost)
        assert out_of_reach(jobs) == sorted([lost, without_blend]) and not stopped(jobs)
    assert at_work in out_of_reach(jobs) and [run.folder for run in stopped(jobs)] == [at_work]
    remove(lost)
    assert sorted(jobs.iterdir()) == sorted([kept, at_work, without_blend, jobs / "mine"])
    assert out_of_reach(tmp_path / "nowhere") == []
