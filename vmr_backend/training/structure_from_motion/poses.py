"""The camera of each picture under a shape: searched over the view sphere, refined by Levenberg-Marquardt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from .model import FEWEST_KEYPOINTS, FREEDOM, Poses, Structure, Tracks, precisions, residuals, robust_precisions

AZIMUTHS, ELEVATIONS = 24, np.radians([-60, -40, -20, 0, 20, 40, 60])
"""Views (count; radians) from which poses start; the turn in the plane of the picture follows in closed form."""
CANDIDATES, STEPS = 6, 10
"""How many of those are refined, and by how many Levenberg-Marquardt steps."""
SIDE_WEIGHT, SIDE_DEPTH = 1.0, 0.05
"""Cost of a visible keypoint behind its hidden twin, and the difference of depth at which it counts, object units."""
TILT = np.sin(np.radians(12))
"""How far subjects tilt to a side of the picture: the sine of the standard deviation."""
CHUNK = 6000
"""Poses refined at a time: bounds memory."""


def cameras_of(structure: Structure, tracks: Tracks) -> Structure:
    """The structure with the best camera of each picture and its error."""
    known = tracks.annotated.sum(1) >= FEWEST_KEYPOINTS
    count, found = len(known), searched(structure, tracks[known])
    cameras = {"rotations": np.tile(np.eye(3), (count, 1, 1)), "scales": np.ones(count), "shifts": np.zeros((count, 2)),
               "errors": np.full(count, np.inf)}
    for name, values in cameras.items():
        values[known] = getattr(found, name)
    return replace(structure, **cameras)


def refined(structure: Structure, tracks: Tracks) -> Structure:
    """The structure with its poses refined."""
    parts = []
    for some in _chunks(len(tracks.seen), 1):
        few, own = tracks[some], structure.poses.at(some)
        residual = residuals(structure, few, own) / own.scales[:, None, None]
        parts.append(_descended(structure, few, own.scales, robust_precisions(structure, few, residual), own))
    return structure.with_poses(tracks, _joined(parts))


def searched(structure: Structure, tracks: Tracks) -> Structure:
    """The structure with the best poses that are found from views from all around."""
    parts = []
    for some in _chunks(len(tracks.seen), CANDIDATES):
        few, rows = tracks[some], np.repeat(np.arange(len(some)), CANDIDATES)
        precision = precisions(structure, few)
        starts, sizes = _starts(structure, few, precision)
        poses = _descended(structure, few[rows], sizes[rows], precision[rows], starts)
        energy = energies(structure, few[rows], sizes[rows], precision[rows], poses).reshape(-1, CANDIDATES)
        parts.append(poses.at(np.arange(len(some)) * CANDIDATES + energy.argmin(1)))
    return structure.with_poses(tracks, _joined(parts))


def _chunks(count: int, times: int) -> list[np.ndarray]:
    return np.array_split(np.arange(count), count * times // CHUNK + 1)


def _joined(parts: list[Poses]) -> Poses:
    return Poses(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _starts(structure: Structure, tracks: Tracks, precision: np.ndarray) -> tuple[Poses, np.ndarray]:
    """CANDIDATES poses (N * CANDIDATES) of each picture at local minima over the view sphere; its scale (N,).

    For each view the best turn in the plane of the picture, scale and shift are one complex factor and summand.
    """
    views, numbers = _views(), np.arange(len(tracks.seen))
    turned = np.einsum("vij,kj->vki", views, structure.keypoints)
    plane = turned[..., 0] + 1j * turned[..., 1]
    points = tracks.points[..., 0] + 1j * tracks.points[..., 1]
    total = precision.sum(2)
    centred = precision - total[:, :, None] * total[:, None] / total.sum(1)[:, None, None]
    pulled = (centred @ points[..., None])[..., 0]
    product = pulled @ plane.conj().T
    square = (plane[:, :, None] * plane[:, None].conj()).real.reshape(len(views), -1)
    power = (centred.reshape(len(points), -1) @ square.T).clip(1e-9)
    factor = product / power
    residual = (pulled * points.conj()).real.sum(1)[:, None] - np.abs(product) ** 2 / power
    scale = np.abs(factor)[numbers, residual.argmin(1)].clip(1e-6)
    unit = factor / np.abs(factor).clip(1e-12)
    up_x, up_y = -unit.imag * views[:, 1, 2], unit.real * views[:, 1, 2]
    energy = _misfit(residual.clip(0) / scale[:, None] ** 2, tracks.annotated.sum(1)[:, None])
    energy = energy + _side_costs(turned[..., 2], tracks.beside_hidden, tracks.twins) + _tilt_cost(up_x, up_y)
    chosen = _lowest_minima(energy).ravel()
    rows = np.repeat(numbers, CANDIDATES)
    factor, unit = factor[rows, chosen], unit[rows, chosen]
    roll = np.zeros((len(rows), 3, 3))
    roll[:, 0, 0] = roll[:, 1, 1] = unit.real
    roll[:, 1, 0], roll[:, 0, 1], roll[:, 2, 2] = unit.imag, -unit.imag, 1
    shift = ((total[rows] * (points[rows] - factor[:, None] * plane[chosen])).sum(1) / total[rows].sum(1))
    return Poses(roll @ views[chosen], np.abs(factor).clip(1e-6), np.stack([shift.real, shift.imag], 1)), scale


def _views() -> np.ndarray:
    """(ELEVATIONS * AZIMUTHS, 3, 3) rotations of upright subjects, seen from an elevation and an azimuth."""
    elevation, azimuth = np.meshgrid(ELEVATIONS, np.arange(AZIMUTHS) * 2 * np.pi / AZIMUTHS, indexing="ij")
    elevation, azimuth, o = elevation.ravel(), azimuth.ravel(), np.zeros(elevation.size)
    right = np.stack([np.cos(azimuth), np.sin(azimuth), o], 1)
    ahead = np.stack([-np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), -np.sin(elevation)], 1)
    return np.stack([right, np.cross(ahead, right), ahead], 1)


def _lowest_minima(energy: np.ndarray) -> np.ndarray:
    """(N, CANDIDATES) indices of views below their neighbours, the lowest first, from energies (N, views)."""
    grid = energy.reshape(-1, len(ELEVATIONS), AZIMUTHS)
    padded = np.pad(grid, ((0, 0), (1, 1), (0, 0)), constant_values=np.inf)
    lowest = np.ones(grid.shape, bool)
    for down in (0, 1, 2):
        for side in (-1, 0, 1):
            lowest &= grid <= np.roll(padded[:, down:down + len(ELEVATIONS)], side, 2)
    # Where there are fewer minima, the lowest of the other views follow.
    ranked = np.where(lowest.reshape(energy.shape), energy - np.ptp(energy, axis=1, keepdims=True) - 1, energy)
    return np.argpartition(ranked, CANDIDATES, axis=1)[:, :CANDIDATES]


def _side_costs(depths: np.ndarray, beside_hidden: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """(N, P) costs of depths (P, K) for pictures whose keypoints (N, K) are visible while their twins are not."""
    return SIDE_WEIGHT * beside_hidden @ np.logaddexp(0, (depths - depths[:, twins]) / SIDE_DEPTH).T


def _tilt_cost(up_x: np.ndarray, up_y: np.ndarray) -> np.ndarray:
    """Of a subject's upward direction in camera axes: a prior that pictures are taken upright."""
    return np.where(up_y < 0, up_x**2, 2 - up_x**2) / 2 / TILT**2


def tilt_curvature(poses: Poses) -> np.ndarray:
    """(P, 6, 6) of `_tilt_cost`, by the parameters of `derivatives`."""
    slope = np.zeros((len(poses.scales), 6))
    slope[:, 1], slope[:, 2] = poses.rotations[:, 2, 2], -poses.rotations[:, 1, 2]
    return slope[:, :, None] * slope[:, None] / TILT**2


def energies(structure: Structure, tracks: Tracks, sizes: np.ndarray, precision: np.ndarray,
             poses: Poses) -> np.ndarray:
    """(P,) negative log likelihoods of poses, each of its own picture."""
    depth = poses.rotations[:, 2] @ structure.keypoints.T
    side = np.logaddexp(0, (depth - depth[:, tracks.twins]) / SIDE_DEPTH)
    residual = residuals(structure, tracks, poses) / sizes[:, None, None]
    square = _squares(residual, precision)
    return (_misfit(square, tracks.annotated.sum(1)) + SIDE_WEIGHT * (side * tracks.beside_hidden).sum(1)
            + _tilt_cost(poses.rotations[:, 0, 2], poses.rotations[:, 1, 2]))


def _squares(residual: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """(P,) squared Mahalanobis lengths of residuals (P, K, 2)."""
    return (residual * (precision @ residual)).sum((1, 2))


def _misfit(square: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Of squared lengths over a number of keypoints: outliers are not forced to fit."""
    return (FREEDOM / 2 + count) * np.log1p(square / (FREEDOM + 2 * count))


def _descended(structure: Structure, tracks: Tracks, sizes: np.ndarray, precision: np.ndarray, poses: Poses) -> Poses:
    """Poses after STEPS Levenberg-Marquardt steps; sizes (P,) are crop units per object unit."""
    damping = np.full(len(sizes), 1e-2)
    precision = precision / sizes[:, None, None] ** 2

    def cost_of(residual: np.ndarray, poses: Poses) -> np.ndarray:
        return _squares(residual, precision) / 2 + _tilt_cost(poses.rotations[:, 0, 2], poses.rotations[:, 1, 2])

    residual = residuals(structure, tracks, poses)
    cost = cost_of(residual, poses)
    for _ in range(STEPS):
        along = derivatives(structure.keypoints, poses)
        normal = curvature(along, precision) + tilt_curvature(poses)
        pulled = precision @ residual
        right = sum((along[c].swapaxes(1, 2) @ pulled[..., c:c + 1])[..., 0] for c in (0, 1))
        right[:, 1] -= poses.rotations[:, 0, 2] * poses.rotations[:, 2, 2] / TILT**2
        right[:, 2] += poses.rotations[:, 0, 2] * poses.rotations[:, 1, 2] / TILT**2
        diagonal = np.einsum("pii->pi", normal)
        diagonal += damping[:, None] * diagonal + 1e-6
        step = np.linalg.solve(normal, right[..., None])[..., 0]
        moved = Poses(Rotation.from_rotvec(step[:, :3]).as_matrix() @ poses.rotations,
                      poses.scales * np.exp(step[:, 3].clip(-1, 1)), poses.shifts + step[:, 4:])
        new = residuals(structure, tracks, moved)
        lower = cost_of(new, moved)
        better = lower < cost
        cost, residual = np.where(better, lower, cost), np.where(better[:, None, None], new, residual)
        poses = Poses(*(np.where(better.reshape(-1, *[1] * (old.ndim - 1)), now, old)
                        for now, old in zip(moved, poses, strict=True)))
        damping = np.where(better, damping / 3, damping * 5)
    return poses


def derivatives(shape: np.ndarray, poses: Poses) -> np.ndarray:
    """(2, P, K, 6) of x and y of keypoints by turns in camera axes, the logarithm of the scale, and the shift."""
    x, y, z = np.moveaxis(poses.scales[:, None, None] * (shape @ poses.rotations.swapaxes(1, 2)), 2, 0)
    o, one = np.zeros_like(x), np.ones_like(x)
    return np.stack([np.stack([o, z, -y, x, one, o], 2), np.stack([-z, o, x, y, o, one], 2)])


def curvature(along: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """(P, 6, 6) from derivatives (2, P, K, 6) and precisions (P, K, K)."""
    return (along.swapaxes(2, 3) @ (precision @ along)).sum(0)
