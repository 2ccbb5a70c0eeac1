"""The preconditioner that keeps a mesh smooth while single pictures pull at it, and the descent that goes with it."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from .topology import combinatorial_laplacian

BETAS = (0.9, 0.99)
"""Of Adam, as for all that is fitted to pictures."""


def falling(at: float, final: float) -> float:
    """Factor of a learning rate at a share of a descent: from 1 to `final` along half a cosine."""
    return final + (1 - final) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, at)))


class Preconditioner:
    """u = (I + strength * L) v of vertices v for a mesh's combinatorial Laplacian L, and back (Nicolet et al. 2021).

    A step on a few entries of u moves their whole neighbourhood. On the CPU the way back is a sparse substitution, a
    twentieth of the time of a product with the dense inverse; a GPU multiplies faster than it substitutes.
    """

    def __init__(self, faces: np.ndarray, count: int, strength: float, device: torch.device):
        laplacian = combinatorial_laplacian(faces, count)
        self._matrix = scipy.sparse.csc_matrix(scipy.sparse.eye(count) + strength * laplacian)
        if device.type == "cpu":
            self._factors = scipy.sparse.linalg.splu(self._matrix, "MMD_AT_PLUS_A", options={"SymmetricMode": True})
            self._solve = lambda u: _by_columns(self._factors.solve, u)
        else:
            inverse = torch.linalg.inv(torch.from_numpy(self._matrix.toarray()).to(device)).float()
            self._solve = lambda u: inverse @ u

    def latent(self, vertices: Tensor) -> Tensor:
        """u (H, V, 3) of vertices (H, V, 3)."""
        return _by_columns(lambda v: self._matrix @ v, vertices.detach())

    def vertices(self, latent: Tensor) -> Tensor:
        """v (H, V, 3) of latent coordinates u (H, V, 3), differentiable."""
        return _Solved.apply(latent, self._solve)


class _Solved(torch.autograd.Function):
    """A product with a symmetric matrix: the derivative is the same product."""

    @staticmethod
    def forward(ctx, latent, solve):  # type: ignore[override]
        ctx.solve = solve
        return solve(latent)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[override]
        return ctx.solve(gradient), None


def _by_columns(act, values: Tensor) -> Tensor:
    """What `act` makes of the columns (V, 3 H) of values (H, V, 3), back in their shape; in double precision."""
    hypotheses, count, _ = values.shape
    columns = values.cpu().permute(1, 0, 2).reshape(count, -1).double().numpy()
    made = torch.from_numpy(act(columns)).view(count, hypotheses, 3).permute(1, 0, 2)
    return made.contiguous().to(values)


class UniformAdam(torch.optim.Optimizer):
    """Adam with one second moment for a whole mesh, its largest (Nicolet et al. 2021).

    Plain Adam takes equal steps everywhere, so vertices that no picture constrains walk at random on the noise of their
    gradients; here they hardly move. Parameters are (H, V, 3), each hypothesis by itself.
    """

    def __init__(self, groups: list[dict]):
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state.update(count=0, first=torch.zeros_like(parameter), second=torch.zeros_like(parameter))
                state["count"] += 1
                state["first"].lerp_(parameter.grad, 1 - BETAS[0])
                state["second"].lerp_(parameter.grad.square(), 1 - BETAS[1])
                first = state["first"] / (1 - BETAS[0] ** state["count"])
                second = (state["second"] / (1 - BETAS[1] ** state["count"])).amax((1, 2), keepdim=True)
                parameter.sub_(group["lr"] * first / (second.sqrt() + 1e-12))
