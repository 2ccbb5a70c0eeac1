"""Edges of a triangle mesh and the Laplacians made from them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def edges_of(faces: np.ndarray) -> np.ndarray:
    """Each edge once: (E, 2) int64, lower vertex first, from faces (F, 3)."""
    return np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2), axis=0)


def neighbouring_faces(faces: np.ndarray) -> np.ndarray:
    """Pairs (E, 2) of the faces (F, 3) of a closed mesh that share an edge."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2)
    order = np.lexsort(sides.T)
    return (order // 3).reshape(-1, 2)


def combinatorial_laplacian(faces: np.ndarray, count: int) -> Tensor:
    """Dense (V, V) float32 symmetric matrix L = D - A."""
    i, j = edges_of(faces).T
    adjacency = torch.zeros(count, count)
    adjacency[i, j] = adjacency[j, i] = 1.0
    return torch.diag(adjacency.sum(1)) - adjacency


def cotangent_weights(vertices: Tensor, faces: Tensor, edges: Tensor) -> Tensor:
    """Half the sum of the cotangents of the angles opposite each edge (Pinkall and Polthier 1993).

    vertices (..., V, 3), faces (F, 3), edges (E, 2) as from `edges_of`. Returns (..., E), never below zero: obtuse
    angles would make an energy built on them unbounded.
    """
    count = int(faces.max()) + 1
    order = torch.argsort(edges[:, 0] * count + edges[:, 1])
    keys = (edges[:, 0] * count + edges[:, 1])[order]
    weights = vertices.new_zeros(*vertices.shape[:-2], len(edges))
    for apex, left, right in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        a = vertices[..., faces[:, left], :] - vertices[..., faces[:, apex], :]
        b = vertices[..., faces[:, right], :] - vertices[..., faces[:, apex], :]
        cotangent = (a * b).sum(-1) / torch.linalg.cross(a, b).norm(dim=-1).clamp_min(1e-9)
        low, high = torch.minimum(faces[:, left], faces[:, right]), torch.maximum(faces[:, left], faces[:, right])
        edge = order[torch.searchsorted(keys, low * count + high)]
        weights = weights.index_add(-1, edge, cotangent / 2)
    return weights.clamp_min(0)
