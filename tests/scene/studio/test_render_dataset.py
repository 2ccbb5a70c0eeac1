"""The command render-dataset, with this Python for a Blender: a .blend goes in, a collection comes out."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import bpy
import pytest
from rigged_animal import rigged_animal
from video_mesh_reconstruction.vmr_backend.job import Event

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "vmr_backend" / "__main__.py"
MANY = 5000
SECONDS_TO_END = 20

pytestmark = pytest.mark.slow


@pytest.fixture
def blend(empty_file, tmp_path):
    """A file with an animal and the bones that move it."""
    rigged_animal()
    path = tmp_path / "asset é.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True)
    return path


def command(blend, out, *more, size=32):
    return [sys.executable, str(PROGRAM), "render-dataset", str(blend), "--object", "goat", "--out", str(out),
            "--size", str(size), "--blender", sys.executable, *map(str, more)]


def run(blend, out, *more):
    return subprocess.run(command(blend, out, *more), capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL)


def events_in(text):
    return [Event.parse(line) for line in text.splitlines()]


def renderers_of(blend):
    """Processes, but for the command itself, that were started with this file."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(blend) in arguments and "blend_program" in arguments:
            found.append(int(path.parent.name))
    return found


def test_a_file_becomes_a_collection_and_news_are_passed_on(blend, tmp_path):
    before = blend.read_bytes()
    done = run(blend, tmp_path / "out", "--images", 3, "--engine", "cycles", "--category", "kid", "--keypoints",
               "head, hind.L,hind.R")
    assert done.returncode == 0, done.stderr
    events = events_in(done.stdout)
    assert None not in events and events[-1].event == "done"
    assert (events[-2].stage, events[-2].step, events[-2].total, events[-2].fraction) == ("rendering", 3, 3, 1.0)
    category = json.loads((tmp_path / "out" / "annotations.json").read_text())["categories"][0]
    assert (category["name"], category["keypoints"]) == ("kid", ["head", "hind.L", "hind.R"])
    assert blend.read_bytes() == before


def end_of_input(process):
    process.stdin.close()


def termination(process):
    process.send_signal(signal.SIGTERM)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc to look for processes in")
@pytest.mark.parametrize("end", [end_of_input, termination])
def test_however_it_is_stopped_blender_ends_and_what_is_rendered_stays(blend, tmp_path, end):
    with subprocess.Popen(command(blend, tmp_path / "out", "--images", MANY, "--watch-stdin"), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8") as process:
        while "rendering" not in (line := process.stdout.readline()) or Event.parse(line).step < 1:
            assert line
        assert renderers_of(blend)
        end(process)
        process.stdout.read()
    limit = time.monotonic() + SECONDS_TO_END
    while renderers_of(blend) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not renderers_of(blend)
    assert list((tmp_path / "out" / "rows").glob("*.npz")) and not (tmp_path / "out" / "annotations.json").exists()


@pytest.mark.once
def test_an_object_that_lies_on_its_side_is_warned_of(blend, tmp_path):
    bpy.data.objects["goat rig"].rotation_euler = (1.57, 0, 0)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "lying.blend"), copy=True)
    done = run(tmp_path / "lying.blend", tmp_path / "out", "--images", 1)
    assert "its own Z axis does not point up" in events_in(done.stdout)[0].message


@pytest.mark.once
@pytest.mark.parametrize("arguments, text", [
    (["--object", "cow"], "object: found no 'cow' in asset é.blend; needs one of goat, goat rig"),
    (["--blender", "no such program"], "--blender: found no program 'no such program'"),
    (["--blender", "ls"], "--blender: found 'ls', which is neither Blender nor Python"),
    (["--images", "many"], "render-dataset: argument --images: invalid int value: 'many'"),
    (["--engine", "povray"], "render-dataset: argument --engine"),
])
def test_what_cannot_be_used_gives_one_line(blend, tmp_path, arguments, text):
    done = run(blend, tmp_path / "out", "--images", 1, *arguments)
    assert done.returncode == 2
    assert text in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


@pytest.mark.once
def test_a_file_that_is_no_blend_gives_one_line(tmp_path, empty_file):
    (tmp_path / "text.blend").write_text("no .blend")
    for name, text in (("text.blend", "cannot be opened"), ("none.blend", "not found")):
        done = run(tmp_path / name, tmp_path / "out")
        assert done.returncode == 2 and text in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
