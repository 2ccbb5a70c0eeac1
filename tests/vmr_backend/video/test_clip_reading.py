"""Reading clips: every kind of file, numbering and range, and what is said about those that cannot be read."""

import cv2
import numpy as np
import pytest
from tiny_clips import HEIGHT, WIDTH, texture, walk, write_image, write_images, write_video

from vmr_backend.job import BadInput
from vmr_backend.video.clip import as_rgb, open_clip, read_frames, select


def rgb_frames(clip, numbers=None):
    return [as_rgb(image) for _, image in read_frames(clip, clip.numbers if numbers is None else numbers)]


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "mp4v"), ("clip.avi", "MJPG"), ("clip.mkv", "FFV1")])
def test_a_video_is_numbered_from_zero(tmp_path, name, codec):
    frames = walk(5).frames
    clip = open_clip(write_video(tmp_path / name, frames, fps=12, codec=codec))
    assert clip.numbers.tolist() == [0, 1, 2, 3, 4]
    assert clip.image_size == (WIDTH, HEIGHT)
    assert clip.fps == pytest.approx(12)
    for read, written in zip(rgb_frames(clip), frames, strict=True):
        assert np.abs(read.astype(int) - written).mean() < 12


def test_frames_of_a_video_are_found_by_counting_not_by_seeking(tmp_path):
    levels = [np.full((48, 64, 3), 10 * t, np.uint8) for t in range(20)]
    clip = open_clip(write_video(tmp_path / "clip.mp4", levels))
    wanted = np.array([3, 4, 17], np.int32)
    means = [image.mean() for _, image in read_frames(clip, wanted)]
    np.testing.assert_allclose(means, [30, 40, 170], atol=4.9)


def test_a_range_at_the_start_of_a_video_does_not_need_its_end(tmp_path):
    clip = open_clip(write_video(tmp_path / "clip.avi", walk(6).frames, codec="MJPG"), last=2)
    assert select(clip, None, 2).tolist() == [0, 1, 2]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
def test_images_of_every_kind_are_read(tmp_path, suffix):
    frames = walk(2).frames
    clip = open_clip(write_images(tmp_path, frames, "{:03d}." + suffix))
    assert clip.fps is None
    assert np.abs(rgb_frames(clip)[1].astype(int) - frames[1]).mean() < 10


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    frames = walk(2).frames
    clip = open_clip(write_images(tmp_path, [f.astype(np.uint16) * 257 for f in frames]))
    np.testing.assert_array_equal(rgb_frames(clip), frames)


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_and_transparent_images_become_rgb(tmp_path, bits):
    full = {8: 255, 16: 65535}[bits]
    grey = np.full((20, 30), full // 2, np.uint8 if bits == 8 else np.uint16)
    rgba = np.dstack([grey, grey, grey, grey])
    for name, image in (("grey", grey), ("rgba", rgba)):
        clip = open_clip(write_images(tmp_path / name, [image, image]))
        first = rgb_frames(clip)[0]
        assert first.shape == (20, 30, 3)
        assert abs(int(first[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize(
    ("name", "number"),
    [("00012.png", 12), ("shot2_cam1_0041.jpg", 41), ("0007_left.png", 7), ("a9b.c10.png", 10)],
)
def test_the_frame_number_is_the_last_group_of_digits(tmp_path, name, number):
    assert open_clip(tmp_path, [write_image(tmp_path / name, texture(1))]).numbers.tolist() == [number]


def test_frames_are_in_the_order_of_their_numbers_and_may_have_gaps(tmp_path):
    levels = [np.full((8, 8), level, np.uint8) for level in (90, 100, 20)]
    clip = open_clip(write_images(tmp_path, levels, "f_{}.png", numbers=[9, 10, 2]))
    assert clip.numbers.tolist() == [2, 9, 10]
    assert [f[0, 0, 0] for f in rgb_frames(clip)] == [20, 90, 100]


def test_what_is_no_numbered_image_is_passed_over(tmp_path):
    write_images(tmp_path, walk(3).frames)
    write_image(tmp_path / "cover.png", texture(3))
    write_image(tmp_path / "._00001.png", texture(3))
    (tmp_path / "notes 1.txt").write_text("x", "utf-8")
    assert open_clip(tmp_path).numbers.tolist() == [0, 1, 2]


def test_a_list_of_files_may_name_some_of_a_folder(tmp_path):
    folder = write_images(tmp_path, walk(5).frames, "a_{:02d}.png")
    write_images(tmp_path, walk(2).frames, "b_{:02d}.png")
    clip = open_clip(folder, files=[folder / "a_03.png", str(folder / "a_01.png")])
    assert clip.numbers.tolist() == [1, 3]
    assert [f.name for f in clip.files] == ["a_01.png", "a_03.png"]


def test_names_with_spaces_and_accents_are_read(tmp_path):
    folder = write_images(tmp_path / "an été", [])
    encoded = cv2.imencode(".png", texture(1, 16))[1]
    for number in range(2):
        encoded.tofile(folder / f"prise é {number}.png")
    assert len(rgb_frames(open_clip(folder))) == 2


def test_a_range_has_both_its_ends_and_may_reach_beyond_the_clip(tmp_path):
    clip = open_clip(write_images(tmp_path, walk(5).frames, numbers=range(10, 15)))
    assert select(clip, 11, 13).tolist() == [11, 12, 13]
    assert select(clip, None, 11).tolist() == [10, 11]
    assert select(clip, 13, 99).tolist() == [13, 14]


def bad_input(capfd, *arguments, **options) -> str:
    """The one line said about a clip that cannot be opened and read; nothing else reaches standard error."""
    with pytest.raises(BadInput) as caught:
        clip = open_clip(*arguments)
        rgb_frames(clip, select(clip, options.get("first"), options.get("last")))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    return str(caught.value)


def test_a_range_outside_the_clip_is_refused(tmp_path, capfd):
    folder = write_images(tmp_path, walk(3).frames)
    assert "no frame in the range 7:9; the clip has frames 0 to 2" in bad_input(capfd, folder, first=7, last=9)
    assert "range 2:1" in bad_input(capfd, folder, first=2, last=1)


def test_what_is_not_there_is_refused(tmp_path, capfd):
    assert "gone.mp4: no such file" in bad_input(capfd, tmp_path / "gone.mp4")
    assert "no clip was given" in bad_input(capfd, None)
    write_images(tmp_path, walk(2).frames)
    assert "00009.png: cannot be read (No such file" in bad_input(
        capfd, tmp_path, [tmp_path / "00000.png", tmp_path / "00009.png"]
    )


@pytest.mark.parametrize("content", [b"", b"hello\n" * 100, bytes(range(256)) * 20])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.txt", "clip"])
def test_a_file_that_is_no_video_is_refused(tmp_path, capfd, name, content):
    (tmp_path / name).write_bytes(content)
    message = bad_input(capfd, tmp_path / name)
    assert f"{name}: found no video that can be decoded" in message
    assert "needs a video file or a folder of images" in message


def test_a_video_that_is_cut_short_is_refused(tmp_path, capfd):
    whole = write_video(tmp_path / "clip.mp4", walk(30).frames).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])  # OpenCV writes the index behind the frames: nothing can be found
    assert "cut.mp4: found no video that can be decoded" in bad_input(capfd, cut)

    moov = whole.index(b"moov") - 4
    mdat = whole.index(b"mdat") - 4
    index, data = bytearray(whole[moov:]), whole[mdat:moov]
    place = index.index(b"stco") + 12  # as a file for streaming: index first, chunk offsets moved behind it
    for entry in range(int.from_bytes(index[place - 4 : place], "big")):
        where = slice(place + 4 * entry, place + 4 * entry + 4)
        index[where] = (int.from_bytes(index[where], "big") + len(index)).to_bytes(4, "big")
    streamed = whole[:mdat] + bytes(index) + data
    cut.write_bytes(streamed)
    assert len(open_clip(cut).numbers) == 30
    cut.write_bytes(streamed[: len(streamed) - len(data) // 2])
    assert "cut.mp4: the file is cut short: found 1" in bad_input(capfd, cut)


@pytest.mark.parametrize(("name", "codec"), [("cut.avi", "MJPG"), ("cut.mkv", "FFV1")])
def test_a_header_that_promises_more_frames_is_found_out(tmp_path, capfd, name, codec):
    path = write_video(tmp_path / name, walk(40).frames, codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = bad_input(capfd, path)
    assert "the file is cut short" in message
    assert "its header says 40" in message


def test_folders_without_one_clear_sequence_are_refused(tmp_path, capfd):
    empty = write_images(tmp_path / "empty", [])
    assert "empty: found no images" in bad_input(capfd, empty)
    unnumbered = write_images(tmp_path / "unnumbered", walk(2).frames, lambda n: "ab"[n] + ".png")
    assert "unnumbered: found images without numbers (a.png)" in bad_input(capfd, unnumbered)
    several = write_images(tmp_path / "several", walk(2).frames, "a_{}.png")
    write_images(several, walk(3).frames, "b_{}.png")
    assert "found 2 image sequences: a_0.png … (2), b_0.png … (3)" in bad_input(capfd, several)
    twice = write_images(tmp_path / "twice", walk(1).frames, "1.png")
    write_image(twice / "01.png", texture(1))
    assert "found frame 1 twice" in bad_input(capfd, twice)


def test_a_single_image_is_no_clip(tmp_path, capfd):
    assert "a.png: found a single image" in bad_input(capfd, write_image(tmp_path / "a.png", texture(1)))
    assert "needs at least 2" in bad_input(capfd, tmp_path, [])


def test_sizes_that_differ_are_refused(tmp_path, capfd):
    folder = write_images(tmp_path, [np.zeros((20, 30), np.uint8), np.zeros((20, 31), np.uint8)])
    assert "00001.png: found an image of 31x20 pixels, the first of the clip has 30x20" in bad_input(capfd, folder)


@pytest.mark.parametrize("keep", [0, 100, 3000])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_image_is_named(tmp_path, capfd, suffix, keep):
    folder = write_images(tmp_path, walk(3).frames, "{:05d}." + suffix)
    damaged = folder / f"00001.{suffix}"
    damaged.write_bytes(damaged.read_bytes()[:keep])
    assert f"00001.{suffix}: found no complete image" in bad_input(capfd, folder)


def test_pixels_of_other_types_are_refused(tmp_path, capfd):
    folder = write_images(tmp_path, [np.zeros((8, 8), np.float32)] * 2, "{}.tif")
    assert "0.tif: found pixels of type float32" in bad_input(capfd, folder)
