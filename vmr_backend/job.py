"""The job folder: request, events, checkpoint. Standard library only: Blender's own process imports it.

    job.json        what was asked for (`JobRequest`)
    events.jsonl    what happened, one JSON object a line (`Event`), the same lines that go to standard output
    log.txt         standard error of the runs
    rig.npz         what the request's template is made of, where that is an object of the user's
    run/            the same of a run that goes on, or was stopped, and all that it makes; beside them
                    checkpoint.safetensors, checkpoint.json: where it goes on

A run works in `run/`. What it made takes the place of an earlier result once all of it is there (`take_place`): until
then nothing of that is touched.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

from .methods import METHODS
from .settings import DEFAULT_PRESET, settings_of

FORMAT_VERSION = 1
REQUEST_NAME, EVENTS_NAME, RUN_NAME = "job.json", "events.jsonl", "run"
LOCK_NAME = "run.lock"
"""Held by the run that is at work in a folder, for as long as its process lives."""
RENDERERS = ("warp", "pytorch3d")
"""What draws the mesh while it is fitted (rendering/). Warp comes along; PyTorch3D is built by the user."""
CHECKPOINT_NAME, TENSORS_NAME = "checkpoint.json", "checkpoint.safetensors"
"""Where a stopped run goes on, and the tensors beside it, which count only with the first."""
WHOLE_NAME = "whole"
"""In the folder of a run: it has ended well, and its files are on their way to their places."""
PICTURES = ("overlay.mp4", "preview.png")
"""Drawn once a result is in its place."""
PART_SUFFIX = ".part"
ROTATIONS = ("hints", "camera_solve")
"""Fields of a request that hold a rotation for each of some frames."""
MOST_ASPECT = 8
"""Pixels are no wider, or higher, than this many times the other side."""
LARGEST_SEED = 2**31 - 1
"""Blender's integers end there."""
FRAME_NUMBERS = -2**31, 2**31 - 1
"""The first and the last that Blender and results can hold."""
FAR = 1e6
"""Pixels from a picture's corner beyond which nothing of it, or of a camera that filmed it, can lie."""
FOCAL_LENGTHS = 0.1, 1000.0
"""The shortest and the longest over the picture's width, 157 and 0.06 degrees of view: fits hold at both."""
EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_CANCELLED = 0, 1, 2, 3


class BadInput(Exception):
    """Something given by the user cannot be used; the text is one line: what, what was found, what is needed."""

    def __init__(self, text: str):
        # Names of files and words of libraries may hold line breaks.
        super().__init__(" ".join(text.splitlines()))


class Cancelled(Exception):
    """The user stopped the run; its checkpoint remains."""


@dataclass(frozen=True)
class FrameRotation:
    """How the camera sees the subject at one frame: the rotation from object to camera."""

    frame: int
    rotation: list[float]
    """9 numbers, row after row. The object's front is -y, up is z; camera axes are x right, y down, z forward."""

    def check(self, name: str) -> None:
        """BadInput, naming the field, where this is no rotation."""
        # Whole numbers in JSON may be longer than any float.
        rows = [list(map(float, self.rotation[3 * i:3 * i + 3])) for i in range(3)]
        if len(self.rotation) != 9 or not _is_rotation(rows):
            raise BadInput(f"{name}: found no rotation at frame {self.frame} ({_short(self.rotation)}), needs 9 "
                           "numbers of a rotation matrix, row after row")


def facing(frame: int, degrees: float) -> FrameRotation:
    """The rotation of a subject that stands upright before a level camera and faces some way at a frame.

    degrees  0 into the camera, 90 to the right of the picture, -90 to its left, 180 away from the camera
    """
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return FrameRotation(frame, [cosine, -sine, 0.0, 0.0, 0.0, -1.0, sine, cosine, 0.0])


def rotations_of(name: str, entries: Any) -> list[FrameRotation]:
    """Rotations from what JSON holds, [{"frame": 3, "rotation": [...]}, ...]; BadInput names the field."""
    if not isinstance(entries, list):
        raise BadInput(f"{name}: found {_short(entries)}, needs a list of objects with frame and rotation")
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"frame", "rotation"} or type(entry["frame"]) is not int \
                or not TYPES["list[float]"][0](entry["rotation"]):
            raise BadInput(f"{name}: found {_short(entry)}, needs an object with frame, a whole number, and rotation, "
                           "9 numbers")
    return [FrameRotation(**entry) for entry in entries]


@dataclass(frozen=True)
class ShownMovie:
    """What Blender shows of a movie: the backend reads the same, or refuses."""

    fps: float
    frames: int
    width: int
    height: int
    """Pixels, as it is turned."""
    turned: bool
    """Whether this Blender turns movies as their header says."""
    steady: bool
    """Whether this Blender shows the same frames of MPEG streams whether it plays or jumps to them."""

    @staticmethod
    def of(values: Any) -> ShownMovie:
        """From what JSON holds; BadInput where that is something else."""
        kinds = {f.name: str(f.type) for f in fields(ShownMovie)}
        if not isinstance(values, dict) or set(values) != set(kinds) \
                or not all(_has_type(values[name], kind) for name, kind in kinds.items()) \
                or values["fps"] <= 0 or min(values["frames"], values["width"], values["height"]) < 1:
            raise BadInput(f"shown: found {_short(values)}, needs an object with {', '.join(kinds)}")
        return ShownMovie(**values)


@dataclass(frozen=True)
class JobRequest:
    """One run as asked for. Paths are absolute; frame numbers are the clip's own, both ends included."""

    clip: str
    """A video file or a folder of images."""
    masks: str | None = None
    """A video file or a folder of images, in one of the forms in docs/inputs.md; None: the clip's alpha channel."""
    files: list[str] | None = None
    """The images of the clip, in order, where the folder holds others too."""
    first: int | None = None
    last: int | None = None
    method: str = "lasr"
    preset: str = DEFAULT_PRESET
    settings: dict[str, Any] = field(default_factory=dict)
    """Values that differ from the preset's."""
    model: str | None = None
    """Category model of the vmr method; with the lasr method, what camera and shape start from, or None."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: int = 0
    subject: int | None = None
    """Label of the subject where masks hold several: index in the palette, grey value, or number of a colour."""
    box: list[float] | None = None
    """Left, top, width, height in pixels of the full frame, around the subject where masks show several apart."""
    at: int | None = None
    """Frame that the box is of; None: the first."""
    focal_length: float | None = None
    """Of the footage's camera, in pixels of the full frame; None: from the setting field_of_view."""
    principal_point: list[float] | None = None
    """Where the camera's axis meets the picture, in pixels from the top left corner; None: in the middle."""
    hints: list[FrameRotation] | None = None
    """Which way the subject faces at single frames."""
    camera_solve: list[FrameRotation] | None = None
    """How the camera turns about the subject, up to one rotation of the subject that is the same at all frames."""
    template: str | None = None
    """Rigged body of the template method: a file, or the name of one that comes along."""
    shape: str | None = None
    """Folder of a result whose rest shape the base shape of the vmr method starts from."""
    shown: ShownMovie | None = None
    """What Blender shows of the clip where that is a movie."""
    pixel_aspect: float | None = None
    """Width of a pixel over its height; None: as the movie says."""
    renderer: str = RENDERERS[0]
    """One of RENDERERS."""
    version: int = FORMAT_VERSION

    def check(self) -> JobRequest:
        """This request, or BadInput where it contradicts itself."""
        for f in fields(self):
            if not _has_type(value := getattr(self, f.name), str(f.type)):
                raise BadInput(f"{f.name}: found {_cut(repr(value))}, needs {_in_words(str(f.type))}")
        if self.version != FORMAT_VERSION:
            raise BadInput(f"version: found {self.version}, needs {FORMAT_VERSION}")
        if self.method not in METHODS:
            raise BadInput(f"method: found {self.method!r}, needs one of {', '.join(METHODS)}")
        if self.renderer not in RENDERERS:
            raise BadInput(f"renderer: found {self.renderer!r}, needs one of {', '.join(RENDERERS)}")
        method = METHODS[self.method]
        if method.needs_model and not self.model:
            raise BadInput(f"model: found none, needs a category model for the method {self.method!r}")
        if method.needs_template and not self.template:
            raise BadInput(f"template: found none, needs a rigged template for the method {self.method!r}: a file "
                           "that the command `template` wrote, or one that `templates` lists")
        if self.model and not method.takes_model:
            why = "starts from its template" if method.needs_template else "looks at the footage first"
            raise BadInput(f"model: found {_cut(self.model)} for the method {self.method!r}, which {why}; needs none")
        if self.template and not method.needs_template:
            able = " or ".join(repr(name) for name, other in METHODS.items() if other.needs_template)
            raise BadInput(f"template: found {_cut(self.template)} for the method {self.method!r}, needs the method "
                           f"{able}")
        if self.shape and not method.takes_shape:
            able = " or ".join(repr(name) for name, other in METHODS.items() if other.takes_shape)
            raise BadInput(f"shape: found {self.shape} for the method {self.method!r}, needs the method {able}")
        for number in (self.first, self.last):
            check_frame("frames", number)
        if self.first is not None and self.last is not None and self.last < self.first:
            raise BadInput(f"frames: found {self.first}:{self.last}, needs the first before the last")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise BadInput(f"seed: found {_cut(str(self.seed))}, needs 0 to {LARGEST_SEED}")
        self._check_subject()
        self._check_camera()
        try:
            settings_of(self.preset, self.settings)
        except ValueError as error:
            raise BadInput(str(error)) from None
        return self

    def _check_subject(self) -> None:
        if self.subject is not None and not 1 <= self.subject <= 255:
            raise BadInput(f"subject: found {_cut(str(self.subject))}, needs 1 to 255; 0 is the background")
        if self.subject is not None and self.box is not None:
            raise BadInput("subject: found a label and a box, needs one of them")
        if self.box is not None and (len(self.box) != 4 or min(self.box[2:]) <= 0):
            raise BadInput(f"box: found {_short(self.box)}, needs left, top, width, height, the last two above 0")
        check_pixels("box", self.box)
        check_frame("at", self.at)
        if self.at is not None and self.box is None:
            raise BadInput(f"at: found frame {self.at} without a box, needs the box that it is for")

    def _check_camera(self) -> None:
        if self.pixel_aspect is not None and not 1 / MOST_ASPECT <= self.pixel_aspect <= MOST_ASPECT:
            raise BadInput(f"pixel_aspect: found {self.pixel_aspect:g}, needs 1/{MOST_ASPECT} to {MOST_ASPECT}, the "
                           "width of a pixel over its height")
        if self.focal_length is not None and self.focal_length <= 0:
            raise BadInput(f"focal_length: found {self.focal_length:g}, needs pixels above 0")
        shortest, longest = FOCAL_LENGTHS[0], FOCAL_LENGTHS[1] * FAR
        if self.focal_length is not None and not shortest <= self.focal_length <= longest:
            raise BadInput(f"focal_length: found {self.focal_length:g}, needs {shortest:g} to {longest:g} pixels")
        if self.principal_point is not None and len(self.principal_point) != 2:
            raise BadInput(f"principal_point: found {_short(self.principal_point)}, needs two numbers, x and y")
        check_pixels("principal_point", self.principal_point)
        for name in ROTATIONS:
            known = getattr(self, name) or []
            for one in known:
                check_frame(name, one.frame)
                one.check(name)
            frames = [one.frame for one in known]
            if twice := [frame for frame in frames if frames.count(frame) > 1]:
                raise BadInput(f"{name}: found frame {twice[0]} twice, needs it once")

    def save(self, folder: Path) -> None:
        """Write job.json; BadInput if the folder cannot be written."""
        write_request(folder / REQUEST_NAME, asdict(self))

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether the job.json of a folder is one of this program, of whatever version."""
        try:
            values = json.loads((folder / REQUEST_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(values, dict) and "clip" in values

    @staticmethod
    def load(folder: Path) -> JobRequest:
        path = folder / REQUEST_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput(f"{path}: not found; a job folder holds one") from None
        except (OSError, ValueError, RecursionError) as error:
            raise BadInput(f"{path}: cannot be read as JSON ({error})") from None
        known = {f.name for f in fields(JobRequest)}
        if not isinstance(values, dict) or "clip" not in values or set(values) - known:
            raise BadInput(f"{path}: is no request of this version of the program; needs an object with "
                           f"{', '.join(sorted(known))}")
        try:
            values |= {name: rotations_of(name, values[name]) for name in ROTATIONS if values.get(name) is not None}
            if values.get("shown") is not None:
                values["shown"] = ShownMovie.of(values["shown"])
            return JobRequest(**values).check()
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None


@dataclass(frozen=True)
class Event:
    """One line of news from a run."""

    event: str
    """progress, warning, result (it is in its place; pictures follow), done or error."""
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
    "bool": (lambda value: type(value) is bool, "true or false"),
    "int": (lambda value: type(value) is int, "a whole number"),
    "float": (lambda value: type(value) in (int, float) and abs(value) <= sys.float_info.max, "a number"),
    "list[float]": (
        lambda value: isinstance(value, list) and all(TYPES["float"][0](v) for v in value), "a list of numbers"),
    "list[FrameRotation]": (
        lambda value: isinstance(value, list) and all(isinstance(v, FrameRotation) for v in value),
        "a list of rotations"),
    "ShownMovie": (lambda value: isinstance(value, ShownMovie), "what Blender shows of a movie"),
    "list[str]": (lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of texts"),
    "dict[str, Any]": (lambda value: isinstance(value, dict), "an object"),
}
"""How each type of a field of this file is told in JSON, and what it is called."""


def _has_type(value: Any, kind: str) -> bool:
    return any(TYPES[one][0](value) for one in kind.split(" | "))


def _in_words(kind: str) -> str:
    return " or ".join(TYPES[one][1] for one in kind.split(" | "))


def check_frame(name: str, number: int | None) -> None:
    """BadInput, naming the field, where a frame number is one that no clip has."""
    if number is not None and not FRAME_NUMBERS[0] <= number <= FRAME_NUMBERS[1]:
        raise BadInput(f"{name}: found frame {_cut(str(number))}, needs {FRAME_NUMBERS[0]} to {FRAME_NUMBERS[1]}")


def check_pixels(name: str, places: Sequence[float] | None) -> None:
    """BadInput, naming the field, where a place is none of a picture or near it."""
    if places is not None and not max(map(abs, places)) <= FAR:
        raise BadInput(f"{name}: found {_short(list(places))}, needs pixels of the picture, at most {FAR:g} from its "
                       "top left corner")


def _is_rotation(rows: list[list[float]]) -> bool:
    """Whether three rows of three are orthonormal and do not mirror, to a thousandth."""
    (a, b, c), (d, e, f), (g, h, i) = rows
    products = [sum(x * y for x, y in zip(rows[m], rows[n], strict=True)) - (m == n)
                for m in range(3) for n in range(3)]
    volume = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return max(map(abs, products)) < 1e-3 and volume > 0


def _short(value: Any) -> str:
    """A value as JSON writes it, cut off where it is long."""
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


class EventLog:
    """Writes events to standard output and to the job folder, and foretells the time left.

    What is left is foretold from the time taken so far and the plan.
    """

    def __init__(self, folder: Path, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self.folder = folder
        """Where events.jsonl lies; it is opened for each line, so that it may move with the folder's other files."""
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
        line = event.line() + "\n"
        self._stream.write(line)
        self._stream.flush()
        with contextlib.suppress(OSError), open(self.folder / EVENTS_NAME, "a", encoding="utf-8") as file:
            file.write(line)  # where the disk is full, those who listen still hear why the run fails


def take_place(folder: Path) -> None:
    """Put what a run made, which ended well, in the place of an earlier result; BadInput where a file cannot be
    replaced. Interrupted, it is finished by `settle`."""
    write_whole(folder / RUN_NAME / WHOLE_NAME, b"")
    settle(folder)


def settle(folder: Path) -> None:
    """Finish what `take_place` began, if it began; for whoever comes to the folder next."""
    run = folder / RUN_NAME
    if not (run / WHOLE_NAME).is_file():
        return
    stale = [folder / name for name in PICTURES]  # of an earlier result
    for path in [*stale, *(path for path in run.iterdir() if path.name != WHOLE_NAME)]:
        try:
            if path in stale or path.suffix == PART_SUFFIX:  # of a file that was being written as a run was killed
                path.unlink()
            else:
                os.replace(path, folder / path.name)
        except FileNotFoundError:
            continue  # somebody else came at the same time
        except OSError as error:
            raise BadInput(f"{folder / path.name}: cannot be replaced ({error.strerror}); close what uses it and "
                           f"resume: the new result is whole and waits in {run}") from None
    (run / WHOLE_NAME).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        run.rmdir()


def write_request(path: Path, values: dict[str, Any]) -> None:
    """Write a request's values as JSON, and its folder where there is none; BadInput if that cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(values, indent=1).encode())
    except OSError as error:
        raise BadInput(f"{path.parent}: cannot be written ({error.strerror}); choose another folder") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part."""
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
