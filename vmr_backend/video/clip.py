"""Opens a clip (a video file, a folder of images or a list of them) and reads its frames one at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput

# Bad input is one line of ours on standard error: FFmpeg (which reads this at its first use) and OpenCV keep quiet.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
LARGEST_NUMBER = np.iinfo(np.int32).max
DECODER_THREADS = 2
"""Each thread of the decoder holds frames of its own, which are hundreds of MiB of 4K footage with many threads."""


@dataclass(frozen=True)
class Clip:
    """An opened clip; it holds no frames."""

    path: Path
    numbers: np.ndarray
    """(N,) int32, ascending: 0 the first frame of a video; for images, the number in the file's name."""
    image_size: tuple[int, int]
    """Width and height in pixels, after any rotation that the video file asks for."""
    fps: float | None
    files: tuple[Path, ...] | None
    """The image of each number; None for a video."""


def open_clip(path: Path | str | None, files: Sequence[Path | str] | None = None, last: int | None = None) -> Clip:
    """Open a video file, a folder of images, or the images `files` (then `path` only names the clip).

    last    number of the last frame that will be read; spares counting the frames of a long video behind it
    """
    if files is not None:
        return _open_images(Path(path) if path else None, [Path(f) for f in files])
    if path is None:
        raise BadInput("no clip was given; needs a video file or a folder of images")
    path = Path(path)
    if path.is_dir():
        return _open_images(path, _sequence_in(path))
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder; needs a video file or a folder of images")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise BadInput(f"{path}: found a single image; needs a video file or the folder of an image sequence")
    return _open_video(path, last)


def select(clip: Clip, first: int | None, last: int | None) -> np.ndarray:
    """Numbers of the clip's frames from `first` to `last`, both included: (n,) int32."""
    low = clip.numbers[0] if first is None else first
    high = clip.numbers[-1] if last is None else last
    if low > high:
        raise BadInput(f"{clip.path}: found the frame range {low}:{high}; needs a first frame before the last")
    chosen = clip.numbers[(clip.numbers >= low) & (clip.numbers <= high)]
    if not len(chosen):
        raise BadInput(
            f"{clip.path}: found no frame in the range {low}:{high}; the clip has frames "
            f"{clip.numbers[0]} to {clip.numbers[-1]}"
        )
    return chosen


def read_frames(clip: Clip, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Decode the frames of the ascending `numbers`, one after the other: (number, image as from `read_image`)."""
    read = _read_video(clip, numbers) if clip.files is None else _read_images(clip, numbers)
    for number, name, image in read:
        height, width = image.shape[:2]
        if (width, height) != clip.image_size:
            raise BadInput(
                f"{name}: found an image of {width}x{height} pixels, the first of the clip has "
                f"{clip.image_size[0]}x{clip.image_size[1]}; needs one size in the whole clip"
            )
        yield number, image


def read_image(path: Path) -> np.ndarray:
    """One image file as uint8: grey (H, W), BGR (H, W, 3) or BGRA (H, W, 4); 16 bit is brought to 8."""
    try:
        # read by Python and decoded from memory: OpenCV cannot open every name on Windows
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); needs an image file") from error
    except cv2.error as error:
        raise BadInput(f"{path}: cannot be decoded ({error.err}); needs a PNG or JPEG image") from error
    if image is None:
        raise BadInput(f"{path}: found no complete image (damaged, or of another format); needs a PNG or JPEG image")
    if image.dtype == np.uint16:
        return cv2.convertScaleAbs(image, alpha=1 / 257)
    if image.dtype != np.uint8:
        raise BadInput(f"{path}: found pixels of type {image.dtype}; needs 8 or 16 bit integers")
    return image


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Grey, BGR or BGRA (H, W[, 3 or 4]) uint8 to RGB (H, W, 3) uint8; alpha is dropped."""
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def as_grey(image: np.ndarray) -> np.ndarray:
    """Grey, BGR or BGRA (H, W[, 3 or 4]) uint8 to grey (H, W) uint8."""
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY)


def frame_number(path: Path) -> int | None:
    """The last group of digits in a file's name: shot2_0041.png is frame 41."""
    parts = _name_parts(path)
    return int(parts[1]) if parts else None


def _name_parts(path: Path) -> tuple[str, str, str] | None:
    """What stands before, in and after the last group of digits in a file's name."""
    match = re.match(r"^(.*?)([0-9]+)([^0-9]*)$", path.stem, re.DOTALL)
    return (match[1], match[2], match[3]) if match else None


def _sequence_in(folder: Path) -> list[Path]:
    """The images of the one numbered sequence in a folder; images without a number beside it are passed over."""
    try:
        images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise BadInput(f"{folder}: cannot be read ({error.strerror}); needs a folder of images") from error
    if not images:
        raise BadInput(f"{folder}: found no images; needs PNG or JPEG files with the frame number in their names")
    sequences: dict[tuple[str, str, str], list[Path]] = {}
    for path in images:
        if parts := _name_parts(path):
            sequences.setdefault((parts[0], parts[2], path.suffix.lower()), []).append(path)
    if not sequences:
        raise BadInput(f"{folder}: found images without numbers ({min(images).name}); needs them in the names")
    if len(sequences) > 1:
        found = ", ".join(f"{min(files).name} … ({len(files)})" for _, files in sorted(sequences.items())[:3])
        raise BadInput(f"{folder}: found {len(sequences)} image sequences: {found}; needs one sequence in a folder")
    return next(iter(sequences.values()))


def _open_images(path: Path | None, files: list[Path]) -> Clip:
    if not files:
        raise BadInput(f"{path or 'clip'}: found an empty list of images; needs at least 2")
    numbered: dict[int, Path] = {}
    for file in files:
        number = frame_number(file)
        if number is None or number > LARGEST_NUMBER:
            raise BadInput(f"{file}: found no usable frame number in the name; needs one below {LARGEST_NUMBER}")
        if number in numbered:
            raise BadInput(f"{file}: found frame {number} twice (also {numbered[number].name}); needs it once")
        numbered[number] = file
    numbers = np.array(sorted(numbered), np.int32)
    ordered = tuple(numbered[int(n)] for n in numbers)
    height, width = read_image(ordered[0]).shape[:2]
    return Clip(path or ordered[0].parent, numbers, (width, height), None, ordered)


def _capture(path: Path) -> cv2.VideoCapture:
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, DECODER_THREADS])


def _open_video(path: Path, last: int | None) -> Clip:
    capture = None if _is_text(path) else _capture(path)
    ok, image = capture.read() if capture is not None and capture.isOpened() else (False, None)
    if not ok:
        raise BadInput(
            f"{path}: found no video that can be decoded (another format, damaged or cut short); "
            "needs a video file or a folder of images"
        )
    announced, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    fps = fps if fps > 0 else None
    if last is not None and last < announced - 1:
        count = announced
    else:
        count, seconds = _count_frames(capture)
        _refuse_cut_short(path, count, seconds, announced, fps)
    return Clip(path, np.arange(count, dtype=np.int32), image.shape[1::-1], fps, None)


def _count_frames(capture: cv2.VideoCapture) -> tuple[int, float]:
    """Frames of a video of which the first was read, and the time of the last in seconds.

    Counted by decoding: what headers say is an estimate in many containers, and does not know of edit lists.
    """
    count, milliseconds = 1, 0.0
    while capture.grab():
        count += 1
        milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
    return count, milliseconds / 1000


def _refuse_cut_short(path: Path, count: int, seconds: float, announced: int, fps: float | None) -> None:
    """BadInput where a video holds less than its header says."""
    boxes = _boxes_end(path)
    if boxes is not None:  # MP4 and MOV: an edit list may hide frames, so the file's length decides
        cut = boxes > path.stat().st_size
    else:  # the header's count is often the duration times the rate: compare times, not counts
        cut = fps is not None and announced > 0 and (announced - 1) / fps - seconds > max(2 / fps, 0.05 * seconds)
    if cut:
        raise BadInput(
            f"{path}: the file is cut short: found {count} frames, its header says {announced}; "
            f"needs the whole file, or a frame range up to {count - 1}"
        )


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


def _read_images(clip: Clip, numbers: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    places = np.searchsorted(clip.numbers, numbers)
    for number, place in zip(numbers, places, strict=True):
        yield int(number), str(clip.files[place]), read_image(clip.files[place])


def _read_video(clip: Clip, numbers: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    capture = _capture(clip.path)
    position = -1
    for number in map(int, numbers):
        while position < number:  # stepped to, not jumped to: a seek lands on another frame in many files
            if not capture.grab():
                raise BadInput(
                    f"{clip.path}: the file is cut short or damaged: frame {position + 1} cannot be decoded; "
                    f"needs the whole file, or a frame range up to {position}"
                )
            position += 1
        _, image = capture.retrieve()
        yield number, f"{clip.path} frame {number}", image
