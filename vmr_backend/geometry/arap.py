"""As-rigid-as-possible energy: how far a deformation is from moving each neighbourhood rigidly."""

from __future__ import annotations

import torch
from torch import Tensor

NEWTON_STEPS = 20
"""From 1.7 times a covariance's size down to the trace that its best rotation reaches. Each at least halves what is
left, and six suffice where the rotation is well defined."""


@torch.no_grad()
def best_rotations(covariance: Tensor) -> Tensor:
    """Rotations R (..., 3, 3) that maximise trace(R @ covariance); constant for autograd.

    In closed form, a fifth of the time of a singular value decomposition and without a GPU's waiting for it: the
    trace x that R reaches is the largest root of the characteristic polynomial of Horn's 4x4 matrix (Horn 1987), found
    by Newton's method (Theobald 2005). With singular values s of the transposed covariance m, the last one bearing the
    sign of the determinant, x = s1 + s2 + s3, and R follows from m's powers and cofactors (Cayley and Hamilton).

    Where many rotations are best, as for neighbourhoods that fell on a line, the result is finite, but shorter than
    one.
    """
    m = covariance.double().mT
    m = m / m.square().sum((-1, -2), keepdim=True).sqrt().clamp_min(1e-30)
    cofactors = torch.linalg.cross(m.roll(-1, -2), m.roll(-2, -2))
    determinant = (m[..., :1, :] * cofactors[..., :1, :]).sum((-1, -2), keepdim=True)
    area = cofactors.square().sum((-1, -2), keepdim=True)
    x = torch.full_like(determinant, 3**0.5)
    linear, constant = 8 * determinant, 4 * area
    for _ in range(NEWTON_STEPS):
        beyond = x * x - 1
        x = x - (beyond * beyond - linear * x - constant) / (4 * x * beyond - linear)
    rotations = (x * x + 1) * m + 2 * x * cofactors - 2 * m @ m.mT @ m
    return (rotations / (x * (x * x - 1) - 2 * determinant)).to(covariance)


def arap_energy(rest: Tensor, posed: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """As-rigid-as-possible energy of a deformation (VMR Eq. 3; Sorkine and Alexa 2007).

    rest     (V, 3) or (..., V, 3), object units
    posed    (..., V, 3), object units
    edges    (E, 2), each edge once
    weights  (E,) or (..., E), cotangent weights of the rest mesh
    Returns (...,), object units: the weighted mean over edges of |(p_i - p_j) - R_i (r_i - r_j)|, seen from both ends;
    zero exactly where every neighbourhood moved rigidly. The best-fit rotations R are constants of the derivative.
    """
    i, j = edges.T
    before = rest[..., i, :] - rest[..., j, :]
    after = posed[..., i, :] - posed[..., j, :]
    # An edge adds the same to the covariance of either end: both its vectors change sign.
    outer = ((weights[..., None] * before).unsqueeze(-1) * after.unsqueeze(-2)).detach().flatten(-2)
    covariance = outer.new_zeros(*outer.shape[:-2], posed.shape[-2], 9)
    for end in (i, j):
        covariance.scatter_add_(-2, end.unsqueeze(-1).expand(outer.shape), outer)
    rotations = best_rotations(covariance.unflatten(-1, (3, 3)))
    length = sum(_length(after - (rotations[..., end, :, :] @ before.unsqueeze(-1)).squeeze(-1)) for end in (i, j))
    return (weights * length).sum(-1) / (2 * weights.sum(-1)).clamp_min(1e-9)


def _length(vectors: Tensor) -> Tensor:
    """(...,) of vectors (..., 3). The root of a sum with a floor keeps the derivative finite where it is zero."""
    return (vectors.square().sum(-1) + 1e-12).sqrt() - 1e-6
