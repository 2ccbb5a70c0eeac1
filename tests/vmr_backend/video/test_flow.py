"""Flow: on subjects that move in a known way it leads to the right place, in the crops' coordinates."""

import cv2
import numpy as np
import pytest
from tiny_clips import film, pose

from vmr_backend.video.crops import Crop, cut, pixel_centres
from vmr_backend.video.flow import FlowFrame, consistency, crop_flow, flow_between, over_mean, sample

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
        FlowFrame(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), mask, crop)
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


DISC = {"radii": (36, 36), "size": (128, 128)}
STEPS = {
    "right": [pose(54 + 2 * t, 64) for t in range(6)],
    "up and left": [pose(68 - 1.5 * t, 66 - t) for t in range(6)],
    "turning": [pose(64, 64, degrees=3 * t) for t in range(6)],
    "resting": [pose(64, 64)] * 6,
}


def across(clip, gap):
    """Flow across a gap, with the masks (T, S, S) in 0..1 at the flow's resolution."""
    masks = np.stack(clip.masks).astype(np.float32) / 255
    small = np.stack([cv2.resize(mask, (64, 64), interpolation=cv2.INTER_AREA) for mask in masks])
    return crop_flow(np.stack(clip.frames), masks, gap), small


def true_step(clip, a, b):
    """(64, 64, 2) crop units: where each pixel of frame a goes in frame b, were it the subject's."""
    whole = Crop(np.array([64.0, 64.0]), 64)
    return true_flow(clip, whole, whole, a, b)


@pytest.mark.parametrize("gap", [1, 3, 5])
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_flow_across_a_gap_leads_to_the_partner_both_ways(steps, gap):
    clip = film(steps, **DISC)
    flow, masks = across(clip, gap)
    assert flow.gap == gap
    assert flow.forward.shape == flow.backward.shape == (6 - gap, 64, 64, 2)
    for t in range(6 - gap):
        for found, weight, a, b in ((flow.forward[t], flow.forward_weight[t], t, t + gap),
                                    (flow.backward[t], flow.backward_weight[t], t + gap, t)):
            error_px = 64 * np.linalg.norm(found - true_step(clip, a, b), axis=-1)
            core = masks[a] == 1
            assert np.median(error_px[core]) < 0.5
            assert (weight * error_px).sum() / weight.sum() < 0.8
            assert weight[core].mean() > 0.8


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_flow_across_a_gap_weighs_nothing_outside_the_masks_and_no_more_than_they_cover(steps):
    flow, masks = across(film(steps, **DISC), 3)
    for weight, cover in ((flow.forward_weight, masks[:-3]), (flow.backward_weight, masks[3:])):
        assert (weight[cover == 0] == 0).all()
        assert (weight <= cover + 1e-3).all() and weight.max() > 0.9


def test_going_across_a_gap_and_back_ends_at_the_start():
    flow, masks = across(film(STEPS["right"], **DISC), 4)
    for there, back, weight in ((flow.forward, flow.backward, flow.forward_weight),
                                (flow.backward, flow.forward, flow.backward_weight)):
        for t in range(2):
            ends = pixel_centres(64) + there[t].astype(np.float32)
            returned = ends + sample(back[t].astype(np.float32), ends)
            off_px = 64 * np.linalg.norm(returned - pixel_centres(64), axis=-1)
            assert np.median(off_px[weight[t] > 0.5]) < 0.3


def test_flow_across_a_gap_to_what_is_not_the_subject_weighs_nothing():
    clip = film(STEPS["right"], **DISC)
    clip.masks[3][:] = 0
    flow, _ = across(clip, 3)
    assert not flow.forward_weight[0].any() and not flow.backward_weight[0].any()
    assert flow.forward_weight[1].any()


def test_a_subject_that_is_another_in_the_partner_weighs_little():
    clip = film(STEPS["resting"], **DISC)
    clip.frames[3][:] = np.where(clip.masks[3][..., None] > 0, np.roll(clip.frames[3][::-1], 40, 1), clip.frames[3])
    flow, masks = across(clip, 3)
    assert flow.forward_weight[0][masks[0] == 1].mean() < 0.5 < flow.forward_weight[1][masks[1] == 1].mean()


def test_what_the_mask_leaves_out_is_painted_in_the_mean_of_the_rest():
    grey = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    mask = np.zeros((20, 30), np.float32)
    mask[3:15, 4:20], mask[15, 4:20] = 1, 0.25
    mean = np.average(grey, weights=mask)
    found = over_mean(grey, mask)
    assert found.dtype == np.uint8
    assert np.array_equal(found[3:15, 4:20], grey[3:15, 4:20])
    assert (np.abs(found[mask == 0] - mean) <= 0.51).all()
    np.testing.assert_allclose(found[15, 4:20], mean + 0.25 * (grey[15, 4:20] - mean), atol=0.51)


def test_a_picture_without_the_subject_is_black():
    assert not over_mean(np.full((4, 4), 200, np.uint8), np.zeros((4, 4), np.float32)).any()
