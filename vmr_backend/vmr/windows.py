"""VMR's online adaptation: the network learns from a clip, a sliding window of frames at a time (VMR 3.2).

What a window teaches may spoil what an earlier one did. So each window tells what it believes of its frames before the
next begins, and where windows overlap, what they tell is blended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .. import losses
from ..geometry.arap import best_rotations
from ..geometry.rotations import angle_between
from ..rendering import Renderer
from ..settings import Settings
from .instances import unevenness
from .model import CategoryModel, FirstLook, Prediction, State, nearest_hypotheses
from .objective import INSIDE, Targets, places_inside, softness, terms
from .texture import barriers, distance_loss, painted, sampled, structure_loss

RATE = 1e-4
"""Learning rate; UMR: 1e-4."""
CLIP = 1.0
"""Largest norm of a gradient."""


def windows_of(frames: int, window: int, stride: int) -> list[range]:
    """Places of each window's frames: `window` neighbours, from one to the next `stride` later; the last ends with the
    clip."""
    last = max(0, frames - window)
    return [range(start, min(start + window, frames)) for start in (*range(0, last, stride), last)]


def adapt(model: CategoryModel, images: Tensor, masks: Tensor, rotations: Tensor, settings: Settings,
          renderer: Renderer, seed: int, progress: Callable[[int, int], None]) -> State:
    """Teach the model, in place, by the frames of a clip; what it came to believe of each of them.

    images, masks  (T, 3, S, S) and (T, S, S) in 0..1
    rotations      (T, 3, 3) the path of the camera, which chooses among hypotheses and is held on to
    """
    random = torch.Generator().manual_seed(seed)
    windows = windows_of(len(images), settings.window, settings.stride)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    weights, told = settings.weights(), Blend(len(images))
    steps = len(windows) * settings.iterations
    for number, window in enumerate(windows):
        for iteration in range(settings.iterations):
            chosen = torch.randperm(len(window), generator=random)[: settings.frames_per_iteration] + window.start
            total = _objective(model, images[chosen], masks[chosen], rotations[chosen], weights, renderer, random)
            if not torch.isfinite(total):
                raise FloatingPointError("the adaptation diverged; another seed, or lower loss weights, may help")
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            progress(number * settings.iterations + iteration + 1, steps)
        frames = torch.tensor(window)
        told.add(frames, _believed(model, images[frames], masks[frames], rotations[frames], renderer),
                 1 - (frames - frames.float().mean()).abs() / (len(frames) / 2 + 1))
    return told.state()


class Blend:
    """States of T frames as weighted means over windows."""

    def __init__(self, frames: int):
        self._weight = torch.zeros(frames)
        self._sums: State | None = None

    def add(self, frames: Tensor, state: State, weight: Tensor) -> None:
        """What a window tells of some frames (N,), and how much that counts (N,)."""
        if self._sums is None:
            self._sums = State(*(value.new_zeros(len(self._weight), *value.shape[1:]) for value in state.tensors()))
        self._weight[frames] += weight
        for whole, part in zip(self._sums.tensors(), state.tensors(), strict=True):
            whole[frames] += weight.to(part).view(-1, *[1] * (part.ndim - 1)) * part

    def state(self) -> State:
        """Of all frames, each of which some window told of."""
        assert self._sums is not None
        mean = State(*(whole / self._weight.to(whole).view(-1, *[1] * (whole.ndim - 1))
                       for whole in self._sums.tensors()))
        return replace(mean, rotation=best_rotations(mean.rotation.mT))


def _first_look(model: CategoryModel, images: Tensor, masks: Tensor, rotations: Tensor) -> tuple[FirstLook, State]:
    """What frames say by themselves, under the hypothesis nearest to the path of the camera (N, 3, 3)."""
    first = model.first_look(images, masks)
    return first, first.state_under(nearest_hypotheses(first.hypotheses.rotations.detach(), rotations))


@torch.no_grad()
def _believed(model: CategoryModel, images: Tensor, masks: Tensor, rotations: Tensor, renderer: Renderer) -> State:
    first, state = _first_look(model, images, masks, rotations)
    return model.looked(first.seen, model.predict(state), renderer).state


def _objective(model: CategoryModel, images: Tensor, masks: Tensor, rotations: Tensor, weights: dict[str, float],
               renderer: Renderer, random: torch.Generator) -> Tensor:
    """What is wrong with what the model believes of N frames after each of its looks."""
    first, state = _first_look(model, images, masks, rotations)
    chance = torch.rand(len(images), INSIDE, generator=random).to(images.device)
    nothing = images.new_zeros(len(images), 0, 2)
    targets = Targets(masks, places_inside(masks, chance), nothing, nothing[..., 0])
    prediction, total = model.predict(state), images.new_zeros(())
    for look in range(model.architecture.looks + 1):
        if look:
            prediction = model.predict(model.look_again(first.seen, prediction, renderer))
        found = terms(model.shape, prediction.base, prediction.vertices, prediction.camera, None, targets, renderer)
        found["proportion"] = unevenness(model.shape, prediction.state.handles)
        found["handle"] = prediction.state.handles.square().sum(-1).mean(-1)
        found["steadiness"] = angle_between(rotations, prediction.camera.rotation).square() / 100
        total = total + losses.weighted(found, weights)
    swapped = {"laplacian": losses.laplacian_loss(prediction.base, model.shape.edges),
               "base_swap": base_swap_loss(model, prediction, masks, renderer)}
    swapped |= _texture_terms(model, first, prediction, images, masks, renderer)
    return total + losses.weighted(swapped, weights)


def base_swap_loss(model: CategoryModel, prediction: Prediction, masks: Tensor, renderer: Renderer) -> Tensor:
    """How far silhouettes are off masks (N, S, S) where frames swap their base shapes (VMR Eq. 6); (N,)."""
    vertices = model.shape.deformed(prediction.base.roll(1, 0), prediction.state.handles)
    size = masks.shape[-1]
    alpha = renderer.silhouette(prediction.camera.project(vertices), model.shape.faces, size, softness(size))
    return losses.silhouette_loss(alpha, masks, torch.ones_like(alpha))


def _texture_terms(model: CategoryModel, first: FirstLook, prediction: Prediction, images: Tensor, masks: Tensor,
                   renderer: Renderer) -> dict[str, Tensor]:
    """How well each frame is painted with the texture of another (VMR Eq. 5), and where textures are looked for; (N,).

    Gradients reach the mesh and camera that a texture is read with, not those that it is painted on.
    """
    size = images.shape[-1]
    flow = model.texture_flow(first.code, prediction, renderer, size)
    textures = sampled(images, flow).roll(1, 0)
    painting = painted(model.shape, model.texels, prediction.vertices, prediction.camera, textures, renderer, size)
    return {"texture_swap": structure_loss(painting, images, masks),
            "texture_distance": distance_loss(flow, barriers(masks))}
