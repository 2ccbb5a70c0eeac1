"""End to end, as an artist works: the extension's zip, a real Blender, the sample clip, a mesh, files to keep.

    .venv-bpy-4.5/bin/python demo/demo.py --backend-python .venv/bin/python --out demo_out      (`make demo`)

Python needs the bpy module of Blender 4.5. OUT receives the scene (.blend), the animation for other programs (.fbx),
overlay.mp4, preview.png and report.json of the run, and still.png, a frame rendered over the footage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples" / "painted_dog"
MODULE = "bl_ext.user_default.video_mesh_reconstruction"
KEPT = ("overlay.mp4", "preview.png", "report.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend-python", type=Path, required=True, help="interpreter that has PyTorch and Warp")
    parser.add_argument("--clip", type=Path, default=SAMPLE / "clip.mp4")
    parser.add_argument("--masks", type=Path, default=SAMPLE / "masks")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--out", type=Path, default=ROOT / "demo_out")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="blender_user_") as resources:
        os.environ["BLENDER_USER_RESOURCES"] = resources  # an empty Blender, not the user's own
        try:
            with installed_extension(build_extension(Path(resources))):
                set_preferences(arguments.backend_python.absolute(), out)
                reconstruct(arguments.clip.resolve(), arguments.masks.resolve(), arguments.preset)
                files = keep(out, arguments.clip.resolve().parent.name)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(str(error).strip(), file=sys.stderr)
            return 1
    print(f"\n{summary(out / 'report.json')}\n")
    for path, meaning in files.items():
        print(f"  {shown(path):32} {meaning}")
    print(f"\nIn all {clock_time(time.monotonic() - start)}.")
    return 0


def build_extension(folder: Path) -> Path:
    """The extension's zip, built and validated by Blender's own builder."""
    say("Building the extension")
    build = [sys.executable, str(ROOT / "wheels" / "build.py"), "--out", str(folder)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.zip"))


@contextlib.contextmanager
def installed_extension(package: Path) -> Iterator[None]:
    """The extension installed and enabled in Blender; disabled at the end, or Blender 4.x crashes when it exits."""
    import bpy

    say(f"Installing it into Blender {bpy.app.version_string}")
    with quiet():
        bpy.ops.extensions.package_install_files(filepath=str(package), repo="user_default", enable_on_install=True)
    if MODULE not in bpy.context.preferences.addons:
        raise RuntimeError("The extension was installed, but Blender could not enable it.")
    try:
        yield
    finally:
        with quiet():
            bpy.ops.preferences.addon_disable(module=MODULE)


def set_preferences(python: Path, out: Path) -> None:
    """Name the backend's interpreter, and check it."""
    import bpy

    say("Checking the backend")
    preferences: Any = bpy.context.preferences.addons[MODULE].preferences
    preferences.backend_python = str(python)
    preferences.jobs_folder = str(out / "job")
    with quiet():
        bpy.ops.vmr.check_backend()  # type: ignore[attr-defined]


def reconstruct(clip_path: Path, masks: Path, preset: str) -> None:
    """Open the clip and run Reconstruct, which waits for the end in a Blender without a window."""
    import bpy

    say(f"Reconstructing {shown(clip_path)}")
    with quiet():
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene: Any = bpy.context.scene
    clip: Any = bpy.data.movieclips.load(str(clip_path))
    scene.vmr.clip, clip.vmr.inputs.masks = clip, str(masks)
    scene.vmr.preset = preset
    bar = ProgressBar(sys.stdout)
    with contextlib.redirect_stdout(bar):
        bpy.ops.vmr.reconstruct()  # type: ignore[attr-defined]
    bar.end()


def keep(out: Path, name: str) -> dict[Path, str]:
    """Save, export and render; the files and what each of them is."""
    import bpy

    blend, fbx, still = out / f"{name}.blend", out / f"{name}.fbx", out / "still.png"
    say("Saving, exporting, rendering a still")
    with quiet():
        bpy.context.preferences.filepaths.save_version = 0  # saved twice: paths get relative to where it lies
        bpy.ops.wm.save_as_mainfile(filepath=str(blend))
        bpy.ops.file.make_paths_relative()
        bpy.ops.wm.save_mainfile()
        bpy.ops.vmr.export_fbx(filepath=str(fbx))  # type: ignore[attr-defined]
        render_still(still)
    job = next(path.parent for path in (out / "job").glob("*/report.json"))
    for file_name in KEPT:
        shutil.copy2(job / file_name, out / file_name)
    return {
        blend: "the scene: mesh with a shape key a frame, texture, camera, clip",
        fbx: "the same animation for other programs",
        out / "overlay.mp4": "the footage beside the mesh over it",
        out / "preview.png": "frames with the mesh over them; the rest shape from four sides",
        still: "the middle frame, rendered by Cycles over the darkened footage",
        out / "report.json": "settings, times, scores, and where to be careful",
    }


def render_still(path: Path) -> None:
    """The middle frame by Cycles, over the footage. The scene is changed for it, after it has been saved."""
    import bpy

    scene: Any = bpy.context.scene
    scene.frame_set((scene.frame_start + scene.frame_end) // 2)
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 16
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"  # others would change the footage's colours
    # The texture holds the light of the footage already: even light from all sides, and a little from above.
    scene.world = bpy.data.worlds.new("Still")
    scene.world.color = (0.85, 0.85, 0.85)
    light = bpy.data.objects.new("Still", bpy.data.lights.new("Still", "SUN"))
    light.data.energy = 0.6
    scene.collection.objects.link(light)
    put_footage_behind(scene)
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def put_footage_behind(scene: Any) -> None:
    """Compositor nodes that lay the render over the clip, darkened so that the two can be told apart."""
    scene.use_nodes = True
    nodes, links = scene.node_tree.nodes, scene.node_tree.links
    nodes.clear()
    footage, render = nodes.new("CompositorNodeMovieClip"), nodes.new("CompositorNodeRLayers")
    over, result = nodes.new("CompositorNodeAlphaOver"), nodes.new("CompositorNodeComposite")
    darker = nodes.new("CompositorNodeExposure")
    darker.inputs["Exposure"].default_value = -1.5
    footage.clip = scene.vmr.clip
    links.new(footage.outputs["Image"], darker.inputs["Image"])
    links.new(darker.outputs["Image"], over.inputs[1])
    links.new(render.outputs["Image"], over.inputs[2])
    links.new(over.outputs["Image"], result.inputs["Image"])


class ProgressBar:
    """A text stream that shows the operator's progress lines as one bar, and passes on everything else.

    Where the output is no terminal, every tenth of the way gets a line.
    """

    LINE = re.compile(r"Reconstruct:\s*(\d+)%\s*(.*)")
    WIDTH = 30

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.tenth = -1
        self.open = False

    def write(self, text: str) -> int:
        match = self.LINE.match(text)
        if match:
            self.show(int(match[1]), match[2])
        elif text.strip():
            self.end()
            self.stream.write(f"  {text.strip()}\n")
        return len(text)

    def show(self, percent: int, text: str) -> None:
        filled = self.WIDTH * percent // 100
        line = f"  [{'#' * filled}{'.' * (self.WIDTH - filled)}] {percent:3d}%  {text}"
        if self.stream.isatty():
            self.stream.write(f"\r{line:<100.100}")
            self.open = True
        elif percent // 10 != self.tenth:
            self.tenth = percent // 10
            self.stream.write(line + "\n")
        self.stream.flush()

    def end(self) -> None:
        if self.open:
            self.stream.write("\n")
            self.open = False

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what Blender prints, from C too; errors come as exceptions."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


def summary(report_path: Path) -> str:
    """What the run scored, as a table."""
    report = json.loads(report_path.read_text(encoding="utf-8"))
    scores = report["scores"] or {}
    rows = [
        ("J, overlap of mesh and mask", decimal(scores.get("J"))),
        ("J of the worst frame", decimal(scores.get("J_min"))),
        ("F, agreement of the outlines", decimal(scores.get("F"))),
        ("frames", str(len(report["frames"]))),
        ("surface that some frame shows", f"{report['coverage']:.0%}" if report["coverage"] else "-"),
        ("time of the reconstruction", clock_time(report["seconds"])),
        ("largest memory", f"{report['peak_memory_mib'] / 1024:.1f} GiB" if report["peak_memory_mib"] else "-"),
    ]
    rule = f"+{'-' * 33}+{'-' * 12}+"
    return "\n".join([rule, *(f"| {name:<31} | {value:>10} |" for name, value in rows), rule])


def decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def clock_time(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def shown(path: Path) -> str:
    """The path, relative where it can be."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def say(step: str) -> None:
    print(f"== {step}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
