"""The form that the small networks which find masks have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Sequential):
    """Convolutions, each normed."""

    def __init__(self, inputs: int, outputs: int, count: int, norm: Callable[[int], nn.Module]):
        super().__init__(*(layer for number in range(count) for layer in (
            nn.Conv2d(outputs if number else inputs, outputs, 3, padding=1, bias=False),
            norm(outputs), nn.ReLU(inplace=True))))


class UNet(nn.Module):
    """Maps (N, inputs, H, W) in 0..1 to log-odds (N, 1, H, W) (Ronneberger et al. 2015).

    widths  channels of each level; each is half as wide and high as the one above it, and H and W must be whole at the
            last
    depths  convolutions of each level, on the way down and, but for the last, on the way up
    norm    makes what norms so many channels
    """

    def __init__(self, inputs: int, widths: Sequence[int], depths: Sequence[int], norm: Callable[[int], nn.Module]):
        super().__init__()
        self.down = nn.ModuleList(Block(above, here, depth, norm) for above, here, depth in zip(
            (inputs, *widths[:-1]), widths, depths, strict=True))
        self.up = nn.ModuleList(Block(below + here, here, depth, norm) for below, here, depth in zip(
            widths[:0:-1], widths[-2::-1], depths[-2::-1], strict=True))
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        x = (2 * maps - 1).contiguous(memory_format=torch.channels_last)  # Faster on a CPU by a third.
        levels: list[Tensor] = []
        for block in self.down:
            x = block(functional.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        for block, level in zip(self.up, levels[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="bilinear"), level], 1))
        return self.last(x)
