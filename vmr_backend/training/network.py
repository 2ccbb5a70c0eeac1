"""The training loop: a network learns from pictures and the meshes fitted to them, on one processor or many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..geometry.smoothing import falling
from ..job import BadInput
from ..losses import weighted
from ..rendering import Renderer
from ..vmr.model import CategoryModel, nearest_hypotheses
from ..vmr.objective import INSIDE, Targets, compared_of, places_inside
from .augmentation import Examples, Variation, varied
from .lessons import (
    hypotheses_loss,
    imitation_losses,
    landmark_loss,
    picture_losses,
    texture_losses,
)
from .perception import Perception

IMITATION = {"vertices": 2.0, "projection": 4.0, "rotation": 0.5, "cluster": 0.05}
"""Weights of what is learnt from fitted meshes; measured."""

LEARNER = "learner."
"""What the names of a learner's tensors in a checkpoint begin with."""

LANDMARK_WEIGHT = 0.5

SEEN_WEIGHT = 2.5
"""Of the objective's terms, beside what is learnt from fitted meshes: those are a beginning, pictures are true."""

PAINTED_EVERY = 4
"""Steps from one look at the texture to the next: it is learnt beside the mesh, sooner, and costs a fifth of a step."""

WARM_UP, FINAL_RATE = 200, 0.02
"""Steps until the full rate is reached, of a long training, and what is left of it at the end, along a cosine."""

CLIP = 1.0
"""Largest norm of a gradient."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast a network learns."""

    steps: int
    batch: int
    rate: float
    looking: float
    """Share of the steps after which second looks are taught, too."""
    seeing: float
    """Share of the steps after which predictions are compared with the pictures themselves, too."""
    weights: Mapping[str, float]
    """Of the objective's terms."""


@dataclass(frozen=True)
class Chance:
    """What is drawn for N pictures of a step, but for their variation, before they are dealt out to processes."""

    inside: Tensor
    """(N, INSIDE) in 0..1: which places inside each mask are looked at."""
    compared: Tensor
    """(N,) how much ARAP's energy of each counts."""

    @staticmethod
    def draw(count: int, random: torch.Generator) -> Chance:
        return Chance(torch.rand(count, INSIDE, generator=random), compared_of(count, random))

    def __getitem__(self, chosen) -> Chance:
        return Chance(self.inside[chosen], self.compared[chosen])

    def to(self, device: torch.device) -> Chance:
        return Chance(self.inside.to(device), self.compared.to(device))


class Lesson(nn.Module):
    """One batch and what is to be learnt from it; wrapped whole, so that gradients are averaged over processes."""

    def __init__(self, model: CategoryModel, affinity: Tensor | None, renderer: Renderer, plan: Plan,
                 perception: Perception | None = None):
        super().__init__()
        self.model, self.plan, self.perception, self._renderer = model, plan, perception, renderer
        self._affinity = affinity

    def forward(self, examples: Examples, chance: Chance, looking: bool, seeing: bool,
                painting: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss of a batch, and its parts."""
        model = self.model
        initial = model.initial_prediction(examples.images, examples.masks)
        nearest = nearest_hypotheses(model.anchors, examples.camera.rotation)
        parts = {"hypotheses": hypotheses_loss(initial.hypotheses, nearest, examples.camera.rotation),
                 "landmarks": landmark_loss(model, initial.encoding, examples)}
        loss = parts["hypotheses"].mean() + LANDMARK_WEIGHT * parts["landmarks"].mean()
        # Details are learnt under the right camera; corrections under the one that will be believed.
        predictions = [model.predict(initial.state_under(nearest))]
        if looking:
            _, *refined = model.refinements(initial.encoding, model.predict(initial.state), self._renderer)
            predictions += refined
        for prediction in predictions:
            imitated = imitation_losses(prediction, examples)
            parts |= imitated
            loss = loss + weighted(imitated, IMITATION)
        if seeing:
            targets = targets_of(examples, chance.inside)
            for prediction in predictions[1:] or predictions:
                seen = picture_losses(model, prediction, self._affinity, targets, chance.compared, self._renderer)
                parts |= seen
                loss = loss + SEEN_WEIGHT * weighted(seen, self.plan.weights)
        if painting:
            painted = texture_losses(model, initial.encoding.code, predictions[-1], examples, self._renderer,
                                     self.perception)
            parts |= painted
            loss = loss + weighted(painted, self.plan.weights)
        return loss, {name: value.detach().mean() for name, value in parts.items()}


def targets_of(examples: Examples, chance: Tensor) -> Targets:
    """What the objective compares predictions with."""
    return Targets(examples.masks, places_inside(examples.masks, chance), examples.keypoints, examples.annotated)


def rate_factor(step: int, steps: int) -> float:
    """Of the learning rate at a step: a warm-up, at most a tenth of the steps, then half a cosine."""
    return min(1.0, (step + 1) / min(WARM_UP, max(1, steps // 10))) * falling(step / steps, FINAL_RATE)


class Learner:
    """A model that learns, with its optimiser and the order of its lessons; goes on from any step."""

    def __init__(self, model: CategoryModel, affinity: Tensor | None, examples: Examples, keypoint_mirror: Tensor,
                 plan: Plan, renderer: Renderer, seed: int, perception: Perception | None = None):
        self.model, self.plan, self.step = model, plan, 0
        self._examples, self._keypoint_mirror, self._seed = examples, keypoint_mirror, seed
        lesson = Lesson(model, affinity, renderer, plan, perception)
        self._rank, self._processes = process()
        self._lesson = DistributedDataParallel(lesson, find_unused_parameters=True) if self._processes > 1 else lesson
        slow = [model.shape.latent]
        fast = [p for p in model.parameters() if p is not model.shape.latent]
        # The shape is the same for all pictures: it learns what they have in common, slowly.
        self.optimiser = torch.optim.AdamW([{"params": fast, "base": plan.rate},
                                            {"params": slow, "base": 0.1 * plan.rate, "weight_decay": 0.0}],
                                           lr=plan.rate, betas=(0.9, 0.98), weight_decay=1e-4)

    @property
    def _count(self) -> int:
        """Of a step's pictures, over all processes."""
        return min(self.plan.batch, len(self._examples.images))

    def batch(self) -> tuple[Examples, Chance]:
        """This process's share of the step's pictures, varied. The same whatever the number of processes."""
        random = torch.Generator().manual_seed(self._seed * 1_000_003 + self.step)
        chosen = torch.randperm(len(self._examples.images), generator=random)[:self._count]
        change, chance = Variation.draw(self._count, random), Chance.draw(self._count, random)
        own, device = slice(self._rank, None, self._processes), self.model.anchors.device
        return varied(self._examples[chosen[own]].to(device), change[own].to(device), self._keypoint_mirror.to(device),
                      self.model.shape.mirror), chance[own].to(device)

    def learn(self) -> dict[str, float]:
        """One step; the parts of its loss. BadInput where they are no numbers any more."""
        at = self.step / self.plan.steps
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * rate_factor(self.step, self.plan.steps)
        examples, chance = self.batch()
        seeing = at >= self.plan.seeing
        loss, parts = self._lesson(examples, chance, at >= self.plan.looking, seeing,
                                   seeing and self.step % PAINTED_EVERY == 0)
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
        """All that `restore` needs to go on, by names that start with LEARNER."""
        found = {f"{LEARNER}model.{name}": value for name, value in self.model.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            found |= {f"{LEARNER}optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        return {name: value.detach().cpu() for name, value in found.items()}

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on where `tensors` were taken, after so many steps."""
        of_model = LEARNER + "model."
        self.model.load_state_dict({name.removeprefix(of_model): value for name, value in tensors.items()
                                    if name.startswith(of_model)})
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(LEARNER + "optimiser."):
                index, key = name.removeprefix(LEARNER + "optimiser.").split(".")
                states.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": states})
        self.step = step


def process() -> tuple[int, int]:
    """Which of how many processes this is."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
