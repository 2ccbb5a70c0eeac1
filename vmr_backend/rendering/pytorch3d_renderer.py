"""The renderer on PyTorch3D, where it is installed: a second opinion, built from its rasteriser and plain PyTorch.

It keeps a fixed number of faces per pixel, so memory grows with that number, and pixels near more faces than that come
out differently from the other renderers. On the CPU it compares every face with every pixel, which takes some hundred
times as long as Warp. PyTorch3D has no wheels for current versions of PyTorch: it is built from source.
"""

from __future__ import annotations

import torch
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.structures import Meshes
from torch import Tensor

from .interface import Renderer, Size, Visibility, check_inputs, drawn_faces, image_size, reach


class PyTorch3DRenderer(Renderer):
    """Draws with PyTorch3D's rasteriser (see interface.Renderer); silhouettes must be square."""

    def __init__(self, device="cpu", faces_per_pixel: int = 64):
        self.device = torch.device(device)
        self.faces_per_pixel = faces_per_pixel

    def silhouette(self, points: Tensor, faces: Tensor, size: Size, sigma: float) -> Tensor:
        height, width = image_size(size)
        if height != width:
            raise ValueError(f"PyTorch3D blurs in pixels, so silhouettes must be square; {(height, width)} is not")
        face, _, _, distance = _rasterised(points, faces, size, self.faces_per_pixel, sigma)
        coverage = torch.sigmoid(-distance / sigma) * (face >= 0)
        return 1.0 - (1.0 - coverage).prod(-1)

    @torch.no_grad()
    def visibility(self, points: Tensor, faces: Tensor, size: Size, cull: bool = False) -> Visibility:
        face, depth, barycentrics, _ = (one.squeeze(3) for one in _rasterised(points, faces, size, 1, 0.0, cull))
        hit = face >= 0
        return Visibility(face.int(), barycentrics * hit[..., None], depth * hit)


def _rasterised(
    points: Tensor, faces: Tensor, size: Size, faces_per_pixel: int, sigma: float, cull: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The K nearest faces at each pixel: index, depth, barycentrics and signed squared distance in ndc.

    Each (N, H, W, K), barycentrics (N, H, W, K, 3); the index is -1 where there are fewer faces than that.
    """
    check_inputs(points, faces)
    height, width = image_size(size)
    drawn = drawn_faces(points, faces, cull)
    if not drawn.any():
        nothing = points.new_zeros((len(points), height, width, faces_per_pixel)) + points.flatten()[:0].sum()
        return torch.full_like(nothing, -1.0), nothing, nothing[..., None].expand(*nothing.shape, 3), nothing
    # PyTorch3D's x points left and its y up; its shorter side spans [-1, 1].
    shorter = min(height, width)
    scale = points.new_tensor([-width / shorter, -height / shorter, 1.0])
    meshes = Meshes(list(points * scale), [faces[one].long() for one in drawn])
    face, *rest = rasterize_meshes(
        meshes,
        image_size=(height, width),
        blur_radius=reach(sigma) ** 2,
        faces_per_pixel=faces_per_pixel,
        perspective_correct=sigma == 0.0,
        clip_barycentric_coords=sigma > 0.0,  # else what lies beside a slanted face may count as behind the camera
    )
    # Faces are numbered through the batch and without those left out.
    return torch.where(face >= 0, drawn.nonzero()[:, 1][face.clamp(min=0)], -1), *rest
