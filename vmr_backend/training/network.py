"""The training of the network, on pictures and the meshes fitted to them, in one process or many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..checkpoint import moments_of, restore_moments, under
from ..fitting.optimise import falling
from ..job import BadInput
from ..losses import weighted
from ..rendering import Renderer
from ..rows import Rows
from ..vmr.model import CategoryModel, nearest_hypotheses
from ..vmr.objective import INSIDE, Targets, compared_of, samples_inside, terms
from .augmentation import Augmentation, Examples, augmented
from .losses import hypotheses_loss, imitation_losses, landmark_loss, texture_losses
from .perception import Perception

IMITATION = {"vertices": 2.0, "projection": 4.0, "rotation": 0.5, "cluster": 0.05}
"""Weights of the losses against fitted meshes; measured."""

PREFIX = "learner."
"""Of the names of a trainer's tensors in checkpoints."""

LANDMARK_WEIGHT = 0.5

PICTURE_WEIGHT = 2.5
"""Of the objective's terms, beside the losses against fitted meshes: those are a beginning, pictures are true."""

TEXTURE_EVERY = 4
"""Steps from one with texture terms to the next: texture flow converges sooner than the mesh, and its terms cost a
fifth of a step."""

WARM_UP, FINAL_RATE = 200, 0.02
"""Steps until the full rate is reached, of a long training, and what is left of it at the end, along a cosine."""

CLIP = 1.0
"""Largest norm of a gradient."""


@dataclass(frozen=True)
class TrainingPlan:
    """How long, how fast and by which terms a network is trained."""

    steps: int
    batch: int
    rate: float
    refinement_from: float
    """Fraction of the steps after which refinement is trained, too."""
    pictures_from: float
    """Fraction of the steps after which predictions are compared with the pictures themselves, too."""
    weights: Mapping[str, float]
    """Of the objective's terms."""


@dataclass(frozen=True)
class Draws(Rows):
    """Random numbers for N pictures of a step, but for their augmentation, before they are dealt out to processes."""

    inside: Tensor
    """(N, INSIDE) in 0..1, which pick the samples inside each mask."""
    compared: Tensor
    """(N,) how much ARAP's energy of each counts."""

    @staticmethod
    def draw(count: int, random: torch.Generator) -> Draws:
        return Draws(torch.rand(count, INSIDE, generator=random), compared_of(count, random))


class BatchLoss(nn.Module):
    """The loss of a batch; a module, so that gradients are averaged over processes."""

    def __init__(self, model: CategoryModel, affinity: Tensor | None, renderer: Renderer, weights: Mapping[str, float],
                 perception: Perception | None = None):
        super().__init__()
        self.model, self.perception, self._renderer = model, perception, renderer
        self._affinity, self._weights = affinity, weights

    def forward(self, examples: Examples, draws: Draws, refinement: bool, pictures: bool,
                texture: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Its mean, and those of its parts; the last three choose among these."""
        model = self.model
        initial = model.initial_prediction(examples.images, examples.masks)
        nearest = nearest_hypotheses(model.anchors, examples.camera.rotation)
        parts = {"hypotheses": hypotheses_loss(initial.hypotheses, nearest, examples.camera.rotation),
                 "landmarks": landmark_loss(model, initial.encoding, examples)}
        loss = parts["hypotheses"].mean() + LANDMARK_WEIGHT * parts["landmarks"].mean()
        # Details are trained under the right camera; corrections under the one that will be chosen.
        predictions = [model.predict(initial.state_under(nearest))]
        if refinement:
            _, *refined = model.refinements(initial.encoding, model.predict(initial.state), self._renderer)
            predictions += refined
        for prediction in predictions:
            imitated = imitation_losses(prediction, examples)
            parts |= imitated
            loss = loss + weighted(imitated, IMITATION)
        if pictures:
            targets = targets_of(examples, draws.inside)
            for prediction in predictions[1:] or predictions:
                found = terms(model.shape, prediction.base, prediction.vertices, prediction.camera, self._affinity,
                              targets, self._renderer, draws.compared)
                parts |= found
                loss = loss + PICTURE_WEIGHT * weighted(found, self._weights)
        if texture:
            painted = texture_losses(model, initial.encoding.code, predictions[-1], examples, self._renderer,
                                     self.perception)
            parts |= painted
            loss = loss + weighted(painted, self._weights)
        return loss, {name: value.detach().mean() for name, value in parts.items()}


def targets_of(examples: Examples, chance: Tensor) -> Targets:
    """For the objective; chance (N, INSIDE) in 0..1 picks the samples inside masks."""
    return Targets(examples.masks, samples_inside(examples.masks, chance), examples.keypoints, examples.annotated)


def rate_factor(step: int, steps: int) -> float:
    """Of the learning rate at a step: a warm-up, at most a tenth of the steps, then half a cosine."""
    return min(1.0, (step + 1) / min(WARM_UP, max(1, steps // 10))) * falling(step / steps, FINAL_RATE)


class Trainer:
    """A model in training, its optimiser and the order of its pictures; goes on from any step."""

    def __init__(self, model: CategoryModel, affinity: Tensor | None, examples: Examples, keypoint_mirror: Tensor,
                 plan: TrainingPlan, renderer: Renderer, seed: int, perception: Perception | None = None):
        self.model, self.plan, self.step = model, plan, 0
        self._examples, self._keypoint_mirror, self._seed = examples, keypoint_mirror, seed
        loss = BatchLoss(model, affinity, renderer, plan.weights, perception)
        self._rank, self._processes = process()
        self._loss = DistributedDataParallel(loss, find_unused_parameters=True) if self._processes > 1 else loss
        slow = [model.shape.latent]
        fast = [p for p in model.parameters() if p is not model.shape.latent]
        # The shape is the same for all pictures: it moves slowly.
        self.optimiser = torch.optim.AdamW([{"params": fast, "base": plan.rate},
                                            {"params": slow, "base": 0.1 * plan.rate, "weight_decay": 0.0}],
                                           lr=plan.rate, betas=(0.9, 0.98), weight_decay=1e-4)

    @property
    def _count(self) -> int:
        """Of a step's pictures, over all processes."""
        return min(self.plan.batch, len(self._examples.images))

    def batch(self) -> tuple[Examples, Draws]:
        """This process's part of the step's pictures, augmented. The same whatever the number of processes."""
        random = torch.Generator().manual_seed(self._seed * 1_000_003 + self.step)
        chosen = torch.randperm(len(self._examples.images), generator=random)[:self._count]
        augmentation, draws = Augmentation.draw(self._count, random), Draws.draw(self._count, random)
        own, device = slice(self._rank, None, self._processes), self.model.anchors.device
        examples = augmented(self._examples[chosen[own]].to(device), augmentation[own].to(device),
                             self._keypoint_mirror.to(device), self.model.shape.mirror)
        return examples, draws[own].to(device)

    def update(self) -> dict[str, float]:
        """One step; the parts of its loss. BadInput where that is not finite."""
        at = self.step / self.plan.steps
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * rate_factor(self.step, self.plan.steps)
        examples, draws = self.batch()
        pictures = at >= self.plan.pictures_from
        loss, parts = self._loss(examples, draws, at >= self.plan.refinement_from, pictures,
                                 pictures and self.step % TEXTURE_EVERY == 0)
        if not torch.isfinite(loss):
            raise BadInput(f"learning_rate: found {self.plan.rate:g}, with which the training diverged at step "
                           f"{self.step}; needs a lower one")
        self.optimiser.zero_grad(set_to_none=True)
        # Gradients are averaged over processes, some of which may have a picture more than others.
        (loss * (len(examples.images) * self._processes / self._count)).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimiser.step()
        self.step += 1
        return {name: float(value) for name, value in parts.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that `restore` needs to go on, by names that start with PREFIX."""
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        found |= {f"optimiser.{name}": value for name, value in moments_of(self.optimiser).items()}
        return {PREFIX + name: value.detach().cpu() for name, value in found.items()}

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on where `tensors` were taken, after so many steps."""
        self.model.load_state_dict(under(PREFIX + "model.", tensors))
        restore_moments(self.optimiser, under(PREFIX + "optimiser.", tensors))
        self.step = step


def process() -> tuple[int, int]:
    """Which of how many processes this is."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
