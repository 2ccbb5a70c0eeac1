"""Marks on a clip, the request that they make, and what becomes of the masks that are found."""

import json
import re
from pathlib import Path

import bpy
import pytest


@pytest.fixture
def subject_in(extension):
    return extension.module("properties").active_subject


@pytest.fixture
def marked(extension, backend, footage):
    """A box on the second frame of the clip, whose first is number 3 and shown at scene frame 21."""
    footage.frame_start = 21
    bpy.context.scene.frame_set(22)
    assert bpy.ops.vmr.mark_box(box=(10, 8, 30.5, 20)) == {"FINISHED"}
    return footage


def folder_of(footage, subject="Subject"):
    return Path(footage.filepath).parent.parent / "walk masks" / subject


def request_of(footage, subject="Subject"):
    return json.loads((folder_of(footage, subject) / "segment.json").read_text())


def test_marks_make_the_request(marked, subject_in):
    bpy.ops.vmr.mark_point(place=(20, 15))
    bpy.context.scene.frame_set(25)
    bpy.ops.vmr.mark_point(place=(5.25, 6), inside=False)
    assert bpy.ops.vmr.find_masks() == {"FINISHED"}
    request = request_of(marked)
    assert request["marks"] == [
        {"frame": 4, "box": [10, 8, 30.5, 20], "inside": [[20, 15]], "outside": [], "mask": None},
        {"frame": 7, "box": None, "inside": [], "outside": [[5.25, 6]], "mask": None}]
    assert (request["first"], request["last"]) == (3, 7)
    assert [Path(file).name for file in request["files"]] == [f"f_{number:04d}.png" for number in range(3, 8)]


def test_found_masks_are_those_that_reconstruct_takes(marked, subject_in):
    inputs = subject_in(marked).inputs
    inputs.subject_by = "BOX"
    assert bpy.ops.vmr.find_masks() == {"FINISHED"}
    assert Path(inputs.masks) == folder_of(marked) / "masks" and inputs.subject_by == "WHITE"
    subject = subject_in(marked)
    assert (subject.found, subject.stale) == (5, False)
    assert [(doubt.frame, doubt.reasons) for doubt in subject.doubts] == [
        (23, "the mask is unsure; dark"), (24, "the mask is unsure; dark")]


def test_the_user_gets_from_one_doubtful_mask_to_the_next(marked):
    bpy.ops.vmr.find_masks()
    scene = bpy.context.scene
    scene.frame_set(21)
    for frame in (23, 24):
        assert bpy.ops.vmr.doubtful_mask() == {"FINISHED"} and scene.frame_current == frame
    assert bpy.ops.vmr.doubtful_mask() == {"CANCELLED"} and scene.frame_current == 24
    assert bpy.ops.vmr.doubtful_mask(next=False) == {"FINISHED"} and scene.frame_current == 23


def test_marks_that_were_changed_since_are_told(marked, subject_in):
    bpy.ops.vmr.find_masks()
    bpy.ops.vmr.mark_point(place=(3, 3), inside=False)
    assert subject_in(marked).stale and subject_in(marked).found == 5


def test_several_subjects_have_marks_and_masks_of_their_own(marked, subject_in):
    assert bpy.ops.vmr.add_subject(name="Fox/2") == {"FINISHED"}
    assert subject_in(marked).name == "Fox/2" and not subject_in(marked).marks
    bpy.ops.vmr.mark_box(box=(0, 0, 9, 9))
    bpy.ops.vmr.find_masks()
    assert request_of(marked, "Fox_2")["marks"][0]["box"] == [0, 0, 9, 9]
    bpy.ops.vmr.add_subject(name="Fox/2")
    assert subject_in(marked).name == "Fox/2 2"
    for left in (2, 1, 0):
        assert bpy.ops.vmr.remove_subject() == {"FINISHED"}
        assert len(marked.vmr.subjects) == left
    assert subject_in(marked) is None


def test_marks_are_cleared_on_a_frame_or_everywhere(marked, subject_in):
    bpy.context.scene.frame_set(23)
    with pytest.raises(RuntimeError, match="Nothing is marked at frame 23"):
        bpy.ops.vmr.clear_marks()
    bpy.ops.vmr.mark_point(place=(1, 1))
    assert bpy.ops.vmr.clear_marks() == {"FINISHED"} and len(subject_in(marked).marks) == 1
    assert bpy.ops.vmr.clear_marks(everywhere=True) == {"FINISHED"} and not subject_in(marked).marks


def test_marks_are_saved_with_the_file(marked, subject_in, tmp_path):
    bpy.ops.vmr.mark_point(place=(20, 15))
    bpy.context.scene.active_clip = marked
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "kept.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "kept.blend"))
    (mark,) = subject_in(bpy.data.movieclips[0]).marks
    assert (mark.frame, tuple(mark.box), tuple(mark.points[0].place)) == (4, (10, 8, 30.5, 20), (20, 15))


def test_a_box_is_kept_within_the_picture(extension, backend, footage, subject_in):
    bpy.ops.vmr.mark_box(box=(-5, 30, 20, 90))
    assert tuple(subject_in(footage).marks[0].box) == (0, 30, 15, 18)


@pytest.mark.parametrize(("call", "line"), [
    (lambda: bpy.ops.vmr.mark_box(box=(64, 0, 9, 9)), "Box 64, 0, 9, 9: lies outside the clip of 64 x 48 pixels"),
    (lambda: bpy.ops.vmr.mark_box(box=(4, 4, 0, 9)), "Box 4, 4, 0, 9"),
    (lambda: bpy.ops.vmr.mark_point(place=(3, 48)), "Point 3, 48: lies outside the clip of 64 x 48 pixels")])
def test_marks_beside_the_picture_are_refused(extension, backend, footage, subject_in, call, line):
    with pytest.raises(RuntimeError, match=re.escape(line)):
        call()
    assert not any(subject.marks for subject in footage.vmr.subjects)


def test_a_refused_search_leaves_masks_and_scene_as_they_were(marked, backend, subject_in):
    bpy.ops.vmr.find_masks()
    before = sorted(folder_of(marked).glob("masks/*"))
    backend.behave("refuse the masks")
    with pytest.raises(RuntimeError, match="lies outside the frame"):
        bpy.ops.vmr.find_masks()
    assert subject_in(marked).found == 5 and sorted(folder_of(marked).glob("masks/*")) == before


def test_nothing_is_searched_without_clip_or_marks(extension, backend, empty_file):
    with pytest.raises(RuntimeError, match="Open a movie clip first"):
        bpy.ops.vmr.find_masks()
    with pytest.raises(RuntimeError, match="Open a movie clip first"):
        bpy.ops.vmr.mark_box(box=(0, 0, 4, 4))


def test_a_clip_without_marks_says_what_to_do(extension, backend, footage):
    with pytest.raises(RuntimeError, match="Draw a box around the subject first"):
        bpy.ops.vmr.find_masks()


def test_masks_of_a_subject_are_never_replaced_by_those_of_another(extension, marked, tmp_path):
    """Not where it was renamed, not of a copy of the clip, nor of another sequence in the same folder."""
    from blender_clips import make_images

    bpy.ops.vmr.find_masks()
    marked.vmr.subjects[0].name = "Fox"
    bpy.ops.vmr.add_subject(name="Subject")
    bpy.ops.vmr.mark_box(box=(1, 2, 30, 20))
    bpy.ops.vmr.find_masks()
    twin = marked.copy()
    images = make_images(Path(marked.filepath).parent, range(3, 8), name="other_{:04d}.png")
    neighbour = bpy.data.movieclips.load(str(images))
    for clip in (twin, neighbour):
        bpy.context.scene.vmr.clip = clip
        bpy.ops.vmr.mark_box(box=(1, 2, 30, 20))
        bpy.ops.vmr.find_masks()
    folders = [Path(one.inputs.masks).parent.name for clip in (marked, twin, neighbour) for one in clip.vmr.subjects
               if clip == marked or one.name == "Subject"]
    assert folders == ["Subject", "Subject 2", "Subject 3", "Subject 4"]
    bpy.context.scene.vmr.clip = marked
    bpy.ops.vmr.find_masks()
    assert Path(marked.vmr.subjects["Subject"].folder).name == "Subject 2", "they replace its own"
