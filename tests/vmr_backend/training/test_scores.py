"""Scores: mask IoU and PCK are those of NumPy on the same predictions."""

import numpy as np
import pytest
import torch
from tiny_trainings import AFFINITY, RENDERER, SIZE, drawn_masks, toy_camera, toy_examples, toy_model

from vmr_backend.training.crops import Crops
from vmr_backend.training.scores import ModelScores, pictures_of, score
from vmr_backend.vmr.encoders import at_size

COUNT, FINE = 70, 96
"""More than one batch; finer than the network's pictures."""


@pytest.fixture(scope="module")
def model():
    """It predicts something else of each picture."""
    made = toy_model(refinements=0).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in (made.body, made.turns, made.probabilities):
            layer.weight.normal_(std=0.03)
    return made


@pytest.fixture(scope="module")
def crops():
    random = np.random.default_rng(0)
    examples = toy_examples(COUNT, size=FINE)
    seen = random.integers(0, 3, (COUNT, 4)).astype(np.uint8)
    seen[:, 2] = np.minimum(seen[:, 2], 1)
    keypoints = examples.keypoints.numpy() + random.normal(0, 0.15, (COUNT, 4, 2))
    images = (255 * examples.images.movedim(1, -1)).byte().numpy()
    return Crops(images, (255 * examples.masks).byte().numpy(), keypoints.astype(np.float32), seen, np.arange(COUNT))


@torch.no_grad()
def predicted(model, crops):
    """Projected keypoints and drawn masks, each picture by itself."""
    points, drawn = [], []
    for image, mask in zip(crops.images, crops.masks, strict=True):
        image, mask = pictures_of(image[None], mask[None], torch.device("cpu"))
        small = torch.nn.functional.avg_pool2d(torch.cat([image, mask[None]], 1), FINE // SIZE)
        prediction = model(small[:, :3], small[:, 3], RENDERER)[0]
        points.append((AFFINITY @ prediction.camera.project(prediction.vertices))[0, :, :2].numpy())
        drawn.append(drawn_masks(prediction.vertices, prediction.camera, FINE)[0].numpy() > 0.5)
    return np.stack(points), np.stack(drawn)


def test_scores_are_means_over_pictures_and_over_kinds_of_keypoints(model, crops):
    points, drawn = predicted(model, crops)
    masks = crops.masks > 127
    iou = np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(drawn, masks, strict=True)])
    rights = {}
    for number, mask in enumerate(masks):
        rows, columns = np.nonzero(mask)
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        for kind in range(4):
            if crops.seen[number, kind] == 2:
                off = np.linalg.norm(points[number, kind] - crops.keypoints[number, kind]) * FINE / 2
                rights.setdefault(kind, []).append(off < 0.1 * longer)
    assert sorted(rights) == [0, 1, 3], "one kind is never seen"
    pck = np.mean([np.mean(right) for right in rights.values()])
    found = score(model, AFFINITY, crops, RENDERER)
    assert 0.02 < pck < 0.98 and 0.1 < iou < 0.98
    assert found.iou == pytest.approx(iou, abs=1e-3) and found.pck == pytest.approx(pck, abs=1e-6)


def test_without_keypoints_there_is_no_pck(model, crops):
    found = score(model, None, crops, RENDERER)
    assert found.pck is None and set(found.as_facts()) == {"iou"} and "PCK" not in str(found)
    unseen = Crops(crops.images, crops.masks, crops.keypoints, 0 * crops.seen, crops.kept)
    assert score(model, AFFINITY, unseen, RENDERER).pck is None


def test_what_is_drawn_in_the_very_mask_has_an_iou_of_one(crops):
    model = toy_model(refinements=0)
    camera = toy_camera(1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.usual_place.copy_(torch.tensor([*camera.shift[0], camera.scale[0].log()]))
        image, mask = pictures_of(crops.images[:1], crops.masks[:1], torch.device("cpu"))
        prediction = model(*at_size(image, mask, SIZE), RENDERER)[0]
        drawn = drawn_masks(prediction.vertices, prediction.camera, FINE)
    own = Crops(crops.images[:1], (255 * drawn).byte().numpy(), crops.keypoints[:1], crops.seen[:1], crops.kept[:1])
    assert score(model, None, own, RENDERER).iou == 1
    assert model.training, "left as it was"


def test_scores_say_what_they_are():
    assert str(ModelScores(0.71234, 0.5)) == "mask IoU 0.712, PCK@0.1 0.500"
    assert ModelScores(0.71234, 0.5).as_facts() == {"iou": 0.7123, "pck": 0.5}


def test_pictures_are_averaged_over_pixels():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    averaged = torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]])
    assert all(map(torch.equal, at_size(image, image[0], 2), (averaged, averaged[0])))
    assert torch.equal(at_size(image, image[0], 4)[0], image)
