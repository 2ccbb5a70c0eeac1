"""Crops: where they lie, what they contain, and that their pixels are where crop coordinates say."""

import numpy as np
import pytest

from vmr_backend.video.crops import Crop, crop_track, cut, inside_frame, pixel_centres


def crop(x, y, half):
    return Crop(np.array([x, y], float), half)


@pytest.mark.parametrize("half", [8, 20.5, 64, 300])
@pytest.mark.parametrize("size", [32, 96])
def test_pixels_lie_where_crop_coordinates_say(half, size):
    """On an image whose values are its own coordinates, a crop's pixel tells the place it was taken from."""
    coordinates = np.stack(np.meshgrid(np.arange(1000) + 0.5, np.arange(900) + 0.5), -1).astype(np.float32)
    place = crop(480.3, 410.8, half)
    expected = place.centre + place.half * pixel_centres(size)
    np.testing.assert_allclose(cut(coordinates, place, size), expected, atol=0.05)


def test_masks_are_averaged_over_the_area_of_each_pixel():
    image = np.zeros((200, 200), np.uint8)
    image[:, :104] = 255
    place = crop(100, 100, 80)  # 10 px to a pixel of the crop: the edge is 2.4 pixels right of its centre line
    row = cut(image, place, 16)[8] / 255
    np.testing.assert_allclose(row[:8], 1)
    np.testing.assert_allclose(row[8], 0.4, atol=0.02)
    np.testing.assert_allclose(row[9:], 0, atol=0.01)


def test_inside_ends_at_the_border_of_the_frame():
    inside = inside_frame(crop(10, 50, 20), 40, (100, 60))  # one pixel each, columns from -10, rows from 30
    assert not inside[:, :10].any() and not inside[30:].any()
    assert inside[:30, 10:].all()


def test_crops_follow_smoothly_and_contain_the_box_with_room():
    rng = np.random.default_rng(0)
    count = 60
    middle = np.cumsum(rng.normal(0, 6, (count, 2)), 0) + 300
    extent = 40 + 25 * np.abs(np.sin(np.arange(count) / 3))[:, None] * rng.uniform(0.7, 1.3, (count, 2))
    boxes = np.concatenate([middle - extent, middle + extent], 1)
    centre, half = crop_track(boxes, np.arange(count))
    assert (np.abs(boxes[:, :2] - centre) + 0.09 * extent < half[:, None]).all()
    assert (np.abs(boxes[:, 2:] - centre) + 0.09 * extent < half[:, None]).all()
    assert (half >= 1.2 * extent.max(1) - 1e-9).all()

    def jerk(track):
        return np.abs(np.diff(track, n=2, axis=0)).mean()

    assert jerk(centre) < 0.3 * jerk(middle)
    assert jerk(half) < 0.3 * jerk(1.2 * extent.max(1))


def test_a_subject_that_rests_is_framed_as_in_lasr():
    boxes = np.tile([100.0, 50, 180, 90], (5, 1))
    centre, half = crop_track(boxes, np.array([3, 4, 5, 6, 7]))
    np.testing.assert_allclose(centre, np.tile([140, 70], (5, 1)))
    np.testing.assert_allclose(half, 1.2 * 40)


def test_frames_far_apart_do_not_pull_at_each_other():
    boxes = np.array([[0.0, 0, 20, 20]] * 3 + [[200.0, 0, 220, 20]] * 3)
    centre, half = crop_track(boxes, np.array([0, 1, 2, 50, 51, 52]))
    np.testing.assert_allclose(centre[:, 0], [10, 10, 10, 210, 210, 210])
    np.testing.assert_allclose(half, 12)
