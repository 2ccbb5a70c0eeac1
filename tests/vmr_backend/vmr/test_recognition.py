"""What kind of animal a clip shows, as Auto sees it, and which method is taken for it."""

from pathlib import Path

import pytest
import torch

from vmr_backend import run
from vmr_backend.job import JobRequest
from vmr_backend.rendering import get_renderer
from vmr_backend.run import chosen_by_sight
from vmr_backend.video.clip import open_footage
from vmr_backend.video.footage import load_footage
from vmr_backend.vmr import recognition
from vmr_backend.vmr.recognition import UNKNOWN, recognised

CPU = torch.device("cpu")
DOG = Path(__file__).parents[3] / "samples" / "painted_dog"


@pytest.fixture(scope="module", autouse=True)
def few_frames():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognition, "LOOKED_AT", 4)
        yield


@pytest.fixture(scope="module")
def dog():
    clip = open_footage(JobRequest(str(DOG / "clip.mp4"), masks=str(DOG / "masks")))
    return load_footage(clip, str(DOG / "masks"), first=0, last=7, crop_size=128)


@pytest.fixture(scope="module")
def egg(turning_egg):
    return turning_egg.footage


@pytest.fixture(scope="module")
def renderer():
    return get_renderer("warp", CPU)


def test_the_model_of_the_kind_believes_what_it_sees_and_others_do_not(dog, egg, renderer):
    told = []
    found = recognised(dog, CPU, renderer, lambda *step: told.append(step))
    assert next(iter(found)) == "quadruped" and found["quadruped"] < 0.75 * UNKNOWN < UNKNOWN < 0.75 * found["bird"]
    assert told == [(1, 2), (2, 2)]
    assert min(recognised(egg, CPU, renderer, lambda *_: None).values()) > 1.5 * UNKNOWN


def taken(footage, renderer):
    return chosen_by_sight(JobRequest("/clip.mp4", method="auto", seed=3), footage, CPU, renderer, lambda *_: None)


def test_a_four_legged_animal_is_followed_by_the_template(dog, renderer):
    request, line = taken(dog, renderer)
    assert request.check() == JobRequest("/clip.mp4", method="template", template="quadruped", seed=3)
    assert line.startswith("Auto took the template quadruped: ") and "disbelief: quadruped 0.0" in line


def test_what_no_model_recognises_is_found_from_the_clip_alone(egg, renderer):
    request, line = taken(egg, renderer)
    assert request.check() == JobRequest("/clip.mp4", method="lasr", seed=3)
    assert "lasr" in line and "quadruped" in line and "bird" in line and f"needs less than {UNKNOWN}" in line


def test_of_a_kind_without_a_template_the_category_model_is_adapted(dog, renderer, monkeypatch):
    monkeypatch.setattr(run, "shipped_templates", dict)
    request, line = taken(dog, renderer)
    assert request.check() == JobRequest("/clip.mp4", method="vmr", model="quadruped", seed=3)
    assert line.startswith("Auto took the category model quadruped: ")
