"""A training as two child processes that are followed like one; the backend is a script that does as it is told."""

import sys
import time
from dataclasses import replace

import pytest
from video_mesh_reconstruction.jobs.training import (
    BLEND_NAME,
    ObjectTrainingRequest,
    Training,
    can_resume_training,
    prepare_training,
)
from video_mesh_reconstruction.vmr_backend.job import BadInput

REQUEST = ObjectTrainingRequest("goat", "goat", images=4, size=64, training="weak", steps=10, seed=0, state="abc")
WORKER = """
import json, os, sys, time
from pathlib import Path
command, deeds = sys.argv[1], Path(__file__).with_suffix(".txt").read_text().split()
with open(Path(__file__).with_suffix(".calls"), "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + chr(10))
print(json.dumps({"event": "progress", "stage": command, "step": 1, "total": 2, "fraction": 0.5, "seconds_left": 3}))
if command + ":refuse" in deeds:
    print("object: found no goat", file=sys.stderr)
    sys.exit(2)
if command + ":wait" in deeds:
    sys.stdout.flush()
    time.sleep(60)
if command == "train":
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    out.mkdir(exist_ok=True)
    (out / "checkpoint.json").write_text("{}")
    if "train:crash" in deeds:
        sys.exit("RuntimeError: out of memory")
    (out / "model.safetensors").write_bytes(b"model")
print(json.dumps({"event": "done", "fraction": 1.0}))
"""


@pytest.fixture
def train(tmp_path):
    """A training that is followed to its end, or until a stage reports something, with its events and commands, and
    whether it went on where another was stopped."""

    def train(deeds="", until=None):
        worker = tmp_path / "worker.py"
        worker.write_text(WORKER)
        worker.with_suffix(".txt").write_text(deeds)
        folder, resume = prepare_training(tmp_path / "jobs", REQUEST, lambda path: path.write_bytes(b"blend"))
        training = Training(folder, REQUEST, sys.executable, "blender", "cpu", worker)
        training.start()
        events = []
        while training.running and not (until and until in {event.stage for event in events}):
            time.sleep(0.02)
            events += training.poll()
        events += training.poll()
        calls = worker.with_suffix(".calls").read_text().splitlines()
        return training, events, calls, resume

    return train


def test_pictures_are_rendered_first_and_learnt_from_then(train):
    training, events, calls, _ = train()
    assert training.error == "" and training.model.read_bytes() == b"model"
    assert [call.split('"')[1] for call in calls] == ["render-dataset", "train"]
    assert all("--watch-stdin" in call for call in calls)
    assert str(training.folder / "pictures") in calls[0] and str(training.folder / "pictures") in calls[1]
    assert "--resume" not in calls[1]


def test_progress_is_that_of_the_whole(train):
    _, events, _, _ = train()
    told = [(event.stage, event.fraction, event.seconds_left) for event in events if event.event == "progress"]
    assert told == [("render-dataset", 0.1, None), ("train", pytest.approx(0.6), 3)]


def test_where_rendering_fails_nothing_is_trained(train):
    training, _, calls, _ = train("render-dataset:refuse")
    assert training.error == "object: found no goat" and len(calls) == 1


@pytest.mark.parametrize("command", ["render-dataset", "train"])
def test_either_part_can_be_cancelled_and_goes_on_later(train, command):
    training, *_ = train(f"{command}:wait", until=command)
    training.cancel()
    while training.running:
        time.sleep(0.02)
    assert training.cancelled and training.error == "" and training.poll() == []
    assert can_resume_training(training.folder)
    assert train()[3]


def test_a_training_that_stopped_with_a_checkpoint_is_resumed(train):
    training, *_ = train("train:crash")
    training.cancel()  # as whoever followed it does at the end
    assert training.error.startswith("RuntimeError: out of memory")
    _, _, calls, resume = train()
    assert resume and "--resume" in calls[-1]


def test_what_changes_the_pictures_or_the_training_is_another_training(tmp_path):
    copies = []

    def prepare(request, start_over=False):
        def save_copy(path):
            copies.append(path)
            path.write_bytes(b"blend")
        return prepare_training(tmp_path, request, save_copy, start_over)

    folder, resume = prepare(REQUEST)
    assert not resume and prepare(REQUEST) == (folder, True) and len(copies) == 1
    for other in ({"seed": 1}, {"state": "abd"}, {"training": "self"}, {"images": 5}):
        assert prepare(replace(REQUEST, **other))[0] != folder
    (folder / "pictures").mkdir()
    assert prepare(REQUEST, start_over=True) == (folder, False)
    assert not (folder / "pictures").exists() and (folder / BLEND_NAME).exists()


def test_an_unwritable_folder_gives_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        prepare_training(tmp_path / "file", REQUEST, lambda path: None)
