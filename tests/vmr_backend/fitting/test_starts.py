"""Where the camera search starts: a grid where nothing is known, and paths that agree with what is."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from spheres import camera_from

from vmr_backend.fitting.search import HEADINGS, RATES, starts_of
from vmr_backend.fitting.view import View
from vmr_backend.geometry.cameras import LEVEL_CAMERA
from vmr_backend.geometry.rotations import about_x, about_z
from vmr_backend.job import FrameRotation, JobRequest, facing
from vmr_backend.priors import PredictedLandmarks, Priors, priors_of, yaw_of

NUMBERS = np.arange(10, 31)
UPRIGHT = np.zeros(21)
VIEW = View(torch.from_numpy(NUMBERS).float(), torch.tensor([400.0, 400, 100, 60]).expand(21, 4),
            torch.tensor([110.0, 50]).expand(21, 2), torch.full((21,), 40.0))


def known(**values) -> Priors:
    return priors_of(JobRequest("/fox.mp4", **values).check())


def paths_of(starts) -> np.ndarray:
    """(H, T, 3, 3) rotations as the camera path of a fit begins with them."""
    rotation, _ = camera_from(VIEW, starts)(1.0)
    assert torch.allclose(camera_from(VIEW, starts)(0.0)[0], rotation), "also where nothing but a turn is free"
    return rotation.detach().numpy()


def tumbling() -> np.ndarray:
    """(T, 3, 3): a subject that turns, rolls and pitches."""
    t = np.linspace(0, 1, len(NUMBERS))
    turn = Rotation.from_euler("zxy", np.stack([0.4 + 2.5 * t, 0.3 * np.sin(6 * t), 0.4 * t], 1))
    return Rotation.from_euler("x", 0.2).as_matrix() @ LEVEL_CAMERA.double().numpy() @ turn.as_matrix()


def solve_of(rotations, by: Rotation) -> list[FrameRotation]:
    return [FrameRotation(int(n), (r @ by.as_matrix().T).ravel().tolist())
            for n, r in zip(NUMBERS, rotations, strict=True)]


@pytest.mark.parametrize("count", [1, 2, 3, 16, 40])
def test_where_nothing_is_known_as_many_are_tried_as_asked_for_and_both_senses_from_two_on(count):
    found = starts_of(count, Priors(), NUMBERS, UPRIGHT)
    assert len(found.hypotheses) == len(found.turn) == count and not found.solved
    assert all(h.kept and not h.scores for h in found.hypotheses)
    assert len({h.turn > 0 for h in found.hypotheses}) == min(count, 2)
    assert len({(round(h.heading, 6), round(h.turn, 6)) for h in found.hypotheses}) == min(count, 16)
    assert np.array_equal(found.tilt, np.broadcast_to(np.eye(3), (count, 21, 3, 3)))


def test_an_unknown_path_turns_evenly_by_frame_number_about_its_heading():
    numbers = np.array([10, 12, 20])
    found = starts_of(3, Priors(), numbers, np.zeros(3))
    for path, one, rate in zip(found.turn, found.hypotheses, RATES, strict=False):
        np.testing.assert_allclose(path, HEADINGS[0] + rate * np.array([-0.5, -0.3, 0.5]))
        assert (one.heading, one.turn) == pytest.approx((HEADINGS[0], rate))


def test_unknown_paths_stand_upright_before_a_camera_that_looks_down_a_little():
    for rotation in paths_of(starts_of(5, Priors(), NUMBERS, UPRIGHT)).reshape(-1, 3, 3):
        up = rotation @ [0, 0, 1]
        assert up[0] == pytest.approx(0, abs=1e-6) and -1 < up[1] < -0.9 and up[2] < 0


def test_a_predicted_path_is_tried_before_all_others():
    headings = np.linspace(2, 4, len(NUMBERS))
    seen = PredictedLandmarks((), np.zeros((len(NUMBERS), 0, 2), np.float32), headings)
    found, others = (starts_of(4, Priors(landmarks=one), NUMBERS, UPRIGHT) for one in (seen, None))
    assert len(found.hypotheses) == len(found.turn) == len(found.tilt) == 5
    np.testing.assert_allclose(found.turn[0], headings)
    assert (found.hypotheses[0].heading, found.hypotheses[0].turn) == pytest.approx((3, 2))
    np.testing.assert_array_equal(found.turn[1:], others.turn)
    assert found.hypotheses[1:] == others.hypotheses
    up = paths_of(found)[0] @ [0, 0, 1]
    assert np.abs(up[:, 0]).max() < 1e-6 and up[:, 1].max() < -0.9, "upright, as others are"


def test_of_a_choice_of_paths_the_first_can_be_taken_alone():
    found = starts_of(4, Priors(), NUMBERS, UPRIGHT)
    assert found.first().hypotheses == found.hypotheses[:1]
    assert np.array_equal(found.first().turn, found.turn[:1]) and np.array_equal(found.first().tilt, found.tilt[:1])


@pytest.mark.parametrize("hints", [{15: 60}, {12: 150, 20: -150, 26: -100}, {10: 0, 30: 350}],
                         ids=["one", "three", "at both ends"])
def test_paths_agree_with_hints_at_their_frames(hints):
    starts = starts_of(16, known(hints=[facing(*hint) for hint in hints.items()]), NUMBERS, UPRIGHT)
    assert not starts.solved
    for path in paths_of(starts):
        for frame, degrees in hints.items():
            expected = np.reshape(facing(frame, degrees).rotation, (3, 3))
            np.testing.assert_allclose(path[frame - 10], expected, atol=1e-5)


def test_a_single_hint_leaves_open_how_the_subject_turns_and_several_do_not():
    one, two = (starts_of(16, known(hints=[facing(*hint) for hint in hints]), NUMBERS, UPRIGHT)
                for hints in ([(15, 60)], [(15, 60), (25, 90)]))
    assert sorted(h.turn for h in one.hypotheses) == pytest.approx(sorted([0.0, *RATES]))
    assert len(two.hypotheses) == 1
    assert [h.turn for h in two.hypotheses] == pytest.approx([math.radians(30)])


def test_hints_are_kept_whole_where_the_subject_rolls_or_the_camera_looks_down():
    rolling = tumbling()
    hints = [FrameRotation(int(NUMBERS[i]), rolling[i].ravel().tolist()) for i in (3, 17)]
    (path,) = paths_of(starts_of(16, known(hints=hints), NUMBERS, UPRIGHT))
    np.testing.assert_allclose(path[[3, 17]], rolling[[3, 17]], atol=1e-5)
    np.testing.assert_allclose(path @ path.transpose(0, 2, 1), np.eye(3)[None].repeat(21, 0), atol=1e-5)


def test_a_solve_leaves_one_rotation_of_the_subject_open():
    true = tumbling()
    solve = solve_of(true, Rotation.random(rng=np.random.default_rng(0)))
    starts = starts_of(16, known(camera_solve=solve), NUMBERS, UPRIGHT)
    assert starts.solved
    paths = paths_of(starts)
    assert len(paths) == len(starts.hypotheses) == 2 * len(HEADINGS)
    for path in paths:
        common = true.transpose(0, 2, 1) @ path
        np.testing.assert_allclose(common, common[:1].repeat(21, 0), atol=1e-5)
    middle = [math.degrees(yaw_of(path[10].astype(float))) % 360 for path in paths]
    assert sorted(round(yaw) % 360 for yaw in middle) == sorted(
        round(math.degrees(h) + half) % 360 for h in HEADINGS for half in (0, 180)), "all round, front told from back"
    assert all(np.allclose(path[10] @ [0, 0, 1], [0, -1, 0], atol=1e-5) for path in paths), "upright in the middle"


def test_a_solve_and_a_hint_leave_nothing_open():
    true = tumbling()
    solve = solve_of(true, Rotation.random(rng=np.random.default_rng(1)))
    hints = [FrameRotation(17, true[7].ravel().tolist())]
    starts = starts_of(16, known(camera_solve=solve, hints=hints), NUMBERS, UPRIGHT)
    assert starts.solved and len(starts.hypotheses) == 1
    np.testing.assert_allclose(paths_of(starts)[0], true, atol=1e-5)


def test_hypotheses_tell_how_their_paths_turn():
    t = np.linspace(-0.5, 0.5, len(NUMBERS))
    true = (about_x(torch.tensor(0.3).double()) @ LEVEL_CAMERA.double() @ about_z(torch.from_numpy(1.0 + 2.2 * t)))
    starts = starts_of(16, known(camera_solve=solve_of(true.numpy(), Rotation.identity()),
                                 hints=[FrameRotation(20, true[10].numpy().ravel().tolist())]), NUMBERS, UPRIGHT)
    assert starts.hypotheses[0].turn == pytest.approx(2.2, abs=1e-6)
    assert starts.hypotheses[0].heading == pytest.approx(1.0, abs=1e-6)
