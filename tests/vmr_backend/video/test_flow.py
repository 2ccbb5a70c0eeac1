"""Flow: on subjects that move in a known way it leads to the right place, in the crops' coordinates."""

import cv2
import numpy as np
import pytest
from tiny_clips import film, pose

from vmr_backend.video.crops import Crop, cut, pixel_centres
from vmr_backend.video.flow import View, consistency, flow_between, sample

SIZE = 64
STILL = pose(64, 48)
MOTIONS = {
    "right": (pose(60, 48), pose(64, 48)),
    "down": (pose(64, 46), pose(64, 50)),
    "up and left": (pose(66, 50), pose(62, 47)),
    "turning": (pose(64, 48), pose(64, 48, degrees=6)),
    "coming nearer": (pose(64, 48), pose(65, 47, zoom=1.08)),
}
CROPS = {
    "same crop": (Crop(np.array([64.0, 48]), 40), Crop(np.array([64.0, 48]), 40)),
    "crop that moves": (Crop(np.array([60.0, 50]), 40), Crop(np.array([62.5, 48.2]), 40)),
    "crop that zooms": (Crop(np.array([64.0, 48]), 36), Crop(np.array([63.0, 49]), 47)),
}


def views(clip, crops):
    return [
        View(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), mask, crop)
        for frame, mask, crop in zip(clip.frames, clip.masks, crops, strict=True)
    ]


def true_flow(clip, crop_from, crop_to, start=0, end=1):
    """(S, S, 2): where each pixel of a crop of frame `start` is seen in the crop of `end`, minus where it was."""
    a, b = clip.poses[start], clip.poses[end]
    ndc = pixel_centres(SIZE).astype(float)
    px = crop_from.centre + crop_from.half * ndc
    moved = (px - a[:, 2]) @ np.linalg.inv(a[:, :2]).T @ b[:, :2].T + b[:, 2]
    return (moved - crop_to.centre) / crop_to.half - ndc


@pytest.mark.parametrize("crops", CROPS.values(), ids=CROPS.keys())
@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS.keys())
def test_end_points_are_right_in_the_coordinates_of_both_crops(motion, crops):
    clip = film(motion)
    flow = flow_between(*views(clip, crops), SIZE)
    for found, weight, start in (
        (flow.forward, flow.forward_consistency, 0),
        (flow.backward, flow.backward_consistency, 1),
    ):
        crop_from, crop_to = crops[start], crops[1 - start]
        true = true_flow(clip, crop_from, crop_to, start, 1 - start)
        core = cut(clip.masks[start], crop_from, SIZE) == 255
        error_px = np.linalg.norm(found - true, axis=-1)[core] * crop_to.half
        assert np.median(error_px) < 0.25
        assert error_px.mean() < 0.6
        assert weight[core].mean() > 0.8


@pytest.mark.parametrize("crops", CROPS.values(), ids=CROPS.keys())
@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS.keys())
def test_the_next_image_warped_by_the_flow_is_this_image(motion, crops):
    clip = film(motion)
    flow = flow_between(*views(clip, crops), SIZE)
    images = [cut(frame, crop, SIZE).astype(np.float32) for frame, crop in zip(clip.frames, crops, strict=True)]
    for a, b, found, start in ((0, 1, flow.forward, 0), (1, 0, flow.backward, 1)):
        core = cut(clip.masks[start], crops[start], SIZE) == 255
        warped = sample(images[b], pixel_centres(SIZE) + found)
        error = np.abs(warped - images[a])[core].mean()
        unwarped = np.abs(images[b] - images[a])[core].mean()
        assert error < 0.35 * unwarped


def test_a_background_that_moves_leaves_a_resting_subject_at_rest():
    clip = film([STILL, STILL])
    scene = np.roll(clip.frames[1], 5, axis=1)
    clip.frames[1][:] = np.where(clip.masks[1][..., None] > 0, clip.frames[1], scene)
    flow = flow_between(*views(clip, CROPS["same crop"]), SIZE)
    inside = cut(clip.masks[0], CROPS["same crop"][0], SIZE) > 127
    assert np.linalg.norm(flow.forward, axis=-1)[inside].max() * 40 < 0.5


def test_what_is_hidden_in_the_other_frame_counts_little():
    clip = film([STILL, STILL])
    clip.frames[1][30:66, 70:90] = np.random.default_rng(0).integers(0, 255, (36, 20, 3))
    crops = CROPS["same crop"]
    flow = flow_between(*views(clip, crops), SIZE)
    columns = crops[0].centre[0] + crops[0].half * pixel_centres(SIZE)[..., 0]
    core = cut(clip.masks[0], crops[0], SIZE) == 255
    hidden, seen = core & (columns > 72) & (columns < 88), core & (columns < 64)
    assert flow.forward_consistency[hidden].mean() < 0.6
    assert flow.forward_consistency[seen].mean() > 0.9


def test_going_there_and_back_to_the_start_is_consistent():
    there = np.full((20, 30, 2), (3.0, -2.0), np.float32)
    np.testing.assert_allclose(consistency(there, -there), 1)
    assert (consistency(there, there) < 0.01).all()
    off_by_one = consistency(there, -there + np.float32([1, 0]))
    assert (off_by_one > 0.1).all() and (off_by_one < 0.5).all()


def test_values_are_sampled_at_crop_coordinates():
    values = pixel_centres(16)
    places = np.array([[[-0.5, 0.25], [0.0, 0.0], [0.8, -0.8]]], np.float32)
    np.testing.assert_allclose(sample(values, places), places, atol=0.01)
    assert (sample(values + 5, np.full((1, 1, 2), 3, np.float32)) == 0).all()
