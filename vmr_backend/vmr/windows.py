"""VMR's online adaptation: the network is trained on a clip, a sliding window of frames at a time (VMR 3.2).

A later window may spoil what an earlier one achieved. So the frames of each window are predicted before the next
begins, and where windows overlap, predictions are blended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace

import torch
from torch import Tensor

from .. import losses
from ..bodies.category import unevenness
from ..checkpoint import moments_of, restore_moments, under
from ..fitting.data_terms import mask_term
from ..fitting.optimise import check_finite
from ..geometry.arap import best_rotations
from ..geometry.rotations import angle_between
from ..rendering import Renderer
from ..segmentation.correspondence import Correspondence
from ..segmentation.features import Features
from ..settings import Settings
from ..video.footage import Footage
from .model import CategoryModel, InitialPrediction, Prediction, State, nearest_hypotheses
from .objective import INSIDE, Targets, compared_of, samples_inside, terms
from .parts import Parts
from .texture import barriers, distance_loss, painted, sampled, structure_loss

RATE = 1e-4
"""Learning rate; UMR: 1e-4."""
CLIP = 1.0
"""Largest norm of a gradient."""


def windows_of(frames: int, window: int, stride: int) -> list[range]:
    """Indices of each window's frames: `window` neighbours, from one window to the next `stride` later; the last ends
    with the clip."""
    last = max(0, frames - window)
    return [range(start, min(start + window, frames)) for start in (*range(0, last, stride), last)]


class OnlineAdaptation:
    """A model, its optimiser, and the blended predictions of the windows done so far."""

    def __init__(self, model: CategoryModel, frames: int, seed: int):
        self.model, self.blended, self.done = model, BlendedStates(frames), 0
        self.random = torch.Generator().manual_seed(seed)
        self._optimiser = torch.optim.Adam(model.parameters(), lr=RATE)

    def step(self, loss: Tensor) -> None:
        """One step of the optimiser; FloatingPointError where the loss is not finite."""
        check_finite(loss, "adaptation")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self._optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        """All that a run needs to go on after its last window."""
        return ({f"model.{name}": value for name, value in self.model.state_dict().items()}
                | {f"adam.{name}": value for name, value in moments_of(self._optimiser).items()}
                | {f"told.{name}": value for name, value in self.blended.tensors().items()}
                | {"random": self.random.get_state(), "done": torch.tensor(self.done)})

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from there; KeyError, ValueError or RuntimeError where the tensors are of another model or clip."""
        self.model.load_state_dict(under("model.", tensors))
        restore_moments(self._optimiser, under("adam.", tensors))
        device = next(self.model.parameters()).device
        self.blended.restore({name: value.to(device) for name, value in under("told.", tensors).items()})
        self.random.set_state(tensors["random"])
        self.done = int(tensors["done"])


def adapt(adaptation: OnlineAdaptation, footage: Footage, images: Tensor, masks: Tensor, rotations: Tensor,
          settings: Settings, renderer: Renderer, progress: Callable[[int, int], None],
          after_window: Callable[[], None]) -> None:
    """Train the model, in place, on the frames of a clip; `adaptation.blended` then has the predictions of all.

    images, masks  (T, 3, S, S) and (T, S, S) in 0..1, of the footage as the model takes them
    rotations      (T, 3, 3) the path of the camera, which chooses among hypotheses and which predictions stay close to
    after_window   called after each window
    """
    model, random, weights = adaptation.model, adaptation.random, settings.weights()
    windows = windows_of(len(images), settings.window, settings.stride)
    features = Features.shipped(images.device) if weights["part"] else None
    steps = len(windows) * settings.iterations
    for number, window in list(enumerate(windows))[adaptation.done:]:
        frames, parts = torch.tensor(window), None
        if features is not None:
            predicted = _predicted(model, images[frames], masks[frames], rotations[frames], renderer)
            parts = Parts.propagate(Correspondence.of(footage, window, features), settings.parts, predicted,
                                 model.shape.faces, renderer, random)
        for iteration in range(settings.iterations):
            some = torch.randperm(len(window), generator=random)[: settings.frames_per_iteration]
            chosen = frames[some]
            adaptation.step(_objective(model, images[chosen], masks[chosen], rotations[chosen], parts and parts[some],
                                       weights, renderer, random))
            progress(number * settings.iterations + iteration + 1, steps)
        state = _predicted(model, images[frames], masks[frames], rotations[frames], renderer).state
        adaptation.blended.add(frames, state, 1 - (frames - frames.float().mean()).abs() / (len(frames) / 2 + 1))
        adaptation.done = number + 1
        after_window()


class BlendedStates:
    """States of T frames as weighted means over windows."""

    def __init__(self, frames: int):
        self._weight = torch.zeros(frames)
        self._sums: State | None = None

    def add(self, frames: Tensor, state: State, weight: Tensor) -> None:
        """Blend in the state of some frames (N,), as a window predicts it, with weights (N,)."""
        if self._sums is None:
            self._sums = State(*(value.new_zeros(len(self._weight), *value.shape[1:]) for value in state.values()))
        self._weight[frames] += weight
        for whole, part in zip(self._sums.values(), state.values(), strict=True):
            whole[frames] += weight.to(part).view(-1, *[1] * (part.ndim - 1)) * part

    def state(self, others: State | None = None) -> State:
        """Of all frames; others  of those that are in no window yet"""
        assert self._sums is not None
        mean = [whole / self._weight.to(whole).clamp_min(1e-9).view(-1, *[1] * (whole.ndim - 1))
                for whole in self._sums.values()]
        if others is not None:
            missing = self._weight == 0
            for whole, other in zip(mean, others.values(), strict=True):
                whole[missing] = other[missing]
        state = State(*mean)
        return replace(state, rotation=best_rotations(state.rotation.mT))

    def tensors(self) -> dict[str, Tensor]:
        """The weights and sums so far."""
        if self._sums is None:
            return {}
        return {"weight": self._weight} | {str(k): value for k, value in enumerate(self._sums.values())}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from weights and sums of as many frames; ValueError where there are more or fewer."""
        if not tensors:
            return
        if tensors["weight"].shape != self._weight.shape:
            raise ValueError("another number of frames")
        self._weight, self._sums = tensors["weight"].cpu(), State(*(tensors[str(k)] for k in range(len(fields(State)))))


def _initial(model: CategoryModel, images: Tensor, masks: Tensor,
             rotations: Tensor) -> tuple[InitialPrediction, Prediction]:
    """The initial prediction, under the hypothesis nearest to the path of the camera (N, 3, 3)."""
    initial = model.initial_prediction(images, masks)
    nearest = nearest_hypotheses(initial.hypotheses.rotations.detach(), rotations)
    return initial, model.predict(initial.state_under(nearest))


@torch.no_grad()
def _predicted(model: CategoryModel, images: Tensor, masks: Tensor, rotations: Tensor,
               renderer: Renderer) -> Prediction:
    initial, prediction = _initial(model, images, masks, rotations)
    return model.refined(initial.encoding, prediction, renderer)


def _objective(model: CategoryModel, images: Tensor, masks: Tensor, rotations: Tensor, parts: Parts | None,
               weights: dict[str, float], renderer: Renderer, random: torch.Generator) -> Tensor:
    """The weighted terms of N frames, summed over the iterations of refinement."""
    initial, start = _initial(model, images, masks, rotations)
    chance = torch.rand(len(images), INSIDE, generator=random).to(images.device)
    nothing = images.new_zeros(len(images), 0, 2)
    targets = Targets(masks, samples_inside(masks, chance), nothing, nothing[..., 0])
    total = images.new_zeros(())
    for prediction in model.refinements(initial.encoding, start, renderer):
        found = terms(model.shape, prediction.base, prediction.vertices, prediction.camera, None, targets, renderer,
                      compared_of(len(images), random))
        found["proportion"] = unevenness(model.shape, prediction.state.handles)
        found["handle"] = prediction.state.handles.square().sum(-1).mean(-1)
        found["path"] = angle_between(rotations, prediction.camera.rotation).square()
        total = total + losses.weighted(found, weights)
    swapped = {"laplacian": losses.laplacian_loss(prediction.base, model.shape.edges),
               "base_swap": base_swap_loss(model, prediction, masks, renderer)}
    if parts is not None:
        swapped["part"] = parts.loss(prediction.camera.project(prediction.vertices), model.shape.faces, renderer)
    swapped |= _texture_terms(model, initial.encoding.code, prediction, images, masks, renderer)
    return total + losses.weighted(swapped, weights)


def base_swap_loss(model: CategoryModel, prediction: Prediction, masks: Tensor, renderer: Renderer) -> Tensor:
    """How far silhouettes are off masks (N, S, S) where frames swap their base shapes (VMR Eq. 6); (N,)."""
    vertices = model.shape.deformed(prediction.base.roll(1, 0), prediction.state.handles)
    return mask_term(prediction.camera.project(vertices), model.shape.faces, masks, renderer)


def _texture_terms(model: CategoryModel, code: Tensor, prediction: Prediction, images: Tensor, masks: Tensor,
                   renderer: Renderer) -> dict[str, Tensor]:
    """How far off each frame painted with the texture of another is (VMR Eq. 5), and texture flow beside masks; (N,).

    Gradients reach the mesh and camera that a texture is read with, not those that it is painted on.
    """
    size = images.shape[-1]
    flow = model.texture_flow(code, prediction, renderer, size)
    textures = sampled(images, flow).roll(1, 0)
    painting = painted(model.shape, model.texels, prediction.vertices, prediction.camera, textures, renderer, size)
    return {"texture_swap": structure_loss(painting, images, masks),
            "texture_distance": distance_loss(flow, barriers(masks))}
