"""Cameras and a mean shape from the keypoints of an image collection: rigid structure from motion, weak perspective.

The pictures show animals that differ in proportions and move their limbs. So the shape comes with a covariance of how
keypoints stray from it together: a head that turns is one witness of the pose, not as many as it has keypoints. Poses
are searched for over the whole view sphere, and shape and covariance are symmetric in each round.
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
FACTOR_ROUNDS, ROUNDS, SEARCHES = 60, 40, (0, 4, 10, 20)
"""Rounds of the affine factorisation, and of fitting poses and shape in turns; in which of the latter all views are
searched."""
AZIMUTHS, ELEVATIONS = 24, np.radians([-60, -40, -20, 0, 20, 40, 60])
"""Views (count; radians) from which poses start; the turn in the plane of the picture follows in closed form."""
CANDIDATES, STEPS = 6, 10
"""How many of those are refined, and by how many Levenberg-Marquardt steps."""
FREEDOM = 4.0
"""Of Student's distribution, which residuals follow: outliers count little."""
SMALLEST_SPREAD = 0.01
"""Lower bound of how far keypoints stray, each and together, object units: as exactly as they are annotated."""
LEAST_SHARE = 0.5
"""Of the median spread, lower bound in the factorisation: else it trusts three keypoints alone, which fit always."""
SIDE_WEIGHT, SIDE_DEPTH = 1.0, 0.05
"""What a seen keypoint behind its hidden twin costs a pose, and at which difference of depth, object units."""
LEAN = np.sin(np.radians(12))
"""How far subjects lean to a side of the picture: the sine of the standard deviation."""
SAMPLE, TRIAL_SAMPLE = 1200, 300
"""Pictures, evenly among all, from which the shape is found, and by which it is decided between starts."""
TRIAL_ROUNDS, FIRST_SPREAD = 6, 0.1
"""Rounds after which starts are compared, and the spread of all keypoints at first, object units."""
FLAT = 1e-3
"""A shape thinner than this share of its extent has no depth."""
STILL = 1e-6
"""Precision with which keypoints that nothing moves are held where they are."""
CHUNK = 6000
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
    covariance: np.ndarray
    """(K, K) of how keypoints stray from their mean places together, in each coordinate, object units squared."""

    @property
    def spreads(self) -> np.ndarray:
        """(K,) standard deviations of keypoints in each coordinate, object units: joints of limbs stray most."""
        return np.sqrt(np.diag(self.covariance))


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
    """(K,) bool, which keypoints are on the subject's left by their names: `right_leg` is not, for its `_l`."""
    return np.array([any(left in name and name.replace(left, right) in names for left, right in SIDES)
                     for name in names])


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
    some = _evenly(usable, SAMPLE)
    structure = _first(_evenly(usable, TRIAL_SAMPLE), on_left)
    for round_ in range(ROUNDS):
        structure = _searched(structure, some) if round_ in SEARCHES else _refined(structure, some)
        structure = _framed(_reshaped(structure, some), on_left, some.twins)
    return _cameras(structure, pictures)


def poses_of(structure: Structure, keypoints: np.ndarray, seen: np.ndarray, mirror: Sequence[int]) -> Structure:
    """The cameras of other pictures (as in `structure_of`) of the same shape."""
    return _cameras(structure, _pictures(keypoints, seen, mirror))


def _pictures(keypoints: np.ndarray, seen: np.ndarray, mirror: Sequence[int]) -> _Pictures:
    return _Pictures(np.where(seen[..., None] > ABSENT, keypoints, 0).astype(float), seen, np.asarray(mirror, int))


def _evenly(pictures: _Pictures, count: int) -> _Pictures:
    return pictures[np.unique(np.linspace(0, len(pictures.seen) - 1, count).astype(int))]


def _check(usable: _Pictures) -> None:
    """BadInput where the keypoints of these pictures cannot determine a shape."""
    if len(usable.twins) < FEWEST_KEYPOINTS:
        raise BadInput(f"keypoints: found {len(usable.twins)}, needs {FEWEST_KEYPOINTS} or more to find cameras")
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
    """Of structures from several starts the one under which the pictures are likeliest."""
    trials = []
    for start in (_upright(pictures, on_left), _affine(pictures, on_left)):
        for trial in (start, _reversed(start)):
            for _ in range(TRIAL_ROUNDS):
                trial = _framed(_reshaped(_searched(trial, pictures), pictures), on_left, pictures.twins)
            trials.append(trial)
    return min(trials, key=lambda trial: _unlikeliness(trial, pictures))


def _unlikeliness(structure: Structure, pictures: _Pictures) -> float:
    """Negative log likelihood of the pictures, that of the covariance included."""
    poses = _Poses(structure.rotations, structure.scales, structure.shifts)
    precision = _precisions(structure, pictures)
    energy = _energies(structure, pictures, structure.scales, precision, poses)
    alone = np.eye(len(structure.keypoints)) * ~pictures.annotated[:, None]
    # Where nothing hides, both solutions fit alike: animals are looked down on rather than up at.
    energy = energy + structure.rotations[:, 2, 2]
    return float((energy - np.linalg.slogdet(precision + alone)[1]).sum())


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
                     FIRST_SPREAD**2 * np.eye(len(shape)))


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
                      np.zeros(len(rows)), np.eye(len(shape)))
    return replace(_framed(start, on_left, pictures.twins), covariance=FIRST_SPREAD**2 * np.eye(len(shape)))


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
        spread = np.maximum(spread, max(LEAST_SHARE * float(np.median(spread)), 1e-4))
        weight = share / spread**2
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
                   shifts=shifts, covariance=structure.covariance / extent**2)


def _reshaped(structure: Structure, pictures: _Pictures) -> Structure:
    """The structure with the symmetric shape and the covariance that fit its poses best (expectation maximisation)."""
    twins, count = pictures.twins, len(pictures.twins)
    places = (pictures.points - structure.shifts[:, None]) / structure.scales[:, None, None]
    rows = structure.rotations[:, :2]
    residual = places - structure.keypoints @ rows.swapaxes(1, 2)
    precision = _trusted(structure, pictures, residual)
    normal = precision.reshape(-1, count**2).T @ (rows.swapaxes(1, 2) @ rows).reshape(-1, 9)
    normal = normal.reshape(count, count, 3, 3).transpose(0, 2, 1, 3)
    right = (precision @ places).transpose(1, 0, 2).reshape(count, -1) @ rows.reshape(-1, 3)
    # What no picture shows stays where it was.
    normal = normal + STILL * np.eye(3 * count).reshape(normal.shape)
    right = right + STILL * structure.keypoints
    flip = np.diag(MIRROR)
    normal = normal + flip[:, None, None] * normal[twins][:, :, twins] * flip
    right = right + right[twins] * flip
    shape = np.linalg.solve(normal.reshape(3 * count, -1), right.ravel()).reshape(count, 3)
    # Where a keypoint is absent, and how far the pose is uncertain, counts as it is to be expected.
    residual = places - shape @ rows.swapaxes(1, 2)
    known = structure.covariance @ precision
    unit = _Poses(structure.rotations, np.ones(len(places)), np.zeros((len(places), 2)))
    along = np.stack(_derivatives(shape, unit))
    free = np.linalg.inv(_curvature(along, precision) + _lean_curvature(unit))
    loose = known @ along
    strays = known @ residual
    covariance = (np.einsum("nki,nli->kl", strays, strays, optimize=True)
                  + np.einsum("inkp,npq,inlq->kl", loose, free, loose, optimize=True)) / 2
    covariance = (covariance + (structure.covariance - known @ structure.covariance).sum(0)) / len(places)
    covariance = (covariance + covariance.T + (covariance + covariance.T)[twins][:, twins]) / 4
    # The camera's shift stands for what they stray all together.
    covariance = covariance - covariance.mean(0) - covariance.mean(1)[:, None] + covariance.mean()
    values, vectors = np.linalg.eigh(covariance)
    covariance = vectors @ (values.clip(SMALLEST_SPREAD**2)[:, None] * vectors.T)
    return replace(structure, keypoints=shape, covariance=covariance)


def _precisions(structure: Structure, pictures: _Pictures, doubt: np.ndarray | float = 0.0) -> np.ndarray:
    """(N, K, K) inverse covariances of the annotated keypoints, zero for the others, object units; doubt (N, K) is what
    single keypoints stray beyond that, as variance."""
    both = pictures.annotated[:, :, None] & pictures.annotated[:, None]
    unit = np.eye(len(structure.keypoints))
    alone = unit * ~pictures.annotated[:, None]
    spread = structure.covariance + unit * np.expand_dims(doubt, -1)
    return np.linalg.inv(np.where(both, spread, 0) + alone) - alone


def _trusted(structure: Structure, pictures: _Pictures, residual: np.ndarray) -> np.ndarray:
    """Precisions with doubt in keypoints whose residuals (N, K, 2) the others do not lead one to expect."""
    precision = _precisions(structure, pictures)
    own = np.einsum("nkk->nk", precision).clip(1e-9)
    square = ((precision @ residual) ** 2).sum(2) / own
    trust = np.minimum((FREEDOM + 2) / (FREEDOM + square), 1)
    return _precisions(structure, pictures, pictures.annotated * (1 / trust - 1) / own)


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
    poses = _Poses(structure.rotations, structure.scales, structure.shifts)
    parts = []
    for some in _chunks(len(pictures.seen), 1):
        few, own = pictures[some], poses.at(some)
        residual = _residuals(structure, few, own) / own.scales[:, None, None]
        parts.append(_descended(structure, few, own.scales, _trusted(structure, few, residual), own))
    return _with_poses(structure, pictures, _joined(parts))


def _searched(structure: Structure, pictures: _Pictures) -> Structure:
    """The structure with the best of the poses that views from all around lead to."""
    parts = []
    for some in _chunks(len(pictures.seen), CANDIDATES):
        few, rows = pictures[some], np.repeat(np.arange(len(some)), CANDIDATES)
        precision = _precisions(structure, few)
        starts, sizes = _starts(structure, few, precision)
        poses = _descended(structure, few[rows], sizes[rows], precision[rows], starts)
        energy = _energies(structure, few[rows], sizes[rows], precision[rows], poses).reshape(-1, CANDIDATES)
        parts.append(poses.at(np.arange(len(some)) * CANDIDATES + energy.argmin(1)))
    return _with_poses(structure, pictures, _joined(parts))


def _chunks(count: int, times: int) -> list[np.ndarray]:
    return np.array_split(np.arange(count), count * times // CHUNK + 1)


def _joined(parts: list[_Poses]) -> _Poses:
    return _Poses(*(np.concatenate(values) for values in zip(*parts, strict=True)))


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


def _starts(structure: Structure, pictures: _Pictures, precision: np.ndarray) -> tuple[_Poses, np.ndarray]:
    """CANDIDATES poses (N * CANDIDATES) of each picture at local minima over the view sphere; its scale (N,).

    For each view the best turn in the plane of the picture, scale and shift are one complex factor and summand.
    """
    views, numbers = _views(), np.arange(len(pictures.seen))
    turned = np.einsum("vij,kj->vki", views, structure.keypoints)
    plane = turned[..., 0] + 1j * turned[..., 1]
    points = pictures.points[..., 0] + 1j * pictures.points[..., 1]
    total = precision.sum(2)
    centred = precision - total[:, :, None] * total[:, None] / total.sum(1)[:, None, None]
    pulled = (centred @ points[..., None])[..., 0]
    product = pulled @ plane.conj().T
    square = (plane[:, :, None] * plane[:, None].conj()).real.reshape(len(views), -1)
    power = (centred.reshape(len(points), -1) @ square.T).clip(1e-9)
    factor = product / power
    left_over = (pulled * points.conj()).real.sum(1)[:, None] - np.abs(product) ** 2 / power
    scale = np.abs(factor)[numbers, left_over.argmin(1)].clip(1e-6)
    unit = factor / np.abs(factor).clip(1e-12)
    up_x, up_y = -unit.imag * views[:, 1, 2], unit.real * views[:, 1, 2]
    energy = _misfit(left_over.clip(0) / scale[:, None] ** 2, pictures.annotated.sum(1)[:, None])
    energy = energy + _side_costs(turned[..., 2], pictures.beside_hidden, pictures.twins) + _lean_cost(up_x, up_y)
    chosen = _lowest_minima(energy).ravel()
    rows = np.repeat(numbers, CANDIDATES)
    factor, unit = factor[rows, chosen], unit[rows, chosen]
    roll = np.zeros((len(rows), 3, 3))
    roll[:, 0, 0] = roll[:, 1, 1] = unit.real
    roll[:, 1, 0], roll[:, 0, 1], roll[:, 2, 2] = unit.imag, -unit.imag, 1
    shift = ((total[rows] * (points[rows] - factor[:, None] * plane[chosen])).sum(1) / total[rows].sum(1))
    return _Poses(roll @ views[chosen], np.abs(factor).clip(1e-6), np.stack([shift.real, shift.imag], 1)), scale


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


def _lean_cost(up_x: np.ndarray, up_y: np.ndarray) -> np.ndarray:
    """Of a subject's upward direction in camera axes: pictures are taken upright unless keypoints tell otherwise."""
    return np.where(up_y < 0, up_x**2, 2 - up_x**2) / 2 / LEAN**2


def _lean_curvature(poses: _Poses) -> np.ndarray:
    """(P, 6, 6) of _lean_cost by what _derivatives are by."""
    slope = np.zeros((len(poses.scales), 6))
    slope[:, 1], slope[:, 2] = poses.rotations[:, 2, 2], -poses.rotations[:, 1, 2]
    return slope[:, :, None] * slope[:, None] / LEAN**2


def _energies(structure: Structure, pictures: _Pictures, sizes: np.ndarray, precision: np.ndarray,
              poses: _Poses) -> np.ndarray:
    """(P,) negative log likelihoods of poses, each of its own picture."""
    depth = poses.rotations[:, 2] @ structure.keypoints.T
    side = np.logaddexp(0, (depth - depth[:, pictures.twins]) / SIDE_DEPTH)
    residual = _residuals(structure, pictures, poses) / sizes[:, None, None]
    square = _squares(residual, precision)
    return (_misfit(square, pictures.annotated.sum(1)) + SIDE_WEIGHT * (side * pictures.beside_hidden).sum(1)
            + _lean_cost(poses.rotations[:, 0, 2], poses.rotations[:, 1, 2]))


def _squares(residual: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """(P,) squared Mahalanobis lengths of residuals (P, K, 2)."""
    return (residual * (precision @ residual)).sum((1, 2))


def _misfit(square: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Of squared lengths over a number of keypoints: pictures unlike all others are not to be forced."""
    return (FREEDOM / 2 + count) * np.log1p(square / (FREEDOM + 2 * count))


def _descended(structure: Structure, pictures: _Pictures, sizes: np.ndarray, precision: np.ndarray,
               poses: _Poses) -> _Poses:
    """Poses after STEPS Levenberg-Marquardt steps; sizes (P,) are crop units per object unit."""
    damping = np.full(len(sizes), 1e-2)
    precision = precision / sizes[:, None, None] ** 2

    def cost_of(residual: np.ndarray, poses: _Poses) -> np.ndarray:
        return _squares(residual, precision) / 2 + _lean_cost(poses.rotations[:, 0, 2], poses.rotations[:, 1, 2])

    residual = _residuals(structure, pictures, poses)
    cost = cost_of(residual, poses)
    for _ in range(STEPS):
        along = np.stack(_derivatives(structure.keypoints, poses))
        normal = _curvature(along, precision) + _lean_curvature(poses)
        pulled = precision @ residual
        right = sum((along[c].swapaxes(1, 2) @ pulled[..., c:c + 1])[..., 0] for c in (0, 1))
        right[:, 1] -= poses.rotations[:, 0, 2] * poses.rotations[:, 2, 2] / LEAN**2
        right[:, 2] += poses.rotations[:, 0, 2] * poses.rotations[:, 1, 2] / LEAN**2
        diagonal = np.einsum("pii->pi", normal)
        diagonal += damping[:, None] * diagonal + 1e-6
        step = np.linalg.solve(normal, right[..., None])[..., 0]
        moved = _Poses(Rotation.from_rotvec(step[:, :3]).as_matrix() @ poses.rotations,
                       poses.scales * np.exp(step[:, 3].clip(-1, 1)), poses.shifts + step[:, 4:])
        new = _residuals(structure, pictures, moved)
        lower = cost_of(new, moved)
        better = lower < cost
        cost, residual = np.where(better, lower, cost), np.where(better[:, None, None], new, residual)
        poses = _Poses(*(np.where(better.reshape(-1, *[1] * (old.ndim - 1)), now, old)
                         for now, old in zip(moved, poses, strict=True)))
        damping = np.where(better, damping / 3, damping * 5)
    return poses


def _derivatives(shape: np.ndarray, poses: _Poses) -> tuple[np.ndarray, np.ndarray]:
    """Of x and y of keypoints, each (P, K, 6): by turns in camera axes, the logarithm of the scale, and the shift."""
    x, y, z = np.moveaxis(poses.scales[:, None, None] * (shape @ poses.rotations.swapaxes(1, 2)), 2, 0)
    o, one = np.zeros_like(x), np.ones_like(x)
    return np.stack([o, z, -y, x, one, o], 2), np.stack([-z, o, x, y, o, one], 2)


def _curvature(along: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """(P, 6, 6) from derivatives (2, P, K, 6) and precisions (P, K, K)."""
    return (along.swapaxes(2, 3) @ (precision @ along)).sum(0)
