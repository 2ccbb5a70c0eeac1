"""Spreads the vertices of a shape made from a sphere evenly over it, by moving their positions on the sphere."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import cKDTree

from .sphere import Sphere
from .topology import edges_of

ROUNDS = 150
"""Of relaxation; edges change little afterwards."""
SLIVER = 0.02
"""Of the mean size: smaller faces on the sphere count as turned over."""
CANDIDATES = 12
"""Nearest faces of the sphere among which the one around a position is searched."""


def spread_evenly(sphere: Sphere, values: np.ndarray) -> tuple[Sphere, np.ndarray]:
    """New positions on the sphere for its vertices, and the values (V, C) there; the first three are the shape.

    A sphere drawn out into limbs has few vertices on them and heaps them up where it was pressed together. Each vertex
    moves to the mean of its neighbours' positions, weighted with the squared lengths of the edges between them on the
    shape, until long edges have pulled enough vertices towards them. The surface stays the same, but for what new
    edges cut off; vertices around the poles stay, since the UV map needs them there. Symmetric shapes stay symmetric.
    """
    i, j = edges_of(sphere.faces).T
    held = _around_poles(sphere)
    pull, edge, image = _links(sphere)
    surface = _Surface(sphere, values)
    positions = sphere.vertices
    for _ in range(ROUNDS):
        points = surface(positions)[:, :3]
        length = np.linalg.norm(points[i] - points[j], axis=1) + 1e-9
        # The mean with the mirror image: weights of both sides must agree for positions to stay each other's image.
        pull.data = (length[edge] + length[image]) / 2
        mean = pull @ positions / np.asarray(pull.sum(1))
        moved = np.where(held[:, None], positions, (positions + mean) / 2)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        # Where a face would turn over, its corners wait for their neighbours.
        while len(turned := _turned_over(moved, sphere.faces)):
            moved[turned] = positions[turned]
        positions = moved
    return Sphere(positions, sphere.faces, sphere.mirror), surface(positions)


def _links(sphere: Sphere) -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    """A matrix (V, V) with an entry for each vertex and neighbour, and the edge between them and its mirror image for
    each of its values."""
    (i, j), count = edges_of(sphere.faces).T, len(sphere.vertices)
    numbers = coo_matrix((np.arange(1, len(i) + 1), (i, j)), (count, count)).tocsr()
    numbers = numbers + numbers.T
    images = numbers[sphere.mirror][:, sphere.mirror]
    # Numbers of two edges, from one on, in one entry.
    both = numbers + (len(i) + 1) * images
    image, edge = np.divmod(both.data, len(i) + 1)
    pull = csr_matrix((np.empty(both.nnz), both.indices, both.indptr), both.shape)
    return pull, edge - 1, image - 1


def _around_poles(sphere: Sphere) -> np.ndarray:
    """(V,) bool: vertices at the poles z = -1 and z = 1 and their neighbours."""
    poles = np.abs(sphere.vertices[:, 2]) > 1 - 1e-9
    near = np.zeros(len(poles), bool)
    near[sphere.faces[poles[sphere.faces].any(1)].ravel()] = True
    return near


def _turned_over(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Corners, and their mirror images, of faces turned inwards: two points of the shape would share a position."""
    a, b, c = (positions[faces[:, k]] for k in range(3))
    volume = np.einsum("fk,fk->f", np.cross(a, b), c)
    return np.unique(faces[volume <= SLIVER * np.abs(volume).mean()])


class _Surface:
    """Values on a sphere's surface, linear on its faces as seen from its centre."""

    def __init__(self, sphere: Sphere, values: np.ndarray):
        self._values, self._faces = values, sphere.faces
        corners = sphere.vertices[sphere.faces]
        middles = corners.sum(1)
        self._tree = cKDTree(middles / np.linalg.norm(middles, axis=1, keepdims=True))
        self._to_weights = np.linalg.inv(corners.transpose(0, 2, 1))

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Values (P, C) at positions (P, 3) on the sphere."""
        near = self._tree.query(positions, k=min(CANDIDATES, len(self._faces)))[1]
        weights = np.einsum("pkij,pj->pki", self._to_weights[near], positions)
        weights /= np.abs(weights).sum(2, keepdims=True)
        best = np.minimum(np.minimum(weights[..., 0], weights[..., 1]), weights[..., 2]).argmax(1)
        rows = np.arange(len(positions))
        chosen = np.clip(weights[rows, best], 0, None)
        chosen /= chosen.sum(1, keepdims=True)
        return (self._values[self._faces[near[rows, best]]] * chosen[..., None]).sum(1)
