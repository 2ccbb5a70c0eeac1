"""report.json holds everything, in plain JSON, whole."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from vmr_backend.job import JobRequest
from vmr_backend.metrics.segmentation import Scores
from vmr_backend.outputs.report import Stage, installed_versions, plain, write_report
from vmr_backend.settings import settings_of


def report(folder, **changes):
    facts = {
        "request": JobRequest("/clips/fox.mp4", "/clips/masks", preset="preview", settings={"bones": 7}),
        "settings": settings_of("preview", {"bones": 7}), "device": "cpu",
        "stages": [Stage("video", np.float32(1.5), 300.0), Stage("fit", 60.0, None), Stage("bake", 8.0, 720.0)],
    } | changes
    write_report(folder, **facts)
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_the_report_says_what_was_asked_for_and_what_it_took(tmp_path):
    found = report(tmp_path)
    assert found["request"]["clip"] == "/clips/fox.mp4" and found["request"]["method"] == "lasr"
    assert found["settings"]["bones"] == 7 and found["settings"]["crop_size"] == 128
    assert found["seconds"] == 69.5 and found["peak_memory_mib"] == 720
    assert found["stages"][1] == {"name": "fit", "seconds": 60, "peak_memory_mib": None}
    assert found["versions"] == installed_versions() and {"python", "numpy", "torch"} <= set(found["versions"])
    assert found["scores"] is None and found["frames"] == [] and found["warnings"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_frames_carry_their_scores_and_doubts(tmp_path):
    j, f = np.array([0.9, 0.92, 0.6, 0.91]), np.array([0.95, 0.96, 0.5, 0.9])
    scores = Scores(np.array([3, 4, 5, 6], np.int32), j, f)
    found = report(tmp_path, scores=scores, doubts={4: ["cut off by the left border"], 9: ["blurred"]},
                   colour_error={4: 12.0, 5: 20.0}, left_out=[(np.int32(7), "the mask is empty")], coverage=0.5)
    assert found["scores"]["scored_frames"] == 4 and found["scores"]["J_min"] == 0.6
    assert [entry["frame"] for entry in found["frames"]] == [3, 4, 5, 6, 9]
    three, four, five, six, nine = found["frames"]
    assert three == {"frame": 3, "J": 0.9, "F": 0.95, "doubts": []}
    assert four["doubts"] == ["cut off by the left border"] and four["colour_error"] == 12
    assert five["doubts"] == ["the mesh fits its mask poorly (J 0.60, the clip's median is 0.91)"]
    assert nine == {"frame": 9, "doubts": ["blurred"]} and found["colour_error"] == 16
    assert found["left_out"] == [{"frame": 7, "reason": "the mask is empty"}] and found["coverage"] == 0.5


def test_everything_becomes_plain_json():
    @dataclass
    class Hypothesis:
        heading: float
        loss: np.ndarray

    value = {"a": np.float32(0.1), 2: (np.int64(3), float("nan"), np.inf), "h": Hypothesis(90.0, np.array([1, 2.5])),
             "flag": np.bool_(True), "path": None, "odd": object}
    found = plain(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["a"] == pytest.approx(0.1) and found["2"] == [3, None, None]
    assert found["h"] == {"heading": 90.0, "loss": [1.0, 2.5]} and found["flag"] is True
