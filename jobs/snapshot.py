"""Reads the snapshots that a running fit writes into its folder now and then."""

from __future__ import annotations

import time
from pathlib import Path

from ..vmr_backend.job import RUN_NAME, BadInput
from ..vmr_backend.reconstruction import SNAPSHOT_NAME, Reconstruction

SECONDS_BETWEEN = 10.0
"""Reading one takes some tenths of a second, for which Blender stands still."""


class SnapshotReader:
    """The snapshots of the run in a job folder, each once, and not one after another."""

    def __init__(self, folder: Path, seconds_between: float = SECONDS_BETWEEN):
        self._path = folder / RUN_NAME / SNAPSHOT_NAME
        self._seconds_between = seconds_between
        self._last_read = float("-inf")
        self._seen: int | None = None

    def newest(self) -> Reconstruction | None:
        """A snapshot that is new since the last call; None where there is none, or one that cannot be used.

        A run must not fail for its preview: a file cut short, or of something else, is passed over.
        """
        now = time.monotonic()
        if now - self._last_read < self._seconds_between:
            return None
        try:
            written = self._path.stat().st_mtime_ns
            if written == self._seen:
                return None
            self._last_read, self._seen = now, written
            return Reconstruction.load(self._path.parent, self._path.name)
        except (BadInput, OSError):
            return None
