"""Another Blender, started by a command to run the extension's program in it, and ended with it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .arguments import Arguments
from .job import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, BadInput, Event
from .process import stop_with_standard_input

PROGRAM = Path(__file__).resolve().parents[1] / "scene" / "blend_program.py"
"""Of the extension, which the backend is a part of."""
SECONDS_TO_ANSWER = 60
SECONDS_TO_END = 5


def add_blender(parser: Arguments) -> None:
    """The options of commands that start a Blender."""
    parser.add_argument("--blender", default="blender", metavar="PROGRAM",
                        help="a Blender, or a Python that has bpy; default: the Blender on the path")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input ends")


def run_in_blender(blender: str, work: str, file: Path, folder: Path, request: Mapping[str, Any], *,
                   watch_stdin: bool = False, shows: Callable[[Event], bool] = lambda event: True) -> int:
    """Do one of the works of scene/blend_program.py on a file, pass its events on; returns the exit status.

    All other output goes to standard error. BadInput where Blender finds some, or is none.
    blender  a Blender, or a Python that has bpy
    shows    which events are passed on
    """
    command = [*_start_of(blender, work), str(PROGRAM), "--", work, str(file.resolve()), str(folder.resolve()),
               json.dumps(dict(request))]
    error = ""
    # Blender ends when the pipe to it does, however this process goes.
    with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="replace") as process:
        try:
            if watch_stdin:
                stop_with_standard_input(process.kill)
            for line in process.stdout:
                event = Event.parse(line)
                if event is None or shows(event):
                    print(line.rstrip("\n"), file=sys.stderr if event is None else sys.stdout, flush=True)
                error = event.message if event is not None and event.event == "error" else error
            status = process.wait()
        except KeyboardInterrupt:
            return EXIT_CANCELLED
        finally:
            _end(process)
    if status == EXIT_BAD_INPUT:
        raise BadInput(error)
    if status in (EXIT_DONE, EXIT_CANCELLED):
        return status
    if not error:
        print(Event("error", message=f"Blender ended without a word (status {status})").line(), flush=True)
    return EXIT_FAILED


def _start_of(program: str, work: str) -> list[str]:
    """What runs a script in a Blender or in a Python; BadInput where it is neither."""
    if not PROGRAM.is_file():
        raise BadInput(f"{work}: found no {PROGRAM}; needs the whole extension, of which the backend is a part")
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


def _end(process: subprocess.Popen) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_END)
        return
    process.kill()
