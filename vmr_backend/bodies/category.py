"""The body of a category: a base shape blended from shape bases, and handles that deform it (VMR 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import losses
from ..fitting.batch import FrameBatch
from ..fitting.body import Constraints, Pose
from ..fitting.optimise import RowAdam, UniformAdam, rows_of
from ..geometry import sphere as spheres
from ..geometry.arap import arap_energy
from ..geometry.body import parts_of_body, spread_out, twins_of
from ..geometry.rotations import from_axis_angle
from ..geometry.smoothing import Preconditioner
from ..geometry.topology import cotangent_weights, edges_of, opposite_edges

HANDLE_SIZE = 9
"""Numbers of a handle: axis-angle in radians, logarithms of three scales, shift in object units."""

HANDLES_PER_VERTEX = 4
REACH = 0.7
"""Of a handle's hold, over the mean distance between neighbouring handles."""

SHAPE_RATE = 0.1
"""Learning rate of base shapes, of `UniformAdam`; measured."""
MIRRORED = (1, -1, -1) + (0,) * 3 + (-1, 1, 1)
"""Signs of a handle's turn, scales and shift in the mirror at x = 0; scales have a term of their own."""
STEPPING = 0.3
"""Radians or object units from which on a handle that does otherwise than its twin counts less and less."""
HANDLE_RATES = (0.03,) * 3 + (0.01,) * 3 + (0.01,) * 3
"""Of a handle's turn, scales and shift."""


@dataclass(frozen=True)
class Handles:
    """H handles of a body and the weight of each in each vertex."""

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
        twin = twins_of(chosen, parts.central, mirror)
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
        return spheres.sphere_of(self.places, self.faces, self.mirror)

    def bases(self) -> Tensor:
        """(N_b, V, 3), each symmetric at x = 0."""
        vertices = self.preconditioner.vertices(self.latent)
        return (vertices + spheres.mirror_image(vertices, self.mirror)) / 2

    def base(self, weights: Tensor) -> Tensor:
        """Base shapes (N, V, 3) from weights (N, N_b) of the bases: V_base = sum of alpha_i V_i (VMR 3.1)."""
        return torch.einsum("nb,bvc->nvc", weights, self.bases())

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


class CategoryBody(nn.Module):
    """One subject of a category: a base shape of its own, and in each of T frames handles that deform it. One
    hypothesis."""

    rigid, free_hidden, between = False, False, None

    def __init__(self, shape: CategoryShape, handles: Tensor, arrays: Mapping[str, Any]):
        """shape    of a single basis, the subject's base shape
        handles  (T, H, HANDLE_SIZE) that the fit starts from
        arrays   what a result holds of the category, whatever the subject"""
        super().__init__()
        self.shape, self._arrays = shape, arrays
        self.handles = nn.Parameter(handles.flatten(1).clone())

    @property
    def faces(self) -> Tensor:
        return self.shape.faces

    def posed(self, frames: Tensor, constraints: Constraints) -> Pose:
        base = self.shape.base(self.shape.latent.new_ones(1, 1))
        handles = rows_of(self.handles, frames).unflatten(1, (-1, HANDLE_SIZE))
        return Pose(base, self.shape.deformed(base.expand(len(frames), -1, -1), handles)[None], handles)

    def colours(self, constraints: Constraints) -> None:
        return None

    def regularisers(self, pose: Pose, points: Tensor, some: Tensor | None, batch: FrameBatch) -> dict[str, Tensor]:
        shape, base, handles = self.shape, pose.rest, pose.motion
        each = {"arap": arap_energy(base, pose.vertices[0], shape.edges, shape.cotangents(base[0])),
                "handle": handles.square().sum(-1).mean(-1), "proportion": unevenness(shape, handles),
                "mirror": lopsidedness(shape, handles)}
        if batch.run:
            each["temporal"] = losses.acceleration_loss(batch.in_runs(handles.flatten(1))) / handles.shape[1]
        return {name: value.mean()[None] for name, value in each.items()} | {
            "laplacian": losses.laplacian_loss(base, shape.edges)}

    def parameter_groups(self) -> list[dict[str, Any]]:
        rates = self.handles.new_tensor(HANDLE_RATES).repeat(self.handles.shape[1] // HANDLE_SIZE)
        return [{"params": [self.shape.latent], "lr": SHAPE_RATE, "optimiser": UniformAdam},
                {"params": [self.handles], "lr": rates, "optimiser": RowAdam}]

    def whole(self) -> tuple[Tensor, Tensor]:
        every = torch.arange(len(self.handles), device=self.faces.device)
        pose = self.posed(every, Constraints())
        return pose.rest[0], pose.vertices[0]

    def arrays(self, scale: Tensor) -> dict[str, Any]:
        return dict(self._arrays)


def ellipsoid(sphere: spheres.Sphere, radii: tuple[float, float, float]) -> Tensor:
    """(V, 3): the sphere scaled along x, y and z."""
    return torch.from_numpy(sphere.vertices * radii).float()


def basis_weights(logits: Tensor) -> Tensor:
    """Weights (N, N_b) of shape bases from logits: a softmax, so that base shapes lie between those seen."""
    return logits.softmax(-1)


def evenly(count: int, bases: int) -> Tensor:
    """Equal weights (count, bases)."""
    return torch.full((count, bases), 1 / bases)


def unevenness(shape: CategoryShape, handles: Tensor) -> Tensor:
    """By how much the two sides of a body differ in scale (N,): a leg that seems short is turned away, not short."""
    scales = handles[..., 3:6]
    return (scales - scales[:, shape.twin]).square().sum(-1).mean(-1)


def lopsidedness(shape: CategoryShape, handles: Tensor) -> Tensor:
    """By how much the two sides of a body turn and shift otherwise than in a mirror (N,): what the camera does not see
    does, by default, as its twin does. A leg that steps out counts by its distance, not by the square of that."""
    mirrored = handles.new_tensor(MIRRORED)
    own = handles * mirrored.abs()
    return losses.charbonnier((own - mirrored * handles[:, shape.twin]).square().sum(-1), STEPPING).mean(-1)
