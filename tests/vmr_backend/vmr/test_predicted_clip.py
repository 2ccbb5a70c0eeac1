"""A category model asked about a clip: each frame by itself under a long lens, or one subject under the clip's own."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from tiny_models import model_of

from vmr_backend import cli
from vmr_backend.annotations import Category
from vmr_backend.geometry.cameras import WeakCamera, project
from vmr_backend.metrics.mask_agreement import evaluate
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.vmr.clip import LARGEST_ERROR, long_focus
from vmr_backend.vmr.model_file import ModelCard, save_model

KEYPOINTS = ("beak", "tail")
FIRST = 5


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """An untaught model, which knows of its subject that it is an egg, seen from its side, and fills the crop."""
    model = model_of()
    with torch.no_grad():
        model.probabilities.bias[1] = 100
    model.usual_place.copy_(torch.tensor([0.0, 0.0, math.log(1.6)]))
    places = model.shape.places[:, 1]
    affinity = torch.nn.functional.one_hot(torch.stack([places.argmin(), places.argmax()]), len(places)).float()
    path = tmp_path_factory.mktemp("model") / "own.safetensors"
    save_model(path, model, affinity, ModelCard(Category("bird", KEYPOINTS), "weak", model.architecture, "none"))
    return path


@pytest.fixture(scope="module")
def clip(egg_from_one_side, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    for kind in ("frames", "masks"):
        (folder / kind).mkdir()
    for number, (image, mask) in enumerate(zip(egg_from_one_side.images, egg_from_one_side.masks, strict=True), FIRST):
        cv2.imwrite(str(folder / "frames" / f"{number:04d}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / "masks" / f"{number:04d}.png"), mask * np.uint8(255))
    return folder


def reconstructed(clip, model_file, out, *settings):
    chosen = [part for setting in ("texture_size=64", *settings) for part in ("--set", setting)]
    assert cli.main(["reconstruct", str(clip / "frames"), "--masks", str(clip / "masks"), "--out", str(out), "--method",
                     "vmr", "--model", str(model_file), "--device", "cpu", *chosen]) == 0
    return out


@pytest.fixture(scope="module")
def result_folder(clip, model_file, tmp_path_factory):
    """Each frame by itself."""
    return reconstructed(clip, model_file, tmp_path_factory.mktemp("result"), "visits=0")


@pytest.fixture(scope="module")
def adapted_folder(clip, model_file, tmp_path_factory):
    """One subject in all frames."""
    return reconstructed(clip, model_file, tmp_path_factory.mktemp("adapted"), "visits=20", "field_of_view=20")


def test_every_frame_gets_a_mesh_where_the_subject_is(result_folder, egg_from_one_side):
    result = Reconstruction.load(result_folder)
    assert result.frames.tolist() == list(range(FIRST, FIRST + len(egg_from_one_side.images)))
    assert np.ptp(result.rest_vertices, axis=0).max() == pytest.approx(1, abs=1e-3)
    masks = ((FIRST + n, mask) for n, mask in enumerate(egg_from_one_side.masks))
    assert evaluate(result, masks).j.min() > 0.5


def test_one_subject_covers_the_masks_better_than_each_frame_by_itself(result_folder, adapted_folder,
                                                                       egg_from_one_side):
    alone, one = (evaluate(Reconstruction.load(folder), (
        (FIRST + n, mask) for n, mask in enumerate(egg_from_one_side.masks))).j.mean() for folder in (
            result_folder, adapted_folder))
    assert one > 0.9 and one > alone + 0.05
    assert {stage["name"] for stage in report_in(adapted_folder)["stages"]} >= {"prediction", "subject", "texture"}


def test_the_subject_is_seen_through_the_lens_that_was_asked_for(adapted_folder):
    result = Reconstruction.load(adapted_folder)
    width = result.image_size[0]
    assert result.intrinsics[:, 0] == pytest.approx(width / 2 / math.tan(math.radians(10)), rel=1e-4)
    assert report_in(adapted_folder)["lens"]["source"] == "assumed"


def report_in(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["result_folder", "adapted_folder"])
def test_keypoints_are_projected_vertices(kind, request):
    result = Reconstruction.load(request.getfixturevalue(kind))
    assert result.keypoints.shape == (len(result.frames), 2, 2)
    camera = np.einsum("tij,tvj->tvi", result.camera_rotation, result.vertices) + result.camera_translation[:, None]
    seen = camera[..., :2] / camera[..., 2:] * result.intrinsics[:, None, :2] + result.intrinsics[:, None, 2:]
    nearest = np.linalg.norm(seen[:, :, None] - result.keypoints[:, None], axis=-1).min(1)
    assert nearest.max() < 2 * LARGEST_ERROR


def test_the_report_says_that_the_lens_stands_for_parallel_rays(result_folder):
    report = report_in(result_folder)
    assert report["lens"]["source"] == "weak perspective"
    assert report["request"]["method"] == "vmr" and "prediction" in {stage["name"] for stage in report["stages"]}


def test_a_long_lens_shows_what_parallel_rays_do():
    random = torch.Generator().manual_seed(0)
    turned = torch.linalg.qr(torch.randn(5, 3, 3, generator=random))[0]
    rotation = turned * torch.linalg.det(turned)[:, None, None]
    weak = WeakCamera(rotation, 100 + 50 * torch.rand(5, generator=random),
                      torch.tensor([320.0, 180]) + 100 * torch.randn(5, 2, generator=random))
    points = torch.rand(5, 200, 3, generator=random) - 0.5
    camera = long_focus(points, weak, (640, 360))
    assert (camera.intrinsics == camera.intrinsics[0]).all(), "one lens for the clip, in the middle of the picture"
    off = (project(points.double(), type(camera)(*(getattr(camera, name).double() for name in (
        "rotation", "translation", "intrinsics"))))[..., :2] - weak.project(points)[..., :2]).norm(dim=-1)
    assert off.max() < 1.1 * LARGEST_ERROR


@pytest.mark.parametrize(("model", "words"), [("unicorn", ["'unicorn'", "needs a model file"]), (None, ["found none"])])
def test_a_model_that_is_not_there_is_refused_in_one_line(clip, tmp_path, capsys, model, words):
    chosen = [] if model is None else ["--model", model]
    assert cli.main(["reconstruct", str(clip / "frames"), "--masks", str(clip / "masks"), "--out",
                     str(tmp_path / "out"), "--method", "vmr", *chosen]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words)


