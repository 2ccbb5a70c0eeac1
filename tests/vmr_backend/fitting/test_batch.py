"""The frames that an iteration compares: which are drawn, how often, and the flow between them."""

import numpy as np
import pytest
import torch

from vmr_backend.fitting.batch import RUN, FrameBatch, pairs, runs_and_pairs
from vmr_backend.fitting.observations import Link, Observations

FRAMES, SAMPLES = 20, 3


def numbered_link(gap: int) -> Link:
    """Flow and weights that tell of which frame and link they are: no two are alike."""
    frame = torch.arange(1.0, FRAMES + 1)[:, None].expand(FRAMES, SAMPLES) + 100 * gap
    flow = torch.stack([frame, 10 * frame], -1)
    return Link(gap, flow, 0.5 * frame, -flow, 0.25 * frame)


def seen_with(*gaps, frames=FRAMES) -> Observations:
    """As much of observations as drawing needs."""
    nothing = torch.zeros(frames, 1, 1)
    return Observations(1, nothing, nothing, nothing, nothing, nothing, [numbered_link(gap) for gap in gaps], nothing,
                        nothing)


def flows_of(batch: FrameBatch) -> set[tuple]:
    """(frame, other frame, displacement, weight) of all flow that counts, sample by sample."""
    found = set()
    for flow in batch.flows:
        for here, (partner, displacement, weight) in enumerate(zip(flow.partner, flow.displacement, flow.weight,
                                                                   strict=True)):
            found |= {(int(batch.frames[here]), int(batch.frames[partner]), tuple(d), w)
                      for d, w in zip(displacement.tolist(), weight.tolist(), strict=True) if w}
    return found


def expected_flows(link: Link, firsts) -> set[tuple]:
    """Of the pairs that begin with these frames, both ways, by going through them."""
    found = set()
    for first in map(int, firsts):
        second = first + link.gap
        for a, b, flow, weight in ((first, second, link.forward[first], link.forward_weight[first]),
                                   (second, first, link.backward[second], link.backward_weight[second])):
            found |= {(a, b, tuple(d), w) for d, w in zip(flow.tolist(), weight.tolist(), strict=True)}
    return found


@pytest.mark.parametrize("iteration", range(6))
@pytest.mark.parametrize("count", [1, 2, 8, 64])
def test_pairs_have_the_flow_between_them_neighbours_in_every_other_iteration(count, iteration):
    seen = seen_with(1, 4, 9)
    batch = pairs(seen, count, iteration, np.random.default_rng(iteration))
    link = seen.links[0 if iteration % 2 == 0 else iteration // 2 % 3]
    first, second = batch.frames.chunk(2)
    assert torch.equal(second - first, torch.full_like(first, link.gap)) and len(first.unique()) == len(first)
    assert len(first) == min(max(1, count // 2), FRAMES - link.gap) and not batch.run
    assert flows_of(batch) == expected_flows(link, first)


@pytest.mark.parametrize("iteration", [0, 1, 2, 3, 5])
def test_runs_have_the_flow_between_neighbours_and_pairs_far_apart_theirs(iteration):
    seen = seen_with(1, 3, 7)
    batch = runs_and_pairs(seen, 8, iteration, np.random.default_rng(iteration))
    assert (batch.frames >= 0).all() and (batch.frames < FRAMES).all() and len(batch.frames) == 8
    if iteration % 2:
        link = seen.links[1 + iteration // 2 % 2]
        assert not batch.run and flows_of(batch) == expected_flows(link, batch.frames[:4])
    else:
        runs = batch.in_runs(batch.frames)
        assert runs.shape == (2, RUN) and (runs.diff() == 1).all()
        assert flows_of(batch) == expected_flows(seen.links[0], runs[:, :-1].flatten())
        partners = [(flow.partner != torch.arange(8)).sum() for flow in batch.flows]
        assert partners == [6, 6], "each but the last of a run leads on, each but the first back"


def test_a_batch_without_frames_far_apart_is_runs_always():
    assert all(runs_and_pairs(seen_with(1), 8, number, np.random.default_rng(0)).run == RUN for number in range(4))


def test_two_frames_are_one_run():
    batch = runs_and_pairs(seen_with(1, frames=2), 8, 0, np.random.default_rng(0))
    assert batch.run == 2 and torch.equal(batch.in_runs(batch.frames), torch.tensor([[0, 1]] * 4))


def test_every_frame_is_drawn_about_as_often():
    seen, random = seen_with(1), np.random.default_rng(0)
    counts = sum(torch.bincount(runs_and_pairs(seen, 8, 0, random).frames, minlength=FRAMES) for _ in range(2000))
    assert counts.min() > 0.5 * counts.float().mean() and counts.max() < 2 * counts.float().mean()
