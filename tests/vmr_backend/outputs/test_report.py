"""report.json holds everything, in plain JSON, whole."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from vmr_backend.job import JobRequest
from vmr_backend.metrics.mask_agreement import MaskScores
from vmr_backend.outputs.report import Lens, StageTime, installed_versions, plain, write_report
from vmr_backend.outputs.trust import Measures, judge
from vmr_backend.settings import settings_of


def report(folder, **changes):
    facts = {
        "request": JobRequest("/clips/fox.mp4", "/clips/masks", preset="preview", settings={"bones": 7}),
        "settings": settings_of("preview", {"bones": 7}), "device": "cpu",
        "stages": [StageTime("footage", np.float32(1.5), 300.0), StageTime("fit", 60.0, None),
                   StageTime("texture", 8.0, 720.0)],
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
    scores = MaskScores(np.array([3, 4, 5, 6], np.int32), j, f)
    measures = Measures(
        frames=scores.frames, j=j, flow_residual=np.array([0.01, 0.01, np.nan, 0.02]),
        colour_error=np.array([np.nan, 12, 20, np.nan]), flipped=np.zeros(4, bool),
        footage=[[], ["cut off by the left border"], [], []], turn=55.0, motion=0.2, never_seen=0.3,
        rival_gap=0.07)
    found = report(tmp_path, scores=scores, trust=judge(measures), colour_error={4: 12.0, 5: 20.0},
                   left_out=[(np.int32(7), "the mask is empty")], coverage=0.5)
    assert found["scores"]["scored_frames"] == 4 and found["scores"]["J_min"] == 0.6
    assert [entry["frame"] for entry in found["frames"]] == [3, 4, 5, 6]
    three, four, five, _ = found["frames"]
    assert three == {"frame": 3, "J": 0.9, "F": 0.95, "flow_residual": 0.01, "doubt": 0.2, "doubts": []}
    assert four["doubts"] == ["cut off by the left border"] and four["colour_error"] == 12 and four["doubt"] == 0.5
    assert five["doubts"] == ["the mesh fits its mask poorly (J 0.60, the clip's median is 0.91)"]
    assert five["doubt"] == 1 and five["flow_residual"] is None and found["colour_error"] == 16
    assert found["left_out"] == [{"frame": 7, "reason": "the mask is empty"}] and found["coverage"] == 0.5
    assert found["doubtful_frames"] == [4, 5]
    assert tuple(found[name] for name in ("turn", "motion", "never_seen", "rival_gap")) == (55, 0.2, 0.3, 0.07)
    assert found["verdict"] == {"trust": "careful", "sentence": judge(measures).verdict.sentence}


def test_without_a_verdict_what_is_known_remains(tmp_path):
    found = report(tmp_path, colour_error={4: 12.0})
    assert found["frames"] == [{"frame": 4, "colour_error": 12}]
    assert found["doubtful_frames"] == []
    assert found["verdict"] is found["turn"] is found["never_seen"] is None


@pytest.mark.parametrize(("focal_length", "fitted", "source"), [
    (None, False, "assumed"), (None, True, "fitted"), (260.0, True, "given"), (260.0, False, "given")])
def test_the_lens_is_told_with_its_angle_of_view_and_where_it_is_from(tmp_path, egg_seen_from, focal_length, fitted,
                                                                     source):
    result = egg_seen_from([0.0], size=(520, 100))
    request = JobRequest("/clips/fox.mp4", focal_length=focal_length)
    lens = Lens.of(result, request, settings_of("preview", {"fit_focal_length": fitted}))
    assert report(tmp_path, lens=lens)["lens"] == {"field_of_view": 90, "focal_length": 260, "source": source}


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
