"""What is marked on frames goes through a folder and comes back; what says nothing is refused in one line."""

import json

import pytest

from vmr_backend.job import BadInput
from vmr_backend.segmentation.marks import (
    OUTLINES_NAME,
    REPORT_NAME,
    REQUEST_NAME,
    Mark,
    MaskReport,
    SegmentRequest,
    outlines_in,
)

REQUEST = SegmentRequest("/clip.mp4", (Mark(3, box=(1, 2, 30, 40)), Mark(9, inside=((5, 6),), outside=((7, 8), (1, 1))),
                                       Mark(20, mask="/mask.png")), first=0, last=30)


def test_a_request_comes_back_from_its_folder(tmp_path):
    REQUEST.check().save(tmp_path / "new")
    assert SegmentRequest.load(tmp_path / "new") == REQUEST


@pytest.mark.parametrize(("marks", "words"), [
    ((), ("nothing marked", "a box")),
    ((Mark(3),), ("frame 3", "nothing marked")),
    ((Mark(3, box=(0, 0, 9, 5), mask="/mask.png"),), ("frame 3", "a box and a whole mask")),
    ((Mark(3, box=(0, 0, 0, 5)),), ("box", "frame 3", "above 0")),
    ((Mark(3, box=(0, 0, float("nan"), 5)),), ("box", "frame 3")),
    ((Mark(3, inside=((1, float("inf")),)),), ("point", "frame 3")),
    ((Mark(3, box=(0, 0, 1e300, 5)),), ("box: found [0, 0, 1e+300, 5]", "1e+06")),
    ((Mark(3, inside=((-1e300, 2),)),), ("point: found [-1e+300, 2]", "1e+06")),
    ((Mark(2**31, inside=((1, 2),)),), ("marks: found frame 2147483648", "2147483647")),
    ((Mark(3, outside=((1, 2),)),), ("only points off the subject",)),
    ((Mark(3, inside=((1, 2),)), Mark(3, inside=((4, 2),))), ("frame 3 twice",)),
])
def test_marks_that_say_nothing_are_refused(marks, words):
    with pytest.raises(BadInput) as refused:
        SegmentRequest("/clip.mp4", marks).check()
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize("content", [
    "", "[]", "{", json.dumps({"clip": "a"}), json.dumps({"clip": "a", "marks": [{"frame": "1"}]}),
    json.dumps({"clip": "a", "marks": [{"frame": 1, "box": ["x"]}]}),
    json.dumps({"clip": "a", "marks": [{"frame": 1, "inside": [[1]]}]}),
    json.dumps({"clip": "a", "marks": [{"frame": 1, "inside": [[1, 2]], "colour": 3}]}),
    json.dumps({"clip": "a", "marks": [{"frame": 1, "inside": [[1, 2]]}], "colour": 3})])
def test_a_request_that_is_none_is_refused_in_one_line(tmp_path, content):
    (tmp_path / REQUEST_NAME).write_text(content)
    with pytest.raises(BadInput) as refused:
        SegmentRequest.load(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_request_says_so(tmp_path):
    with pytest.raises(BadInput, match="not found"):
        SegmentRequest.load(tmp_path)


def test_a_report_comes_back_and_a_damaged_one_is_refused(tmp_path):
    report = MaskReport({0: 0.9, 1: 0.5}, {1: ["the mask is unsure"]}, (0,))
    report.save(tmp_path)
    assert MaskReport.load(tmp_path) == report
    (tmp_path / REPORT_NAME).write_text("{}")
    with pytest.raises(BadInput, match="cannot be read"):
        MaskReport.load(tmp_path)


def test_outlines_are_read_anew_where_their_file_changes(tmp_path):
    assert outlines_in(tmp_path) == {}
    path = tmp_path / OUTLINES_NAME
    path.write_text(json.dumps({"3": [[1.5, 2, 3, 4, 5, 6]]}))
    assert outlines_in(tmp_path) == {3: [[1.5, 2, 3, 4, 5, 6]]}
    path.write_text(json.dumps({"3": [], "4": []}))
    assert outlines_in(tmp_path) == {3: [], 4: []}
    path.write_text("{")
    assert outlines_in(tmp_path) == {}
