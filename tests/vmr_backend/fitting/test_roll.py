"""A subject that rolls in the picture: read off the flow, and tried by the camera search."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from spheres import fitter_of, sphere_seen_by, view_of
from turning_eggs import write

from vmr_backend.fitting.observations import far_flows
from vmr_backend.fitting.roll import roll_path
from vmr_backend.fitting.search import NOTABLE_ROLL, search, starts_of
from vmr_backend.priors import Priors
from vmr_backend.video.crops import pixel_centres
from vmr_backend.video.footage import load_footage


def with_flow(footage, angle, limbs=0.0):
    """The footage (T,) with the flow of a subject that turns clockwise by `angle` radians in each frame and grows by a
    tenth; of the share `limbs` of its width that moves otherwise."""
    place = pixel_centres(footage.masks.shape[1])
    factor = 1.1 * np.exp(1j * angle)
    there = place @ [1, 1j]
    ahead, back = (np.stack([(there * (f - 1)).real, (there * (f - 1)).imag], -1) for f in (factor, 1 / factor))
    columns = round(limbs * len(place))
    ahead[:, :columns], back[:, :columns] = [0.3, 0.2], [-0.3, -0.2]
    frames = len(footage.numbers) - 1

    def each(field):
        return np.repeat(field[None].astype(np.float16), frames, 0)

    sure = np.ones(place.shape[:2])
    return replace(footage, flow_forward=each(ahead), flow_backward=each(back), flow_forward_weight=each(sure),
                   flow_backward_weight=each(sure))


@pytest.mark.parametrize("limbs", [0.0, 0.3])
@pytest.mark.parametrize("degrees", [-6.0, 0.0, 9.0])
def test_roll_is_the_turn_in_the_picture_that_most_of_the_flow_agrees_on(turning_egg, degrees, limbs):
    frames = len(turning_egg.footage.numbers)
    path = np.degrees(roll_path(with_flow(turning_egg.footage, np.radians(degrees), limbs)))
    assert path.mean() == pytest.approx(0, abs=1e-6)
    # Smoothing holds the path back at its ends.
    np.testing.assert_allclose(np.diff(path)[2:-2], np.full(frames - 5, degrees), atol=0.3)


def test_footage_whose_flow_is_nowhere_trusted_does_not_roll(turning_egg):
    blind = with_flow(turning_egg.footage, 0.1)
    blind = replace(blind, flow_forward_weight=0 * blind.flow_forward_weight,
                    flow_backward_weight=0 * blind.flow_backward_weight)
    assert (roll_path(blind) == 0).all()


def test_rolling_paths_are_tried_beside_upright_ones_only_where_flow_shows_a_roll():
    numbers = np.arange(9)
    still, rolling = (starts_of(4, Priors(), numbers, extent * np.linspace(-0.5, 0.5, 9))
                      for extent in (0.9 * NOTABLE_ROLL, 1.5))
    assert {h.roll for h in still.hypotheses} == {0.0} and len(still.hypotheses) == 4
    assert [h.roll for h in rolling.hypotheses[:4]] == [0.0] * 4
    assert {round(h.roll, 6) for h in rolling.hypotheses[4:]} == {0.9, 1.5}
    assert len(rolling.hypotheses) == len(rolling.turn) == len(rolling.tilt)
    for hypothesis, tilt in zip(rolling.hypotheses, rolling.tilt, strict=True):
        turned = tilt[-1] @ tilt[0].T
        np.testing.assert_allclose(turned @ [0, 0, 1], [0, 0, 1], atol=1e-12)
        assert np.arctan2(turned[1, 0], turned[0, 0]) == pytest.approx(hypothesis.roll)


def test_a_search_finds_that_the_subject_rolls(turning_egg, filmed_rolling, quick):
    footage, random = filmed_rolling, np.random.default_rng(0)
    starts = starts_of(2, Priors(), footage.numbers, roll_path(footage))
    solution, fitter = sphere_seen_by(view_of(footage, quick.field_of_view), starts), fitter_of(footage, quick)
    seen = fitter.observe(48, far_flows(footage), random)
    found = search(solution, starts.hypotheses, seen, fitter, random, lambda *step: None)
    assert found[0].roll > 0.5, "and is none of those that stay upright"


@pytest.fixture(scope="module")
def filmed_rolling(turning_egg, tmp_path_factory):
    """The turning egg before a camera that rolls by 120 degrees about its middle."""
    folder = tmp_path_factory.mktemp("rolling_egg")
    width, height = turning_egg.footage.image_size
    middle, size = (width / 2, height / 2), (width, height)

    def rolled(images):
        turns = np.linspace(-60, 60, len(images))
        return [cv2.warpAffine(image, cv2.getRotationMatrix2D(middle, turn, 1.0), size)
                for image, turn in zip(images, turns, strict=True)]

    frames = write(folder / "frames", rolled(turning_egg.pictures))
    masks = write(folder / "masks", rolled([mask * np.uint8(255) for mask in turning_egg.masks.values()]))
    return load_footage(frames, masks, crop_size=64)
