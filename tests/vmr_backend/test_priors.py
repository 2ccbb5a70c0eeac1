"""What is known of the camera beforehand: where a fit may start from."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vmr_backend.geometry.cameras import LEVEL_CAMERA
from vmr_backend.geometry.rotations import about_x, about_z
from vmr_backend.job import BadInput, FrameRotation, JobRequest, facing
from vmr_backend.priors import (
    Priors,
    check_camera,
    hints_at,
    intrinsics_of,
    priors_of,
    starting_rotations,
    starting_turns,
    yaw_of,
)

NUMBERS = np.arange(10, 31)


def known(**values) -> Priors:
    return priors_of(JobRequest("/fox.mp4", **values).check())


def turned(rotations, by) -> list[FrameRotation]:
    """A solve of these rotations (T, 3, 3) at NUMBERS, in which the object's axes are turned by a rotation."""
    return [FrameRotation(int(n), (r @ by.as_matrix().T).ravel().tolist()) for n, r in zip(NUMBERS, rotations,
                                                                                       strict=True)]


def apart(a, b) -> np.ndarray:
    """Degrees between rotations (..., 3, 3)."""
    return np.degrees(np.arccos(np.clip((np.sum(a * b, (-1, -2)) - 1) / 2, -1, 1)))


def tumbling() -> np.ndarray:
    """(T, 3, 3): a subject that turns, rolls and pitches, seen from a bit above."""
    t = np.linspace(0, 1, len(NUMBERS))
    turn = Rotation.from_euler("zxy", np.stack([0.4 + 2.5 * t, 0.5 * np.sin(6 * t), 0.8 * t], 1))
    return Rotation.from_euler("x", 0.2).as_matrix() @ LEVEL_CAMERA.double().numpy() @ turn.as_matrix()


def test_a_hint_holds_for_its_frame_or_the_nearest_fitted_one_within_two():
    numbers = np.array([10, 11, 14, 15, 20])
    told = known(hints=[facing(frame, frame) for frame in (7, 8, 11, 13, 17, 18, 22, 23)])
    places, rotations = hints_at(told, numbers)
    assert numbers[places].tolist() == [10, 11, 14, 15, 20, 20]
    np.testing.assert_allclose(np.degrees(yaw_of(rotations)), [8, 11, 13, 17, 18, 22])
    for nothing in (known(), known(hints=[facing(99, 0)])):
        places, rotations = hints_at(nothing, numbers)
        assert places.shape == (0,) and rotations.shape == (0, 3, 3)


def test_nothing_known_leaves_all_open():
    assert starting_rotations(known(), NUMBERS) is None and starting_turns(known(), NUMBERS, [1.0]) is None
    np.testing.assert_allclose(intrinsics_of(known(), (640, 480), 90.0), [320, 320, 320, 240])


def test_the_focal_length_and_the_principal_point_stand_above_the_field_of_view():
    told = known(focal_length=812.5, principal_point=[300.0, 251.5])
    np.testing.assert_array_equal(intrinsics_of(told, (640, 480), 30.0), [812.5, 812.5, 300, 251.5])


@pytest.mark.parametrize(("values", "line"), [
    ({"focal_length": 63.9}, "focal_length: found 63.9 pixels, needs 64 to 640000 for pictures 640 pixels wide"),
    ({"focal_length": 1e6}, "focal_length: found 1e+06 pixels, needs 64 to 640000 for pictures 640 pixels wide"),
    ({"principal_point": [2561, 0]}, "principal_point: found x = 2561 pixels, needs -1920 to 2560 for pictures of "
                                     "640x480"),
    ({"principal_point": [0, -2e5]}, "principal_point: found y = -200000 pixels, needs -1440 to 1920 for pictures of "
                                     "640x480"),
])
def test_a_camera_that_could_not_film_pictures_of_their_size_is_refused(values, line):
    with pytest.raises(BadInput) as refused:
        check_camera(known(**values), (640, 480))
    assert str(refused.value) == line


def test_every_lens_and_a_picture_cut_out_of_a_larger_one_are_taken():
    for values in ({}, {"focal_length": 64}, {"focal_length": 640000}, {"principal_point": [-1920, 1920]}):
        check_camera(known(**values), (640, 480))


@pytest.mark.parametrize("degrees", [0.0, 35.0, 90.0, -120.0, 179.0])
def test_facing_means_the_yaw_of_the_fit_and_the_level_camera(degrees):
    yaw = torch.tensor(np.radians(degrees))
    seen = (LEVEL_CAMERA.double() @ about_z(yaw)).numpy()
    np.testing.assert_allclose(np.reshape(facing(0, degrees).rotation, (3, 3)), seen, atol=1e-12)
    for elevation in (-0.4, 0.0, 0.5):
        rotation = about_x(torch.tensor(elevation).double()).numpy() @ seen
        assert yaw_of(rotation) == pytest.approx(float(yaw))


def test_hints_are_joined_by_the_shortest_turns_and_held_beyond_their_ends():
    told = known(hints=[facing(25, 190), facing(15, 170)])
    found = starting_rotations(told, NUMBERS)
    degrees = np.degrees(np.unwrap(yaw_of(found))) % 360
    np.testing.assert_allclose(degrees, np.interp(NUMBERS, [15, 25], [170, 190]), atol=1e-6)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.eye(3)[None].repeat(21, 0), atol=1e-9)


def test_a_hint_of_a_rolling_subject_is_taken_whole():
    rolling = tumbling()[7]
    found = starting_rotations(known(hints=[FrameRotation(12, rolling.ravel().tolist())]), NUMBERS)
    np.testing.assert_allclose(found, rolling[None].repeat(21, 0), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_solve_and_one_exact_hint_give_every_frame(seed):
    true, by = tumbling(), Rotation.random(rng=np.random.default_rng(seed))
    hint = FrameRotation(17, true[7].ravel().tolist())
    found = starting_rotations(known(camera_solve=turned(true, by), hints=[hint]), NUMBERS)
    np.testing.assert_allclose(found, true, atol=1e-6)


def test_hints_of_a_user_are_averaged_over_the_solve():
    true, by = tumbling(), Rotation.random(rng=np.random.default_rng(1))
    off = Rotation.from_rotvec(np.radians([[0, 0, 20], [0, 0, -20], [15, 0, 0], [-15, 0, 0]])).as_matrix()
    hints = [FrameRotation(n, (true[n - 10] @ o).ravel().tolist()) for n, o in zip((11, 16, 21, 29), off, strict=True)]
    found = starting_rotations(known(camera_solve=turned(true, by), hints=hints), NUMBERS)
    assert apart(found, true).max() < 2


def test_a_solve_alone_stands_the_subject_upright_in_the_middle():
    true, by = tumbling(), Rotation.random(rng=np.random.default_rng(2))
    told = known(camera_solve=turned(true, by))
    for heading in (0.0, np.pi / 2):
        found = starting_rotations(told, NUMBERS, heading)
        np.testing.assert_allclose(found[10], np.reshape(facing(0, np.degrees(heading)).rotation, (3, 3)), atol=1e-9)
        turns, true_turns = found[1:] @ found[:-1].transpose(0, 2, 1), true[1:] @ true[:-1].transpose(0, 2, 1)
        np.testing.assert_allclose(turns, true_turns, atol=1e-6)


def test_frames_that_a_solve_lacks_lie_between_their_neighbours():
    t = np.linspace(0, 1, len(NUMBERS))
    true = (LEVEL_CAMERA.double() @ about_z(torch.from_numpy(1.5 * t))).numpy()
    solve = turned(true, Rotation.identity())
    told = known(camera_solve=solve[2:8] + solve[12:], hints=[facing(30, np.degrees(1.5))])
    np.testing.assert_allclose(starting_rotations(told, NUMBERS)[2:], true[2:], atol=1e-6)
    np.testing.assert_allclose(starting_rotations(told, NUMBERS)[:2], true[[2, 2]], atol=1e-6)


def test_a_single_hint_leaves_open_how_the_subject_turns():
    rates = [1.0, -1.0]
    found = starting_turns(known(hints=[facing(15, 60)]), NUMBERS, rates)
    np.testing.assert_allclose(found[:, 5], np.radians(60))
    np.testing.assert_allclose(np.ptp(found, axis=1), 1)
    np.testing.assert_allclose(np.diff(found, axis=1), np.array(rates)[:, None].repeat(20, 1) / 20)


def test_turns_pass_through_all_hints_whatever_the_rate():
    told = known(hints=[facing(12, 150), facing(20, -150), facing(26, -100)])
    found = starting_turns(told, NUMBERS, [0.6, -0.6, 1.8])
    assert found.shape == (3, 21)
    for frame, degrees in ((12, 150), (20, 210), (26, 260)):
        np.testing.assert_allclose(found[:, frame - 10], np.radians(degrees))
    assert np.ptp(found[:, 2:17], axis=0).max() < 1e-12
    assert (np.diff(found[1, 16:]) < 0).all() and (np.diff(found[2, 16:]) > 0).all()
