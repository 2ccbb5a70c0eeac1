"""Linear blend skinning with Gaussian bones."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_skin_weights(points: Tensor, centres: Tensor, precisions: Tensor, bones_per_vertex: int = 4) -> Tensor:
    """Share of each bone in each vertex (as in LASR): softmax over bones of minus the squared Mahalanobis distance.

    points (V, 3), centres (B, 3), precisions (B, 3, 3) factors A of the Gaussians, distance = |A (x - c)|.
    Returns (V, B); only the largest `bones_per_vertex` of a row are above zero, rows sum to 1.
    """
    offset = points[:, None] - centres
    logits = -(precisions @ offset.unsqueeze(-1)).squeeze(-1).square().sum(-1)
    # By index, not by a threshold: of bones equally near no more are kept than may be.
    kept = logits.topk(min(bones_per_vertex, logits.shape[1]), dim=1).indices
    dropped = torch.ones_like(logits, dtype=torch.bool).scatter(1, kept, False)
    return logits.masked_fill(dropped, -torch.inf).softmax(1)


def blend_skinning(rest: Tensor, weights: Tensor, rotations: Tensor, translations: Tensor) -> Tensor:
    """Vertices moved by the weighted mean of their bones' transforms.

    rest (V, 3); weights (V, B); rotations (..., B, 3, 3) and translations (..., B, 3): x -> R x + t in object space.
    Returns (..., V, 3).
    """
    transforms = torch.cat([rotations, translations.unsqueeze(-1)], -1)
    blended = (weights @ transforms.flatten(-2)).unflatten(-1, (3, 4))
    return (blended[..., :3] @ rest.unsqueeze(-1)).squeeze(-1) + blended[..., 3]
