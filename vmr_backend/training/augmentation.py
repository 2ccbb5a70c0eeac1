"""Training pictures turned, shifted, scaled, mirrored and recoloured at random, with all that belongs to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry.cameras import WeakCamera
from ..geometry.rotations import about_z
from ..geometry.sphere import mirror_image
from ..rows import Rows

ROLL, ZOOM, SHIFT = math.radians(12), 0.12, 0.08
"""Most by which a picture is turned (radians), scaled (a fraction) and shifted (crop units): crops of clips are framed
less evenly than those of single pictures."""
GAIN, BRIGHTNESS = 0.35, 0.15
"""Most by which the contrast of a colour channel, and its level, change."""


@dataclass(frozen=True)
class Examples(Rows):
    """N pictures and what a network should predict of them."""

    images: Tensor
    """(N, 3, S, S) in 0..1."""
    masks: Tensor
    """(N, S, S) in 0..1."""
    keypoints: Tensor
    """(N, K, 2) crop coordinates."""
    annotated: Tensor
    """(N, K) 1 where a keypoint is annotated, else 0."""
    vertices: Tensor
    """(N, V, 3) of the meshes fitted to them, object units."""
    camera: WeakCamera
    cluster: Tensor
    """(N,) int64, the shape basis nearest to each."""


@dataclass(frozen=True)
class Augmentation(Rows):
    """Of N pictures, drawn before they are dealt out to processes: the same whatever the number of these."""

    flip: Tensor
    """(N,) bool, mirrored."""
    roll: Tensor
    """(N,) radians, clockwise as y points down."""
    zoom: Tensor
    """(N,) factor."""
    shift: Tensor
    """(N, 2) crop units."""
    gain: Tensor
    """(N, 3) factor of each colour channel."""
    level: Tensor
    """(N, 3) added to it."""

    @staticmethod
    def draw(count: int, random: torch.Generator) -> Augmentation:
        def within(bound: float, *shape: int) -> Tensor:
            return bound * (2 * torch.rand(count, *shape, generator=random) - 1)

        flip = torch.rand(count, generator=random) < 0.5
        return Augmentation(flip, within(ROLL), within(ZOOM).exp(), within(SHIFT, 2), 1 + within(GAIN, 3),
                            within(BRIGHTNESS, 3))


def augmented(examples: Examples, by: Augmentation, keypoint_mirror: Tensor, vertex_mirror: Tensor) -> Examples:
    """The pictures changed, with all that belongs to them."""
    examples = _chosen(by.flip, _mirrored(examples, keypoint_mirror, vertex_mirror), examples)
    moved = _moved(examples, by.roll, by.zoom, by.shift)
    images = (moved.images * by.gain[..., None, None] + by.level[..., None, None]).clamp(0, 1)
    return replace(moved, images=images)


def _mirrored(e: Examples, keypoint_mirror: Tensor, vertex_mirror: Tensor) -> Examples:
    """The other way round: left is right, in the picture and on the animal."""
    sign = e.camera.shift.new_tensor([-1.0, 1.0])
    flip = torch.diag(e.camera.rotation.new_tensor([-1.0, 1, 1]))
    camera = WeakCamera(flip @ e.camera.rotation @ flip, e.camera.scale, e.camera.shift * sign)
    return Examples(e.images.flip(-1), e.masks.flip(-1), (e.keypoints * sign)[:, keypoint_mirror],
                    e.annotated[:, keypoint_mirror], mirror_image(e.vertices, vertex_mirror), camera, e.cluster)


def _chosen(first: Tensor, a: Any, b: Any) -> Any:
    """Of each picture that from a where `first` (N,), else that from b: tensors, or `Rows` of such."""
    if isinstance(a, Tensor):
        return torch.where(first.view(-1, *[1] * (a.ndim - 1)), a, b)
    return type(a)(*(_chosen(first, *pair) for pair in zip(a.values(), b.values(), strict=True)))


def _moved(e: Examples, roll: Tensor, zoom: Tensor, shift: Tensor) -> Examples:
    """Pictures turned by roll (N,), scaled by zoom (N,), then shifted by (N, 2)."""
    turn = about_z(roll)
    linear = turn[:, :2, :2] * zoom[:, None, None]
    back = torch.linalg.inv(linear)
    inverse = torch.cat([back, -back @ shift.unsqueeze(-1)], -1)
    both = torch.cat([e.images, e.masks.unsqueeze(1)], 1)
    grid = functional.affine_grid(inverse, list(both.shape), align_corners=False)
    both = functional.grid_sample(both, grid, align_corners=False)
    camera = WeakCamera(turn @ e.camera.rotation, e.camera.scale * zoom,
                        (linear @ e.camera.shift.unsqueeze(-1)).squeeze(-1) + shift)
    keypoints = e.keypoints @ linear.mT + shift.unsqueeze(1)
    return Examples(both[:, :3], both[:, 3], keypoints, e.annotated, e.vertices, camera, e.cluster)
