"""Corrects the key times of a binary glTF file (.glb) where Blender's exporter used another frame rate.

Blender's exporter (4.2 to 5.2) divides frames by `fps * fps_base`, some of its parts by `fps`, where a scene plays
`fps / fps_base` frames a second: at 29.476 of them, other programs would play the file 3.3 % slow.
"""

import json
import struct
from pathlib import Path

import numpy as np

from ..vmr_backend.job import write_whole

HEADER = struct.Struct("<4sII")
"""Magic, version, length of the file."""
CHUNK = struct.Struct("<I4s")
"""Length and kind of what follows."""


def correct_times(path: Path, fps: int, fps_base: float) -> None:
    """Give the keys of a .glb of consecutive frames the times of a scene of `fps / fps_base` frames a second.

    A file whose key times are right already stays as it is. OSError where it cannot be read or written.
    """
    kinds, chunks = _read(path)
    document = json.loads(chunks[0])
    inputs = {sampler["input"] for animation in document.get("animations", []) for sampler in animation["samplers"]}
    accessors = [document["accessors"][index] for index in inputs]
    buffer = bytearray(chunks[1]) if accessors else bytearray()
    # By byte range: accessors may share their bytes, which are multiplied once.
    times = {_byte_range(document, accessor): np.empty(0) for accessor in accessors}
    for start, count in times:
        times[start, count] = np.frombuffer(buffer, "<f4", count, start)
    ratio = _ratio(max(times.values(), key=len, default=np.empty(0)), fps, fps_base)
    if ratio == 1:
        return
    for values in times.values():
        values *= ratio
    for accessor in accessors:
        values = times[_byte_range(document, accessor)]
        accessor["min"], accessor["max"] = [float(values.min())], [float(values.max())]
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    chunks[:2] = text + b" " * (-len(text) % 4), bytes(buffer)
    body = b"".join(CHUNK.pack(len(chunk), kind) + chunk for kind, chunk in zip(kinds, chunks, strict=True))
    write_whole(path, HEADER.pack(b"glTF", 2, HEADER.size + len(body)) + body)


def _byte_range(document: dict, accessor: dict) -> tuple[int, int]:
    """First byte and number of the times of an accessor: floats, the only kind of number that keys are timed by."""
    view = document["bufferViews"][accessor["bufferView"]]
    return view.get("byteOffset", 0) + accessor.get("byteOffset", 0), accessor["count"]


def _ratio(times: np.ndarray, fps: int, fps_base: float) -> float:
    """Factor that corrects the times (N,) of consecutive frames; 1 where they are right, or N is below 2."""
    if len(times) < 2:
        return 1.0
    found = (len(times) - 1) / float(times[-1] - times[0])
    # The rate that was taken, by name: late times are too coarse, as 32 bits hold them, to measure it finely.
    taken = min(fps / fps_base, fps * fps_base, float(fps), key=lambda rate: abs(rate - found))
    return taken / (fps / fps_base)


def _read(path: Path) -> tuple[list[bytes], list[bytes]]:
    """Kinds and contents of a file's chunks: JSON first, then numbers."""
    data = path.read_bytes()
    kinds, chunks, offset = [], [], HEADER.size
    while offset < len(data):
        length, kind = CHUNK.unpack_from(data, offset)
        offset += CHUNK.size
        kinds.append(kind)
        chunks.append(data[offset:offset + length])
        offset += length
    return kinds, chunks
