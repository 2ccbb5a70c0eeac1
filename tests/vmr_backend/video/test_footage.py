"""Footage: what the methods are handed, from files to crops, flow, weights and doubts."""

import shutil
import tracemalloc
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_clips import HEIGHT, WIDTH, film, pose, texture, walk, with_alpha, write_clip, write_images, write_video

from vmr_backend.job import BadInput
from vmr_backend.video.crops import pixel_centres
from vmr_backend.video.flow import sample
from vmr_backend.video.footage import Footage, downsample, load_footage

SAMPLE = Path(__file__).parents[3] / "samples" / "painted_dog"


def load(folder, clip, size=64, numbers=None, **options) -> Footage:
    return load_footage(*write_clip(folder, clip, numbers), crop_size=size, **options)


def check(footage: Footage) -> None:
    """Shapes, types and ranges that hold for every footage."""
    count, size = footage.masks.shape[:2]
    shapes = {
        "numbers": ((count,), np.int32),
        "images": ((count, size, size, 3), np.uint8),
        "masks": ((count, size, size), np.float32),
        "inside": ((count, size, size), np.bool_),
        "crop_centre": ((count, 2), np.float32),
        "crop_half": ((count,), np.float32),
        "flow_forward": ((count - 1, size, size, 2), np.float16),
        "flow_backward": ((count - 1, size, size, 2), np.float16),
        "flow_forward_weight": ((count - 1, size, size), np.float16),
        "flow_backward_weight": ((count - 1, size, size), np.float16),
        "frame_weight": ((count,), np.float32),
        "sharpness": ((count,), np.float32),
        "colour_weight": ((count,), np.float32),
    }
    for name, (shape, kind) in shapes.items():
        value = getattr(footage, name)
        assert value.shape == shape, name
        assert value.dtype == kind, name
        assert np.isfinite(value).all(), name
    for name in ("masks", "flow_forward_weight", "flow_backward_weight", "frame_weight", "colour_weight"):
        assert getattr(footage, name).min() >= 0 and getattr(footage, name).max() <= 1, name
    assert len(footage.doubts) == count
    assert (footage.masks[~footage.inside] == 0).all()
    assert (footage.images[~footage.inside] == 0).all()
    assert (footage.flow_forward_weight[footage.masks[:-1] == 0] == 0).all()


def test_a_clip_of_images_becomes_footage(tmp_path):
    clip = walk(6)
    footage = load(tmp_path, clip, numbers=range(20, 26))
    check(footage)
    assert footage.numbers.tolist() == list(range(20, 26))
    assert footage.image_size == (WIDTH, HEIGHT)
    assert footage.fps is None
    assert footage.left_out == []
    assert footage.doubts == [[]] * 6
    np.testing.assert_array_equal(footage.frame_weight, 1)
    np.testing.assert_allclose(footage.crop_half, 1.2 * 30, rtol=0.1)
    np.testing.assert_allclose(footage.crop_centre[:, 1], 48, atol=0.6)
    pixel = 2 * footage.crop_half / 64
    np.testing.assert_allclose(footage.masks.sum((1, 2)) * pixel**2, [np.sum(m > 0) for m in clip.masks], rtol=0.01)


def test_the_crops_show_the_frames_where_they_say(tmp_path):
    clip = walk(4)
    footage = load(tmp_path, clip)
    for t, frame in enumerate(clip.frames):
        px = footage.crop_centre[t] + footage.crop_half[t] * pixel_centres(64)
        index = (px - 0.5).astype(np.float32)
        direct = cv2.remap(frame, index[..., 0], index[..., 1], cv2.INTER_LINEAR)
        difference = np.abs(direct.astype(int) - footage.images[t])[footage.inside[t]]
        assert difference.mean() < 6


def test_flow_leads_from_frame_to_frame_through_crops_of_any_zoom(tmp_path):
    clip = film([pose(50 + 3 * t, 52 - 2 * t, degrees=3 * t, zoom=0.6 + 0.08 * t) for t in range(7)])
    footage = load(tmp_path, clip)
    check(footage)
    assert footage.crop_half[-1] > 1.2 * footage.crop_half[0]
    images = footage.images.astype(np.float32)
    for t in range(6):
        for a, b, flow, weight in (
            (t, t + 1, footage.flow_forward[t], footage.flow_forward_weight[t]),
            (t + 1, t, footage.flow_backward[t], footage.flow_backward_weight[t]),
        ):
            good = weight > 0.5
            assert good.sum() > 0.6 * footage.masks[a].sum()
            warped = np.abs(sample(images[b], pixel_centres(64) + flow) - images[a])[good].mean()
            assert warped < 0.5 * np.abs(images[b] - images[a])[good].mean()
            px = footage.crop_centre[a] + footage.crop_half[a] * pixel_centres(64)
            found = footage.crop_centre[b] + footage.crop_half[b] * (pixel_centres(64) + flow)
            p, q = clip.poses[a], clip.poses[b]
            true = (px - p[:, 2]) @ np.linalg.inv(p[:, :2]).T @ q[:, :2].T + q[:, 2]
            assert np.linalg.norm(found - true, axis=-1)[good].mean() < 0.5


def test_videos_and_their_masks_become_the_same_footage_as_images(tmp_path):
    clip = walk(5)
    images = load(tmp_path, clip)
    video = write_video(tmp_path / "clip.avi", clip.frames, codec="FFV1")
    masks = write_video(tmp_path / "masks.avi", clip.masks, codec="FFV1")
    footage = load_footage(video, masks, crop_size=64)
    check(footage)
    assert footage.fps == pytest.approx(25)
    np.testing.assert_allclose(footage.crop_centre, images.crop_centre, atol=0.01)
    assert np.abs(footage.images.astype(int) - images.images).mean() < 6
    compressed = load_footage(write_video(tmp_path / "clip.mp4", clip.frames), masks, crop_size=64)
    assert np.abs(compressed.images.astype(int) - images.images).mean() < 12


@pytest.mark.parametrize("deep", [False, True])
def test_the_alpha_channel_is_the_mask_where_none_is_given(tmp_path, deep):
    clip = walk(3)
    rgba = [image.astype(np.uint16) * 257 if deep else image for image in with_alpha(clip)]
    footage = load_footage(write_images(tmp_path / "rgba", rgba), None, crop_size=64)
    expected = load(tmp_path, clip)
    np.testing.assert_array_equal(footage.masks, expected.masks)
    np.testing.assert_array_equal(footage.images, expected.images)


def test_a_range_and_a_list_of_files_choose_frames(tmp_path):
    frames, masks = write_clip(tmp_path, walk(8))
    assert load_footage(frames, masks, first=2, last=5, crop_size=32).numbers.tolist() == [2, 3, 4, 5]
    files = [frames / f"{n:05d}.png" for n in (1, 2, 6)]
    assert load_footage(frames, masks, crop_size=32, files=files).numbers.tolist() == [1, 2, 6]


def test_frames_without_the_subject_are_left_out_and_named(tmp_path):
    clip = walk(8)
    clip.masks[3][:] = 0
    frames, masks = write_clip(tmp_path, clip)
    (masks / "00006.png").unlink()
    footage = load_footage(frames, masks, crop_size=32)
    check(footage)
    assert footage.numbers.tolist() == [0, 1, 2, 4, 5, 7]
    assert footage.left_out == [(3, "the mask is empty"), (6, "there is no mask")]


def test_flow_crosses_a_short_gap_and_not_a_long_one(tmp_path):
    clip = walk(12, step=1)
    for t in (2, 3, 6, 7, 8):
        clip.masks[t][:] = 0
    footage = load(tmp_path, clip)
    assert footage.numbers.tolist() == [0, 1, 4, 5, 9, 10, 11]
    linked = footage.flow_forward_weight.max((1, 2)) > 0
    assert linked.tolist() == [True, True, True, False, True, True]
    assert (footage.flow_backward_weight.max((1, 2)) > 0).tolist() == linked.tolist()
    moved = footage.crop_half[2] * footage.flow_forward[1] + (footage.crop_centre[2] - footage.crop_centre[1])
    core = footage.flow_forward_weight[1] > 0.9
    np.testing.assert_allclose(np.median(moved[core], axis=0), [3, 0], atol=0.3)


def test_a_clip_of_every_tenth_frame_has_flow_throughout(tmp_path):
    footage = load(tmp_path, walk(4), numbers=[0, 10, 20, 30])
    assert (footage.flow_forward_weight.max((1, 2)) > 0.5).all()


def test_a_subject_that_leaves_the_frame_counts_less_and_less(tmp_path):
    footage = load(tmp_path, film([pose(x, 48) for x in (64, 40, 26, 16, 6)]))
    check(footage)
    assert footage.frame_weight[:2].tolist() == [1, 1]
    assert footage.frame_weight[2] < 1 and (np.diff(footage.frame_weight[1:4]) < 0).all()
    assert footage.doubts[3] == ["cut off by the left border"]
    assert not footage.inside[4].all()


def test_an_odd_mask_is_doubted(tmp_path):
    clip = walk(7, step=0)
    clip.masks[4][:, :56] = 0
    assert load(tmp_path, clip).doubts == [[], [], [], [], ["mask of 37% of the area in the frames around it"], [], []]


def test_a_blurred_frame_is_less_sharp(tmp_path):
    clip = walk(5)
    clip.frames[2][:] = cv2.GaussianBlur(clip.frames[2], (0, 0), 3)
    sharpness = load(tmp_path, clip).sharpness
    assert sharpness[2] < 0.2
    np.testing.assert_allclose(np.delete(sharpness, 2), 1, atol=0.25)


def test_a_blurred_frames_colours_count_less_and_it_is_doubted(tmp_path):
    clip = walk(9)
    for t, width in ((3, 15), (6, 9)):
        clip.frames[t][:] = cv2.blur(clip.frames[t], (width, 1))
    footage = load(tmp_path, clip)
    assert footage.doubts == [["blurred"] if t in (3, 6) else [] for t in range(9)]
    assert footage.colour_weight[3] < footage.colour_weight[6] < 0.7
    np.testing.assert_array_equal(np.delete(footage.colour_weight, [3, 6]), 1)
    np.testing.assert_array_equal(footage.frame_weight, 1, "outlines count as ever")


def test_a_subject_that_shows_more_detail_over_time_is_not_doubted(tmp_path):
    footage = load(tmp_path, film([pose(64, 48, zoom=0.5 + 0.06 * t) for t in range(12)]))
    assert footage.doubts == [[]] * 12 and (footage.colour_weight == 1).all()


def test_a_subject_that_crosses_the_frame_counts_by_how_much_is_seen(tmp_path):
    xs = list(range(-20, 149, 12))
    clip = film([pose(x, 48) for x in xs])
    footage = load(tmp_path, clip)
    check(footage)
    shown = np.array([np.count_nonzero(clip.masks[n]) for n in footage.numbers]) / np.count_nonzero(clip.masks[7])
    whole = shown > 0.999
    assert (footage.frame_weight[whole] == 1).all() and whole.sum() >= 4
    assert (footage.frame_weight[shown < 0.6] <= 0.4).all()
    np.testing.assert_allclose(footage.frame_weight, footage.frame_weight[::-1], atol=0.05)
    assert footage.doubts[0][0] == "cut off by the left border"
    assert footage.doubts[-1][0] == "cut off by the right border"
    # What is beyond the border is neither subject nor background, and flow does not lead there.
    for t in range(len(xs) - 1):
        there = footage.crop_centre[t + 1] + footage.crop_half[t + 1] * (pixel_centres(64) + footage.flow_forward[t])
        counted = footage.flow_forward_weight[t] > 0.01
        assert (there[counted] > -1).all() and (there[counted][:, 0] < WIDTH + 1).all()
    for t, number in enumerate(footage.numbers):
        px = footage.crop_centre[t] + footage.crop_half[t] * pixel_centres(64)
        beyond = (px[..., 0] < 0) | (px[..., 0] >= WIDTH) | (px[..., 1] < 0) | (px[..., 1] >= HEIGHT)
        np.testing.assert_array_equal(footage.inside[t], ~beyond, str(number))


def test_a_long_clip_takes_little_more_memory_than_its_crops(tmp_path):
    """20 bytes a crop pixel: 300 frames at 256 pixels are 393 MB."""
    count, size, small = 60, 64, 48
    frames, masks = write_clip(tmp_path, film([pose(40 + t % 30, 48) for t in range(count)]))
    load_footage(frames, masks, last=3, crop_size=size)
    tracemalloc.start()
    try:
        footage = load_footage(frames, masks, crop_size=size)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        downsample(footage, small)
        more = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    crops = 20 * count * size**2
    held = sum(value.nbytes for f in fields(footage) if isinstance(value := getattr(footage, f.name), np.ndarray))
    assert held <= crops + 100 * count
    assert most <= 1.2 * crops, "a few full frames besides"
    assert more <= 32 * count * small**2


def test_full_frames_and_masks_go_with_the_crops_in_any_order(tmp_path):
    clip = walk(5)
    clip.masks[1][:] = 0
    frames, masks = write_clip(tmp_path, clip)
    full = load_footage(frames, masks, crop_size=32).full
    shutil.rmtree(masks)  # they were read once, for all
    for index, number in ((0, 0), (3, 4), (1, 2), (1, 2)):
        np.testing.assert_array_equal(full.frame(index), clip.frames[number])
        np.testing.assert_array_equal(full.mask(index), clip.masks[number] > 127)
    assert [(number, mask.sum()) for number, mask in full.masks()] == [
        (number, (clip.masks[number] > 127).sum()) for number in (0, 2, 3, 4)]


def test_progress_goes_up_to_its_end(tmp_path):
    clip = walk(5)
    clip.masks[2][:] = 0
    steps = []
    load(tmp_path, clip, size=32, progress=lambda step, total: steps.append((step, total)))
    assert {total for _, total in steps} == {10}
    done = [step for step, _ in steps]
    assert done == sorted(done) and done[0] == 1 and done[-1] == 10


def test_what_the_progress_callback_raises_stops_the_reading(tmp_path):
    def stop(step, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, walk(3), progress=stop)


@pytest.mark.parametrize("size", [16, 24, 32])
def test_downsampled_footage_is_the_footage_of_smaller_crops(tmp_path, size):
    clip = film([pose(45 + 3 * t, 48, zoom=0.8 + 0.04 * t) for t in range(5)])
    full = load(tmp_path, clip)
    small = downsample(full, size)
    check(small)
    direct = load(tmp_path, clip, size=size)
    np.testing.assert_array_equal(small.crop_centre, full.crop_centre)
    np.testing.assert_array_equal(small.inside, direct.inside)
    np.testing.assert_allclose(small.masks, direct.masks, atol=0.15)
    np.testing.assert_allclose(small.masks.mean((1, 2)), full.masks.mean((1, 2)), atol=1e-4)
    assert np.abs(small.images.astype(int) - direct.images)[small.inside].mean() < 4
    good = (small.flow_forward_weight > 0.5) & (direct.flow_forward_weight > 0.5)
    assert good.any()
    assert np.abs(small.flow_forward - direct.flow_forward)[good].mean() < 0.02
    np.testing.assert_allclose(small.flow_forward_weight.mean((1, 2)), full.flow_forward_weight.mean((1, 2)), atol=1e-4)


def test_downsampling_leaves_no_dark_rim_at_the_border_of_the_frame(tmp_path):
    clip = film([pose(14 + t, 48) for t in range(3)])
    for frame in clip.frames:
        frame[:] = 200
    full = load(tmp_path, clip)
    assert not full.inside.all()
    small = downsample(full, 24)
    check(small)
    np.testing.assert_array_equal(small.images[small.inside], 200)
    with pytest.raises(ValueError, match="cannot downsample"):
        downsample(small, 64)


def test_downsampling_does_not_mix_uncounted_flow_in(tmp_path):
    full = load(tmp_path, walk(3), size=32)
    spoilt = np.where(full.flow_forward_weight[..., None] == 0, np.float32(100), full.flow_forward)
    changed = type(full)(**{f.name: getattr(full, f.name) for f in fields(full)} | {"flow_forward": spoilt})
    small = downsample(changed, 16)
    counted = small.flow_forward_weight > 0.01
    np.testing.assert_allclose(small.flow_forward[counted], downsample(full, 16).flow_forward[counted], atol=1e-2)


def refused(*arguments, **options) -> str:
    with pytest.raises(BadInput) as caught:
        load_footage(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_masks_that_are_empty_throughout_are_refused(tmp_path):
    clip = walk(3)
    frames, masks = write_clip(tmp_path, clip)
    write_images(masks, [np.full((HEIGHT, WIDTH), 1, np.uint8)] * 3)
    assert "masks: every mask is empty (brightest value 1 of 255); needs white on black" in refused(frames, masks)


def test_fewer_than_two_frames_are_refused(tmp_path):
    clip = walk(3)
    frames, masks = write_clip(tmp_path, clip)
    assert "found a single frame (1) to work on; needs at least 2" in refused(frames, masks, first=1, last=1)
    single = write_video(tmp_path / "single.mp4", clip.frames[:1])
    assert "single.mp4: found a single frame (0)" in refused(single, masks)
    for mask in sorted(masks.iterdir())[1:]:
        mask.unlink()
    said = refused(frames, masks)
    assert "masks: found 1 of 3 frames with the subject (there is no mask in frame 1); needs at least 2" in said


def test_alpha_that_is_opaque_throughout_is_no_mask(tmp_path):
    rgba = [np.dstack([texture(1), np.full((256, 256), 255, np.uint8)])] * 2
    assert "the alpha is opaque throughout; needs masks" in refused(write_images(tmp_path, rgba), None)


def test_a_file_that_is_no_video_is_refused_as_clip_and_as_masks(tmp_path):
    frames, masks = write_clip(tmp_path, walk(2))
    text = tmp_path / "notes.mp4"
    text.write_text("no video", "utf-8")
    assert "notes.mp4: found no video that can be decoded" in refused(text, masks)
    assert "notes.mp4: found no video that can be decoded" in refused(frames, text)


def test_a_crop_too_small_to_fit_anything_is_refused(tmp_path):
    assert "crop size: found 4 pixels; needs at least 16" in refused(*write_clip(tmp_path, walk(2)), crop_size=4)


def test_flow_of_the_sample_clip_warps_the_next_image_onto_this_one():
    footage = load_footage(SAMPLE / "clip.mp4", SAMPLE / "masks", last=5, crop_size=128)
    check(footage)
    images = footage.images.astype(np.float32)
    good = footage.flow_forward_weight > 0.5
    warped = np.stack(
        [sample(i, pixel_centres(128) + f) for i, f in zip(images[1:], footage.flow_forward, strict=True)]
    )
    assert good.sum() > 0.6 * footage.masks[:-1].sum()
    assert np.abs(warped - images[:-1])[good].mean() < 0.6 * np.abs(images[1:] - images[:-1])[good].mean()
