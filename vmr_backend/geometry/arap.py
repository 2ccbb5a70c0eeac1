"""As-rigid-as-possible energy: how far a deformation is from moving each neighbourhood rigidly."""

from __future__ import annotations

import torch
from torch import Tensor


def best_rotations(covariance: Tensor) -> Tensor:
    """Rotations R (..., 3, 3) that maximise trace(R @ covariance), by SVD; constant for autograd."""
    with torch.no_grad():
        u, _, vh = torch.linalg.svd(covariance)
        sign = torch.ones_like(covariance[..., 0])
        sign[..., 2] = torch.det(u @ vh)
        return (vh.mT * sign[..., None, :]) @ u.mT


def arap_energy(rest: Tensor, posed: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """As-rigid-as-possible energy of a deformation (VMR Eq. 3; Sorkine and Alexa 2007).

    rest     (V, 3) or (..., V, 3), object units
    posed    (..., V, 3), object units
    edges    (E, 2), each edge once
    weights  (E,) or (..., E), cotangent weights of the rest mesh
    Returns (...,), object units: the weighted mean over edges of |(p_i - p_j) - R_i (r_i - r_j)|, seen from both ends;
    zero exactly where every neighbourhood moved rigidly. The best-fit rotations R are constants of the derivative.
    """
    i, j = torch.cat([edges, edges.flip(1)]).T
    w = torch.cat([weights, weights], -1)
    before = rest[..., i, :] - rest[..., j, :]
    after = posed[..., i, :] - posed[..., j, :]
    outer = (w[..., None] * before).unsqueeze(-1) * after.unsqueeze(-2)
    covariance = outer.new_zeros(*outer.shape[:-3], posed.shape[-2], 3, 3).index_add(-3, i, outer)
    rotations = best_rotations(covariance)[..., i, :, :]
    residual = after - (rotations * before.unsqueeze(-2)).sum(-1)
    # The root of a sum with a floor keeps the derivative finite where the residual is zero.
    length = (residual.square().sum(-1) + 1e-12).sqrt() - 1e-6
    return (w * length).sum(-1) / w.sum(-1).clamp_min(1e-9)
