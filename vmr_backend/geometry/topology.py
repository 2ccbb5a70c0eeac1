"""Edges of a triangle mesh, the Laplacians made from them, and winding numbers.

Any triangles over any vertices are a mesh: with borders, of several parts, with vertices without faces, with edges of
more than two faces, or with one side only, like a Moebius strip.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from torch import Tensor


def edges_of(faces: np.ndarray) -> np.ndarray:
    """Each edge once: (E, 2) int64, lower vertex first, from faces (F, 3)."""
    return np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2), axis=0)


def neighbouring_faces(faces: np.ndarray) -> np.ndarray:
    """(P, 3): every pair of faces (F, 3) that share an edge, and 1 where both turn the same side outward, else -1.

    An edge of n faces has n (n - 1) / 2 pairs, none where it is a border. Faces that turn the same side outward run
    along their common edge in opposite directions; where they do not, the normal of one points to the other's back.
    """
    sides = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    forward, sides = sides[:, 0] < sides[:, 1], np.sort(sides, axis=1)
    order = np.lexsort(sides.T)
    forward, sides = forward[order], sides[order]
    pairs, step = [np.zeros((0, 3), int)], 1
    while len(first := np.flatnonzero((sides[step:] == sides[:-step]).all(1))):
        alike = np.where(forward[first] != forward[first + step], 1, -1)
        pairs.append(np.stack([order[first] // 3, order[first + step] // 3, alike], 1))
        step += 1
    return np.concatenate(pairs)


def combinatorial_laplacian(faces: np.ndarray, count: int) -> scipy.sparse.csr_matrix:
    """Sparse symmetric (V, V) float64 matrix L = D - A of so many vertices; those without faces have empty rows."""
    i, j = edges_of(faces).T
    adjacency = scipy.sparse.coo_matrix((np.ones(len(i)), (i, j)), (count, count))
    adjacency = adjacency + adjacency.T
    return scipy.sparse.csr_matrix(scipy.sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency)


def opposite_edges(faces: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(F, 3): the row in edges (E, 2), as from `edges_of`, of the edge opposite each corner of the faces (F, 3)."""
    count = int(faces.max()) + 1
    sides = np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]], axis=2)
    return np.searchsorted(edges @ [count, 1], sides @ [count, 1])


def cotangent_weights(vertices: Tensor, faces: Tensor, opposite: Tensor, edges: int) -> Tensor:
    """Half the sum of the cotangents of the angles opposite each edge (Pinkall and Polthier 1993).

    vertices (..., V, 3), faces (F, 3), opposite (F, 3) from `opposite_edges`, of so many edges. As many angles lie
    opposite an edge as it has faces: one at a border. Returns (..., E), never below zero: obtuse angles would make an
    energy built on them unbounded.
    """
    weights = vertices.new_zeros(*vertices.shape[:-2], edges)
    for apex, left, right in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        a = vertices[..., faces[:, left], :] - vertices[..., faces[:, apex], :]
        b = vertices[..., faces[:, right], :] - vertices[..., faces[:, apex], :]
        cotangent = (a * b).sum(-1) / torch.linalg.cross(a, b).norm(dim=-1).clamp_min(1e-9)
        weights = weights.index_add(-1, opposite[:, apex], cotangent / 2)
    return weights.clamp_min(0)


def winding_numbers(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """How often a mesh, vertices (V, 3) and faces (F, 3), goes round each point (P, 3): 1 inside, 0 outside.

    The sum of the faces' solid angles (van Oosterom and Strackee 1983), so folds and crossings count too; a mesh with
    borders goes round by the fraction of all directions that it covers (Jacobson et al. 2013).
    """
    # A few points at a time: one tensor for all points and faces of a fine mesh takes gigabytes.
    return torch.cat([_solid_angles(some, vertices, faces) for some in points.split(256)]) / (4 * torch.pi)


def _solid_angles(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """(P,) in steradians of all faces (F, 3) together, as seen from points (P, 3)."""
    a, b, c = (vertices[faces[:, k]] - points[:, None] for k in range(3))
    length = [v.norm(dim=-1) for v in (a, b, c)]
    volume = (a * torch.linalg.cross(b, c)).sum(-1)
    beside = [(u * v).sum(-1) for u, v in ((b, c), (c, a), (a, b))]
    sum_of = length[0] * length[1] * length[2] + sum(d * r for d, r in zip(beside, length, strict=True))
    return 2 * torch.atan2(volume, sum_of).sum(-1)
