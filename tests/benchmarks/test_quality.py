"""Series of runs on a tiny clip, by either method: each run is done once, tables tell means and spread, bad files are
one line."""

import argparse
import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from model_files import save_model

from benchmarks.quality import series
from benchmarks.quality.__main__ import main
from benchmarks.quality.series import SeriesRun, ablation_table, ablations, code_version, read_clips, results_table
from vmr_backend.benchmarks.fit import BenchmarkClip, Measured, source_for
from vmr_backend.geometry.sphere import icosphere, spherical_uv
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.settings import settings_of

SMALL = {"crop_size": 64, "hypotheses": 1, "rigid_iterations": 10, "coarse_iterations": 10, "bones": 2,
         "texture_size": 64}
SMALL_FLAGS = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A file that names a disc that grows, four frames with masks, as a bird, and a clip that is not there."""
    folder = tmp_path_factory.mktemp("clips")
    for kind in ("frames", "masks"):
        (folder / kind).mkdir()
    for number in range(4):
        mask = np.zeros((60, 80), np.uint8)
        cv2.circle(mask, (40, 30), 15 + 2 * number, 255, -1)
        cv2.imwrite(str(folder / "masks" / f"{number:04d}.png"), mask)
        cv2.imwrite(str(folder / "frames" / f"{number:04d}.png"), cv2.merge([mask // 2, 255 - mask, mask]))
    path = folder / "clips.toml"
    path.write_text('[disc]\nframes = "frames"\nmasks = "masks"\nrange = "0:2"\nmodel = "bird"\n'
                    '[gone]\nframes = "nowhere"\nmasks = "masks"\n')
    return path


def record(clip="dog", seed=0, settings="", version="a1", preset="standard", method="lasr", model="", **figures):
    return {"clip": clip, "preset": preset, "method": method, "model": model, "settings": settings, "seed": seed,
            "version": version} | figures


def without_method(record):
    """A line from before there were several methods."""
    return {name: value for name, value in record.items() if name not in ("method", "model")}


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def cells(table):
    """The rows of a Markdown table as lists of their cells."""
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.strip().splitlines()]


@pytest.fixture
def same_code(monkeypatch):
    monkeypatch.setattr("benchmarks.quality.__main__.code_version", lambda: "a1")


@pytest.fixture
def folders_of_runs(monkeypatch):
    """Where runs left their results, which take no time and find nothing."""
    folders = []

    def run_and_measure(clip, folder, *_):
        folders.append(folder)
        return Measured(60.0, {}, None, {"J": 0.5})

    monkeypatch.setattr(series, "run_and_measure", run_and_measure)
    monkeypatch.setattr(series, "_draw_sides", lambda folder: None)
    return folders


def test_a_series_does_the_runs_that_are_missing(clips, same_code, tmp_path, capsys):
    done = SeriesRun(read_clips(clips)[0], "preview", 1, "a1", SMALL)
    line = without_method(done.facts | {"J": 0.5, "minutes": 9.0})
    (tmp_path / "results.jsonl").write_text(json.dumps(line) + "\n")
    asked = ["run", "--clips", str(clips), "--only", "disc", "--presets", "preview", "--seeds", "1", "2", *SMALL_FLAGS,
             "--out", str(tmp_path), "--device", "cpu"]
    assert main(asked) == 0
    before, found = lines(tmp_path)
    assert before["J"] == 0.5 and found["seed"] == 2 and found["scored_frames"] == 3
    assert found["J"] > 0.5 and found["minutes"] > 0 and found["memory_mib"] > 50 and "footage" in found["stages"]
    result, = tmp_path.glob("*/*/reconstruction.npz")
    assert cv2.imread(str(result.with_name("sides.png"))).shape[0] > 900, "three frames, three rows"

    head, _, row = cells(capsys.readouterr().out.split("\n\n")[-1])
    shown = dict(zip(head, row, strict=True))
    low, high = sorted([0.5, found["J"]])
    assert shown["seeds"] == "1 2" and shown["J"] == f"{(low + high) / 2:.3f} ({low:.3f}–{high:.3f})"
    assert main(asked) == 0 and len(lines(tmp_path)) == 2, "there is nothing left to do"


def test_a_series_by_a_category_model(clips, same_code, tmp_path, capsys):
    assert main(["run", "--clips", str(clips), "--only", "disc", "--method", "vmr", "--presets", "preview", "--seeds",
                 "3", "--set", "visits=0", "--set", "texture_size=64", "--out", str(tmp_path), "--device", "cpu"]) == 0
    found, = lines(tmp_path)
    assert (found["method"], found["model"], found["settings"]) == ("vmr", "bird", "texture_size=64 visits=0")
    assert "prediction" in found["stages"] and 0 < found["J"] < 1
    head, _, row = cells(capsys.readouterr().out.split("\n\n")[-1])
    assert head[:6] == ["clip", "preset", "method", "model", "settings", "seeds"] and row[2:4] == ["vmr", "bird"]
    report, = tmp_path.glob("*/*/report.json")
    asked = json.loads(report.read_text(encoding="utf-8"))["request"]
    assert asked["method"] == "vmr" and asked["model"].endswith("bird.safetensors") and asked["seed"] == 3


def test_runs_of_several_methods_and_models_lie_apart(clips, same_code, folders_of_runs, tmp_path):
    own = save_model(tmp_path / "own.safetensors")
    asked = ["run", "--clips", str(clips), "--only", "disc", "--seeds", "0", "--out", str(tmp_path)]
    by_bird, by_own = [*asked, "--method", "vmr"], [*asked, "--method", "vmr", "--model", str(own)]
    assert [main(command) for command in (asked, by_bird, by_own)] == [0, 0, 0]
    assert len(set(folders_of_runs)) == 3 and [line["model"] for line in lines(tmp_path)] == ["", "bird", str(own)]
    assert [main(command) for command in (asked, by_bird, by_own)] == [0, 0, 0] and len(folders_of_runs) == 3

    save_model(own, size=8)
    assert main(by_own) == 0 and len(set(folders_of_runs)) == 4, "the model has learnt more since"


def test_an_ablation_of_a_category_model_leaves_out_its_steps_too(clips, same_code, folders_of_runs, tmp_path, capsys):
    assert main(["run", "--clips", str(clips), "--only", "disc", "--method", "vmr", "--set", "visits=60", "--seeds",
                 "0", "1", "--ablation", "--out", str(tmp_path)]) == 0
    head, _, base, *changed = cells(capsys.readouterr().out.split("\n\n")[-1])
    assert head[2:7] == ["method", "model", "terms", "seeds", "J"]
    assert base[2:7] == ["vmr", "bird", "visits=60", "2", "0.500"]
    terms = [row[4] for row in changed]
    assert {"visits=0", "iterations=0", "weight_mask=0", "weight_base_swap=0"} <= set(terms)
    assert not {"weight_colour=0", "weight_joint=0"} & set(terms), "the method does not read them"
    assert all(row[6] == "0.500 (+0.000)" for row in changed) and len(folders_of_runs) == 2 * (1 + len(terms))


def test_a_run_that_fails_is_told_and_done_again_the_next_time(clips, same_code, tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text(json.dumps(record("gone", 7, preset="preview")))
    asked = ["run", "--clips", str(clips), "--only", "gone", "--presets", "preview", "--seeds", "7", "8",
             "--out", str(tmp_path)]
    assert main(asked) == 1
    assert "gone-preview-8" in (printed := capsys.readouterr().out) and "/nowhere: no" in printed
    assert [line["seed"] for line in lines(tmp_path)] == [7]


def test_a_line_that_was_cut_short_is_passed_over(tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text(json.dumps(without_method(record(J=0.25))) + '\n{"clip": "dog", "J')
    assert main(["table", "--out", str(tmp_path)]) == 0
    assert cells(capsys.readouterr().out)[-1] == ["dog", "standard", "lasr", "0", "0.250", "a1"]
    series._append(tmp_path / "results.jsonl", json.dumps(record(J=0.75, seed=1)))
    assert [found["J"] for found in series.read_results(tmp_path)] == [0.25, 0.75]


def test_tables_show_the_newest_code_and_no_empty_columns():
    table = results_table([
        record(seed=0, J=0.1, version="old"), record(seed=0, J=0.80, chamfer=0.01), record(seed=2, J=0.9, chamfer=0.02),
        record("bird", J=0.7, version="old", pck_t=None)])
    head, _, dog, bird = cells(table)
    assert head == ["clip", "preset", "method", "seeds", "J", "chamfer", "code"]
    assert dog == ["dog", "standard", "lasr", "0 2", "0.850 (0.800–0.900)", "0.0150 (0.0100–0.0200)", "a1"]
    assert bird == ["bird", "standard", "lasr", "0", "0.700", "", "old"]


def test_an_ablation_tells_by_how_much_figures_change():
    table = ablation_table([
        record(seed=0, J=0.8, settings="bones=3"), record(seed=1, J=0.9, settings="bones=3"),
        record(seed=0, J=0.75, settings="bones=3 weight_flow=0"), record("bird", J=0.5),
        record(method="vmr", model="quadruped", J=0.4)])
    head, _, base, without, bird, by_model = cells(table)
    assert head == ["clip", "preset", "method", "model", "terms", "seeds", "J"]
    assert base == ["dog", "standard", "lasr", "", "bones=3", "2", "0.850"]
    assert without == ["dog", "standard", "lasr", "", "weight_flow=0", "1", "0.750 (-0.050)"], "against the same seed"
    assert bird == ["bird", "standard", "lasr", "", "all", "1", "0.500"]
    assert by_model == ["dog", "standard", "vmr", "quadruped", "all", "1", "0.400"], "of another method, no change"


def test_what_a_setting_of_the_series_is_switched_off_to_changes_that_series():
    table = ablation_table([record(J=0.8, settings="bones=3 visits=60"), record(J=0.5, settings="bones=3 visits=0"),
                            record(J=0.9)])
    assert [row[3:] for row in cells(table)[2:]] == [
        ["bones=3 visits=60", "1", "0.800 (-0.100)"], ["visits=0", "1", "0.500 (-0.300)"], ["all", "1", "0.900"]]


def test_without_names_an_ablation_switches_off_every_weight_that_is_on():
    base, *changed = ablations("standard", {"weight_flow": "0"}, [])
    off = [name for settings in changed for name, value in settings.items() if name != "weight_flow" and value == 0]
    values = dict(settings_of("standard").items())
    assert base == {"weight_flow": "0"} and len(off) == len(set(off)) == len(changed) > 5
    assert "weight_flow" not in off and all(values[name] > 0 for name in off)
    assert not {"weight_base_swap", "visits"} & set(off), "only vmr reads them"
    assert {"iterations": 0} not in ablations("standard", {"iterations": "0"}, [], "vmr")[1:], "it is off already"
    assert ablations("standard", {}, ["weight_arap", "upright=false"]) == [{}, {"weight_arap": 0}, {"upright": "false"}]


def test_a_table_goes_between_its_marks(tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text(json.dumps(record(J=0.25)) + "\n")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n", encoding="utf-8")
    for _ in range(2):
        assert main(["table", "--out", str(tmp_path), "--into", str(page)]) == 0
    table = capsys.readouterr().out.split("\n\n")[0].strip()
    assert page.read_text(encoding="utf-8") == f"before\n<!-- results -->\n{table}\n<!-- /results -->\nafter\n"
    assert main(["table", "--ablation", "--out", str(tmp_path), "--into", str(page)]) == 2
    assert "<!-- ablation -->" in capsys.readouterr().err


@pytest.mark.parametrize("text, words", [
    (None, "cannot be read"), ("[dog", "is no TOML"), ("", "found no clip"), ("dog = 3", "clip dog needs"),
    ('[dog]\nframes = "a"', "clip dog needs"), ('[dog]\nframes = "a"\nmasks = 3', "clip dog needs"),
    ('[dog]\nframes = "a"\nmasks = "b"\nmask = "c"', "clip dog needs"),
])
def test_files_of_clips_that_cannot_be_used_are_one_line(text, words, tmp_path, capsys):
    path = tmp_path / "clips.toml"
    if text is not None:
        path.write_text(text)
    assert main(["run", "--clips", str(path), "--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1 and str(path) in captured.err and words in captured.err


@pytest.mark.parametrize("arguments, words", [
    ("", "needs one of run, table, sides"), ("walk", "found 'walk'"), ("run --clip CLIP", "needs --masks"),
    ("run --only cat", "needs some of painted_dog"), ("run --set bones=0", "1 to 128"), ("run --jobs 0", "--jobs"),
    ("run --ablation weight_none", "weight_none: unknown"), ("run --seeds -1", "seed"), ("run --method cmr", "cmr"),
    ("run --model unicorn", "clip painted_dog: model"), ("run --method vmr --model unicorn", "clip painted_dog: model"),
    ("run --method vmr --clip goat --masks MASKS", "clip goat: found no category model"),
    ("table --out nowhere", "found none"), ("sides nowhere --out x.png", "not found"),
])
def test_bad_arguments_are_one_line(arguments, words, capsys):
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1 and words in captured.err and not captured.out


def test_the_project_measures_itself_on_its_own_sample_alone():
    clip, = read_clips(series.ROOT / "benchmarks" / "quality" / "clips.toml")
    assert clip.name == "painted_dog" and all(path.exists() for path in (clip.frames, clip.masks, clip.gt))
    asked = argparse.Namespace(model=None, template=None)
    assert source_for(clip, "vmr", asked) == "quadruped" and source_for(clip, "lasr", asked) is None


def test_a_run_has_a_short_name_of_its_own():
    clip = BenchmarkClip("dog", None, None)
    assert SeriesRun(clip, "high", 0, "a1").name == "dog-high-0"
    assert SeriesRun(clip, "high", 3, "a1", {"weight_flow": 0}).name == "dog-high-weight_flow=0-3"
    assert SeriesRun(clip, "high", 3, "a1", {}, "vmr", "models/goat.safetensors").name == "dog-high-vmr-goat-3"
    many = {f"weight_{name}": 0 for name in ("flow", "arap", "side", "motion", "temporal", "colour")}
    assert len(SeriesRun(clip, "high", 0, "a1", many).name) < 40


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_code_is_known_by_its_commit_and_by_what_was_changed_since(tmp_path, monkeypatch):
    monkeypatch.setattr(series, "ROOT", tmp_path)
    (tmp_path / "vmr_backend").mkdir()
    source = tmp_path / "vmr_backend" / "a.py"
    source.write_text("a = 1\n")
    alone = code_version()

    def git(*arguments):
        who = ["-c", "user.name=x", "-c", "user.email=x@y"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    committed = code_version()
    (tmp_path / "notes.md").write_text("elsewhere\n")
    assert code_version() == committed != alone and "+" not in committed
    source.write_text("a = 2\n")
    changed = code_version()
    source.write_text("a = 3\n")
    assert changed.startswith(f"{committed}+") and code_version() not in (changed, committed)


def test_sides_draws_the_frames_asked_for(tmp_path, capsys):
    ball = icosphere(1)
    vertices = (ball.vertices / 2).astype(np.float32)
    Reconstruction(
        np.arange(3, 8, dtype=np.int32), np.repeat(vertices[None], 5, 0), vertices, ball.faces.astype(np.int32),
        spherical_uv(ball).astype(np.float32), np.tile(np.eye(3, dtype=np.float32), (5, 1, 1)),
        np.tile(np.float32([0, 0, 4]), (5, 1)), np.tile(np.float32([100, 100, 40, 30]), (5, 1)),
        np.int32([80, 60])).save(tmp_path)
    assert main(["sides", str(tmp_path), "--out", str(tmp_path / "four.png")]) == 0
    assert main(["sides", str(tmp_path), "--out", str(tmp_path / "one.png"), "--frames", "7"]) == 0
    four, one = (cv2.imread(str(tmp_path / name)) for name in ("four.png", "one.png"))
    assert len(four) > 3 * len(one)
    assert main(["sides", str(tmp_path), "--out", str(tmp_path / "x.png"), "--frames", "2"]) == 2
    assert "frames of the result, 3 to 7" in capsys.readouterr().err
