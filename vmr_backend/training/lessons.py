"""What the network is told of its mistakes: against the meshes fitted to its pictures, and against the pictures."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from ..geometry.rotations import angle_between
from ..losses import charbonnier
from ..rendering import Renderer
from ..vmr.model import CategoryModel, FirstLook, Hypotheses, Prediction
from ..vmr.objective import Targets, terms
from ..vmr.texture import barriers, distance_loss, painted, sampled, structure_loss
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
                   compared: Tensor, renderer: Renderer) -> dict[str, Tensor]:
    """The objective's terms (N,) of predictions."""
    return terms(model.shape, prediction.base, prediction.vertices, prediction.camera, affinity, targets, renderer,
                 compared)


def texture_losses(model: CategoryModel, first: FirstLook, prediction: Prediction, examples: Examples,
                   renderer: Renderer) -> dict[str, Tensor]:
    """How well the flow paints the meshes (N,); what it learns leaves mesh and camera alone."""
    size = examples.masks.shape[-1]
    resting = Prediction(prediction.state.detached(), prediction.base.detach(), prediction.vertices.detach())
    flow = model.texture_flow(first.code.detach(), resting, renderer, size)
    painting = painted(model.shape, model.texels, resting.vertices, resting.camera, sampled(examples.images, flow),
                       renderer, size)
    return {"texture": structure_loss(painting, examples.images, examples.masks),
            "texture_distance": distance_loss(flow, barriers(examples.masks))}
