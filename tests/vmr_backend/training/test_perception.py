"""The perceptual distance: nothing between alike pictures, blind outside the masks, and fixed."""

import pytest
import torch
from tiny_trainings import drawn_masks, toy_examples, toy_trainer
from torch.nn import functional

from vmr_backend.training.perception import Perception
from vmr_backend.vmr.encoders import ResNet18, cut_out
from vmr_backend.vmr.texture import Painted


@pytest.fixture(scope="module")
def perception():
    torch.manual_seed(0)
    return Perception(ResNet18(1, 1).state_dict())


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


EVERYWHERE = torch.ones(2, 64, 64)


def test_it_is_the_angle_between_features(perception, images):
    other = images.flip(0).contiguous()
    maps, other_maps = (perception.network(cut_out(some, EVERYWHERE))[0] for some in (images, other))
    expected = torch.stack([2 - 2 * functional.cosine_similarity(a, b, dim=1).mean((1, 2))
                            for a, b in zip(maps, other_maps, strict=True)]).mean(0)
    found = perception(Painted(other, EVERYWHERE.bool()), images, EVERYWHERE)
    assert torch.allclose(found, expected, atol=1e-4) and (found > 0.01).all()
    assert perception(Painted(images, EVERYWHERE.bool()), images, EVERYWHERE).abs().max() < 1e-6


def test_what_lies_outside_the_mask_or_the_mesh_does_not_count(perception, images):
    masks, covered = EVERYWHERE.clone(), EVERYWHERE.bool()
    masks[:, :, :20], covered[:, 50:] = 0, False
    changed = images.clone()
    changed[..., :20], changed[:, :, 50:] = 0.5, 0.1
    assert perception(Painted(changed, covered), images, masks).abs().max() < 1e-6
    nothing = perception(Painted(changed, covered), images, torch.zeros_like(masks))
    assert nothing.abs().max() < 1e-6 and nothing.isfinite().all()


def test_a_training_learns_by_it_and_leaves_it_alone(perception):
    before = {name: value.clone() for name, value in perception.state_dict().items()}
    examples = toy_examples()
    trainer, plain = toy_trainer(examples, perception=perception), toy_trainer(examples)
    assert trainer.update()["texture"] != pytest.approx(plain.update()["texture"], rel=0.01)
    assert trainer.model.flow_correction.flow.weight.any(), "it was trained"
    assert all(torch.equal(value, before[name]) for name, value in perception.state_dict().items())
    assert not any("perception" in name for name in trainer.tensors()), "no part of a checkpoint"


def test_gradients_reach_the_painting(perception):
    examples = toy_examples(2, size=64)
    covered = drawn_masks(examples.vertices, examples.camera, 64).bool()
    painting = Painted((examples.images * 0.5).requires_grad_(), covered)
    perception(painting, examples.images, examples.masks).sum().backward()
    assert painting.images.grad.isfinite().all() and painting.images.grad.any()
