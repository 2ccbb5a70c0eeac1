"""Gaits: which bones are legs, and which gait agrees with the outlines of an animal that walks."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tadpole import tadpole

from vmr_backend.bodies.rig import RigBody
from vmr_backend.fitting.body import Constraints
from vmr_backend.fitting.camera import CameraPath
from vmr_backend.fitting.fitter import Solution
from vmr_backend.fitting.view import View
from vmr_backend.geometry.cameras import project
from vmr_backend.rendering import get_renderer
from vmr_backend.template.gaits import Gaits, Walker, cycles_of, exchanges, leg_pairs, move
from vmr_backend.templates.shelf import find_template
from vmr_backend.templates.template import Template

FRAMES, CYCLE, SIZE = 24, 16.0, 48
PHASES = (math.pi / 2, 5 * math.pi / 4)


@pytest.fixture(scope="module")
def quadruped():
    return Template.load(find_template("quadruped"))


@pytest.fixture(scope="module")
def standing(quadruped):
    """The quadruped at rest, seen from its left and a little from in front, from ever further ahead."""
    view = View(torch.arange(FRAMES), torch.tensor([1000.0, 1000, 500, 500]).repeat(FRAMES, 1),
                torch.full((FRAMES, 2), 500.0), torch.full((FRAMES,), 300.0))
    torch.manual_seed(0)
    body = RigBody(view, quadruped, 1, adapt=False)
    body.articulate()
    turn = torch.linspace(1.2, 0.6, FRAMES)[None]
    return Solution(body, CameraPath(view, turn, torch.eye(3).repeat(1, FRAMES, 1, 1)))


def walker_of(solution, pairs, masks):
    return Walker(solution, pairs, SimpleNamespace(masks=masks), get_renderer("warp", torch.device("cpu")),
                  Constraints(freedom=1.0))


def walking(phases, lag=math.pi):
    return Gaits(torch.tensor([CYCLE]), torch.tensor([[[phase, lag] for phase in phases]]))


@pytest.fixture(scope="module")
def filmed_walk(quadruped, standing):
    """What sees the quadruped stand, and has masks of its walk."""
    pairs, no_masks = leg_pairs(quadruped), torch.zeros(FRAMES, SIZE, SIZE)
    walker = walker_of(standing, pairs, no_masks)
    points = project(walker.body.moved(walker.motions(walking(PHASES))), walker.camera)
    alpha = walker.renderer.silhouette(points[0], walker.body.faces, SIZE, 1e-4).detach()
    assert 0.05 < alpha.mean() < 0.5
    return walker_of(standing, pairs, (alpha > 0.5).float())


def test_a_quadruped_has_four_legs_and_nothing_else_swings(quadruped):
    names = np.array(quadruped.card.bone_names)
    front, hind = sorted(leg_pairs(quadruped), key=lambda pair: quadruped.bone_rest[pair.swinging[0], 1, 3])
    assert {names[b].split(".")[0] for b in front.bones} == {"shoulder", "front_thigh", "front_shin", "front_foot",
                                                             "front_toe"}
    assert {names[b].split(".")[0] for b in hind.bones} == {"thigh", "shin", "foot", "toe"}
    for pair in (front, hind):
        for first, bones in zip(pair.swinging, pair.hinges, strict=True):
            assert first not in bones and len({names[b][-2:] for b in (first, *bones)}) == 1


def test_what_has_no_legs_has_no_gait(quadruped):
    assert not leg_pairs(tadpole(level=1))
    # Nor has what has twins far above the ground alone.
    long = replace(quadruped, vertices=np.concatenate([quadruped.vertices, [[0, 0, -9]]]).astype(np.float32))
    assert not leg_pairs(long)


def test_a_gait_swings_legs_evenly_one_after_the_other(filmed_walk):
    motion = filmed_walk.motions(walking(PHASES))[0]
    axes = filmed_walk.body.rest_axes
    for pair, phase in zip(filmed_walk.pairs, PHASES, strict=True):
        left, right = ((axes[b] @ motion[:, b].T).T for b in pair.swinging)
        time = torch.arange(FRAMES) * 2 * math.pi / CYCLE
        torch.testing.assert_close(left[:, 0], 0.4 * torch.sin(time + phase), atol=1e-4, rtol=0)
        torch.testing.assert_close(right[:, 0], -left[:, 0], atol=1e-4, rtol=0)
        assert left[:, 1:].abs().max() < 1e-4
    still = [b for b in range(motion.shape[1]) if not any(b in pair.bones for pair in filmed_walk.pairs)]
    assert still and motion[:, still].abs().max() == 0


def test_the_gait_that_was_filmed_agrees_best(filmed_walk):
    found = filmed_walk.best([CYCLE * 0.7, CYCLE, CYCLE * 1.4])
    # Three cycles whose two pairs of legs are exchanged in every way, and two gallops.
    assert len(found) == 3 * 4 + 2
    best = filmed_walk.scores(found).argmin()
    assert found.cycle[best] == CYCLE
    # To the next of eight phases: the legs of one pair are looked at while the others stand.
    np.testing.assert_allclose(found.legs[best], [[phase, math.pi] for phase in PHASES], atol=math.pi / 4 + 1e-4)


def test_exchanged_legs_are_the_others_in_the_mirror(standing, filmed_walk):
    walk = filmed_walk.motions(walking(PHASES))
    body = RigBody(standing.body.view, standing.body.template, 1, adapt=False)
    body.turns = lambda constraints: walk
    found = exchanges(body, filmed_walk.pairs)
    assert len(found) == 4 and (found[0] == walk[0]).all()
    # Of an even walk, exchanged legs are those half a cycle later.
    later = filmed_walk.motions(walking([phase + math.pi for phase in PHASES]))[0]
    torch.testing.assert_close(found[3], later, atol=1e-3, rtol=0)
    first, second = filmed_walk.pairs
    torch.testing.assert_close(found[1][:, first.bones], later[:, first.bones], atol=1e-3, rtol=0)
    assert (found[1][:, second.bones] == walk[0][:, second.bones]).all()


def test_hypotheses_move_as_they_should(standing, filmed_walk):
    motions = filmed_walk.motions(Gaits(torch.tensor([CYCLE, 20.0]), torch.zeros(2, 2, 2)))
    trial = Solution(RigBody(standing.body.view, standing.body.template, 1, adapt=False),
                     CameraPath(standing.cameras.view, standing.cameras.turn, standing.cameras.tilt))
    move(trial, motions)
    found = trial.body.turns(Constraints())
    assert found.shape == motions.shape
    assert (found - motions).abs().max() < 0.05


@pytest.mark.parametrize(("fps", "frames", "longest"), [(24.0, 36, 48), (None, 36, 48), (60.0, 36, 42), (24.0, 400, 96),
                                                        (24.0, 4, 12)])
def test_cycles_are_as_long_as_the_clip_can_show(fps, frames, longest):
    cycles = cycles_of(SimpleNamespace(fps=fps, numbers=np.arange(frames)))
    assert cycles[0] == (fps or 24) / 2 and max(cycles) == pytest.approx(longest, abs=1)
