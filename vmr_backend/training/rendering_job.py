"""The command render-dataset: has a Blender render an image collection of an object in a .blend file."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from ..arguments import Arguments
from ..job import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, BadInput, Event
from ..process import stop_with_standard_input

PROGRAM = Path(__file__).resolve().parents[2] / "scene" / "blend_program.py"
"""Of the extension, which the backend is a part of."""
ENGINES = ("CYCLES", "EEVEE", "WORKBENCH", "AUTO")
SECONDS_TO_ANSWER = 60
SECONDS_TO_END = 5


def main(argv: list[str]) -> int:
    """Render as the arguments say, passing Blender's events on; returns the exit status (job.py)."""
    parser = Arguments(
        prog="python -m vmr_backend render-dataset",
        description="Render an image collection with masks and keypoints of an object in a .blend file. What is "
                    "rendered already in DIR is kept.")
    parser.add_argument("file", type=Path, metavar="FILE.blend")
    parser.add_argument("--object", required=True, metavar="NAME",
                        help="a mesh, an armature that moves meshes, or an empty that holds them")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the collection")
    parser.add_argument("--category", metavar="NAME", help="what the collection shows; default: the object's name")
    parser.add_argument("--images", type=int, default=400, metavar="N")
    parser.add_argument("--size", type=int, default=128, metavar="S", help="sides of the pictures, pixels")
    parser.add_argument("--seed", type=int, default=0, metavar="K")
    parser.add_argument("--engine", type=str.upper, choices=ENGINES, default="CYCLES",
                        help="CYCLES computes on the processor; AUTO is EEVEE where Blender finds a GPU, else CYCLES")
    parser.add_argument("--keypoints", default="", metavar="A,B,C",
                        help="names of bones (their heads), of bones' tips ('NAME tip') or of vertex groups; default: "
                             "chosen by themselves")
    parser.add_argument("--blender", default="blender", metavar="PROGRAM",
                        help="a Blender, or a Python that has bpy; default: the Blender on the path")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input ends")
    given = parser.parse_args(argv)
    if not given.file.is_file():
        raise BadInput(f"{given.file}: not found; needs a .blend file")
    request = {
        "object": given.object, "category": given.category or given.object, "images": given.images,
        "size": given.size, "seed": given.seed, "engine": given.engine,
        "keypoints": [name.strip() for name in given.keypoints.split(",") if name.strip()]}
    command = [*_start_of(given.blender), str(PROGRAM), "--", "dataset", str(given.file.resolve()),
               str(given.out.resolve()), json.dumps(request)]
    return _run(command, given.watch_stdin)


def _start_of(program: str) -> list[str]:
    """What runs a script in a Blender or in a Python; BadInput where it is neither."""
    if not PROGRAM.is_file():
        raise BadInput(f"render-dataset: found no {PROGRAM}; needs the whole extension, of which the backend is a part")
    path = shutil.which(program)
    if path is None:
        raise BadInput(f"--blender: found no program {program!r}; needs a Blender, or a Python that has bpy")
    try:
        run = subprocess.run([path, "--version"], capture_output=True, encoding="utf-8", errors="replace",
                             stdin=subprocess.DEVNULL, timeout=SECONDS_TO_ANSWER)
        answer = run.stdout + run.stderr
    except (OSError, subprocess.TimeoutExpired):
        answer = ""
    if any(line.startswith("Blender ") for line in answer.splitlines()):
        return [path, "--background", "--factory-startup", "-noaudio", "--python-exit-code", "1", "--python"]
    if answer.startswith("Python "):
        return [path, "-u"]
    raise BadInput(f"--blender: found {program!r}, which is neither Blender nor Python; needs one of them")


def _run(command: list[str], watches_standard_input: bool) -> int:
    """Start Blender, pass its events on, and end with it; all other output goes to standard error.

    Blender ends when the pipe to it does, however this process goes.
    """
    error = ""
    with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="replace") as blender:
        try:
            if watches_standard_input:
                stop_with_standard_input(blender.kill)
            for line in blender.stdout:
                event = Event.parse(line)
                print(line.rstrip("\n"), file=sys.stderr if event is None else sys.stdout, flush=True)
                error = event.message if event is not None and event.event == "error" else error
            status = blender.wait()
        except KeyboardInterrupt:
            return EXIT_CANCELLED
        finally:
            _end(blender)
    if status == EXIT_BAD_INPUT:
        raise BadInput(error)
    if status in (EXIT_DONE, EXIT_CANCELLED):
        return status
    if not error:
        print(Event("error", message=f"Blender ended without a word (status {status})").line(), flush=True)
    return EXIT_FAILED


def _end(blender: subprocess.Popen) -> None:
    if blender.poll() is not None:
        return
    blender.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        blender.wait(SECONDS_TO_END)
        return
    blender.kill()
