"""`models`: facts in model files, how models do on a collection, and the sheet that it draws."""

import cv2
import numpy as np
import pytest
import torch

from samples.families import FAMILIES
from samples.families.render import write_collection
from vmr_backend import cli
from vmr_backend.bodies.category import CategoryShape, Handles, ellipsoid
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.training.inspection import evaluate_model
from vmr_backend.vmr.model import Architecture, CategoryModel
from vmr_backend.vmr.model_file import ModelCard, save_model

PICTURES = 40


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("birds")
    write_collection(folder, FAMILIES["bird"], PICTURES, 64, 1, lambda *_: None)
    return folder


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """An untrained model that takes every bird for the same egg."""
    torch.manual_seed(0)
    sphere, category = icosphere(2), FAMILIES["bird"].category
    body = ellipsoid(sphere, (0.2, 0.4, 0.25))
    shape = CategoryShape(body[None], sphere, Handles.spread_over(body, sphere, 6), 8.0)
    model = CategoryModel(shape, Architecture("small", 48, 4, 1))
    affinity = torch.softmax(torch.randn(len(category.keypoints), len(body)), 1)
    path = tmp_path_factory.mktemp("model") / "egg.safetensors"
    card = ModelCard(category, "weak", model.architecture, "CC0", {"iou": 0.5, "pck": 0.25}, pictures=7, steps=9)
    save_model(path, model, affinity, card)
    return path


def test_a_model_tells_what_it_is(model_file, capsys):
    assert cli.main(["models", str(model_file)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    for word in ("egg", "bird", "weak", "7 pictures", "9 steps", "CC0", "iou 0.500", "pck 0.250"):
        assert word in line


def test_held_out_pictures_judge_a_model_against_the_truth_that_a_renderer_left(model_file, collection):
    judged = evaluate_model(model_file, collection)
    assert 0 < judged.iou < 0.8 and 0 <= judged.pck < 0.5
    assert 20 < judged.turn < 180, "an untrained model always predicts the same camera"
    assert judged.keypoints > 0.05
    assert judged.stretch == pytest.approx(0, abs=2e-4), "but for half precision"


def test_a_sheet_shows_held_out_pictures(model_file, collection, tmp_path, capsys):
    assert cli.main(["models", str(model_file), "--on", str(collection), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert "held-out" in capsys.readouterr().out
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.ndim == 3 and len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize(("arguments", "words"), [
    (["none.safetensors"], "none.safetensors"), (["{model}", "--sheet", "x.png"], "--on"),
    (["{model}", "--on", "{model}"], "egg.safetensors")], ids=["no model", "no collection", "no such collection"])
def test_what_cannot_be_inspected_is_refused_in_one_line(model_file, capsys, arguments, words):
    assert cli.main(["models", *(part.format(model=model_file) for part in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
