"""Turn and jumps of a camera against paths whose angles are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vmr_backend.geometry.sphere import icosphere
from vmr_backend.metrics.viewpoints import flipped, rotation_rates, turn
from vmr_backend.outputs.picture import look_from
from vmr_backend.reconstruction import Reconstruction


def seen_from(azimuths, elevation=0.0, numbers=None) -> Reconstruction:
    """A ball at rest, seen by a camera that goes round it: one frame for each azimuth in degrees."""
    ball, count = icosphere(1), len(azimuths)
    rotation = np.stack([look_from(azimuth, elevation) for azimuth in azimuths]).astype(np.float32)
    vertices = (0.5 * ball.vertices).astype(np.float32)
    return Reconstruction(
        np.arange(count, dtype=np.int32) if numbers is None else np.int32(numbers), np.repeat(vertices[None], count, 0),
        vertices, ball.faces.astype(np.int32), np.zeros((len(ball.faces), 3, 2), np.float32), rotation,
        np.tile(np.float32([0, 0, 4]), (count, 1)), np.tile(np.float32([100, 100, 50, 50]), (count, 1)),
        np.int32([100, 100]))


def spherical_distance(azimuth, elevation):
    """Degrees between two places at the same elevation (haversine)."""
    half = np.cos(np.radians(elevation)) * np.sin(np.radians(azimuth) / 2)
    return np.degrees(2 * np.arcsin(half))


@pytest.mark.parametrize("last", [0.0, 7.0, 90.0, 180.0])
@pytest.mark.parametrize("elevation", [0.0, 30.0])
def test_the_turn_is_the_angle_between_the_two_views_farthest_apart(last, elevation):
    found = turn(seen_from(np.linspace(0, last, 9), elevation))
    assert found == pytest.approx(spherical_distance(last, elevation), abs=0.05)


def test_to_and_fro_counts_once_and_all_round_is_half_a_circle():
    assert turn(seen_from(20 * np.sin(np.linspace(0, 12, 200)))) == pytest.approx(40, abs=0.2)
    assert turn(seen_from(np.arange(36) * 10.0)) == pytest.approx(180, abs=0.05)


def test_rolling_and_panning_cameras_see_nothing_new():
    still = seen_from([30.0] * 12)
    roll = Rotation.from_euler("z", np.arange(12)[:, None] * 25, degrees=True).as_matrix().astype(np.float32)
    pan = Rotation.from_euler("yx", np.stack([np.arange(12), -np.arange(12)], 1) * 2, degrees=True).as_matrix()
    for moved in (roll, pan.astype(np.float32)):
        both = {"camera_rotation": moved @ still.camera_rotation,
                "camera_translation": np.einsum("tij,tj->ti", moved, still.camera_translation)}
        assert turn(replace(still, **both)) == pytest.approx(0, abs=0.05)


def test_only_trusted_frames_are_looked_at():
    result = seen_from([0.0, 10.0, 190.0, 20.0])
    assert turn(result) == pytest.approx(180, abs=0.05)
    assert turn(result, np.array([True, True, False, True])) == pytest.approx(20, abs=0.05)


def test_rates_are_per_frame_of_the_clip():
    assert rotation_rates(seen_from([0.0, 4.0, 13.0], numbers=[5, 6, 9])) == pytest.approx([4, 3], abs=0.05)


def paths():
    steady = np.linspace(0, 60, 24)
    flip = np.zeros(24)
    yield "steady", steady, []
    yield "still", np.zeros(24), []
    flip[11] = 180
    yield "one frame", steady + flip, [11]
    flip[:] = 0
    flip[9:14] = 170
    yield "there and back", steady + flip, range(9, 14)
    yield "first", steady + 150 * (np.arange(24) < 2), [0, 1]
    yield "last part", steady + 180 * (np.arange(24) >= 17), range(17, 24)
    yield "a dancer", 26 * np.arange(24), []
    yield "a dancer, flipped once", 26 * np.arange(24) + 180 * (np.arange(24) == 6), [6]
    yield "a quick turn", np.cumsum(np.where(np.arange(24) == 12, 28, 1.0)), []
    yield "twice", steady + 180 * np.isin(np.arange(24), [3, 4, 18]), [3, 4, 18]


@pytest.mark.parametrize("azimuths, wrong", [pytest.param(*rest, id=name) for name, *rest in paths()])
def test_frames_that_jump_to_another_side_are_found(azimuths, wrong):
    assert np.flatnonzero(flipped(seen_from(azimuths, 10.0))).tolist() == list(wrong)


def test_across_frames_left_out_a_subject_may_have_turned():
    numbers = [0, 1, 2, 3, 4, 5, 12, 13, 14, 15]
    assert not flipped(seen_from(5.0 * np.array(numbers), numbers=numbers)).any()


def test_two_frames_are_enough():
    assert not flipped(seen_from([0.0, 3.0])).any()
