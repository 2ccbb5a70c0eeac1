"""Texture flow: where in the picture each texel of the UV map finds its colour (CMR, VMR 3.1), and how good that is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..bodies.category import CategoryShape
from ..geometry.cameras import WeakCamera
from ..geometry.sphere import Sphere, spherical_uv
from ..rendering import Renderer
from ..texture.layout import lay_out

ROWS, COLUMNS = 64, 128
"""Of the flow map; CMR: 128 x 256 for pictures of 256 pixels. Flow is smooth, textures are sampled finer."""
REACH = 0.25
"""Crop units by which a network may correct where a texel finds its colour."""
BEHIND = 0.02
"""Depth behind the nearest surface, in the camera's scale, from which on a texel is hidden."""
BARRIER = 50.0
"""Steepness of the barrier at the mask's outline, of distances in picture widths (CMR)."""
SCALES = 3
"""Halvings of the picture at which colours' slopes are compared."""


class Texels(nn.Module):
    """The flow map's texels on the surface of a shape."""

    face: Tensor
    """(ROWS, COLUMNS) int64, the face nearest to each texel in the map."""
    barycentrics: Tensor
    """(ROWS, COLUMNS, 3) in it."""
    uv: Tensor
    """(F, 3, 2) of face corners, in -1..1, v down, as a texture is looked up."""

    def __init__(self, sphere: Sphere):
        super().__init__()
        uv = spherical_uv(sphere)
        layout = lay_out(uv, ROWS, COLUMNS)
        values = np.concatenate([layout.face[:, None].astype(np.float64), layout.barycentrics], 1)
        whole = torch.from_numpy(layout.spread(values))
        self.register_buffer("face", whole[..., 0].long(), persistent=False)
        self.register_buffer("barycentrics", whole[..., 1:].float(), persistent=False)
        looked_up = np.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
        self.register_buffer("uv", torch.from_numpy(looked_up).float(), persistent=False)

    def of_vertices(self, values: Tensor, faces: Tensor) -> Tensor:
        """Values (N, V, C) at the texels (N, ROWS, COLUMNS, C)."""
        return (values[:, faces[self.face]] * self.barycentrics.unsqueeze(-1)).sum(-2)


def projected_texels(shape: CategoryShape, texels: Texels, vertices: Tensor, camera: WeakCamera, renderer: Renderer,
                     size: int) -> tuple[Tensor, Tensor]:
    """Texels in the picture (N, ROWS, COLUMNS, 2), crop coordinates, and which (N, ROWS, COLUMNS) a nearer part of the
    surface hides."""
    points = camera.project(vertices)
    at = texels.of_vertices(points, shape.faces)
    depth = renderer.visibility(points, shape.faces, size).depth.unsqueeze(1)
    # The farthest of neighbouring pixels: where the surface turns away, it would hide itself.
    depth = functional.max_pool2d(depth, 3, 1, 1)
    nearest = functional.grid_sample(depth, at[..., :2], mode="nearest", align_corners=False)[:, 0]
    return at[..., :2], (at[..., 2] > nearest + BEHIND) & (nearest > 0)


def surface_flow(shape: CategoryShape, texels: Texels, vertices: Tensor, camera: WeakCamera,
                 renderer: Renderer, size: int) -> Tensor:
    """Texels in the picture (N, ROWS, COLUMNS, 2), crop coordinates; hidden ones where their mirror image is visible.

    Where both are hidden, a texel stays where it would be seen through the body.
    """
    at, hidden = projected_texels(shape, texels, vertices, camera, renderer, size)
    mirrored, mirrored_hidden = at.flip(2), hidden.flip(2)
    return torch.where((hidden & ~mirrored_hidden).unsqueeze(-1), mirrored, at)


class FlowCorrection(nn.Module):
    """Predicts from a code what is added to the flow that follows from mesh and camera; zero before it is trained."""

    WIDTH = 16

    def __init__(self, code: int):
        super().__init__()
        self.seed = nn.Linear(code, self.WIDTH * (ROWS // 8) * (COLUMNS // 8))
        self.grow = nn.Sequential(*(layer for _ in range(2) for layer in (
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(self.WIDTH, self.WIDTH, 3, padding=1), nn.ReLU(inplace=True))))
        self.flow = nn.Conv2d(self.WIDTH, 2, 3, padding=1)
        nn.init.zeros_(self.flow.weight)
        nn.init.zeros_(self.flow.bias)

    def forward(self, code: Tensor) -> Tensor:
        """(N, ROWS, COLUMNS, 2) in crop units."""
        start = functional.relu(self.seed(code)).unflatten(1, (self.WIDTH, ROWS // 8, COLUMNS // 8))
        found = functional.interpolate(self.flow(self.grow(start)), size=(ROWS, COLUMNS), mode="bilinear",
                                       align_corners=False)
        return REACH * torch.tanh(found).movedim(1, -1)


def sampled(images: Tensor, flow: Tensor) -> Tensor:
    """Textures (N, 3, ROWS, COLUMNS) that a flow samples from images (N, 3, S, S)."""
    return functional.grid_sample(images, flow, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Painted:
    """Textures rendered on meshes."""

    images: Tensor
    """(N, 3, S, S), black where there is no mesh."""
    covered: Tensor
    """(N, S, S) bool."""


def painted(shape: CategoryShape, texels: Texels, vertices: Tensor, camera: WeakCamera, textures: Tensor,
            renderer: Renderer, size: int) -> Painted:
    """Meshes (N, V, 3) with textures (N, 3, ROWS, COLUMNS); differentiable in the textures alone (CMR detaches
    geometry, too)."""
    seen = renderer.visibility(camera.project(vertices).detach(), shape.faces, size)
    covered = seen.face_index >= 0
    uv = (texels.uv[seen.face_index.clamp_min(0).long()] * seen.barycentrics.unsqueeze(-1)).sum(-2)
    images = functional.grid_sample(textures, uv, mode="bilinear", padding_mode="border", align_corners=False)
    return Painted(images * covered.unsqueeze(1), covered)


def structure_loss(painting: Painted, images: Tensor, masks: Tensor) -> Tensor:
    """How far painted meshes are off images (N, 3, S, S) within masks (N, S, S): colours, and their slopes at several
    scales, which blur lowers. Needs no weights, unlike a perceptual distance. Returns (N,)."""
    weight = (masks * painting.covered).unsqueeze(1)
    difference = (painting.images - images) * weight
    area = weight.sum((1, 2, 3)).clamp_min(1)
    total = difference.abs().sum((1, 2, 3)) / (3 * area)
    for _ in range(SCALES):
        slopes = (difference.diff(dim=-1).abs().mean((1, 2, 3)), difference.diff(dim=-2).abs().mean((1, 2, 3)))
        total = total + (slopes[0] + slopes[1]) / weight.mean((1, 2, 3)).clamp_min(1e-3) / SCALES
        difference, weight = functional.avg_pool2d(difference, 2), functional.avg_pool2d(weight, 2)
    return total


def barriers(masks: Tensor) -> Tensor:
    """Barriers (N, S, S) that rise from 0 inside masks (N, S, S) to 1 outside (CMR's distance transform of texture)."""
    size = masks.shape[-1]
    found = []
    for mask in (masks.cpu().numpy() > 0.5).astype(np.uint8):
        outside, inside = (cv2.distanceTransform(part, cv2.DIST_L2, 3) for part in (1 - mask, mask))
        found.append(outside - inside)
    return torch.sigmoid(BARRIER * torch.from_numpy(np.stack(found)) / size).to(masks)


def distance_loss(flow: Tensor, barrier: Tensor) -> Tensor:
    """How far flow (N, ROWS, COLUMNS, 2) samples beside the subject: the mean barrier there. Returns (N,)."""
    read = functional.grid_sample(barrier.unsqueeze(1), flow, padding_mode="border", align_corners=False)
    return read.mean((1, 2, 3))
