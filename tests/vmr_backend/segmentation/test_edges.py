"""The edge of a mask in the full frame, on pictures whose truth is known."""

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from vmr_backend.segmentation.edges import EdgeNetwork, edge_maps, refined


@pytest.fixture(scope="module")
def shipped():
    return EdgeNetwork.shipped()


def disc(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(columns - centre[0], rows - centre[1]) <= radius


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_an_edge_goes_to_where_colours_change(shipped, ratio):
    """Found where pixels are larger by a ratio; from 2 on the network looks at fewer pixels than the frame has."""
    truth = disc(165, (80, 80), 40)  # of no size that the network can halve
    grain = np.random.default_rng(0).normal(0, 6, (*truth.shape, 3))
    picture = np.where(truth[..., None], [180, 90, 40], [60, 120, 70])
    picture = (ndimage.gaussian_filter(picture.astype(float), (0.7, 0.7, 0)) + grain).clip(0, 255).astype(np.uint8)
    wrong = cv2.GaussianBlur(disc(165, (82, 79), 42).astype(np.float32), (0, 0), 2)
    found = cv2.resize(wrong, None, fx=1 / ratio, fy=1 / ratio, interpolation=cv2.INTER_AREA)
    edge = refined(found, picture, shipped)
    assert edge.shape == truth.shape and set(np.unique(edge)) == {0, 255}
    assert ((edge > 0) ^ truth).sum() < 0.5 * ((wrong > 0.5) ^ truth).sum()


def test_where_nothing_was_found_there_is_no_mask(shipped):
    assert not refined(np.zeros((40, 40)), np.zeros((160, 160, 3), np.uint8), shipped).any()


def test_a_subject_at_the_border_and_one_that_fills_the_frame_keep_their_size(shipped):
    picture = np.full((90, 130, 3), 90, np.uint8)
    picture[:, :60] = 200
    found = np.zeros((45, 65), np.float32)
    found[:, :30] = 1
    assert (refined(found, picture, shipped)[:, :57] > 0).all() and not refined(found, picture, shipped)[:, 64:].any()
    assert (refined(np.ones((45, 65)), picture, shipped) > 0).mean() > 0.99


def test_a_network_that_was_taught_nothing_adds_nothing():
    maps = torch.rand(1, EdgeNetwork.MAPS, 16, 24, generator=torch.Generator().manual_seed(0))
    odds = EdgeNetwork().eval()(maps)
    assert odds.shape == (1, 1, 16, 24)
    assert torch.allclose(odds.sigmoid(), maps[:, -1:].clamp(0.02, 0.98), atol=1e-6)


def test_what_colours_say_is_an_affine_function_of_them_around_each_pixel():
    """Where found values are one, they come back, however they were blurred."""
    rng = np.random.default_rng(1)
    picture = cv2.GaussianBlur(rng.random((60, 80, 3)), (0, 0), 4)
    picture = (255 * (picture - picture.min()) / np.ptp(picture)).astype(np.uint8)
    found = (picture / 255 @ [0.5, 0.2, 0.3]).astype(np.float32)
    maps = edge_maps(picture, found, 1.0)
    assert maps.shape == (60, 80, EdgeNetwork.MAPS) and maps.dtype == np.float32
    assert np.abs(maps[..., -1] - found).max() < 0.05
    assert np.array_equal(maps[..., :3], picture.astype(np.float32) / 255) and np.array_equal(maps[..., 3], found)
