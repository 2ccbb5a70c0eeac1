"""Labels painted on one frame of a clip, carried to all others (in the manner of UVC: Li et al. 2019).

Going away from the painted frame, each place takes the labels of the places that look most like it: in the painted
frame, which never drifts, and in the few frames gone through before, which have changed least. It looks for them near
where optical flow says that it was.
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

from .features import STRIDE, Features
from .footage import Footage

BEFORE = 4
"""Frames gone through before that a place is looked for in; UVC: 7."""
NEAREST = 5
"""Places whose labels are averaged; as UVC has it."""
TEMPERATURE = 0.05
"""Of the weights of that average, as a cosine of features."""
REACH, FAR_REACH = 1.0, 3.0
"""Cells from where flow points up to which a place is looked for: in the frame before, and in the painted one."""
BEYOND = 0.05
"""What each cell beyond that counts against a place, as a cosine of features."""
FEW = 8
"""Pictures that features are found of at a time."""
CHUNK = 1024
"""Places looked for at a time: memory does not grow with the picture's square."""


@dataclass(frozen=True)
class Correspondence:
    """What labels are carried by: T frames of H x W cells."""

    features: Tensor
    """(T, C, H, W) of length 1."""
    backward: Tensor
    """(T - 1, H, W, 2) flow from frame t + 1 to t, in cells: columns and rows."""
    forward: Tensor
    """(T - 1, H, W, 2) flow from frame t to t + 1."""
    inside: Tensor
    """(T, H, W) bool: other places have no labels, and give none."""

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
        """The labels (L, H, W) of frame `start`, shares in 0..1, in every frame: (T, L, H, W)."""
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
            carried[here] = _look_up(carried[here - 1], grid + self.backward[here - 1])
        for here in range(start - 1, -1, -1):
            carried[here] = _look_up(carried[here + 1], grid + self.forward[here])
        return carried

    def _carry(self, carried: Tensor, way: range, home: Callable[[int], Tensor]) -> None:
        """Fill in the labels (T, L, H, W) of the frames on the way from its first, which has them.

        home  flow (H, W, 2) from a frame to the one before it on the way
        """
        grid = _cells(carried)
        known: list[tuple[int, Tensor]] = []
        """Frames that have labels, and where in them each cell of the present frame was."""
        for before, here in pairwise(way):
            known = [*known[:1], *known[1:][1 - BEFORE:], (before, grid)]
            moved = grid + home(here)
            known = [(frame, _look_up(places.movedim(-1, 0), moved).movedim(0, -1)) for frame, places in known]
            rows, columns = torch.nonzero(self.inside[here], as_tuple=True)
            for some in torch.arange(len(rows), device=rows.device).split(CHUNK):
                carried[here][:, rows[some], columns[some]] = _labels_of(
                    self.features[here][:, rows[some], columns[some]],
                    [(carried[frame], self.features[frame], self.inside[frame], places[rows[some], columns[some]],
                      FAR_REACH if frame == way[0] and len(known) > 1 else REACH) for frame, places in known])


def _labels_of(features: Tensor, known: list[tuple[Tensor, Tensor, Tensor, Tensor, float]]) -> Tensor:
    """Labels (L, Q) of places with features (C, Q).

    known  of each frame that is looked at: its labels (L, H, W), features (C, H, W), the cells that count (H, W), where
           the places were in it (Q, 2), and within how many cells of there they are looked for
    """
    alike, labels = [], []
    for its_labels, its_features, inside, places, reach in known:
        rows, columns = torch.nonzero(inside, as_tuple=True)
        apart = torch.cdist(places, torch.stack([columns, rows], 1).float())
        alike.append(features.T @ its_features[:, rows, columns] - BEYOND * (apart - reach).clamp_min(0))
        labels.append(its_labels[:, rows, columns])
    every, candidates = torch.cat(alike, 1), torch.cat(labels, 1)
    if not every.shape[1]:
        return features.new_zeros(len(candidates), features.shape[1])
    best = every.topk(min(NEAREST, every.shape[1]), 1)
    return (candidates[:, best.indices] * (best.values / TEMPERATURE).softmax(1)).sum(2)


def _cells(maps: Tensor) -> Tensor:
    """(H, W, 2) column and row of each cell of maps (..., H, W)."""
    height, width = maps.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows], -1).to(maps)


def _look_up(values: Tensor, places: Tensor) -> Tensor:
    """Values (C, H, W) at places (H, W, 2), columns and rows: (C, H, W), bilinear; at the rim what stands there."""
    size = places.new_tensor(values.shape[:0:-1])
    return functional.grid_sample(values.unsqueeze(0), ((2 * places + 1) / size - 1).unsqueeze(0),
                                  align_corners=False, padding_mode="border")[0]
