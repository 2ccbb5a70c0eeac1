"""What kind of animal a clip shows, by the category models that come along: how far each disbelieves what it sees.

A model predicts landmarks twice: in the picture, each with a confidence, and on the mesh that it lays over the picture.
Where it knows the animal both agree, and it is confident of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..rendering import Renderer
from ..video.footage import Footage
from .clip import pictures
from .model_file import LoadedModel, find_model, load_model, shipped_models
from .poses import candidates

LOOKED_AT = 16
"""Frames of a clip that are enough."""
UNKNOWN = 0.12
"""Crop units of disbelief from which on a subject is of another kind than a model. On films and pictures of our own
making, the model of four-legged animals has .03 to .10 for these, .16 for a bird or a person, .25 and more for a car, a
table, a ball or a blot."""


def recognised(footage: Footage, device: torch.device, renderer: Renderer,
               progress: Callable[[int, int], None]) -> dict[str, float]:
    """The disbelief of each category model with landmarks that comes along, by its category; least first."""
    found, names = {}, shipped_models()
    for number, name in enumerate(names):
        loaded = load_model(find_model(name), device)
        if loaded.affinity is not None:
            found[name] = disbelief(loaded, footage, device, renderer)
        progress(number + 1, len(names))
    return dict(sorted(found.items(), key=lambda one: one[1]))


def disbelief(loaded: LoadedModel, footage: Footage, device: torch.device, renderer: Renderer) -> float:
    """Crop units: the median over some frames of how far landmarks in the picture are from those of the mesh, over the
    confidence in them."""
    some = slice(None, None, -(-len(footage.numbers) // LOOKED_AT))
    found = candidates(loaded.model, *pictures(footage, loaded, some, device), renderer, lambda step, steps: None)
    likeliest = found.costs.argmin(1, keepdim=True)
    return float(np.median(found.misfits.gather(1, likeliest).cpu().numpy()))
