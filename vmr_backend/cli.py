"""The command line: the commands, and the modules that read their arguments and carry them out."""

from __future__ import annotations

import importlib
import sys

from .job import EXIT_DONE, EXIT_FAILED, BadInput
from .process import lacking, refuse

COMMANDS = {
    "reconstruct": "reconstruct",
    "segment": "segmentation.command",
    "template": "templates.command",
    "templates": "templates.shelf",
    "render-dataset": "training.rendering_job",
    "train": "training.command",
    "models": "training.models",
    "evaluate": "metrics.evaluation",
    "benchmark": "benchmarks",
    "doctor": "doctor",
}
"""Each module has `main(argv)`, which returns the exit status, and imports PyTorch late: that takes seconds, and help
and most refusals do without."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status (job.py)."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in ("-h", "--help"):
        print(f"usage: python -m vmr_backend COMMAND ...\n\ncommands: {', '.join(COMMANDS)}\n\n"
              "`python -m vmr_backend COMMAND --help` explains each.")
        return EXIT_DONE
    if not argv or argv[0] not in COMMANDS:
        return refuse(f"command: found {repr(argv[0]) if argv else 'none'}, needs one of {', '.join(COMMANDS)}")
    try:
        return importlib.import_module(f".{COMMANDS[argv[0]]}", __package__).main(argv[1:])
    except BadInput as error:
        return refuse(str(error))
    except ImportError as error:
        print(lacking(error), file=sys.stderr)
        return EXIT_FAILED
