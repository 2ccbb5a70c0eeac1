"""What is read from a clip's tracking, against solves that Blender made of a known motion."""

import bpy
import numpy as np
import pytest
from blender_clips import make_images
from solved_clip import make_solve
from video_mesh_reconstruction.scene.solve import lens_of, solve_of
from video_mesh_reconstruction.vmr_backend.job import JobRequest, facing

NUMBERS = range(105, 115)


@pytest.fixture
def clip(tmp_path):
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    found = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", NUMBERS, size=(320, 240))))
    found.frame_start = 7
    return found


def turning(degrees):
    """Object to camera (T, 3, 3) of a subject that faces these ways, seen from 20 degrees above."""
    a = np.radians(20)
    above = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    return np.array([above @ np.reshape(facing(0, angle).rotation, (3, 3)) for angle in degrees])


def common(entries, rotations):
    """The rotations of the object (T, 3, 3) by which a solve differs from the truth."""
    found = np.array([np.reshape(entry.rotation, (3, 3)) for entry in entries])
    return found.transpose(0, 2, 1) @ rotations


@pytest.mark.parametrize("name", ["fox", None], ids=["object", "camera"])
def test_a_solve_gives_the_turning_up_to_one_rotation_of_the_object(clip, name):
    true = turning(np.linspace(10, 70, 10))
    make_solve(clip, true, name)
    found = solve_of(clip, 105, 114)
    assert [entry.frame for entry in found] == list(NUMBERS)
    turns = common(found, true)
    np.testing.assert_allclose(turns, turns[:1].repeat(10, 0), atol=2e-3)
    JobRequest(str(clip.filepath), camera_solve=found).check()


def test_frames_follow_the_clips_offset_and_range(clip):
    true = turning(np.linspace(10, 70, 8))
    clip.frame_offset = 2
    make_solve(clip, true)
    assert [entry.frame for entry in solve_of(clip, 105, 114)] == list(range(107, 115))
    assert [entry.frame for entry in solve_of(clip, 109, 111)] == [109, 110, 111]
    assert solve_of(clip, 300, 310) is None


def test_a_tracked_object_goes_before_the_camera_and_the_active_one_before_others(clip):
    ways = {None: turning(np.linspace(0, 40, 10)), "fox": turning(np.linspace(0, 60, 10)),
            "hen": turning(np.linspace(0, -50, 10))}
    for name, true in ways.items():
        make_solve(clip, true, name)

    def is_of(name):
        turns = common(solve_of(clip, 105, 114), ways[name])
        return np.abs(turns - turns[:1]).max() < 2e-3

    assert is_of("hen")
    clip.tracking.objects.active = clip.tracking.objects["fox"]
    assert is_of("fox")
    clip.tracking.objects.active = next(one for one in clip.tracking.objects if one.is_camera)
    assert not is_of(None)


def test_a_clip_without_a_solve_gives_none(clip):
    assert solve_of(clip, 105, 114) is None


@pytest.mark.parametrize(("lens", "sensor", "pixels"), [(50, 36, 50 * 320 / 36), (24, 35, 24 * 320 / 35)])
def test_the_lens_is_in_pixels_of_the_frame(clip, lens, sensor, pixels):
    camera = clip.tracking.camera
    camera.sensor_width, camera.focal_length = sensor, lens
    assert lens_of(clip).focal_length == pytest.approx(pixels, rel=1e-5)
    assert lens_of(clip).principal_point is None


def test_a_principal_point_off_the_middle_is_told_from_the_top_left(clip):
    clip.tracking.camera.principal_point_pixels = (170, 100)
    assert lens_of(clip).principal_point == pytest.approx([170, 140])
