"""The search for the camera path: what is tried, what goes on, and what is told of it."""

import math

import numpy as np
import pytest
import torch
from spheres import sphere_seen_by, unknown, view_of

from vmr_backend.fitting.observations import far_flows, observe
from vmr_backend.fitting.search import Hypothesis, _survivors, search
from vmr_backend.priors import yaw_of
from vmr_backend.rendering import get_renderer

CPU = torch.device("cpu")


def tried(*scored) -> list[Hypothesis]:
    """Hypotheses from turn, last score and, where it rolls, roll."""
    return [Hypothesis(0.0, turn, sum(roll), [9.0, score]) for turn, score, *roll in scored]


def test_those_who_go_on_are_the_best_of_each_sense_and_then_the_best_of_the_rest():
    alive = tried((1, 0.5), (1, 0.1), (-1, 0.9), (1, 0.2), (-1, 0.8), (1, 0.3))
    assert _survivors(alive, 2) == [1, 4]
    assert _survivors(alive, 3) == [1, 3, 4]
    assert _survivors(alive, 5) == [0, 1, 3, 4, 5]
    assert _survivors(alive, 9) == [0, 1, 2, 3, 4, 5]


def test_those_that_roll_go_on_by_themselves_until_the_last_round():
    alive = tried((1, 0.1), (1, 0.2), (-1, 0.3), (1, 0.9, 1.5), (1, 0.8, 1.5))
    assert _survivors(alive, 3) == [0, 2, 4]
    assert _survivors(alive, 2) == [0, 2, 4], "no kind is lost before its time"
    assert _survivors(alive, 1) == [0]


def test_the_last_one_is_the_best_whatever_its_sense():
    assert _survivors(tried((1, 0.5), (-1, 0.4), (1, 0.6)), 1) == [1]


def test_one_sense_alone_goes_on_with_its_best():
    assert _survivors(tried((1, 0.5), (1, 0.4), (1, 0.6)), 2) == [0, 1]
    assert _survivors(tried((1, 0.5)), 2) == [0]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_search_ends_with_one_hypothesis_and_tells_of_all(turning_egg, quick, count):
    quick = quick.with_values({"rigid_iterations": 100})
    view = view_of(turning_egg.footage, quick.field_of_view)
    random = np.random.default_rng(0)
    paths, steps = unknown(count, view), []
    starts, model = paths.hypotheses, sphere_seen_by(view, paths)
    seen = observe(turning_egg.footage, far_flows(turning_egg.footage), 64, CPU, random)
    found = search(model, starts, seen, get_renderer("warp", CPU), quick, random, lambda *step: steps.append(step))
    assert [h.kept for h in found] == [True] + [False] * (count - 1)
    assert {id(h) for h in found} == {id(h) for h in starts}
    lives = [len(h.scores) for h in found]
    assert lives == sorted(lives, reverse=True) and all(math.isfinite(score) for h in found for score in h.scores)
    assert all(found[0].scores[-1] <= h.scores[-1] for h in found if len(h.scores) == lives[0])
    assert found[0].scores[-1] < found[0].scores[0]
    yaw = np.unwrap(yaw_of(model.camera(0.0)[0].detach().numpy())[0])
    assert (found[0].found_heading, found[0].found_turn) == pytest.approx((yaw.mean(), yaw[-1] - yaw[0]), abs=1e-4)
    assert all(math.isfinite(h.found_heading) and math.isfinite(h.found_turn) for h in found)
    assert model.mesh.latent.shape[0] == model.camera.turn.shape[0] == 1
    chosen = torch.from_numpy(paths.turn[[starts.index(found[0])]]).float()
    assert torch.equal(model.camera.turn, chosen), "the model goes on with the chosen one"
    assert steps == sorted(steps) and all(total == quick.rigid_iterations for _, total in steps)
    assert 0 < steps[0][0] and steps[-1][0] == quick.rigid_iterations
