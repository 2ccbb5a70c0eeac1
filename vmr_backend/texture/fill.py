"""Colours for the parts of a surface that no frame shows: from the mirror image of what is seen, else from around."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from .layout import Layout
from .view import look_up_uv, vertex_normals

MIRROR_TOLERANCE = 0.04
"""Distance of a texel's mirror image from the surface, over the shape's extent, up to which it may be copied."""

NORMAL_WEIGHT = 0.1
"""Distance, over the shape's extent, that counts as much as a normal turned by 60 degrees: an ear has two sides."""

OFFSET_REACH = 0.01
"""Screening of the correction that hides the border of mirrored parts; it fades within ten edges or so."""


def fill(colours: np.ndarray, known: np.ndarray, layout: Layout, rest: np.ndarray, faces: np.ndarray,
         uv: np.ndarray) -> np.ndarray:
    """Texel colours (N, 3) float32 with the unknown ones made up.

    colours  (N, 3) float32, 0..255, read only where known
    known    (N,) float32, 0 unknown to 1 known; between, what is known is blended with what is made up
    rest     (V, 3) the shape whose mirror plane is x = 0
    """
    if not known.any():
        return np.full_like(colours, 128.0)
    mirrored, mirror_known = _mirrored(colours, known, layout, rest, faces, uv)
    mirrored += _offset(colours, known, mirrored, mirror_known, layout, faces)
    best = np.where((known >= mirror_known)[:, None], colours, mirrored)
    around, weight = layout.gather(best, faces, np.maximum(known, mirror_known))
    around = _harmonic(around, weight, faces, screening=1e-6, elsewhere=np.average(around, axis=0, weights=weight))
    made_up = layout.interpolate(around.astype(np.float32), faces, slice(None))
    made_up += mirror_known[:, None] * (mirrored - made_up)
    return np.clip(made_up + known[:, None] * (colours - made_up), 0, 255)


def _mirrored(colours: np.ndarray, known: np.ndarray, layout: Layout, rest: np.ndarray, faces: np.ndarray,
              uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is known at the mirror image of each texel: colours (N, 3) and how far they are known (N,)."""
    count = len(rest)
    extent = np.ptp(rest, axis=0).max()
    normals = vertex_normals(rest, faces) * extent * NORMAL_WEIGHT
    place = layout.interpolate(np.concatenate([rest, normals], 1).astype(np.float32), faces, slice(None))
    # Each vertex finds the texel at its mirror image; the faces between them carry the rest of the surface along.
    some = np.arange(0, len(place), max(len(place) // (40 * count), 1))
    flip = np.array([-1, 1, 1, -1, 1, 1], np.float32)
    nearest = some[cKDTree(place[some]).query(np.concatenate([rest, normals], 1) * flip)[1]]
    corner_uv = _texel_uv(layout, nearest)[faces]
    target = np.einsum("nk,nkc->nc", layout.barycentrics, corner_uv[layout.face])
    rows, columns = layout.shape
    inside = np.zeros((rows, columns, 1), np.float32)
    inside.reshape(-1)[layout.texel] = known
    found = look_up_uv(inside, target)[:, 0] if inside.ndim == 2 else look_up_uv(inside[..., 0], target)
    there = look_up_uv(layout.spread(place), target, cv2.INTER_NEAREST)
    error = np.linalg.norm((there - place * flip)[:, :3], axis=1) / extent
    found *= np.clip(2 - 2 * error / MIRROR_TOLERANCE, 0, 1)
    return look_up_uv(layout.spread(colours), target), found


def _texel_uv(layout: Layout, texels: np.ndarray) -> np.ndarray:
    """(n, 2) float32 uv of the centres of texels, given by their index in the layout."""
    row, column = np.divmod(layout.texel[texels], layout.shape[1])
    return np.stack([(column + 0.5) / layout.shape[1], 1 - (row + 0.5) / layout.shape[0]], 1).astype(np.float32)


def _offset(colours: np.ndarray, known: np.ndarray, mirrored: np.ndarray, mirror_known: np.ndarray, layout: Layout,
            faces: np.ndarray) -> np.ndarray:
    """(N, 3) what to add to mirrored colours so that they meet the known ones without a step (light comes from one
    side): the difference where both are known, carried over the surface and fading with distance."""
    difference, weight = layout.gather(colours - mirrored, faces, known * mirror_known)
    return layout.interpolate(_harmonic(difference, weight, faces, OFFSET_REACH).astype(np.float32), faces, slice(None))


def _harmonic(values: np.ndarray, weight: np.ndarray, faces: np.ndarray, screening: float,
              elsewhere: np.ndarray | float = 0.0) -> np.ndarray:
    """Values (V, C) with those of no weight (V,) put between their neighbours' as smoothly as can be.

    Solves (L + screening) x = screening * elsewhere there, L the uniform Laplacian, so that parts of the surface
    without any known value take `elsewhere`.
    """
    count = len(values)
    free = weight < 0.05 * np.median(weight[weight > 0]) if (weight > 0).any() else np.ones(count, bool)
    if not free.any():
        return values
    i, j = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
    link = sparse.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), (count, count)).tocsr()
    link.data[:] = 1
    degree = np.asarray(link.sum(1)).ravel()
    matrix = sparse.diags(degree + screening * np.maximum(degree, 1)) - link
    right = screening * np.maximum(degree, 1)[free, None] * elsewhere
    right = right + link[free][:, ~free] @ values[~free]
    out = values.copy()
    out[free] = splu(matrix[free][:, free].tocsc()).solve(np.ascontiguousarray(np.broadcast_to(
        right, (free.sum(), values.shape[1]))))
    return out
