"""How far the subject rolls: turns in the plane of the picture, read off the optical flow before any fit."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..video.crops import pixel_centres
from ..video.footage import Footage, downsample

SIZE = 64
"""Side of the crops at which flow is read."""

ROUNDS, KNEE = 6, 0.02
"""How often samples are weighted anew by how well they agree, and crop units off at which one counts half: the body
outweighs its limbs."""

SMOOTHING = 1 / 20
"""Standard deviation of what smooths the path, over the clip's length: a body that nods as it runs does not roll."""


def roll_path(footage: Footage) -> np.ndarray:
    """Angle (T,) in radians, clockwise in the picture, of the subject against its mean over the clip.

    From each frame to the next it is the rotation of the similarity that fits the flow best, both ways. Turns about the
    vertical show in it, too, where the camera looks down: it is a hypothesis, not a measurement.
    """
    small = downsample(footage, SIZE)
    ahead = [_turn(*step) for step in zip(small.flow_forward, small.flow_forward_weight, strict=True)]
    back = [_turn(*step) for step in zip(small.flow_backward, small.flow_backward_weight, strict=True)]
    path = np.concatenate([[0.0], np.cumsum((np.array(ahead) - np.array(back)) / 2)])
    path = gaussian_filter1d(path, SMOOTHING * len(path), mode="nearest")
    return path - path.mean()


def _turn(flow: np.ndarray, weight: np.ndarray) -> float:
    """Angle in radians by which flow (S, S, 2) of a weight (S, S) turns, y down: clockwise is positive."""
    start = pixel_centres(len(flow)).reshape(-1, 2).astype(float)
    end = start + flow.reshape(-1, 2)
    trust = weight.reshape(-1).astype(float)
    weights, angle = trust, 0.0
    for _ in range(ROUNDS):
        if weights.sum() < 1e-6:
            return 0.0
        a, b = (points - np.average(points, axis=0, weights=weights) for points in (start, end))
        # As complex numbers, the least-squares similarity is one factor.
        a, b = a @ [1, 1j], b @ [1, 1j]
        factor = (weights * a.conj() * b).sum() / (weights * np.abs(a) ** 2).sum()
        angle = float(np.angle(factor))
        weights = trust / (1 + (np.abs(b - factor * a) / KNEE) ** 2)
    return angle
