"""What a fit compares itself with: the clip's crops, masks and flow as tensors at one resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..video.flow import CropFlow, crop_flow
from ..video.footage import Footage, downsample

SAMPLES = 384
"""Mask pixels of a frame at which flow and colour are compared, at most; drawn anew at each resolution."""

GAPS = (1, 4, 12)
"""Frames between those whose flow is compared in the camera search. Short ones show how limbs move, long ones how the
body has turned. After the search, flow that the fit guides replaces the long ones (`guided_flow.py`)."""


@dataclass(frozen=True)
class Link:
    """Flow at the samples of T frames to partners `gap` frames away, crop units."""

    gap: int
    forward: Tensor
    """(T, P, 2) displacement to the later frame; zero weight where there is none."""
    forward_weight: Tensor
    """(T, P)."""
    backward: Tensor
    """(T, P, 2) displacement to the earlier frame."""
    backward_weight: Tensor
    """(T, P)."""


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
    samples: Tensor
    """(T, P, 2), the same in crop units."""
    links: list[Link]
    """One for each gap that the clip is long enough for."""
    frame_weight: Tensor
    """(T,)."""
    colour_weight: Tensor
    """(T,)."""


def far_flows(footage: Footage) -> list[CropFlow]:
    """Flow across all gaps but the first, which the footage holds already."""
    return [crop_flow(footage.images, footage.masks, gap) for gap in GAPS[1:] if 2 * gap <= len(footage.numbers)]


def observe(footage: Footage, far: list[CropFlow], size: int, device: torch.device, random: np.random.Generator,
            samples: int = SAMPLES) -> Observations:
    """The footage and its flow across gaps at a resolution, on a device, with so many samples in each frame."""
    small = downsample(footage, size)
    frames = len(small.numbers)
    pixels = np.zeros((frames, samples, 2), np.int64)
    for t in range(frames):
        rows, columns = np.nonzero(small.masks[t] > 0.5)
        if not len(rows):
            rows, columns = np.nonzero(small.masks[t] >= small.masks[t].max())
        pick = random.choice(len(rows), samples, replace=len(rows) < samples)
        pixels[t] = np.stack([columns[pick], rows[pick]], 1)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

    def sampled(maps: np.ndarray, first: int) -> Tensor:
        """Values of maps (N, S', S', ...) at the samples of frames first, first + 1, ... ; zeros in the others."""
        values = np.zeros((frames, samples, *maps.shape[3:]), np.float32)
        pixel = pixels * maps.shape[1] // size
        for t in range(len(maps)):
            values[first + t] = maps[t][pixel[first + t, :, 1], pixel[first + t, :, 0]]
        return tensor(values)

    near = CropFlow(1, small.flow_forward, small.flow_backward, small.flow_forward_weight, small.flow_backward_weight)
    links = [Link(f.gap, sampled(f.forward, 0), sampled(f.forward_weight, 0), sampled(f.backward, f.gap),
                  sampled(f.backward_weight, f.gap)) for f in (near, *far)]
    return Observations(
        size, tensor(small.images.transpose(0, 3, 1, 2) / np.float32(255)), tensor(small.masks),
        tensor(small.inside * small.frame_weight[:, None, None]), torch.from_numpy(pixels).to(device),
        tensor((2 * pixels + 1) / size - 1), links, tensor(small.frame_weight), tensor(small.colour_weight))


def look_up(images: Tensor, samples: Tensor) -> Tensor:
    """Colours (..., N, P, 3) of images (N, 3, S, S) at samples (..., N, P, 2) in crop units, bilinear."""
    lead = samples.shape[:-3]
    grid = samples.reshape(-1, *samples.shape[-3:]).transpose(0, 1).flatten(1, 2).unsqueeze(1)
    values = functional.grid_sample(images, grid, align_corners=False, padding_mode="border")
    values = values[:, :, 0].unflatten(2, (-1, samples.shape[-2])).permute(2, 0, 3, 1)
    return values.reshape(*lead, *samples.shape[-3:-1], 3)
