"""Exact hard rasterisation in float64: which face of a mesh is seen at each pixel centre of the full frame.

The renderer's `visibility` draws the same in float32, faster; scores are counted on this one so that they do not move
with rounding, device or renderer.
"""

from __future__ import annotations

import numpy as np

from ..reconstruction import Reconstruction

NEAR = 1e-6
"""Faces with a corner at this depth or nearer are not drawn."""

MIN_AREA = 1e-12
"""Faces whose doubled area (px squared) is smaller than this are not drawn."""

CANDIDATES_AT_ONCE = 1 << 20
"""Pairs of face and pixel tested together; bounds the memory to about 100 MiB."""


def rasterise(points_px: np.ndarray, depth: np.ndarray, faces: np.ndarray,
              size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Nearest face at each pixel centre.

    points_px   (V, 2), pixels of the full frame, pixel centres at +0.5
    depth       (V,), camera z
    faces       (F, 3), either orientation
    size        width, height
    Returns face_index (H, W) int64, -1 where empty, and barycentrics (H, W, 3) on the screen, 0 where empty. Edges
    belong to both their faces; of two faces equally near, the later is taken.
    """
    width, height = size
    points_px, depth = np.asarray(points_px, np.float64), np.asarray(depth, np.float64)
    face_index = np.full(height * width, -1)
    barycentrics = np.zeros((height * width, 3))
    nearest = np.full(height * width, np.inf)
    drawn = np.flatnonzero((depth[faces] > NEAR).all(1) & (np.abs(_doubled_areas(points_px[faces])) > MIN_AREA))
    low, high = _pixel_boxes(points_px[faces[drawn]], width, height)
    extent = np.maximum(high - low + 1, 0)
    for group in _groups(extent.prod(1)):
        face, pixel, weights = _covered(points_px, faces, drawn[group], low[group], extent[group], width)
        z = (weights * depth[faces[face]]).sum(1)
        order = np.argsort(-z, kind="stable")
        face, pixel, weights, z = face[order], pixel[order], weights[order], z[order]
        best = np.full(height * width, -1)
        best[pixel] = np.arange(len(pixel))     # of pairs with the same pixel the last written, the nearest, stays
        pick = best[best >= 0]
        pick = pick[z[pick] <= nearest[pixel[pick]]]
        where = pixel[pick]
        face_index[where], barycentrics[where], nearest[where] = face[pick], weights[pick], z[pick]
    return face_index.reshape(height, width), barycentrics.reshape(height, width, 3)


def silhouette(reconstruction: Reconstruction, index: int) -> np.ndarray:
    """(H, W) bool, the pixels of the full frame whose centres the mesh covers in the result's frame `index`."""
    return visible_faces(reconstruction, index)[0] >= 0


def visible_faces(reconstruction: Reconstruction, index: int) -> tuple[np.ndarray, np.ndarray]:
    """What `rasterise` gives for the result's frame `index`, at the size of the footage."""
    points_px, depth = project(reconstruction, index)
    width, height = (int(n) for n in reconstruction.image_size)
    return rasterise(points_px, depth, reconstruction.faces, (width, height))


def project(reconstruction: Reconstruction, index: int) -> tuple[np.ndarray, np.ndarray]:
    """(V, 2) pixels of the full frame and (V,) depths of the vertices in the result's frame `index`, in float64."""
    points = reconstruction.vertices[index].astype(np.float64) @ reconstruction.camera_rotation[index].T
    points += reconstruction.camera_translation[index]
    depth = np.maximum(points[:, 2], NEAR)
    focal, centre = reconstruction.intrinsics[index, :2], reconstruction.intrinsics[index, 2:]
    return focal * points[:, :2] / depth[:, None] + centre, points[:, 2]


def _doubled_areas(corners: np.ndarray) -> np.ndarray:
    """(F,) signed doubled areas of triangles (F, 3, 2)."""
    ab, ac = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return ab[:, 0] * ac[:, 1] - ac[:, 0] * ab[:, 1]


def _pixel_boxes(corners: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last (F, 2) column and row whose pixel centres lie in the bounding boxes of triangles (F, 3, 2)."""
    low, high = np.ceil(corners.min(1) - 0.5), np.floor(corners.max(1) - 0.5)
    limit = np.array([width, height])
    return np.clip(low, 0, limit).astype(int), np.clip(high, -1, limit - 1).astype(int)


def _groups(counts: np.ndarray) -> list[slice]:
    """Runs of consecutive faces whose candidates together stay near CANDIDATES_AT_ONCE."""
    if not len(counts):
        return []
    number = np.cumsum(counts) // CANDIDATES_AT_ONCE
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(counts)], strict=True)]


def _covered(points_px: np.ndarray, faces: np.ndarray, drawn: np.ndarray, low: np.ndarray, extent: np.ndarray,
             width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of a face and a pixel whose centre it covers: faces (N,), flat pixels (N,), barycentrics (N, 3)."""
    count = extent.prod(1)
    box = np.repeat(np.arange(len(drawn)), count)
    step = np.arange(len(box)) - np.repeat(np.cumsum(count) - count, count)
    column, row = low[box, 0] + step % extent[box, 0], low[box, 1] + step // extent[box, 0]
    a, b, c = (points_px[faces[drawn, k]] for k in range(3))
    ab, ac = b - a, c - a
    area = (ab[:, 0] * ac[:, 1] - ac[:, 0] * ab[:, 1])[box]
    x, y = column + 0.5 - a[box, 0], row + 0.5 - a[box, 1]
    at_b = (x * ac[box, 1] - y * ac[box, 0]) / area
    at_c = (ab[box, 0] * y - ab[box, 1] * x) / area
    weights = np.stack([1 - at_b - at_c, at_b, at_c], 1)
    inside = (weights >= 0).all(1)
    return drawn[box[inside]], (row * width + column)[inside], weights[inside]
