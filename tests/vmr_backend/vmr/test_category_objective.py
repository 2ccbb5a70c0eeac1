"""What a category's mesh should look like: each term is nothing where all is well and grows where it is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_models import BALL, RENDERER, eggs, level_camera, shape_of

from vmr_backend.geometry.cameras import WeakCamera
from vmr_backend.losses import keypoint_loss, weighted
from vmr_backend.vmr.objective import Targets, compared_of, terms

SIZE = 64
CAMERA = level_camera(2, 0.6, 1.4, (0.05, -0.1))
AFFINITY = torch.nn.functional.one_hot(torch.tensor([0, 20, 60, 100]), len(BALL)).float()
SHAPE = shape_of(eggs(1))
BASE = eggs(1).expand(2, -1, -1)


def seen(vertices: torch.Tensor, camera: WeakCamera) -> Targets:
    """What meshes look like."""
    points = camera.project(vertices)
    drawn = RENDERER.visibility(points, SHAPE.faces, SIZE).face_index >= 0
    inside = []
    for mask in drawn:
        rows, columns = torch.nonzero(mask, as_tuple=True)
        pick = torch.arange(0, len(rows), len(rows) // 100)[:100]
        inside.append((2 * torch.stack([columns[pick], rows[pick]], 1) + 1) / SIZE - 1)
    return Targets(drawn.float(), torch.stack(inside), AFFINITY @ points[..., :2], torch.ones(2, len(AFFINITY)))


TARGETS = seen(BASE, CAMERA)


def found(vertices=BASE, camera=CAMERA, affinity=AFFINITY) -> dict[str, torch.Tensor]:
    return terms(SHAPE, BASE, vertices, camera, affinity, TARGETS, RENDERER, torch.ones(2))


def bent() -> torch.Tensor:
    """The base with its front half turned up."""
    y = BASE[..., 1:2]
    return BASE + torch.tensor([0.0, 0, 1.0]) * torch.relu(-y)


def test_nothing_is_wrong_with_a_mesh_that_looks_as_it_should():
    for name, value in found().items():
        assert value.abs().max() < {"mask": 0.1, "contour": 0.03}.get(name, 1e-5), name


@pytest.mark.parametrize("name", ["mask", "contour", "keypoint"])
def test_a_mesh_elsewhere_costs_the_more_the_farther_it_is(name):
    values = [found(camera=replace(CAMERA, shift=CAMERA.shift + by))[name] for by in (0.0, 0.1, 0.2, 0.4)]
    assert (torch.stack(values).diff(dim=0) > 0).all()


def test_what_bends_or_stretches_a_mesh_costs_and_what_moves_it_whole_does_not_strain_it():
    turned = BASE @ torch.from_numpy(Rotation.from_rotvec([0.5, 1, -0.3]).as_matrix()).float() + 0.2
    assert found(turned)["arap"].max() < 1e-5
    assert found(bent())["arap"].min() > 0.01 and found(1.3 * BASE)["arap"].min() > 0.01
    assert np.allclose(found(BASE + torch.tensor([0.1, 0.2, 0]))["deformation"], 0.05, atol=1e-6)


def test_of_many_pictures_a_few_are_compared_with_their_base_and_stand_for_all():
    compared = compared_of(32, torch.Generator().manual_seed(0))
    assert (compared > 0).sum() == 8 and compared.mean() == 1
    drawn = terms(SHAPE, BASE, bent(), CAMERA, None, TARGETS, RENDERER, torch.tensor([0.0, 2]))["arap"]
    assert drawn[0] == 0 and torch.allclose(drawn[1], 2 * found(bent())["arap"][1])
    none = terms(SHAPE, BASE, bent(), CAMERA, None, TARGETS, RENDERER, torch.zeros(2))["arap"]
    assert torch.equal(none, torch.zeros(2))


def test_without_keypoints_there_is_no_term_of_them():
    assert set(found()) - set(found(affinity=None)) == {"keypoint"}


def test_gradients_of_all_terms_are_finite():
    torch.manual_seed(0)
    handles = (0.1 * torch.randn(2, SHAPE.weights.shape[1], 9)).requires_grad_()
    for name, value in found(SHAPE.deformed(BASE, handles), replace(CAMERA, shift=CAMERA.shift + 0.1)).items():
        gradient, = torch.autograd.grad(value.sum(), handles, retain_graph=True)
        assert gradient.isfinite().all() and gradient.any(), name


@pytest.mark.parametrize("name", ["mask", "contour", "keypoint"])
def test_a_mesh_elsewhere_is_drawn_back(name):
    shift = (CAMERA.shift + 0.1).requires_grad_()
    found(camera=replace(CAMERA, shift=shift))[name].sum().backward()
    assert (shift.grad > 0).all()


def test_weak_perspective_is_scaled_rotated_and_shifted():
    random = np.random.default_rng(0)
    rotation, points = Rotation.random(3, random_state=0).as_matrix(), random.normal(size=(3, 7, 3))
    scale, shift = random.uniform(0.5, 2, 3), random.normal(size=(3, 2))
    camera = WeakCamera(*(torch.from_numpy(values) for values in (rotation, scale, shift)))
    projected = camera.project(torch.from_numpy(points))
    for n in range(3):
        for p in range(7):
            at_camera = rotation[n] @ points[n, p]
            assert np.allclose(projected[n, p, :2], scale[n] * at_camera[:2] + shift[n])
    depth = np.einsum("nj,npj->np", rotation[:, 2], points)
    assert (np.argsort(projected[..., 2].numpy()) == np.argsort(depth)).all() and (projected[..., 2] > 0).all()
    some = camera[torch.tensor([2, 0])]
    assert torch.equal(some.project(torch.from_numpy(points[[2, 0]])), projected[[2, 0]])


def test_a_camera_in_front_sees_the_animals_left_on_the_right_and_its_top_at_the_top():
    points = torch.tensor([[[1.0, 0, 0], [0, 0, 1], [0, -1, 0], [0, 1, 0]]])
    left, top, front, back = level_camera().project(points)[0]
    assert left[0] > 0.9 and top[1] < -0.9 and front[2] < back[2]


def test_keypoints_cost_their_robust_distance_where_they_are_annotated():
    random = np.random.default_rng(0)
    projected, keypoints = random.normal(size=(2, 5, 6, 2))
    annotated = (random.random((5, 6)) < 0.6).astype(float)
    annotated[3] = 0
    expected = np.zeros(5)
    for n in range(5):
        costs = [np.linalg.norm([*(projected[n, k] - keypoints[n, k]), 0.02]) - 0.02
                 for k in range(6) if annotated[n, k]]
        expected[n] = np.mean(costs) if costs else 0
    given = keypoint_loss(*(torch.from_numpy(values) for values in (projected, keypoints, annotated)))
    assert np.allclose(given, expected)


def test_terms_without_a_weight_do_not_count():
    given = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([5.0]), "c": torch.tensor([torch.nan])}
    assert weighted(given, {"a": 2.0, "b": 0.5, "other": 7.0}) == 2 * 2 + 2.5
    assert weighted(given, {"b": 1.0, "c": 0.0}) == 5
