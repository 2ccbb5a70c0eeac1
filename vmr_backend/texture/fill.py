"""Colours for the parts of a surface that no frame shows: from the mirror image of what is seen, else from around."""

from __future__ import annotations

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

TORN = 0.25
"""Extent in uv of a face's mirror image from which it must lie across a seam within its island."""

SAMPLES, LEAST_SAMPLES = 40, 6000
"""Texels, for each vertex and at least, among which mirror images of vertices are searched."""

NEIGHBOURS = 32
"""Of these, how many near a corner may be on the right side of the seam."""

OFFSET_REACH = 0.01
"""Screening of the correction that hides the border of mirrored parts; it fades within ten edges or so."""


def fill(colours: np.ndarray, known: np.ndarray, layout: Layout, rest: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Texel colours (N, 3) float32 with the unknown ones made up.

    colours  (N, 3) float32, 0..255, read only where known
    known    (N,) float32, 0 unknown to 1 known; between, what is known is blended with what is made up
    rest     (V, 3) the shape. Colours of its mirror image at x = 0 are used where that lies on the surface; elsewhere,
             so everywhere on a shape without a mirror plane, colours come from around.
    """
    if not known.any():
        return np.full_like(colours, 128.0)
    mirrored, mirror_known = _mirrored(colours, known, layout, rest, faces)
    mirrored += _offset(colours, known, mirrored, mirror_known, layout, faces)
    best = np.where((known >= mirror_known)[:, None], colours, mirrored)
    around, weight = layout.gather(best, faces, np.maximum(known, mirror_known))
    around = _harmonic(around, weight, faces, screening=1e-6, elsewhere=np.average(around, axis=0, weights=weight))
    made_up = layout.interpolate(around.astype(np.float32), faces, slice(None))
    made_up += mirror_known[:, None] * (mirrored - made_up)
    return np.clip(made_up + known[:, None] * (colours - made_up), 0, 255)


def _mirrored(colours: np.ndarray, known: np.ndarray, layout: Layout, rest: np.ndarray,
              faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is known at the mirror image of each texel: colours (N, 3) and how far they are known (N,)."""
    corner_uv = _mirror_uv(layout, rest, faces)
    target = np.einsum("nk,nkc->nc", layout.barycentrics, corner_uv[layout.face])
    wanted = layout.interpolate(rest, faces, slice(None)) * np.array([-1, 1, 1], np.float32)
    wanted -= layout.interpolate(rest, faces, _texels_at(layout, target))
    error = np.linalg.norm(wanted, axis=1) / _extent(rest, faces)
    weight = np.clip(2 - 2 * error / MIRROR_TOLERANCE, 0, 1)
    return look_up_uv(layout.spread(colours), target), weight * look_up_uv(layout.spread(known), target)


def _mirror_uv(layout: Layout, rest: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3, 2) uv, for each face's corners, of the surface at their mirror images.

    Surfaces are distinguished by their normals too. Where the corners of a face would land on both sides of a seam, on
    one island or on two, those that are not on the side of the face's middle move to the nearest sample on that side.
    """
    normals = vertex_normals(rest, faces) * _extent(rest, faces) * NORMAL_WEIGHT
    oriented = np.concatenate([rest, normals], 1).astype(np.float32)
    wanted = oriented * np.array([-1, 1, 1, -1, 1, 1], np.float32)
    samples = max(SAMPLES * len(rest), LEAST_SAMPLES)
    some = np.arange(0, len(layout.texel), max(len(layout.texel) // samples, 1))
    tree, some_uv = cKDTree(layout.interpolate(oriented, faces, some)), _texel_uv(layout, some)
    island = layout.island[layout.face[some]]
    corner = tree.query(wanted)[1][faces]
    torn = np.flatnonzero((np.ptp(some_uv[corner], axis=1).max(1) > TORN) | (np.ptp(island[corner], axis=1) > 0))
    middle = tree.query(wanted[faces[torn]].mean(1))[1][:, None, None]
    near = tree.query(wanted[faces[torn]], k=np.arange(1, min(NEIGHBOURS, len(some)) + 1))[1]
    distance = np.abs(some_uv[near] - some_uv[middle]).max(-1) + (island[near] != island[middle])
    # the first, that is the nearest, of those on the middle's side; else the one least far from it
    pick = np.where((distance < TORN).any(-1), (distance < TORN).argmax(-1), distance.argmin(-1))
    corner[torn] = np.take_along_axis(near, pick[..., None], 2)[..., 0]
    return some_uv[corner]


def _extent(rest: np.ndarray, faces: np.ndarray) -> float:
    """The longest side of the box around a surface."""
    return np.ptp(rest[faces], axis=(0, 1)).max()


def _texel_uv(layout: Layout, texels: np.ndarray) -> np.ndarray:
    """(n, 2) float32 uv of the centres of texels, given by their index in the layout."""
    row, column = np.divmod(layout.texel[texels], layout.shape[1])
    return np.stack([(column + 0.5) / layout.shape[1], 1 - (row + 0.5) / layout.shape[0]], 1).astype(np.float32)


def _texels_at(layout: Layout, uv: np.ndarray) -> np.ndarray:
    """(n,) indices into the layout of the texels at uv (n, 2), or of the nearest where there is none."""
    rows, columns = layout.shape
    row = np.clip((1 - uv[:, 1]) * rows, 0, rows - 1).astype(np.int32)
    column = np.clip(uv[:, 0] * columns, 0, columns - 1).astype(np.int32)
    return layout.spread(np.arange(len(layout.texel), dtype=np.int32))[row, column]


def _offset(colours: np.ndarray, known: np.ndarray, mirrored: np.ndarray, mirror_known: np.ndarray, layout: Layout,
            faces: np.ndarray) -> np.ndarray:
    """(N, 3) what to add to mirrored colours so that they meet the known ones without a step, since light comes from
    one side: the difference where both are known, carried over the surface and fading with distance."""
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
    right = link[free][:, ~free] @ values[~free] + screening * np.maximum(degree, 1)[free, None] * elsewhere
    out = values.copy()
    out[free] = splu(matrix[free][:, free].tocsc()).solve(right)
    return out
