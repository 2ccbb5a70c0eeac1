"""The folder that a command works in: one run at a time, and nothing removed that it did not make."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .job import (
    CHECKPOINT_NAME,
    EVENTS_NAME,
    LOCK_NAME,
    PART_SUFFIX,
    REQUEST_NAME,
    RUN_NAME,
    TENSORS_NAME,
    WHOLE_NAME,
    BadInput,
    Event,
    JobRequest,
    settle,
)
from .reconstruction import FILE_NAME, OVERLAY_NAME, PREVIEW_NAME, REPORT_NAME, SNAPSHOT_NAME, TEXTURE_NAME

OWNER_NAME = "run.owner"
SECONDS_TO_WAIT = 1.0
"""For a lock that somebody holds only to see whether it is free (jobs/folder.py)."""
MADE_BY_RUNS = (FILE_NAME, TEXTURE_NAME, REPORT_NAME, OVERLAY_NAME, PREVIEW_NAME, REQUEST_NAME, EVENTS_NAME)
MADE_IN_RUNS = {*MADE_BY_RUNS, CHECKPOINT_NAME, TENSORS_NAME, SNAPSHOT_NAME, WHOLE_NAME}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, made where it is missing, for this process alone; BadInput where another one holds it.

    The operating system ends the lock with the process, however that goes.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME, timeout=SECONDS_TO_WAIT)
        lock.acquire()
    except Timeout:
        raise BadInput(f"{folder}: another run is at work there{_owner_in(folder)}; wait for it or stop it, or choose "
                       "another folder") from None
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None
    except NotImplementedError:  # a file system without locks
        yield
        return
    try:
        owner = {"process": os.getpid(), "computer": platform.node(), "since": time.strftime("%H:%M")}
        with contextlib.suppress(OSError):  # it only says who it is
            (folder / OWNER_NAME).write_text(json.dumps(owner), encoding="utf-8")
        yield
    finally:
        (folder / OWNER_NAME).unlink(missing_ok=True)
        lock.release()


def begin(folder: Path, request: JobRequest) -> Path:
    """The folder of a new run in a locked folder, with the request in it; what a stopped run left there is removed.

    BadInput where files lie there that the run would replace, and that no run has made.
    """
    settle(folder)
    run = folder / RUN_NAME
    if os.path.lexists(run) and not _is_of_a_run(run):
        raise BadInput(f"{run}: found a file or folder that no run has made; choose another folder")
    if strange := _strange_in(folder):
        raise BadInput(f"{folder}: found {strange}, which no run has made; choose another folder")
    try:
        if run.exists():
            shutil.rmtree(run)
    except OSError as error:
        raise BadInput(f"{error.filename}: cannot be removed ({error.strerror}); close what uses it") from None
    request.save(run)
    return run


def abandon(run: Path) -> None:
    """Remove the folder of a run that could not use what it was given, and has come to nothing."""
    shutil.rmtree(run, ignore_errors=True)


def stopped(folder: Path) -> Path | None:
    """The folder of a run that was stopped; None where there is none."""
    settle(folder)
    run = folder / RUN_NAME
    return run if (run / REQUEST_NAME).is_file() else None


def _is_of_a_run(run: Path) -> bool:
    if run.is_symlink() or not run.is_dir():
        return False
    names = {path.name for path in run.iterdir() if path.suffix != PART_SUFFIX}
    return names <= MADE_IN_RUNS and (not names or JobRequest.is_in(run))


def _strange_in(folder: Path) -> str | None:
    """The name of something that a run would replace, and that no run has made; None where there is none."""
    found = [name for name in MADE_BY_RUNS if os.path.lexists(folder / name)]
    own = {REQUEST_NAME: JobRequest.is_in(folder), EVENTS_NAME: _are_events(folder / EVENTS_NAME)}
    return next((name for name in found if not (folder / name).is_file() or not own.get(name, own[REQUEST_NAME])), None)


def _are_events(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return Event.parse(file.readline()) is not None
    except (OSError, ValueError):
        return False


def _owner_in(folder: Path) -> str:
    """Who holds a lock, in brackets, where that is known."""
    try:
        owner = json.loads((folder / OWNER_NAME).read_text(encoding="utf-8"))
        return f" (process {owner['process']} on {owner['computer']}, since {owner['since']})"
    except (OSError, ValueError, LookupError, TypeError):
        return ""
