"""Seconds and quality of whole runs, preset beside preset: `python -m vmr_backend benchmark fit`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..arguments import Arguments
from ..job import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, BadInput
from ..methods import METHODS
from ..metrics.evaluation import evaluate_folder, load_joints, load_truth
from ..reconstruction import REPORT_NAME
from ..settings import PRESETS, Settings, settings_of
from ..templates.shelf import find_template
from ..vmr.model_file import find_model

ROOT = Path(__file__).resolve().parents[2]
"""Where `python -m vmr_backend` finds the package."""

DECIMALS = {"J": 3, "J_min": 3, "F": 3, "chamfer": 4, "pose_chamfer": 4, "track": 4, "pck_t": 3}
"""Figures of quality in the order in which tables show them; docs/result-format.md tells what they mean."""
WIDTH = 16
"""Of a column, in letters."""
COUNTS = ("iterations", "visits")
"""How the names of settings end that say how long a stage takes."""


@dataclass(frozen=True)
class BenchmarkClip:
    """Footage with what is known of it."""

    name: str
    frames: Path
    """A video file or a folder of images."""
    masks: Path
    gt: Path | None = None
    """True meshes, as `evaluate --gt` reads them."""
    keypoints: Path | None = None
    """Annotated joints, as `evaluate --keypoints` reads them."""
    range: str | None = None
    """FIRST:LAST of the frames to take; None: all."""
    model: str | None = None
    """The category model that knows its kind, for the vmr method."""
    template: str | None = None
    """The rigged body of its kind, for the template method."""


SAMPLE_FOLDER = ROOT / "samples" / "painted_dog"
SAMPLE = BenchmarkClip("painted_dog", SAMPLE_FOLDER / "clip.mp4", SAMPLE_FOLDER / "masks",
                       SAMPLE_FOLDER / "ground_truth.npz", model="quadruped")


@dataclass(frozen=True)
class Measured:
    """What one run took and gave."""

    seconds: float
    """Wall clock of the whole process."""
    stages: dict[str, float]
    """Seconds of each stage."""
    peak_memory_mib: float | None
    figures: dict[str, Any]
    """What `evaluate` prints."""
    cpu_seconds: float = 0.0
    """Of all cores together: tells less of others' use of the machine. 0 where it is not known, as on Windows."""


class RunFailed(Exception):
    """A run ended without a result; the text is its last line."""


def main(argv: list[str] | None = None) -> int:
    """Runs the presets asked for, prints a table, returns the exit status."""
    arguments = _parser().parse_args(argv)
    clip = _clip_of(arguments)
    source = source_for(clip, arguments.method, arguments)
    values = values_of(arguments.set)
    measured: dict[str, Measured] = {}
    roots = [("before", arguments.before.resolve()), ("now", ROOT)] if arguments.before else [("", ROOT)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            for preset in arguments.presets:
                scaled = scaled_iterations(preset, values, arguments.iterations_scale, arguments.method)
                # In turns, since a machine's speed changes in the course of an hour.
                for version, root in roots * arguments.rounds:
                    name = f"{preset} {version}".strip()
                    run = run_and_measure(clip, (arguments.out or Path(folder)) / name, preset, arguments.seed, scaled,
                                          arguments.device, arguments.method, source, root)
                    measured[name] = min(run, measured.get(name, run), key=lambda run: run.seconds)
    except RunFailed as error:
        print(f"preset {preset}: {error}", file=sys.stderr)
        return 1
    print(f"{clip.name}, seed {arguments.seed}" + f", {arguments.method} with {source}" * (source is not None)
          + f", iterations x {arguments.iterations_scale:g}" * (arguments.iterations_scale != 1))
    print("\n".join(table(measured)))
    return EXIT_DONE


def add_method(parser: argparse.ArgumentParser) -> None:
    """The arguments --method, --model and --template."""
    parser.add_argument("--method", choices=METHODS, default="lasr")
    parser.add_argument("--template", metavar="NAME",
                        help="rigged body of the template method, shipped or a file (default: what the clip names)")
    parser.add_argument("--model", metavar="NAME",
                        help="category model, shipped or a file: vmr's (default: what the clip names), or what lasr "
                             "starts from (default: nothing)")


def source_for(clip: BenchmarkClip, method: str, arguments: argparse.Namespace) -> str | None:
    """What a method starts from in a clip, its category model or its template: what is asked for; else what the clip
    names, if the method needs one.

    BadInput where the method needs one and there is none, or where there is no such file.
    """
    kind = METHODS[method]
    option, asked, named = (("--template", arguments.template, clip.template) if kind.needs_template
                            else ("--model", arguments.model, clip.model))
    source = asked or (named if kind.needs_model or kind.needs_template else None)
    if not source:
        if kind.needs_model or kind.needs_template:
            word = "template" if kind.needs_template else "category model"
            raise BadInput(f"clip {clip.name}: found no {word} for the method {method}, needs {option} NAME")
        return None
    try:
        file_of(method, source)
    except BadInput as error:
        raise BadInput(f"clip {clip.name}: {error}") from None
    return source


def file_of(method: str, source: str) -> Path:
    """The file of what a method starts from; BadInput where there is none."""
    return find_template(source) if METHODS[method].needs_template else find_model(source)


def run_and_measure(clip: BenchmarkClip, folder: Path, preset: str, seed: int = 0,
                    settings: Mapping[str, Any] | None = None, device: str = "auto", method: str = "lasr",
                    source: str | None = None, root: Path = ROOT) -> Measured:
    """Reconstruct a clip in a process of its own, so that its memory is its own, then evaluate what it left.

    BadInput or RunFailed with the line that the run left where it gives no result.

    source  category model or template, as from `source_for`
    root    checkout whose `vmr_backend` runs
    """
    command: list[Any] = [sys.executable, "-m", "vmr_backend", "reconstruct", clip.frames.resolve(),
                          "--masks", clip.masks.resolve(), "--out", folder.resolve(), "--preset", preset,
                          "--seed", seed, "--device", device, "--method", method, "--watch-stdin"]
    option = "--template" if METHODS[method].needs_template else "--model"
    command += [option, file_of(method, source).resolve()] if source else []
    command += ["--frames", clip.range] if clip.range else []
    for name, value in (settings or {}).items():
        command += ["--set", f"{name}={value}"]
    # What is known of the clip is read again below: files that cannot be used shall not cost a whole run.
    _ = clip.gt and load_truth(clip.gt), clip.keypoints and load_joints(clip.keypoints)
    start, used = time.monotonic(), _cpu_seconds()
    # The run ends with this process, whose end closes the pipe.
    process = subprocess.Popen([str(part) for part in command], cwd=root, stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        errors = process.stderr.read()
        status = process.wait()
    finally:
        process.stdin.close()
    seconds, used = time.monotonic() - start, _cpu_seconds() - used
    if status == EXIT_CANCELLED:
        raise KeyboardInterrupt
    if status != EXIT_DONE:
        line = (errors.strip().splitlines() or [f"ended with status {status}"])[-1]
        raise BadInput(line) if status == EXIT_BAD_INPUT else RunFailed(line)
    report = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    stages = {stage["name"]: stage["seconds"] for stage in report["stages"]}
    figures = evaluate_folder(folder, clip.masks, clip.gt, clip.keypoints)
    return Measured(seconds, stages, report["peak_memory_mib"], figures, used)


def _cpu_seconds() -> float:
    """Of the processes that this one started and that ended."""
    times = os.times()
    return times.children_user + times.children_system


def scaled_iterations(preset: str, values: Mapping[str, Any], scale: float, method: str = "lasr") -> dict[str, Any]:
    """The values with the method's counts of iterations that they leave to the preset multiplied, as far as allowed."""
    if not 0 < scale <= 10:
        raise BadInput(f"--iterations-scale: found {scale:g}, needs more than 0 and at most 10")
    scaled = dict(values)
    if scale != 1:
        preset_values = dict(settings_of(preset).items())
        for setting in Settings.describe():
            if setting.name.endswith(COUNTS) and setting.is_read_by(method) and setting.name not in values:
                count = round(preset_values[setting.name] * scale)
                scaled[setting.name] = int(min(max(count, setting.minimum), setting.maximum))
    return scaled


def table(measured: Mapping[str, Measured]) -> list[str]:
    """Lines with a column for each preset: seconds by stage, then memory and quality."""
    runs = list(measured.values())
    # A preset may lack a stage: the run that has most of them sets the order.
    stages = dict.fromkeys(name for run in sorted(runs, key=lambda run: -len(run.stages)) for name in run.stages)
    rows = [("", list(measured))]
    rows += [(f"{name} s", [f"{run.stages[name]:.1f}" if name in run.stages else "-" for run in runs])
             for name in stages]
    rows += [("whole run s", [f"{run.seconds:.1f}" for run in runs]),
             ("peak MiB", [f"{run.peak_memory_mib:.0f}" if run.peak_memory_mib else "-" for run in runs])]
    rows += [("CPU seconds", [f"{run.cpu_seconds:.1f}" for run in runs])] * any(run.cpu_seconds for run in runs)
    rows += [(name, [shown(name, run.figures.get(name)) for run in runs])
             for name in DECIMALS if any(run.figures.get(name) is not None for run in runs)]
    return [f"{name:<14}" + "".join(f"{cell:>{WIDTH}}" for cell in cells) for name, cells in rows]


def shown(name: str, value: float | None) -> str:
    """A figure with as many digits as mean something."""
    return "-" if value is None else f"{value:.{DECIMALS[name]}f}"


def values_of(texts: Sequence[str]) -> dict[str, str]:
    """Values by name of setting, from texts NAME=VALUE."""
    pairs = [text.partition("=") for text in texts]
    for text, (_, equals, _) in zip(texts, pairs, strict=True):
        if not equals:
            raise BadInput(f"--set: found {text!r}, needs NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _clip_of(arguments) -> BenchmarkClip:
    """The clip asked for, the sample where none is."""
    if arguments.clip:
        if not arguments.masks:
            raise BadInput("--clip: found no masks to compare with, needs --masks, too")
        return BenchmarkClip(arguments.clip.stem, arguments.clip, arguments.masks, arguments.gt, arguments.keypoints,
                    arguments.frames)
    if arguments.masks or arguments.gt or arguments.keypoints:
        raise BadInput("--clip: found none beside what is known of it, needs the footage")
    if not SAMPLE.frames.exists():
        raise BadInput(f"{SAMPLE.frames}: the sample is not here; needs --clip and --masks")
    return replace(SAMPLE, range=arguments.frames)


def _parser() -> Arguments:
    parser = Arguments(prog="python -m vmr_backend benchmark fit",
                       description="Reconstruct a clip with each preset; print seconds and quality side by side.")
    add_method(parser)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--clip", type=Path, help="a video file or a folder of images (default: the sample)")
    parser.add_argument("--masks", type=Path, help="of the clip: a folder of images or a video")
    parser.add_argument("--gt", type=Path, metavar="FILE.npz", help="true meshes of the clip, as `evaluate` takes them")
    parser.add_argument("--keypoints", type=Path, metavar="FILE.json", help="annotated joints, likewise")
    parser.add_argument("--frames", metavar="FIRST:LAST", help="the clip's own frame numbers, both included")
    parser.add_argument("--iterations-scale", type=float, default=1.0, metavar="X",
                        help="multiply the presets' iterations, for a quick look")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting of every preset")
    parser.add_argument("--before", type=Path, metavar="DIR",
                        help="another checkout, which runs in turns with this one: speed is a ratio within one run")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each column, of which the fastest is printed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the results, a folder for each preset")
    return parser
