"""Meshes fitted to single pictures: they come nearer to masks and keypoints, by a descent that is Adam's."""

from dataclasses import fields

import pytest
import torch
from tiny_trainings import AFFINITY, BODY, RENDERER, WEIGHTS, drawn_masks, toy_examples, toy_shape

from vmr_backend.geometry.cameras import WeakCamera
from vmr_backend.geometry.rotations import about_x, about_z, angle_between
from vmr_backend.training.instances import Instances, descend
from vmr_backend.vmr.objective import Targets, samples_inside

COUNT = 6


@pytest.fixture(scope="module")
def examples():
    return toy_examples(COUNT, seed=1, bend=0.15)


def targets_of(examples) -> Targets:
    chance = torch.rand(COUNT, 256, generator=torch.Generator().manual_seed(0))
    return Targets(examples.masks, samples_inside(examples.masks, chance), examples.keypoints, examples.annotated)


def start_of(examples) -> Instances:
    """Undeformed, and somewhat beside the truth."""
    c = examples.camera
    off = about_x(torch.tensor(0.1)) @ about_z(torch.tensor(-0.1))
    return Instances.of(WeakCamera(off @ c.rotation, 0.9 * c.scale, c.shift + 0.05), toy_shape().weights.shape[1])


def fitted(examples, steps: int = 30, weights=WEIGHTS, fit_shape: bool = False, shape=None):
    """(instances, the last terms)"""
    torch.manual_seed(0)
    instances, told = start_of(examples), []
    descend(shape or toy_shape(), instances, targets_of(examples), AFFINITY, [torch.arange(COUNT)] * steps, weights,
            RENDERER, fit_shape, told.append)
    return instances, told


@torch.no_grad()
def quality(examples, instances, shape=None) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask IoU and mean distance of keypoints, of each picture."""
    shape = shape or toy_shape()
    vertices = shape.deformed(shape.base(torch.ones(1, 1)).expand(COUNT, -1, -1), instances.handles)
    drawn, mask = drawn_masks(vertices, instances.camera) > 0.5, examples.masks > 0.5
    points = (AFFINITY @ instances.camera.project(vertices))[..., :2]
    distance = (points - examples.keypoints).norm(dim=-1) * examples.annotated
    return (drawn & mask).sum((1, 2)) / (drawn | mask).sum((1, 2)), distance.sum(1) / examples.annotated.sum(1)


def test_meshes_come_nearer_to_masks_and_keypoints(examples):
    (overlap, distance), (better, nearer) = (quality(examples, one) for one in (
        start_of(examples), fitted(examples)[0]))
    assert (better > overlap).all() and better.mean() > overlap.mean() + 0.25, "from 0.5; the best there is, is 1"
    assert (nearer < distance).all() and nearer.mean() < 0.2 * distance.mean()


def test_cameras_of_undeformed_animals_are_found():
    examples = toy_examples(COUNT, seed=3, bend=0.0)
    found = fitted(examples, weights=WEIGHTS | {"handle": 10.0})[0].camera
    truth = examples.camera
    assert angle_between(found.rotation, truth.rotation).rad2deg().mean() < 3, "from 8 degrees"
    assert (found.scale / truth.scale).log().abs().mean() < 0.06 and (found.shift - truth.shift).abs().mean() < 0.015


def test_a_fit_is_the_same_each_time(examples):
    one, other = (fitted(examples, 5)[0] for _ in range(2))
    for field in fields(one):
        assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name


def test_pictures_that_are_not_looked_at_rest(examples):
    instances, before = start_of(examples), start_of(examples)
    descend(toy_shape(), instances, targets_of(examples), AFFINITY, [torch.tensor([1, 4])] * 2, WEIGHTS, RENDERER,
            False, lambda _: None)
    for number in range(COUNT):
        assert torch.equal(instances.placement[number], before.placement[number]) == (number not in (1, 4))


def test_a_picture_without_a_camera_harms_no_other(examples):
    instances = start_of(examples)
    instances.placement[2] = torch.nan
    descend(toy_shape(), instances, targets_of(examples), AFFINITY, [torch.arange(COUNT)] * 3, WEIGHTS, RENDERER,
            False, lambda _: None)
    others = torch.arange(COUNT) != 2
    assert instances.handles[others].isfinite().all() and instances.placement[others].isfinite().all()
    assert not instances.placement[2].isfinite().any()


def test_the_shape_is_learnt_only_if_asked_for(examples):
    for asked in (False, True):
        shape = toy_shape()
        fitted(examples, 3, fit_shape=asked, shape=shape)
        assert torch.allclose(shape.bases()[0], BODY, atol=1e-4) != asked


def test_a_mean_shape_is_learnt_that_explains_the_pictures_better():
    examples = toy_examples(COUNT, seed=2, bend=0.0)
    shape = toy_shape()
    with torch.no_grad():
        shape.latent.copy_(shape.preconditioner.latent(BODY[None] * torch.tensor([1.0, 0.75, 1.3])))
    held = WEIGHTS | {"handle": 10.0, "laplacian": 1.0}
    before = quality(examples, start_of(examples), shape)[0].mean()
    fitted(examples, 40, held, True, shape)
    off = (BODY * torch.tensor([0, -0.25, 0.3])).norm(dim=1).mean()
    assert (shape.bases()[0] - BODY).norm(dim=1).mean() < 0.7 * off
    assert before < 0.8


def test_legs_of_one_length_cost_nothing_and_others_do(examples):
    told = fitted(examples, 1)[1]
    assert torch.equal(told[0]["proportion"], torch.zeros(COUNT)) and torch.equal(told[0]["handle"], torch.zeros(COUNT))
    uneven = start_of(examples)
    shape = toy_shape()
    one_sided = int((shape.twin != torch.arange(len(shape.twin))).nonzero()[0])
    uneven.handles[:, one_sided, 3] = 0.5
    told = []
    descend(shape, uneven, targets_of(examples), AFFINITY, [torch.arange(COUNT)], WEIGHTS, RENDERER, False, told.append)
    assert torch.allclose(told[0]["proportion"], torch.full((COUNT,), 2 * 0.25 / len(shape.twin)))
