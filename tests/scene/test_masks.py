"""Masks of another clip are refused by their size and number; those of this one are let through."""

import bpy
import pytest
from blender_clips import make_images, make_movie
from video_mesh_reconstruction.scene.masks import check_masks
from video_mesh_reconstruction.vmr_backend.job import BadInput

pytestmark = pytest.mark.usefixtures("empty_file")


@pytest.fixture
def clip(tmp_path):
    return bpy.data.movieclips.load(str(make_movie(tmp_path / "walk.mp4", count=8)))


def test_masks_of_the_clip_are_let_through_and_leave_nothing_in_the_file(clip, tmp_path):
    check_masks(str(make_images(tmp_path / "all", range(8)).parent), clip)
    check_masks(str(make_images(tmp_path / "from one", range(1, 9)).parent), clip)
    check_masks(str(make_images(tmp_path / "few", [2, 5]).parent), clip)
    check_masks(str(make_movie(tmp_path / "masks.mp4", count=8)), clip)
    assert not [image for image in bpy.data.images if image.source == "FILE"]
    assert list(bpy.data.movieclips) == [clip]


def test_masks_that_cannot_be_of_the_clip_are_refused_in_a_line(clip, tmp_path):
    more = make_images(tmp_path / "more", range(11)).parent
    with pytest.raises(BadInput, match="more holds 11 masks, the clip walk.mp4 has 8 frames; needs masks of"):
        check_masks(str(more), clip)
    with pytest.raises(BadInput, match="short.mp4 holds 3 masks, the clip walk.mp4 has 8 frames"):
        check_masks(str(make_movie(tmp_path / "short.mp4", count=3)), clip)
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInput, match="none holds no images"):
        check_masks(str(tmp_path / "none"), clip)
    square = bpy.data.images.new("square", 64, 64)
    square.filepath_raw, square.file_format = str(tmp_path / "none" / "0.png"), "PNG"
    square.save()
    with pytest.raises(BadInput, match="holds masks of 64x64 pixels, the clip walk.mp4 has 64x48"):
        check_masks(str(tmp_path / "none"), clip)


def test_a_sequence_is_judged_by_its_shape_alone(tmp_path):
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "walk", range(105, 112))))
    check_masks(str(make_images(tmp_path / "longer", range(90, 130)).parent), clip)
