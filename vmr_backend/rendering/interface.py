"""The interface of every renderer, and the conventions common to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

NEAR = 1e-6
"""Faces with a vertex at this depth or nearer count as behind the camera and are not drawn."""

MIN_AREA = 1e-8
"""Faces whose doubled area on the screen (ndc squared) is smaller than this, or not finite, are not drawn: inside such
slivers the gradient of barycentric weights is noise. (PyTorch3D draws the same line.)"""

COVERAGE_CUTOFF = 1e-4
"""A face leaves pixels alone that it would cover by less than this; it sets the reach of the blur (SoftRas calls
the same idea dist_eps)."""

Size = int | tuple[int, int]


@dataclass(frozen=True)
class Visibility:
    """The nearest face at each pixel centre.

    face_index    (N, H, W) int32, -1 where there is no face
    barycentrics  (N, H, W, 3), perspective-correct weights of the face's corners, 0 where there is no face
    depth         (N, H, W), camera z, 0 where there is no face
    """

    face_index: Tensor
    barycentrics: Tensor
    depth: Tensor


class Renderer(Protocol):
    """Draws a batch of meshes with the same faces.

    points  (N, V, 3) float32: ndc x (right), ndc y (down), depth z > 0 along the camera's axis. The image spans
            [-1, 1] both ways whatever its size; distances are measured in ndc.
    faces   (F, 3) int32 or int64, either orientation; faces without area or behind the camera are not drawn
    size    int for a square image, else (H, W)
    sigma   softness of edges, in ndc squared: coverage at distance d outside an edge is sigmoid(-d^2 / sigma)
    """

    def silhouette(self, points: Tensor, faces: Tensor, size: Size, sigma: float) -> Tensor:
        """Soft coverage (N, H, W) of the union of all faces; gradients to x and y of points."""

    def visibility(self, points: Tensor, faces: Tensor, size: Size, cull: bool = False) -> Visibility:
        """Nearest face at each pixel centre, the lower index where two are equally near; no gradients.

        cull  only faces that turn their outside to the camera, their corners running counter-clockwise as seen there
        """

    def front_and_nearest(self, points: Tensor, faces: Tensor, size: Size) -> tuple[Visibility, Visibility]:
        """Visibility with and without `cull`."""
        return self.visibility(points, faces, size, cull=True), self.visibility(points, faces, size)


def image_size(size: Size) -> tuple[int, int]:
    """(H, W) of a size given as an int or a pair."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def check_inputs(points: Tensor, faces: Tensor) -> None:
    """Raises ValueError where shapes are wrong or a face names a vertex that is not there."""
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points have shape {tuple(points.shape)}; (N, V, 3) is needed")
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"faces have shape {tuple(faces.shape)}; (F, 3) is needed")
    if len(faces):
        least, most = (int(index) for index in faces.aminmax())
        if least < 0 or most >= points.shape[1]:
            raise ValueError(f"faces name vertices {least} to {most}, but there are {points.shape[1]}")


def drawn_faces(points: Tensor, faces: Tensor, cull: bool = False) -> Tensor:
    """Which faces (N, F) are in front of the camera and have an area on the screen; with `cull`, none turned away."""
    corners = points.detach()[:, faces.long()]
    ab, ac = (corners[..., k, :2] - corners[..., 0, :2] for k in (1, 2))
    area = ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]
    # The screen's y points down: there, counter-clockwise corners enclose a negative area.
    large = -area if cull else area.abs()
    return (corners[..., 2] > NEAR).all(-1) & (large > MIN_AREA) & area.isfinite()


def pixel_centres(size: Size, device="cpu") -> Tensor:
    """ndc x, y (H, W, 2) of every pixel's centre, float64."""
    height, width = image_size(size)
    x = (2.0 * torch.arange(width, dtype=torch.float64, device=device) + 1.0) / width - 1.0
    y = (2.0 * torch.arange(height, dtype=torch.float64, device=device) + 1.0) / height - 1.0
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def reach(sigma: float) -> float:
    """Distance from a face (ndc) beyond which it covers less than COVERAGE_CUTOFF."""
    return math.sqrt(sigma * math.log(1.0 / COVERAGE_CUTOFF - 1.0))
