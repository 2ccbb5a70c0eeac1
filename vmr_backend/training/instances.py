"""The mesh of each training picture, fitted to its mask and keypoints by descent, and the category's mean shape.

CMR learns a mean shape and instance meshes through its network. Parameters of their own for every picture find them in
a fraction of the time; the network then learns to tell them from pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.rotations import from_axis_angle
from ..geometry.smoothing import BETAS, UniformAdam
from ..losses import laplacian_loss, weighted
from ..rendering import Renderer
from ..vmr.objective import Targets, WeakCamera, terms
from ..vmr.shape import HANDLE_SIZE, CategoryShape

TURN_RATE, PLACE_RATE, SHAPE_RATE = 0.01, 0.01, 0.1
"""Radians, crop units (also of the scale's logarithm), and the rate of `UniformAdam`; measured."""
HANDLE_RATES = (0.03,) * 3 + (0.01,) * 3 + (0.01,) * 3
"""Of a handle's turn, scales and shift."""


@dataclass(frozen=True)
class Instances:
    """What is fitted for each of N pictures."""

    rotation: Tensor
    """(N, 3, 3) that the fit starts from, object to camera."""
    turn: Tensor
    """(N, 3) axis-angle after it, in the camera's axes."""
    place: Tensor
    """(N, 3) shift in crop units and the scale's logarithm."""
    handles: Tensor
    """(N, H, HANDLE_SIZE)."""

    @staticmethod
    def of(camera: WeakCamera, handles: int) -> Instances:
        """Undeformed ones with these cameras."""
        rest = camera.rotation.new_zeros(len(camera.rotation), handles, HANDLE_SIZE)
        place = torch.cat([camera.shift, camera.scale.log()[:, None]], 1)
        return Instances(camera.rotation, torch.zeros_like(place), place, rest)

    @property
    def camera(self) -> WeakCamera:
        return WeakCamera(from_axis_angle(self.turn) @ self.rotation, self.place[:, 2].exp(), self.place[:, :2])

    def __getitem__(self, chosen: Tensor) -> Instances:
        return Instances(self.rotation[chosen], self.turn[chosen], self.place[chosen], self.handles[chosen])


def descend(shape: CategoryShape, instances: Instances, targets: Targets, affinity: Tensor | None,
            batches: Iterable[Tensor], weights: Mapping[str, float], renderer: Renderer, learn_shape: bool,
            progress: Callable[[dict[str, Tensor]], None]) -> None:
    """Improve instances in place, a batch (n,) of them at each step; also the shape's single basis if `learn_shape`."""
    tables = [(instances.turn, TURN_RATE), (instances.place, PLACE_RATE), (instances.handles, HANDLE_RATES)]
    optimiser = RowAdam([(table, table.new_tensor(rate)) for table, rate in tables])
    shared = UniformAdam([{"params": [shape.latent], "lr": SHAPE_RATE}])
    for batch in batches:
        leaves = [table[batch].requires_grad_() for table, _ in tables]
        some = Instances(instances.rotation[batch], *leaves)
        base = shape.base(instances.turn.new_ones(1, 1))
        base = (base if learn_shape else base.detach()).expand(len(batch), -1, -1)
        found = terms(shape, base, shape.deformed(base, some.handles), some.camera, affinity, targets[batch], renderer)
        found["handle"] = some.handles.square().sum(-1).mean(-1)
        found["proportion"] = _unevenness(shape, some.handles)
        if learn_shape:
            found["laplacian"] = laplacian_loss(base[:1], shape.edges)
        total = weighted(found, weights)
        shape.latent.grad = None
        total.backward()
        optimiser.step(batch, [leaf.grad for leaf in leaves])
        if learn_shape:
            shared.step()
        progress({name: value.detach() for name, value in found.items()})


def _unevenness(shape: CategoryShape, handles: Tensor) -> Tensor:
    """By how much the two sides of a body differ in scale (N,): a leg that seems short is turned away, not short."""
    scales = handles[..., 3:6]
    return (scales - scales[:, shape.twin]).square().sum(-1).mean(-1)


class RowAdam:
    """Adam for tables (N, ...) of which each step sees a few rows: the others rest, with their moments."""

    def __init__(self, tables: list[tuple[Tensor, Tensor]]):
        """Tables with their rates, which broadcast over rows."""
        self._tables = [(table, rate, torch.zeros_like(table), torch.zeros_like(table)) for table, rate in tables]
        first = tables[0][0]
        self._steps = first.new_zeros(len(first))

    @torch.no_grad()
    def step(self, rows: Tensor, gradients: list[Tensor]) -> None:
        self._steps[rows] += 1
        for (table, rate, first, second), gradient in zip(self._tables, gradients, strict=True):
            steps = self._steps[rows].view(-1, *[1] * (table.ndim - 1))
            first[rows] = BETAS[0] * first[rows] + (1 - BETAS[0]) * gradient
            second[rows] = BETAS[1] * second[rows] + (1 - BETAS[1]) * gradient.square()
            mean, spread = first[rows] / (1 - BETAS[0] ** steps), second[rows] / (1 - BETAS[1] ** steps)
            table[rows] -= rate * mean / (spread.sqrt() + 1e-8)
