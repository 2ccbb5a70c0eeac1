"""The terms of the papers' objectives, one function each.

Every function returns one value per leading index, so that several hypotheses are compared as easily as one is fitted.
Image coordinates are those of the crop, -1 to 1; the rest shape's longest extent is near 1 object unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .geometry.rotations import angle_between
from .geometry.sphere import mirror_image
from .parallel import in_parallel

HIDDEN_REACH, HIDDEN_SLACK = 2.0, 0.02
"""How much further than the nearest vertex a hidden one may be that a missed pixel draws: a factor, and crop units."""

HINT_SLACK = math.radians(20)
"""Angle by which a user may be wrong about which way a subject faces."""


def silhouette_loss(alpha: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error plus one minus the soft intersection over union (LASR's and UMR's mask terms).

    alpha, mask, weight (..., H, W) in 0..1. The first part counts every pixel, the second does not fade with a small
    subject.
    Returns (...,).
    """
    error = (weight * (alpha - mask).square()).mean((-1, -2))
    both = (weight * alpha * mask).sum((-1, -2))
    either = (weight * (alpha + mask - alpha * mask)).sum((-1, -2))
    return error + 1 - both / either.clamp_min(1e-6)


def contour_loss(points: Tensor, pixels: Tensor, hidden: Tensor | None = None,
                 missed: Tensor | None = None) -> Tensor:
    """How far the mask's pixels lie from the mesh: the one-way Chamfer distance that draws vertices into thin parts.

    points (..., V, 2) projected vertices, pixels (..., P, 2) sampled inside the mask. Returns (...,), crop units.

    hidden (..., V) bool marks vertices that the mesh itself hides, missed (..., P) bool pixels that it leaves open.
    Such a pixel draws a hidden vertex where one is near: of two legs that stand in line the far one is free to leave,
    while the near one explains what it covers. Drawn alike, they would stay together.
    """
    nearest = nearest_points(points.detach(), pixels)
    if hidden is not None:
        free = nearest_points(points.detach(), pixels, hidden, missed)
        reach = HIDDEN_REACH * _square_distance(points.detach(), nearest, pixels).sqrt() + HIDDEN_SLACK
        near = _square_distance(points.detach(), free, pixels) < reach.square()
        nearest = torch.where(missed & near & hidden.gather(-1, free), free, nearest)
    return charbonnier(_square_distance(points, nearest, pixels), 0.02).mean(-1)


def _square_distance(points: Tensor, index: Tensor, pixels: Tensor) -> Tensor:
    """(..., P) from pixels (..., P, 2) to the points (..., V, 2) of an index (..., P)."""
    return (points.gather(-2, index.unsqueeze(-1).expand(*index.shape, 2)) - pixels).square().sum(-1)


def nearest_points(points: Tensor, samples: Tensor, among: Tensor | None = None,
                   asked: Tensor | None = None) -> Tensor:
    """Index (..., P) of the point (..., V, 2) nearest to each sample (..., P, 2); any where there is no point.

    among  (..., V) bool, the points that may be found; all of them if None
    asked  (..., P) bool, the samples whose point is needed, any will do for the others; all of them if None
    """
    if points.is_cuda:
        distance = torch.cdist(samples, points)
        return (distance if among is None else distance.masked_fill(~among.unsqueeze(-2), torch.inf)).argmin(-1)
    lead, (vertices, pixels) = points.shape[:-2], (points.shape[-2], samples.shape[-2])
    among = torch.ones(points.shape[:-1], dtype=torch.bool) if among is None else among
    asked = torch.ones(*lead, pixels, dtype=torch.bool) if asked is None else asked
    batch = (points.nan_to_num().reshape(-1, vertices, 2), samples.expand(*lead, pixels, 2).reshape(-1, pixels, 2),
             among.reshape(-1, vertices), asked.reshape(-1, pixels))
    found = list(in_parallel(lambda one: _nearest(*one), zip(*(each.numpy() for each in batch), strict=True)))
    return torch.from_numpy(np.stack(found)).view(*lead, -1)


def _nearest(points: np.ndarray, samples: np.ndarray, among: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """As nearest_points, of one set."""
    allowed, found = np.flatnonzero(among), np.zeros(len(samples), np.int64)
    if len(allowed) and asked.any():
        tree = cKDTree(points[allowed], compact_nodes=False, balanced_tree=False)
        found[asked] = allowed[tree.query(samples[asked])[1]]
    return found


def part_loss(points: Tensor, samples: Tensor, labels: Tensor, visible: Tensor, weight: Tensor) -> Tensor:
    """How far the vertices of each part are from its samples in the picture, and these from them (VMR Eq. 4): (N,).

    points  (N, V, 2) projected vertices
    samples (N, L, P, 2) of each part in each picture
    labels  (V,) part of each vertex, -1 for none
    visible (N, V) bool: a hidden vertex has no distance
    weight  (N, L) of each part in each picture, 0 where it is not to be seen

    Distances as they are, not squared: labels that were propagated wrongly lie far off.
    """
    of_part = labels == torch.arange(samples.shape[1], device=labels.device)[:, None]
    chosen = (of_part & visible.unsqueeze(1)).unsqueeze(-1)
    apart = (points[:, None, :, None] - samples[:, :, None]).square().sum(-1)
    apart = charbonnier(apart, 0.02).masked_fill(~chosen, torch.inf)
    there = weight * chosen.flatten(2).any(-1)
    to_samples = apart.amin(3).where(chosen[..., 0], 0).sum(-1) / chosen.sum((2, 3)).clamp_min(1)
    to_points = apart.amin(2).where(there.unsqueeze(-1) > 0, 0).mean(-1)
    return (there * (to_samples + to_points)).sum(1) / there.sum(1).clamp_min(1)


def keypoint_loss(projected: Tensor, keypoints: Tensor, annotated: Tensor) -> Tensor:
    """Mean distance of projected keypoints from annotated ones (VMR Eq. 2), robust against a few wrong annotations.

    projected, keypoints (..., K, 2), annotated (..., K) in 0..1. Returns (...,), crop units.
    """
    distance = charbonnier((projected - keypoints).square().sum(-1), 0.02)
    return (annotated * distance).sum(-1) / annotated.sum(-1).clamp_min(1.0)


def flow_loss(predicted: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """Robust distance between the surface's motion and optical flow (LASR's flow term).

    predicted, observed (..., P, 2) displacements in crop units, weight (..., P). Returns (...,), crop units.
    """
    distance = charbonnier((predicted - observed).square().sum(-1), 0.005)
    return (weight * distance).sum(-1) / weight.sum(-1).clamp_min(1.0)


def colour_loss(observed: Tensor, predicted: Tensor, weight: Tensor) -> Tensor:
    """Robust distance between the picture's colours and the surface's, (..., P, 3) in 0..1, weight (..., P)."""
    distance = charbonnier((observed - predicted).square().sum(-1), 0.05)
    return (weight * distance).sum(-1) / weight.sum(-1).clamp_min(1.0)


def facing_loss(front: Tensor, nearest: Tensor, turned: Tensor) -> Tensor:
    """Back-face depth-order penalty: how far back faces stand before the nearest front face.

    A mesh whose front and back have passed through each other covers the same silhouette, inside out, and the wrong one
    then explains the flow; only the order of depth differs. front, nearest (..., P) depth of the nearest front face and
    of the nearest of all, turned (..., P) 1 where these are two. Returns (...,), in the unit of depth.
    """
    return (turned * (front - nearest)).mean(-1)


def laplacian_loss(vertices: Tensor, edges: Tensor) -> Tensor:
    """Mean squared distance of each vertex (..., V, 3) from the mean of its neighbours, 0 for a vertex that has none.

    edges (E, 2), each once. A vertex on a border has its neighbours to one side: borders are drawn inwards.
    """
    i, j = torch.cat([edges, edges.flip(1)]).T
    count = vertices.new_zeros(vertices.shape[-2]).index_add(0, i, vertices.new_ones(len(i)))
    around = vertices[..., j, :]
    # A third of the time of index_add.
    total = torch.zeros_like(vertices).scatter_add(-2, i.unsqueeze(-1).expand(around.shape), around)
    mean = total / count.clamp_min(1).unsqueeze(-1)
    return ((vertices - mean) * (count > 0).unsqueeze(-1)).square().sum(-1).mean(-1)


def flatten_loss(vertices: Tensor, faces: Tensor, neighbours: Tensor) -> Tensor:
    """Mean squared 1 - cos of the angle between neighbouring faces' normals (SoftRas's flatten term): folds cost most.

    vertices (..., V, 3), faces (F, 3), neighbours (P, 3) from `neighbouring_faces`. Returns (...,), zero where no faces
    share an edge.
    """
    if not len(neighbours):
        return vertices.new_zeros(vertices.shape[:-2])
    a, b, c = (vertices[..., faces[:, i], :] for i in range(3))
    normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    first, second, alike = neighbours.T
    cosine = (normals[..., first, :] * normals[..., second, :]).sum(-1)
    return (1 - alike * cosine).square().mean(-1)


def symmetry_loss(vertices: Tensor, mirror: Tensor) -> Tensor:
    """Mean squared distance of the shape (..., V, 3) from its mirror image at x = 0; mirror (V,) pairs the vertices."""
    return (vertices - mirror_image(vertices, mirror)).square().sum(-1).mean(-1)


def side_loss(vertices: Tensor, side: Tensor, margin: float = 0.01) -> Tensor:
    """How far left and right halves of the shape (..., V, 3) reach through one another.

    side (V,) is +1 where a vertex belongs at x > 0, -1 at x < 0, 0 on the plane or where there is none. A thin body
    whose two walls have passed through each other covers the same silhouette, inside out, and no data term shows it.
    """
    reach = torch.relu(margin * side.abs() - side * vertices[..., 0])
    return reach.square().sum(-1) / side.abs().sum().clamp_min(1)


def acceleration_loss(path: Tensor) -> Tensor:
    """Mean squared second difference over time of parameters (..., T, C); zero for fewer than three frames."""
    if path.shape[-2] < 3:
        return path.new_zeros(path.shape[:-2])
    return (path[..., 2:, :] - 2 * path[..., 1:-1, :] + path[..., :-2, :]).square().sum(-1).mean(-1)


def unsteadiness_loss(rotations: Tensor) -> Tensor:
    """Mean squared change of the turn from frame to frame, rotations (..., T, 3, 3); zero for fewer than three frames.

    Zero for steady turning about any axis, however fast: second differences of the matrices themselves are not, and
    would hold back a quick turn. Returns (...,), radians squared times two.
    """
    if rotations.shape[-3] < 3:
        return rotations.new_zeros(rotations.shape[:-3])
    turns = rotations[..., 1:, :, :] @ rotations[..., :-1, :, :].mT
    return (turns[..., 1:, :, :] - turns[..., :-1, :, :]).square().sum((-1, -2)).mean(-1)


def hint_loss(rotations: Tensor, hints: Tensor) -> Tensor:
    """Mean squared angle by which rotations (..., N, 3, 3) are off hints (N, 3, 3), as far as it is above HINT_SLACK.

    Returns (...,), radians squared.
    """
    return torch.relu(angle_between(hints, rotations) - HINT_SLACK).square().mean(-1)


def charbonnier(square: Tensor, knee: float) -> Tensor:
    """Grows like a square below the knee and like a line above it, from a squared distance."""
    return (square + knee**2).sqrt() - knee


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The sum of terms times their weights; each a number, or one value per leading index (...)."""
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum(0)


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms' means over a batch; a term without a weight does not count."""
    return weighted_sum({name: value.mean() for name, value in losses.items() if weights.get(name)}, weights)
