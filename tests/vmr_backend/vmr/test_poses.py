"""The one path of the camera through predictions of single frames: against enumeration, and around outliers."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_models import RENDERER, model_of, pictures, taught_a_little

from vmr_backend.fitting.view import Hints
from vmr_backend.geometry.rotations import about_z, angle_between
from vmr_backend.vmr.model import State
from vmr_backend.vmr.poses import (
    TURNING,
    USUAL_TURN,
    Candidates,
    candidates,
    likeliest_path,
    middle_rotation,
    smooth_path,
    steady_state,
)


def random_rotations(*shape, seed=0) -> torch.Tensor:
    found = Rotation.random(int(np.prod(shape)), random_state=seed).as_matrix()
    return torch.from_numpy(found).float().view(*shape, 3, 3)


def turning(frames, degrees=5.0) -> torch.Tensor:
    """(T, 3, 3) a steady turn about a slanted axis."""
    axis = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
    found = Rotation.from_rotvec(np.radians(degrees) * np.arange(frames)[:, None] * axis).as_matrix()
    return random_rotations(1, seed=5) @ torch.from_numpy(found).float()


def found_at(rotations: torch.Tensor, costs: torch.Tensor) -> Candidates:
    """Candidates whose placements are their numbers."""
    frames, count = costs.shape
    return Candidates([State(torch.zeros(frames, 1), torch.zeros(frames, 2, 9), rotations[:, k],
                             torch.full((frames, 3), float(k))) for k in range(count)], costs, torch.zeros_like(costs))


@pytest.mark.parametrize("seed", range(3))
def test_the_likeliest_path_is_the_best_of_all_paths(seed):
    frames, count = 5, 3
    costs = 2 * torch.rand(frames, count, generator=torch.Generator().manual_seed(seed))
    rotations = random_rotations(frames, count, seed=seed)

    def cost_of(path):
        own = sum(float(costs[t, k]) for t, k in enumerate(path))
        turns = [float(angle_between(rotations[t, path[t]], rotations[t + 1, path[t + 1]])) for t in range(frames - 1)]
        return own + sum(TURNING * turn**2 / (turn + USUAL_TURN) for turn in turns)

    best = min(itertools.product(range(count), repeat=frames), key=cost_of)
    assert likeliest_path(costs, rotations).tolist() == list(best)


def test_a_steady_turn_stays_as_it_is_across_gaps_too():
    numbers = torch.tensor([3.0, 4, 5, 6, 9, 10, 11, 12, 13, 20, 21])
    rotations = turning(30)[numbers.long()]
    assert angle_between(smooth_path(rotations, numbers), rotations).max() < math.radians(0.3)
    two = rotations[:2]
    assert angle_between(smooth_path(two, numbers[:2]), two).max() < math.radians(0.3)


def test_jitter_is_smoothed_and_outliers_do_not_count():
    true, numbers = turning(40), torch.arange(40.0)
    jitter = Rotation.from_rotvec(0.15 * np.random.default_rng(0).normal(size=(40, 3))).as_matrix()
    seen = torch.from_numpy(jitter).float() @ true
    seen[[7, 8, 21, 33]] = random_rotations(4)
    off = angle_between(smooth_path(seen, numbers), true)
    others = torch.ones(40, dtype=torch.bool).index_fill(0, torch.tensor([7, 8, 21, 33]), False)
    assert off.mean() < 0.5 * angle_between(seen, true)[others].mean() and off.max() < 0.3


def test_the_middle_of_rotations_is_their_mean_but_for_those_far_off():
    near = torch.from_numpy(Rotation.from_rotvec(
        0.02 * np.random.default_rng(1).normal(size=(20, 3))).as_matrix()).float() @ random_rotations(1, seed=3)
    mean = torch.from_numpy(Rotation.from_matrix(near.numpy()).mean().as_matrix()).float()
    assert angle_between(middle_rotation(near), mean) < 0.005
    assert angle_between(middle_rotation(torch.cat([near, random_rotations(6)])), mean) < 0.05


def test_a_hint_decides_between_two_sides():
    rotations = torch.stack([turning(9, 0.0), about_z(torch.tensor(math.pi)) @ turning(9, 0.0)], 1)
    found = found_at(rotations, torch.tensor([[0.0, 0.5]]).expand(9, 2))
    assert (steady_state(found, torch.arange(9.0)).placement == 0).all()
    hints = Hints(torch.tensor([4]), rotations[4:5, 1])
    assert (steady_state(found, torch.arange(9.0), hints).placement == 1).all(), "the hint of one frame holds for all"


def test_with_a_solved_camera_the_path_turns_as_that_does():
    solve, rest = turning(12, 9.0), random_rotations(1, seed=8)
    rotations = torch.stack([solve @ rest, random_rotations(12)], 1)
    state = steady_state(found_at(rotations, torch.zeros(12, 2)), torch.arange(12.0), turning=solve)
    assert angle_between(state.rotation, solve @ rest).max() < 0.01


def test_every_hypothesis_is_evaluated_and_the_best_candidate_is_the_state_along_its_path():
    model, (images, masks) = taught_a_little(model_of()), pictures(3, 64)
    told = []
    found = candidates(model, images, masks, RENDERER, lambda step, steps: told.append((step, steps)))
    assert found.costs.shape == (3, 4) and found.rotations.shape == (3, 4, 3, 3)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    path = torch.tensor([2, 0, 3])
    along = found.along(path)
    for frame, which in enumerate(path.tolist()):
        assert torch.equal(along.handles[frame], found.states[which].handles[frame])
        assert torch.equal(along.rotation[frame], found.rotations[frame, which])
    alone = candidates(model, images[1:2], masks[1:2], RENDERER, lambda *_: None)
    torch.testing.assert_close(alone.costs[0], found.costs[1], rtol=1e-3, atol=1e-3)
