"""What a mesh shows at sampled pixels, which of its vertices are visible or hidden, and where it is inside out.

Meshes may have borders and several parts. The outside of a face is where its corners run counter-clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .. import losses
from .interface import Renderer, Visibility

SIDE_SIZE, SIDE_SAMPLES = 64, 1024
"""Pixels along a view from a random side, and how many are sampled."""

HIDDEN_DEPTH = 0.02
"""Object units behind the nearest surface from which on a vertex counts as hidden."""


@dataclass(frozen=True)
class Surface:
    """What a mesh shows at sampled pixels: H hypotheses, N frames, P samples."""

    corners: Tensor
    """(H, N, 3 P) vertices of the face at each sample."""
    barycentrics: Tensor
    """(H, N, P, 3) of these vertices, perspective-correct."""
    covered: Tensor
    """(H, N, P) bool."""
    index: Tensor
    """(H, N, P) of the face, -1 where there is none."""
    depth: Tensor
    """(H, N, S, S) of the surface in every pixel, 0 where there is none."""

    @staticmethod
    def front_and_nearest(points: Tensor, faces: Tensor, pixels: Tensor, size: int,
                          renderer: Renderer) -> tuple[Surface, Surface]:
        """The nearest surface that turns its outside to the camera, and the nearest of all.

        points (H, N, V, 3) on the screen, pixels (N, P, 2) columns and rows of pictures of size x size pixels.
        """
        front, nearest = renderer.front_and_nearest(points.detach().flatten(0, 1), faces, size)
        lead = points.shape[:2]
        return Surface._at(pixels, faces, front, lead), Surface._at(pixels, faces, nearest, lead)

    @staticmethod
    def _at(pixels: Tensor, faces: Tensor, visible: Visibility, lead: tuple[int, ...]) -> Surface:
        columns, rows = pixels.unbind(-1)
        image = torch.arange(len(pixels), device=pixels.device)[:, None]
        index = visible.face_index.unflatten(0, lead)[:, image, rows, columns].long()
        barycentrics = visible.barycentrics.unflatten(0, lead)[:, image, rows, columns]
        depth = visible.depth.unflatten(0, lead)
        return Surface(faces[index.clamp_min(0)].flatten(2), barycentrics, index >= 0, index, depth)

    def of_vertices(self, values: Tensor) -> Tensor:
        """Values (H, N, V, C) of the vertices at the samples (H, N, P, C)."""
        gathered = values.gather(2, self.corners.unsqueeze(-1).expand(-1, -1, -1, values.shape[-1]))
        return (gathered.unflatten(2, (-1, 3)) * self.barycentrics.unsqueeze(-1)).sum(-2)


def visible_vertices(points: Tensor, faces: Tensor, size: int, renderer: Renderer) -> Tensor:
    """(N, V) bool: which vertices of points (N, V, 3) on the screen belong to a face that some pixel shows."""
    index = renderer.visibility(points.detach(), faces, size).face_index.flatten(1).long()
    shown = torch.zeros(len(points), len(faces) + 1, dtype=torch.bool, device=points.device)
    shown.scatter_(1, index + 1, True)
    visible = torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
    for corner in faces.T.long():
        visible.scatter_reduce_(1, corner.expand(len(points), -1), shown[:, 1:], "amax")
    return visible


def hidden_vertices(points: Tensor, faces: Tensor, nearest: Surface) -> Tensor:
    """Which vertices (H, N, V) of points (H, N, V, 3) turn their outside to the camera behind a nearer surface.

    Those that turn their inside to it are none, nor are vertices without faces: they are no surface that could be seen.
    """
    (x0, x1, x2), (y0, y1, y2) = (points[..., k].contiguous()[..., faces].unbind(-1) for k in range(2))
    away = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    turned = points.new_zeros(points.shape[:-1])
    for k in range(3):
        turned = turned.index_add(-1, faces[:, k], away)
    size = nearest.depth.shape[-1]
    column, row = ((points[..., :2] + 1) * (size / 2)).long().clamp(0, size - 1).unbind(-1)
    # The furthest of a pixel and its neighbours: the rim of a surface, steep as it is, does not hide itself.
    depth = nearest.depth.masked_fill(nearest.depth <= 0, torch.inf)
    ahead = _furthest_around(depth).flatten(-2).gather(-1, row * size + column)
    return (turned < 0) & (points[..., 2] > ahead + HIDDEN_DEPTH)


def _furthest_around(depth: Tensor) -> Tensor:
    """The greatest depth (..., S, S) of each pixel and its eight neighbours.

    By columns, then by rows: max_pool2d, which finds indices too, takes ten times as long on a CPU.
    """
    greatest = functional.pad(depth, (1, 1, 1, 1))
    for dim in (-1, -2):
        before, at, after = (greatest.narrow(dim, k, depth.shape[dim]) for k in range(3))
        greatest = torch.maximum(torch.maximum(before, at), after)
    return greatest


def facing_everywhere(points: Tensor, faces: Tensor, size: int, renderer: Renderer) -> Tensor:
    """The facing loss (N,) of meshes on the screen (N, V, 3), at each of size x size pixels; gradients to depths."""
    side = torch.arange(size, device=points.device)
    pixels = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1).flatten(0, 1).expand(len(points), -1, -1)
    front, nearest = Surface.front_and_nearest(points.unsqueeze(0), faces, pixels, size, renderer)
    return facing_of(front, nearest, points[None, ..., 2:])[0]


def facing_all_round(vertices: Tensor, faces: Tensor, renderer: Renderer) -> Tensor:
    """The facing loss (H,) of poses (H, N, V, 3), each from a random side, since the clip does not show them all."""
    turns = torch.linalg.qr(torch.randn(vertices.shape[1], 3, 3, device=vertices.device))[0]
    turns = turns * turns.det().sign()[:, None, None]  # a mirrored view would see every face turned
    centred = vertices - vertices.detach().mean(2, keepdim=True)
    reach = centred.detach().norm(dim=-1).amax((1, 2))[:, None, None, None]
    across, deep = (centred @ turns.mT / (2 * reach)).split([2, 1], -1)
    points = torch.cat([across, deep + 2], -1)
    pixels = torch.randint(SIDE_SIZE, (len(turns), SIDE_SAMPLES, 2), device=vertices.device)
    front, nearest = Surface.front_and_nearest(points, faces, pixels, SIDE_SIZE, renderer)
    facing = facing_of(front, nearest, 2 * reach * points[..., 2:])
    return facing.sum(1) / front.covered.float().mean(-1).sum(1).clamp_min(1e-3)


def facing_of(front: Surface, nearest: Surface, depth: Tensor) -> Tensor:
    """The facing loss (H, N) of the culled and the nearest surface; depth (H, N, V, 1) of the vertices."""
    turned = front.covered & (front.index != nearest.index)
    ahead, near = (surface.of_vertices(depth)[..., 0] for surface in (front, nearest))
    return losses.facing_loss(ahead, near, turned.float())
