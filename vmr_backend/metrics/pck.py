"""Keypoint transfer: whether the mesh carries a point of one frame to where it is in another (PCK-T; BADJA, LASR)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..reconstruction import Reconstruction
from .raster import project, visible_faces

ALPHA = 0.2
"""Distance within which a keypoint counts as found, over the square root of the mask's area (BADJA)."""


@dataclass(frozen=True)
class Keypoints:
    """Annotated points of one frame."""

    points: np.ndarray
    """(K, 2) pixels of the full frame, x and y."""
    visible: np.ndarray
    """(K,) bool."""
    mask_area: float
    """Pixels of the subject in that frame."""


@dataclass(frozen=True)
class Transfer:
    """How many transferred keypoints were found, of how many, over all ordered pairs of frames."""

    found: int
    total: int

    @property
    def pck(self) -> float | None:
        """Fraction of correct keypoints, None where no keypoint is visible in two frames."""
        return self.found / self.total if self.total else None


def keypoint_transfer(result: Reconstruction, keypoints: Mapping[int, Keypoints], alpha: float = ALPHA) -> Transfer:
    """Carries the keypoints of every annotated frame to every other and compares with what is annotated there.

    keypoints   by number of the clip's frame; frames that the result lacks are passed over
    A keypoint beside the drawn mesh is put on its nearest drawn pixel. Only those visible in both frames count; where
    the mesh is not drawn at all, they count as not found.
    """
    index_of = {int(number): index for index, number in enumerate(result.frames) if int(number) in keypoints}
    projected = {number: project(result, index)[0] for number, index in index_of.items()}
    found = total = 0
    for a in index_of:
        anchors = _anchor(result, index_of[a], keypoints[a].points)
        limit = alpha * np.sqrt(keypoints[a].mask_area)
        for b in index_of:
            both = keypoints[a].visible & keypoints[b].visible
            if a == b or not both.any():
                continue
            total += int(both.sum())
            if anchors is not None:
                corners, weights = anchors
                carried = (projected[b][corners] * weights[..., None]).sum(1)
                distance = np.linalg.norm(carried - keypoints[b].points, axis=1)
                found += int((distance[both] < limit).sum())
    return Transfer(found, total)


def _anchor(result: Reconstruction, index: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Vertices (K, 3) and weights (K, 3) of the surface at the drawn pixels nearest to points (K, 2)."""
    face, barycentrics = visible_faces(result, index)
    rows, columns = np.nonzero(face >= 0)
    if not len(rows):
        return None
    nearest = cKDTree(np.stack([columns, rows], 1) + 0.5).query(points)[1]
    where = rows[nearest], columns[nearest]
    return result.faces[face[where]], barycentrics[where]
