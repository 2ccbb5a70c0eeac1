"""The smoothing preconditioner against dense matrices in double precision and against finite differences."""

import numpy as np
import pytest
import torch

from vmr_backend.geometry.smoothing import Preconditioner
from vmr_backend.geometry.sphere import icosphere

CPU = torch.device("cpu")
BALL = icosphere(2)
COUNT = len(BALL.vertices)


def smoothing_matrix(strength: float) -> np.ndarray:
    """(V, V) I + strength * L, entry by entry from the faces."""
    laplacian = np.zeros((COUNT, COUNT))
    for face in BALL.faces:
        for a, b in zip(face, np.roll(face, 1), strict=True):
            laplacian[a, b] = laplacian[b, a] = -1
    np.fill_diagonal(laplacian, -laplacian.sum(1))
    return np.eye(COUNT) + strength * laplacian


def shapes(hypotheses=3, dtype=torch.float64) -> torch.Tensor:
    random = np.random.default_rng(hypotheses)
    return torch.from_numpy(BALL.vertices + 0.3 * random.normal(size=(hypotheses, COUNT, 3))).to(dtype)


@pytest.mark.parametrize("hypotheses", [1, 3])
@pytest.mark.parametrize("strength", [0.0, 1.0, 10.0, 100.0])
def test_both_ways_are_products_with_the_matrix_and_its_inverse(strength, hypotheses):
    found, matrix = Preconditioner(BALL.faces, COUNT, strength, CPU), smoothing_matrix(strength)
    given = shapes(hypotheses)
    np.testing.assert_allclose(found.latent(given), matrix @ given.numpy(), atol=1e-9)
    np.testing.assert_allclose(found.vertices(given), np.linalg.inv(matrix) @ given.numpy(), atol=1e-10)


@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_there_and_back_in_single_precision_is_the_shape_itself(strength):
    found, given = Preconditioner(BALL.faces, COUNT, strength, CPU), shapes(4, torch.float32)
    back = found.vertices(found.latent(given))
    assert back.dtype == torch.float32 and back.shape == given.shape
    torch.testing.assert_close(back, given, atol=2e-5, rtol=0)


def test_each_hypothesis_is_smoothed_by_itself():
    found, given = Preconditioner(BALL.faces, COUNT, 5.0, CPU), shapes(3)
    together = found.vertices(given)
    for shape, alone in zip(together, given, strict=True):
        torch.testing.assert_close(shape[None], found.vertices(alone[None]), atol=1e-12, rtol=0)


def test_gradients_are_those_of_finite_differences():
    ball = icosphere(0)
    found = Preconditioner(ball.faces, 12, 3.0, CPU)
    latent = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 12, 3))).requires_grad_()
    assert torch.autograd.gradcheck(found.vertices, latent)


def test_a_gradient_is_the_transposed_inverse_of_what_pulls():
    found = Preconditioner(BALL.faces, COUNT, 10.0, CPU)
    latent, pull = shapes(2).requires_grad_(), shapes(2).flip(0)
    (found.vertices(latent) * pull).sum().backward()
    np.testing.assert_allclose(latent.grad, np.linalg.inv(smoothing_matrix(10.0)).T @ pull.numpy(), atol=1e-10)


def test_latent_coordinates_start_a_graph_of_their_own():
    assert not Preconditioner(BALL.faces, COUNT, 1.0, CPU).latent(shapes().requires_grad_()).requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: its dense inverse cannot be compared")
def test_a_gpu_gives_the_same():
    given = shapes(3, torch.float32)
    expected = Preconditioner(BALL.faces, COUNT, 10.0, CPU).vertices(given)
    found = Preconditioner(BALL.faces, COUNT, 10.0, torch.device("cuda")).vertices(given.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=0)
