"""How much of a result's surface the clip shows: in which fraction of the frames the camera sees each vertex."""

from __future__ import annotations

import numpy as np
import torch

from ..reconstruction import Reconstruction
from ..rendering import get_renderer

SIZE = 512
"""Side in pixels at which the part of the mesh in the picture is drawn: some pixels for each vertex in sight."""

FRAMES_AT_ONCE = 4
"""Drawn together; bounds the memory to some 30 MiB, however long the clip is."""


def coverage(result: Reconstruction, size: int = SIZE) -> np.ndarray:
    """(V,) float32, fraction of the result's frames in which each vertex is seen: 0 never, 1 always.

    A vertex is seen where it is the nearest corner of what the camera sees at one pixel at least: inside the picture,
    and not behind another part of the mesh. The drawing is stretched over the mesh's extent in the picture, so that a
    small subject is sampled as finely as a large one.
    """
    count = len(result.frames)
    seen = np.zeros(result.vertices.shape[1], np.int64)
    for first in range(0, count, FRAMES_AT_ONCE):
        indices = range(first, min(first + FRAMES_AT_ONCE, count))
        in_picture = [points for t in indices if (points := _in_picture(result, t)) is not None]
        if in_picture:
            seen += _seen(np.stack(in_picture), result.faces, size).sum(0)
    return (seen / count).astype(np.float32)


def never_seen(result: Reconstruction, seen: np.ndarray) -> float:
    """Fraction of the rest shape's area, 0 to 1, whose vertices have a coverage `seen` (V,) of 0."""
    a, b, c = (result.rest_vertices[result.faces[:, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    hidden = (seen[result.faces] == 0).mean(1)
    return float((area * hidden).sum() / area.sum()) if area.sum() else 0.0


def _in_picture(result: Reconstruction, t: int) -> np.ndarray | None:
    """(V, 3) float32: the vertices of frame t in the coordinates of a drawing that spans the part of the full frame
    where the mesh is, -1 to 1, and their depth; None where no part of it is in the picture."""
    points = result.vertices[t] @ result.camera_rotation[t].T + result.camera_translation[t]
    ahead = points[:, 2] > 1e-6
    if not ahead.any():
        return None
    focal, centre = result.intrinsics[t, :2], result.intrinsics[t, 2:]
    points_px = focal * points[:, :2] / np.maximum(points[:, 2:], 1e-6) + centre
    low = np.clip(points_px[ahead].min(0), 0, result.image_size)
    high = np.clip(points_px[ahead].max(0), 0, result.image_size)
    if (high <= low).any():
        return None
    return np.concatenate([2 * (points_px - low) / (high - low) - 1, points[:, 2:]], 1).astype(np.float32)


def _seen(points: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """(N, V) bool: which vertices are the nearest corner at some pixel of drawings of points (N, V, 3)."""
    drawn = get_renderer("warp", "cpu").visibility(torch.from_numpy(points), torch.from_numpy(faces), size)
    face_index, barycentrics = drawn.face_index.numpy(), drawn.barycentrics.numpy()
    seen = np.zeros(points.shape[:2], bool)
    for n in range(len(points)):
        pixels = face_index[n] >= 0
        seen[n, faces[face_index[n][pixels], barycentrics[n][pixels].argmax(1)]] = True
    return seen
