"""The renderer's mathematics in plain PyTorch, in float64: what the kernels are tested against.

Follows "Soft Rasterizer: A Differentiable Renderer for Image-based 3D Reasoning" (Liu, Li, Chen, Li, ICCV 2019). Every
face is compared with every pixel, so time and memory grow with faces x pixels: for tests and tiny images only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .interface import (
    BACKGROUND_DEPTH,
    COVERAGE_CUTOFF,
    Size,
    Visibility,
    check_inputs,
    depth_range,
    drawn_faces,
    pixel_centres,
)


class ReferenceRenderer:
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

    def front_and_nearest(self, points: Tensor, faces: Tensor, size: Size) -> tuple[Visibility, Visibility]:
        return self.visibility(points, faces, size, cull=True), self.visibility(points, faces, size)

    def attributes(
        self, points: Tensor, faces: Tensor, attributes: Tensor, size: Size, sigma: float, gamma: float
    ) -> tuple[Tensor, Tensor]:
        attributes = attributes.double().expand(len(points), *attributes.shape[-2:])
        at_corners = attributes[:, faces.long()]  # (N, F, 3, C)

        def colour(weights: Tensor) -> Tensor:
            return torch.einsum("nfhwk,nfkc->nfhwc", weights, at_corners)

        return _draw(points, faces, colour, size, sigma, gamma)

    def textured(
        self, points: Tensor, faces: Tensor, uv: Tensor, texture: Tensor, size: Size, sigma: float, gamma: float
    ) -> tuple[Tensor, Tensor]:
        texture = texture.double().expand(len(points), *texture.shape[-3:])

        def colour(weights: Tensor) -> Tensor:
            return sample(texture, torch.einsum("nfhwk,fkc->nfhwc", weights, uv.double()))

        return _draw(points, faces, colour, size, sigma, gamma)


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


def sample(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear look-up of texture (N, Ht, Wt, C) at uv (N, ..., 2): v up, texel centres at +0.5, clamped."""
    images, height, width, _ = texture.shape
    x = (uv[..., 0] * width - 0.5).clamp(0.0, width - 1.0)
    y = ((1.0 - uv[..., 1]) * height - 0.5).clamp(0.0, height - 1.0)
    left, top = x.detach().floor().clamp(max=max(width - 2, 0)), y.detach().floor().clamp(max=max(height - 2, 0))
    n = torch.arange(images, device=uv.device).view(-1, *[1] * (uv.ndim - 2))

    def texel(row: Tensor, column: Tensor) -> Tensor:
        return texture[n, row.long().clamp(max=height - 1), column.long().clamp(max=width - 1)]

    fx, fy = (x - left)[..., None], (y - top)[..., None]
    upper = texel(top, left) * (1.0 - fx) + texel(top, left + 1) * fx
    lower = texel(top + 1, left) * (1.0 - fx) + texel(top + 1, left + 1) * fx
    return upper * (1.0 - fy) + lower * fy


def _draw(points: Tensor, faces: Tensor, colour, size: Size, sigma: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Blends colour(weights) of all faces by coverage and depth (SoftRas Eqs. 5 and 6) over black.

    w_f = D_f exp(z_f / gamma) / (sum_k D_k exp(z_k / gamma) + exp(BACKGROUND_DEPTH / gamma)), z being the inverse depth
    on the scale of interface.depth_range. Outside a face, weights are those of the clamped barycentrics.
    """
    pixels, corners, drawn = _on_screen(points, faces, size)
    coverage = soft_coverage(pixels, corners, drawn, sigma)
    weights = barycentric(pixels, corners).clamp(min=0.0)
    inverse_depth, weights = perspective(weights / weights.sum(-1, keepdim=True), corners)
    far, near = (bound.double()[:, None, None, None] for bound in depth_range(points))
    z = (inverse_depth - far) / (near - far)
    background = z.new_full((len(points), 1, *z.shape[2:]), BACKGROUND_DEPTH)
    exponent = torch.cat([z.masked_fill(coverage == 0.0, 0.0), background], 1) / gamma
    exponent = (exponent - exponent.detach().amax(1, keepdim=True)).exp()
    share = torch.cat([coverage, torch.ones_like(background)], 1) * exponent
    share = share / share.sum(1, keepdim=True)
    image = (share[:, :-1, ..., None] * colour(weights)).sum(1)
    return image.to(points.dtype), union(coverage).to(points.dtype)
