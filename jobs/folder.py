"""Where runs live: one folder per request, so that the same request resumes a stopped run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..vmr_backend.job import (
    EVENTS_NAME,
    LOCK_NAME,
    PICTURES,
    REQUEST_NAME,
    RUN_NAME,
    WHOLE_NAME,
    BadInput,
    JobRequest,
    settle,
    write_whole,
)
from ..vmr_backend.reconstruction import FILE_NAME, REPORT_NAME
from ..vmr_backend.templates.rig_file import RIG_NAME, digest_of, save_rig

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

GENERIC_NAMES = {"clip", "footage", "frames", "images", "jpegimages", "png", "rgb", "video"}
BLENDS_NAME = "blend_files.json"
"""Lists the .blend files in which a job was started or its result loaded."""


@dataclass(frozen=True)
class GatheredRig:
    """What a template is made of where the subject is an object of the user's."""

    arrays: Mapping[str, np.ndarray]
    """By the names of the fields of `Template`."""
    facts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return digest_of(self.arrays, self.facts)


@dataclass(frozen=True)
class StoppedRun:
    """A run that was stopped, and can be resumed."""

    folder: Path
    clip: str
    """As its request names it."""
    files: list[str] | None
    """Its images; None for a movie."""
    time: float
    """When it last wrote something, seconds since the epoch."""


def prepare(root: Path, request: JobRequest, rig: GatheredRig | None = None) -> Path:
    """The request's folder with its job.json in it; what earlier runs left there stays as it is.

    rig   is written there, too, and becomes the request's template, which is its digest as yet: the same rig gives the
          same folder
    BadInput where nothing can be written.
    """
    folder = root / folder_name(request)
    settle(folder)
    if rig is None:
        request.save(folder)
        return folder
    path = folder / RIG_NAME
    replace(request, template=str(path)).save(folder)
    try:
        save_rig(path, rig.arrays, rig.facts)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}); choose another folder") from None
    return folder


def rig_in(folder: Path) -> Path | None:
    """The file of the rig that a job's template was made of; None where it was made of no object."""
    path = folder / RIG_NAME
    return path if path.is_file() else None


def note_blend(folder: Path, blend: str) -> None:
    """Remember that a .blend file uses a job folder; "" is a file that was never saved."""
    known = _blends(folder)
    if blend and blend not in known:
        with contextlib.suppress(OSError):  # it only spares the folder from being removed as a lost one
            write_whole(folder / BLENDS_NAME, json.dumps([*known, blend], indent=1).encode())


def folder_name(request: JobRequest) -> str:
    """The clip's name and a digest of the request and of the state of its files.

    Masks painted anew under the same name, or a model trained anew, make another job: the checkpoint of the old ones
    would not fit them.
    """
    state = [json.dumps(asdict(request), sort_keys=True)]
    for path in (request.clip, request.masks, request.model):
        if path is not None:
            state += [f"{name} {size} {time}" for name, size, time in _files(Path(path))]
    digest = hashlib.sha256("\n".join(state).encode()).hexdigest()[:10]
    return f"{clip_name(Path(request.clip))}-{digest}"


def result_name(folder: Path) -> str:
    """What a result in a job's folder is called: as its clip."""
    return folder.name.rpartition("-")[0]


def clip_name(clip: Path) -> str:
    """What to call that which is made of a clip; many are called "clip.mp4" or lie in a folder "frames"."""
    name = clip.parent.name if clip.stem.lower() in GENERIC_NAMES and clip.parent.name else clip.stem
    return re.sub(r"[^\w.-]+", "_", name)[:40]


def can_resume(folder: Path) -> bool:
    """Whether a run was stopped in a job folder."""
    return (folder / RUN_NAME / REQUEST_NAME).is_file()


def is_at_work(folder: Path) -> bool:
    """Whether a run, of any Blender, holds a job folder: its lock is tried as the backend takes it."""
    try:
        with open(folder / LOCK_NAME, "r+b") as file:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def is_finished(folder: Path) -> bool:
    """Whether a job folder holds a whole result."""
    return (folder / FILE_NAME).is_file()


def has_pictures(folder: Path) -> bool:
    """Whether the pictures of a result were drawn to the end."""
    return all((folder / name).is_file() for name in PICTURES)


def finished(root: Path) -> list[Path]:
    """The job folders that hold a result, newest first."""
    for path in list(root.glob(f"*/{RUN_NAME}/{WHOLE_NAME}")):
        with contextlib.suppress(BadInput):  # reported where that result is loaded
            settle(path.parents[1])
    times = {path.parent: path.stat().st_mtime for path in root.glob(f"*/{FILE_NAME}")}
    return sorted(times, key=times.__getitem__, reverse=True)


def stopped(root: Path) -> list[StoppedRun]:
    """The runs that were stopped in job folders, newest first; none that is active, perhaps in another Blender."""
    found = []
    for path in root.glob(f"*/{RUN_NAME}/{REQUEST_NAME}"):
        if is_at_work(path.parents[1]):
            continue
        try:
            request = JobRequest.load(path.parent)
            found.append(StoppedRun(path.parents[1], request.clip, request.files, _last_written(path.parent)))
        except (BadInput, OSError):
            continue  # of another version, or gone meanwhile
    return sorted(found, key=lambda one: one.time, reverse=True)


def mean_fit(folder: Path) -> float | None:
    """How well the result covers the masks, from 0 to 1 (mean J); None where the report has no such score."""
    try:
        return json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))["scores"]["J"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def total_size(root: Path) -> int:
    """Bytes of all job folders."""
    return sum(size_of(folder) for folder in _job_folders(root))


def size_of(folder: Path) -> int:
    """Bytes of all that is in a folder."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # a run that is at work takes files away
            size += path.stat().st_size if path.is_file() else 0
    return size


def out_of_reach(root: Path) -> list[Path]:
    """The job folders whose footage is not found any more, or none of the .blend files that used them; but for those in
    which a run is at work."""
    found = []
    for folder in _job_folders(root):
        try:
            blends = _blends(folder)
            gone = not Path(JobRequest.load(folder).clip).exists() or \
                bool(blends) and not any(Path(blend).exists() for blend in blends)
        except BadInput:
            continue  # of another version: its footage is unknown
        if gone and not is_at_work(folder):
            found.append(folder)
    return sorted(found)


def remove(folder: Path) -> None:
    """Remove a job folder with all that is in it; BadInput where that is not allowed."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise BadInput(f"{error.filename or folder}: cannot be removed ({error.strerror}); close what uses it"
                       ) from None


def _job_folders(root: Path) -> Iterator[Path]:
    """Those of reconstructions, by name and request."""
    for path in root.glob(f"*-*/{REQUEST_NAME}"):
        if re.fullmatch(r".*-[0-9a-f]{10}", path.parent.name):
            yield path.parent


def _blends(folder: Path) -> list[str]:
    try:
        found = json.loads((folder / BLENDS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _last_written(run: Path) -> float:
    times = [path.stat().st_mtime for name in (EVENTS_NAME, REQUEST_NAME) if (path := run / name).is_file()]
    return max(times, default=0.0)


def _files(path: Path) -> Iterator[tuple[str, int, int]]:
    paths = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    for file in paths:
        facts = file.stat()
        yield file.name, facts.st_size, facts.st_mtime_ns
