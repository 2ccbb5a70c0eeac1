"""Renders a collection of a family's animals, or a sheet of some; what OUT receives stands in __init__.py."""

import argparse
import sys
from pathlib import Path

from vmr_backend.job import EXIT_BAD_INPUT, BadInput, write_whole

from . import FAMILIES
from .render import contact_sheet, encoded, write_collection


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m samples.families", description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", help="folder of the collection")
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--count", type=int, default=1000, help="pictures")
    parser.add_argument("--size", type=int, default=160, help="pixels, across and down")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="also write the first 48 side by side here, a JPEG file, the "
                                                   "last row with keypoints")
    chosen = parser.parse_args(words)
    if not chosen.out and not chosen.sheet:
        parser.error("found neither OUT nor --sheet, needs one of them")
    return chosen


def main(words: list[str] | None = None) -> int:
    a = arguments(words)
    try:
        for name, value, least in (("count", a.count, 1), ("size", a.size, 32), ("seed", a.seed, 0)):
            if value < least:
                raise BadInput(f"{name}: found {value}, needs {least} or more")
        render(a)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def render(a: argparse.Namespace) -> None:
    family = FAMILIES[a.family]
    try:
        if a.sheet:
            write_whole(a.sheet, encoded(contact_sheet(family, 8, 6, a.size, a.seed, marked=8), 80))
        if a.out:
            write_collection(a.out, family, a.count, a.size, a.seed, show_progress)
    except OSError as error:
        raise BadInput(f"{error.filename}: cannot be written ({error.strerror}); choose another folder") from None


def show_progress(done: int, of: int) -> None:
    if sys.stderr.isatty() or done == of:
        print(f"\r{done} of {of} pictures", end="\n" if done == of else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
