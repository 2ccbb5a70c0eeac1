"""What is estimated, and from what: shape, covariance and poses; tracks of keypoints, residuals and their precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...annotations import ABSENT, SIDES, VISIBLE

FEWEST_KEYPOINTS = 4
"""Fewer determine no camera: a picture counts if it has as many annotated."""
FREEDOM = 4.0
"""Of Student's distribution, which residuals follow: outliers count little."""


@dataclass(frozen=True)
class Structure:
    """Mean positions of keypoints and the camera of each picture: x2d = scale * (R X)_xy + shift, crop coordinates."""

    keypoints: np.ndarray
    """(K, 3) object space: z up, mirror plane x = 0, left at +x, front to -y; longest extent 1, body at the origin."""
    rotations: np.ndarray
    """(N, 3, 3) object to camera (x right, y down, z forward)."""
    scales: np.ndarray
    """(N,) crop units per object unit."""
    shifts: np.ndarray
    """(N, 2) crop units."""
    errors: np.ndarray
    """(N,) root mean square of the distances of a picture's annotated keypoints from the projected ones, crop units;
    infinite where fewer than FEWEST_KEYPOINTS are annotated: such a camera means nothing."""
    covariance: np.ndarray
    """(K, K) of how keypoints stray from their mean positions together, in each coordinate, object units squared."""

    @property
    def spreads(self) -> np.ndarray:
        """(K,) standard deviations of keypoints in each coordinate, object units: joints of limbs stray most."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def poses(self) -> Poses:
        return Poses(self.rotations, self.scales, self.shifts)

    def with_poses(self, tracks: Tracks, poses: Poses) -> Structure:
        """With other poses, and their errors."""
        square = (residuals(self, tracks, poses) ** 2).sum(2)
        errors = np.sqrt((square * tracks.annotated).sum(1) / tracks.annotated.sum(1))
        return replace(self, **poses._asdict(), errors=errors)


class Poses(NamedTuple):
    """Of P pictures, as in `Structure`."""

    rotations: np.ndarray
    """(P, 3, 3)"""
    scales: np.ndarray
    """(P,)"""
    shifts: np.ndarray
    """(P, 2)"""

    def at(self, which: np.ndarray) -> Poses:
        return Poses(*(values[which] for values in self))


@dataclass(frozen=True)
class Tracks:
    """The keypoints of N pictures."""

    points: np.ndarray
    """(N, K, 2) crop coordinates, 0 where absent."""
    seen: np.ndarray
    """(N, K) ABSENT, HIDDEN or VISIBLE."""
    twins: np.ndarray
    """(K,) index of each keypoint's twin on the other side, its own where it has none."""
    left: np.ndarray
    """(K,) bool, which are on the subject's left."""

    @staticmethod
    def of(points: np.ndarray, seen: np.ndarray, mirror: Sequence[int] | np.ndarray, left: np.ndarray) -> Tracks:
        """From points (N, K, 2) that may be anything where ABSENT."""
        return Tracks(np.where(seen[..., None] > ABSENT, points, 0).astype(float), seen, np.asarray(mirror), left)

    @property
    def annotated(self) -> np.ndarray:
        return self.seen > ABSENT

    @property
    def beside_hidden(self) -> np.ndarray:
        """(N, K) bool, visible keypoints whose twin is not: they are the nearer ones."""
        visible = self.seen == VISIBLE
        return visible & ~visible[:, self.twins]

    def __getitem__(self, which) -> Tracks:
        return Tracks(self.points[which], self.seen[which], self.twins, self.left)


def left_of(names: Sequence[str]) -> np.ndarray:
    """(K,) bool, which keypoints are on the subject's left by their names: `right_leg` is not, for its `_l`."""
    return np.array([any(left in name and name.replace(left, right) in names for left, right in SIDES)
                     for name in names])


def residuals(structure: Structure, tracks: Tracks, poses: Poses) -> np.ndarray:
    """(P, K, 2) crop units."""
    projected = structure.keypoints @ poses.rotations[:, :2].swapaxes(1, 2)
    return tracks.points - poses.scales[:, None, None] * projected - poses.shifts[:, None]


def precisions(structure: Structure, tracks: Tracks, doubt: np.ndarray | float = 0.0) -> np.ndarray:
    """(N, K, K) inverse covariances of the annotated keypoints, zero for the others, object units; doubt (N, K) is the
    additional variance of single keypoints."""
    both = tracks.annotated[:, :, None] & tracks.annotated[:, None]
    unit = np.eye(len(structure.keypoints))
    alone = unit * ~tracks.annotated[:, None]
    spread = structure.covariance + unit * np.expand_dims(doubt, -1)
    return np.linalg.inv(np.where(both, spread, 0) + alone) - alone


def robust_precisions(structure: Structure, tracks: Tracks, residual: np.ndarray) -> np.ndarray:
    """Precisions with doubt in keypoints whose residuals (N, K, 2) are unlikely given those of the others."""
    precision = precisions(structure, tracks)
    own = np.einsum("nkk->nk", precision).clip(1e-9)
    square = ((precision @ residual) ** 2).sum(2) / own
    trust = np.minimum((FREEDOM + 2) / (FREEDOM + square), 1)
    return precisions(structure, tracks, tracks.annotated * (1 / trust - 1) / own)
