"""What the network is told of its mistakes: against the meshes fitted to its pictures, and against the pictures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry.rotations import angle_between
from ..losses import charbonnier
from ..rendering import Renderer
from ..vmr.model import CategoryModel, Hypotheses, Prediction
from ..vmr.objective import Targets, terms
from .augmentation import Examples


def hypotheses_loss(hypotheses: Hypotheses, anchors: Tensor, rotations: Tensor) -> Tensor:
    """(N,): the hypothesis whose heading is nearest to the truth (N, 3, 3) should be believed, and should be right."""
    nearest = angle_between(anchors, rotations.unsqueeze(1)).argmin(1)
    disbelief = functional.cross_entropy(hypotheses.logits, nearest, reduction="none")
    return 0.3 * disbelief + angle_between(hypotheses.chosen(nearest), rotations)


def imitation_losses(prediction: Prediction, examples: Examples) -> dict[str, Tensor]:
    """How far predicted meshes and cameras are off the fitted ones: object units, crop units, radians; (N,) each."""
    seen = prediction.camera.project(prediction.vertices)[..., :2]
    fitted = examples.camera.project(examples.vertices)[..., :2]
    return {
        "vertices": charbonnier((prediction.vertices - examples.vertices).square().sum(-1), 0.01).mean(-1),
        "projection": charbonnier((seen - fitted).square().sum(-1), 0.01).mean(-1),
        "rotation": angle_between(prediction.camera.rotation, examples.camera.rotation),
        "cluster": functional.cross_entropy(prediction.state.shares, examples.cluster, reduction="none"),
    }


def picture_losses(model: CategoryModel, prediction: Prediction, affinity: Tensor | None, targets: Targets,
                   renderer: Renderer) -> dict[str, Tensor]:
    """The objective's terms (N,) of predictions."""
    return terms(model.shape, prediction.base, prediction.vertices, prediction.camera, affinity, targets, renderer)


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """(N,) sum; a term without a weight does not count."""
    return torch.stack([weights[name] * value for name, value in losses.items() if weights.get(name)]).sum(0)
