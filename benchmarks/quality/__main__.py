"""Quality on whole clips: `python -m benchmarks.quality sides`; README.md beside this file explains."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vmr_backend.arguments import Arguments
from vmr_backend.job import EXIT_BAD_INPUT, EXIT_DONE, BadInput
from vmr_backend.outputs.sides import write_sides
from vmr_backend.reconstruction import Reconstruction


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
        places = [int(place) for place in np.unique(np.linspace(0, len(result.frames) - 1, 4).round())]
    write_sides(result, places, arguments.out, arguments.result.resolve().name)
    return EXIT_DONE


def _place(result: Reconstruction, number: int) -> int:
    found = np.flatnonzero(result.frames == number)
    if not len(found):
        raise BadInput(f"--frames: found {number}, needs frames of the result, {result.frames[0]} to "
                       f"{result.frames[-1]}")
    return int(found[0])


COMMANDS = {"sides": _sides}

if __name__ == "__main__":
    sys.exit(main())
