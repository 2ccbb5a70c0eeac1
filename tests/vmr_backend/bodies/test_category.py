"""The shape of a category: bases that stay symmetric, blends between them, handles whose motions have closed forms."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_models import BALL, SPHERE, eggs, shape_of

from vmr_backend.bodies.category import (
    HANDLE_SIZE,
    MIRRORED,
    STEPPING,
    CategoryShape,
    Handles,
    basis_weights,
    lopsidedness,
    unevenness,
)
from vmr_backend.geometry.body import parts_of_body, spread_out
from vmr_backend.geometry.rotations import from_two_columns
from vmr_backend.geometry.sphere import mirror_image

MIRROR = torch.from_numpy(SPHERE.mirror)
FACES = torch.from_numpy(SPHERE.faces)
TURN = torch.tensor([0.3, -0.5, 0.8])


def legged() -> torch.Tensor:
    """(V, 3): an egg with two legs, which stand apart."""
    down = torch.relu(-BALL[:, 2] - 0.5)
    leg = torch.tensor([0.25, 0, -1.0]) * down[:, None] * torch.where(BALL[:, :1] != 0, 1.0, 0.0)
    return eggs(1)[0] + leg * torch.cat([BALL[:, :1].sign(), torch.ones(len(BALL), 2)], 1)


def idle(shape: CategoryShape, count: int = 1) -> torch.Tensor:
    return torch.zeros(count, shape.weights.shape[1], HANDLE_SIZE, dtype=shape.weights.dtype)


def matrix_of(turn: torch.Tensor) -> np.ndarray:
    return Rotation.from_rotvec(turn.numpy()).as_matrix()


def numpy_deformed(base: np.ndarray, weights: np.ndarray, handles: np.ndarray) -> np.ndarray:
    """Each handle's motion of each vertex, one after the other, then their weighted mean."""
    moved = np.zeros_like(base)
    for weight, (turn, scale, shift) in zip(weights.T, handles.reshape(-1, 3, 3), strict=True):
        centre = (weight[:, None] * base).sum(0) / weight.sum()
        turned = (base - centre) * np.exp(scale) @ Rotation.from_rotvec(turn).as_matrix().T
        moved += weight[:, None] * (turned + centre + shift)
    return moved


def test_bases_are_symmetric_whatever_pulls_at_them():
    shape = shape_of(eggs())
    torch.manual_seed(0)
    with torch.no_grad():
        shape.latent += torch.randn_like(shape.latent)
        bases = shape.bases()
    assert not torch.allclose(bases, eggs(), atol=0.01)
    assert torch.allclose(bases, mirror_image(bases, MIRROR), atol=1e-6)


def test_bases_are_those_that_it_was_made_of():
    assert torch.allclose(shape_of(eggs(3)).bases(), eggs(3), atol=1e-5)


def test_base_shapes_lie_between_the_bases():
    shape = shape_of(eggs(3))
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    weights = basis_weights(logits)
    assert (weights > 0).all() and torch.allclose(weights.sum(1), torch.ones(5))
    expected = np.tensordot(weights.numpy(), eggs(3).numpy(), 1)
    assert np.allclose(shape.base(weights).detach(), expected, atol=1e-5)


def test_idle_handles_leave_the_base_where_it_is():
    shape = shape_of(eggs())
    assert torch.allclose(shape.deformed(eggs(), idle(shape, 2)), eggs(), atol=1e-6)


def test_a_handle_that_holds_everything_moves_it_rigidly_about_its_centre():
    base = eggs(1) + torch.tensor([0.1, 0.2, -0.3])
    shape = CategoryShape(base, SPHERE, Handles(torch.ones(len(BALL), 1), torch.zeros(1, dtype=torch.int64)), 8.0)
    shift = torch.tensor([0.5, -0.2, 0.1])
    handles = torch.cat([TURN, torch.zeros(3), shift]).view(1, 1, HANDLE_SIZE)
    centre = base[0].mean(0).numpy()
    expected = (base[0].numpy() - centre) @ matrix_of(TURN).T + centre + shift.numpy()
    assert np.allclose(shape.deformed(base, handles)[0].detach(), expected, atol=1e-5)


def test_handles_that_all_turn_and_go_round_with_the_body_turn_it_rigidly():
    shape = shape_of(eggs(1))
    turned = torch.from_numpy(matrix_of(TURN)).float()
    centres = (shape.weights / shape.weights.sum(0)).T @ eggs(1)[0]
    handles = idle(shape)
    handles[0, :, :3], handles[0, :, 6:] = TURN, centres @ turned.T - centres
    assert torch.allclose(shape.deformed(eggs(1), handles), eggs(1) @ turned.T, atol=1e-5)


def test_vertices_follow_the_weighted_mean_of_their_handles():
    shape = shape_of(eggs())
    handles = 0.3 * torch.randn(2, shape.weights.shape[1], HANDLE_SIZE, generator=torch.Generator().manual_seed(0))
    found = shape.deformed(eggs(), handles)
    for base, given, moved in zip(eggs(), handles, found, strict=True):
        expected = numpy_deformed(base.double().numpy(), shape.weights.numpy(), given.double().numpy())
        assert np.allclose(moved.detach(), expected, atol=1e-5)


def test_derivatives_are_those_of_finite_differences():
    shape = shape_of(eggs()).double()
    random = torch.Generator().manual_seed(0)
    handles = 0.3 * torch.randn(1, shape.weights.shape[1], HANDLE_SIZE, generator=random, dtype=torch.float64)
    logits = torch.randn(1, 2, generator=random, dtype=torch.float64)

    def deformed(latent, logits, handles):
        vertices = shape.preconditioner.vertices(latent)
        bases = (vertices + mirror_image(vertices, MIRROR)) / 2
        base = torch.einsum("nb,bvc->nvc", basis_weights(logits), bases)
        return shape.deformed(base, handles)

    given = [values.detach().requires_grad_() for values in (shape.latent, logits, handles)]
    assert torch.allclose(deformed(*given), shape.deformed(shape.base(basis_weights(logits)), handles))
    assert torch.autograd.gradcheck(deformed, given, fast_mode=True)


@pytest.mark.parametrize("count", [1, 6, 20])
@pytest.mark.parametrize("body", [eggs(1)[0], legged()], ids=["egg", "legged"])
def test_handles_are_shared_out_wholly_and_alike_on_both_sides(body, count):
    handles = Handles.spread_over(body, SPHERE, count)
    assert count <= handles.weights.shape[1] <= count + 1
    assert (handles.weights >= 0).all()
    assert torch.allclose(handles.weights.sum(1), torch.ones(len(body)), atol=1e-6)
    assert torch.equal(handles.twin[handles.twin], torch.arange(len(handles.twin)))
    assert torch.allclose(handles.weights[MIRROR][:, handles.twin], handles.weights, atol=1e-6)
    assert (handles.weights.sum(0) > 0).all(), "none without a hold"


def test_mirrored_motions_of_twins_give_the_mirror_image():
    shape = shape_of(legged()[None], 12)
    handles = 0.3 * torch.randn(1, shape.weights.shape[1], HANDLE_SIZE, generator=torch.Generator().manual_seed(0))
    # A turn is an axial vector: mirrored at x = 0 it keeps its x and loses the signs of y and z.
    sign = torch.tensor([1.0, -1, -1, 1, 1, 1, -1, 1, 1])
    one = shape.deformed(legged()[None], handles)
    other = shape.deformed(legged()[None], handles[:, shape.twin] * sign)
    assert torch.allclose(other, mirror_image(one, MIRROR), atol=1e-5)


def test_only_the_middle_of_a_body_is_a_part_of_both_sides():
    parts = parts_of_body(legged(), BALL, FACES)
    assert parts.central.any() and not parts.central.all()
    assert (parts.held[parts.central, 0] == 0).all() and (parts.apart[parts.central, 0] == 0).all()
    assert torch.equal(parts.held[~parts.central], legged()[~parts.central])
    assert not parts.central[legged()[:, 2] < -0.5].any(), "legs that stand apart have no part in common"
    assert torch.equal(parts.central, parts.central[MIRROR])


def test_points_spread_out_over_everything_in_mirrored_pairs():
    none = torch.zeros(len(BALL), dtype=torch.bool)
    chosen = spread_out(BALL, none, MIRROR, 12)
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(MIRROR[chosen].tolist()) == set(chosen.tolist())
    # Twelve points, an icosahedron's corners, are 1.05 apart: the best that can be reached.
    assert torch.cdist(BALL, BALL[chosen]).amin(1).max() < 1.05


def test_two_columns_make_rotations_and_none_is_out_of_reach():
    assert torch.allclose(from_two_columns(torch.zeros(6)), torch.eye(3))
    random = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = from_two_columns(random)
    assert torch.allclose(found @ found.mT, torch.eye(3, dtype=torch.float64).expand(40, 3, 3), atol=1e-9)
    assert torch.allclose(torch.linalg.det(found), torch.ones(40, dtype=torch.float64))
    wanted = torch.from_numpy(Rotation.random(40, random_state=0).as_matrix())
    eye = torch.eye(3, dtype=torch.float64)
    given = (wanted[..., :2] - eye[:, :2]).mT.flatten(1)
    assert torch.allclose(from_two_columns(given), wanted, atol=1e-9)
    assert torch.autograd.gradcheck(from_two_columns, random.requires_grad_())


def test_a_pose_that_is_its_own_mirror_image_is_even_and_another_is_not():
    shape = shape_of(eggs(1), handles=9)
    free = 0.2 * torch.randn(4, shape.weights.shape[1], HANDLE_SIZE, generator=torch.Generator().manual_seed(0))
    signs = torch.tensor(MIRRORED) + torch.tensor([0.0] * 3 + [1] * 3 + [0] * 3)
    even = (free + signs * free[:, shape.twin]) / 2
    moved = shape.deformed(shape.bases().expand(4, -1, -1), even)
    torch.testing.assert_close(mirror_image(moved, shape.mirror), moved, rtol=0, atol=1e-5)
    for cost in (lopsidedness, unevenness):
        torch.testing.assert_close(cost(shape, even), torch.zeros(4), rtol=0, atol=1e-6)
        assert (cost(shape, free) > 1e-3).all()


def test_a_leg_that_steps_out_counts_by_its_distance_and_a_small_difference_by_its_square():
    shape = shape_of(eggs(1), handles=9)
    leg = int((shape.twin != torch.arange(len(shape.twin))).nonzero()[0])
    handles = torch.zeros(4, len(shape.twin), HANDLE_SIZE)
    handles[:, leg, 0] = torch.tensor([0.01, 0.02, 3.0, 6.0])
    small, twice, far, farther = lopsidedness(shape, handles).tolist()
    assert abs(twice / small - 4) < 0.1 and abs(farther / far - 2) < 2 * STEPPING / 3
