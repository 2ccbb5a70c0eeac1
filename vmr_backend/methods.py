"""The registry of methods: what each needs of a request, how long its stages take, and how it starts.

Blender's process reads it, too, so what fits is imported only where a fit starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .settings import Settings

if TYPE_CHECKING:
    from .fitting.fitter import Fitter
    from .fitting.result import Fit
    from .fitting.stages import Course, Report
    from .priors import Priors
    from .reconstruction import Reconstruction
    from .templates.template import Template
    from .vmr.model_file import LoadedModel


AUTO = "auto"
"""The method that is none by itself."""
RECOGNITION = 6000.0
"""Milliseconds on two cores that it takes to see what kind of animal a clip shows, about."""


@dataclass(frozen=True)
class FitInputs:
    """What a method starts from."""

    fitter: Fitter
    course: Course
    priors: Priors
    model: LoadedModel | None = None
    """Of the subject's category."""
    like: Reconstruction | None = None
    """A result of the same subject, whose rest shape is the first."""
    template: Template | None = None
    """The rigged body that is fitted."""


@dataclass(frozen=True)
class Method:
    """One way to reconstruct a clip."""

    meaning: str
    costs: Callable[[Settings, int, bool], dict[str, float]]
    """About how long each stage takes, in milliseconds on two cores: of settings, frames, whether there is a model."""
    start: Callable[[FitInputs], Fit] | None
    """None: another one is taken, once the footage was looked at."""
    takes_model: bool = True
    """Whether it may start from a category model that the request names."""
    needs_model: bool = False
    """Whether it needs one."""
    needs_template: bool = False
    """Whether it fits a rigged template, which the others know nothing of."""
    takes_shape: bool = False
    """Whether it can start from the rest shape of another result."""
    perspective: Callable[[Settings], bool] = lambda settings: True
    """Whether it fits a perspective camera: else one so long that it stands for parallel rays."""


def _costs_of_lasr(settings: Settings, frames: int, with_model: bool) -> dict[str, float]:
    from .lasr.fit import costs_of

    return _costs_of_prediction(frames, with_model) | costs_of(settings)


def _start_lasr(inputs: FitInputs) -> Fit:
    from .lasr.fit import fit
    from .vmr.clip import initial_priors

    return _after_prediction(inputs, initial_priors, lambda priors: fit(inputs.fitter, inputs.course, priors))


def _costs_of_vmr(settings: Settings, frames: int, with_model: bool) -> dict[str, float]:
    from .vmr.clip import costs_of

    return costs_of(settings, frames)


def _start_vmr(inputs: FitInputs) -> Fit:
    from .vmr.clip import adapt_clip

    assert inputs.model is not None
    return adapt_clip(inputs.fitter, inputs.model, inputs.course, inputs.priors, inputs.like)


def _costs_of_template(settings: Settings, frames: int, with_model: bool) -> dict[str, float]:
    from .template.fit import costs_of

    return _costs_of_prediction(frames, with_model) | costs_of(settings)


def _start_template(inputs: FitInputs) -> Fit:
    from .template.fit import fit
    from .vmr.clip import predicted_landmarks

    template = inputs.template
    assert template is not None
    return _after_prediction(inputs, predicted_landmarks,
                             lambda priors: fit(inputs.fitter, inputs.course, template, priors))


def _costs_of_prediction(frames: int, with_model: bool) -> dict[str, float]:
    from .vmr.clip import PREDICTION

    return {"prediction": PREDICTION * frames} if with_model else {}


def _after_prediction(inputs: FitInputs, predict: Callable[[Fitter, LoadedModel, Priors, Report], Priors],
                      fit: Callable[[Priors], Fit]) -> Fit:
    """A fit from what is known and what a category model predicts, where there is one."""
    if inputs.model is None:
        return fit(inputs.priors)
    begin = time.monotonic()
    priors = predict(inputs.fitter, inputs.model, inputs.priors,
                     lambda step, steps: inputs.course.progress("prediction", step, steps))
    seconds = {"prediction": time.monotonic() - begin}
    found = fit(priors)
    return replace(found, seconds=seconds | found.seconds)


def _costs_of_auto(settings: Settings, frames: int, with_model: bool) -> dict[str, float]:
    return {"recognition": RECOGNITION, **_costs_of_template(settings, frames, True)}


METHODS = {
    AUTO: Method("See what kind of animal it is, and take the method that suits it", _costs_of_auto, None,
                 takes_model=False),
    "lasr": Method("Find shape, bones, motion and camera from the clip alone", _costs_of_lasr,
                   _start_lasr),
    "vmr": Method("Adapt a category model, trained beforehand, to the clip", _costs_of_vmr, _start_vmr,
                  needs_model=True, takes_shape=True, perspective=lambda settings: settings.visits > 0),
    "template": Method("Let a rigged body follow the clip: one that comes along, or your own", _costs_of_template,
                       _start_template, takes_model=False, needs_template=True),
}
