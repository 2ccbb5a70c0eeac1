"""Where runs live, and when one goes on."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from video_mesh_reconstruction.jobs.folder import clip_name, finished, folder_name, mean_fit, prepare
from video_mesh_reconstruction.vmr_backend.job import BadInput, JobRequest


@pytest.fixture
def request_(tmp_path):
    clip, masks = tmp_path / "A fox.mp4", tmp_path / "masks"
    clip.write_bytes(b"clip")
    masks.mkdir()
    (masks / "0001.png").write_bytes(b"mask")
    return JobRequest(clip=str(clip), masks=str(masks))


def test_the_same_request_has_the_same_folder_and_goes_on_from_its_checkpoint(tmp_path, request_):
    folder, resume = prepare(tmp_path / "jobs", request_)
    assert not resume
    assert JobRequest.load(folder) == request_
    (folder / "checkpoint.json").write_text("{}")
    (folder / "events.jsonl").write_text("{}")
    assert prepare(tmp_path / "jobs", request_) == (folder, True)
    assert (folder / "events.jsonl").exists()


def test_a_model_trained_anew_is_another_job(tmp_path, request_):
    model = tmp_path / "fox.safetensors"
    model.write_bytes(b"one")
    request = replace(request_, method="vmr", model=str(model))
    first, _ = prepare(tmp_path / "jobs", request)
    assert prepare(tmp_path / "jobs", request)[0] == first
    model.write_bytes(b"another")
    assert prepare(tmp_path / "jobs", request)[0] != first


def test_other_settings_or_changed_masks_are_another_job(tmp_path, request_):
    name = folder_name(request_)
    assert folder_name(replace(request_, seed=1)) != name
    os.utime(Path(request_.masks) / "0001.png", (1, 1))
    assert folder_name(request_) != name


@pytest.mark.parametrize("left, start_over", [("checkpoint.json", True), ("reconstruction.npz", False)])
def test_starting_anew_removes_what_an_earlier_run_left(tmp_path, request_, left, start_over):
    folder, _ = prepare(tmp_path / "jobs", request_)
    for name in (left, "checkpoint.safetensors", "texture.png", "notes of mine.txt"):
        (folder / name).write_text("left")
    assert prepare(tmp_path / "jobs", request_, start_over) == (folder, False)
    assert {path.name for path in folder.iterdir()} == {"job.json", "notes of mine.txt"}


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
