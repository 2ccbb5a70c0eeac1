"""Whether a result's surface moves as the footage does: its motion against the clip's optical flow."""

from __future__ import annotations

import numpy as np

from ..reconstruction import Reconstruction
from ..texture.selection import weighted_median
from ..video.crops import pixel_centres
from ..video.footage import Footage, downsample
from .raster import project, rasterise

SIZE = 64
"""Side in pixels at which crops are compared: some hundred pixels on the subject are enough for a median."""

LEAST_CONSISTENT = 0.4
"""Fraction of the subject that needs flow which agrees forward and backward; with less, a frame is not judged. Of the
true meshes of rendered clips, none strays by more than 0.03 where the flow agrees on more than this; below, where wings
beat, by up to 0.2: there the flow is wrong, not the surface."""


def flow_residuals(result: Reconstruction, footage: Footage, size: int = SIZE) -> np.ndarray:
    """How far the surface strays from the optical flow between a frame and its neighbours.

    footage   the crops that the result was made of, one for each of its frames
    Returns (T,) float64: weighted median, over the pixels where mesh and mask overlap, of the distance between where
    the flow leads and where the result has the same point of the surface one frame later (or earlier), as a fraction of
    the subject's size, the square root of its mask's area. The larger one of both directions; NaN where there is no
    reliable flow to compare with.
    """
    small = downsample(footage, min(size, footage.masks.shape[1]))
    return np.array([_residual(result, small, t) for t in range(len(result.frames))])


def _residual(result: Reconstruction, footage: Footage, t: int) -> float:
    """Of one frame, towards both its neighbours."""
    side = footage.masks.shape[1]
    points, depth = project(result, t)
    in_crop = (points - footage.crop_centre[t]) / footage.crop_half[t]
    faces, weights = rasterise((in_crop + 1) / 2 * side, depth, result.faces, (side, side))
    drawn = faces >= 0
    corners = result.faces[faces[drawn]]
    barycentrics = weights[drawn] / depth[corners]     # barycentrics of the screen become those of the surface
    barycentrics /= barycentrics.sum(1, keepdims=True)
    start = pixel_centres(side)[drawn]
    pixel = 2 * footage.crop_half[t] / side
    subject = np.sqrt(footage.masks[t].sum()) * pixel
    found = []
    for other, flows, flow_weights, pair in ((t + 1, footage.flow_forward, footage.flow_forward_weight, t),
                                             (t - 1, footage.flow_backward, footage.flow_backward_weight, t - 1)):
        if not 0 <= other < len(result.frames):
            continue
        weight = flow_weights[pair].astype(np.float64)
        if weight.sum() < LEAST_CONSISTENT * footage.masks[t].sum() or not weight[drawn].any():
            continue
        led_to = footage.crop_centre[other] + footage.crop_half[other] * (start + flows[pair][drawn])
        distance = np.linalg.norm(_seen_again(result, other, corners, barycentrics) - led_to, axis=1)
        found.append(weighted_median(distance[:, None], weight[drawn][:, None])[0] / subject)
    return max(found, default=np.nan)


def _seen_again(result: Reconstruction, t: int, corners: np.ndarray, barycentrics: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of the full frame at frame t of points in faces of vertices (N, 3), by barycentrics (N, 3)."""
    rotation, translation = (a[t].astype(np.float64) for a in (result.camera_rotation, result.camera_translation))
    in_camera = result.vertices[t].astype(np.float64) @ rotation.T + translation
    points = np.einsum("nk,nkc->nc", barycentrics, in_camera[corners])
    focal, centre = result.intrinsics[t, :2], result.intrinsics[t, 2:]
    return focal * points[:, :2] / np.maximum(points[:, 2:], 1e-6) + centre
