"""Structure from motion from first to last: starts compared, then cameras and shape in turns."""

from __future__ import annotations

import numpy as np

from ...job import BadInput
from .model import FEWEST_KEYPOINTS, Structure, Tracks, precisions
from .poses import cameras_of, energies, refined, searched
from .shape import framed, reshaped
from .starts import affine_start, depth_reversed, upright_start

FEWEST_PICTURES = 8
"""Fewer determine no shape."""
ROUNDS, SEARCHES = 40, (0, 4, 10, 20)
"""Rounds of fitting poses and shape in turns, and in which of them all views are searched."""
SAMPLE, TRIAL_SAMPLE = 1200, 300
"""Pictures, evenly among all, from which the shape is found, and by which starts are compared."""
TRIAL_ROUNDS = 6
"""Rounds after which they are."""
FLAT = 1e-3
"""A shape thinner than this fraction of its extent has no depth."""


def structure_of(tracks: Tracks) -> Structure:
    """Rigid structure from motion; BadInput where keypoints or pictures are too few or determine no shape."""
    usable = tracks[tracks.annotated.sum(1) >= FEWEST_KEYPOINTS]
    _check(usable)
    some = _evenly(usable, SAMPLE)
    structure = _first(_evenly(usable, TRIAL_SAMPLE))
    for round_ in range(ROUNDS):
        structure = searched(structure, some) if round_ in SEARCHES else refined(structure, some)
        structure = framed(reshaped(structure, some), some)
    return cameras_of(structure, tracks)


def _evenly(tracks: Tracks, count: int) -> Tracks:
    return tracks[np.unique(np.linspace(0, len(tracks.seen) - 1, count).astype(int))]


def _check(usable: Tracks) -> None:
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


def _first(tracks: Tracks) -> Structure:
    """Of structures from several starts the one under which the pictures are likeliest."""
    trials = []
    for start in (upright_start(tracks), affine_start(tracks)):
        for trial in (start, depth_reversed(start)):
            for _ in range(TRIAL_ROUNDS):
                trial = framed(reshaped(searched(trial, tracks), tracks), tracks)
            trials.append(trial)
    return min(trials, key=lambda trial: _negative_log_likelihood(trial, tracks))


def _negative_log_likelihood(structure: Structure, tracks: Tracks) -> float:
    """Negative log likelihood of the pictures, that of the covariance included."""
    precision = precisions(structure, tracks)
    energy = energies(structure, tracks, structure.scales, precision, structure.poses)
    alone = np.eye(len(structure.keypoints)) * ~tracks.annotated[:, None]
    # Where nothing hides, both solutions fit alike: animals are looked down on rather than up at.
    energy = energy + structure.rotations[:, 2, 2]
    return float((energy - np.linalg.slogdet(precision + alone)[1]).sum())
