"""The command render-dataset: has a Blender render an image collection of an object in a .blend file."""

from __future__ import annotations

from pathlib import Path

from ..arguments import Arguments
from ..blender import add_blender, run_in_blender
from ..job import BadInput

ENGINES = ("CYCLES", "EEVEE", "WORKBENCH", "AUTO")


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
    add_blender(parser)
    given = parser.parse_args(argv)
    if not given.file.is_file():
        raise BadInput(f"{given.file}: not found; needs a .blend file")
    request = {
        "object": given.object, "category": given.category or given.object, "images": given.images,
        "size": given.size, "seed": given.seed, "engine": given.engine,
        "keypoints": [name.strip() for name in given.keypoints.split(",") if name.strip()]}
    return run_in_blender(given.blender, "dataset", given.file, given.out, request, watch_stdin=given.watch_stdin)
