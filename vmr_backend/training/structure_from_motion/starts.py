"""First structures: from moments of upright subjects, from the affine factorisation, and either with depth reversed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares

from .model import FREEDOM, Structure, Tracks
from .shape import framed

FACTOR_ROUNDS = 60
"""Of alternating least squares in the affine factorisation."""
SPREAD_FLOOR = 0.5
"""Of the median spread, lower bound in the factorisation: else it trusts three keypoints alone, which fit always."""
FIRST_SPREAD = 0.1
"""Of all keypoints at first, object units."""
REVERSED_FRONT = np.diag([1.0, -1, 1])


def upright_start(tracks: Tracks) -> Structure:
    """From moments, right if subjects stand upright, are seen from their height, and from all sides alike.

    Then height is the mean height in the pictures, and horizontal positions have half their second moment along the
    picture's horizontal on average: what twins share is length, in what they differ is width.
    """
    seen, twins = tracks.annotated.astype(float), tracks.twins
    centre = (tracks.points * seen[..., None]).sum(1) / seen.sum(1)[:, None]
    x = (tracks.points - centre[:, None]) * seen[..., None]
    height = -x[..., 1].sum(0) / seen.sum(0).clip(1)
    moments = (x[..., 0].T @ x[..., 0]) / (seen.T @ seen).clip(1)
    moments = (moments + moments[twins][:, twins]) / 2
    shared = (moments + moments[:, twins]) / 2
    values, vectors = np.linalg.eigh(shared)
    length = vectors[:, -1] * np.sqrt(2 * values[-1])
    width = np.sqrt((np.diag(moments) - moments[np.arange(len(twins)), twins]).clip(1e-6))
    side = np.where(twins == np.arange(len(twins)), 0, np.where(tracks.left, 1, -1))
    shape = np.stack([side * width, length, (height + height[twins]) / 2], 1)
    extent = np.ptp(shape, axis=0).max()
    return Structure(shape / extent, np.zeros((0, 3, 3)), np.zeros(0), np.zeros((0, 2)), np.zeros(0),
                     FIRST_SPREAD**2 * np.eye(len(shape)))


def affine_start(tracks: Tracks) -> Structure:
    """From the affine factorisation of all pictures and their mirror images: subjects may lie askew."""
    affine, shape = _factorised(np.concatenate([tracks.points, tracks.points[:, tracks.twins] * [-1, 1]]),
                                np.concatenate([tracks.annotated, tracks.annotated[:, tracks.twins]]))
    upgrade = _metric(affine)
    u, stretch, vt = np.linalg.svd((affine @ upgrade)[:len(tracks.points)], full_matrices=False)
    rows = u @ vt
    rotations = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    start = Structure(shape @ np.linalg.inv(upgrade).T, rotations, stretch.mean(1), np.zeros((len(rows), 2)),
                      np.zeros(len(rows)), np.eye(len(shape)))
    return replace(framed(start, tracks), covariance=FIRST_SPREAD**2 * np.eye(len(shape)))


def depth_reversed(structure: Structure) -> Structure:
    """The other structure, of reversed depth: the projections are the same."""
    return replace(structure, keypoints=structure.keypoints @ REVERSED_FRONT)


def _factorised(points: np.ndarray, annotated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Affine cameras (N, 2, 3) and shape (K, 3), of unit covariance, by alternating robust least squares."""
    weight = annotated.astype(float)
    centre = (points * weight[..., None]).sum(1) / weight.sum(1)[:, None]
    size = np.sqrt((((points - centre[:, None]) ** 2).sum(2) * weight).sum(1) / weight.sum(1)).clip(1e-9)
    x = (points - centre[:, None]) / size[:, None, None]
    mean = (x * weight[..., None]).sum(0) / weight.sum(0)[:, None].clip(1e-9)
    filled = np.where(annotated[..., None], x, mean).transpose(0, 2, 1).reshape(-1, points.shape[1])
    filled = filled - filled.mean(1, keepdims=True)
    shape = np.linalg.eigh(filled.T @ filled)[1][:, -3:] * np.sqrt(points.shape[1])
    spread = np.full(points.shape[1], 0.3)
    for _ in range(FACTOR_ROUNDS):
        design = np.concatenate([shape, np.ones((len(shape), 1))], 1)
        normal = (weight @ (design[:, :, None] * design[:, None]).reshape(len(shape), 16)).reshape(-1, 4, 4)
        right = np.einsum("nk,nkc,ki->nic", weight, x, design, optimize=True)
        # Cameras are of the order of 1: those of few keypoints are held to that.
        solved = np.linalg.solve(normal + np.diag([1.0, 1, 1, 1e-3]), right)
        affine, shift = solved[:, :3].swapaxes(1, 2), solved[:, 3]
        normal = (weight.T @ (affine.swapaxes(1, 2) @ affine).reshape(-1, 9)).reshape(-1, 3, 3)
        right = np.einsum("nk,nkc,nci->ki", weight, x - shift[:, None], affine, optimize=True)
        shape = np.linalg.solve(normal + 1e-6 * np.eye(3), right[..., None])[..., 0]
        shape = shape - shape.mean(0)
        shape = shape @ np.linalg.inv(np.linalg.cholesky(np.cov(shape.T, bias=True) + 1e-9 * np.eye(3))).T
        square = ((x - shift[:, None] - shape @ affine.swapaxes(1, 2)) ** 2).sum(2)
        trust = annotated * (FREEDOM + 2) / (FREEDOM + square / spread**2)
        spread = np.sqrt((trust * square).sum(0) / 2 / annotated.sum(0).clip(1))
        spread = np.maximum(spread, max(SPREAD_FLOOR * float(np.median(spread)), 1e-4))
        weight = trust / spread**2
    return affine * size[:, None, None], shape


def _metric(affine: np.ndarray) -> np.ndarray:
    """The upgrade (3, 3) that makes the rows of affine cameras (N, 2, 3) orthogonal and of equal length, robustly."""
    some = affine / np.linalg.norm(affine, axis=(1, 2), keepdims=True)
    i, j = np.tril_indices(3)

    def lower(entries: np.ndarray) -> np.ndarray:
        matrix = np.zeros((3, 3))
        matrix[i, j] = entries
        return matrix

    def misfit(entries: np.ndarray) -> np.ndarray:
        gram = some @ lower(entries)
        gram = gram @ gram.swapaxes(1, 2)
        a, b, c = gram[:, 0, 0], gram[:, 1, 1], gram[:, 0, 1]
        # The last entry only settles the overall scale, which the others leave free.
        return np.concatenate([np.stack([a - b, 2 * c], 1).ravel() / np.repeat(a + b, 2), [(entries**2).sum() - 3]])

    starts = [np.diag(np.exp(np.roll([0.0, 0, step], turn)))[i, j] for step in (0, 1.0) for turn in range(3)]
    fits = [least_squares(misfit, start, loss="soft_l1", f_scale=0.2, max_nfev=60) for start in starts]
    return lower(min(fits, key=lambda fit: fit.cost).x)
