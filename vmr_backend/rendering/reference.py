"""The renderer's mathematics in plain PyTorch, in float64: what the kernels are tested against.

Follows "Soft Rasterizer: A Differentiable Renderer for Image-based 3D Reasoning" (Liu, Li, Chen, Li, ICCV 2019). Every
face is compared with every pixel, so time and memory grow with faces x pixels: for tests and tiny images only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .interface import COVERAGE_CUTOFF, Renderer, Size, Visibility, check_inputs, drawn_faces, pixel_centres


class ReferenceRenderer(Renderer):
    """Draws with plain tensors (see interface.Renderer); gradients are PyTorch's own."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def silhouette(self, points: Tensor, faces: Tensor, size: Size, sigma: float) -> Tensor:
        coverage = soft_coverage(*_on_screen(points, faces, size), sigma)
        return union(coverage).to(points.dtype)

    @torch.no_grad()
    def visibility(self, points: Tensor, faces: Tensor, size: Size, cull: bool = False) -> Visibility:
        pixels, corners, drawn = _on_screen(points, faces, size, cull)
        weights = barycentric(pixels, corners)
        inverse_depth, weights = perspective(weights, corners)
        depth = (1.0 / inverse_depth).masked_fill(~(drawn & (weights >= 0.0).all(-1)), torch.inf)
        # The empty background comes first, as a face at infinity: a mesh without faces has a nearest one too.
        empty = pixels.new_zeros(len(points), 1, *pixels.shape[:2])
        nearest, face = torch.cat([empty + torch.inf, depth], 1).min(1)
        weights = torch.cat([empty[..., None].expand(-1, -1, -1, -1, 3), weights], 1)
        weights = weights.gather(1, face[:, None, ..., None].expand(-1, -1, -1, -1, 3)).squeeze(1)
        depth = nearest.masked_fill(face == 0, 0.0)
        return Visibility((face - 1).int(), weights.to(points.dtype), depth.to(points.dtype))


def _on_screen(points: Tensor, faces: Tensor, size: Size, cull: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel centres (H, W, 2), corners (N, F, 1, 1, 3, 3) of the faces, and which are drawn (N, F, 1, 1)."""
    check_inputs(points, faces)
    corners = points.double()[:, faces.long()]
    drawn = drawn_faces(points.double(), faces, cull)
    # Faces that are not drawn are moved to a harmless place, so that no NaN of theirs reaches a gradient.
    harmless = corners.new_tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    corners = torch.where(drawn[..., None, None], corners, harmless)
    return pixel_centres(size, points.device), corners[:, :, None, None], drawn[:, :, None, None]


def cross(u: Tensor, v: Tensor) -> Tensor:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def barycentric(pixels: Tensor, corners: Tensor) -> Tensor:
    """Weights (N, F, H, W, 3) of the corners at each pixel on the screen; they add up to 1."""
    a, b, c = corners[..., :2].unbind(-2)
    areas = torch.stack([cross(c - b, pixels - b), cross(a - c, pixels - c), cross(b - a, pixels - a)], -1)
    return areas / cross(b - a, c - a)[..., None]


def perspective(weights: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse depth (N, F, H, W) where the screen weights lie on the face, and the weights there in space."""
    inverse = weights / corners[..., 2]
    total = inverse.sum(-1)
    return total, inverse / total[..., None]


def signed_distance(pixels: Tensor, corners: Tensor) -> Tensor:
    """Squared distance (N, F, H, W) from each pixel to the face's outline: + inside, - outside (SoftRas Eq. 1)."""
    distances = []
    for start, end in ((0, 1), (1, 2), (2, 0)):
        start, end = corners[..., start, :2], corners[..., end, :2]
        edge = end - start
        along = ((pixels - start) * edge).sum(-1) / (edge * edge).sum(-1)
        distances.append((pixels - start - along.clamp(0.0, 1.0)[..., None] * edge).square().sum(-1))
    inside = (barycentric(pixels, corners) > 0.0).all(-1)
    return torch.stack(distances).amin(0) * torch.where(inside, 1.0, -1.0)


def soft_coverage(pixels: Tensor, corners: Tensor, drawn: Tensor, sigma: float) -> Tensor:
    """D = sigmoid(+-d^2 / sigma) (N, F, H, W) of every face (SoftRas Eq. 1), 0 below COVERAGE_CUTOFF."""
    coverage = torch.sigmoid(signed_distance(pixels, corners) / sigma)
    return coverage * (drawn & (coverage > COVERAGE_CUTOFF))


def union(coverage: Tensor) -> Tensor:
    """alpha = 1 - prod(1 - D) over the faces (SoftRas Eq. 7)."""
    return 1.0 - (1.0 - coverage).prod(1)
