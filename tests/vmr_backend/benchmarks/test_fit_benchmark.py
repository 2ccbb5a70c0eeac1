"""The benchmark of whole runs: a column for each preset, by either method, fewer iterations where asked, one line where
it cannot."""

import cv2
import numpy as np
import pytest

from vmr_backend.benchmarks import fit
from vmr_backend.benchmarks.fit import DECIMALS, BenchmarkClip, Measured, run_and_measure, scaled_iterations, table
from vmr_backend.cli import main
from vmr_backend.job import BadInput
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.settings import settings_of

SMALL = {"crop_size": 64, "hypotheses": 2, "subdivision": 3, "bones": 4, "texture_size": 64, "fine_iterations": 0}
SMALL_FLAGS = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def clip(egg_from_one_side, tmp_path_factory) -> BenchmarkClip:
    """Six frames of the egg with masks and true meshes."""
    folder = tmp_path_factory.mktemp("clip")
    for kind in ("frames", "masks"):
        (folder / kind).mkdir()
    for number in range(6):
        cv2.imwrite(str(folder / "frames" / f"{number:04d}.png"), egg_from_one_side.images[number][..., ::-1])
        cv2.imwrite(str(folder / "masks" / f"{number:04d}.png"), egg_from_one_side.masks[number] * np.uint8(255))
    cameras = np.tile(np.eye(4), (8, 1, 1))
    cameras[:, :3, :3] = egg_from_one_side.result.camera_rotation
    np.savez(folder / "gt.npz", vertices=egg_from_one_side.result.vertices, faces=egg_from_one_side.result.faces,
             world_to_camera=cameras)
    return BenchmarkClip("egg", folder / "frames", folder / "masks", folder / "gt.npz")


def named(clip):
    return ["--clip", str(clip.frames), "--masks", str(clip.masks), "--gt", str(clip.gt)]


def test_presets_stand_side_by_side(clip, tmp_path, capsys):
    assert main(["benchmark", "fit", *named(clip), "--presets", "preview", "standard", "--iterations-scale", "0.01",
                 *SMALL_FLAGS, "--device", "cpu", "--seed", "3", "--frames", "0:1", "--out", str(tmp_path)]) == 0
    title, presets, *rows = capsys.readouterr().out.splitlines()
    assert title == "frames, seed 3, iterations x 0.01" and presets.split() == ["preview", "standard"]
    cells = {" ".join(row.split()[:-2]): [float(cell) for cell in row.split()[-2:]] for row in rows}
    assert {"footage s", "texture s", "whole run s", "peak MiB", "J", "F", "chamfer", "track"} <= set(cells)
    assert all(0 < j <= 1 for j in cells["J"]) and min(cells["peak MiB"]) > 50
    stages = [seconds for name, seconds in cells.items() if name.endswith(" s") and name != "whole run s"]
    assert (np.sum(stages, 0) < cells["whole run s"]).all()
    assert len(Reconstruction.load(tmp_path / "standard").frames) == 2


def test_a_category_model_is_timed_by_its_own_stages(clip, tmp_path, capsys):
    assert main(["benchmark", "fit", *named(clip), "--method", "vmr", "--model", "bird", "--presets", "preview",
                 "--set", "visits=0", "--set", "texture_size=64", "--device", "cpu", "--frames", "0:1",
                 "--out", str(tmp_path)]) == 0
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert title == "frames, seed 0, vmr with bird"
    assert {"prediction s", "whole run s", "J", "F"} <= {" ".join(row.split()[:-1]) for row in rows}


def test_a_stage_that_a_preset_lacks_is_a_dash():
    short, long = ({"camera": 1.0, "pictures": 2.0}, {"camera": 1.0, "fine": 9.0, "pictures": 2.0})
    lines = table({"preview": Measured(4.0, short, None, {"J": 0.5, "pck_t": None}),
                   "high": Measured(13.0, long, 900.0, {"J": 0.98765, "track": 0.012345})})
    assert [line.split() for line in lines] == [
        ["preview", "high"], ["camera", "s", "1.0", "1.0"], ["fine", "s", "-", "9.0"], ["pictures", "s", "2.0", "2.0"],
        ["whole", "run", "s", "4.0", "13.0"], ["peak", "MiB", "-", "900"], ["J", "0.500", "0.988"],
        ["track", "-", "0.0123"]]


def test_iterations_are_scaled_within_what_settings_allow():
    standard = dict(settings_of("standard").items())
    scaled = scaled_iterations("standard", {"coarse_iterations": 33, "bones": 3}, 0.1)
    assert scaled.pop("coarse_iterations") == 33 and scaled.pop("bones") == 3, "what was asked for stays"
    assert all(name.endswith("_iterations") and value == max(round(standard[name] / 10), 10)
               for name, value in scaled.items()) and "rigid_iterations" in scaled
    assert scaled_iterations("preview", {}, 1.0) == {}
    assert scaled_iterations("standard", {}, 0.1, "vmr") == {
        name: round(standard[name] / 10) for name in ("visits", "iterations")}
    with pytest.raises(BadInput, match="--iterations-scale: found 0"):
        scaled_iterations("standard", {}, 0)


def test_what_a_run_refuses_is_told(clip, tmp_path):
    with pytest.raises(BadInput, match="setting bones: found 0"):
        run_and_measure(clip, tmp_path, "preview", settings={"bones": 0})
    with pytest.raises(BadInput, match="nowhere"):
        run_and_measure(BenchmarkClip("egg", tmp_path / "nowhere", clip.masks), tmp_path, "preview")


@pytest.mark.parametrize("arguments, words", [
    ("--clip CLIP", "needs --masks"), ("--masks MASKS", "--clip: found none"), ("--set bones", "NAME=VALUE"),
    ("--iterations-scale 0", "--iterations-scale"), ("--presets best", "best"), ("--method cmr", "cmr"),
    ("--method vmr --iterations-scale 0", "--iterations-scale"), ("--model unicorn", "'unicorn'"),
    ("--method vmr --model unicorn", "clip painted_dog: model"),
    ("--method vmr --clip goat.mp4 --masks MASKS", "clip goat: found no category model"),
])
def test_bad_arguments_are_one_line(arguments, words, capsys):
    assert main(["benchmark", "fit", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1 and words in captured.err and not captured.out


def test_without_the_sample_a_clip_is_needed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fit, "SAMPLE", BenchmarkClip("painted_dog", tmp_path / "clip.mp4", tmp_path / "masks"))
    assert main(["benchmark", "fit"]) == 2
    assert "needs --clip and --masks" in capsys.readouterr().err


def test_the_sample_has_all_that_is_measured():
    assert all(path.exists() for path in (fit.SAMPLE.frames, fit.SAMPLE.masks, fit.SAMPLE.gt))
    assert list(DECIMALS) == ["J", "J_min", "F", "chamfer", "pose_chamfer", "track", "pck_t"]


def test_another_checkout_runs_in_turns_and_the_fastest_of_each_is_shown(clip, tmp_path, monkeypatch, capsys):
    seconds, roots = iter([5.0, 4.0, 6.0, 3.0]), []

    def run(*arguments):
        roots.append(arguments[-1])
        return Measured(next(seconds), {}, None, {})

    monkeypatch.setattr(fit, "run_and_measure", run)
    assert main(["benchmark", "fit", *named(clip), "--presets", "preview", "--before", str(tmp_path),
                 "--rounds", "2"]) == 0
    assert roots == [tmp_path, fit.ROOT] * 2
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows[0] == ["preview", "before", "preview", "now"] and rows[1] == ["whole", "run", "s", "5.0", "3.0"]
