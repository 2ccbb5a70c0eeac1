"""What the demo tells while it runs and at its end."""

import importlib.util
import io
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "demo" / "demo.py"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_progress_is_one_line_that_changes(demo):
    terminal = Terminal()
    bar = demo.ProgressBar(terminal)
    print("Reconstruct:  49%  Fine 1/2, 1:05 left", file=bar)
    print("Reconstruct:  50%  Fine 1/2, 1:04 left", file=bar)
    bar.end()
    assert terminal.getvalue().count("\n") == 1 and terminal.getvalue().count("\r") == 2
    last = terminal.getvalue().split("\r")[-1]
    assert f"[{'#' * 15}{'.' * 15}]  50%" in last and "1:04 left" in last


def test_in_a_log_progress_is_a_line_for_each_tenth(demo):
    log = io.StringIO()
    bar = demo.ProgressBar(log)
    for percent in range(101):
        print(f"Reconstruct: {percent:3d}%  Fine", file=bar)
    assert len(log.getvalue().splitlines()) == 11


def test_what_else_blender_prints_is_not_lost(demo):
    terminal = Terminal()
    bar = demo.ProgressBar(terminal)
    print("Reconstruct:  49%  Fine", file=bar)
    print("Warning: frame 3 is cut off", file=bar)
    assert terminal.getvalue().endswith("\n  Warning: frame 3 is cut off\n")


def test_the_summary_shows_the_scores_and_does_without_what_is_unknown(demo, tmp_path):
    report = {"scores": {"J": 0.9312, "F": 0.951, "J_min": 0.88}, "frames": [{}] * 48, "coverage": 0.61,
              "seconds": 241.0, "peak_memory_mib": 2048.0}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    text = demo.summary(path)
    assert all(part in text for part in ("0.931", "0.951", "0.880", "48", "61%", "4 min 01 s", "2.0 GiB"))
    path.write_text(json.dumps(report | {"scores": None, "coverage": None, "peak_memory_mib": None}), encoding="utf-8")
    assert len({len(line) for line in demo.summary(path).splitlines()}) == 1
