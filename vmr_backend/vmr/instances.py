"""The subjects of pictures as parameters of their own, and the descent that fits a few of many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.rotations import from_axis_angle
from ..geometry.smoothing import BETAS
from ..losses import charbonnier
from .objective import WeakCamera
from .shape import HANDLE_SIZE, CategoryShape

TURN_RATE, PLACE_RATE, SHAPE_RATE = 0.01, 0.01, 0.1
"""Radians, crop units (also of the scale's logarithm), and the rate of `UniformAdam`; measured."""
MIRRORED = (1, -1, -1) + (0,) * 3 + (-1, 1, 1)
"""Signs of a handle's turn, scales and shift in the mirror at x = 0; scales have a term of their own."""
STEPPING = 0.3
"""Radians or object units from which on a handle that does otherwise than its twin counts less and less."""
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


def unevenness(shape: CategoryShape, handles: Tensor) -> Tensor:
    """By how much the two sides of a body differ in scale (N,): a leg that seems short is turned away, not short."""
    scales = handles[..., 3:6]
    return (scales - scales[:, shape.twin]).square().sum(-1).mean(-1)


def lopsidedness(shape: CategoryShape, handles: Tensor) -> Tensor:
    """By how much the two sides of a body turn and shift otherwise than in a mirror (N,): what the camera does not see
    does, by default, as its twin does. A leg that steps out counts by its distance, not by the square of that."""
    mirrored = handles.new_tensor(MIRRORED)
    own = handles * mirrored.abs()
    return charbonnier((own - mirrored * handles[:, shape.twin]).square().sum(-1), STEPPING).mean(-1)


class RowAdam:
    """Adam for tables (N, ...) of which each step sees a few rows: the others rest, with their moments."""

    def __init__(self, tables: list[tuple[Tensor, Tensor]]):
        """Tables with their rates, which broadcast over rows."""
        self._tables = [(table, rate, torch.zeros_like(table), torch.zeros_like(table)) for table, rate in tables]
        first = tables[0][0]
        self._steps = first.new_zeros(len(first))

    @torch.no_grad()
    def step(self, rows: Tensor, gradients: list[Tensor], factor: float = 1.0) -> None:
        """Rows are each named once. factor  of all rates"""
        self._steps[rows] += 1
        for (table, rate, first, second), gradient in zip(self._tables, gradients, strict=True):
            steps = self._steps[rows].view(-1, *[1] * (table.ndim - 1))
            first[rows] = BETAS[0] * first[rows] + (1 - BETAS[0]) * gradient
            second[rows] = BETAS[1] * second[rows] + (1 - BETAS[1]) * gradient.square()
            mean, spread = first[rows] / (1 - BETAS[0] ** steps), second[rows] / (1 - BETAS[1] ** steps)
            table[rows] -= factor * rate * mean / (spread.sqrt() + 1e-8)
