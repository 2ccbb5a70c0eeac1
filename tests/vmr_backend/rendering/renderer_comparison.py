"""Compares a renderer's values and gradients with the reference's."""

import torch
from torch import Tensor


def gradients(draw, inputs: list[Tensor], seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of draw(*inputs), and gradients of a random weighting of them to each input; all float64, on the CPU."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = draw(*inputs)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    random = torch.Generator().manual_seed(seed)
    loss = sum((y.double().cpu() * torch.randn(y.shape, generator=random, dtype=torch.float64)).sum() for y in outputs)
    found = torch.autograd.grad(loss, inputs, materialize_grads=True)
    return [y.detach().double().cpu() for y in outputs], [g.double().cpu() for g in found]


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Every tensor within tolerance of the largest value of its counterpart."""
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert torch.isfinite(a).all()
        largest = b.abs().max().item() if b.numel() else 0.0
        error = (a - b).abs().max().item() if b.numel() else 0.0
        assert error <= tolerance * max(largest, 1e-3), f"differs by {error:.2e}, values reach {largest:.2e}"


def assert_matches(renderer, reference, method: str, inputs: list[Tensor], arguments, value=1e-4, gradient=1e-3):
    """renderer.method equals reference.method in values and gradients.

    inputs     differentiable tensors, float32
    arguments  function from those (on some device) to all arguments of the method
    """

    def drawn_by(one, dtype, device):
        def draw(*tensors):
            return getattr(one, method)(*arguments(*tensors))

        return gradients(draw, [x.to(device=device, dtype=dtype) for x in inputs])

    values, found = drawn_by(renderer, torch.float32, renderer.device)
    expected_values, expected = drawn_by(reference, torch.float64, "cpu")
    assert_same(values, expected_values, value)
    assert_same(found, expected, gradient)
