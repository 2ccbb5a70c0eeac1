"""The shape of a category: a base shape blended from shape bases, and handles that deform it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..geometry import sphere as spheres
from ..geometry.body import parts_of_body, spread_out
from ..geometry.rotations import from_axis_angle
from ..geometry.smoothing import Preconditioner
from ..geometry.topology import cotangent_weights, edges_of, opposite_edges

HANDLE_SIZE = 9
"""Numbers that say what a handle does: axis-angle in radians, logarithms of three scales, shift in object units."""

HANDLES_PER_VERTEX = 4
REACH = 0.7
"""Of a handle's hold, over the mean distance between neighbouring handles."""


@dataclass(frozen=True)
class Handles:
    """H places of the body and the share each has in each vertex."""

    weights: Tensor
    """(V, H), rows sum to 1."""
    twin: Tensor
    """(H,) int64, each handle's mirror image; itself on the plane."""

    @staticmethod
    def spread_over(vertices: Tensor, sphere: spheres.Sphere, count: int) -> Handles:
        """About `count` handles, far from one another on a body (V, 3), in mirrored pairs or on the mirror plane."""
        faces, mirror = torch.from_numpy(sphere.faces), torch.from_numpy(sphere.mirror)
        parts = parts_of_body(vertices, torch.from_numpy(sphere.vertices).float(), faces)
        chosen = spread_out(parts.features, parts.central, mirror, count)
        apart = torch.cdist(parts.features, parts.features[chosen])
        between = apart[chosen] + torch.eye(len(chosen)) * 1e9
        logits = -(apart / (REACH * between.amin(1).mean())).square()
        kept = logits.topk(min(HANDLES_PER_VERTEX, len(chosen)), 1).indices
        logits = torch.full_like(logits, -torch.inf).scatter(1, kept, logits.gather(1, kept))
        partner = torch.where(parts.central, torch.arange(len(vertices)), mirror)[chosen]
        twin = (partner[:, None] == chosen).int().argmax(1)
        weights = logits.softmax(1)
        return Handles((weights + weights[mirror][:, twin]) / 2, twin)


class CategoryShape(nn.Module):
    """Shape bases on the sphere and the handles that deform what is blended from them (VMR 3.1).

    What is optimised is the smoothing preconditioner's u of each basis, so that shapes stay smooth while single
    pictures pull at them.
    """

    faces: Tensor
    """(F, 3) int64."""
    places: Tensor
    """(V, 3) of the vertices on the unit sphere."""
    mirror: Tensor
    """(V,) int64."""
    edges: Tensor
    """(E, 2)."""
    opposite: Tensor
    """(F, 3), for cotangent weights."""
    weights: Tensor
    """(V, H)."""
    twin: Tensor
    """(H,)."""

    def __init__(self, bases: Tensor, sphere: spheres.Sphere, handles: Handles, strength: float):
        """bases (N_b, V, 3), object units."""
        super().__init__()
        device = bases.device
        self.preconditioner = Preconditioner(sphere.faces, bases.shape[1], strength, device)
        self.latent = nn.Parameter(self.preconditioner.latent(bases))
        edges = edges_of(sphere.faces)
        for name, array in {"faces": sphere.faces, "mirror": sphere.mirror, "edges": edges,
                            "opposite": opposite_edges(sphere.faces, edges)}.items():
            self.register_buffer(name, torch.from_numpy(array).to(device), persistent=False)
        self.register_buffer("places", torch.from_numpy(sphere.vertices).float().to(device))
        self.register_buffer("weights", handles.weights.to(device))
        self.register_buffer("twin", handles.twin.to(device))

    @property
    def sphere(self) -> spheres.Sphere:
        """Where on the sphere the vertices are."""
        return spheres.Sphere(self.places.cpu().numpy().astype(np.float64), self.faces.cpu().numpy(),
                              self.mirror.cpu().numpy())

    def bases(self) -> Tensor:
        """(N_b, V, 3), each symmetric at x = 0."""
        vertices = self.preconditioner.vertices(self.latent)
        return (vertices + spheres.mirror_image(vertices, self.mirror)) / 2

    def base(self, shares: Tensor) -> Tensor:
        """Base shapes (N, V, 3) from the bases' shares (N, N_b): V_base = sum of alpha_i V_i (VMR 3.1)."""
        return torch.einsum("nb,bvc->nvc", shares, self.bases())

    def deformed(self, base: Tensor, handles: Tensor) -> Tensor:
        """Base shapes (N, V, 3) moved by handles (N, H, HANDLE_SIZE): each turns and scales about its own centre, then
        shifts; vertices follow the weighted mean of theirs (N, V, 3)."""
        turn, scale, shift = handles.split(3, -1)
        centre = (self.weights / self.weights.sum(0)).T @ base
        linear = from_axis_angle(turn) * scale.exp().unsqueeze(-2)
        offset = centre + shift - (linear @ centre.unsqueeze(-1)).squeeze(-1)
        blended = self.weights @ torch.cat([linear.flatten(-2), offset], -1)
        return (blended[..., :9].unflatten(-1, (3, 3)) @ base.unsqueeze(-1)).squeeze(-1) + blended[..., 9:]

    def cotangents(self, base: Tensor) -> Tensor:
        """(..., E) cotangent weights of base shapes (..., V, 3), constants of the derivative."""
        return cotangent_weights(base.detach(), self.faces, self.opposite, len(self.edges))


def spread_of(shape: Tensor) -> float:
    """The longest extent of a shape (V, 3), object units."""
    return float((shape.amax(0) - shape.amin(0)).max())


def ellipsoid(sphere: spheres.Sphere, radii: tuple[float, float, float]) -> Tensor:
    """(V, 3): the sphere scaled along x, y and z."""
    return torch.from_numpy(sphere.vertices * radii).float()


def shares_of(logits: Tensor) -> Tensor:
    """Shares (N, N_b) of shape bases: a softmax, so that base shapes lie between those seen."""
    return logits.softmax(-1)


def evenly(count: int, bases: int) -> Tensor:
    """Equal shares (count, bases)."""
    return torch.full((count, bases), 1 / bases)
