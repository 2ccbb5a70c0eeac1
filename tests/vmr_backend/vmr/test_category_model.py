"""The network of a category: what it predicts before it is trained, at any size, and which weights it takes."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.special import log_softmax
from tiny_models import RENDERER, SPHERE, eggs, level_camera, model_of, pictures, shape_of, taught_a_little
from torch.nn import functional

from vmr_backend.geometry.cameras import WeakCamera
from vmr_backend.vmr.encoders import Landmarks, ResNet18, cut_out, heatmap_loss, local_soft_argmax, standardised
from vmr_backend.vmr.model import MISFIT, in_object

USUAL = torch.tensor([0.1, -0.05, math.log(0.7)])


def torchvision_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in torchvision's file of ResNet-18's weights."""
    def norm(name, width):
        return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}

    shapes = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64)
    before = 64
    for layer, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{layer}.{block}"
            shapes |= {f"{name}.conv1.weight": (width, before, 3, 3)} | norm(f"{name}.bn1", width)
            shapes |= {f"{name}.conv2.weight": (width, width, 3, 3)} | norm(f"{name}.bn2", width)
            if before != width:
                shapes |= {f"{name}.downsample.0.weight": (width, before, 1, 1)} | norm(f"{name}.downsample.1", width)
            before = width
    return shapes | {"fc.weight": (1000, 512), "fc.bias": (1000,)}


def weights() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {name: (0.5 + torch.rand(shape, generator=random) if len(shape) == 1 else
                   torch.randn(shape, generator=random) / math.sqrt(math.prod(shape[1:])))
            for name, shape in torchvision_shapes().items()}


def features(w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """ResNet-18's last convolutional features, from its published description."""
    def norm(name, x):
        mean, variance = (w[f"{name}.running_{part}"][:, None, None] for part in ("mean", "var"))
        return (x - mean) / (variance + 1e-5).sqrt() * w[f"{name}.weight"][:, None, None] \
            + w[f"{name}.bias"][:, None, None]

    x = functional.conv2d(x, w["conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(norm("bn1", x).relu(), 3, 2, 1)
    for layer in range(1, 5):
        for block in range(2):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            beside = x
            if stride == 2:
                beside = norm(f"{name}.downsample.1", functional.conv2d(x, w[f"{name}.downsample.0.weight"], stride=2))
            y = norm(f"{name}.bn1", functional.conv2d(x, w[f"{name}.conv1.weight"], stride=stride, padding=1)).relu()
            x = (norm(f"{name}.bn2", functional.conv2d(y, w[f"{name}.conv2.weight"], padding=1)) + beside).relu()
    return x


@pytest.mark.parametrize("encoder", ["small", "resnet18"])
@pytest.mark.parametrize("size", [64, 96])
@torch.no_grad()
def test_every_refinement_is_finite_at_any_size(encoder, size):
    model = taught_a_little(model_of(encoder=encoder, image_size=size, refinements=2)).eval()
    images, masks = pictures(3, size)
    initial = model.initial_prediction(images, masks)
    predictions = list(model.refinements(initial.encoding, model.predict(initial.state), RENDERER))
    assert len(predictions) == 3
    for before, prediction in itertools.pairwise(predictions):
        state = prediction.state
        assert not torch.equal(state.handles, before.state.handles)
        eye = torch.eye(3).expand(3, 3, 3)
        assert torch.allclose(state.rotation @ state.rotation.mT, eye, atol=1e-5)
        assert prediction.vertices.isfinite().all() and prediction.camera.scale.isfinite().all()
    assert torch.equal(prediction.vertices, model(images, masks, RENDERER)[0].vertices)
    flow = model.texture_flow(initial.encoding.code, prediction, RENDERER, size)
    assert flow.shape == (3, 64, 128, 2) and flow.isfinite().all()


@torch.no_grad()
def test_untrained_it_predicts_the_mean_shape_at_the_mean_placement():
    model = model_of(refinements=2)
    model.usual_place.copy_(USUAL)
    prediction, first = model(*pictures(3, 64), RENDERER)
    assert torch.allclose(prediction.vertices, eggs(2).mean(0).expand(3, -1, -1), atol=1e-5)
    assert torch.allclose(prediction.camera.shift, USUAL[:2].expand(3, 2))
    assert torch.allclose(prediction.camera.scale, torch.full((3,), 0.7))
    assert torch.allclose(first.hypotheses.logits.softmax(1), torch.full((3, 4), 0.25))
    assert torch.allclose(first.hypotheses.rotations, model.anchors.expand(3, 4, 3, 3))


@torch.no_grad()
def test_refinements_change_nothing_until_they_are_trained():
    model = taught_a_little(model_of(refinements=2))
    for parameter in (*model.correction.parameters(), *model.direct_correction.parameters()):
        parameter.zero_()
    prediction, initial = model(*pictures(3, 64), RENDERER)
    assert torch.allclose(prediction.state.flat(), initial.state.flat(), atol=1e-6)


def test_vectors_of_the_picture_move_points_by_as_much():
    camera = replace(level_camera(2, 0.7, 0.8), scale=torch.tensor([0.8, 1.3]))
    random = torch.Generator().manual_seed(0)
    points, vectors = torch.randn(2, 5, 3, generator=random), torch.randn(2, 5, 2, generator=random)
    moved = camera.project(points + in_object(vectors, camera)) - camera.project(points)
    assert torch.allclose(moved[..., :2], vectors, atol=1e-5) and moved[..., 2].abs().max() < 1e-5


@torch.no_grad()
def test_gradients_of_masks_move_the_mesh_towards_them():
    model = model_of()
    eggs_seen, camera = eggs(1), level_camera(1, 0.4, 0.8)
    points = camera.project(eggs_seen)
    mask = (RENDERER.visibility(points, model.shape.faces, 64).face_index >= 0).float()
    beside = replace(camera, shift=torch.tensor([[0.1, -0.05]]))
    for pull, still in zip(model._mask_gradients(beside, eggs_seen, mask, RENDERER),
                           model._mask_gradients(camera, eggs_seen, mask, RENDERER), strict=True):
        back = camera.project(pull.sum(1, keepdim=True))[0, 0, :2]
        assert torch.cosine_similarity(back, torch.tensor([-0.1, 0.05]), dim=0) > 0.95
        assert still.sum(1).norm() < 0.2 * pull.sum(1).norm(), "what fits is left alone"


@torch.no_grad()
def test_the_camera_is_taken_of_high_probability_and_small_residuals_of_the_landmarks():
    model = taught_a_little(model_of())
    first = model.initial_prediction(*pictures(4, 64))
    points = model.predict(first.state).vertices[:, model.landmarks]
    for number in range(4):
        costs = []
        for rotation, probability in zip(first.hypotheses.rotations[number], first.hypotheses.logits[number].softmax(0),
                                    strict=True):
            camera = WeakCamera(rotation[None], first.state.camera.scale[[number]], first.state.camera.shift[[number]])
            off = (camera.project(points[[number]])[0, :, :2] - first.encoding.landmarks[number]).norm(dim=-1).mean()
            costs.append(off / MISFIT - probability.log())
        best = int(torch.stack(costs).argmin())
        assert torch.equal(first.state.rotation[number], first.hypotheses.rotations[number, best])


@torch.no_grad()
def test_heatmaps_of_landmarks_are_as_fine_as_the_finest_map():
    maps = [torch.zeros(1, 8, 16, 16), torch.zeros(1, 16, 8, 8)]
    assert Landmarks((8, 16), 3)(maps).shape == (1, 3, 16, 16)


def test_landmarks_are_at_the_maximum_of_a_heatmap_and_not_between_two_legs():
    heat = torch.full((1, 3, 16, 16), -50.0)
    heat[0, 0, 5, 12] = heat[0, 1, 0, 0] = 0
    # Two legs, one hotter; of its heat a quarter lies in the next cell.
    heat[0, 2, 9, [2, 3, 13]] = torch.log(torch.tensor([0.45, 0.15, 0.4]))
    positions, confidence = local_soft_argmax(heat)
    expected = torch.tensor([[25 / 16 - 1, 11 / 16 - 1], [1 / 16 - 1, 1 / 16 - 1], [5.5 / 16 - 1, 19 / 16 - 1]])
    assert torch.allclose(positions[0], expected, atol=1e-4)
    assert torch.allclose(confidence[0], torch.tensor([1.0, 1.0, 0.6]), atol=1e-4)


def test_the_loss_of_a_heatmap_is_what_bilinear_interpolation_makes_of_it():
    """Against SciPy's interpolation of the log probabilities."""
    random = np.random.default_rng(3)
    heat = random.normal(size=(2, 5, 8, 12))
    positions = random.uniform(-0.85, 0.85, size=(2, 5, 2))
    log_probability = log_softmax(heat.reshape(2, 5, -1), axis=-1).reshape(heat.shape)
    expected = [[-map_coordinates(log_probability[n, m], [[(y + 1) * 4 - 0.5], [(x + 1) * 6 - 0.5]], order=1)[0]
                 for m, (x, y) in enumerate(positions[n])] for n in range(2)]
    found = heatmap_loss(torch.from_numpy(heat), torch.from_numpy(positions))
    assert np.allclose(found, expected, atol=1e-12)


def test_positions_beyond_the_picture_count_at_its_rim():
    heat = torch.zeros(1, 1, 4, 4).requires_grad_()
    heatmap_loss(heat, torch.tensor([[[1.5, 0.25]]])).sum().backward()
    assert heat.grad[0, 0, 2, 3] < -0.9 and (heat.grad > 0).sum() == 15


def test_landmarks_are_spread_over_both_sides():
    model = model_of()
    chosen = set(model.landmarks.tolist())
    assert len(chosen) == len(model.landmarks) >= 64
    apart = torch.cdist(model.shape.places, model.shape.places[model.landmarks]).amin(1)
    assert apart.max() < 0.6, "no part of the body is without"


def test_hypotheses_look_from_all_round():
    anchors = model_of(hypotheses=8).anchors
    towards = anchors[:, 2]
    assert torch.allclose(towards[:, 2], torch.zeros(8), atol=1e-6), "level"
    headings = torch.atan2(towards[:, 0], towards[:, 1]).sort().values
    assert torch.allclose(headings.diff(), torch.full((7,), math.pi / 4), atol=1e-4)


def test_the_background_does_not_count():
    model = taught_a_little(model_of()).eval()
    images, masks = pictures(2, 64)
    elsewhere = torch.where(masks.unsqueeze(1) > 0, images, 1 - images)
    assert torch.equal(*(model.initial_prediction(some, masks).encoding.code for some in (images, elsewhere)))


def test_every_part_of_the_network_has_gradients():
    model = taught_a_little(model_of())
    images, masks = pictures(2, 64)
    prediction, first = model(images, masks, RENDERER)
    flow = model.texture_flow(first.encoding.code, prediction, RENDERER, 64)
    again = model.predict(first.state)
    loss = sum(value.square().sum() for value in (prediction.vertices, prediction.camera.project(prediction.vertices),
                                                  again.vertices, again.camera.project(again.vertices), flow,
                                                  first.hypotheses.logits, first.hypotheses.rotations[:, :, 0, 0]))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_resnet18_takes_torchvisions_weights_and_computes_what_it_does():
    network, state = ResNet18(1, 16).eval(), weights()
    network.load_imagenet(state)
    own = {name for name in network.state_dict()
           if not name.startswith(("code.", "conv1_extra.")) and not name.endswith("num_batches_tracked")}
    assert own == {name for name in state if not name.startswith("fc.")}
    images, masks = pictures(2, 64)
    seen: list[torch.Tensor] = []
    network.layer4.register_forward_hook(lambda module, given, found: seen.append(found))
    with torch.no_grad():
        network(torch.cat([images, masks.unsqueeze(1)], 1))
        expected = features(state, images)
    assert torch.allclose(seen[0], expected, rtol=1e-3, atol=1e-3 * expected.abs().max())


@pytest.mark.parametrize("harm", [
    lambda state: state.pop("layer3.1.bn2.running_var"),
    lambda state: state.update({"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}),
    lambda state: state.update({"conv1.weight": "text"}),
    lambda state: state.clear()], ids=["without", "of another shape", "no tensor", "nothing"])
def test_other_weights_are_refused_in_a_line(harm):
    state = weights()
    harm(state)
    network = ResNet18(1, 16)
    before = network.layer4[0].conv1.weight.clone()
    with pytest.raises(ValueError, match="^found .*needs .*resnet18$") as caught:
        network.load_imagenet(state)
    assert "\n" not in str(caught.value)
    assert torch.equal(network.layer4[0].conv1.weight, before)


def test_pictures_are_standardised_as_imagenets_weights_expect_them():
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert torch.allclose(standardised(grey), torch.zeros(1, 3, 8, 8), atol=1e-6)
    white = standardised(torch.ones(1, 3, 8, 8))[0, :, 0, 0]
    assert torch.allclose(white, torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    assert torch.equal(cut_out(grey, torch.zeros(1, 8, 8)), torch.zeros(1, 4, 8, 8))


def test_the_sphere_of_a_shape_is_the_one_that_it_was_made_on():
    sphere = shape_of(eggs()).sphere
    assert (sphere.faces == SPHERE.faces).all() and (sphere.mirror == SPHERE.mirror).all()
    assert abs(sphere.vertices - SPHERE.vertices).max() < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("scale", [20.0, math.nan])
def test_a_picture_whose_refinement_diverges_keeps_its_prediction(scale):
    model = taught_a_little(model_of(image_size=64, refinements=2)).eval()
    initial = model.initial_prediction(*pictures(3, 64))
    before = model.predict(initial.state)
    corrected, count = model._corrected, 0

    def diverging(encoding, prediction, renderer):
        nonlocal count
        state, count = corrected(encoding, prediction, renderer), count + 1
        if count == 2:
            state.placement[1, 2] = scale
        return state

    model._corrected = diverging
    found = model.refined(initial.encoding, before, RENDERER)
    *_, last = model_refinements = list(model.refinements(initial.encoding, before, RENDERER))
    assert len(model_refinements) == 3
    for value, early, late in zip(found.state.values(), before.state.values(), last.state.values(), strict=True):
        assert torch.equal(value[1], early[1])
        assert torch.equal(value[[0, 2]], late[[0, 2]])
    assert found.vertices.isfinite().all()
