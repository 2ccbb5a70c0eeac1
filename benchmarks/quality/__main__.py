"""Quality on whole clips: `python -m benchmarks.quality run | table | sides`; README.md beside this file explains."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np

from vmr_backend.arguments import Arguments
from vmr_backend.benchmarks.fit import BenchmarkClip, add_method, source_for, values_of
from vmr_backend.job import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, BadInput, JobRequest, write_whole
from vmr_backend.methods import METHODS
from vmr_backend.outputs.sides import spread_over, write_sides
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.settings import DEFAULT_PRESET, PRESETS

from .series import (
    ROOT,
    SeriesRun,
    ablation_table,
    ablations,
    carry_out,
    code_version,
    facts_of,
    read_clips,
    read_results,
    results_table,
    version_with,
)

FOLDER = ROOT / "build" / "quality"
CLIPS = Path(__file__).with_name("clips.toml")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if not argv or argv[0] not in COMMANDS:
            raise BadInput(f"command: found {argv[0] if argv else 'none'!r}, needs one of {', '.join(COMMANDS)}")
        return COMMANDS[argv[0]](argv[1:])
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the runs that are missing", file=sys.stderr)
        return EXIT_CANCELLED


def _run(argv: list[str]) -> int:
    parser = Arguments(prog="python -m benchmarks.quality run", description="Do a series of runs and print its table.")
    parser.add_argument("--clips", type=Path, default=CLIPS, metavar="FILE.toml", help="default: the project's sample")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the clips in the file")
    parser.add_argument("--clip", type=Path, help="one clip instead: a video file or a folder of images")
    parser.add_argument("--masks", type=Path, help="of --clip; --gt and --keypoints likewise, as `evaluate` takes them")
    parser.add_argument("--gt", type=Path, metavar="FILE.npz")
    parser.add_argument("--keypoints", type=Path, metavar="FILE.json")
    add_method(parser)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=[DEFAULT_PRESET])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting of every run")
    parser.add_argument("--ablation", nargs="*", metavar="TERM",
                        help="also without each of these weights, one at a time; NAME=VALUE works, too (default: all "
                             "weights that the method reads; of vmr also visits=0 and iterations=0)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; minutes count only with one")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    _add_results(parser)
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        raise BadInput(f"--jobs: found {arguments.jobs}, needs 1 or more")
    runs = _runs_of(arguments)
    failures = carry_out(runs, arguments.out, arguments.device, arguments.jobs)
    asked = [run.facts for run in runs]
    _show([record for record in read_results(arguments.out) if facts_of(record) in asked],
          arguments.ablation is not None, arguments.into)
    return EXIT_FAILED if failures else EXIT_DONE


def _runs_of(arguments: argparse.Namespace) -> list[SeriesRun]:
    clips, base, code, method = _clips_of(arguments), values_of(arguments.set), code_version(), arguments.method
    runs = []
    for clip, preset in itertools.product(clips, arguments.presets):
        source = source_for(clip, method, arguments)
        version = version_with(code, method, source)
        given = {"template" if METHODS[method].needs_template else "model": source}
        changed = [base] if arguments.ablation is None else ablations(preset, base, arguments.ablation, method)
        for settings, seed in itertools.product(changed, arguments.seeds):
            JobRequest(clip=str(clip.frames), method=method, preset=preset, settings=settings, seed=seed,
                       **given).check()
            runs.append(SeriesRun(clip, preset, seed, version, settings, method, source or ""))
    return runs


def _clips_of(arguments: argparse.Namespace) -> list[BenchmarkClip]:
    if arguments.clip:
        if not arguments.masks:
            raise BadInput("--clip: found no masks to compare with, needs --masks, too")
        return [BenchmarkClip(arguments.clip.stem, arguments.clip, arguments.masks, arguments.gt, arguments.keypoints)]
    clips = read_clips(arguments.clips)
    names = [clip.name for clip in clips]
    if unknown := [name for name in arguments.only or () if name not in names]:
        raise BadInput(f"--only: found {unknown[0]}, needs some of {', '.join(names)}")
    return [clip for clip in clips if not arguments.only or clip.name in arguments.only]


def _table(argv: list[str]) -> int:
    parser = Arguments(prog="python -m benchmarks.quality table",
                       description="Print the newest results of every clip, preset and settings.")
    parser.add_argument("--ablation", action="store_true", help="by how much the settings change the figures")
    _add_results(parser)
    arguments = parser.parse_args(argv)
    _show(read_results(arguments.out), arguments.ablation, arguments.into)
    return EXIT_DONE


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="where results.jsonl and the runs lie")
    parser.add_argument("--into", type=Path, metavar="FILE.md",
                        help="also put the table between the lines <!-- results --> and <!-- /results --> of a file; "
                             "an ablation's between <!-- ablation --> and <!-- /ablation -->")


def _show(records: list[dict], ablation: bool, into: Path | None) -> None:
    if not records:
        raise BadInput("results: found none; `python -m benchmarks.quality run` makes some")
    table = (ablation_table if ablation else results_table)(records)
    print(f"\n{table}")
    if into:
        name = "ablation" if ablation else "results"
        text = into.read_text(encoding="utf-8") if into.is_file() else ""
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not start or not end:
            raise BadInput(f"{into}: found no lines <!-- {name} --> and <!-- /{name} --> to put the table between")
        write_whole(into, f"{before}{start}{table}\n{end}{after}".encode())


def _sides(argv: list[str]) -> int:
    parser = Arguments(prog="python -m benchmarks.quality sides",
                       description="Draw the mesh of a result from five sides, grey; faces seen from behind are red.")
    parser.add_argument("result", type=Path, metavar="DIR", help="folder of a result")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--frames", type=int, nargs="+", metavar="N",
                        help="the clip's frame numbers; default: four spread over the clip")
    arguments = parser.parse_args(argv)
    result = Reconstruction.load(arguments.result)
    if arguments.frames:
        places = [_place(result, number) for number in arguments.frames]
    else:
        places = spread_over(result)
    write_sides(result, places, arguments.out, arguments.result.resolve().name)
    return EXIT_DONE


def _place(result: Reconstruction, number: int) -> int:
    found = np.flatnonzero(result.frames == number)
    if not len(found):
        raise BadInput(f"--frames: found {number}, needs frames of the result, {result.frames[0]} to "
                       f"{result.frames[-1]}")
    return int(found[0])


COMMANDS = {"run": _run, "table": _table, "sides": _sides}

if __name__ == "__main__":
    sys.exit(main())
