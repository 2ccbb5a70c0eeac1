"""The stages of a fit, one after another: each starts from a seed of its own, is timed, and leaves a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import Checkpoint
from ..job import BadInput
from ..snapshots import Show

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Called with stage, step and steps."""
Report = Callable[[int, int], None]
"""Called with step and steps of a stage."""


@dataclass(frozen=True)
class Course:
    """How a fit is run: from which seed, who follows it, and where it can go on."""

    seed: int
    progress: Progress = lambda stage, step, steps: None
    show: Show = lambda make: None
    """Called often with what makes a reconstruction of all that is found so far."""
    folder: Path | None = None
    """Where a checkpoint is written after each stage; None: nowhere."""
    resume: bool = False
    """Whether to go on from the checkpoint in the folder, if there is one."""


class Stages:
    """Runs the stages of a fit, but those that an earlier run has completed."""

    def __init__(self, course: Course, identity: Mapping[str, Any]):
        """identity  facts by which a checkpoint counts as this fit's"""
        self.course = course
        self.found = Checkpoint.load(course.folder) if course.folder and course.resume else None
        """What to go on from; None to start anew."""
        self.seconds: dict[str, float] = {}
        """Of each completed stage."""
        self.state: Callable[[], tuple[Mapping[str, Any], Mapping[str, Tensor]]] = lambda: ({}, {})
        """Facts and tensors to go on from: set by the method."""
        self._identity = dict(identity)

    def resumed(self, restore: Callable[[Checkpoint], T]) -> T:
        """What `restore` makes of the checkpoint; BadInput where it is another fit's."""
        assert self.found is not None
        try:
            if {name: self.found.facts[name] for name in self._identity} != self._identity:
                raise ValueError("of another fit")
            self.seconds = dict(self.found.facts["seconds"])
            return restore(self.found)
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise BadInput(f"{self.course.folder}: found a checkpoint of another clip, model or of other settings; run "
                           "again without resuming") from None

    def run(self, name: str, work: Callable[[np.random.Generator, Report], None]) -> None:
        """Do a stage's work unless it is done. What chance decides in it does not depend on where a run was resumed."""
        if name in self.seconds:
            return
        begin, number, seed = time.monotonic(), len(self.seconds), self.course.seed
        torch.manual_seed(seed + 1000 * number)
        work(np.random.default_rng([seed, number]), lambda step, steps: self.course.progress(name, step, steps))
        self.seconds[name] = time.monotonic() - begin
        self.save()

    def save(self) -> None:
        """Write a checkpoint of what there is so far."""
        if self.course.folder is not None:
            facts, tensors = self.state()
            Checkpoint({**self._identity, "seconds": self.seconds, **facts}, dict(tensors)).save(self.course.folder)
