"""Linear blend skinning with Gaussian bones."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_skin_weights(points: Tensor, centres: Tensor, precisions: Tensor, apart: Tensor | float = 0.0,
                          bones_per_vertex: int = 4) -> Tensor:
    """Skin weights of bones (as in LASR): softmax over bones of minus the squared Mahalanobis distance.

    points (V, 3), centres (B, 3), precisions (B, 3, 3) factors A of the Gaussians, distance = |A (x - c)|, apart (V, B)
    added to its square.
    Returns (V, B); only the largest `bones_per_vertex` of a row are above zero, rows sum to 1.
    """
    # One product of two matrices for all points and bones: many small ones take ten times as long.
    origin = (precisions @ centres.unsqueeze(-1)).flatten()
    logits = -(points @ precisions.flatten(0, 1).T - origin).unflatten(1, (-1, 3)).square().sum(-1) - apart
    # By index, not by a threshold: of bones equally near no more are kept than may be.
    kept = logits.topk(min(bones_per_vertex, logits.shape[1]), dim=1).indices
    dropped = torch.ones_like(logits, dtype=torch.bool).scatter(1, kept, False)
    return logits.masked_fill(dropped, -torch.inf).softmax(1)


def blend_skinning(rest: Tensor, weights: Tensor, rotations: Tensor, translations: Tensor) -> Tensor:
    """Vertices moved by the weighted mean of their bones' transforms.

    rest (V, 3); weights (V, B); rotations (..., B, 3, 3) and translations (..., B, 3): x -> R x + t in object space.
    Returns (..., V, 3).
    """
    transforms = torch.cat([rotations.mT, translations.unsqueeze(-2)], -2).flatten(-3, -2)
    weighted = weights.unsqueeze(-1) * torch.cat([rest, rest.new_ones(len(rest), 1)], 1).unsqueeze(1)
    return weighted.flatten(1) @ transforms


def rigid_motions(rest: Tensor, moved: Tensor, weights: Tensor, damping: float = 0.0) -> tuple[Tensor, Tensor]:
    """Each bone's rigid motion that comes nearest to how its vertices have moved (Kabsch 1976).

    rest (V, 3), moved (T, V, 3), skin weights (V, B); damping, in units of the bone's square extent, favours no
    rotation: it decides what the vertices leave open, as how far a thin limb has twisted.
    Returns rotations (T, B, 3, 3) and translations (T, B, 3) with x -> R x + t in object space.
    """
    dtype = moved.dtype  # in float64, for rounding would turn a bone about the line of only two vertices
    rest, moved, weights = rest.double(), moved.double(), weights.double()
    weights = weights / weights.sum(0).clamp_min(1e-9)
    start, end = weights.T @ rest, weights.T @ moved
    weighted = (weights.unsqueeze(-1) * (rest.unsqueeze(1) - start)).flatten(1)
    outer = (weighted.T @ moved).unflatten(1, (-1, 3)).mT
    size = (weights.T @ rest.square()).sum(-1) - start.square().sum(-1)
    u, _, vt = torch.linalg.svd(outer + (damping * size + 1e-6)[:, None, None] * torch.eye(3).to(outer))
    proper = torch.ones_like(end)
    proper[..., 2] = torch.linalg.det(u @ vt).sign()
    rotations = u * proper.unsqueeze(-2) @ vt
    return rotations.to(dtype), (end - (rotations @ start.unsqueeze(-1)).squeeze(-1)).to(dtype)
