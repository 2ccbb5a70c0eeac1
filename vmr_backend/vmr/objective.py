"""How far a category model's mesh is from what a picture shows: every term but those of texture (VMR 3.1, CMR, UMR)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import losses
from ..bodies.category import CategoryShape
from ..fitting.data_terms import mask_term
from ..geometry.arap import arap_energy
from ..geometry.cameras import WeakCamera
from ..rendering import Renderer
from ..rows import Rows

ARAP_SHARE = 0.25
"""Of a batch's pictures, how many are compared with their base shapes."""

INSIDE = 256
"""Samples inside each mask for the contour term, where a network is trained."""


@dataclass(frozen=True)
class Targets(Rows):
    """What N pictures show."""

    masks: Tensor
    """(N, S, S) in 0..1."""
    inside: Tensor
    """(N, P, 2) samples inside the mask, crop coordinates."""
    keypoints: Tensor
    """(N, K, 2) crop coordinates."""
    annotated: Tensor
    """(N, K) 1 where a keypoint is annotated, else 0."""


def terms(shape: CategoryShape, base: Tensor, vertices: Tensor, camera: WeakCamera, affinity: Tensor | None,
          targets: Targets, renderer: Renderer, compared: Tensor | None = None) -> dict[str, Tensor]:
    """Every term, unweighted, one value per picture (N,).

    base, vertices  (N, V, 3) before and after deformation, object units
    affinity        (K, V) weights of vertices in keypoints, rows sum to 1; None without keypoints
    compared        (N,) how much ARAP's energy of each counts; if None, drawn anew by `compared_of`
    """
    points = camera.project(vertices)
    found = {
        "mask": mask_term(points, shape.faces, targets.masks, renderer),
        "contour": losses.contour_loss(points[..., :2], targets.inside),
        "arap": _rigidity(shape, base, vertices, compared_of(len(vertices)) if compared is None else compared),
        "deformation": (vertices - base).square().sum(-1).mean(-1),
    }
    if affinity is not None:
        found["keypoint"] = losses.keypoint_loss(affinity @ points[..., :2], targets.keypoints, targets.annotated)
    return found


def samples_inside(masks: Tensor, chance: Tensor) -> Tensor:
    """Pixel centres (N, P, 2) inside masks (N, S, S), which chance (N, P) in 0..1 picks; crop coordinates."""
    size = masks.shape[-1]
    up_to = masks.flatten(1).clamp_min(1e-6).cumsum(1)
    pixel = torch.searchsorted(up_to, chance * up_to[:, -1:]).clamp_max(size**2 - 1)
    return torch.stack([pixel % size, pixel // size], -1) * (2 / size) + (1 / size - 1)


def compared_of(count: int, random: torch.Generator | None = None) -> Tensor:
    """How much ARAP's energy of each picture counts (count,), 1 on average: that of most is left out, since it takes
    longer than drawing them all."""
    some = torch.randperm(count, generator=random)[: max(1, round(ARAP_SHARE * count))]
    return torch.zeros(count).index_fill(0, some, count / len(some))


def _rigidity(shape: CategoryShape, base: Tensor, vertices: Tensor, compared: Tensor) -> Tensor:
    """ARAP's energy (N,) times `compared` (N,)."""
    some = torch.nonzero(compared)[:, 0].to(vertices.device)
    energy = arap_energy(base[some], vertices[some], shape.edges, shape.cotangents(base[some]))
    return vertices.new_zeros(len(vertices)).index_put((some,), energy) * compared.to(vertices)
