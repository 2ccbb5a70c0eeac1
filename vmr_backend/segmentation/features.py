"""Features by which points of a surface are found again in other pictures: what labels are propagated by.

The network that comes along was trained by the project on pictures of its own animals, each varied twice, bent, turned
and lit in two ways: of all points of the one it has to find those of the other (contrastive). No label is needed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network_file import load

STRIDE = 4
"""Pixels of the picture to one of the features."""
FILE = Path(__file__).with_name("features.safetensors")


class Residual(nn.Module):
    """Two convolutions beside the identity (He et al. 2016), with group norms: batches may be small, or one picture."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(8, channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Features(nn.Module):
    """Pictures (N, 3, H, W), RGB in 0..1, to features (N, SIZE, H / STRIDE, W / STRIDE) of length 1.

    The receptive field is some sixty pixels across.
    """

    WIDTHS, SIZE = (24, 48), 48

    def __init__(self) -> None:
        super().__init__()
        first, second = self.WIDTHS
        self.body = nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1), Residual(first),
            nn.Conv2d(first, second, 3, stride=2, padding=1), *(Residual(second) for _ in range(3)),
            nn.Conv2d(second, self.SIZE, 1))

    @staticmethod
    def shipped(device: torch.device) -> Features:
        """The network that comes along."""
        return load(Features(), FILE).to(device)

    def forward(self, pictures: Tensor) -> Tensor:
        return functional.normalize(self.body((pictures - 0.5) / 0.25), dim=1)
