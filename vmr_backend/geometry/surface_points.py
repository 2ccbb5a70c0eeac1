"""Points of a mesh's surface between its vertices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FINE = 1280
"""Faces of an even mesh that is fine enough for its vertices to stand for its surface."""
LONG = 2.0
"""Times the edge of such a mesh: from here on a side of a face has points of its own."""
MOST_ROWS = 32
"""In which the points of one face stand at the most."""


@dataclass(frozen=True)
class SurfacePoints:
    """P points at fixed barycentrics of a mesh's faces."""

    corners: Tensor
    """(P, 3) vertices of the face that each lies in."""
    barycentrics: Tensor
    """(P, 3)."""

    def of_vertices(self, values: Tensor) -> Tensor:
        """Values (..., V, C) of the vertices at the points (..., P, C)."""
        return (values[..., self.corners, :] * self.barycentrics.unsqueeze(-1)).sum(-2)


def points_between(vertices: np.ndarray, faces: np.ndarray) -> SurfacePoints | None:
    """Points in the faces (F, 3) of a mesh (V, 3) that are larger than those of an even mesh of FINE faces; None where
    there are none.

    A large face is divided into n^2 like ones, of which each has a point in its middle.
    """
    corners = vertices[faces]
    sides = np.linalg.norm(corners - np.roll(corners, -1, 1), axis=2).max(1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    edge = math.sqrt(4 / math.sqrt(3) * area / FINE)
    rows = np.ceil(sides / (LONG * edge)).clip(1, MOST_ROWS).astype(int) if edge else np.ones(len(faces), int)
    found = [(np.repeat(faces[rows == n], n * n, 0), np.tile(_middles(n), ((rows == n).sum(), 1)))
             for n in np.unique(rows) if n > 1]
    if not found:
        return None
    corner, barycentrics = (np.concatenate(part) for part in zip(*found, strict=True))
    return SurfacePoints(torch.from_numpy(corner.astype(np.int64)), torch.from_numpy(barycentrics).float())


def _middles(n: int) -> np.ndarray:
    """Barycentrics (n^2, 3) of the middles of the n^2 like triangles that a triangle is divided into."""
    upright = [(i + 1 / 3, j + 1 / 3) for i in range(n) for j in range(n - i)]
    turned = [(i + 2 / 3, j + 2 / 3) for i in range(n - 1) for j in range(n - 1 - i)]
    first = np.array(upright + turned) / n
    return np.column_stack([first, 1 - first.sum(1)])
