"""The sphere that every shape starts from, and its UV map: icospheres, subdivision, mirror images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor


@dataclass(frozen=True)
class Sphere:
    """A sphere of triangles, symmetric in the plane x = 0, with vertices at its poles.

    Positions on it are the address of every point of the shapes made from it: UVs, textures and parts refer to them.
    """

    vertices: np.ndarray
    """(V, 3) float64, on the unit sphere."""
    faces: np.ndarray
    """(F, 3) int64, counter-clockwise seen from outside."""
    mirror: np.ndarray
    """(V,) int64, the vertex at (-x, y, z)."""


def sphere_of(vertices: Tensor, faces: Tensor, mirror: Tensor) -> Sphere:
    """A sphere from tensors of the same shapes, on any device."""
    return Sphere(vertices.cpu().numpy().astype(np.float64), faces.cpu().numpy(), mirror.cpu().numpy())


def icosphere(level: int) -> Sphere:
    """Icosahedron with `level` subdivisions: 10 * 4**level + 2 vertices, 20 * 4**level faces."""
    g = (1 + 5**0.5) / 2
    vertices = np.array([(0, s, t * g) for s in (-1, 1) for t in (-1, 1)], float)
    vertices = np.concatenate([vertices, np.roll(vertices, 1, 1), np.roll(vertices, 2, 1)])
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    corner = np.linalg.norm(vertices[:, None] - vertices, axis=2)
    edge = np.unique(corner.round(6))[1]
    near = np.abs(corner - edge) < 1e-3
    faces = np.array([(i, j, k) for i in range(12) for j in range(i) for k in range(j)
                      if near[i, j] and near[j, k] and near[i, k]])
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    inward = (normals * vertices[faces[:, 0]]).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    for _ in range(level):
        vertices, faces, _ = subdivide(vertices, faces)
        vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    return Sphere(vertices, faces, cKDTree(vertices).query(vertices * [-1, 1, 1])[1])


def subdivide(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split each face into four at its edges' midpoints.

    vertices (V, C), faces (F, 3). Returns vertices (V + E, C), faces (4F, 3) and the edges (E, 2) whose midpoints
    became the vertices V, V + 1, ...
    """
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=2)
    edges, middle = np.unique(sides.reshape(-1, 2), axis=0, return_inverse=True)
    ab, bc, ca = (middle.reshape(-1, 3) + len(vertices)).T
    a, b, c = faces.T
    quarters = np.stack([np.stack(q, 1) for q in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], 1)
    return np.concatenate([vertices, vertices[edges].mean(1)]), quarters.reshape(-1, 3), edges


def subdivided(sphere: Sphere, values: np.ndarray) -> tuple[Sphere, np.ndarray]:
    """A sphere of the next level and the values (V, C) of its vertices, those of new ones halfway along edges."""
    vertices, faces, edges = subdivide(sphere.vertices, sphere.faces)
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    image = np.sort(sphere.mirror[edges], axis=1)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    count = len(sphere.vertices)
    found = np.searchsorted(edges[order] @ [count, 1], image @ [count, 1])
    mirror = np.concatenate([sphere.mirror, count + order[found]])
    return Sphere(vertices, faces, mirror), np.concatenate([values, values[edges].mean(1)])


U_MARGIN = 0.09
"""Width of the strip beyond each side of the seam that is twice in the UV map: half of a pole face's 60 degrees."""


def spherical_uv(sphere: Sphere) -> np.ndarray:
    """UV of each face corner from longitude and latitude: (F, 3, 2) in 0..1, v up.

    u is 0.5 at the front (-y) and mirrors to 1 - u across x = 0. Faces that cross the seam at the back keep their
    corners together by reaching into a margin, so that no face is torn or squeezed; corners at a pole take the mean
    longitude of their face. The map does not depend on the level of the sphere, which must be 2 or more.
    """
    x, y, z = sphere.vertices.T
    u = (np.arctan2(x, -y) / (2 * np.pi) + 0.5)[sphere.faces]
    v = (np.arcsin(np.clip(z, -1, 1)) / np.pi + 0.5)[sphere.faces]
    at_pole = np.abs(z)[sphere.faces] > 1 - 1e-9
    spread = np.where(at_pole, np.nan, u)
    crossing = np.nanmax(spread, 1, keepdims=True) - np.nanmin(spread, 1, keepdims=True) > 0.5
    u = np.where(crossing & (u < 0.5), u + 1, u)
    mean = (u * ~at_pole).sum(1, keepdims=True) / (~at_pole).sum(1, keepdims=True)
    u = np.where(at_pole, mean, u) - (mean > 1)
    return np.stack([(u + U_MARGIN) / (1 + 2 * U_MARGIN), v], 2)


def mirror_image(vertices: Tensor, mirror: Tensor) -> Tensor:
    """Of a shape (..., V, 3) made from a sphere, at x = 0; mirror (V,) is the sphere's."""
    x, rest = vertices[..., mirror, :].split([1, 2], -1)
    return torch.cat([-x, rest], -1)
