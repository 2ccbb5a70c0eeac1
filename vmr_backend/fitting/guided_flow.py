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

from ..parallel import in_parallel
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

    def __init__(self, points: np.ndarray, faces: np.ndarray, index: np.ndarray, barycentrics: np.ndarray,
                 depth: np.ndarray):
        self.points, self.faces, self.index, self.barycentrics, self.depth = points, faces, index, barycentrics, depth

    @staticmethod
    def of(points: Tensor, faces: Tensor, size: int, renderer: Renderer) -> ShownSurface:
        parts = [renderer.visibility(chunk, faces, size, cull=True) for chunk in points.split(32)]
        index, barycentrics, depth = (torch.cat([getattr(part, name) for part in parts]).cpu().numpy()
                                for name in ("face_index", "barycentrics", "depth"))
        return ShownSurface(points.cpu().numpy(), faces.cpu().numpy(), index, barycentrics, depth)

    def seen_from(self, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the surface that frame a shows lies in frame b: (S, S, 2) crop units, and whether b shows it (S, S)."""
        drawn = self.index[a] >= 0
        position = np.zeros((*drawn.shape, 3), np.float32)
        corners, barycentrics = self.points[b][self.faces[self.index[a][drawn]]], self.barycentrics[a][drawn]
        position[drawn] = sum(corners[:, k] * barycentrics[:, k, None] for k in range(3))
        column, row = np.moveaxis((position[..., :2] + 1) * (len(drawn) / 2) - 0.5, -1, 0)
        there = cv2.remap(self.depth[b], column, row, cv2.INTER_NEAREST)
        near = (there > 0) & (position[..., 2] < there + DEPTH_TOLERANCE)
        return position[..., :2], drawn & near


def _across(shown: ShownSurface, small: Footage, gap: int) -> CropFlow:
    count, size = len(small.numbers) - gap, small.masks.shape[1]
    flows = np.zeros((2, count, size, size, 2), np.float16)
    weights = np.zeros((2, count, size, size), np.float16)

    def both_ways(t: int) -> list[tuple[np.ndarray, np.ndarray]]:
        ahead, back = shown.seen_from(t, t + gap), shown.seen_from(t + gap, t)
        return [_flow(small, t, t + gap, ahead, back), _flow(small, t + gap, t, back, ahead)]

    for t, found in enumerate(in_parallel(both_ways, range(count))):
        for side in range(2):
            flows[side, t], weights[side, t] = found[side]
    return CropFlow(gap, *flows, *weights)


def _flow(small: Footage, a: int, b: int, ahead: tuple[np.ndarray, np.ndarray],
          back: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Displacement (S, S, 2) of the pixels of frame a to frame b, crop units, and its weight (S, S).

    ahead, back  where the surface lies that a shows in b, and b in a (`ShownSurface.seen_from`)
    """
    size = small.masks.shape[1]
    (in_b, shown_in_b), (in_a, shown_in_a) = ahead, back
    valid = shown_in_a * small.masks[b] * sample(small.masks[a], in_a)
    carried = sample(small.images[a], in_a)
    pictures = [over_mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), valid) for image in (carried, small.images[b])]
    there, home = dis(*pictures), dis(*pictures[::-1])
    trust = consistency(there, home) * valid
    target = in_b + sample(there, in_b) * np.float32(2 / size)
    weight = shown_in_b * small.masks[a] * sample(trust, in_b) * sample(small.masks[b], target)
    return target - pixel_centres(size), weight
