"""A run as a child process, with a real child that does what children do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from video_mesh_reconstruction.jobs.process import Child, Job
from video_mesh_reconstruction.vmr_backend.job import BadInput, Event, JobRequest

WORKER = Path(__file__).parent / "fake_worker.py"
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def job_that(deeds: str, folder: Path, python=sys.executable, **options) -> Job:
    JobRequest(clip=deeds).save(folder)
    return Job(folder, Path(python), worker=WORKER, **options)


def events_of(job: Child, seconds=20) -> list[Event]:
    """Everything until the end."""
    events, end = [], time.monotonic() + seconds
    while job.running:
        assert time.monotonic() < end, "the child does not end"
        events += job.poll()
        time.sleep(0.01)
    return events + job.poll()


def wait_for_event(job: Child, stage: str) -> None:
    end = time.monotonic() + 20
    while not any(event.stage == stage for event in job.poll()):
        assert time.monotonic() < end, f"no news of {stage}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    if state.parent.parent.is_dir() and not state.exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A child whose parent was killed may stay a zombie where nobody collects it.
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.02)


def test_a_run_tells_its_events_in_order(tmp_path):
    job = job_that("events", tmp_path)
    job.start()
    events = events_of(job)
    assert [event.step for event in events if event.event == "progress"] == [1, 2, 3]
    assert events[-1] == Event("warning", message="frame 7: the subject is cut off")
    assert (job.returncode, job.error, job.cancelled) == (0, "", False)


def test_lines_that_are_no_events_go_to_the_log(tmp_path):
    job = job_that("garbage,events", tmp_path)
    job.start()
    assert {event.event for event in events_of(job)} == {"progress", "warning"}
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "Warp 1.5 initialised" in log
    assert job.error == ""


def test_bad_input_is_passed_on_as_it_is(tmp_path):
    job = job_that("bad_input", tmp_path)
    job.start()
    events_of(job)
    assert job.error == "/clips/fox.mp4: found no video, needs a movie or images"


@pytest.mark.parametrize("deed, text", [
    ("crash", "MemoryError: CUDA out of memory: tried to allocate 2 GiB"),
    ("fail", "the fit diverged"),
    pytest.param("abort", "Fatal Python error: Aborted", marks=posix_only),
    pytest.param("killed", "Preview preset", marks=posix_only),
])
def test_a_failure_is_one_line_that_names_the_log(tmp_path, deed, text):
    job = job_that(f"events,{deed}", tmp_path)
    job.start()
    events_of(job)
    assert text in job.error
    assert job.error.endswith(f"(more in {tmp_path / 'log.txt'})")
    assert "\n" not in job.error


def test_an_error_of_an_earlier_run_is_not_told_again(tmp_path):
    (tmp_path / "log.txt").write_text("RuntimeError: of yesterday\n")
    job = job_that("killed", tmp_path)
    job.start()
    events_of(job)
    assert "yesterday" not in job.error
    assert "yesterday" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("deeds", [
    "wait",
    pytest.param("stubborn,wait", marks=posix_only),
    pytest.param("grandchild,wait", marks=posix_only),
])
def test_cancel_ends_the_child_and_what_it_started_within_two_seconds(tmp_path, deeds):
    job = job_that(f"note_pid,{deeds}", tmp_path)
    job.start()
    wait_for_event(job, "waiting")
    start = time.monotonic()
    job.cancel()
    assert time.monotonic() - start < 2
    events_of(job, seconds=2)
    assert job.cancelled and job.error == ""
    for name in ("pid", "grandchild"):
        if (tmp_path / name).exists():
            wait_until_gone(int((tmp_path / name).read_text()))


@posix_only
def test_a_process_left_behind_does_not_keep_the_run_going(tmp_path):
    job = job_that("grandchild,events", tmp_path)
    job.start()
    assert len(events_of(job)) == 4
    wait_until_gone(int((tmp_path / "grandchild").read_text()))


def test_cancel_after_the_end_changes_nothing(tmp_path):
    job = job_that("events", tmp_path)
    job.start()
    events_of(job)
    job.cancel()
    assert not job.cancelled


@posix_only
def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({"clip": "note_pid,wait"}))
    root = Path(__file__).parents[2]
    code = f"""
import sys, time, types
package = types.ModuleType("package"); package.__path__ = [{str(root)!r}]; sys.modules["package"] = package
from pathlib import Path
from package.jobs.process import Job
job = Job(Path({str(tmp_path)!r}), Path(sys.executable), worker=Path({str(WORKER)!r}))
job.start()
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 20
        while not (pid := tmp_path / "pid").exists() or not pid.read_text():
            assert time.monotonic() < end, "the child does not start"
            time.sleep(0.02)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until_gone(int(pid.read_text()))


def test_the_child_sees_nothing_of_blenders_python(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/blender/modules")
    monkeypatch.setenv("PYTHONHOME", sys.prefix)
    job = job_that("environment", tmp_path, resume=True)
    job.start()
    events_of(job)
    environment, arguments, isolated = json.loads((tmp_path / "environment.json").read_text())
    assert not {"PYTHONPATH", "PYTHONHOME"} & set(environment)
    assert isolated
    assert arguments[1:] == ["reconstruct", "--job", str(tmp_path), "--watch-stdin", "--resume"]


def test_an_interpreter_that_is_none_gives_one_line(tmp_path):
    for python in (tmp_path / "no python", tmp_path):
        with pytest.raises(BadInput, match="needs a Python interpreter") as error:
            job_that("events", tmp_path / "job", python=python).start()
        assert str(python) in str(error.value)


def test_a_job_folder_that_cannot_be_written_gives_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        Child([sys.executable, "-c", ""], tmp_path / "file" / "log.txt").start()


def test_a_run_without_result_says_so(tmp_path):
    job = job_that("events", tmp_path)
    job.start()
    events_of(job)
    with pytest.raises(BadInput, match="not found"):
        job.result()
