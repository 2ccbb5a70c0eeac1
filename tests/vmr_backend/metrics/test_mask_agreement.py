"""J and F against closed forms and against an independent implementation."""

from dataclasses import replace

import cv2
import numpy as np
import oracle
import pytest

from vmr_backend.job import BadInput
from vmr_backend.metrics import raster
from vmr_backend.metrics.mask_agreement import boundary, contour_accuracy, evaluate, region_similarity


def box(left, right, top=20, bottom=60, shape=(100, 120)):
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def blob(seed, shape):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(shape), (0, 0), 4)
    return noise > np.quantile(noise, 0.3 + 0.05 * (seed % 10))


def test_region_similarity_is_intersection_over_union():
    assert region_similarity(box(20, 60), box(20, 60)) == 1
    assert region_similarity(box(20, 60), box(40, 80)) == pytest.approx(1 / 3)
    assert region_similarity(box(20, 60), box(60, 80)) == 0
    assert region_similarity(box(0, 0), box(0, 0)) == 1


def test_contours_within_the_tolerance_match():
    tolerance = 2   # 0.008 of the diagonal of 100 x 120, rounded up
    assert contour_accuracy(box(20, 60), box(20 + tolerance, 60 + tolerance)) == 1
    assert contour_accuracy(box(20, 60, 20, 60), box(30, 50, 30, 50)) == 0
    assert contour_accuracy(box(20, 60), box(0, 0)) == 0
    assert contour_accuracy(box(0, 0), box(0, 0)) == 1


def test_boundary_of_a_pixel_is_itself_and_its_upper_left_neighbours():
    mask = box(3, 4, 3, 4, (6, 6))
    assert np.argwhere(boundary(mask)).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


@pytest.mark.parametrize("seed", range(10))
def test_scores_of_random_blobs_equal_the_independent_ones(seed):
    shape = (50 + 7 * seed, 90 + 3 * seed)
    a, b = blob(seed, shape), blob(seed + 100, shape)
    assert np.array_equal(boundary(a), oracle.boundary(a))
    assert region_similarity(a, b) == pytest.approx(oracle.region_similarity(a, b), abs=1e-12)
    assert contour_accuracy(a, b) == pytest.approx(oracle.contour_accuracy(a, b), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_faces_drawn_at_random_equal_the_independent_ones(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    points, depth = rng.uniform(-0.2, 1.2, (60, 2)) * [80, 50], rng.uniform(-0.1, 2, 60)
    faces = rng.integers(0, 60, (200, 3))
    faces[:5] = faces[:5, :1]
    expected = oracle.rasterise(points, depth, faces, 80, 50)
    monkeypatch.setattr(raster, "CANDIDATES_AT_ONCE", 5000)
    found = raster.rasterise(points, depth, faces, (80, 50))
    assert np.array_equal(found[0], expected[0])
    assert np.allclose(found[1], expected[1], atol=1e-12)


def test_a_square_covers_the_pixels_whose_centres_it_holds():
    points = np.array([[1.4, 1.4], [3.6, 1.4], [3.6, 3.6], [1.4, 3.6]])
    face, weights = raster.rasterise(points, np.ones(4), np.array([[0, 1, 2], [0, 3, 2]]), (6, 5))
    assert np.argwhere(face >= 0).tolist() == [[y, x] for y in (1, 2, 3) for x in (1, 2, 3)]
    assert np.allclose(weights.sum(2), face >= 0)


def test_faces_behind_the_camera_or_off_the_picture_are_not_drawn():
    points = np.array([[0.0, 0], [9, 0], [0, 9], [90, 90], [99, 90], [90, 99]])
    assert (raster.rasterise(points, np.r_[-np.ones(3), np.ones(3)], np.arange(6).reshape(2, 3), (8, 8))[0] < 0).all()


def test_evaluate_scores_the_frames_that_have_masks(egg):
    scores = evaluate(replace(egg.result, frames=egg.result.frames + 5), {5: egg.masks[0], 7: egg.masks[2], 99: None})
    assert scores.frames.tolist() == [5, 7]
    assert scores.j.tolist() == scores.f.tolist() == [1, 1]
    with pytest.raises(BadInput, match="masks: found none for the result's frames 0 to 11"):
        evaluate(egg.result, {99: egg.masks[0]})
