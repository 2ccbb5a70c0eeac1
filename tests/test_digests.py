"""What a run left, as arrays, and how they differ from those of an earlier run."""

import json

import numpy as np
from digests.__main__ import main
from digests.products import differences, products_of

ARRAYS = {"a.x": np.arange(4.0), "a.y": np.array([np.nan, 1]), "a.names": np.array(["root", "chain1_1"])}


def test_arrays_are_equal_to_the_last_bit_or_told_with_how_far_they_are_apart():
    assert differences(ARRAYS, ARRAYS) == ([], [])
    (line,), remarks = differences(ARRAYS | {"a.x": np.array([0, 1, 2, 3.5])}, ARRAYS)
    assert line.startswith("a.x") and "25.0%" in line and "0.5" in line and not remarks
    (line,), _ = differences(ARRAYS | {"a.x": np.arange(4, dtype=np.float32)}, ARRAYS)
    assert "float64 became float32" in line
    (line,), _ = differences(ARRAYS | {"a.names": np.array(["root", "tail"])}, ARRAYS)
    assert "chain1_1" in line and "tail" in line


def test_new_names_are_no_differences_and_what_is_gone_is_one():
    others = {"b.x": ARRAYS["a.x"], "a.y": ARRAYS["a.y"], "a.z": np.zeros(2)}
    differing, remarks = differences(others, ARRAYS)
    assert differing == ["a.names: is gone"]
    assert remarks == ["a.x: is now called b.x", "a.z: is new"]


def test_reports_are_figures_by_key_without_times_and_prose(tmp_path):
    frames = [{"frame": 0, "J": 0.5, "doubts": ["cut off"]}, {"frame": 1, "J": None, "doubts": []}]
    (tmp_path / "report.json").write_text(json.dumps({"seconds": 3.0, "frames": frames, "lens": {"source": "given"}}))
    found = products_of(tmp_path)
    assert found.keys() == {"report.frames.frame", "report.frames.J", "report.lens.source"}
    assert np.array_equal(found["report.frames.J"], [0.5, np.nan], equal_nan=True)


def test_a_search_for_masks_leaves_the_same_masks_again(tmp_path, capsys):
    assert main([str(tmp_path / "before"), "--cases", "segment"]) == 0
    assert main([str(tmp_path / "after"), "--cases", "segment", "--against", str(tmp_path / "before")]) == 0
    assert "segment: equal" in capsys.readouterr().out
