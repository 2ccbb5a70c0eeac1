"""The log of a training: lines of JSON, and curves for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

FILE_NAME, CURVES = "training.jsonl", "curves"


class TrainingLog:
    """Writes numbers by step into a training's folder; goes on where there are some."""

    def __init__(self, folder: Path):
        self._file = open(folder / FILE_NAME, "a", encoding="utf-8")
        self._curves = SummaryWriter(str(folder / CURVES))

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._curves.close()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers by name after a step."""
        self._file.write(json.dumps({"step": step} | {name: round(value, 6) for name, value in numbers.items()}) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            self._curves.add_scalar(name, value, step)
