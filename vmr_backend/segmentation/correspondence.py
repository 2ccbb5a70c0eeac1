"""Labels painted on one frame of a clip, propagated to all others (in the manner of UVC: Li et al. 2019).

Going away from the painted frame, each cell takes the labels of the cells with the most similar features: in the
painted frame, which never drifts, and in the few frames gone through before, which have changed least. They are
searched near where optical flow leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..video.footage import Footage
from .features import STRIDE, Features

BEFORE = 4
"""Frames gone through before that are searched; UVC: 7."""
NEAREST = 5
"""Cells whose labels are averaged; as UVC has it."""
TEMPERATURE = 0.05
"""Of the weights of that average, as a cosine of features."""
REACH, FAR_REACH = 1.0, 3.0
"""Cells from where flow leads up to which a distance costs nothing: in the frame before, and in the painted one."""
BEYOND = 0.05
"""Penalty of each cell beyond that, as a cosine of features."""
FEW = 8
"""Pictures that go through the network at a time."""
FARTHEST = 12
"""Cells from where flow leads beyond which nothing is searched."""
TILE = 16
"""Cells across the tiles of a frame that are searched for together, in one window."""


@dataclass(frozen=True)
class Correspondence:
    """What labels are propagated by: T frames of H x W cells."""

    features: Tensor
    """(T, C, H, W) of length 1."""
    backward: Tensor
    """(T - 1, H, W, 2) flow from frame t + 1 to t, in cells: columns and rows."""
    forward: Tensor
    """(T - 1, H, W, 2) flow from frame t to t + 1."""
    inside: Tensor
    """(T, H, W) bool: other cells have no labels, and give none."""

    @staticmethod
    def of(footage: Footage, frames: range, network: Features) -> Correspondence:
        """Of the subject in the crops of some frames (T of them) that follow one another."""
        device = next(network.parameters()).device
        chosen, links = slice(frames.start, frames.stop), slice(frames.start, frames.stop - 1)
        features = torch.cat([network(torch.from_numpy(images).to(device).permute(0, 3, 1, 2) / 255)
                              for images in np.array_split(footage.images[chosen], -(-len(frames) // FEW))])
        height, width = features.shape[2:]
        cell = features.new_tensor([width / 2, height / 2])

        def shrunk(values: np.ndarray) -> Tensor:
            """(N, S, S, C) to (N, C, H, W)."""
            values = torch.from_numpy(values.astype(np.float32)).to(device)
            return functional.interpolate(values.movedim(-1, 1), size=(height, width), mode="area")

        backward, forward = (shrunk(flow[links]).movedim(1, -1) * cell
                             for flow in (footage.flow_backward, footage.flow_forward))
        return Correspondence(features, backward, forward, shrunk(footage.masks[chosen, ..., None])[:, 0] > 0.5)

    @staticmethod
    def of_pictures(pictures: Sequence[np.ndarray], network: Features) -> Correspondence:
        """Of everything that whole pictures (H, W, 3) uint8 RGB show, which follow one another; in cells of STRIDE
        pixels."""
        device = next(network.parameters()).device
        height, width = (STRIDE * (side // STRIDE) for side in pictures[0].shape[:2])
        pictures = [picture[:height, :width] for picture in pictures]
        features = torch.cat([network(torch.from_numpy(picture[None].astype(np.float32) / 255).to(device)
                                      .permute(0, 3, 1, 2)) for picture in pictures])
        greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        cells = (width // STRIDE, height // STRIDE)

        def flow(a: np.ndarray, b: np.ndarray) -> Tensor:
            return torch.from_numpy(cv2.resize(dis.calc(a, b, None), cells, interpolation=cv2.INTER_AREA) / STRIDE)

        forward, backward = (torch.stack([flow(*pair[::way]) for pair in pairwise(greys)]).to(device)
                             for way in (1, -1))
        return Correspondence(features, backward, forward, torch.ones_like(features[:, 0], dtype=torch.bool))

    def propagate(self, labels: Tensor, start: int) -> Tensor:
        """The labels (L, H, W) of frame `start`, in 0..1, in every frame: (T, L, H, W)."""
        carried = labels.new_zeros(len(self.features), *labels.shape)
        carried[start] = labels
        self._carry(carried, range(start, len(carried)), lambda here: self.backward[here - 1])
        self._carry(carried, range(start, -1, -1), lambda here: self.forward[here])
        return carried

    def propagate_by_flow(self, labels: Tensor, start: int) -> Tensor:
        """The same by optical flow alone, from frame to frame: it needs no features, and drifts."""
        grid = _cells(labels)
        carried = labels.new_zeros(len(self.features), *labels.shape)
        carried[start] = labels
        for here in range(start + 1, len(carried)):
            carried[here] = _sampled(carried[here - 1], grid + self.backward[here - 1])
        for here in range(start - 1, -1, -1):
            carried[here] = _sampled(carried[here + 1], grid + self.forward[here])
        return carried

    def _carry(self, carried: Tensor, way: range, home: Callable[[int], Tensor]) -> None:
        """Fill in the labels (T, L, H, W) of the frames on the way from its first, which has them.

        home  flow (H, W, 2) from a frame to the one before it on the way
        """
        grid = _cells(carried)
        sources: list[tuple[int, Tensor]] = []
        """Frames that have labels, and where in them each cell of the present frame was."""
        for before, here in pairwise(way):
            sources = [*sources[:1], *sources[1:][1 - BEFORE:], (before, grid)]
            moved = grid + home(here)
            sources = [(frame, _sampled(was.movedim(-1, 0), moved).movedim(0, -1)) for frame, was in sources]
            for cells in _tiles(self.inside[here]):
                rows, columns = cells.unbind(1)
                carried[here][:, rows, columns] = _labels_of(
                    self.features[here][:, rows, columns],
                    [SearchWindow.around(was[rows, columns], carried[frame], self.features[frame], self.inside[frame],
                                         FAR_REACH if frame == way[0] and len(sources) > 1 else REACH)
                     for frame, was in sources])


def _tiles(inside: Tensor) -> list[Tensor]:
    """Rows and columns (N, 2) of the cells that count (H, W), tile by tile."""
    cells = torch.nonzero(inside)
    tile = (cells // TILE) @ cells.new_tensor([len(inside), 1])
    order = tile.argsort(stable=True)
    return list(cells[order].split(tile.unique(return_counts=True)[1].tolist()))


@dataclass(frozen=True)
class SearchWindow:
    """The part of a frame in which cells of another are searched for: K cells that count."""

    labels: Tensor
    """(L, K)."""
    features: Tensor
    """(C, K)."""
    penalty: Tensor
    """(Q, K) of the distance to each, as a cosine of features."""

    @staticmethod
    def around(centres: Tensor, labels: Tensor, features: Tensor, inside: Tensor, reach: float) -> SearchWindow:
        """Around where cells were (Q, 2), column and row, in a frame's labels (L, H, W) and features (C, H, W)."""
        last = centres.new_tensor(inside.shape[::-1]) - 1
        low, high = (limit.minimum(last).clamp_min(0).long().tolist() for limit in (
            centres.amin(0) - FARTHEST, centres.amax(0) + FARTHEST + 1))
        rows, columns = torch.nonzero(inside[low[1]:high[1] + 1, low[0]:high[0] + 1], as_tuple=True)
        rows, columns = rows + low[1], columns + low[0]
        apart = torch.cdist(centres, torch.stack([columns, rows], 1).to(centres))
        penalty = BEYOND * (apart - reach).clamp_min(0)
        return SearchWindow(labels[:, rows, columns], features[:, rows, columns], penalty)


def _labels_of(features: Tensor, windows: list[SearchWindow]) -> Tensor:
    """Labels (L, Q) of cells with features (C, Q), by the most similar cells of all windows."""
    alike = torch.cat([features.T @ window.features - window.penalty for window in windows], 1)
    labels = torch.cat([window.labels for window in windows], 1)
    if not alike.shape[1]:
        return features.new_zeros(len(labels), features.shape[1])
    best = alike.topk(min(NEAREST, alike.shape[1]), 1)
    return (labels[:, best.indices] * (best.values / TEMPERATURE).softmax(1)).sum(2)


def _cells(maps: Tensor) -> Tensor:
    """(H, W, 2) column and row of each cell of maps (..., H, W)."""
    height, width = maps.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows], -1).to(maps)


def _sampled(values: Tensor, cells: Tensor) -> Tensor:
    """Values (C, H, W) at cells (H, W, 2), columns and rows: (C, H, W), bilinear; beyond the rim what stands there."""
    size = cells.new_tensor(values.shape[:0:-1])
    return functional.grid_sample(values.unsqueeze(0), ((2 * cells + 1) / size - 1).unsqueeze(0),
                                  align_corners=False, padding_mode="border")[0]
