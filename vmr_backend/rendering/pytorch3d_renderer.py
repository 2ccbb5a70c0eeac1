"""The renderer on PyTorch3D, where it is installed: a second opinion, built from its rasteriser and plain PyTorch.

It keeps a fixed number of faces per pixel, so memory grows with that number, and pixels near more faces than that come
out differently from the other renderers. PyTorch3D is not on the package index; see its own installation page.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .interface import (
    BACKGROUND_DEPTH,
    Size,
    Visibility,
    check_inputs,
    depth_range,
    drawn_faces,
    image_size,
    reach,
)
from .reference import sample

try:
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes
except ImportError as error:
    raise ImportError("PyTorch3D is not installed here; the renderer 'warp' needs nothing beyond pip") from error


@dataclass(frozen=True)
class _Fragments:
    """The K nearest faces at each pixel, all (N, H, W, K); face is -1 and coverage 0 where there is none."""

    face: Tensor
    depth: Tensor
    weights: Tensor  # (N, H, W, K, 3)
    coverage: Tensor


class PyTorch3DRenderer:
    """Draws with PyTorch3D's rasteriser (see interface.Renderer); soft images must be square."""

    def __init__(self, device="cpu", faces_per_pixel: int = 64):
        self.device = torch.device(device)
        self.faces_per_pixel = faces_per_pixel

    def silhouette(self, points: Tensor, faces: Tensor, size: Size, sigma: float) -> Tensor:
        return _union(self._soft_fragments(points, faces, size, sigma).coverage)

    @torch.no_grad()
    def visibility(self, points: Tensor, faces: Tensor, size: Size, cull: bool = False) -> Visibility:
        nearest = _rasterise(points, faces, size, 1, 0.0, cull)
        hit = nearest.face[..., 0] >= 0
        weights, depth = nearest.weights[..., 0, :], nearest.depth[..., 0]
        return Visibility(nearest.face[..., 0].int(), weights * hit[..., None], depth * hit)

    def front_and_nearest(self, points: Tensor, faces: Tensor, size: Size) -> tuple[Visibility, Visibility]:
        return self.visibility(points, faces, size, cull=True), self.visibility(points, faces, size)

    def attributes(
        self, points: Tensor, faces: Tensor, attributes: Tensor, size: Size, sigma: float, gamma: float
    ) -> tuple[Tensor, Tensor]:
        fragments = self._soft_fragments(points, faces, size, sigma)
        at_corners = attributes.expand(len(points), *attributes.shape[-2:])[:, faces.long()]
        n = torch.arange(len(points), device=points.device).view(-1, 1, 1, 1)
        colours = (fragments.weights[..., None] * _at(at_corners, n, fragments.face)).sum(-2)
        return _blend(points, fragments, colours, gamma)

    def textured(
        self, points: Tensor, faces: Tensor, uv: Tensor, texture: Tensor, size: Size, sigma: float, gamma: float
    ) -> tuple[Tensor, Tensor]:
        fragments = self._soft_fragments(points, faces, size, sigma)
        places = (fragments.weights[..., None] * _at(uv[None], 0, fragments.face)).sum(-2)
        colours = sample(texture.expand(len(points), *texture.shape[-3:]), places)
        return _blend(points, fragments, colours, gamma)

    def _soft_fragments(self, points: Tensor, faces: Tensor, size: Size, sigma: float) -> _Fragments:
        height, width = image_size(size)
        if height != width:
            raise ValueError(f"PyTorch3D blurs in pixels, so soft images must be square; {(height, width)} is not")
        return _rasterise(points, faces, size, self.faces_per_pixel, sigma)


def _at(values: Tensor, n, face: Tensor) -> Tensor:
    """Rows (…, 3, C) of values (N, F, 3, C) at the faces of fragments; zeros where there are no faces at all."""
    if values.shape[1] == 0:
        return values.new_zeros((*face.shape, *values.shape[2:]))
    return values[n, face.clamp(min=0)]


def _rasterise(
    points: Tensor, faces: Tensor, size: Size, faces_per_pixel: int, sigma: float, cull: bool = False
) -> _Fragments:
    check_inputs(points, faces)
    height, width = image_size(size)
    shape = (len(points), height, width, faces_per_pixel)
    drawn = drawn_faces(points, faces, cull)
    if not drawn.any():
        nothing = points.new_zeros(shape) + 0.0 * points.sum()  # still part of the graph
        nowhere = torch.full(shape, -1, device=points.device)
        return _Fragments(nowhere, nothing, nothing[..., None].expand(*shape, 3), nothing)
    # PyTorch3D's x points left and its y up; its shorter side spans [-1, 1].
    shorter = min(height, width)
    scale = points.new_tensor([-width / shorter, -height / shorter, 1.0])
    meshes = Meshes(list(points * scale), [faces[one].long() for one in drawn])
    face, depth, weights, distance = rasterize_meshes(
        meshes,
        image_size=(height, width),
        blur_radius=reach(sigma) ** 2,
        faces_per_pixel=faces_per_pixel,
        perspective_correct=sigma == 0.0,
        clip_barycentric_coords=sigma > 0.0,
    )
    hit = face >= 0
    # Faces are numbered through the batch and without those left out.
    face = torch.where(hit, drawn.nonzero()[:, 1][face.clamp(min=0)], -1)
    if sigma == 0.0:
        return _Fragments(face, depth, weights, hit.to(points.dtype))
    # PyTorch3D would correct for perspective before it clips weights to the face, which fails outside of slanted faces.
    n = torch.arange(len(points), device=points.device).view(-1, 1, 1, 1)
    inverse = torch.where(hit[..., None], weights / _at(points[:, faces.long()], n, face)[..., 2], 1.0)
    depth = 1.0 / inverse.sum(-1)
    return _Fragments(face, depth, inverse * depth[..., None], torch.sigmoid(-distance / sigma) * hit)


def _union(coverage: Tensor) -> Tensor:
    return 1.0 - (1.0 - coverage).prod(-1)


def _blend(points: Tensor, fragments: _Fragments, colours: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """The same mixture as reference._draw, over the fragments."""
    far, near = (bound[:, None, None, None] for bound in depth_range(points))
    hit = fragments.face >= 0
    inverse_depth = 1.0 / torch.where(hit, fragments.depth, 1.0)
    z = torch.where(hit, (inverse_depth - far) / (near - far), 0.0)
    background = z.new_full((*z.shape[:3], 1), BACKGROUND_DEPTH)
    exponent = torch.cat([z, background], -1) / gamma
    exponent = (exponent - exponent.detach().amax(-1, keepdim=True)).exp()
    share = torch.cat([fragments.coverage, torch.ones_like(background)], -1) * exponent
    share = share / share.sum(-1, keepdim=True)
    return (share[..., :-1, None] * colours).sum(-2), _union(fragments.coverage)
