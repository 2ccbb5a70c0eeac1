"""Points of a mesh's surface between its vertices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")
FINE = 1280
"""Faces of an even mesh that is fine enough for its vertices to stand for its surface."""
LONG = 2.0
"""Times the edge of such a mesh: a face with a longer side has points of its own."""
PLASTIC = 1.324717957244746
"""Whose inverse powers spread points evenly over a square (Roberts 2018)."""


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


def points_between(vertices: np.ndarray, faces: np.ndarray, device: torch.device = CPU) -> SurfacePoints | None:
    """Points in the long ones among faces (F, 3) of a mesh (V, 3), as many to an area as an even mesh of FINE faces has
    vertices; None where there are none. On a device."""
    corners = vertices[faces].astype(np.float64)
    sides = np.linalg.norm(corners - np.roll(corners, -1, 1), axis=2).max(1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    edge = math.sqrt(4 / math.sqrt(3) * area.sum() / FINE)
    long = np.flatnonzero(sides > LONG * edge)
    reached = np.cumsum(area[long])
    count = round(reached[-1] / area.sum() * FINE / 2) if len(long) and area.sum() else 0
    if not count:
        return None
    index = np.arange(count)
    chosen = long[np.searchsorted(reached, (index + 0.5) / count * reached[-1])]
    u, v = (index / PLASTIC) % 1, (index / PLASTIC**2) % 1
    u, v = np.where(u + v > 1, [1 - u, 1 - v], [u, v])
    barycentrics = np.column_stack([u, v, 1 - u - v])
    corner = torch.from_numpy(faces[chosen].astype(np.int64))
    return SurfacePoints(corner.to(device), torch.from_numpy(barycentrics).float().to(device))
