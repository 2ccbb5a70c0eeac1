"""Parts painted on one frame, propagated to others, and assigned to the mesh (VMR 3.2, Eq. 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .. import losses
from ..rendering import Renderer
from ..rendering.surface import visible_vertices
from ..segmentation.correspondence import Correspondence
from .model import Prediction

SAMPLES = 48
"""Of each part in each frame."""
SIZE = 64
"""Pixels across, at which visible vertices are determined."""
LEAST = 4
"""Cells of a frame that show a part, at the least."""


@dataclass(frozen=True)
class Parts:
    """L parts in T frames."""

    labels: Tensor
    """(V,) part of each vertex, -1 for none."""
    samples: Tensor
    """(T, L, P, 2) of each part in each frame, crop coordinates."""
    weight: Tensor
    """(T, L) 1 where a frame shows a part, else 0."""

    @staticmethod
    @torch.no_grad()
    def propagate(clip: Correspondence, count: int, prediction: Prediction, faces: Tensor, renderer: Renderer,
               random: torch.Generator) -> Parts:
        """Random parts of the middle frame, propagated both ways; the mesh of each frame (T) votes on its vertices'."""
        middle = len(clip.inside) // 2
        maps = clip.propagate(painted_parts(clip.inside[middle], count, random), middle)
        return Parts(_voted(prediction, maps, faces, renderer), *_samples(maps, clip.inside, random))

    def __getitem__(self, frames: Tensor) -> Parts:
        return Parts(self.labels, self.samples[frames], self.weight[frames])

    def loss(self, points: Tensor, faces: Tensor, renderer: Renderer) -> Tensor:
        """`part_loss` (N,) of meshes on the screen (N, V, 3), one for each of these frames."""
        visible = visible_vertices(points, faces, SIZE, renderer)
        return losses.part_loss(points[..., :2], self.samples, self.labels, visible, self.weight)


def painted_parts(mask: Tensor, count: int, random: torch.Generator) -> Tensor:
    """(L, H, W) random parts of a mask (H, W): cells belong to the nearest of seeds that lie apart.

    The first seed is drawn, each of the others is the cell farthest from those before.
    """
    cells = torch.nonzero(mask).float()
    parts = torch.zeros(count, *mask.shape, device=mask.device)
    if not len(cells):
        return parts
    seeds = cells[torch.randint(len(cells), (1,), generator=random).to(cells.device)]
    while len(seeds) < count:
        seeds = torch.cat([seeds, cells[torch.cdist(cells, seeds).amin(1).argmax()][None]])
    nearest = torch.cdist(cells, seeds).argmin(1)
    rows, columns = cells.long().unbind(1)
    parts[nearest, rows, columns] = 1
    return parts


def _samples(maps: Tensor, inside: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Samples (T, L, P, 2) in the cells where each part of the maps (T, L, H, W) is the likeliest; weights (T, L)."""
    frames, parts, height, width = maps.shape
    own = functional.one_hot(maps.argmax(1), parts).movedim(-1, 1) * inside.unsqueeze(1)
    cells = own.sum((2, 3))
    chance = own.flatten(0, 1).flatten(1).float() + (cells.flatten() == 0)[:, None]
    picked = torch.multinomial(chance.cpu(), SAMPLES, replacement=True, generator=random).to(maps.device)
    within = torch.rand(*picked.shape, 2, generator=random).to(maps)
    samples = (torch.stack([picked % width, picked // width], -1) + within) * (2 / maps.new_tensor([width, height])) - 1
    return samples.view(frames, parts, SAMPLES, 2), (cells >= LEAST).to(maps)


def _voted(prediction: Prediction, maps: Tensor, faces: Tensor, renderer: Renderer) -> Tensor:
    """(V,) the part that a vertex is in in most of the frames that show it; -1 where none does."""
    points = prediction.camera.project(prediction.vertices)
    votes = functional.grid_sample(maps, points[:, :, None, :2], align_corners=False)[..., 0]
    votes = (votes * visible_vertices(points, faces, SIZE, renderer).unsqueeze(1)).sum(0)
    return torch.where(votes.sum(0) > 0, votes.argmax(0), -1)
