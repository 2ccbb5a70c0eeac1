"""Cameras and a mean shape from the keypoints of an image collection: rigid structure from motion, weak perspective.

The pictures show animals that differ in proportions and move their limbs, so the fit is robust throughout: keypoints
that stray are trusted less, poses are searched for over the whole view sphere, and the shape is symmetric in each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from ..annotations import ABSENT, SIDES, VISIBLE
from ..job import BadInput

FEWEST_KEYPOINTS, FEWEST_PICTURES = 4, 8
"""Fewer determine no shape. A picture counts if it has as many keypoints annotated."""
FACTOR_ROUNDS, ROUNDS, SEARCHES = 60, 24, (0, 4, 10)
"""Rounds of the affine factorisation and of the alternation; in which of the latter all views are searched."""
METRIC_PICTURES = 2000
"""As many, evenly among all, decide how the affine shape is upgraded."""
AZIMUTHS, ELEVATIONS = 24, np.radians([-60, -40, -20, 0, 20, 40, 60])
"""Views (count; radians) from which poses start; the turn in the plane of the picture follows in closed form."""
CANDIDATES, STEPS = 6, 10
"""How many of those are refined, and by how many Levenberg-Marquardt steps."""
FREEDOM = 4.0
"""Of Student's distribution, which residuals follow: outliers count little."""
SMALLEST_SPREAD, EVENNESS = 0.01, 0.5
"""Lower bounds of a keypoint's spread: object units; a share of the median. Without the latter three keypoints, which a
pose can always meet, would be trusted alone."""
SIDE_WEIGHT, SIDE_DEPTH = 1.0, 0.05
"""What a seen keypoint behind its hidden twin costs a pose, and at which difference of depth, object units."""
TILT_WEIGHT, TILT = 0.5, np.radians(35)
"""What standing askew costs a pose, and at which angle."""
TRIAL_PICTURES, TRIAL_ROUNDS, FIRST_SPREAD = 300, 8, 0.1
"""As many pictures and rounds decide between starts, whose spreads are all alike, object units."""
FLAT = 1e-3
"""A shape thinner than this share of its extent has no depth."""
CHUNK = 20000
"""Poses refined at a time: bounds memory."""
MIRROR, REVERSED_FRONT = np.diag([-1.0, 1, 1]), np.diag([1.0, -1, 1])


@dataclass(frozen=True)
class Structure:
    """Mean places of keypoints and the camera of each picture: x2d = scale * (R X)_xy + shift, crop coordinates."""

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
    spreads: np.ndarray
    """(K,) by how much keypoints stray from their mean places in each coordinate, object units: joints of limbs most."""


@dataclass(frozen=True)
class _Pictures:
    points: np.ndarray
    """(N, K, 2) crop coordinates, 0 where absent."""
    seen: np.ndarray
    """(N, K)"""
    twins: np.ndarray
    """(K,)"""

    @property
    def annotated(self) -> np.ndarray:
        return self.seen > ABSENT

    @property
    def beside_hidden(self) -> np.ndarray:
        """(N, K) bool, seen keypoints whose twin is not: they are the nearer ones."""
        visible = self.seen == VISIBLE
        return visible & ~visible[:, self.twins]

    def __getitem__(self, which) -> _Pictures:
        return _Pictures(self.points[which], self.seen[which], self.twins)


def left_of(names: Sequence[str]) -> np.ndarray:
    """(K,) bool, which keypoints are on the subject's left by their names."""
    return np.array([any(left in name for left, _ in SIDES) for name in names])


def structure_of(keypoints: np.ndarray, seen: np.ndarray, mirror: Sequence[int],
                 left: Sequence[bool] | np.ndarray | None = None) -> Structure:
    """Rigid structure from motion on the keypoints of a collection.

    keypoints  (N, K, 2) crop coordinates; anything where ABSENT
    seen       (N, K) ABSENT, HIDDEN or VISIBLE
    mirror     K indices: of each keypoint's twin on the other side, its own where it has none
    left       (K,) which keypoints are on the left, as from `left_of`; if None, the first of each pair

    BadInput where there are too few keypoints or pictures, or where they determine no shape.
    """
    pictures = _pictures(keypoints, seen, mirror)
    on_left = np.arange(len(pictures.twins)) < pictures.twins if left is None else np.asarray(left, bool)
    usable = pictures[pictures.annotated.sum(1) >= FEWEST_KEYPOINTS]
    _check(usable)
    structure = _first(usable, on_left)
    for round_ in range(ROUNDS):
        structure = _searched(structure, usable) if round_ in SEARCHES else _refined(structure, usable)
        structure = _framed(_reshaped(structure, usable), on_left, usable.twins)
    return _cameras(structure, pictures)


def poses_of(structure: Structure, keypoints: np.ndarray, seen: np.ndarray, mirror: Sequence[int]) -> Structure:
    """The cameras of other pictures (as in `structure_of`) of the same shape."""
    return _cameras(structure, _pictures(keypoints, seen, mirror))


def _pictures(keypoints: np.ndarray, seen: np.ndarray, mirror: Sequence[int]) -> _Pictures:
    return _Pictures(np.where(seen[..., None] > ABSENT, keypoints, 0).astype(float), seen, np.asarray(mirror, int))


def _check(usable: _Pictures) -> None:
    """BadInput where the keypoints of these pictures cannot determine a shape."""
    count = int(usable.annotated.any(0).sum())
    if len(usable.twins) < FEWEST_KEYPOINTS or (len(usable.seen) and count < FEWEST_KEYPOINTS):
        raise BadInput(f"keypoints: found {min(count, len(usable.twins))}, needs {FEWEST_KEYPOINTS} or more to find "
                       "cameras")
    if len(usable.seen) < FEWEST_PICTURES:
        raise BadInput(f"pictures: found {len(usable.seen)} with {FEWEST_KEYPOINTS} or more keypoints, needs "
                       f"{FEWEST_PICTURES} or more to find cameras")
    if (usable.twins == np.arange(len(usable.twins))).all():
        raise BadInput("keypoints: found no pair that mirrors each other, needs names that differ by left and right")
    weight = usable.annotated[..., None] / usable.annotated.sum(1)[:, None, None]
    centred = (usable.points - (weight * usable.points).sum(1, keepdims=True)) * usable.annotated[..., None]
    extent = np.linalg.svd(centred, compute_uv=False)
    if np.median(extent[:, 1] / np.maximum(extent[:, 0], 1e-12)) < FLAT:
        raise BadInput("keypoints: found all on one line in most pictures, needs some beside it to find cameras")


def _first(pictures: _Pictures, on_left: np.ndarray) -> Structure:
    """The start that leads to the most likely structure of some of the pictures."""
    some = pictures[:: len(pictures.seen) // TRIAL_PICTURES + 1]
    trials = []
    for start in (_upright(some, on_left), _affine(some, on_left)):
        for trial in (start, _reversed(start)):
            for _ in range(TRIAL_ROUNDS):
                trial = _framed(_reshaped(_searched(trial, some), some), on_left, some.twins)
            trials.append(trial)
    return min(trials, key=lambda trial: _unlikeliness(trial, some))


def _unlikeliness(structure: Structure, pictures: _Pictures) -> float:
    """Negative log likelihood of the pictures, spreads included."""
    poses = _Poses(structure.rotations, structure.scales, structure.shifts)
    energy = _energies(structure, pictures, structure.scales, poses).sum()
    return float(energy + 2 * (pictures.annotated.sum(0) * np.log(structure.spreads)).sum())


def _upright(pictures: _Pictures, on_left: np.ndarray) -> Structure:
    """A start from moments, right if subjects stand upright, are seen from their height, and from all sides alike.

    Then height is the mean height in the pictures, and of a place in the plane half the square shows along the
    picture's horizontal on average: what twins share is length, in what they differ is width.
    """
    seen, twins = pictures.annotated.astype(float), pictures.twins
    centre = (pictures.points * seen[..., None]).sum(1) / seen.sum(1)[:, None]
    x = (pictures.points - centre[:, None]) * seen[..., None]
    height = -x[..., 1].sum(0) / seen.sum(0).clip(1)
    moments = (x[..., 0].T @ x[..., 0]) / (seen.T @ seen).clip(1)
    moments = (moments + moments[twins][:, twins]) / 2
    shared = (moments + moments[:, twins]) / 2
    values, vectors = np.linalg.eigh(shared)
    length = vectors[:, -1] * np.sqrt(2 * values[-1])
    width = np.sqrt((np.diag(moments) - moments[np.arange(len(twins)), twins]).clip(1e-6))
    side = np.where(twins == np.arange(len(twins)), 0, np.where(on_left, 1, -1))
    shape = np.stack([side * width, length, (height + height[twins]) / 2], 1)
    extent = np.ptp(shape, axis=0).max()
    return Structure(shape / extent, np.zeros((0, 3, 3)), np.zeros(0), np.zeros((0, 2)), np.zeros(0),
                     np.full(len(shape), FIRST_SPREAD))


def _affine(pictures: _Pictures, on_left: np.ndarray) -> Structure:
    """A start from the affine factorisation of all pictures and their mirror images: subjects may lie askew."""
    flipped = _Pictures(pictures.points[:, pictures.twins] * [-1, 1], pictures.seen[:, pictures.twins], pictures.twins)
    affine, shape = _factorised(np.concatenate([pictures.points, flipped.points]),
                                np.concatenate([pictures.annotated, flipped.annotated]))
    upgrade = _metric(affine)
    u, stretch, vt = np.linalg.svd((affine @ upgrade)[:len(pictures.points)], full_matrices=False)
    rows = u @ vt
    rotations = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    start = Structure(shape @ np.linalg.inv(upgrade).T, rotations, stretch.mean(1), np.zeros((len(rows), 2)),
                      np.zeros(len(rows)), np.ones(len(shape)))
    return replace(_framed(start, on_left, pictures.twins), spreads=np.full(len(shape), FIRST_SPREAD))


def _reversed(structure: Structure) -> Structure:
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
        share = annotated * (FREEDOM + 2) / (FREEDOM + square / spread**2)
        spread = np.sqrt((share * square).sum(0) / 2 / annotated.sum(0).clip(1))
        spread = np.maximum(spread, max(EVENNESS * float(np.median(spread)), 1e-4))
        weight = share / spread**2
    return affine * size[:, None, None], shape


def _metric(affine: np.ndarray) -> np.ndarray:
    """The upgrade (3, 3) that makes the rows of affine cameras (N, 2, 3) orthogonal and of equal length, robustly."""
    some = affine[:: len(affine) // METRIC_PICTURES + 1]
    some = some / np.linalg.norm(some, axis=(1, 2), keepdims=True)
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


def _framed(structure: Structure, on_left: np.ndarray, twins: np.ndarray) -> Structure:
    """The same turned, moved and scaled into object space, and made symmetric."""
    shape, paired = structure.keypoints, twins != np.arange(len(twins))
    across = np.where(on_left, 1, -1)[:, None] * (shape - shape[twins])
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
                   shifts=shifts, spreads=structure.spreads / extent)


def _reshaped(structure: Structure, pictures: _Pictures) -> Structure:
    """The structure with the symmetric shape and the spreads that fit its poses best."""
    twins = pictures.twins
    places = (pictures.points - structure.shifts[:, None]) / structure.scales[:, None, None]
    rows = structure.rotations[:, :2]
    square = ((places - structure.keypoints @ rows.swapaxes(1, 2)) ** 2).sum(2)
    share = pictures.annotated * (FREEDOM + 2) / (FREEDOM + square / structure.spreads**2)
    normal = (share.T @ (rows.swapaxes(1, 2) @ rows).reshape(-1, 9)).reshape(-1, 3, 3) + 1e-6 * np.eye(3)
    right = np.einsum("nk,nkc,nci->ki", share, places, rows, optimize=True) + 1e-6 * structure.keypoints
    normal, right = normal + MIRROR @ normal[twins] @ MIRROR, right + right[twins] @ MIRROR
    shape = np.linalg.solve(normal, right[..., None])[..., 0]
    square = ((places - shape @ rows.swapaxes(1, 2)) ** 2).sum(2)
    both = [(values + values[twins]) for values in ((share * square).sum(0) / 2, pictures.annotated.sum(0))]
    spreads = np.sqrt(both[0] / np.maximum(both[1], 1))
    spreads = np.maximum(spreads, max(EVENNESS * float(np.median(spreads)), SMALLEST_SPREAD))
    return replace(structure, keypoints=shape, spreads=spreads)


def _cameras(structure: Structure, pictures: _Pictures) -> Structure:
    """The structure with the best camera of each picture and its error."""
    count = len(pictures.seen)
    known = pictures.annotated.sum(1) >= FEWEST_KEYPOINTS
    found = _searched(structure, pictures[known])
    rotations, scales = np.tile(np.eye(3), (count, 1, 1)), np.ones(count)
    shifts, errors = np.zeros((count, 2)), np.full(count, np.inf)
    rotations[known], scales[known], shifts[known], errors[known] = (found.rotations, found.scales, found.shifts,
                                                                    found.errors)
    return replace(structure, rotations=rotations, scales=scales, shifts=shifts, errors=errors)


def _refined(structure: Structure, pictures: _Pictures) -> Structure:
    """The structure with poses that improve on its own."""
    poses = _descended(structure, pictures, structure.scales, _Poses(structure.rotations, structure.scales,
                                                                     structure.shifts))
    return _with_poses(structure, pictures, poses)


def _searched(structure: Structure, pictures: _Pictures) -> Structure:
    """The structure with the best of the poses that views from all around lead to."""
    parts = []
    for some in np.array_split(np.arange(len(pictures.seen)), len(pictures.seen) * CANDIDATES // CHUNK + 1):
        few = pictures[some]
        starts, sizes = _starts(structure, few)
        repeated, sizes = few[np.repeat(np.arange(len(some)), CANDIDATES)], np.repeat(sizes, CANDIDATES)
        poses = _descended(structure, repeated, sizes, starts)
        energy = _energies(structure, repeated, sizes, poses).reshape(-1, CANDIDATES)
        parts.append(poses.at(np.arange(len(some)) * CANDIDATES + energy.argmin(1)))
    return _with_poses(structure, pictures, _Poses(*(np.concatenate(values) for values in zip(*parts, strict=True))))


class _Poses(NamedTuple):
    rotations: np.ndarray
    """(P, 3, 3)"""
    scales: np.ndarray
    """(P,)"""
    shifts: np.ndarray
    """(P, 2)"""

    def at(self, which: np.ndarray) -> _Poses:
        return _Poses(*(values[which] for values in self))


def _with_poses(structure: Structure, pictures: _Pictures, poses: _Poses) -> Structure:
    square = (_residuals(structure, pictures, poses) ** 2).sum(2)
    errors = np.sqrt((square * pictures.annotated).sum(1) / pictures.annotated.sum(1))
    return replace(structure, rotations=poses.rotations, scales=poses.scales, shifts=poses.shifts, errors=errors)


def _residuals(structure: Structure, pictures: _Pictures, poses: _Poses) -> np.ndarray:
    """(P, K, 2) crop units."""
    projected = structure.keypoints @ poses.rotations[:, :2].swapaxes(1, 2)
    return pictures.points - poses.scales[:, None, None] * projected - poses.shifts[:, None]


def _starts(structure: Structure, pictures: _Pictures) -> tuple[_Poses, np.ndarray]:
    """CANDIDATES poses (N * CANDIDATES) of each picture at local minima over the view sphere; its scale (N,).

    For each view the best turn in the plane of the picture, scale and shift are one complex factor and summand.
    """
    views = _views()
    turned = np.einsum("vij,kj->vki", views, structure.keypoints)
    plane = turned[..., 0] + 1j * turned[..., 1]
    points = pictures.points[..., 0] + 1j * pictures.points[..., 1]
    weight = pictures.annotated / structure.spreads**2
    weight = weight / weight.sum(1, keepdims=True)
    mean, middle = (weight * points).sum(1), weight @ plane.T
    product = (weight * points) @ plane.conj().T - mean[:, None] * middle.conj()
    power = weight @ (np.abs(plane) ** 2).T - np.abs(middle) ** 2
    factor = product / power.clip(1e-9)
    left_over = (weight * np.abs(points) ** 2).sum(1)[:, None] - np.abs(mean)[:, None] ** 2 - np.abs(product) ** 2 / power.clip(1e-9)
    scale = np.abs(factor)[np.arange(len(points)), left_over.argmin(1)].clip(1e-6)
    count = pictures.annotated.sum(1)[:, None]
    precision = (pictures.annotated / structure.spreads**2).sum(1)[:, None]
    square = left_over.clip(0) * precision / count / scale[:, None] ** 2
    cosine = np.cos(np.angle(factor)) * -views[:, 1, 2]
    energy = count * (FREEDOM + 2) / 2 * np.log1p(square / FREEDOM)
    energy = energy + _side_costs(turned[..., 2], pictures.beside_hidden, pictures.twins) + _tilt_cost(cosine)
    chosen = _lowest_minima(energy)
    rows = np.repeat(np.arange(len(points)), CANDIDATES)
    factor, middle = factor[rows, chosen.ravel()], middle[rows, chosen.ravel()]
    unit = factor / np.abs(factor).clip(1e-12)
    roll = np.zeros((len(rows), 3, 3))
    roll[:, 0, 0] = roll[:, 1, 1] = unit.real
    roll[:, 1, 0], roll[:, 0, 1], roll[:, 2, 2] = unit.imag, -unit.imag, 1
    shift = mean[rows] - factor * middle
    return _Poses(roll @ views[chosen.ravel()], np.abs(factor).clip(1e-6), np.stack([shift.real, shift.imag], 1)), scale


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
    chosen = np.argpartition(ranked, CANDIDATES, axis=1)[:, :CANDIDATES]
    return chosen


def _side_costs(depths: np.ndarray, beside_hidden: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """(N, P) costs of depths (P, K) for pictures whose keypoints (N, K) are seen while their twins are not."""
    return SIDE_WEIGHT * beside_hidden @ np.logaddexp(0, (depths - depths[:, twins]) / SIDE_DEPTH).T


def _tilt_cost(cosine: np.ndarray) -> np.ndarray:
    """Of the angle between the subject's and the picture's upward direction, given its cosine."""
    return TILT_WEIGHT * (1 - cosine) / (1 - np.cos(TILT))


def _energies(structure: Structure, pictures: _Pictures, sizes: np.ndarray, poses: _Poses) -> np.ndarray:
    """(P,) negative log likelihoods of poses, each of its own picture."""
    depth = poses.rotations[:, 2] @ structure.keypoints.T
    side = np.logaddexp(0, (depth - depth[:, pictures.twins]) / SIDE_DEPTH)
    square = (_residuals(structure, pictures, poses) ** 2).sum(2)
    return (_misfit(structure, pictures, sizes, square) + SIDE_WEIGHT * (side * pictures.beside_hidden).sum(1)
            + _tilt_cost(-poses.rotations[:, 1, 2]))


def _misfit(structure: Structure, pictures: _Pictures, sizes: np.ndarray, square: np.ndarray) -> np.ndarray:
    spread = structure.spreads * sizes[:, None]
    return (FREEDOM + 2) / 2 * (pictures.annotated * np.log1p(square / spread**2 / FREEDOM)).sum(1)


def _descended(structure: Structure, pictures: _Pictures, sizes: np.ndarray, poses: _Poses) -> _Poses:
    """Poses after STEPS Levenberg-Marquardt steps on the robust distances; sizes (P,) are crop units per object unit."""
    parts = [_descended_few(structure, pictures[some], sizes[some], poses.at(some))
             for some in np.array_split(np.arange(len(sizes)), len(sizes) // CHUNK + 1)]
    return _Poses(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _descended_few(structure: Structure, pictures: _Pictures, sizes: np.ndarray, poses: _Poses) -> _Poses:
    damping = np.full(len(sizes), 1e-2)
    residual = _residuals(structure, pictures, poses)
    cost = _misfit(structure, pictures, sizes, (residual**2).sum(2))
    for _ in range(STEPS):
        spread = (structure.spreads * sizes[:, None]) ** 2
        weight = pictures.annotated * (FREEDOM + 2) / (FREEDOM * spread + (residual**2).sum(2))
        normal, right = _normal_equations(structure.keypoints, poses, weight, residual)
        diagonal = np.einsum("pii->pi", normal)
        diagonal += damping[:, None] * diagonal + 1e-6
        step = np.linalg.solve(normal, right[..., None])[..., 0]
        moved = _Poses(Rotation.from_rotvec(step[:, :3]).as_matrix() @ poses.rotations,
                       poses.scales * np.exp(step[:, 3].clip(-1, 1)), poses.shifts + step[:, 4:])
        new = _residuals(structure, pictures, moved)
        lower = _misfit(structure, pictures, sizes, (new**2).sum(2))
        better = lower < cost
        cost = np.where(better, lower, cost)
        residual = np.where(better[:, None, None], new, residual)
        poses = _Poses(*(np.where(better.reshape(-1, *[1] * (old.ndim - 1)), now, old)
                         for now, old in zip(moved, poses, strict=True)))
        damping = np.where(better, damping / 3, damping * 5)
    return poses


def _normal_equations(shape: np.ndarray, poses: _Poses, weight: np.ndarray,
                      residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 6, 6) and (P, 6) for turns in camera axes, the logarithm of the scale, and the shift."""
    x, y, z = np.moveaxis(poses.scales[:, None, None] * (shape @ poses.rotations.swapaxes(1, 2)), 2, 0)
    o, one = np.zeros_like(x), np.ones_like(x)
    along_x, along_y = np.stack([o, z, -y, x, one, o], 2), np.stack([-z, o, x, y, o, one], 2)
    normal = along_x.swapaxes(1, 2) @ (weight[..., None] * along_x) + along_y.swapaxes(1, 2) @ (weight[..., None] * along_y)
    pull = weight[..., None] * residual
    right = (along_x.swapaxes(1, 2) @ pull[..., :1] + along_y.swapaxes(1, 2) @ pull[..., 1:])[..., 0]
    return normal, right
