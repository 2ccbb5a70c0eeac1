"""The base shape of a category laid on the shape of one subject, as a fit without a category model found it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .. import losses
from ..bodies.category import HANDLE_RATES, HANDLE_SIZE, CategoryShape, basis_weights, evenly, unevenness
from ..fitting.optimise import descend, falling
from ..geometry.arap import arap_energy
from ..metrics.chamfer import align, chamfer_distance, sample_surface

SAMPLES = 1500
"""Points spread over the subject's shape."""
ITERATIONS = 200
LOGIT_RATE = 0.05
ROUNDING = 0.01
"""Object units below which a distance counts like its square."""
WEIGHTS = {"distance": 20.0, "arap": 2.0, "proportion": 0.3}


def laid_on(shape: CategoryShape, vertices: np.ndarray, faces: np.ndarray) -> Tensor:
    """A base shape (1, V, 3) of the category, in its object units, that has the form of a subject at rest.

    vertices, faces  (N, 3), (F, 3) of the subject, upright, its front -y or y, which a fit from the clip alone cannot
                     tell: a similarity (iterated closest points) lays it on the mean base shape, whichever way suits
                     better, then shape bases and handles carry that over to it
    """
    device = shape.faces.device
    logits = torch.zeros(1, len(shape.latent), device=device, requires_grad=True)
    handles = torch.zeros(1, shape.weights.shape[1], HANDLE_SIZE, device=device, requires_grad=True)
    with torch.no_grad():
        mean = shape.base(evenly(1, len(shape.latent)).to(device))[0].cpu().numpy()
    own, surface = sample_surface(mean, shape.faces.cpu().numpy(), SAMPLES), sample_surface(vertices, faces, SAMPLES)
    laid = [align(turned, own)(turned) for turned in (surface, surface * [-1, -1, 1])]
    target = torch.from_numpy(min(laid, key=lambda points: chamfer_distance(points, own))).float().to(device)

    def evaluate(_: int) -> dict[str, Tensor]:
        base = shape.base(basis_weights(logits))
        moved = shape.deformed(base, handles)
        apart = torch.cdist(moved[0], target)
        there, back = (losses.charbonnier(apart.amin(way).square(), ROUNDING).mean() for way in (0, 1))
        return {"distance": there + back, "proportion": unevenness(shape, handles).mean(),
                "arap": arap_energy(base, moved, shape.edges, shape.cotangents(base)).mean()}

    descend([{"params": [logits], "lr": LOGIT_RATE}, {"params": [handles], "lr": HANDLE_RATES[0]}], evaluate,
            lambda step: WEIGHTS, ITERATIONS, lambda step: falling(step / ITERATIONS, 0.0))
    with torch.no_grad():
        return shape.deformed(shape.base(basis_weights(logits)), handles)
