"""What a job is told about a clip is what Blender shows of it."""

import bpy
import pytest
from blender_clips import make_images, make_movie, shown_place
from video_mesh_reconstruction.scene.clip import clip_source, frame_number, mask_source, scene_frame
from video_mesh_reconstruction.vmr_backend.job import BadInput

pytestmark = pytest.mark.usefixtures("empty_file")


@pytest.fixture
def movie(tmp_path):
    return bpy.data.movieclips.load(str(make_movie(tmp_path / "été 1.mp4")))


@pytest.fixture
def sequence(tmp_path):
    """Twelve images from 100 on, of which the clip begins at 105."""
    make_images(tmp_path / "mes images é", range(100, 112))
    return bpy.data.movieclips.load(str(tmp_path / "mes images é" / "f_0105.png"))


def test_a_movie_is_named_with_numbers_from_0(movie, tmp_path):
    source = clip_source(movie)
    assert (source.path, source.files) == (str(tmp_path / "été 1.mp4"), None)
    assert (source.first, source.last) == (0, 7)


def test_a_sequence_is_named_from_its_chosen_file_on(sequence, tmp_path):
    source = clip_source(sequence)
    folder = tmp_path / "mes images é"
    assert source.path == str(folder)
    assert source.files == [str(folder / f"f_{number:04d}.png") for number in range(105, 112)]
    assert (source.first, source.last) == (105, 111)


@pytest.mark.parametrize(("start", "offset"), [(1, 0), (30, 0), (1, 2), (-4, 3), (7, -2)])
def test_scene_frames_and_numbers_agree_with_what_blender_shows(movie, sequence, tmp_path, start, offset):
    for clip, place_of_number in ((movie, 0), (sequence, 100)):
        clip.frame_start, clip.frame_offset = start, offset
        source = clip_source(clip)
        for number in (source.first, source.first + 1, source.last):
            frame = scene_frame(clip, number)
            assert frame_number(clip, frame) == number
            assert shown_place(clip, frame, tmp_path) == number - place_of_number
        assert shown_place(clip, scene_frame(clip, source.last) + 1, tmp_path) in (None, source.last - place_of_number)


def test_an_offset_leaves_out_the_frames_before_it(movie, sequence):
    movie.frame_offset = sequence.frame_offset = 2
    assert (clip_source(movie).first, clip_source(movie).last) == (2, 7)
    assert (clip_source(sequence).first, clip_source(sequence).last) == (107, 111)
    assert clip_source(sequence).files[0].endswith("f_0107.png")


def test_a_scene_limits_the_frames_to_its_range(movie, sequence):
    scene = bpy.context.scene
    for clip, first in ((movie, 0), (sequence, 105)):
        clip.frame_start = 10
        scene.frame_start, scene.frame_end = 12, 14
        source = clip_source(clip, scene)
        assert (source.first, source.last) == (first + 2, first + 4)
        assert source.files is None or len(source.files) == 3
        scene.frame_start, scene.frame_end = 300, 400
        with pytest.raises(BadInput, match="scene frames 300 to 400.*found 0 frames"):
            clip_source(clip, scene)


def test_a_sequence_ends_at_its_first_gap_as_in_blender(sequence, tmp_path):
    (tmp_path / "mes images é" / "f_0109.png").unlink()
    assert clip_source(sequence).last == 108


def test_relative_paths_are_resolved(tmp_path):
    make_movie(tmp_path / "a clip.mp4", count=3)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    clip = bpy.data.movieclips.load("//a clip.mp4")
    assert clip_source(clip).path == str(tmp_path / "a clip.mp4")
    assert mask_source("//a clip.mp4") == str(tmp_path / "a clip.mp4")


def test_paths_of_a_linked_clip_belong_to_its_library(tmp_path):
    make_movie(tmp_path / "shots" / "a.mp4", count=3)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shots" / "library.blend"))
    bpy.data.movieclips.load("//a.mp4").use_fake_user = True
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "shots" / "library.blend"), link=True) as (there, here):
        here.movieclips = there.movieclips
    assert clip_source(bpy.data.movieclips[0]).path == str(tmp_path / "shots" / "a.mp4")


def test_bad_clips_give_one_clear_line(movie, sequence, tmp_path):
    (tmp_path / "été 1.mp4").unlink()
    with pytest.raises(BadInput, match=r"été 1\.mp4: file of the clip .* not found"):
        clip_source(movie)
    sequence.frame_offset = 6
    with pytest.raises(BadInput, match="found 1 frame; needs at least 2"):
        clip_source(sequence)
    single = bpy.data.movieclips.load(str(make_images(tmp_path, [0], "photo.png")))
    with pytest.raises(BadInput, match="without a frame number"):
        clip_source(single)
    text = tmp_path / "text.mp4"
    text.write_text("no movie", encoding="utf-8")
    with pytest.raises(BadInput, match=r"text\.mp4: found no movie"):
        clip_source(bpy.data.movieclips.load(str(text)))


def test_masks_may_be_a_movie_an_image_a_folder_or_a_clip(movie, sequence, tmp_path):
    folder = tmp_path / "mes images é"
    assert mask_source(str(folder / "f_0105.png")) == str(folder)
    assert mask_source(str(folder)) == mask_source(str(folder) + "/") == str(folder)
    assert mask_source(sequence) == str(folder)
    assert mask_source(movie) == mask_source(movie.filepath) == str(tmp_path / "été 1.mp4")
    with pytest.raises(BadInput, match="missing.png: no such file"):
        mask_source(str(folder / "missing.png"))


def test_what_blender_shows_of_a_movie_is_told(movie):
    movie.display_aspect, movie.tracking.camera.pixel_aspect = (16, 11), 1.1
    source = clip_source(movie)
    shown = source.shown
    assert (shown.fps, shown.frames, shown.width, shown.height) == (25, 8, 64, 48)
    assert shown.turned == (bpy.app.version >= (4, 5))
    assert source.pixel_aspect == pytest.approx(16 / 11 * 1.1)


def test_pixels_of_a_clip_are_square_unless_it_says_otherwise(movie, sequence):
    assert clip_source(movie).pixel_aspect == clip_source(sequence).pixel_aspect == 1
    assert clip_source(sequence).shown is None


@pytest.mark.parametrize(("name", "numbers"), [
    ("f_{:04d}_64x48.png", range(1, 5)), ("{}.png", range(1700000000123, 1700000000127)),
    ("clip.{:04d}.v2.png", range(1, 5)), ("f_{:04d}.png", range(1, 20, 5))])
def test_images_that_blender_does_not_count_are_refused_with_what_helps(tmp_path, name, numbers):
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "odd", numbers, name)))
    assert clip.frame_duration == 1
    with pytest.raises(BadInput, match="found 4 images, of which Blender shows 1.*Frames of Active Strip"):
        clip_source(clip)
