"""The shape and covariance that fit given cameras best, and the object space that they are given in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .model import Poses, Structure, Tracks, robust_precisions
from .poses import curvature, derivatives, tilt_curvature

SMALLEST_SPREAD = 0.01
"""Lower bound of how far keypoints stray, each and together, object units: as exactly as they are annotated."""
STILL = 1e-6
"""Precision with which keypoints that nothing moves are held where they are."""
MIRROR = np.diag([-1.0, 1, 1])


def reshaped(structure: Structure, tracks: Tracks) -> Structure:
    """The structure with the symmetric shape and the covariance that fit its poses best (expectation maximisation)."""
    twins, count = tracks.twins, len(tracks.twins)
    positions = (tracks.points - structure.shifts[:, None]) / structure.scales[:, None, None]
    rows = structure.rotations[:, :2]
    residual = positions - structure.keypoints @ rows.swapaxes(1, 2)
    precision = robust_precisions(structure, tracks, residual)
    normal = precision.reshape(-1, count**2).T @ (rows.swapaxes(1, 2) @ rows).reshape(-1, 9)
    normal = normal.reshape(count, count, 3, 3).transpose(0, 2, 1, 3)
    right = (precision @ positions).transpose(1, 0, 2).reshape(count, -1) @ rows.reshape(-1, 3)
    # What no picture shows stays where it was.
    normal = normal + STILL * np.eye(3 * count).reshape(normal.shape)
    right = right + STILL * structure.keypoints
    flip = np.diag(MIRROR)
    normal = normal + flip[:, None, None] * normal[twins][:, :, twins] * flip
    right = right + right[twins] * flip
    shape = np.linalg.solve(normal.reshape(3 * count, -1), right.ravel()).reshape(count, 3)
    # Where a keypoint is absent, and how far the pose is uncertain, counts as it is to be expected.
    residual = positions - shape @ rows.swapaxes(1, 2)
    known = structure.covariance @ precision
    unit = Poses(structure.rotations, np.ones(len(positions)), np.zeros((len(positions), 2)))
    along = derivatives(shape, unit)
    free = np.linalg.inv(curvature(along, precision) + tilt_curvature(unit))
    loose = known @ along
    strays = known @ residual
    covariance = (np.einsum("nki,nli->kl", strays, strays, optimize=True)
                  + np.einsum("inkp,npq,inlq->kl", loose, free, loose, optimize=True)) / 2
    covariance = (covariance + (structure.covariance - known @ structure.covariance).sum(0)) / len(positions)
    covariance = (covariance + covariance.T + (covariance + covariance.T)[twins][:, twins]) / 4
    # The camera's shift stands for what they stray all together.
    covariance = covariance - covariance.mean(0) - covariance.mean(1)[:, None] + covariance.mean()
    values, vectors = np.linalg.eigh(covariance)
    covariance = vectors @ (values.clip(SMALLEST_SPREAD**2)[:, None] * vectors.T)
    return replace(structure, keypoints=shape, covariance=covariance)


def framed(structure: Structure, tracks: Tracks) -> Structure:
    """The same turned, moved and scaled into object space, and made symmetric."""
    shape, twins = structure.keypoints, tracks.twins
    paired = twins != np.arange(len(twins))
    across = np.where(tracks.left, 1, -1)[:, None] * (shape - shape[twins])
    across = across[paired] / structure.spreads[paired, None]
    x = np.linalg.eigh(across.T @ across)[1][:, -1]
    x = x * np.sign((across @ x).sum())
    up = (structure.rotations.swapaxes(1, 2) @ [0, -1, 0]).mean(0)
    z = up - x * (x @ up)
    z /= np.linalg.norm(z)
    turn = np.stack([x, np.cross(z, x), z])
    shape = shape @ turn.T
    trust = 1 / structure.spreads / (1 / structure.spreads).sum()
    middle = trust @ shape
    shape = shape - middle
    shape = (shape + shape[twins] @ MIRROR) / 2
    extent = np.ptp(shape, axis=0).max()
    rotations = structure.rotations @ turn.T
    shifts = structure.shifts + structure.scales[:, None] * (rotations @ middle)[:, :2]
    return replace(structure, keypoints=shape / extent, rotations=rotations, scales=structure.scales * extent,
                   shifts=shifts, covariance=structure.covariance / extent**2)
