"""Opens a clip (a video file, a folder of images or a list of them) and reads its frames one at a time."""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..job import BadInput, JobRequest, ShownMovie
from .movie import LARGEST_PICTURE, Movie, open_movie, read_movie

# Bad input is one line of ours on standard error: OpenCV keeps quiet.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Pillow's own limit is for web pages; ours is an error of one line.
Image.MAX_IMAGE_PIXELS = None

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
LARGEST_NUMBER = np.iinfo(np.int32).max
ASPECT_TOLERANCE = 0.005


@dataclass(frozen=True)
class Clip:
    """An opened clip; it holds no frames."""

    path: Path
    numbers: np.ndarray
    """(N,) int32, ascending: 0 the first frame of a video; for images, the number in the file's name."""
    image_size: tuple[int, int]
    """Width and height of the frames that are read, in square pixels."""
    file_size: tuple[int, int]
    """Width and height in the file's own pixels, turned as a movie asks for."""
    fps: float | None
    files: tuple[Path, ...] | None
    """The image of each number; None for a video."""
    movie: Movie | None = None
    has_alpha: bool = False
    """Of its first frame."""
    remarks: tuple[str, ...] = ()
    """Lines that the user should read: how odd footage was understood."""

    @property
    def scale(self) -> np.ndarray:
        """(2,) what x and y in the file's pixels are to be multiplied by for square ones."""
        return np.array(self.image_size) / self.file_size


def open_clip(
    path: Path | str | None,
    files: Sequence[Path | str] | None = None,
    last: int | None = None,
    shown: ShownMovie | None = None,
    pixel_aspect: float | None = None,
) -> Clip:
    """Open a video file, a folder of images, or the images `files` (then `path` only names the clip).

    last          number of the last frame that will be read; a long video is not read behind it
    shown         what Blender shows of the video; None: as the newest Blender would show it
    pixel_aspect  width of a pixel over its height: frames are widened, or heightened, to square ones. None: as a video
                  says; images are square
    """
    clip = _open(path, files, last, shown)
    said = clip.movie.pixel_aspect if clip.movie else 1.0
    aspect = said if pixel_aspect is None else pixel_aspect
    width, height = clip.file_size
    square = (round(width * max(aspect, 1)), round(height * max(1 / aspect, 1)))
    if square[0] * square[1] > LARGEST_PICTURE:
        raise BadInput(f"{clip.path}: found pixels {aspect:g} times as wide as high, which makes frames of "
                       f"{square[0]}x{square[1]}; needs a pixel aspect near 1")
    remarks = clip.remarks
    if pixel_aspect is not None and clip.movie and abs(aspect / said - 1) > ASPECT_TOLERANCE:
        remarks += (f"{clip.path.name}: the file says that its pixels are {said:.4g} times as wide as high; taken "
                    f"is {aspect:.4g}, as the clip shows it (Movie Clip Editor, Footage Settings, Display Aspect)",)
    return replace(clip, image_size=square, remarks=remarks)


def _open(
    path: Path | str | None, files: Sequence[Path | str] | None, last: int | None, shown: ShownMovie | None
) -> Clip:
    """A clip in the file's own pixels."""
    if files is not None:
        clip = _open_images(Path(path) if path else None, [Path(f) for f in files])
        return replace(clip, remarks=clip.remarks + _behind_a_gap(clip))
    if path is None:
        raise BadInput("no clip was given; needs a video file or a folder of images")
    path = Path(path)
    if path.is_dir():
        return _open_images(path, _sequence_in(path))
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder; needs a video file or a folder of images")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise BadInput(f"{path}: found a single image; needs a video file or the folder of an image sequence")
    movie = open_movie(path, shown, last)
    numbers = np.arange(movie.count, dtype=np.int32)
    return Clip(path, numbers, movie.size, movie.size, float(movie.rate), None, movie, movie.has_alpha)


def open_footage(request: JobRequest) -> Clip:
    """The clip of a request, as far as its range goes; BadInput where it cannot be read as it is shown.

    Light: the command line asks it before anything else is imported.
    """
    clip = open_clip(request.clip, request.files, request.last, request.shown, request.pixel_aspect)
    if len(chosen := select(clip, request.first, request.last)) < 2:
        raise BadInput(f"{clip.path}: found a single frame ({chosen[0]}) to work on; needs at least 2")
    if request.masks is None:
        need_alpha(clip)
    return clip


def need_alpha(clip: Clip) -> None:
    """BadInput where a clip that is its own mask has no alpha channel."""
    if not clip.has_alpha:
        found = "its images have" if clip.movie is None else "the movie has"
        raise BadInput(f"{clip.path}: no masks were given and {found} no alpha channel; needs masks, white on black")


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
    read = _read_images(clip, numbers) if clip.movie is None else _read_movie(clip, numbers)
    for number, name, image in read:
        height, width = image.shape[:2]
        if (width, height) != clip.file_size:
            raise BadInput(
                f"{name}: found an image of {width}x{height} pixels, the first of the clip has "
                f"{clip.file_size[0]}x{clip.file_size[1]}; needs one size in the whole clip"
            )
        yield number, image if clip.image_size == clip.file_size else cv2.resize(image, clip.image_size)


def read_image(path: Path) -> np.ndarray:
    """One image file as uint8: grey (H, W), BGR (H, W, 3) or BGRA (H, W, 4); 16 bit is brought to 8."""
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise BadInput(f"{path}: found a device or a pipe, or a folder; needs an image file")
        # read by Python and decoded from memory: OpenCV cannot open every name on Windows
        data = np.fromfile(path, np.uint8)
        _refuse_large(path, data)
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
        raise BadInput(f"{path}: found pixels of type {image.dtype}; needs 8 or 16 bit integers, as Frames of "
                       "This Clip (panel Footage) makes them")
    return image


def _refuse_large(path: Path, data: np.ndarray) -> None:
    """BadInput where the header of an image file (n,) uint8 announces more pixels than can be meant."""
    try:
        with Image.open(io.BytesIO(data.tobytes())) as header:
            width, height = header.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return  # OpenCV's error says what is wrong
    if width * height > LARGEST_PICTURE:
        raise BadInput(f"{path}: found an image of {width}x{height} pixels; needs at most "
                       f"{LARGEST_PICTURE // 1_000_000} million")


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


def _digit_groups(path: Path) -> list[int]:
    """The numbers in a file's name; of a single one the last counts: shot2_0041.png is frame 41."""
    return [int(group) for group in re.findall(r"[0-9]+", path.stem)]


def _sequence_in(folder: Path) -> list[Path]:
    """The images of the one numbered sequence in a folder; images without a number beside it are passed over."""
    try:
        images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise BadInput(f"{folder}: cannot be read ({error.strerror}); needs a folder of images") from error
    if not images:
        raise BadInput(f"{folder}: found no images; needs PNG or JPEG files with the frame number in their names")
    numbered = [path for path in images if _digit_groups(path)]
    if not numbered:
        raise BadInput(f"{folder}: found images without numbers ({min(images).name}); needs them in the names")
    shapes: dict[tuple[str, str], list[Path]] = {}
    for path in numbered:
        shapes.setdefault((re.sub(r"[0-9]+", "#", path.stem), path.suffix.lower()), []).append(path)
    sequences = [files for _, files in sorted(shapes.items())]
    if len(sequences) == 1 and _counted_group(sequences[0]) is None:
        sequences = _by_last_group(sequences[0])
    if len(sequences) > 1:
        found = ", ".join(f"{min(files).name} … ({len(files)})" for files in sequences[:3])
        raise BadInput(f"{folder}: found {len(sequences)} image sequences: {found}; needs one sequence in a folder")
    return sequences[0]


def _by_last_group(files: list[Path]) -> list[list[Path]]:
    sequences: dict[str, list[Path]] = {}
    for path in sorted(files):
        sequences.setdefault(re.sub(r"[0-9]+(?=[^0-9]*$)", "#", path.stem), []).append(path)
    return list(sequences.values())


def _counted_group(files: Sequence[Path]) -> int | None:
    """Which group of digits in names of one shape counts the frames: the last that varies. None where several vary, and
    not together."""
    groups = np.array([_digit_groups(path) for path in files], dtype=object)
    varying = [k for k in range(groups.shape[1]) if len(set(groups[:, k])) > 1]
    if len(varying) > 1:
        rows = sorted(groups[:, varying].tolist())
        if not all(a < b for before, after in pairwise(rows) for a, b in zip(before, after, strict=True)):
            return None
    return varying[-1] if varying else groups.shape[1] - 1


def _open_images(path: Path | None, files: list[Path]) -> Clip:
    if not files:
        raise BadInput(f"{path or 'clip'}: found an empty list of images; needs at least 2")
    groups = [_digit_groups(file) for file in files]
    if not all(groups):
        file = files[[bool(group) for group in groups].index(False)]
        raise BadInput(f"{file}: found no frame number in the name; needs one")
    alike = len({re.sub(r"[0-9]+", "#", file.stem) for file in files}) == 1
    counted = _counted_group(files) if alike else None
    counted = -1 if counted is None else counted
    numbered: dict[int, Path] = {}
    for file, group in zip(files, groups, strict=True):
        if group[counted] in numbered:
            raise BadInput(f"{file}: found frame {group[counted]} twice (also {numbered[group[counted]].name}); needs "
                           "it once")
        numbered[group[counted]] = file
    order, remarks = sorted(numbered), ()
    ordered = tuple(numbered[number] for number in order)
    if order[-1] > LARGEST_NUMBER:
        remarks = (f"{ordered[0].name}: the numbers in the names are too large for frame numbers; the images are "
                   "counted from 0, in their order",)
        order = list(range(len(order)))
    height, width, *channels = read_image(ordered[0]).shape
    return Clip(path or ordered[0].parent, np.array(order, np.int32), (width, height), (width, height), None, ordered,
                has_alpha=channels == [4], remarks=remarks)


def _behind_a_gap(clip: Clip) -> tuple[str, ...]:
    """A line where Blender's clip ends at a gap and images of the same names follow."""
    last = clip.files[-1]
    head, tail = re.split(r"[0-9]+(?=[^0-9]*$)", last.name) if _digit_groups(last) else (last.name, "")
    names = re.compile(f"{re.escape(head)}([0-9]+){re.escape(tail)}")
    try:
        found = [int(match[1]) for file in last.parent.iterdir() if (match := names.fullmatch(file.name))]
    except OSError:
        return ()
    behind = sorted(number for number in found if number > clip.numbers[-1])
    if not behind or behind[0] == clip.numbers[-1] + 1:
        return ()
    return (f"{last.name}: {len(behind)} images follow behind a gap, from {behind[0]} on; Blender shows none of them, "
            "and none is taken: fill the gap, or open them as a clip of their own",)


def _read_images(clip: Clip, numbers: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    for number in map(int, numbers):
        path = clip.files[np.searchsorted(clip.numbers, number)]
        yield number, str(path), read_image(path)


def _read_movie(clip: Clip, numbers: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
    return ((number, f"{clip.path} frame {number}", image) for number, image in read_movie(clip.movie, numbers))
