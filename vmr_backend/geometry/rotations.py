"""Rotations: axis-angle vectors, elementary turns, quaternions."""

from __future__ import annotations

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor


def from_axis_angle(v: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of axis-angle vectors (..., 3) in radians (Rodrigues' formula), smooth at zero."""
    square = v.square().sum(-1)[..., None, None]
    small = square < 1e-6
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    a = torch.where(small, 1 - square / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / angle.square())
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    k = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=v.dtype, device=v.device) + a * k + b * (k @ k)


def about_x(angle: Tensor) -> Tensor:
    """Rotations (..., 3, 3) about x by angles (...) in radians."""
    o = torch.zeros_like(angle)
    return from_axis_angle(torch.stack([angle, o, o], -1))


def about_z(angle: Tensor) -> Tensor:
    """Rotations (..., 3, 3) about z by angles (...) in radians."""
    o = torch.zeros_like(angle)
    return from_axis_angle(torch.stack([o, o, angle], -1))


def from_two_columns(v: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of vectors (..., 6): zero is the identity (Zhou et al. 2019).

    What is added to the first two columns of the identity is made orthonormal; the third follows. Without jumps, unlike
    axis-angles and quaternions, so a network is trained on it well.
    """
    first, second = v.split(3, -1)
    eye = torch.eye(3, dtype=v.dtype, device=v.device)
    x = torch.nn.functional.normalize(first + eye[0], dim=-1)
    second = second + eye[1]
    y = torch.nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Angle (...) in radians, 0 to pi, of the rotation that carries a (..., 3, 3) to b (..., 3, 3).

    Its gradient is finite everywhere, which that of an arc cosine is not.
    """
    turn = b @ a.mT
    sine = torch.stack([turn[..., i, j] - turn[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1).norm(dim=-1)
    return torch.atan2(sine, turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)


def to_axis_angle(rotations: Tensor) -> Tensor:
    """Axis-angle vectors (..., 3) in radians, at most pi long, of rotation matrices (..., 3, 3). Has no gradient."""
    flat = rotations.detach().reshape(-1, 3, 3).double().cpu().numpy()
    return torch.from_numpy(Rotation.from_matrix(flat).as_rotvec()).to(rotations).reshape(rotations.shape[:-1])
