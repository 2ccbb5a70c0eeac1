"""Reads a movie by PyAV: the frame that is due at each of its frame numbers, as Blender shows it.

Blender plays every movie at one rate. At number n it shows the last frame that is due n / rate seconds after the first
one, whatever container says so: of a pause it shows the frame before it over and over, of an edit list what is left.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation

from ..job import BadInput, ShownMovie

# Bad input is one line of ours on standard error: FFmpeg keeps quiet.
av.logging.set_level(None)

DECODER_THREADS = 2
"""Each thread of the decoder holds frames of its own, which are hundreds of MiB of 4K footage with many threads."""
LARGEST_PICTURE = 200_000_000
"""Pixels of a frame; a few bytes can announce any number, and every one that is decoded takes 4 bytes and more."""
RATE_TOLERANCE = 1e-5
"""Blender tells a movie's rate in single precision."""
AS_BLENDER = Interpolation.POINT | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
"""How Blender has swscale bring colours to every pixel; from 4.5 on there is no difference left, before at most 3 of
255."""
WITHOUT_PARAMETERS = "field_mode=prog:chroma_location=unspecified"
"""Blender weaves fields and does not heed where a pixel's colours were measured; swscale would, told by the frame."""
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that know the alpha channel that WebM carries beside the picture."""
MPEG_STREAMS = ("mpeg", "mpegts")
"""FFmpeg's names of containers without an index, in which some Blenders lose their way when they jump: in program
streams always, in transport streams unless every frame is due exactly when it is looked for."""
NO_MOVIES = frozenset({"ansi", "bin", "concat", "dash", "hls", "idf", "image2", "imf", "tty", "xbin"})
"""FFmpeg's names of what leads to other files, or shows a text as a picture of its letters."""
NEEDS_FRAMES = "needs Frames of This Clip (panel Footage), which makes an image sequence of what Blender shows"
NO_MOVIE = "needs a video file or a folder of images"


@dataclass(frozen=True)
class Movie:
    """What is known of a movie file once it was looked at; it holds no frames."""

    path: Path
    rate: Fraction
    """Frames a second at which it is shown."""
    count: int
    """Frames that are shown, repeated ones included."""
    size: tuple[int, int]
    """Width and height of a frame as it is shown, px of the file."""
    quarter_turns: int
    """Counterclockwise, by which decoded frames are turned."""
    has_alpha: bool
    pixel_aspect: float
    """Width of a pixel over its height, as the file says."""
    start: int
    """When frame 0 is due, in the stream's units of time."""
    end: int | None
    """When the last frame is due; None where the file was not looked through that far."""


def open_movie(path: Path, shown: ShownMovie | None, last: int | None) -> Movie:
    """Look at a movie: its first frame is decoded, the others' times are read off their packets.

    shown   what Blender shows of it; None: as the newest Blender would
    last    number of the last frame that will be read; the file is not looked through behind it
    Raises BadInput where it holds no picture that can be decoded, is cut short, or where Blender shows other frames.
    """
    with _opened(path) as container:
        stream = _picture_stream(path, container)
        rate = _rate_of(path, stream, shown)
        first = next(_frames(path, container, stream), None)
        if first is None:
            raise _undecodable(path)
        if first.pts is None:
            raise BadInput(f"{path}: found a bare stream, which does not say when its frames are due; needs it in "
                           "a container, such as MP4 or MKV")
        start = stream.start_time if stream.start_time is not None else first.pts or 0
        announced = shown.frames if shown else max(floor(_seconds_of(container, stream) * rate + Fraction(1, 2)), 1)
        turns = round(first.rotation / 90) % 4 if first.rotation % 90 == 0 and (shown is None or shown.turned) else 0
        width, height = (first.width, first.height)[:: -1 if turns % 2 else 1]
        aspect = float(stream.sample_aspect_ratio or 1)
        has_alpha = any(component.is_alpha for component in first.format.components)
        format_name, unit = container.format.name, stream.time_base
    if shown and (width, height) != (shown.width, shown.height):
        raise BadInput(f"{path}: found frames of {width}x{height} pixels where Blender shows {shown.width}x"
                       f"{shown.height}; {NEEDS_FRAMES}")
    end = None
    unsteady = shown and not shown.steady and format_name in MPEG_STREAMS
    if last is None or last >= announced - 1 or unsteady:
        times, count = _look_through(path, rate, start, announced)
        end = max(times, default=start)
        announced = announced if shown else count
    if unsteady and (format_name == "mpeg" or (1 / rate / unit).denominator > 1
                     or not {_due(n, start, rate, unit) for n in range(announced)} <= times):
        raise BadInput(f"{path}: found an MPEG stream, of which this Blender shows other frames when it jumps than "
                       f"when it plays; {NEEDS_FRAMES}")
    return Movie(path, rate, announced, (width, height), turns, has_alpha, 1 / aspect if turns % 2 else aspect, start,
                 end)


def read_movie(movie: Movie, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Decode the frames of ascending `numbers`: (number, uint8 BGR (H, W, 3), or BGRA where there is alpha)."""
    with _opened(movie.path) as container:
        stream = _picture_stream(movie.path, container)
        due = [_due(int(n), movie.start, movie.rate, stream.time_base) for n in numbers]
        waiting = list(zip(map(int, numbers), due, strict=True))[::-1]
        frame, image = None, None
        for following in _frames(movie.path, container, stream):
            while frame is not None and waiting and waiting[-1][1] < following.pts:
                image = _image_of(frame, movie) if image is None else image
                yield waiting.pop()[0], image
            if not waiting:
                return
            if frame is None or frame.pts < following.pts:  # of several that are due at once the first is shown
                frame, image = following, None
        if frame is None or waiting and frame.pts < min(waiting[0][1], _end_of(movie)):
            raise _damaged(movie.path, waiting[-1][0])
        image = _image_of(frame, movie) if image is None else image
        for number, _ in reversed(waiting):
            yield number, image


def _end_of(movie: Movie) -> int:
    """When the last frame is due; it is shown on where sound goes on."""
    if movie.end is not None:
        return movie.end
    return max(_look_through(movie.path, movie.rate, movie.start, movie.count)[0], default=movie.start)


def pictures_shown(movie: Movie) -> np.ndarray | None:
    """Which of a movie's pictures, counted from 0 in the order in which they are due, each of its frames shows.

    (count,) int32; None where the file cannot be looked through. They are other numbers than the frames' where the rate
    varies: a frame is then shown again, or passed over.
    """
    try:
        times, _ = _look_through(movie.path, movie.rate, movie.start, movie.count)
        with _opened(movie.path) as container:
            unit = _picture_stream(movie.path, container).time_base
    except BadInput:
        return None
    due = [_due(number, movie.start, movie.rate, unit) for number in range(movie.count)]
    return np.maximum(np.searchsorted(np.sort(list(times)), due, "right") - 1, 0).astype(np.int32)


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    """BadInput where a file is none, or holds nothing that FFmpeg knows."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadInput(f"{path}: found a device or a pipe, which ends nobody knows when; {NO_MOVIE}")
        if _is_text(path):
            raise _undecodable(path)
        # A playlist must not lead to the network.
        container = av.open(str(path), options={"max_pixels": str(LARGEST_PICTURE)},
                            container_options={"protocol_whitelist": "file"})
    except OSError as error:
        if isinstance(error, av.FFmpegError) and not isinstance(error, PermissionError):
            raise _undecodable(path) from None
        raise BadInput(f"{path}: cannot be read ({error.strerror}); {NO_MOVIE}") from None
    except av.FFmpegError:
        raise _undecodable(path) from None
    with container:
        if container.format.name in NO_MOVIES:
            raise _undecodable(path)
        yield container


def _picture_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The first video stream that is no cover art, as Blender takes it."""
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            continue
        context = stream.codec_context
        if context is None:
            raise _undecodable(path)
        if context.width * context.height > LARGEST_PICTURE:
            raise BadInput(f"{path}: found frames of {context.width}x{context.height} pixels; needs at most "
                           f"{LARGEST_PICTURE // 1_000_000} million, as a smaller movie")
        context.thread_count = DECODER_THREADS
        return stream
    raise BadInput(f"{path}: found no moving picture in it (sound or cover art alone); {NO_MOVIE}")


def _frames(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """All frames in the order in which they are shown, each with its time; BadInput at the first damaged one."""
    decoder = _decoder_of(stream)
    seen, before = 0, None
    try:
        for packet in container.demux(stream):
            if packet.size == 0 and packet.dts is not None:
                continue  # FFmpeg would take it for the end; the frame before is shown on
            try:
                decoded = decoder.decode(packet if packet.size else None)
            except av.error.InvalidDataError:
                if seen == 0:  # a recording may begin between two key frames
                    continue
                raise
            for frame in decoded:
                if frame.pts is None:
                    frame.pts = packet.dts if before is None else before + 1
                seen, before = seen + 1, frame.pts
                yield frame
    except av.FFmpegError:
        raise (_damaged(path, seen) if seen else _undecodable(path)) from None


def _decoder_of(stream: av.VideoStream) -> Any:
    """What decodes a stream's packets, its alpha channel with them."""
    name = stream.codec_context.codec.canonical_name
    if name not in WITH_ALPHA or stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) != "1":
        return stream.codec_context
    decoder = av.CodecContext.create(WITH_ALPHA[name], "r")
    decoder.extradata = stream.codec_context.extradata
    decoder.thread_count = DECODER_THREADS
    return decoder


def _rate_of(path: Path, stream: av.VideoStream, shown: ShownMovie | None) -> Fraction:
    """The rate that Blender plays at: FFmpeg's guess, which is exact, unless Blender's FFmpeg guessed otherwise."""
    guessed = stream.guessed_rate or stream.average_rate
    if shown and (not guessed or abs(guessed / Fraction(shown.fps) - 1) > RATE_TOLERANCE):
        return Fraction(shown.fps).limit_denominator(100_000)
    if not guessed:
        raise BadInput(f"{path}: found no frame rate in it; needs a movie that says when its frames are due, or a "
                       "folder of images")
    return guessed


def _seconds_of(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction:
    """How long a movie's picture says it is; 0 where it does not say.

    Matroska tells when everything ends, and Blender counts from when the picture begins.
    """
    if stream.duration is not None:
        return stream.duration * stream.time_base
    whole = Fraction(container.duration or 0, av.time_base)
    return max(whole - (stream.start_time or 0) * stream.time_base, Fraction(0))


def _due(number: int, start: int, rate: Fraction, unit: Fraction) -> int:
    """When Blender shows a frame number, in a stream's units of time."""
    return start + floor(number / rate / unit + Fraction(1, 2))


def _look_through(path: Path, rate: Fraction, start: int, announced: int) -> tuple[set[int], int]:
    """When frames are due, and how many are shown, by the times of all packets.

    BadInput where the file holds less than it says.
    """
    times: set[int] = set()
    ends, until = Fraction(0), Fraction(0)
    with _opened(path) as container:
        stream = _picture_stream(path, container)
        said = max(_seconds_of(container, stream), stream.frames / rate)
        # Else the header tells of sound and pictures together.
        own = stream.duration is not None or stream.frames > 0
        try:
            for packet in container.demux():
                time = packet.pts if packet.pts is not None else packet.dts
                if time is None or packet.is_discard:
                    continue
                ends = max(ends, (time + (packet.duration or 0)) * packet.time_base)
                if packet.stream_index == stream.index:
                    times.add(time)
                    until = max(until, (time + (packet.duration or 0) - start) * packet.time_base)
        except av.FFmpegError:
            raise _damaged(path, len(times)) from None
        unit = stream.time_base
        found = floor((max(times, default=start) - start) * unit * rate + Fraction(1, 2)) + 1
    count = max(announced, 1) if said else max(found, floor(until * rate + Fraction(1, 2)))
    size = path.stat().st_size
    boxes = _boxes_end(path)
    if boxes is not None:  # MP4 and MOV: an edit list may hide frames, so the file's length decides
        cut, says = boxes > size, f"{size} of the {boxes} bytes that its header says"
    else:
        ends, says = (until if own else ends - start * unit), f"its header says {max(announced, floor(said * rate))}"
        cut = said - ends > max(2 / rate, ends / 20)
    if cut:
        raise BadInput(f"{path}: the file is cut short: found {found} frames, {says}; needs the whole file, or a frame "
                       f"range up to {max(found - 1, 0)}")
    return times, count


def _image_of(frame: av.VideoFrame, movie: Movie) -> np.ndarray:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    graph.link_nodes(source, graph.add("setparams", WITHOUT_PARAMETERS), graph.add("buffersink")).configure()
    graph.vpush(frame)
    image = graph.vpull().to_ndarray(format="bgra" if movie.has_alpha else "bgr24", interpolation=AS_BLENDER)
    return np.ascontiguousarray(np.rot90(image, movie.quarter_turns)) if movie.quarter_turns else image


def _undecodable(path: Path) -> BadInput:
    return BadInput(f"{path}: found no video that can be decoded (another format, damaged or cut short); {NO_MOVIE}")


def _damaged(path: Path, number: int) -> BadInput:
    return BadInput(f"{path}: the file is cut short or damaged: frame {number} cannot be decoded; needs the whole "
                    f"file, or a frame range up to {max(number - 1, 0)}")


def _boxes_end(path: Path) -> int | None:
    """Where the last box of an MP4 or MOV file says it ends, in bytes (ISO 14496-12, 4.2); None for other files."""
    size, position, first = path.stat().st_size, 0, True
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if first and kind not in (b"ftyp", b"moov", b"wide", b"mdat", b"free", b"skip"):
                return None
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: up to the end of the file
                return size
            position, first = position + length, False
    return position


def _is_text(path: Path) -> bool:
    """FFmpeg would show a text file as a video of its letters."""
    with path.open("rb") as file:
        head = file.read(4096)
    try:
        return b"\0" not in head and bool(head.decode("utf-8"))
    except UnicodeDecodeError:
        return False
