"""Makes tiny movies that are odd in one way each, in every container that can hold them, and reads movies as the
backend does. Run by the backend's Python:

    python odd_movies.py make FOLDER         writes FOLDER/ODDITY.CONTAINER
    python odd_movies.py read FOLDER         reads what FOLDER/asked.json lists, into FOLDER/read.npz and read.json

A frame's picture tells its number (bright and dark blocks: binary digits) and which way up it is (coloured corners).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, COUNT = 96, 64, 12
DIGITS = 4
X264 = {"crf": "8", "preset": "veryfast"}
X265 = {"x265-params": "log-level=none", "crf": "8"}
VP9 = {"crf": "8", "b": "2000000", "deadline": "realtime", "cpu-used": "8"}
MPEG = {"qscale": "2", "b": "4000000", "bf": "0", "g": "4"}


@dataclass(frozen=True)
class Movie:
    """How a movie is written."""

    codec: str
    pixels: str
    options: dict[str, str]
    """Of the encoder."""
    rate: Fraction = Fraction(24)
    size: tuple[int, int] = (WIDTH, HEIGHT)
    due: Callable[[int], int] = int
    """When frame n is due, in frames."""
    muxer: dict[str, str] | None = None
    """Options of the container."""
    aspect: Fraction | None = None
    """Width of a pixel over its height."""
    turned: int = 0
    """Degrees by which players turn the picture."""
    colour: dict[str, int] | None = None
    """Primaries, transfer curve and matrix, as H.273 numbers them, and the range."""
    shift: int = 0
    """Frames by which everything that was written comes later; below 0 an edit list hides what is before the start."""
    sound: tuple[str, float, float] | None = None
    """Codec of a sound track, where it begins and ends in seconds."""
    alpha: bool = False


PLAIN = {
    "mp4": Movie("libx264", "yuv420p", X264), "mov": Movie("libx264", "yuv420p", X264),
    "mkv": Movie("libx264", "yuv420p", X264), "webm": Movie("libvpx-vp9", "yuv420p", VP9),
    "avi": Movie("mpeg4", "yuv420p", MPEG), "gif": Movie("gif", "rgb8", {}, Fraction(25)),
    "mpg": Movie("mpeg2video", "yuv420p", MPEG, Fraction(25)), "ts": Movie("libx264", "yuv420p", X264),
}
"""What each container holds most often."""
TIMED = ("mp4", "mov", "mkv", "webm", "gif", "ts")
"""Containers that say of each frame when it is due."""
OF_X264 = ("mp4", "mov", "mkv", "ts")
SOUND = {"mp4": "aac", "mov": "pcm_s16le", "mkv": "pcm_s16le", "webm": "libopus", "avi": "pcm_s16le", "mpg": "mp2",
         "ts": "mp2"}
HLG = {"color_primaries": 9, "color_trc": 18, "colorspace": 9, "color_range": 1}
PQ = HLG | {"color_trc": 16}


def movies() -> Iterator[tuple[str, str, Movie]]:
    """Oddity, container and how it is written."""

    def each(oddity: str, containers: Iterable[str], **changes) -> Iterator[tuple[str, str, Movie]]:
        for container in containers:
            own = PLAIN[container].options if "codec" not in changes else {}
            options = own | changes.get("options", {})
            yield oddity, container, replace(PLAIN[container], **changes | {"options": options})

    yield from each("none", PLAIN)
    yield from each("pause", TIMED, due=lambda n: n if n < 5 else n + 6)
    yield from each("variable rate", TIMED, due=lambda n: n + n // 2)
    yield from each("edit list", ("mp4", "mov"), shift=-3, options={"bf": "2"})
    yield from each("late start", ("mp4", "mov", "mkv", "webm", "avi", "ts"), shift=7)
    yield from each("B-frames", OF_X264, options={"bf": "3", "b_strategy": "0"})
    yield from each("B-frames", ("avi", "mpg"), options={"bf": "2"})
    yield from each("23.976 a second", (c for c in PLAIN if c != "gif"), rate=Fraction(24000, 1001))
    yield from each("29.476 a second", ("mp4", "mov", "mkv", "webm", "avi", "ts"), rate=Fraction(29476, 1000))
    yield from each("fragmented", ("mp4", "mov"), muxer={"movflags": "frag_keyframe+empty_moov"})
    yield from each("fragmented, pause", ("mp4", "mov"), muxer={"movflags": "frag_keyframe+empty_moov"},
                    due=lambda n: n if n < 5 else n + 6)
    yield from each("turned 90", ("mp4", "mov", "mkv"), turned=90)
    yield from each("turned 180", ("mp4", "mov", "mkv"), turned=180)
    yield from each("turned 270", ("mp4", "mov", "mkv"), turned=-90)
    yield from each("anamorphic", (c for c in PLAIN if c != "gif"), aspect=Fraction(16, 11))
    yield from each("interlaced", OF_X264, options={"flags": "+ildct+ilme", "x264-params": "tff=1"})
    yield from each("interlaced", ("mpg",), options={"flags": "+ildct+ilme"})
    yield from each("interlaced flag alone", OF_X264, options={"x264-params": "tff=1:fake-interlaced=1"})
    yield from each("10 bit", OF_X264, pixels="yuv420p10le")
    yield from each("4:4:4", OF_X264, pixels="yuv444p")
    yield from each("full range", OF_X264, pixels="yuvj420p", colour={"color_range": 2})
    yield from each("BT.709", OF_X264, colour={"color_primaries": 1, "color_trc": 1, "colorspace": 1})
    for name, colour in (("HLG", HLG), ("PQ", PQ)):
        yield from each(name, ("mp4", "mov", "mkv"), codec="libx265", pixels="yuv420p10le", options=X265, colour=colour)
    yield from each("H.265", ("mp4", "mov", "mkv"), codec="libx265", options=X265)
    yield from each("AV1", ("mp4", "mkv", "webm"), codec="libsvtav1", options={"crf": "8", "preset": "10"})
    yield from each("odd size", ("mp4", "mov", "mkv"), pixels="yuv444p", size=(95, 63))
    yield from each("odd size", ("webm", "avi", "gif"), size=(95, 63))
    yield from each("sound longer", SOUND, sound=("", 0.0, 1.5))
    yield from each("sound first", ("mkv", "mp4", "ts"), sound=("", 0.0, 0.8), shift=6)
    yield from each("Motion JPEG", ("mov", "avi", "mkv"), codec="mjpeg", pixels="yuvj420p", options={"qscale": "2"},
                    colour={"color_range": 2})
    yield from each("ProRes", ("mov",), codec="prores_ks", pixels="yuv422p10le", options={})
    yield from each("alpha, ProRes 4444", ("mov",), codec="prores_ks", pixels="yuva444p10le", alpha=True,
                    options={"profile": "4444"})
    yield from each("alpha, QuickTime Animation", ("mov",), codec="qtrle", pixels="argb", alpha=True, options={})
    yield from each("alpha, PNG", ("mov", "avi"), codec="png", pixels="rgba", alpha=True, options={})
    yield from each("alpha, FFV1", ("mkv", "avi"), codec="ffv1", pixels="bgra", alpha=True, options={})
    yield from each("alpha, VP9", ("webm", "mkv"), codec="libvpx-vp9", pixels="yuva420p", alpha=True,
                    options=VP9 | {"auto-alt-ref": "0"})


def picture(number: int, size: tuple[int, int] = (WIDTH, HEIGHT), alpha: bool = False) -> np.ndarray:
    """(H, W, 3 or 4) uint8 RGB of a frame."""
    width, height = size
    image = np.full((height, width, 3), (70, 80, 90), np.uint8)
    down, across = height // 4, width // 4
    image[:down, :across] = 200, 40, 40
    image[:down, -across:] = 40, 180, 60
    image[-down:, :across] = 50, 60, 200
    image[-down:, -across:] = 200, 190, 60
    for digit in range(DIGITS):
        left = 4 + digit * (width - 8) // DIGITS
        grey = 230 if number >> digit & 1 else 20
        image[height * 3 // 8:height * 5 // 8, left:left + (width - 8) // DIGITS - 2] = grey
    if not alpha:
        return image
    cover = np.zeros((height, width), np.uint8)
    cover[height // 8:-height // 8, width // 8:-width // 8] = 255
    return np.dstack([image, cover])


def write(path: Path, movie: Movie) -> Path:
    """The movie as a file."""
    with av.open(str(path), "w", options=movie.muxer or {}) as container:
        stream = container.add_stream(movie.codec, rate=movie.rate, options=dict(movie.options))
        stream.width, stream.height = movie.size
        stream.pix_fmt = movie.pixels
        stream.codec_context.time_base = 1 / movie.rate
        if movie.aspect:
            stream.codec_context.sample_aspect_ratio = movie.aspect
        if movie.turned:
            stream.set_display_rotation(movie.turned)
        for name, value in (movie.colour or {}).items():
            setattr(stream.codec_context, name, value)
        sound = None
        if movie.sound:
            sound = container.add_stream(SOUND[path.suffix[1:]], rate=48000)
            sound.layout = "mono"
        for packet in _sound(sound, movie):
            container.mux(packet)
        for packet in _packets(stream, movie):
            if packet.pts is not None:
                units = round(movie.shift / movie.rate / packet.time_base)
                packet.pts, packet.dts = packet.pts + units, packet.dts + units
            container.mux(packet)
    return path


def _packets(stream: av.VideoStream, movie: Movie) -> Iterator[av.Packet]:
    for number in range(COUNT):
        image = picture(number, movie.size, movie.alpha)
        frame = av.VideoFrame.from_ndarray(image, format="rgba" if movie.alpha else "rgb24")
        space = (movie.colour or {}).get("colorspace")
        frame = frame.reformat(format=movie.pixels, dst_colorspace=space,
                               dst_color_range=(movie.colour or {}).get("color_range"))
        for name, value in (movie.colour or {}).items():
            setattr(frame, name, value)
        frame.pts, frame.time_base = movie.due(number), 1 / movie.rate
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound(stream: av.AudioStream | None, movie: Movie) -> Iterator[av.Packet]:
    if stream is None:
        return
    _, start, end = movie.sound
    for first in range(round(start * 48000), round(end * 48000), 960):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, first, Fraction(1, 48000)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for oddity, container, movie in movies():
        write(folder / f"{oddity}.{container}", movie)


def read(folder: Path) -> None:
    """Frames as the backend reads them, each BGR or BGRA under `NAME/NUMBER`; refusals, and which decoded frame each
    is by its digits, in read.json."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from vmr_backend.job import BadInput, ShownMovie
    from vmr_backend.video.clip import open_clip, read_frames

    found: dict[str, np.ndarray] = {}
    refused: dict[str, str] = {}
    for name, (path, shown, aspect, numbers) in json.loads((folder / "asked.json").read_text("utf-8")).items():
        try:
            clip = open_clip(path, None, None, shown and ShownMovie.of(shown), aspect)
            for number, image in read_frames(clip, clip.numbers if numbers is None else np.array(numbers)):
                found[f"{name}/{number}"] = image
        except BadInput as error:
            refused[name] = str(error)
    np.savez(folder / "read.npz", **found)
    (folder / "read.json").write_text(json.dumps(refused), "utf-8")


if __name__ == "__main__":
    {"make": make, "read": read}[sys.argv[1]](Path(sys.argv[2]))
