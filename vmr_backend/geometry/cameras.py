"""Cameras: object to camera, camera to pixels, pixels to crops. Camera axes are x right, y down, z forward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..rows import Rows

LEVEL_CAMERA = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Object to camera for a camera at -y that looks along +y: Blender's front view."""

WEAK_DISTANCE = 5.0
"""At which a weak perspective camera's subjects stand: depth only sorts faces (CMR)."""


@dataclass(frozen=True)
class Camera:
    """One camera per frame; any leading shape (...)."""

    rotation: Tensor
    """(..., 3, 3), object to camera."""
    translation: Tensor
    """(..., 3), object to camera, object units."""
    intrinsics: Tensor
    """(..., 4): fx, fy, cx, cy; in pixels of the full frame, or in the units of a crop."""


@dataclass(frozen=True)
class WeakCamera(Rows):
    """Weak perspective cameras of N pictures: x2d = scale * (R X)_xy + shift, crop coordinates."""

    rotation: Tensor
    """(N, 3, 3), object to camera; camera axes x right, y down, z forward."""
    scale: Tensor
    """(N,) crop units per object unit."""
    shift: Tensor
    """(N, 2) crop units."""

    def project(self, points: Tensor) -> Tensor:
        """Object points (N, P, 3) to (N, P, 3): x and y in crop coordinates, and a depth that only sorts."""
        turned = self.scale[:, None, None] * (points @ self.rotation.mT)
        return turned + torch.cat([self.shift, torch.full_like(self.shift[:, :1], WEAK_DISTANCE)], 1).unsqueeze(1)


def to_camera(points: Tensor, camera: Camera) -> Tensor:
    """Points (..., V, 3) of object space in camera space."""
    return points @ camera.rotation.mT + camera.translation.unsqueeze(-2)


def project(points: Tensor, camera: Camera) -> Tensor:
    """Object points (..., V, 3) to (..., V, 3): x, y in the units of the intrinsics, and depth z in object units."""
    x, y, z = to_camera(points, camera).unbind(-1)
    fx, fy, cx, cy = camera.intrinsics.unsqueeze(-2).unbind(-1)
    near = z.clamp_min(1e-3)
    return torch.stack([fx * x / near + cx, fy * y / near + cy, z], -1)


def crop_intrinsics(intrinsics: Tensor, centre: Tensor, half: Tensor) -> Tensor:
    """Intrinsics (..., 4) of the full frame in the coordinates of a crop, where pixel = centre + half * crop.

    centre (..., 2) and half (...,) in pixels.
    """
    focal, principal = intrinsics[..., :2], intrinsics[..., 2:]
    return torch.cat([focal, principal - centre], -1) / half.unsqueeze(-1)


def zoomed(intrinsics: Tensor, factor: Tensor) -> Tensor:
    """Intrinsics (..., 4), of the full frame or of a crop, with their focal lengths times a factor (...,)."""
    one = torch.ones_like(factor)
    return intrinsics * torch.stack([factor, factor, one, one], -1)
