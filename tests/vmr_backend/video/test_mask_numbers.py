"""Which mask belongs to which frame, what is said of it, and masks that cannot be of the clip."""

import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_clips import write_images, write_video

from vmr_backend.job import BadInput
from vmr_backend.video.clip import open_clip, select
from vmr_backend.video.masks import load_masks

sys.path.insert(0, str(Path(__file__).parents[2]))
from odd_movies import PLAIN, Movie, write  # noqa: E402

SHAPE = (48, 64)


def frames_of(folder, numbers):
    return write_images(folder / "frames", [np.zeros(SHAPE, np.uint8)] * len(numbers), numbers=numbers)


def movie_of(folder, count):
    return write_video(folder / "clip.avi", [np.zeros(SHAPE, np.uint8)] * count, codec="FFV1")


def masks_that_say(places):
    """Masks of 10 and more white columns; which one it is can be told by them."""
    masks = [np.zeros(SHAPE, np.uint8) for _ in places]
    for place, mask in zip(places, masks, strict=True):
        mask[10:40, 5:10 + place] = 255
    return masks


def masks_of(folder, numbers):
    return write_images(folder / "masks", masks_that_say(range(len(numbers))), numbers=numbers)


def matched(clip_path, masks_path, first=None, last=None):
    """Frame number → place of its mask in order, and what was said."""
    clip = open_clip(clip_path)
    masks = load_masks(masks_path, clip, select(clip, first, last))
    return {n: int((facts.mask()[20] > 0).sum()) - 5 for n, facts in masks.facts.items()}, masks.notes


def refused(clip_path, masks_path, first=None, last=None) -> str:
    with pytest.raises(BadInput) as caught:
        matched(clip_path, masks_path, first, last)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_order(count, first=0):
    return {first + n: n for n in range(count)}


def test_masks_of_the_same_numbers_need_no_word(tmp_path):
    assert matched(movie_of(tmp_path, 6), masks_of(tmp_path, range(6))) == (in_order(6), [])


def test_masks_numbered_from_1_beside_a_movie_are_told(tmp_path):
    found, notes = matched(movie_of(tmp_path, 6), masks_of(tmp_path, range(1, 7)))
    assert found == in_order(6)
    assert notes == ["masks: numbered otherwise than the frames: 00001.png is taken for frame 0, and so on in order"]


def test_a_whole_shift_beside_images_is_told(tmp_path):
    found, (note,) = matched(frames_of(tmp_path, range(5)), masks_of(tmp_path, range(101, 106)))
    assert found == in_order(5) and "00101.png is taken for frame 0" in note


@pytest.mark.parametrize("numbers", [[1, 6, 11], [2, 4, 6, 8, 10, 12], range(1, 14)])
def test_masks_of_some_frames_numbered_from_1_are_told(tmp_path, numbers):
    numbers = [n for n in numbers if n <= 12] + ([12] if 12 not in numbers else [])
    found, (note,) = matched(movie_of(tmp_path, 12), masks_of(tmp_path, numbers))
    assert found == {n - 1: place for place, n in enumerate(numbers)}
    assert f"{numbers[0]:05d}.png is taken for frame {numbers[0] - 1}, and so on" in note


@pytest.mark.parametrize("numbers", [range(0, 12, 5), range(3, 8), [11], range(1, 12)])
def test_masks_of_some_frames_belong_by_number(tmp_path, numbers):
    found, notes = matched(movie_of(tmp_path, 12), masks_of(tmp_path, numbers))
    assert found == {n: place for place, n in enumerate(numbers)} and notes == []


def test_masks_of_a_range_numbered_from_1_are_taken_in_order(tmp_path):
    found, (note,) = matched(movie_of(tmp_path, 12), masks_of(tmp_path, range(1, 6)), 0, 4)
    assert found == in_order(5) and "00001.png is taken for frame 0" in note


def test_as_many_masks_as_the_range_that_are_of_other_frames_of_the_clip_stay_theirs(tmp_path):
    found, notes = matched(movie_of(tmp_path, 12), masks_of(tmp_path, range(4, 9)), 2, 6)
    assert found == {4: 0, 5: 1, 6: 2} and notes == []


def test_a_folder_that_goes_on_behind_an_image_sequence_is_fine(tmp_path):
    found, notes = matched(frames_of(tmp_path, range(10, 16)), masks_of(tmp_path, range(30)))
    assert found == {n: n for n in range(10, 16)} and notes == []


def test_every_fifth_mask_of_a_longer_take_is_fine(tmp_path):
    found, _ = matched(frames_of(tmp_path, range(20)), masks_of(tmp_path, range(0, 45, 5)))
    assert found == {0: 0, 5: 1, 10: 2, 15: 3}


def test_a_movie_may_end_a_frame_earlier_or_later_than_its_masks(tmp_path):
    assert matched(movie_of(tmp_path, 10), masks_of(tmp_path, range(12)))[0] == in_order(10)
    masks = write_video(tmp_path / "m.avi", masks_that_say(range(9)), codec="FFV1")
    found, notes = matched(tmp_path / "clip.avi", masks)
    assert found == in_order(9)
    assert notes == ["masks: a movie of 9 beside a clip of 10 frames: taken in order, from the first"]


def test_masks_of_a_longer_clip_are_refused_beside_a_movie(tmp_path):
    line = refused(movie_of(tmp_path, 10), masks_of(tmp_path, range(18)))
    assert "masks: found 18 masks, 0 to 17, for frames 0 to 9 of a clip of 10, 0 to 9; needs masks of this clip" in line


@pytest.mark.parametrize("count", [5, 18])
def test_a_movie_of_masks_of_another_length_is_refused(tmp_path, count):
    masks = write_video(tmp_path / "m.avi", masks_that_say(range(count)), codec="FFV1")
    assert f"m.avi: found a movie of {count} masks for a clip of 10 frames; needs as many" in refused(
        movie_of(tmp_path, 10), masks)
    assert "for a clip of 10 frames" in refused(frames_of(tmp_path, range(3, 13)), masks)


def test_masks_that_overlap_a_sequence_by_less_than_half_are_refused(tmp_path):
    assert "found 30 masks, 15 to 44" in refused(frames_of(tmp_path, range(20)), masks_of(tmp_path, range(15, 45)))


def test_masks_that_lack_a_little_at_one_end_are_accepted(tmp_path):
    found, _ = matched(frames_of(tmp_path, range(10, 30)), masks_of(tmp_path, range(0, 25)))
    assert found == {n: n for n in range(10, 25)}


PAUSED = {n: min(n, 4) if n < 11 else n - 6 for n in range(18)}
"""Which of its 12 pictures a movie with a pause after the fifth shows at each of its frames."""


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4"])
@pytest.mark.parametrize("masks", ["from 0", "from 1", "a movie", "of a range"])
def test_masks_of_the_pictures_of_a_movie_with_a_pause_are_taken_by_picture_and_a_line_says_so(tmp_path, suffix, masks):
    clip = write(tmp_path / f"clip.{suffix}",
                 Movie(**vars(PLAIN[suffix]) | {"due": lambda n: n if n < 5 else n + 6}))
    drawn = [np.pad(mask, ((0, 16), (0, 32))) for mask in masks_that_say(range(12))]
    path = write_video(tmp_path / "m.avi", drawn, codec="FFV1") if masks == "a movie" else write_images(
        tmp_path / "masks", drawn, numbers=range(masks == "from 1", 12 + (masks == "from 1")))
    found, (note,) = matched(clip, path, last=9 if masks == "of a range" else None)
    assert found == {n: place for n, place in PAUSED.items() if masks != "of a range" or n <= 9}
    assert "as many as the movie has pictures, 12, of which 18 frames are shown" in note


def test_masks_of_the_frames_that_are_shown_of_a_movie_with_a_pause_need_no_word(tmp_path):
    clip = write(tmp_path / "clip.mkv", Movie(**vars(PLAIN["mkv"]) | {"due": lambda n: n if n < 5 else n + 6}))
    drawn = [np.pad(mask, ((0, 16), (0, 32))) for mask in masks_that_say(range(18))]
    assert matched(clip, write_images(tmp_path / "masks", drawn)) == (in_order(18), [])
