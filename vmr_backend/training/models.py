"""The command `models`: facts in model files, scores of the models on a collection, and a sheet of predictions."""

from __future__ import annotations

from pathlib import Path

from ..arguments import Arguments
from ..job import EXIT_DONE, BadInput


def main(argv: list[str]) -> int:
    """Inspect models as the arguments say; returns the exit status (job.py)."""
    parser = Arguments(prog="vmr_backend models", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="files or shipped categories; else all shipped")
    parser.add_argument("--on", type=Path, metavar="COLLECTION", help="score them on its held-out pictures")
    parser.add_argument("--category", help="which of the collection's categories")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw predictions of held-out pictures")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    if arguments.sheet and not arguments.on:
        raise BadInput("--sheet: found no collection, needs --on COLLECTION")
    from .inspection import inspect

    inspect(arguments)
    return EXIT_DONE
