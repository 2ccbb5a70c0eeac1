"""The network that finds a subject's mask from cues (cues.py), and the window of a picture that it takes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from .cues import CHANNELS
from .network_file import load
from .unet import UNet

FILE = Path(__file__).with_name("mask_network.safetensors")
SIDE = 192
"""Pixels along the network's input window."""
GROUPS = 4
MARGIN = 1.5
"""Side of the window over the longer side of the subject's box."""


class MaskNetwork(UNet):
    """Cues (N, CHANNELS, H, W) in 0..1 to log-odds (N, 1, H, W) of the subject; H and W are multiples of 16.

    Narrow at the top so that a CPU runs it in a tenth of a second; normed over groups: batches may be small, or one
    picture.
    """

    WIDTHS, DEPTHS = (16, 48, 80, 128, 192), (1, 2, 2, 2, 2)

    def __init__(self) -> None:
        super().__init__(CHANNELS, self.WIDTHS, self.DEPTHS, functools.partial(nn.GroupNorm, GROUPS))

    @staticmethod
    def shipped() -> MaskNetwork:
        """The network that comes along."""
        return load(MaskNetwork(), FILE)


@dataclass(frozen=True)
class InputWindow:
    """The square of a picture that the network takes: px = corner + scale * (its own px)."""

    corner: tuple[float, float]
    scale: float

    @staticmethod
    def at(box: tuple[float, float, float, float]) -> InputWindow:
        """Around a box: left, top, right, bottom."""
        side = MARGIN * max(box[2] - box[0], box[3] - box[1], 8)
        return InputWindow(((box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2), side / SIDE)

    def cut(self, values: np.ndarray) -> np.ndarray:
        """Values (H, W[, C]) of the picture to (SIDE, SIDE[, C]); beyond its border what stands there."""
        blurred = cv2.GaussianBlur(values, (0, 0), 0.4 * self.scale) if self.scale > 1.3 else values
        return cv2.warpAffine(blurred, self._to_picture, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                              borderMode=cv2.BORDER_REPLICATE)

    def put_back(self, values: np.ndarray, shape: tuple[int, ...], outside: float) -> np.ndarray:
        """Values (SIDE, SIDE) to a picture (H, W), and what stands outside the window."""
        return cv2.warpAffine(values, self._to_picture, shape[1::-1], flags=cv2.INTER_LINEAR,
                              borderMode=cv2.BORDER_CONSTANT, borderValue=outside)

    @property
    def _to_picture(self) -> np.ndarray:
        shift = (self.scale - 1) / 2
        return np.array([[self.scale, 0, self.corner[0] + shift], [0, self.scale, self.corner[1] + shift]])
