"""Where exactly the edge of a mask runs in the full frame, which was found in a smaller one.

The edge goes first to where colours change (guided filter). A small network takes this and the frame, and moves it by
some pixels to the edge of a subject; it was trained by the project (samples/edges.py). What that makes ragged then goes
to where colours change once more.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ..video.mask_facts import box_of
from .motion import FINER
from .network_file import load
from .unet import UNet

FILE = Path(__file__).with_name("edge_network.safetensors")
REACH = 6
"""Pixels, where masks are found, within which an edge goes to where colours change."""
CLOSE = 2
"""The same, once the network has moved the edge."""
FAINT = 0.05
"""Probability from which on the subject may be there."""
CERTAIN = 0.02
"""How near to 0 and 1 probabilities come before the network corrects them."""


class EdgeNetwork(UNet):
    """Maps of `edge_maps` (N, MAPS, H, W) in 0..1 to log-odds (N, 1, H, W) of the subject; H and W are multiples of
    MULTIPLE. What it adds to those of the last map is 0 before it is trained."""

    MAPS = 5
    WIDTHS, DEPTHS = (8, 16, 32, 48), (1, 2, 2, 2)
    MULTIPLE = 8

    def __init__(self) -> None:
        super().__init__(self.MAPS, self.WIDTHS, self.DEPTHS, nn.BatchNorm2d)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    @staticmethod
    def shipped() -> EdgeNetwork:
        """The network that comes along."""
        return load(EdgeNetwork(), FILE)

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps) + maps[:, -1:].clamp(CERTAIN, 1 - CERTAIN).logit()


def refined(found: np.ndarray, picture: np.ndarray, network: EdgeNetwork) -> np.ndarray:
    """The mask (H, W) uint8, 0 or 255, of a full frame (H, W, 3) uint8 RGB from probabilities (h, w)."""
    height, width = picture.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    grown = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    if not (grown > FAINT).any():
        return mask
    left, top, right, bottom = box_of(grown > FAINT)
    margin = round(2 * REACH * width / found.shape[1])
    window = (slice(max(top - margin, 0), bottom + margin), slice(max(left - margin, 0), right + margin))
    mask[window] = 255 * (_probabilities(picture[window], grown[window], width / found.shape[1], network) > 0.5)
    return mask


def _probabilities(picture: np.ndarray, found: np.ndarray, ratio: float, network: EdgeNetwork) -> np.ndarray:
    """(H, W) of a part of a frame (H, W, 3), from those found (H, W) in pixels that are larger by a ratio; the network
    takes no more than FINER times as many pixels as there were then."""
    height, width = found.shape
    scale = min(1.0, FINER / ratio)
    size = round(scale * width), round(scale * height)
    smaller, coarse = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (picture, found))
    maps = edge_maps(smaller, coarse, scale * ratio)
    below, beside = -size[1] % network.MULTIPLE, -size[0] % network.MULTIPLE
    maps = cv2.copyMakeBorder(maps, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    with torch.inference_mode():
        odds = network(torch.from_numpy(maps).permute(2, 0, 1)[None])[0, 0, :size[1], :size[0]]
    grown = cv2.resize(odds.sigmoid().numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
    return _guided(picture.astype(np.float32) / 255, grown, round(CLOSE * ratio))


def edge_maps(picture: np.ndarray, found: np.ndarray, ratio: float) -> np.ndarray:
    """(H, W, MAPS) float32 in 0..1, the network's input: a picture (H, W, 3) uint8 RGB, probabilities
    (H, W) that were found in pixels that are larger by a ratio of 1 or more, and what the colours make of these."""
    guide = picture.astype(np.float32) / 255
    return np.dstack([guide, found, _guided(guide, found, round(REACH * ratio)).clip(0, 1)])


def _guided(guide: np.ndarray, values: np.ndarray, radius: int) -> np.ndarray:
    """Values (H, W), made a linear function of the colours (H, W, 3) within a radius of 2 or more around each pixel
    (He et al. 2010); which one is found at half the size, a third of the time (He & Sun 2015)."""
    size = values.shape[::-1]
    half = max(size[0] // 2, 1), max(size[1] // 2, 1)
    colours, levels = (cv2.resize(one, half, interpolation=cv2.INTER_AREA) for one in (guide, values))
    slope = cv2.resize(_slopes(colours, levels, radius // 2), size, interpolation=cv2.INTER_LINEAR)
    return (slope[..., :3] * guide).sum(-1) + slope[..., 3]


def _slopes(guide: np.ndarray, values: np.ndarray, radius: int, smoothing: float = 1e-4) -> np.ndarray:
    """(h, w, 4): how much values (h, w) rise with each colour (h, w, 3) around each pixel, and what they are at 0."""
    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * radius + 1,) * 2)

    centre, middle = mean(guide), mean(values)
    joint = mean(guide * values[..., None]) - centre * middle[..., None]
    products = mean((guide[..., :, None] * guide[..., None, :]).reshape(*values.shape, 9)).reshape(*values.shape, 3, 3)
    covariance = products - centre[..., :, None] * centre[..., None, :] + smoothing * np.eye(3, dtype=np.float32)
    # Cramer's rule: LAPACK takes five times as long for so many small systems.
    first, second, third = np.moveaxis(covariance, -2, 0)
    adjugate = np.stack([np.cross(second, third), np.cross(third, first), np.cross(first, second)], -1)
    slope = (adjugate * joint[..., None, :]).sum(-1) / (first * adjugate[..., 0]).sum(-1)[..., None]
    return mean(np.dstack([slope, middle - (slope * centre).sum(-1)]).astype(np.float32))
