"""Where an interrupted run goes on: the tensors and facts of the last finished part of a fit, in a job folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from .job import CHECKPOINT_NAME, TENSORS_NAME, BadInput, write_whole

TENSORS, FACTS = TENSORS_NAME, CHECKPOINT_NAME


@dataclass(frozen=True)
class Checkpoint:
    """What a fit needs to go on."""

    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    def save(self, folder: Path) -> None:
        """Write both files. The facts make a checkpoint count: they go first and come last."""
        (folder / FACTS).unlink(missing_ok=True)
        write_whole(folder / TENSORS, safetensors.torch.save({k: v.contiguous() for k, v in self.tensors.items()}))
        write_whole(folder / FACTS, json.dumps(self.facts).encode())

    @staticmethod
    def load(folder: Path) -> Checkpoint | None:
        """The checkpoint of a job folder, or None where it has none; BadInput if it cannot be read."""
        if not (folder / FACTS).exists():
            return None
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _unreadable(folder / FACTS, error) from None
        if not isinstance(facts, dict):
            raise _unreadable(folder / FACTS, "it holds no object")
        try:
            # Not by load_file, which keeps the file mapped: Windows could not replace it by the next one.
            return Checkpoint(facts, safetensors.torch.load((folder / TENSORS).read_bytes()))
        except (OSError, ValueError, SafetensorError) as error:
            raise _unreadable(folder / TENSORS, error) from None

    @staticmethod
    def remove(folder: Path) -> None:
        for name in (FACTS, TENSORS):
            (folder / name).unlink(missing_ok=True)


def _unreadable(path: Path, why: object) -> BadInput:
    return BadInput(f"{path}: cannot be read ({why}); run again without resuming")
