"""Losses of the network's predictions: against the meshes fitted to its pictures, and of its texture flow."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ..geometry.rotations import angle_between
from ..losses import charbonnier
from ..rendering import Renderer
from ..vmr.encoders import heatmap_loss
from ..vmr.model import CategoryModel, Encoding, Hypotheses, Prediction
from ..vmr.texture import barriers, distance_loss, painted, sampled, structure_loss
from .augmentation import Examples
from .perception import Perception

TURN_BOUND, POSITION_BOUND = 0.6, 0.2
"""Radians and crop units at which errors begin to count less and less: under the wrong side of an animal its details
have no meaning."""


def hypotheses_loss(hypotheses: Hypotheses, nearest: Tensor, rotations: Tensor) -> Tensor:
    """(N,): the nearest hypothesis (N,) should be probable, and right."""
    improbability = functional.cross_entropy(hypotheses.logits, nearest, reduction="none")
    return 0.3 * improbability + angle_between(hypotheses.chosen(nearest), rotations)


def landmark_loss(model: CategoryModel, encoding: Encoding, examples: Examples) -> Tensor:
    """Heatmaps against the landmarks of the fitted meshes (N,)."""
    fitted = examples.camera.project(examples.vertices[:, model.landmarks])[..., :2]
    return heatmap_loss(encoding.heatmaps, fitted).mean(-1)


def imitation_losses(prediction: Prediction, examples: Examples) -> dict[str, Tensor]:
    """How far predicted meshes and cameras are off the fitted ones: object units, crop units, radians; (N,) each."""
    predicted = prediction.camera.project(prediction.vertices)[..., :2]
    fitted = examples.camera.project(examples.vertices)[..., :2]
    apart = charbonnier((predicted - fitted).square().sum(-1), 0.01)
    return {
        "vertices": charbonnier((prediction.vertices - examples.vertices).square().sum(-1), 0.01).mean(-1),
        "projection": _bounded(apart, POSITION_BOUND).mean(-1),
        "rotation": _bounded(angle_between(prediction.camera.rotation, examples.camera.rotation), TURN_BOUND),
        "cluster": functional.cross_entropy(prediction.state.basis_logits, examples.cluster, reduction="none"),
    }


def _bounded(error: Tensor, bound: Tensor | float) -> Tensor:
    """Errors as they are while they are small, never more than the bound."""
    return error / (1 + error / bound)


def texture_losses(model: CategoryModel, code: Tensor, prediction: Prediction, examples: Examples,
                   renderer: Renderer, perception: Perception | None) -> dict[str, Tensor]:
    """How far meshes that the flow paints are off the pictures (N,); no gradient reaches mesh and camera.

    perception  the distance; None for that of colours and slopes, which needs no weights
    """
    size = examples.masks.shape[-1]
    resting = Prediction(prediction.state.detached(), prediction.base.detach(), prediction.vertices.detach())
    flow = model.texture_flow(code.detach(), resting, renderer, size)
    painting = painted(model.shape, model.texels, resting.vertices, resting.camera, sampled(examples.images, flow),
                       renderer, size)
    distance = perception or structure_loss
    return {"texture": distance(painting, examples.images, examples.masks),
            "texture_distance": distance_loss(flow, barriers(examples.masks))}
