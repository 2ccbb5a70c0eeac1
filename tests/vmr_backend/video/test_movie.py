"""Reading movies: by their times, at their pixel aspect, with their alpha, and what is said of files that are none."""

import os
import resource
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from tiny_clips import walk, write_images, write_video

from vmr_backend.job import BadInput, JobRequest, ShownMovie
from vmr_backend.video.clip import open_clip, open_footage, read_frames
from vmr_backend.video.footage import load_footage
from vmr_backend.video.masks import load_masks

sys.path.insert(0, str(Path(__file__).parents[2]))
from odd_movies import PLAIN, Movie, picture, write  # noqa: E402

MP4 = PLAIN["mp4"]
ALPHA = {"mov": Movie("qtrle", "argb", {}, alpha=True),
         "webm": Movie("libvpx-vp9", "yuva420p", {"crf": "8", "b": "2000000", "auto-alt-ref": "0"}, alpha=True)}


def made(path: Path, movie: Movie = MP4, **changes) -> Path:
    return write(path, Movie(**vars(movie) | changes))


def shown(**changes) -> ShownMovie:
    usual = {"fps": 24.0, "frames": 12, "width": 96, "height": 64, "turned": True, "steady": True}
    return ShownMovie(**usual | changes)


def frames(clip, numbers=None) -> list[np.ndarray]:
    return [image for _, image in read_frames(clip, clip.numbers if numbers is None else np.array(numbers))]


def which(image: np.ndarray) -> int:
    """Number of the picture that an image is."""
    return int(np.argmin([np.abs(image[..., 2::-1].astype(int) - picture(n)).mean() for n in range(12)]))


def test_a_pause_repeats_the_frame_before_it(tmp_path):
    clip = open_clip(made(tmp_path / "pause.mkv", due=lambda n: n if n < 5 else n + 6))
    assert [which(image) for image in frames(clip)] == [0, 1, 2, 3] + [4] * 7 + [5, 6, 7, 8, 9, 10, 11]
    assert [which(image) for image in frames(clip, [3, 9, 12])] == [3, 4, 6]


def test_of_pictures_that_are_due_at_once_the_first_is_shown(tmp_path):
    clip = open_clip(made(tmp_path / "twice.mkv", due=lambda n: n // 2))
    assert [which(image) for image in frames(clip)] == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_movie_is_as_long_as_its_picture_however_late_that_begins(tmp_path, suffix):
    clip = open_clip(made(tmp_path / f"late.{suffix}", PLAIN[suffix], shift=40))
    assert [which(image) for image in frames(clip)] == list(range(12))


def test_a_bare_stream_is_refused_for_it_has_no_times(tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number))))
        container.mux(stream.encode(None))
    with pytest.raises(BadInput, match="clip.mp4: found a bare stream, .*needs it in a container"):
        open_clip(tmp_path / "clip.mp4")


@pytest.mark.parametrize("content", [
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#{}\n#EXTINF:1,\nfilm.ts\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile film.ts\n#{}\n"])
@pytest.mark.parametrize("strange", ["\0", "\xe9"])
def test_lists_of_other_files_and_texts_of_whatever_letters_are_no_movies(tmp_path, content, strange):
    made(tmp_path / "film.ts", PLAIN["ts"])
    for name in ("clip.mp4", "clip.m3u8", "clip.ffconcat", "clip.nfo"):
        (tmp_path / name).write_bytes(content.format(strange).encode("latin-1"))
        with pytest.raises(BadInput, match=f"{name}: found no video that can be decoded"):
            open_clip(tmp_path / name)


def test_a_movie_is_played_at_the_rate_that_blender_plays_it(tmp_path):
    path = made(tmp_path / "clip.mp4")
    clip = open_clip(path, shown=shown(fps=48.0, frames=24))
    assert [which(image) for image in frames(clip)] == [n // 2 for n in range(24)]


def test_a_movie_that_blender_shows_in_another_size_is_refused_with_what_helps(tmp_path):
    path = made(tmp_path / "clip.mp4", turned=90)
    assert open_clip(path).file_size == (64, 96)
    assert open_clip(path, shown=shown(turned=False)).file_size == (96, 64)
    with pytest.raises(BadInput, match="found frames of 64x96 pixels where Blender shows 96x64; needs Frames"):
        open_clip(path, shown=shown())


def test_mpeg_streams_are_refused_where_blender_loses_its_way_in_them(tmp_path):
    stream = made(tmp_path / "clip.mpg", PLAIN["mpg"])
    assert open_clip(stream).fps == 25
    with pytest.raises(BadInput, match="an MPEG stream.*Frames of This Clip"):
        open_clip(stream, shown=shown(fps=25.0, steady=False))
    even, uneven = (made(tmp_path / f"{name}.ts", PLAIN["ts"], rate=rate)
                    for name, rate in (("even", Fraction(24)), ("uneven", Fraction(24000, 1001))))
    assert len(open_clip(even, shown=shown(steady=False)).numbers) == 12
    with pytest.raises(BadInput, match="an MPEG stream.*Frames of This Clip"):
        open_clip(uneven, last=3, shown=shown(fps=24000 / 1001, steady=False))


@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(3, 4)])
def test_frames_come_in_square_pixels(tmp_path, aspect):
    path = made(tmp_path / "clip.mp4", aspect=aspect)
    clip = open_clip(path)
    wide, high = round(96 * max(aspect, 1)), round(64 * max(1 / aspect, 1))
    assert (clip.image_size, clip.file_size) == ((wide, high), (96, 64))
    assert frames(clip)[3].shape == (high, wide, 3)
    plain = frames(open_clip(path, pixel_aspect=1.0))[3]
    assert np.abs(cv2.resize(frames(clip)[3], (96, 64)).astype(int) - plain).mean() < 3


def test_the_aspect_that_the_clip_shows_counts_and_a_line_says_so(tmp_path):
    path = made(tmp_path / "clip.mp4", aspect=Fraction(16, 11))
    assert not open_clip(path).remarks and not open_clip(path, pixel_aspect=16 / 11).remarks
    clip = open_clip(path, pixel_aspect=2.0)
    assert clip.image_size == (192, 64)
    assert "1.455 times as wide as high; taken is 2" in clip.remarks[0] and "Display Aspect" in clip.remarks[0]


def test_masks_have_the_frames_own_pixels(tmp_path):
    tiny = walk(3)
    narrow = [cv2.resize(image, (64, 96)) for image in tiny.frames]
    clip = open_clip(write_images(tmp_path / "frames", narrow), pixel_aspect=2.0)
    for size in ((64, 96), (128, 96)):  # as the file has them, or as they are seen
        images = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in tiny.masks]
        masks = write_images(tmp_path / f"masks {size[0]}", images)
        for number, facts in load_masks(masks, clip, clip.numbers).facts.items():
            mask = facts.mask() > 0
            assert mask.shape == (96, 128) and (mask == (tiny.masks[number] > 127)).mean() > 0.98


def test_a_squeezed_film_is_cropped_as_the_same_film_in_square_pixels(tmp_path):
    tiny = walk(4)
    wide, squeezed = tmp_path / "wide", tmp_path / "squeezed"
    for folder, size in ((wide, (256, 192)), (squeezed, (176, 192))):
        write_images(folder / "frames", [cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < 200 else 1)
                                         for image in (cv2.resize(image, (256, 192)) for image in tiny.frames)])
        write_images(folder / "masks", [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in tiny.masks])
    true = load_footage(wide / "frames", wide / "masks", crop_size=64)
    found = load_footage(open_clip(squeezed / "frames", pixel_aspect=16 / 11), squeezed / "masks", crop_size=64)
    assert found.image_size == true.image_size == (256, 192)
    np.testing.assert_allclose(found.crop_centre, true.crop_centre, atol=1)
    np.testing.assert_allclose(found.crop_half, true.crop_half, rtol=0.02)
    assert np.abs(found.masks - true.masks).mean() < 0.02
    assert np.abs(found.images.astype(int) - true.images).mean() < 5
    motion = (np.median(f.flow_forward[..., 0][f.flow_forward_weight > 0.5]) for f in (found, true))
    assert next(motion) == pytest.approx(next(motion), abs=0.01)


@pytest.mark.parametrize("suffix", ALPHA)
def test_a_movie_with_alpha_is_its_own_mask(tmp_path, suffix):
    clip = open_clip(made(tmp_path / f"clip.{suffix}", ALPHA[suffix]))
    true = picture(0, alpha=True)[..., 3] > 127
    for facts in load_masks(None, clip, clip.numbers).facts.values():
        assert ((facts.mask() > 0) == true).mean() > 0.99


def test_a_movie_without_alpha_is_told_so(tmp_path):
    request = JobRequest(str(made(tmp_path / "clip.mp4")))
    with pytest.raises(BadInput, match="clip.mp4: no masks were given and the movie has no alpha channel; needs masks"):
        open_footage(request)


@pytest.mark.parametrize(("name", "numbers"), [
    ("f_{:04d}_854x480.png", [1, 2, 3]), ("clip.{:04d}.v2.png", [4, 5, 7]), ("t{}_b.png", [9, 10, 11])])
def test_the_number_that_varies_counts(tmp_path, name, numbers):
    clip = open_clip(write_images(tmp_path, walk(3).frames, name, numbers))
    assert clip.numbers.tolist() == numbers and not clip.remarks


def test_where_numbers_go_up_together_the_last_counts(tmp_path):
    clip = open_clip(write_images(tmp_path, walk(3).frames, lambda n: f"f_{n}_at_{40 * n}.png"))
    assert clip.numbers.tolist() == [0, 40, 80]


def test_numbers_that_are_too_large_are_replaced_by_the_order_and_a_line_says_so(tmp_path):
    folder = write_images(tmp_path, walk(3).frames, "{}.png", [1700000000165, 1700000000123, 1700000000207])
    clip = open_clip(folder)
    assert clip.numbers.tolist() == [0, 1, 2] and [f.stem[-3:] for f in clip.files] == ["123", "165", "207"]
    assert "counted from 0, in their order" in clip.remarks[0]


def test_images_behind_the_gap_at_which_blender_stops_are_told(tmp_path):
    folder = write_images(tmp_path, walk(6).frames, "f_{:04d}.png", [1, 2, 3, 6, 7, 9])
    named = [folder / f"f_{number:04d}.png" for number in (1, 2, 3)]
    assert "f_0003.png: 3 images follow behind a gap, from 6 on" in open_clip(folder, named).remarks[0]
    assert not open_clip(folder, named[:2]).remarks, "a range that ends earlier is the user's own"
    assert open_clip(folder).numbers.tolist() == [1, 2, 3, 6, 7, 9] and not open_clip(folder).remarks


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(BadInput, match="clip.mp4: found a device or a pipe"):
        open_clip(tmp_path / "clip.mp4")
    write_images(tmp_path / "frames", walk(1).frames, numbers=[1])
    os.mkfifo(tmp_path / "frames" / "00000.png")
    with pytest.raises(BadInput, match="00000.png: found a device or a pipe"):
        open_clip(tmp_path / "frames")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("0", "1"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((8, 8), np.uint8))
        content = bytearray((tmp_path / f"{name}.png").read_bytes())
        content[16:24] = (30000).to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        (tmp_path / f"{name}.png").write_bytes(content)
    with pytest.raises(BadInput, match="0.png: found an image of 30000x30000 pixels; needs at most 200 million"):
        open_clip(tmp_path)
    (tmp_path / "0.png").rename(tmp_path / "movie.mov")
    with pytest.raises(BadInput, match="movie.mov: found"):
        open_clip(tmp_path / "movie.mov")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"


@pytest.mark.parametrize(("name", "what"), [
    ("sound.mp4", "no moving picture"), ("sound.mkv", "no moving picture"), ("sound, cover.mp4", "no moving picture"),
    ("empty.mp4", "no video that can be"),
    ("zeros.mp4", "no video that can be decoded"), ("playlist.m3u8", "no video that can be decoded")])
def test_files_without_a_moving_picture_are_refused(tmp_path, capfd, name, what):
    path = tmp_path / name
    if name.startswith("sound"):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=48000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48000
            packets = [*stream.encode(frame), *stream.encode(None)]
            if "cover" in name:
                art = container.add_stream("mjpeg", rate=1)
                art.width, art.height, art.pix_fmt = 96, 64, "yuvj420p"
                art.disposition = Disposition.attached_pic
                packets += art.encode(av.VideoFrame.from_ndarray(picture(0)))
            container.mux(packets)
    else:
        path.write_bytes({"empty": b"", "zeros": bytes(100_000), "playlist": b"#EXTM3U\n/etc/hosts\n"}[path.stem])
    with pytest.raises(BadInput, match=what):
        open_clip(path)
    assert capfd.readouterr().err == ""


def test_the_last_frame_is_shown_while_sound_goes_on(tmp_path):
    path = made(tmp_path / "clip.mkv", PLAIN["mkv"], sound=("", 0.0, 1.5))
    for last in (None, 20):
        assert [which(image) for image in frames(open_clip(path, last=last), [10, 11, 12, 20])] == [10, 11, 11, 11]


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_movie_with_sound_that_is_cut_is_refused(tmp_path, suffix):
    path = made(tmp_path / f"clip.{suffix}", PLAIN[suffix], sound=("", 0.0, 1.5))
    assert len(frames(open_clip(path))) >= 12
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(BadInput, match="the file is cut short: found [0-9]+ frames, its header says [0-9]+; needs"):
        open_clip(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_a_movie_that_is_damaged_in_the_middle_is_read_or_refused_in_a_line(tmp_path, capfd, suffix):
    path = made(tmp_path / f"clip.{suffix}", PLAIN[suffix])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle - 200:middle] = bytes(200)
    path.write_bytes(content)
    try:
        assert len(frames(open_clip(path))) > 0
    except BadInput as error:
        assert "damaged" in str(error) or "decoded" in str(error)
    assert capfd.readouterr().err == ""


def test_a_long_movie_is_not_looked_through_behind_its_range(tmp_path):
    path = write_video(tmp_path / "clip.mp4", walk(30).frames)
    clip = open_clip(path, last=3)
    assert clip.movie.end is None and len(frames(clip, [0, 3])) == 2
    assert open_clip(path).movie.end is not None
