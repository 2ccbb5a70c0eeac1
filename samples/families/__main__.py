"""Renders a collection of a family's animals; see __init__.py."""

import argparse
import sys
from pathlib import Path

from vmr_backend.job import write_whole

from . import FAMILIES
from .render import contact_sheet, encoded, write_collection


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m samples.families", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the collection")
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--count", type=int, default=1000, help="pictures")
    parser.add_argument("--size", type=int, default=160, help="pixels, across and down")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the first 48 here instead (a JPEG file)")
    return parser.parse_args()


def main() -> None:
    a = arguments()
    family = FAMILIES[a.family]
    if a.sheet:
        write_whole(a.sheet, encoded(contact_sheet(family, 8, 6, a.size, a.seed, marked=8), 80))
        return
    write_collection(a.out, family, a.count, a.size, a.seed,
                     lambda done: print(f"\r{done} of {a.count}", end="", file=sys.stderr, flush=True))


if __name__ == "__main__":
    main()
