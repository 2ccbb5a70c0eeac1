"""The parts of a body made from a sphere: what belongs to both its sides, and points far from one another on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .topology import winding_numbers

CENTRAL_WIDTH = 0.4
"""Of the body's half width: only what lies nearer to the mirror plane may be a part of both sides. Further out a pair
of legs, which a rigid shape melts into one, would never come apart."""

BODY_RADIUS = 0.35
"""Object units; a body whose longest extent is near 1 is twice that across on the average."""


@dataclass(frozen=True)
class BodyParts:
    """What each of V vertices belongs to."""

    held: Tensor
    """(V, 3) object units, on the mirror plane for a part of both sides."""
    apart: Tensor
    """(V, 3) on the unit sphere, likewise."""
    central: Tensor
    """(V,) bool, a part of both sides."""

    @property
    def features(self) -> Tensor:
        """(V, 6) whose distances separate parts: two legs stand side by side in space, yet far apart on the sphere."""
        return torch.cat([self.held / BODY_RADIUS, self.apart / 2], 1)


def parts_of_body(rest: Tensor, positions: Tensor, faces: Tensor) -> BodyParts:
    """Of a mesh (V, 3) with its vertices' positions (V, 3) on the unit sphere, mirror plane x = 0."""
    plane = rest.new_tensor([0.0, 1.0, 1.0])
    middle = rest * plane
    # A left vertex and its right image belong to one part where the body fills the space between them.
    narrow = rest[:, 0].abs() < CENTRAL_WIDTH * rest[:, 0].abs().max()
    central = narrow.masked_scatter(narrow, winding_numbers(middle[narrow], rest, faces) > 0.5)
    return BodyParts(torch.where(central[:, None], middle, rest),
                     torch.where(central[:, None], positions * plane, positions), central)


def twins_of(chosen: Tensor, central: Tensor, mirror: Tensor) -> Tensor:
    """Which of chosen vertices (C,) is the mirror image (V,) of each, itself where central (V,): (C,) indices."""
    partner = torch.where(central[chosen], chosen, mirror[chosen])
    return (partner[:, None] == chosen).int().argmax(1)


def spread_out(points: Tensor, central: Tensor, mirror: Tensor, count: int) -> Tensor:
    """Indices (about `count`,) of points (V, C) that lie far from one another: limbs get theirs, unlike with K-means.

    A point that is not central (V,) brings its mirror image (V,) along, so that there may be one more than asked for.
    """
    chosen: list[int] = []
    distance = (points - points.mean(0)).norm(dim=1)
    while len(chosen) < count:
        found = int(distance.argmax())
        new = [found] if central[found] else sorted({found, int(mirror[found])})
        distance = torch.full_like(distance, torch.inf) if not chosen else distance
        for index in new:
            distance = torch.minimum(distance, (points - points[index]).norm(dim=1))
        chosen += new
    return torch.tensor(chosen, device=points.device)
