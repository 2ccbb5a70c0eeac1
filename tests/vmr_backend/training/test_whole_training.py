"""A whole training, on pictures of the project's own animals: it ends with a model, whatever interrupts it."""

import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from quick_training import QUICK, SLOWLY, hurry
from safetensors.torch import load_file
from tiny_collections import ellipse, painted, save

from samples.families.__main__ import main as render
from vmr_backend.job import BadInput, EventLog
from vmr_backend.training import train as trainings
from vmr_backend.training import views
from vmr_backend.training.train import MODEL_NAME, TrainingRequest, cluster_shapes, imagenet_weights, train
from vmr_backend.vmr.model_file import load_card, load_model

CPU = torch.device("cpu")
HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        yield


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """A collection of 36 four-legged animals, of one of whom nothing but the mask is known."""
    folder = tmp_path_factory.mktemp("animals")
    assert render([str(folder), "--family", "quadruped", "--count", "36", "--size", "64", "--seed", "1"]) == 0
    path = folder / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["keypoints"] = [0] * len(content["annotations"][0]["keypoints"])
    path.write_text(json.dumps(content))
    return folder


class Interrupted(Exception):
    pass


class InterruptedLog(EventLog):
    """Tells all that happens, however fast, up to a stage and its step."""

    def __init__(self, folder, until):
        super().__init__(folder, io.StringIO(), clock=itertools.count().__next__)
        self._until = until

    def progress(self, stage, step, total, message=""):
        if (stage, step) == self._until:
            raise Interrupted
        super().progress(stage, step, total, message)


def run(collection, folder, until=None, resume=False, training="weak", **settings):
    """(scores, what was told), or None where it was interrupted."""
    folder.mkdir(exist_ok=True)
    log = InterruptedLog(folder, until)
    request = TrainingRequest(str(collection), training=training, settings=QUICK | settings)
    try:
        scores = train(request, folder, log, resume, CPU)
        return scores, [json.loads(line) for line in log._stream.getvalue().splitlines()]
    except Interrupted:
        return None


@pytest.fixture(scope="module")
def trained(animals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, *run(animals, folder)


def test_a_training_ends_with_a_model_that_loads_and_has_scores(trained):
    folder, scores, _ = trained
    loaded = load_model(folder / MODEL_NAME, CPU)
    assert 0 < scores.iou < 1 and 0 <= scores.pck <= 1
    assert loaded.card.scores == scores.as_facts()
    assert loaded.card.category.name == "quadruped" and loaded.card.training == "weak"
    assert loaded.card.settings["steps"] == 10 and 20 < loaded.card.pictures < 36
    assert loaded.affinity.shape == (len(loaded.card.category.keypoints), 642)
    assert loaded.model.shape.bases().shape == (2, 642, 3)
    assert not list(folder.glob("best*"))


def test_it_tells_how_far_it_is_and_its_curves(trained):
    folder, _, told = trained
    fractions = [event["fraction"] for event in told if event["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert any("1 of " in event.get("message", "") for event in told if event["event"] == "warning"), \
        "the picture without keypoints"
    curves = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in curves if "held_out_iou" in entry] == [5, 10]
    assert list((folder / "curves").iterdir())


@pytest.mark.parametrize("until", [("instances", 2), ("network", 7)], ids=str)
def test_an_interrupted_training_goes_on_to_the_same_model(animals, trained, tmp_path, until):
    assert run(animals, tmp_path, until) is None
    assert not (tmp_path / MODEL_NAME).exists()
    scores, told = run(animals, tmp_path, resume=True)
    stages = {event["stage"] for event in told if event["event"] == "progress"}
    assert not stages & {"structure", "mean_shape"}
    whole, resumed = (load_file(folder / MODEL_NAME) for folder in (trained[0], tmp_path))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.allclose(value.float(), resumed[name].float(), atol=2e-3), name
    assert scores.iou == pytest.approx(trained[1].iou, abs=1e-3)


def test_processes_share_a_training_and_come_to_the_model_of_one(animals, tmp_path):
    """Each reads its part of the pictures, fits its part of the meshes and descends by its part of each batch."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Slowly: Adam makes whole steps of gradients that are nothing but how sums were rounded.
    assert run(animals, tmp_path / "1", **SLOWLY)
    # One thread each, so that sums are rounded alike.
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
                                "GLOO_SOCKET_IFNAME": "lo",
                                "PYTHONPATH": os.pathsep.join([str(HERE.parents[2]), str(HERE)])}
    running = []
    (tmp_path / "2").mkdir()
    for rank in range(2):
        running.append(subprocess.Popen([sys.executable, HERE / "quick_training.py", animals, tmp_path / "2"],
                                        env=environment | {"WORLD_SIZE": "2", "RANK": str(rank)},
                                        stdout=subprocess.DEVNULL))
    assert [process.wait(600) for process in running] == [0, 0]
    alone, together = (load_file(tmp_path / count / MODEL_NAME) for count in "12")
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        assert torch.allclose(value.float(), together[name].float(), atol=2e-3), name


def test_a_finished_training_stays_finished(animals, trained):
    before = (trained[0] / MODEL_NAME).read_bytes()
    assert "finished" in refusal(animals, trained[0], resume=True)
    assert (trained[0] / MODEL_NAME).read_bytes() == before


def test_a_finished_training_goes_on_with_more_steps(animals, trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "more")
    assert run(animals, folder, ("network", 11), resume=True, steps=12) is None
    assert (folder / MODEL_NAME).read_bytes() == (trained[0] / MODEL_NAME).read_bytes(), "nothing is lost on the way"
    _, told = run(animals, folder, resume=True, steps=12)
    assert [e["step"] for e in told if e["event"] == "progress" and e["stage"] == "network"][0] == 11
    assert load_card(folder / MODEL_NAME).steps == 12 and not list(folder.glob("best*"))


def test_starting_anew_forgets_what_was(animals, trained, tmp_path):
    (tmp_path / "best.safetensors").write_bytes(b"old")
    (tmp_path / MODEL_NAME).write_bytes(b"old")
    assert run(animals, tmp_path, ("structure", 1)) is None
    assert not (tmp_path / MODEL_NAME).exists() and not (tmp_path / "best.safetensors").exists()


def test_a_training_from_masks_alone(animals, tmp_path, monkeypatch):
    for name, value in {"BATCHES": 2, "STEPS": 1, "LAST_STEPS": 1, "HEADINGS": 8, "STRENGTHS": (30.0, 8.0)}.items():
        monkeypatch.setattr(views, name, value)
    scores, _ = run(animals, tmp_path, training="self", bases=8)
    loaded = load_model(tmp_path / MODEL_NAME, CPU)
    assert 0 < scores.iou < 1 and scores.pck is None and loaded.affinity is None
    assert len(loaded.model.shape.bases()) == 1, "one template"


def folder_of(path, count: int):
    """Ellipses with masks and no keypoints."""
    for number in range(count):
        mask = ellipse(20 + number, 22)
        save(path / "images" / f"{number}.png", painted(mask))
        save(path / "masks" / f"{number}.png", mask.astype("uint8") * 255)
    return path


def refusal(collection, folder, **changes) -> str:
    with pytest.raises(BadInput) as caught:
        run(collection, folder, **changes)
    assert "\n" not in str(caught.value) and "needs" in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_trained_is_told_in_a_line_before_any_picture_is_read(animals, tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "load_crops", lambda *_: pytest.fail("pictures were read"))
    masks_only = folder_of(tmp_path / "plain", 12)
    assert "keypoints" in refusal(masks_only, tmp_path / "out")
    assert "too few" in refusal(folder_of(tmp_path / "few", 1), tmp_path / "out", bases=1, training="self")
    assert "pictures" in refusal(animals, tmp_path / "out", bases=60)
    with pytest.raises(BadInput, match="weights.pth: found no .*; needs"):
        (tmp_path / "weights.pth").write_text("weights")
        request = TrainingRequest(str(animals), settings=QUICK, imagenet=str(tmp_path / "weights.pth"))
        train(request, tmp_path / "out", InterruptedLog(tmp_path / "out", None), False, CPU)
    monkeypatch.setitem(sys.modules, "vmr_backend.rendering.pytorch3d_renderer", None)
    with pytest.raises(BadInput, match="renderer: found 'pytorch3d'"):
        request = TrainingRequest(str(animals), settings=QUICK, renderer="pytorch3d")
        train(request, tmp_path / "out", InterruptedLog(tmp_path / "out", None), False, CPU)


def test_weights_that_are_none_are_refused_in_a_line(tmp_path):
    (tmp_path / "text.pth").write_text("weights")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("none.pth", "text.pth", "other.pth", "list.pth"):
        with pytest.raises(BadInput, match=f"{name}: .*resnet18") as caught:
            imagenet_weights(tmp_path / name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_bases_are_the_centres_of_groups_of_meshes():
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 10, 3, generator=random)
    label = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2, 2])
    meshes = centres[label] + 0.01 * torch.randn(10, 10, 3, generator=random)
    found, nearest = cluster_shapes(meshes, 3, 0)
    for number in range(10):
        group = meshes[label == label[number]].mean(0)
        assert torch.allclose(found[nearest[number]], group, atol=1e-5)


