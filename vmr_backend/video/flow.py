"""Optical flow between two frames in crop coordinates, with a forward-backward consistency check.

OpenCV's DIS finds it unless another way is chosen (flow_finders.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .crops import Crop, cut, pixel_centres

FlowFinder = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From two grey pictures (H, W) uint8 to where pixels of the first moved in the second, (H, W, 2) px."""

FINEST = 2
"""Flow is found at up to this multiple of the crop's resolution, but no finer than the frame's own pixels."""


@dataclass(frozen=True)
class FlowFrame:
    """What flow needs of a full frame."""

    grey: np.ndarray
    """(H, W) uint8"""
    mask: np.ndarray
    """(H, W) uint8, 0 or 255"""
    crop: Crop


@dataclass(frozen=True)
class PairFlow:
    """Flow from the crop of one frame to the crop of another and back, at the crops' resolution S."""

    forward: np.ndarray
    """(S, S, 2) float32: position in the second crop minus position in the first, crop coordinates of each"""
    backward: np.ndarray
    """(S, S, 2) float32, likewise from the second to the first"""
    forward_consistency: np.ndarray
    """(S, S) float32, 1 where going there and back ends at the start, 0 where it does not"""
    backward_consistency: np.ndarray


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dense inverse search (Kroeger et al. 2016): a `FlowFinder`."""
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)


def flow_between(a: FlowFrame, b: FlowFrame, size: int, find: FlowFinder = dis) -> PairFlow:
    """Flow of the subject between two frames, given at the `size` x `size` pixels of their crops.

    Both frames are seen through windows of one size and zoom, each on its own crop's centre: the subject stays where
    it is, however fast the camera follows it, and the brightness pattern keeps its scale. The background is
    painted over in the subject's mean grey, so that its motion does not leak across the outline (on the rendered
    clips the end-point error falls by a tenth).
    """
    half = max(a.crop.half, b.crop.half)
    resolution = int(np.clip(np.ceil(2 * half), size, FINEST * size))
    windows = _subject_windows(a, b, half, resolution)
    there, back = find(*windows), find(*windows[::-1])
    forward, forward_consistency = _at_crop(there, consistency(there, back), a.crop.half, b.crop.half, half, size)
    backward, backward_consistency = _at_crop(back, consistency(back, there), b.crop.half, a.crop.half, half, size)
    return PairFlow(forward, backward, forward_consistency, backward_consistency)


@dataclass(frozen=True)
class CropFlow:
    """Flow of T crops of S pixels between frames that are `gap` indices apart, in crop coordinates of each."""

    gap: int
    forward: np.ndarray
    """(T - gap, S, S, 2): position in crop t + gap minus position in crop t"""
    backward: np.ndarray
    """(T - gap, S, S, 2): position in crop t minus position in crop t + gap, for the pixels of crop t + gap"""
    forward_weight: np.ndarray
    """(T - gap, S, S), 0..1"""
    backward_weight: np.ndarray


def crop_flow(images: np.ndarray, masks: np.ndarray, gap: int, find: FlowFinder = dis) -> CropFlow:
    """Flow across a gap from crops (T, S, S, 3) uint8 and masks (T, S, S) in 0..1, at half their resolution.

    Limbs that swing in between fail the consistency check, so what is left is how the body as a whole has turned;
    steps from frame to frame add up their errors instead.
    """
    size = masks.shape[1]
    half = size // 2
    grey = [over_mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), mask) for image, mask in zip(images, masks, strict=True)]
    covers = [cv2.resize(mask, (half, half), interpolation=cv2.INTER_AREA) for mask in masks]
    shape = (len(images) - gap, half, half)
    flows = np.zeros((2, *shape, 2), np.float16)
    weights = np.zeros((2, *shape), np.float16)
    centres = pixel_centres(half)
    for t in range(len(images) - gap):
        there, back = find(grey[t], grey[t + gap]), find(grey[t + gap], grey[t])
        for side, (flow, other, a, b) in enumerate(((there, back, t, t + gap), (back, there, t + gap, t))):
            moved = cv2.resize(flow, (half, half), interpolation=cv2.INTER_AREA) * np.float32(2 / size)
            agree = cv2.resize(consistency(flow, other), (half, half), interpolation=cv2.INTER_AREA)
            flows[side, t] = moved
            weights[side, t] = agree * covers[a] * sample(covers[b], centres + moved)
    return CropFlow(gap, *flows, *weights)


def over_mean(grey: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture (S, S) uint8 with what the mask (S, S) leaves out in the mean grey of the rest."""
    mean = np.float32((grey * mask).sum() / max(mask.sum(), 1e-6))
    return np.rint(mean + mask * (grey - mean)).astype(np.uint8)


def consistency(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """How well `back` undoes `there`, both (H, W, 2) in pixels: (H, W) float32 in 0..1.

    exp(-e² / (0.01 (|there|² + |back|²) + 0.5)) with e the distance from the start after going there and back; the
    threshold of Sundaram, Brox & Keutzer 2010 made soft.
    """
    height, width = there.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    returned = cv2.remap(back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    scale = 0.01 * (_squared_length(there) + _squared_length(returned)) + 0.5
    return np.exp(-_squared_length(there + returned) / scale)


def sample(values: np.ndarray, ndc: np.ndarray, outside: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """Values (S, S[, C]) of a crop at crop coordinates (..., 2), bilinear; zero outside unless `outside` replicates."""
    index = ((ndc + 1) * (values.shape[0] / 2) - 0.5).astype(np.float32)
    return cv2.remap(values, index[..., 0], index[..., 1], cv2.INTER_LINEAR, borderMode=outside)


def _squared_length(vectors: np.ndarray) -> np.ndarray:
    return vectors[..., 0] ** 2 + vectors[..., 1] ** 2


def _subject_windows(a: FlowFrame, b: FlowFrame, half: float, resolution: int) -> list[np.ndarray]:
    """Windows of half side `half` px around both crops' centres, the background in one grey: two (R, R) uint8."""
    windows = []
    for view in (a, b):
        crop = Crop(view.crop.centre, half)
        grey, cover = cut(view.grey, crop, resolution), cut(view.mask, crop, resolution) * np.float32(1 / 255)
        windows.append(over_mean(grey, cover))
    return windows


def _at_crop(
    flow: np.ndarray, weight: np.ndarray, half_from: float, half_to: float, half: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Flow in pixels of a window of half side `half`, and its weight, at the pixels and in coordinates of the crops."""
    start = pixel_centres(size)
    in_window = start * np.float32(half_from / half)
    moved = sample(flow, in_window, cv2.BORDER_REPLICATE) * np.float32(2 / flow.shape[0])
    end = (in_window + moved) * np.float32(half / half_to)
    return end - start, sample(weight, in_window, cv2.BORDER_REPLICATE)
