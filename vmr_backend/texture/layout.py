"""The texels of a UV map: which point of the surface each of them colours, and how colours spread beyond the map.

The map may be any that gives each face corners of its own: of one island as the sphere's, or of many; with faces turned
over, or lying on one another, which then share their texels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..job import BadInput
from .view import Window, see


@dataclass(frozen=True)
class Layout:
    """The N texels whose centres lie in a face of the map, sorted by face: of several, in the first one's."""

    shape: tuple[int, int]
    """Rows and columns of the map."""
    texel: np.ndarray
    """(N,) int64, index in the flattened map; row 0 is at v = 1."""
    face: np.ndarray
    """(N,) int32."""
    barycentrics: np.ndarray
    """(N, 3) float32."""
    first: np.ndarray
    """(F + 1,) int64: the texels of face f are first[f] to first[f + 1]."""
    island: np.ndarray
    """(F,) int32: faces that hang together in the map have the same number."""

    def texels_of(self, faces: np.ndarray) -> np.ndarray:
        """Indices into this layout of all texels of some faces, given in ascending order."""
        start, count = self.first[faces], self.first[faces + 1] - self.first[faces]
        return np.repeat(start - np.cumsum(count) + count, count) + np.arange(count.sum())

    def interpolate(self, values: np.ndarray, faces: np.ndarray, chosen: slice | np.ndarray) -> np.ndarray:
        """(n,) or (n, C) values at chosen texels from values at the vertices, joined by faces (F, 3)."""
        corners = values[faces].take(self.face[chosen], axis=0)     # far less time than by two indices
        return np.einsum("nk,nk...->n...", self.barycentrics[chosen], corners)

    def gather(self, values: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means (V, C) at the vertices of texel values (N, C) and the sums (V,) of their weights (N,)."""
        count = int(faces.max()) + 1
        corner = faces[self.face]
        total, sums = np.zeros(count), np.zeros((count, values.shape[1]))
        for k in range(3):
            weight = self.barycentrics[:, k] * weights
            total += np.bincount(corner[:, k], weight, count)
            for c in range(values.shape[1]):
                sums[:, c] += np.bincount(corner[:, k], weight * values[:, c], count)
        return sums / np.maximum(total, 1e-12)[:, None], total

    def spread(self, values: np.ndarray) -> np.ndarray:
        """The whole map (rows, columns, C) from values (N, C): texels between the faces copy their nearest neighbour.

        Lookups that blend texels, down to the smallest mipmap, then never meet a colour that is no part of the surface.
        """
        empty = np.ones(self.shape[0] * self.shape[1], np.uint8)
        empty[self.texel] = 0
        _, label = cv2.distanceTransformWithLabels(empty.reshape(self.shape), cv2.DIST_L2, 5,
                                                   labelType=cv2.DIST_LABEL_PIXEL)
        label = label.ravel()
        index = np.zeros(label.max() + 1, np.int64)
        index[label[self.texel]] = np.arange(len(self.texel))
        return values[index[label]].reshape(*self.shape, *values.shape[1:])


def lay_out(uv: np.ndarray, rows: int, columns: int) -> Layout:
    """The texels of a map of rows x columns through uv (F, 3, 2), v up, of which 0..1 is on the map.

    BadInput where no face has a texel.
    """
    corners = uv.reshape(-1, 2).astype(np.float64)
    # A camera of focal length 1 px at depth 1 draws the map as a picture of itself.
    points = np.stack([corners[:, 0] * columns, (1 - corners[:, 1]) * rows, np.ones(len(corners))], 1)
    flat = np.array([1.0, 1.0, 0.0, 0.0])
    view = see(points, flat, np.arange(len(corners)).reshape(-1, 3), Window(0, 0, columns, rows))
    texel = np.flatnonzero(view.drawn)
    if not len(texel):
        raise BadInput("UV map: found no face that covers any of it, needs faces with an area between 0 and 1")
    face = view.face_index.ravel()[texel]
    order = np.argsort(face, kind="stable")
    texel, face = texel[order], face[order]
    first = np.searchsorted(face, np.arange(len(uv) + 1))
    return Layout((rows, columns), texel, face, view.barycentrics.reshape(-1, 3)[texel], first, _islands(uv))


def _islands(uv: np.ndarray) -> np.ndarray:
    """(F,) int32 numbers of the islands that faces belong to, which are joined where corners have the same uv."""
    corners, index = np.unique(uv.reshape(-1, 2), axis=0, return_inverse=True)
    a, b, c = index.reshape(-1, 3).T
    joined = coo_matrix((np.ones(2 * len(uv)), (np.r_[a, a], np.r_[b, c])), (len(corners), len(corners)))
    return connected_components(joined, directed=False)[1][a]
