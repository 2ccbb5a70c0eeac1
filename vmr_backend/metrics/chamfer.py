"""Distance between two surfaces, after the similarity transform that best lays one on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..job import BadInput


@dataclass(frozen=True)
class Similarity:
    """Takes points p (N, 3) to scale * p @ rotation + translation."""

    scale: float
    rotation: np.ndarray
    """(3, 3), applied from the right."""
    translation: np.ndarray
    """(3,)"""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.scale * points @ self.rotation + self.translation


def sample_surface(vertices: np.ndarray, faces: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(count, 3) points spread evenly over a surface: vertices (V, 3), faces (F, 3); BadInput if that has no area."""
    random = np.random.default_rng(seed)
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not area.sum() > 0:
        raise BadInput("surface: found one without area; needs a mesh whose distance can be measured")
    chosen = corners[random.choice(len(faces), count, p=area / area.sum())]
    along = random.random((2, count)).T
    along = np.where(along.sum(1, keepdims=True) > 1, 1 - along, along)     # fold the square's far half back
    weights = np.concatenate([1 - along.sum(1, keepdims=True), along], 1)
    return np.einsum("nk,nkc->nc", weights, chosen)


def best_similarity(points: np.ndarray, targets: np.ndarray) -> Similarity:
    """The similarity of least squared error from points (N, 3) to their targets (N, 3) (Umeyama 1991)."""
    middle, target_middle = points.mean(0), targets.mean(0)
    points, targets = points - middle, targets - target_middle
    left, stretch, right = np.linalg.svd(points.T @ targets)
    sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    scale = float((stretch * sign).sum() / (points**2).sum())
    return Similarity(scale, rotation, target_middle - scale * middle @ rotation)


def align(points: np.ndarray, targets: np.ndarray, iterations: int = 40) -> Similarity:
    """The similarity that lays points (N, 3) on targets (M, 3) by iterated closest points, both ways.

    Starts from equal centroids and spreads; the rotation must be roughly right already.
    """
    spread = np.sqrt(targets.var(0).sum() / points.var(0).sum())
    found = Similarity(float(spread), np.eye(3), targets.mean(0) - spread * points.mean(0))
    tree, pairs = cKDTree(targets), None
    for _ in range(iterations):
        moved, before = found(points), pairs
        there, back = pairs = tree.query(moved)[1], cKDTree(moved).query(targets)[1]
        if before and all(np.array_equal(a, b) for a, b in zip(pairs, before, strict=True)):
            break
        found = best_similarity(np.concatenate([points, points[back]]), np.concatenate([targets[there], targets]))
    return found


def chamfer_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean of the mean distances from points a (N, 3) to the nearest of b (M, 3) and back, in their unit."""
    return float(cKDTree(b).query(a)[0].mean() + cKDTree(a).query(b)[0].mean()) / 2
