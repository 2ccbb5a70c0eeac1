"""Flow across long gaps, found with the help of the fitted model.

Between frames far apart a subject has turned so far that no flow algorithm finds its surface again. The model knows
where it went, roughly: one frame is carried over to the other through the mesh, and ordinary flow then only has to find
what is left between the two pictures. Unlike a chain of small steps, that does not drift.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ..rendering import Renderer
from ..video.crops import pixel_centres
from ..video.flow import CropFlow, consistency, dis, over_mean, sample
from ..video.footage import Footage, downsample

SIZE = 128
"""Side in pixels of the pictures that are compared."""

DEPTH_TOLERANCE = 0.04
"""Object units by which a point may lie behind the surface that a frame shows there and still count as seen."""


def long_gaps(frames: int) -> list[int]:
    """Frames apart that are worth comparing in a clip of this many."""
    return sorted({gap for gap in (4, frames // 4, frames // 2) if 1 < gap < frames - 1})


def guided_flows(points: Tensor, faces: Tensor, footage: Footage, renderer: Renderer) -> list[CropFlow]:
    """Flow of the footage's subject across each of `long_gaps`, at SIZE.

    points  (T, V, 3) the model's vertices in each crop, as renderers take them; depth in object units
    faces   (F, 3)
    """
    small = downsample(footage, min(SIZE, footage.masks.shape[1]))
    shown = ShownSurface.of(points.detach(), faces, small.masks.shape[1], renderer)
    return [_across(shown, small, gap) for gap in long_gaps(len(small.numbers))]


class ShownSurface:
    """What a mesh shows in every frame: T frames of S x S pixels."""

    def __init__(self, points: np.ndarray, faces: np.ndarray, index: np.ndarray, shares: np.ndarray, depth: np.ndarray):
        self.points, self.faces, self.index, self.shares, self.depth = points, faces, index, shares, depth

    @staticmethod
    def of(points: Tensor, faces: Tensor, size: int, renderer: Renderer) -> ShownSurface:
        parts = [renderer.visibility(chunk, faces, size, cull=True) for chunk in points.split(32)]
        index, shares, depth = (torch.cat([getattr(part, name) for part in parts]).cpu().numpy()
                                for name in ("face_index", "barycentrics", "depth"))
        return ShownSurface(points.cpu().numpy(), faces.cpu().numpy(), index, shares, depth)

    def seen_from(self, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the surface that frame a shows lies in frame b: (S, S, 2) crop units, and whether b shows it (S, S)."""
        corners = self.points[b][self.faces[np.maximum(self.index[a], 0)]]
        place = (corners * self.shares[a][..., None]).sum(-2)
        column, row = np.moveaxis((place[..., :2] + 1) * (len(place) / 2) - 0.5, -1, 0).astype(np.float32)
        there = cv2.remap(self.depth[b], column, row, cv2.INTER_NEAREST)
        near = (there > 0) & (place[..., 2] < there + DEPTH_TOLERANCE)
        return place[..., :2].astype(np.float32), (self.index[a] >= 0) & near


def _across(shown: ShownSurface, small: Footage, gap: int) -> CropFlow:
    count, size = len(small.numbers) - gap, small.masks.shape[1]
    flows = np.zeros((2, count, size, size, 2), np.float16)
    weights = np.zeros((2, count, size, size), np.float16)
    for t in range(count):
        for side, (a, b) in enumerate(((t, t + gap), (t + gap, t))):
            flows[side, t], weights[side, t] = _pair(shown, small, a, b)
    return CropFlow(gap, *flows, *weights)


def _pair(shown: ShownSurface, small: Footage, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """Displacement (S, S, 2) of the pixels of frame a to frame b, crop units, and its weight (S, S)."""
    size = small.masks.shape[1]
    back, visible = shown.seen_from(b, a)
    valid = visible * small.masks[b] * sample(small.masks[a], back)
    carried = sample(small.images[a], back)
    pictures = [over_mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), valid) for image in (carried, small.images[b])]
    there, home = dis(*pictures), dis(*pictures[::-1])
    trust = consistency(there, home) * valid
    ahead, shown_there = shown.seen_from(a, b)
    target = ahead + sample(there, ahead) * np.float32(2 / size)
    weight = shown_there * small.masks[a] * sample(trust, ahead) * sample(small.masks[b], target)
    return target - pixel_centres(size), weight
