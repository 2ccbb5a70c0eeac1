"""Reads from the header of an MP4 or MOV file when its frames are due and how they are turned.

Boxes and their fields: ISO/IEC 14496-12. Other containers have no such header and are not judged.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CONTAINERS = frozenset({".mp4", ".mov", ".m4v", ".qt"})
LARGEST_HEADER, MOST_FRAMES = 1 << 28, 10_000_000
"""A header of hours of footage has a few MiB; larger numbers come from a damaged file."""


@dataclass(frozen=True)
class MovieHeader:
    """What the header of a movie says of its picture track."""

    times: np.ndarray
    """(N,) int64 when the frames are due, ascending, the first at 0; in units of 1 / `scale` seconds"""
    scale: int
    rotation: int
    """degrees by which the decoded frames are to be turned: 0, 90, 180 or 270"""

    def shown(self, fps: float) -> np.ndarray:
        """(N,) which frame is shown at 0, 1, 2 … / `fps` seconds: the last one that is due by then."""
        moments = np.rint(np.arange(len(self.times)) * (self.scale / fps))
        return np.searchsorted(self.times, moments, side="right") - 1


def read_movie_header(path: str) -> MovieHeader | None:
    """Header of the first picture track; None where the file has none that can be read."""
    if os.path.splitext(path)[1].lower() not in CONTAINERS:
        return None
    try:
        movie = _movie_box(path)
        tracks = [dict(_boxes(body)) for kind, body in _boxes(movie) if kind == b"trak"]
        for track in tracks:
            media = dict(_boxes(track[b"mdia"]))
            if media[b"hdlr"][8:12] == b"vide":
                return MovieHeader(*_frame_times(media), _rotation(track[b"tkhd"]))
    except (OSError, KeyError, IndexError, ValueError, struct.error):
        return None
    return None


def _movie_box(path: str) -> memoryview:
    """Body of the box `moov`, which stands at the file's start or at its end."""
    with open(path, "rb") as file:
        while head := file.read(8):
            length, kind = struct.unpack(">I4s", head)
            header = 8
            if length == 1:
                (length,), header = struct.unpack(">Q", file.read(8)), 16
            if kind == b"moov" and length <= LARGEST_HEADER:
                return memoryview(file.read(length - header))
            if length < header:
                break
            file.seek(length - header, os.SEEK_CUR)
    raise ValueError("no moov box")


def _boxes(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    position = 0
    while position + 8 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, position)
        if length < 8:
            return
        yield kind, body[position + 8 : position + length]
        position += length


def _frame_times(media: dict[bytes, memoryview]) -> tuple[np.ndarray, int]:
    """Decoding times (`stts`) plus composition offsets (`ctts`), in the order of display, and their units a second."""
    is_long = media[b"mdhd"][0] == 1
    (scale,) = struct.unpack_from(">I", media[b"mdhd"], 20 if is_long else 12)
    table = dict(_boxes(dict(_boxes(media[b"minf"]))[b"stbl"]))
    durations = _runs(table[b"stts"])
    times = np.cumsum(durations) - durations
    if b"ctts" in table:
        offsets = _runs(table[b"ctts"])[: len(times)]
        times[: len(offsets)] += offsets
    times.sort()
    return times - times[:1], scale


def _runs(body: memoryview) -> np.ndarray:
    """The values (n,) int64 of a table of runs, each a count and a value."""
    (entries,) = struct.unpack_from(">I", body, 4)
    runs = np.frombuffer(body, ">i4", 2 * entries, 8).reshape(-1, 2)
    if runs[:, 0].sum(dtype=np.int64) > MOST_FRAMES:
        raise ValueError("more frames than a movie has")
    return np.repeat(runs[:, 1].astype(np.int64), runs[:, 0])


def _rotation(track_header: memoryview) -> int:
    """Degrees by which the matrix of a track header turns the picture."""
    a, b = struct.unpack_from(">ii", track_header, 52 if track_header[0] == 1 else 40)
    return round(math.degrees(math.atan2(b, a))) % 360
