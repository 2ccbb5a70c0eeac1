"""The canonical keypoint UV map: heat lands where keypoints are on the surface, and vertices there hold them."""

from dataclasses import replace

import pytest
import torch
from tiny_trainings import AFFINITY, BALL, KEYPOINTS, RENDERER, toy_examples, toy_model

from vmr_backend.training.keypoint_map import distance_from, held_by_vertices, keypoint_map


@pytest.fixture(scope="module")
def model():
    """Untaught, but sure of its first heading: it sees the mean shape from the front in every picture."""
    model = toy_model()
    with torch.no_grad():
        model.probabilities.bias[0] = 100
    model.usual_place.copy_(torch.tensor([0.0, 0.0, -0.1]))
    return model.eval()


@pytest.fixture(scope="module")
def examples(model):
    """Pictures whose keypoints are where the model predicts its vertices, from all round."""
    examples = toy_examples(12, bend=0.0)
    with torch.no_grad():
        prediction, _ = model(examples.images, examples.masks, RENDERER)
        points = prediction.camera.project(AFFINITY @ prediction.vertices)[..., :2]
    return replace(examples, keypoints=points)


def test_heat_is_greatest_where_the_keypoint_is_on_the_map(model, examples):
    heat = keypoint_map(model, examples, RENDERER)
    places = model.texels.of_vertices(model.shape.places[None], model.shape.faces)[0]
    for row, vertex in zip(heat, KEYPOINTS, strict=True):
        if row.max() > 0.5:  # else the one heading that an untrained model predicts hides it
            assert (places.flatten(0, 1)[row.argmax()] - BALL[vertex]).norm() < 0.3


def test_vertices_at_the_peak_hold_a_keypoint(model, examples):
    held = held_by_vertices(keypoint_map(model, examples, RENDERER), model)
    assert held.shape == AFFINITY.shape and (held >= 0).all()
    assert torch.allclose(held.sum(1), torch.ones(len(held)), atol=1e-5)
    front = KEYPOINTS[0]
    assert ((held[0] @ model.shape.places) - BALL[front]).norm() < 0.3


def test_the_distance_is_nothing_for_vertices_that_are_the_keypoints(model, examples):
    assert distance_from(AFFINITY, model, examples, RENDERER) < 1e-5
    assert distance_from(AFFINITY.roll(1, 0), model, examples, RENDERER) > 0.1
