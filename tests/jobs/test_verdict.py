"""The verdict is read from a report, whatever state the file is in."""

import json

import pytest
from video_mesh_reconstruction.jobs.verdict import verdict_of

REPORT = {
    "verdict": {"trust": "careful", "sentence": "Use this result with care: it turns too little."},
    "doubtful_frames": [7, 9],
    "frames": [{"frame": 6, "doubt": 0.1, "doubts": []}, {"frame": 7, "doubts": ["blurred", "cut off"]}, {"frame": 9}],
}


def save(folder, **changes):
    (folder / "report.json").write_text(json.dumps(REPORT | changes), encoding="utf-8")


def test_the_verdict_comes_with_the_reasons_of_the_doubtful_frames(tmp_path):
    save(tmp_path)
    verdict = verdict_of(tmp_path)
    assert (verdict.trust, verdict.sentence) == ("careful", "Use this result with care: it turns too little.")
    assert verdict.doubts == {7: "blurred; cut off", 9: ""}


@pytest.mark.parametrize("changes", [
    {"verdict": None}, {"verdict": {"trust": "great", "sentence": "!"}}, {"verdict": {"trust": ["good"]}},
    {"doubtful_frames": None}, {"doubtful_frames": ["x"]}, {"frames": None}, {"frames": [1]}, {"frames": [{}]},
    {"frames": [{"frame": 7, "doubts": None}]}, {"frames": [{"frame": [7]}]},
])
def test_another_report_holds_none(tmp_path, changes):
    save(tmp_path, **changes)
    assert verdict_of(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"scores": {"J": 0.9}}', "[" * 100_000])
def test_a_damaged_or_older_report_holds_none(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    assert verdict_of(tmp_path) is None


def test_a_folder_without_a_report_holds_none(tmp_path):
    assert verdict_of(tmp_path) is None and verdict_of(tmp_path / "nowhere") is None
