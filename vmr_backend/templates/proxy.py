"""What is fitted of a template: its mesh welded along seams and, where it is fine, decimated; the rest follows."""

from __future__ import annotations

from dataclasses import dataclass

import fast_simplification
import numpy as np
from scipy.spatial import cKDTree

from .template import Template

FEW, MOST = 600, 3000
"""Vertices that are fitted, in the search for camera and pose, and at the end."""
TOGETHER = 1e-5
"""Of the mesh's longest extent: vertices as near as this are one."""
NEIGHBOURS = 4
"""Fitted vertices that a vertex of the whole mesh follows."""


@dataclass(frozen=True)
class RigMesh:
    """A mesh on a template's bones: V vertices, F faces, B bones, K components of shape."""

    vertices: np.ndarray
    """(V, 3) float32, template space."""
    faces: np.ndarray
    """(F, 3) int64."""
    weights: np.ndarray
    """(V, B) float32, rows sum to 1."""
    shapes: np.ndarray | None
    """(K, V, 3) float32, what each component of shape adds."""


@dataclass(frozen=True)
class Proxy:
    """A template's mesh in the resolution in which it is fitted, and how the whole mesh follows."""

    mesh: RigMesh
    near: np.ndarray
    """(W, NEIGHBOURS) int64: vertices of the proxy that each vertex of the whole mesh follows."""
    share: np.ndarray
    """(W, NEIGHBOURS) float32, how much it follows each; rows sum to 1."""


def whole_mesh(template: Template) -> RigMesh:
    """All of a template's mesh."""
    return RigMesh(template.vertices, template.faces.astype(np.int64), template.dense_weights, template.shape_vertices)


def proxy_of(template: Template, most: int) -> Proxy:
    """The mesh that is fitted in a template's stead, of `most` vertices or little more."""
    whole = whole_mesh(template)
    welded = _welded(whole)
    mesh = welded if len(welded.vertices) <= most else _decimated(welded, most)
    count = min(NEIGHBOURS, len(mesh.vertices))
    apart, near = cKDTree(mesh.vertices).query(whole.vertices, k=np.arange(1, count + 1))
    share = 1 / (apart**2 + (TOGETHER * np.ptp(whole.vertices, axis=0).max()) ** 2)
    return Proxy(mesh, near.astype(np.int64), (share / share.sum(1, keepdims=True)).astype(np.float32))


def _welded(mesh: RigMesh) -> RigMesh:
    """Vertices that lie in one place made one: exports split them along the seams of the UV map."""
    step = TOGETHER * np.ptp(mesh.vertices, axis=0).max()
    _, first, inverse = np.unique(np.round(mesh.vertices / step), axis=0, return_index=True, return_inverse=True)
    order = first.argsort()  # as they come in the mesh
    first, inverse = first[order], order.argsort()[inverse.reshape(-1)]
    faces = inverse[mesh.faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    used = np.unique(faces)
    place = np.full(len(first), -1)
    place[used] = np.arange(len(used))
    return _taken(mesh, first[used], place[faces])


def _decimated(mesh: RigMesh, most: int) -> RigMesh:
    """Quadric decimation (Garland and Heckbert 1997) to about `most` vertices."""
    vertices, faces = fast_simplification.simplify(mesh.vertices, mesh.faces.astype(np.int32),
                                                   target_count=2 * most, agg=5)
    nearest = cKDTree(mesh.vertices).query(vertices)[1]
    found = _taken(mesh, nearest, faces.astype(np.int64))
    return RigMesh(np.asarray(vertices, np.float32), found.faces, found.weights, found.shapes)


def _taken(mesh: RigMesh, vertices: np.ndarray, faces: np.ndarray) -> RigMesh:
    """Some vertices of a mesh, and faces over them."""
    shapes = None if mesh.shapes is None else mesh.shapes[:, vertices]
    return RigMesh(mesh.vertices[vertices], faces, mesh.weights[vertices], shapes)
