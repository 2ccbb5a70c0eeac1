"""What a user marks on frames of a clip for its masks to be found, as a request. Standard library only: Blender's own
process imports it.

    segment.json     what was asked for (`SegmentRequest`)
    masks/           one PNG image for each frame, white where the subject is
    masks.json       how far each mask can be trusted (`MaskReport`)
    outlines.json    the masks' outlines by frame number, each x, y, x, y ... in pixels, for Blender to draw
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..job import BadInput, ShownMovie, check_frame, check_pixels, write_request, write_whole

REQUEST_NAME, REPORT_NAME, OUTLINES_NAME, MASKS_NAME = "segment.json", "masks.json", "outlines.json", "masks"
Point = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """What is marked on one frame, in pixels of the full frame from its top left corner."""

    frame: int
    """The clip's own number."""
    box: tuple[float, float, float, float] | None = None
    """Left, top, width, height."""
    inside: tuple[Point, ...] = ()
    """Points on the subject."""
    outside: tuple[Point, ...] = ()
    """Points that are not on it."""
    mask: str | None = None
    """An image of the whole mask, white on black."""

    def check(self) -> Mark:
        """This mark, or BadInput where it says nothing or contradicts itself."""
        check_frame("marks", self.frame)
        if not (self.box or self.inside or self.outside or self.mask):
            raise BadInput(f"frame {self.frame}: found nothing marked; needs a box, points or a mask")
        if self.box and self.mask:
            raise BadInput(f"frame {self.frame}: found a box and a whole mask; needs one of them")
        if self.box and (len(self.box) != 4 or not all(map(math.isfinite, self.box)) or min(self.box[2:]) <= 0):
            raise BadInput(f"box: found {list(self.box)} at frame {self.frame}, needs left, top, width, height, the "
                           "last two above 0")
        check_pixels("box", self.box)
        for point in (*self.inside, *self.outside):
            if len(point) != 2 or not all(map(math.isfinite, point)):
                raise BadInput(f"point: found {list(point)} at frame {self.frame}, needs x and y")
            check_pixels("point", point)
        return self

    @staticmethod
    def of(values: Any) -> Mark:
        """A mark from what JSON holds; BadInput names what is wrong."""
        found = json.dumps(values)[:60]
        if not isinstance(values, dict) or type(values.get("frame")) is not int or set(values) - FIELDS:
            raise BadInput(f"marks: found {found}, needs objects with frame and box, inside, outside or mask")
        try:
            box = values.get("box")
            inside, outside = (tuple((float(x), float(y)) for x, y in values.get(side) or ())
                               for side in ("inside", "outside"))
            return Mark(values["frame"], box and tuple(map(float, box)), inside, outside, values.get("mask")).check()
        except (TypeError, ValueError, OverflowError):
            raise BadInput(f"marks: found {found}, needs numbers: a box of four, points of two") from None


FIELDS = frozenset(Mark.__annotations__)


@dataclass(frozen=True)
class SegmentRequest:
    """Masks to be found. Paths are absolute; frame numbers are the clip's own, both ends included."""

    clip: str
    marks: tuple[Mark, ...]
    files: list[str] | None = None
    """The images of the clip, in order, where the folder holds others too."""
    first: int | None = None
    last: int | None = None
    network: str = ""
    """Path of an ONNX network or of a checkpoint of SAM 2 (.pt); empty: the network that comes along."""
    device: str = "auto"
    """Where SAM 2 computes."""
    shown: ShownMovie | None = None
    """What Blender shows of the clip where that is a movie."""

    def check(self) -> SegmentRequest:
        if not self.marks:
            raise BadInput("segment: found nothing marked; needs a box around the subject, or points on it")
        frames = [mark.check().frame for mark in self.marks]
        if twice := [frame for frame in frames if frames.count(frame) > 1]:
            raise BadInput(f"marks: found frame {twice[0]} twice, needs it once")
        if not any(mark.box or mark.inside or mark.mask for mark in self.marks):
            raise BadInput("segment: found only points off the subject; needs a box around it, or a point on it")
        if self.network and Path(self.network).suffix.lower() not in (".onnx", ".pt"):
            raise BadInput(f"{self.network}: found no network by its name; needs an ONNX network (.onnx) or a "
                           "checkpoint of SAM 2 (.pt)")
        for number in (self.first, self.last):
            check_frame("frames", number)
        if self.first is not None and self.last is not None and self.last < self.first:
            raise BadInput(f"frames: found {self.first}:{self.last}, needs the first before the last")
        return self

    def save(self, folder: Path) -> None:
        """Write segment.json; BadInput if the folder cannot be written."""
        write_request(folder / REQUEST_NAME, asdict(self))

    @staticmethod
    def load(folder: Path) -> SegmentRequest:
        path = folder / REQUEST_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            marks = tuple(Mark.of(one) for one in values.pop("marks"))
            if values.get("shown") is not None:
                values["shown"] = ShownMovie.of(values["shown"])
            return SegmentRequest(marks=marks, **values).check()
        except FileNotFoundError:
            raise BadInput(f"{path}: not found; a folder of masks to be found holds one") from None
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path}: cannot be read as a request for masks ({error})") from None


@dataclass(frozen=True)
class MaskReport:
    """What is to be said of found masks."""

    confidence: Mapping[int, float] = field(default_factory=dict)
    """By frame number, 0 to 1: how far a mask is expected to overlap with the true one."""
    doubts: Mapping[int, list[str]] = field(default_factory=dict)
    """By frame number, why a mask may be wrong; frames that are not doubted are missing."""
    marked: tuple[int, ...] = ()
    """Frames that were marked."""

    def save(self, folder: Path) -> None:
        write_whole(folder / REPORT_NAME, json.dumps(asdict(self), indent=1).encode())

    @staticmethod
    def load(folder: Path) -> MaskReport:
        path = folder / REPORT_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return MaskReport({int(n): float(value) for n, value in values["confidence"].items()},
                              {int(n): list(map(str, why)) for n, why in values["doubts"].items()},
                              tuple(map(int, values["marked"])))
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path}: cannot be read ({error}); find the masks again") from None


def outlines_in(folder: Path) -> dict[int, list[list[float]]]:
    """By frame number the outlines of masks in a folder, each x, y, x, y ... in pixels; empty where there are none."""
    path = folder / OUTLINES_NAME
    try:
        facts = path.stat()
    except OSError:
        return {}
    return _read_outlines(path, (facts.st_mtime_ns, facts.st_size))


@functools.lru_cache(maxsize=4)
def _read_outlines(path: Path, _state: tuple[int, int]) -> dict[int, list[list[float]]]:
    """Kept while the file stays as it is: Blender draws them many times a second."""
    try:
        return {int(number): loops for number, loops in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
