"""Where runs live: one folder per request, so that the same request goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ..vmr_backend.job import BadInput, JobRequest
from ..vmr_backend.reconstruction import FILE_NAME, OVERLAY_NAME, PREVIEW_NAME, REPORT_NAME, SNAPSHOT_NAME, TEXTURE_NAME

CHECKPOINT_NAME = "checkpoint.json"
OUTPUTS = (FILE_NAME, TEXTURE_NAME, REPORT_NAME, OVERLAY_NAME, PREVIEW_NAME, SNAPSHOT_NAME, "events.jsonl",
           "log.txt", CHECKPOINT_NAME, "checkpoint.safetensors")
GENERIC_NAMES = {"clip", "footage", "frames", "images", "jpegimages", "png", "rgb", "video"}


def prepare(root: Path, request: JobRequest, start_over: bool = False) -> tuple[Path, bool]:
    """The request's folder with its job.json in it, and whether a run that was stopped there can go on.

    Where it cannot, or shall not, what an earlier run left is removed. BadInput where nothing can be written.
    """
    folder = root / folder_name(request)
    resume = can_resume(folder) and not start_over
    request.save(folder)
    if not resume:
        for name in OUTPUTS:
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise BadInput(f"{folder / name}: cannot be replaced ({error.strerror}); close what uses it") from None
    return folder, resume


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
    return (folder / CHECKPOINT_NAME).is_file() and not (folder / FILE_NAME).is_file()


def finished(root: Path) -> list[Path]:
    """The job folders that hold a result, newest first."""
    times = {path.parent: path.stat().st_mtime for path in root.glob(f"*/{FILE_NAME}")}
    return sorted(times, key=times.__getitem__, reverse=True)


def mean_fit(folder: Path) -> float | None:
    """How well the result covers the masks, from 0 to 1 (mean J), where the report tells."""
    try:
        return json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))["scores"]["J"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(path: Path) -> Iterator[tuple[str, int, int]]:
    paths = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    for file in paths:
        facts = file.stat()
        yield file.name, facts.st_size, facts.st_mtime_ns
