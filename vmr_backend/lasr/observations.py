"""What a fit compares itself with: the clip's crops, masks and flow as tensors at one resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..video.footage import Footage, downsample

SAMPLES = 384
"""Mask pixels of a frame at which flow and colour are compared, at most; drawn anew at each resolution."""


@dataclass(frozen=True)
class Observations:
    """T frames at S x S pixels; coordinates in crop units, -1 to 1."""

    size: int
    images: Tensor
    """(T, 3, S, S), 0..1."""
    masks: Tensor
    """(T, S, S), 0..1."""
    weights: Tensor
    """(T, S, S): 0 outside the full frame, else the frame's weight."""
    pixels: Tensor
    """(T, P, 2) int64 column and row of sampled mask pixels."""
    places: Tensor
    """(T, P, 2), the same in crop units."""
    colours: Tensor
    """(T, P, 3), 0..1, at the samples."""
    flow_forward: Tensor
    """(T, P, 2) displacement to the next frame at the samples; zero weight in the last frame."""
    flow_forward_weight: Tensor
    """(T, P)."""
    flow_backward: Tensor
    """(T, P, 2) displacement to the frame before."""
    flow_backward_weight: Tensor
    """(T, P)."""
    frame_weight: Tensor
    """(T,)."""


def observe(footage: Footage, size: int, device: torch.device, random: np.random.Generator) -> Observations:
    """The footage at a resolution, on a device."""
    small = downsample(footage, size)
    frames = len(small.numbers)
    pixels = np.zeros((frames, SAMPLES, 2), np.int64)
    for t in range(frames):
        rows, columns = np.nonzero(small.masks[t] > 0.5)
        if not len(rows):
            rows, columns = np.nonzero(small.masks[t] >= small.masks[t].max())
        pick = random.choice(len(rows), SAMPLES, replace=len(rows) < SAMPLES)
        pixels[t] = np.stack([columns[pick], rows[pick]], 1)

    def sampled(maps: np.ndarray, first: int) -> Tensor:
        """Values at the samples of frames first, first + 1, ... ; zeros for the frame without a partner."""
        values = np.zeros((frames, SAMPLES, *maps.shape[3:]), np.float32)
        for t in range(len(maps)):
            values[first + t] = maps[t][pixels[first + t, :, 1], pixels[first + t, :, 0]]
        return torch.from_numpy(values).to(device)

    images = small.images.astype(np.float32) / 255
    weights = small.inside.astype(np.float32) * small.frame_weight[:, None, None]
    places = (2 * pixels + 1) / size - 1
    return Observations(
        size, torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device),
        torch.from_numpy(small.masks).float().to(device), torch.from_numpy(weights).float().to(device),
        torch.from_numpy(pixels).to(device), torch.from_numpy(places).float().to(device), sampled(images, 0),
        sampled(small.flow_forward, 0), sampled(small.flow_forward_weight, 0),
        sampled(small.flow_backward, 1), sampled(small.flow_backward_weight, 1),
        torch.from_numpy(small.frame_weight).float().to(device))


def look_up(images: Tensor, places: Tensor) -> Tensor:
    """Colours (..., N, P, 3) of images (N, 3, S, S) at places (..., N, P, 2) in crop units, bilinear."""
    lead = places.shape[:-3]
    grid = places.reshape(-1, *places.shape[-3:]).transpose(0, 1).flatten(1, 2).unsqueeze(1)
    values = functional.grid_sample(images, grid, align_corners=False, padding_mode="border")
    values = values[:, :, 0].unflatten(2, (-1, places.shape[-2])).permute(2, 0, 3, 1)
    return values.reshape(*lead, *places.shape[-3:-1], 3)
