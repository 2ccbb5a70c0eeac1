"""Of movies that are odd in any way, in any container, the backend reads what this Blender shows, or a line names the
button that helps; docs/footage.md says which, and is held to it."""

import json
import os
import re
import subprocess
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_clips import compositing_of, pixels_of
from video_mesh_reconstruction.scene.clip import clip_source
from video_mesh_reconstruction.vmr_backend.job import BadInput

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("VMR_BACKEND_PYTHON", ROOT / ".venv" / "bin" / "python"))
DOCUMENT = ROOT / "docs" / "footage.md"
VERSION = f"{bpy.app.version[0]}.{bpy.app.version[1]}"
SAME = 3.0
"""Grey levels by which pictures of one frame differ on average; pictures of two frames differ by 10 and more."""

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no backend: {PYTHON} (VMR_BACKEND_PYTHON names another)"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every odd movie, as ODDITY.CONTAINER."""
    folder = tmp_path_factory.mktemp("odd")
    _by_the_backend("make", folder)
    return folder


def test_what_blender_shows_is_what_is_read_and_what_the_document_says(folder):
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    shown, asked, refused = {}, {}, {}
    look = Look(folder)
    for path in paths:
        clip = bpy.data.movieclips.load(str(path))
        try:
            source = clip_source(clip)
        except BadInput as error:
            refused[path.name] = str(error)
            continue
        numbers = sorted({source.first, (source.first + source.last) // 2, source.last})
        shown[path.name] = {number: look.at(clip, number) for number in numbers}
        asked[path.name] = [str(path), vars(source.shown), source.pixel_aspect, numbers]
        asked[f"{path.name} alone"] = [str(path), None, 1.0, None]
    (folder / "asked.json").write_text(json.dumps(asked), "utf-8")
    _by_the_backend("read", folder)
    read, told = np.load(folder / "read.npz"), json.loads((folder / "read.json").read_text("utf-8"))
    outcomes, wrong = {}, []
    for path in paths:
        name = path.name
        if line := refused.get(name) or told.get(name):
            outcomes[name] = "not shown" if "Blender can decode" in line else f"refused: {_reason(line)}"
            assert "Frames of This Clip" in line or outcomes[name] == "not shown", line
            continue
        wrong += [f"{name} frame {number}: {apart}" for number, picture in shown[name].items()
                  if (apart := _apart(read[f"{name}/{number}"], picture))]
        outcomes[name] = "by times" if _repeats(read, name) else "read"
    assert not wrong, "\n".join(wrong)
    assert outcomes == _documented(), "docs/footage.md, column " + VERSION + ":\n" + json.dumps(outcomes, indent=1)


class Look:
    """Renders single frames of clips, as they are shown."""

    def __init__(self, folder: Path):
        self._file = folder / "look" / "look.png"
        self._scene = bpy.context.scene
        tree, output = compositing_of(self._scene)
        self._source = tree.nodes.new("CompositorNodeMovieClip")
        tree.links.new(self._source.outputs["Image"], output)
        render = self._scene.render
        render.engine, render.filepath, render.resolution_percentage = "CYCLES", str(self._file), 100
        render.image_settings.color_mode = "RGBA"
        self._scene.view_settings.view_transform = "Standard"

    def at(self, clip, number: int) -> np.ndarray:
        """(H, W, 4) uint8 RGBA, straight alpha."""
        self._source.clip = clip
        self._scene.render.resolution_x, self._scene.render.resolution_y = clip.size
        self._scene.frame_set(number + clip.frame_start)
        bpy.ops.render.render(write_still=True)
        return np.rint(255 * pixels_of(self._file)[::-1]).astype(np.uint8)


def _apart(read: np.ndarray, shown: np.ndarray) -> str:
    """How what is read (H, W, 3 or 4) BGR[A] differs from what is shown (H, W, 4) RGBA; empty where it does not.

    Colours are compared where something is to be seen, alpha where this Blender shows it.
    """
    if read.shape[:2] != shown.shape[:2]:
        return f"size {read.shape}, shown {shown.shape}"
    seen = np.ones(read.shape[:2], bool)
    if read.shape[2] == 4:
        seen = read[..., 3] > 127
        if (shown[..., 3] < 255).any() and (seen == (shown[..., 3] > 127)).mean() < 0.98:
            return "alpha"
    apart = np.abs(read[..., 2::-1][seen].astype(int) - shown[..., :3][seen]).mean()
    return f"{apart:.1f} grey levels" if apart > SAME else ""


def _repeats(read, name: str) -> bool:
    """Whether pictures of neighbouring numbers are the same, as a movie of frames of their own has none."""
    pictures = [read[key].astype(int) for key in read.files if key.startswith(f"{name} alone/")]
    return any(np.abs(a - b).mean() < 1 for a, b in zip(pictures, pictures[1:], strict=False))


def _reason(line: str) -> str:
    return re.search(r": found (.*?)[,;:]", line)[1]


def _documented() -> dict[str, str]:
    """By file name, what the document's table says of this Blender."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("|")]
    header = next(row for row in rows if row[0] == "oddity")
    table = [row for row in rows[rows.index(header) + 2:] if len(row) == len(header)]
    column = header.index(f"Blender {VERSION}")
    return {f"{row[0]}.{container}": row[column] for row in table for container in row[1].split(", ")}


def _by_the_backend(task: str, folder: Path) -> None:
    done = subprocess.run([PYTHON, ROOT / "tests" / "odd_movies.py", task, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
