"""Makes the template of a family; where it goes stands in __init__.py."""

import argparse
import sys
from pathlib import Path

from samples.families.render import encoded
from vmr_backend.job import write_whole

from .build import made
from .pictures import sheet


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.templates", description=__doc__)
    parser.add_argument("out", type=Path, help="the template's file")
    parser.add_argument("--blender-python", required=True, help="a Python with Blender's module, for the UV map")
    parser.add_argument("--bodies", type=int, default=360, help="bodies that the proportions are taken from")
    parser.add_argument("--poses", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="also write a picture of its kinds and some poses here, a JPEG file")
    a = parser.parse_args(words)
    template, shapes = made(a.blender_python, a.bodies, a.poses, a.seed,
                            lambda text: print(text, file=sys.stderr, flush=True))
    template.save(a.out)
    if a.sheet:
        write_whole(a.sheet, encoded(sheet(template, shapes), 85))
    return 0


if __name__ == "__main__":
    sys.exit(main())
