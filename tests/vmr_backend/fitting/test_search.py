"""The search for the camera path: what is tried, what goes on, and what it reports."""

import math

import numpy as np
import pytest
import torch
from spheres import VIEW, fitter_of, screen, sphere_seen_by, stirred, unknown, view_of

from vmr_backend.fitting.observations import far_flows
from vmr_backend.fitting.search import Hypothesis, _survivors, search, select
from vmr_backend.priors import yaw_of


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
    starts, solution = paths.hypotheses, sphere_seen_by(view, paths)
    fitter = fitter_of(turning_egg.footage, quick)
    seen = fitter.observe(64, far_flows(turning_egg.footage), random)
    found = search(solution, starts, seen, fitter, random, lambda *step: steps.append(step))
    assert [h.kept for h in found] == [True] + [False] * (count - 1)
    assert {id(h) for h in found} == {id(h) for h in starts}
    lives = [len(h.scores) for h in found]
    assert lives == sorted(lives, reverse=True) and all(math.isfinite(score) for h in found for score in h.scores)
    assert all(found[0].scores[-1] <= h.scores[-1] for h in found if len(h.scores) == lives[0])
    assert found[0].scores[-1] < found[0].scores[0]
    yaw = np.unwrap(yaw_of(solution.cameras(0.0)[0].detach().numpy())[0])
    assert (found[0].found_heading, found[0].found_turn) == pytest.approx((yaw.mean(), yaw[-1] - yaw[0]), abs=1e-4)
    assert all(math.isfinite(h.found_heading) and math.isfinite(h.found_turn) for h in found)
    assert solution.body.mesh.latent.shape[0] == solution.cameras.turn.shape[0] == 1
    chosen = torch.from_numpy(paths.turn[[starts.index(found[0])]]).float()
    assert torch.equal(solution.cameras.turn, chosen), "the fit goes on with the chosen one"
    assert steps == sorted(steps) and all(total == quick.rigid_iterations for _, total in steps)
    assert 0 < steps[0][0] and steps[-1][0] == quick.rigid_iterations


def test_what_is_kept_are_the_hypotheses_asked_for():
    solution = stirred(sphere_seen_by(VIEW, unknown(5, VIEW)), 0.3)
    colours, points = solution.body.vertex_colours.detach(), screen(solution).detach()
    select(solution, torch.tensor([3, 1]))
    assert torch.equal(solution.body.vertex_colours, colours[[3, 1]])
    assert torch.allclose(screen(solution), points[[3, 1]], atol=1e-5)
    select(solution, torch.tensor([1, 1]))
    assert torch.allclose(screen(solution), points[[1, 1]], atol=1e-5), "one may be there several times"
    select(solution, torch.tensor([1]))
    assert torch.allclose(screen(solution), points[[1]], atol=1e-5)
    screen(solution).sum().backward()
    assert all(p.grad is not None for p in solution.body.mesh.parameters()), "what is kept can be fitted on"
