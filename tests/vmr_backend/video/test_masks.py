"""Masks: which one belongs to which frame, what counts as white, and what a mask says of its frame."""

import cv2
import numpy as np
import pytest
from tiny_clips import HEIGHT, WIDTH, texture, walk, with_alpha, write_clip, write_images, write_video

from vmr_backend.job import BadInput
from vmr_backend.video.clip import open_clip, select
from vmr_backend.video.mask_facts import absent, area_doubts, border_weight, mask_facts
from vmr_backend.video.masks import load_masks, mask_values


def numbered_masks(count, shape=(20, 30)):
    """Masks that can be told apart: mask n has n + 1 white columns."""
    masks = np.zeros((count, *shape), np.uint8)
    for n in range(count):
        masks[n, :, : n + 1] = 255
    return list(masks)


def matched(clip_path, masks_path, first=None, last=None) -> dict[int, int]:
    """Frame number → which of `numbered_masks` it was given."""
    clip = open_clip(clip_path)
    facts = load_masks(masks_path, clip, select(clip, first, last)).facts
    return {n: int((one.mask()[0] > 0).sum()) - 1 for n, one in facts.items()}


def plain_frames(folder, numbers):
    return write_images(folder, [np.zeros((20, 30), np.uint8)] * len(numbers), numbers=numbers)


def test_masks_belong_to_the_frames_of_their_numbers(tmp_path):
    frames = plain_frames(tmp_path / "f", range(10, 16))
    masks = write_images(tmp_path / "m", numbered_masks(3), "mask_{}.png", numbers=[11, 12, 15])
    assert matched(frames, masks) == {11: 0, 12: 1, 15: 2}
    assert matched(frames, masks, 12, 15) == {12: 1, 15: 2}


def test_as_many_masks_of_other_numbers_are_taken_in_order(tmp_path):
    frames = plain_frames(tmp_path / "f", range(5))
    from_one = write_images(tmp_path / "one", numbered_masks(5), numbers=range(1, 6))
    assert matched(frames, from_one) == {n: n for n in range(5)}
    assert matched(frames, from_one, 2, 3) == {2: 2, 3: 3}
    far = write_images(tmp_path / "far", numbered_masks(5), numbers=[100, 110, 120, 130, 140])
    assert matched(frames, far) == {n: n for n in range(5)}


def test_masks_of_the_range_alone_are_taken_in_order(tmp_path):
    frames = plain_frames(tmp_path / "f", range(100, 110))
    assert matched(frames, write_images(tmp_path / "m", numbered_masks(3)), 104, 106) == {104: 0, 105: 1, 106: 2}


def test_different_gaps_are_not_taken_for_another_numbering(tmp_path):
    frames = plain_frames(tmp_path / "f", [0, 1, 2, 4, 5])
    masks = write_images(tmp_path / "m", numbered_masks(5), numbers=[0, 1, 3, 4, 5])
    assert matched(frames, masks) == {0: 0, 1: 1, 4: 3, 5: 4}


def test_masks_of_a_video_belong_to_the_frames_in_order(tmp_path):
    masks = write_video(tmp_path / "m.avi", numbered_masks(5, (48, 64)), codec="FFV1")
    frames = write_images(tmp_path / "f", [np.zeros((48, 64), np.uint8)] * 7, numbers=range(3, 10))
    assert matched(frames, masks) == {3: 0, 4: 1, 5: 2, 6: 3, 7: 4}
    assert matched(frames, masks, 5, 9) == {n: n - 5 for n in range(5, 10)}


def test_a_video_takes_masks_from_a_folder(tmp_path):
    clip = write_video(tmp_path / "c.mp4", [np.zeros((48, 64), np.uint8)] * 4)
    masks = write_images(tmp_path / "m", numbered_masks(4, (48, 64)), "{}.png")
    assert matched(clip, masks) == {n: n for n in range(4)}


def test_alpha_is_the_mask_where_it_says_something():
    grey = np.array([[0, 255]], np.uint8)
    opaque, half = np.array([[255, 255]], np.uint8), np.array([[255, 0]], np.uint8)
    np.testing.assert_array_equal(mask_values(grey), grey)
    np.testing.assert_array_equal(mask_values(np.dstack([0 * grey, grey, 0 * grey])), grey)
    np.testing.assert_array_equal(mask_values(np.dstack([grey, grey, grey, opaque])), grey)
    np.testing.assert_array_equal(mask_values(np.dstack([grey, grey, grey, half])), half)


@pytest.mark.parametrize("deep", [False, True])
def test_white_is_brighter_than_half(tmp_path, deep):
    soft = np.zeros((12, 30), np.uint8)
    soft[:, 19], soft[:, 20], soft[:, 21:] = 127, 128, 255
    image = soft.astype(np.uint16) * 257 if deep else soft
    clip = open_clip(write_images(tmp_path, [image] * 2))
    masks = load_masks(tmp_path, clip, clip.numbers)
    assert (masks.facts[0].mask()[0] > 0).tolist() == [False] * 20 + [True] * 10
    assert masks.facts[0].brightest == 255 and masks.notes == []


def test_masks_of_another_size_are_resized_without_shifting(tmp_path):
    small = np.zeros((24, 32), np.uint8)
    small[6:12, 8:16] = 255
    frames = write_images(tmp_path / "f", walk(2).frames)
    clip = open_clip(frames)
    facts = load_masks(write_images(tmp_path / "m", [small] * 2), clip, clip.numbers).facts[0]
    assert facts.mask().shape == (HEIGHT, WIDTH)
    assert facts.box == (32, 24, 64, 48)


def test_facts_hold_box_area_and_the_mask_itself():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 5:25] = np.random.default_rng(0).random((10, 20)) > 0.3
    mask[10, 5] = mask[19, 24] = True
    facts = mask_facts(mask, 255)
    assert facts.box == (5, 10, 25, 20)
    assert facts.area == mask.sum()
    assert facts.contact == (0, 0, 0, 0)
    np.testing.assert_array_equal(facts.mask(), mask * np.uint8(255))


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (slice(10, 30), slice(0, 20), "cut off by the left border"),
        (slice(10, 30), slice(40, 60), "cut off by the right border"),
        (slice(0, 20), slice(20, 40), "cut off by the top border"),
        (slice(20, 40), slice(40, 60), "cut off by the right and bottom border"),
    ],
)
def test_a_subject_cut_off_by_the_border_is_doubted(rows, columns, words):
    mask = np.zeros((40, 60), bool)
    mask[rows, columns] = True
    weight, doubts = border_weight(mask_facts(mask, 255))
    assert doubts == [words]
    assert 0 < weight <= 0.2


def test_a_tip_at_the_border_costs_little_and_none_costs_nothing():
    mask = np.zeros((100, 100), bool)
    mask[20:80, 20:80] = True
    assert border_weight(mask_facts(mask, 255)) == (1, [])
    mask[50:56, :20] = True
    weight, doubts = border_weight(mask_facts(mask, 255))
    assert 0.85 < weight < 1
    assert doubts == ["cut off by the left border"]


def test_empty_and_nearly_empty_masks_mean_absent():
    def square(side):
        mask = np.zeros((100, 100), bool)
        mask[:side, :side] = True
        return mask_facts(mask, 255)

    reasons = absent([square(60), square(0), square(5), square(60), square(60)])
    assert reasons == [None, "the mask is empty", "the mask has only 25 pixels", None, None]


def test_a_mask_much_smaller_than_its_neighbours_is_doubted():
    areas = [100, 100, 100, 30, 100, 110, 120, 130]
    masks = [np.arange(200).reshape(10, 20) < area for area in areas]
    doubts = area_doubts([mask_facts(mask, 255) for mask in masks])
    assert [t for t, texts in enumerate(doubts) if texts] == [3]
    assert doubts[3] == ["mask of 30% of the area in the frames around it"]


def refused(clip_path, masks_path) -> str:
    clip = open_clip(clip_path)
    with pytest.raises(BadInput) as caught:
        load_masks(masks_path, clip, clip.numbers)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_masks_of_another_shape_are_refused(tmp_path):
    frames, _ = write_clip(tmp_path, walk(2))
    square = write_images(tmp_path / "square", [np.zeros((96, 96), np.uint8)] * 2)
    assert "00000.png: found a mask of 96x96 pixels for frames of 128x96; needs masks of the frames' size" in refused(
        frames, square)


def test_a_single_mask_of_another_shape_is_named(tmp_path):
    frames, masks = write_clip(tmp_path, walk(4))
    write_images(masks, [np.zeros((96, 110), np.uint8)], numbers=[2])
    assert "00002.png: found a mask of 110x96 pixels for frames of 128x96" in refused(frames, masks)


@pytest.mark.parametrize("odd", [0, 2])
@pytest.mark.parametrize("size", [(127, 96), (128, 97), (64, 48)])
def test_a_single_mask_of_another_size_is_resized(tmp_path, odd, size):
    clip = walk(4)
    frames, masks = write_clip(tmp_path, clip)
    write_images(masks, [cv2.resize(clip.masks[odd], size, interpolation=cv2.INTER_NEAREST)], numbers=[odd])
    opened = open_clip(frames)
    for number, facts in load_masks(masks, opened, opened.numbers).facts.items():
        mask, true = facts.mask() > 0, clip.masks[number] > 0
        assert mask.shape == true.shape and (mask & true).sum() > 0.94 * (mask | true).sum()


def test_masks_of_none_of_the_frames_are_refused(tmp_path):
    frames, _ = write_clip(tmp_path, walk(3))
    other = write_images(tmp_path / "other", walk(2).masks, numbers=[50, 51])
    assert "other: found 2 masks, 50 to 51, for frames 0 to 2 of a clip of 3, 0 to 2; needs" in refused(frames, other)


def test_a_clip_without_masks_and_alpha_asks_for_masks(tmp_path):
    frames, _ = write_clip(tmp_path, walk(2))
    assert "its images have no alpha channel; needs masks, white on black" in refused(frames, None)
    video = write_video(tmp_path / "c.mp4", walk(2).frames)
    assert "c.mp4: no masks were given" in refused(video, None)


def test_alpha_that_is_missing_in_some_frames_is_refused(tmp_path):
    frames = write_images(tmp_path, [with_alpha(walk(1))[0], texture(1)[:HEIGHT, :WIDTH]])
    assert "frame 1 has no alpha channel" in refused(frames, None)


def test_masks_that_are_not_there_are_refused(tmp_path):
    frames, _ = write_clip(tmp_path, walk(2))
    assert "gone: no such file or folder" in refused(frames, tmp_path / "gone")
