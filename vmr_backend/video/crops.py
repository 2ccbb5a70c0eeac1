"""Square crops that follow the subject smoothly and always contain it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

HALF_SIDE = 1.2
"""Half side of a crop over the larger half extent of the mask's box (LASR, preprocessing)."""
SIDE_MARGIN = 1.1
"""Least room around the box where the smoothed centre is off the box's own, in the same unit."""
SMOOTHING = 1.5
"""Standard deviation of the smoothing over time, in frames."""
REACH = 2.0
"""Frames to each side that smoothing takes in."""


@dataclass(frozen=True)
class Crop:
    """A square of the full frame: full-frame px = centre + half * ndc, ndc in [-1, 1], y down."""

    centre: np.ndarray
    """(2,) px"""
    half: float
    """px"""


def crop_track(boxes: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (T, 2) and half sides (T,) of the crops, px, for boxes (T, 4) left, top, right, bottom at frames (T,).

    Centres are averaged over neighbouring frames. Half sides are the largest that is needed within reach, averaged
    over the same reach: so they change slowly and none is smaller than its own frame needs.
    """
    middle, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    step = float(np.median(np.diff(numbers))) if len(numbers) > 1 else 1.0
    apart = np.abs(numbers[:, None] - numbers[None, :]) / step
    near = apart <= REACH
    weight = np.where(near, np.exp(-0.5 * (apart / SMOOTHING) ** 2), 0)
    weight /= weight.sum(1, keepdims=True)
    centre = weight @ middle
    off_centre = np.abs(centre - middle) + SIDE_MARGIN * extent
    needed = np.maximum(off_centre.max(1), HALF_SIDE * extent.max(1))
    largest = np.where(near, needed[None, :], 0).max(1)
    return centre, weight @ largest


def cut(image: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """Crop of an image (H, W[, C]) uint8, averaged over each pixel's area: (size, size[, C]) uint8.

    Beyond the frame its border pixels are repeated.
    """
    oversampling = max(1, math.ceil(2 * crop.half / size))
    fine = size * oversampling
    pixel = 2 * crop.half / fine
    left, top = crop.centre - crop.half + pixel / 2 - 0.5  # of the first pixel's centre, as an index into the image
    affine = np.array([[pixel, 0, left], [0, pixel, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    window = cv2.warpAffine(image, affine, (fine, fine), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return window if oversampling == 1 else cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA)


def pixel_centres(size: int) -> np.ndarray:
    """Crop coordinates of the pixel centres of a crop, (size, size, 2) float32, x then y."""
    line = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    return np.stack(np.meshgrid(line, line), -1)


def inside_frame(crop: Crop, size: int, image_size: tuple[int, int]) -> np.ndarray:
    """Which pixels of a crop have their centre inside the full frame, (size, size) bool."""
    line = crop.half * ((2 * np.arange(size) + 1) / size - 1)
    x, y = crop.centre[0] + line, crop.centre[1] + line
    return ((y >= 0) & (y < image_size[1]))[:, None] & ((x >= 0) & (x < image_size[0]))
