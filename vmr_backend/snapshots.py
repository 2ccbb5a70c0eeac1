"""What a fit has so far, written into the job's folder now and then: Blender shows it while the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .reconstruction import SNAPSHOT_NAME, Reconstruction

Show = Callable[[Callable[[], Reconstruction]], None]
"""Called often with what makes a reconstruction of all that is found so far."""
SECONDS_BETWEEN = 10.0
"""From one snapshot to the next, at the least."""
LARGEST_SHARE = 0.02
"""Of the run's time that snapshots may take: a long clip's are rarer."""


class Snapshots:
    """The snapshots of one run."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic):
        self._folder, self._clock = folder, clock
        self._next = clock()

    def offer(self, make: Callable[[], Reconstruction]) -> None:
        """Write what `make` gives, if it is time."""
        start = self._clock()
        if start < self._next:
            return
        make().save(self._folder, SNAPSHOT_NAME)
        end = self._clock()
        self._next = end + max(SECONDS_BETWEEN, (end - start) / LARGEST_SHARE)

    def remove(self) -> None:
        (self._folder / SNAPSHOT_NAME).unlink(missing_ok=True)
