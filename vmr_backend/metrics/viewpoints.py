"""From where a result's camera sees the subject: how far it goes round, and where it jumps."""

from __future__ import annotations

import numpy as np

from ..reconstruction import Reconstruction

SMALLEST_JUMP = 30.0
"""Degrees from one frame to the next below which no turn is called a jump: at 24 frames a second, two turns a second.
Flips, which this is to find, are of 90 degrees and more."""

UNUSUAL = 5.0
"""A jump is this many times faster than the clip's usual turn from frame to frame: dancers may spin."""

LARGEST_TURN = 90.0
"""Degrees between neighbouring frames that are a jump whatever is usual: more is as well a turn the other way round."""


def view_directions(result: Reconstruction) -> np.ndarray:
    """(T, 3) float64 unit vectors in object space, from the middle of the mesh to the camera."""
    rotation, translation = result.camera_rotation.astype(np.float64), result.camera_translation.astype(np.float64)
    toward = -np.einsum("tji,tj->ti", rotation, translation) - result.vertices.mean(1, dtype=np.float64)
    return toward / np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-12)


def turn(result: Reconstruction, trusted: np.ndarray | None = None) -> float:
    """How far the camera goes round the subject, or the subject turns before it: the largest angle between the
    directions of two views, in degrees, 0 to 180. Rolling about the camera's axis shows nothing new and does not count.

    trusted   (T,) bool, the frames that count; None: all
    """
    directions = view_directions(result)
    if trusted is not None:
        directions = directions[trusted]
    cosine = np.clip(directions @ directions.T, -1, 1)
    return float(np.degrees(np.arccos(cosine.min(initial=1.0))))


def rotation_rates(result: Reconstruction) -> np.ndarray:
    """(T-1,) float64, degrees by which the camera rotates from a frame of the clip to the next; where frames are left
    out, the mean over the gap."""
    rotation = result.camera_rotation.astype(np.float64)
    return _angle(rotation[1:], rotation[:-1]) / np.diff(result.frames)


def flipped(result: Reconstruction) -> np.ndarray:
    """(T,) bool: the frames in which the camera has jumped away from where it is in the rest of the clip.

    The clip is cut where the camera rotates unusually fast. The longest piece is taken for right, and each other one
    that goes on where a right piece ended; a flip to the other side and back again leaves the piece between.
    """
    rates, count = rotation_rates(result), len(result.frames)
    usual = float(np.median(rates)) if len(rates) else 0.0
    allowed = min(max(SMALLEST_JUMP, UNUSUAL * usual), LARGEST_TURN)
    pieces = np.split(np.arange(count), np.flatnonzero(rates > allowed) + 1)
    longest = max(range(len(pieces)), key=lambda i: len(pieces[i]))
    right = np.zeros(count, bool)
    right[pieces[longest]] = True
    for order, end, begin in ((pieces[longest + 1:], -1, 0), (pieces[:longest][::-1], 0, -1)):
        last = pieces[longest][end]
        for piece in order:
            first = piece[begin]
            gap = abs(int(result.frames[first]) - int(result.frames[last]))
            turned = _angle(*(result.camera_rotation[[i]].astype(np.float64) for i in (first, last)))[0]
            if turned <= min(allowed + usual * (gap - 1), LARGEST_TURN):
                right[piece] = True
                last = piece[end]
    return ~right


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees (N,) of the rotation from b to a, each (N, 3, 3)."""
    cosine = (np.einsum("nij,nij->n", a, b) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
