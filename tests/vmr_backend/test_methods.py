"""The registry of methods: what each says of itself holds for requests and for fits."""

import dataclasses
import math

import pytest
import torch
from spheres import fitter_of
from tiny_models import loaded

from vmr_backend.fitting.stages import Course
from vmr_backend.job import BadInput, JobRequest
from vmr_backend.methods import METHODS, FitInputs
from vmr_backend.priors import NOTHING
from vmr_backend.run import category_of
from vmr_backend.settings import Settings
from vmr_backend.templates.shelf import find_template
from vmr_backend.templates.template import Template

BRIEF = {"rigid_iterations": 10, "coarse_iterations": 10, "fine_iterations": 2, "iterations": 1, "window": 6,
         "stride": 4, "visits": 1}


def request_of(method: str) -> JobRequest:
    return JobRequest("/egg.mp4", method=method, model="egg" if METHODS[method].needs_model else None,
                      template="dog" if METHODS[method].needs_template else None)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_what_it_is_and_takes_a_request_with_what_it_needs(method):
    assert METHODS[method].meaning and request_of(method).check()


def refusal(request: JobRequest) -> str:
    with pytest.raises(BadInput) as refused:
        request.check()
    (line,) = str(refused.value).splitlines()
    return line


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.needs_model])
def test_a_method_that_needs_a_model_is_refused_without_one(method):
    line = refusal(dataclasses.replace(request_of(method), model=None))
    assert line == f"model: found none, needs a category model for the method {method!r}"


@pytest.mark.parametrize("method", METHODS)
def test_only_methods_that_take_a_shape_are_asked_with_one(method):
    request = dataclasses.replace(request_of(method), shape="/other/run")
    if METHODS[method].takes_shape:
        request.check()
    else:
        assert refusal(request) == f"shape: found /other/run for the method {method!r}, needs the method 'vmr'"


@pytest.mark.parametrize(("method", "with_model", "changes"), [
    ("lasr", False, {}), ("lasr", True, {"fine_iterations": 0}), ("vmr", True, {}), ("vmr", True, {"visits": 0}),
    ("template", True, {}),
], ids=["lasr", "lasr from a model", "vmr", "vmr frame by frame", "template of a category"])
def test_the_stages_that_a_method_has_costs_for_are_those_of_its_fit(turning_egg, quick, method, with_model, changes):
    settings, told = quick.with_values(BRIEF | changes), []
    course = Course(0, lambda stage, step, steps: told.append(stage))
    model = loaded() if with_model else None
    template = Template.load(find_template("quadruped")) if METHODS[method].needs_template else None
    fit = METHODS[method].start(FitInputs(fitter_of(turning_egg.footage, settings), course, NOTHING, model,
                                          template=template))
    costs = METHODS[method].costs(settings, len(turning_egg.footage.numbers), with_model)
    assert list(costs) == list(fit.seconds) == list(dict.fromkeys(told))
    assert all(cost > 0 and math.isfinite(cost) for cost in costs.values())


def test_a_template_of_a_category_starts_from_the_model_that_knows_its_landmarks():
    request, device = request_of("template"), torch.device("cpu")
    quadruped = Template.load(find_template("quadruped"))
    found = category_of(request, quadruped, device)
    assert set(quadruped.card.landmark_names) <= set(found.card.category.keypoints)
    for changes in ({"category": "unicorn"}, {"category": ""}, {"category": "bird", "landmark_names": ("hoof",)}):
        other = dataclasses.replace(quadruped, card=dataclasses.replace(quadruped.card, **changes))
        assert category_of(request, other, device) is None
    assert category_of(JobRequest("/egg.mp4"), None, device) is None
    assert category_of(JobRequest("/egg.mp4", model="bird"), None, device).card.category.name == "bird"


def test_only_frames_predicted_one_by_one_have_no_perspective():
    one_by_one = Settings().with_values({"visits": 0})
    assert METHODS["lasr"].perspective(one_by_one) and METHODS["vmr"].perspective(Settings())
    assert not METHODS["vmr"].perspective(one_by_one)
