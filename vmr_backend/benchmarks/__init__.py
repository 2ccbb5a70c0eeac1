"""Measurements of the backend's parts on this machine: `python -m vmr_backend benchmark ...`."""

from __future__ import annotations

import importlib

from ..job import BadInput

BENCHMARKS = ("renderer", "fit", "train", "correspondence", "flow")


def main(argv: list[str]) -> int:
    """Run the benchmark that the first argument names; returns the exit status (job.py)."""
    if not argv or argv[0] not in BENCHMARKS:
        raise BadInput(f"benchmark: found {argv[0] if argv else 'nothing'!r}, needs one of {', '.join(BENCHMARKS)}")
    return importlib.import_module(f".{argv[0]}", __package__).main(argv[1:])
