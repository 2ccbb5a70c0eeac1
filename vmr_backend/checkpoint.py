"""Where an interrupted run goes on: the tensors and facts of the last finished part of a fit, in a job folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.optim import Optimizer

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


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names start with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def moments_of(optimiser: Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser's parameters, named INDEX.NAME."""
    return {f"{index}.{name}": torch.as_tensor(value)
            for index, values in optimiser.state_dict()["state"].items() for name, value in values.items()}


def restore_moments(optimiser: Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Go on from the state that `moments_of` gave; ValueError where it is another optimiser's."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def _unreadable(path: Path, why: object) -> BadInput:
    return BadInput(f"{path}: cannot be read ({why}); run again without resuming")
