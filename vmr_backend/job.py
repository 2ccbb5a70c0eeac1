"""The job folder: request, events, checkpoint. Standard library only: Blender's own process imports it.

    job.json        what was asked for (`JobRequest`)
    events.jsonl    what happened, one JSON object a line (`Event`), the same lines that go to standard output
    checkpoint.safetensors, checkpoint.json   where an interrupted run goes on
    log.txt         standard error of the run
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

from .settings import DEFAULT_PRESET, METHODS, settings_of

FORMAT_VERSION = 1
EVENTS_NAME = "events.jsonl"
LARGEST_SEED = 2**31 - 1
"""Blender's integers end there."""
EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_CANCELLED = 0, 1, 2, 3


class BadInput(Exception):
    """Something given by the user cannot be used; the text is one line: what, what was found, what is needed."""

    def __init__(self, text: str):
        # Names of files and words of libraries may hold line breaks.
        super().__init__(" ".join(text.splitlines()))


class Cancelled(Exception):
    """The user stopped the run; its checkpoint remains."""


@dataclass(frozen=True)
class JobRequest:
    """One run as asked for. Paths are absolute; frame numbers are the clip's own, both ends included."""

    clip: str
    """A video file or a folder of images."""
    masks: str | None = None
    """A video file or a folder of images, white on black; None: the clip's alpha channel."""
    files: list[str] | None = None
    """The images of the clip, in order, where the folder holds others too."""
    first: int | None = None
    last: int | None = None
    method: str = "lasr"
    preset: str = DEFAULT_PRESET
    settings: dict[str, Any] = field(default_factory=dict)
    """Values that differ from the preset's."""
    model: str | None = None
    """Category model of the vmr method."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: int = 0
    version: int = FORMAT_VERSION

    def check(self) -> JobRequest:
        """This request, or BadInput where it contradicts itself."""
        for f in fields(self):
            if not _has_type(value := getattr(self, f.name), str(f.type)):
                raise BadInput(f"{f.name}: found {value!r}, needs {_in_words(str(f.type))}")
        if self.version != FORMAT_VERSION:
            raise BadInput(f"version: found {self.version}, needs {FORMAT_VERSION}")
        if self.method not in METHODS:
            raise BadInput(f"method: found {self.method!r}, needs one of {', '.join(METHODS)}")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise BadInput(f"frames: found {self.first}:{self.last}, needs the first before the last")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise BadInput(f"seed: found {self.seed}, needs 0 to {LARGEST_SEED}")
        try:
            settings_of(self.preset, self.settings)
        except ValueError as error:
            raise BadInput(str(error)) from None
        return self

    def save(self, folder: Path) -> None:
        """Write job.json; BadInput if the folder cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / "job.json", json.dumps(asdict(self), indent=1).encode())
        except OSError as error:
            raise BadInput(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None

    @staticmethod
    def load(folder: Path) -> JobRequest:
        path = folder / "job.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"{path}: not found; a job folder holds one") from None
        except (OSError, ValueError, RecursionError) as error:
            raise BadInput(f"{path}: cannot be read as JSON ({error})") from None
        known = {f.name for f in fields(JobRequest)}
        if not isinstance(values, dict) or "clip" not in values or set(values) - known:
            raise BadInput(f"{path}: is no request of this program; needs an object with {', '.join(sorted(known))}")
        try:
            return JobRequest(**values).check()
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None


@dataclass(frozen=True)
class Event:
    """One line of news from a run."""

    event: str
    """progress, warning, done or error."""
    stage: str = ""
    step: int = 0
    total: int = 0
    fraction: float = 0.0
    """Of the whole run, 0 to 1."""
    seconds_left: float | None = None
    message: str = ""

    def line(self) -> str:
        return json.dumps({k: v for k, v in asdict(self).items() if v not in ("", None)})

    @staticmethod
    def parse(line: str) -> Event | None:
        """The event of a line, or None where the line is something else (a library's print)."""
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(values, dict) or "event" not in values:
            return None
        known = {f.name: str(f.type) for f in fields(Event) if f.name in values}
        if not all(_has_type(values[name], kind) for name, kind in known.items()):
            return None
        return Event(**{name: values[name] for name in known})


TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "None": (lambda value: value is None, "null"),
    "str": (lambda value: isinstance(value, str), "a text"),
    "int": (lambda value: type(value) is int, "a whole number"),
    "float": (lambda value: type(value) in (int, float) and math.isfinite(value), "a number"),
    "list[str]": (lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of texts"),
    "dict[str, Any]": (lambda value: isinstance(value, dict), "an object"),
}
"""How each type of a field of this file is told in JSON, and what it is called."""


def _has_type(value: Any, kind: str) -> bool:
    return any(TYPES[one][0](value) for one in kind.split(" | "))


def _in_words(kind: str) -> str:
    return " or ".join(TYPES[one][1] for one in kind.split(" | "))


class EventLog:
    """Writes events to standard output and to the job folder, and foretells the time left.

    What is left is foretold from the time taken so far and the plan.
    """

    def __init__(self, folder: Path, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._file = open(folder / EVENTS_NAME, "a", encoding="utf-8")
        self._stream = stream or sys.stdout
        self._plan: dict[str, float] = {}
        self._clock = clock
        self._start = clock()
        self._told: set[str] = set()
        self._last = -1.0

    def plan(self, shares: Mapping[str, float]) -> None:
        """Each stage's share of the whole run, in order, in any unit; only ratios count."""
        self._plan = dict(shares)

    def progress(self, stage: str, step: int, total: int, message: str = "") -> None:
        """News of a stage; at most five a second reach the reader, and always a stage's last."""
        now = self._clock()
        if step < total and now - self._last < 0.2:
            return
        self._last = now
        whole = sum(self._plan.values())
        names = list(self._plan)
        before = names[: names.index(stage)]
        self._told.add(stage)
        here = self._plan[stage] * min(step / max(total, 1), 1)
        fraction = (sum(self._plan[name] for name in before) + here) / whole
        # A resumed run takes no time over what it finds done: stages of which nothing was told.
        done = (sum(self._plan[name] for name in before if name in self._told) + here) / whole
        left = (now - self._start) / done * (1 - fraction) if done > 0.01 else None
        self.write(Event("progress", stage, step, total, round(fraction, 4), left and round(left, 1), message))

    def warning(self, message: str) -> None:
        self.write(Event("warning", message=message))

    def write(self, event: Event) -> None:
        line = event.line()
        for stream in (self._stream, self._file):
            stream.write(line + "\n")
            stream.flush()

    def close(self) -> None:
        self._file.close()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
