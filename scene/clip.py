"""From a movie clip datablock, and the masks that the user picked, to what a job request names.

Frame numbers are the result's (docs/result-format.md): 0 the first frame of a movie, the number in the file's name for
an image sequence. Blender shows number `first number + scene frame - frame_start + frame_offset`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import bpy

from ..vmr_backend.job import BadInput, ShownMovie

AS_THEY_ARE = {"sRGB", "Rec.1886", "Non-Color", "Raw"}
"""Colour spaces of which Blender shows the values that files hold, as the backend reads them."""
READ_BY_BACKEND = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
"""Images with 8 or 16 bit, as vmr_backend/video/clip.py opens them."""
NEEDS_FRAMES = "needs Frames of This Clip (panel Footage), which makes an image sequence of what is shown"
ROTATES_MOVIES = (4, 5)
"""Blender that applies the rotation in a movie's header: 4.5 does, 4.2 does not, those between were not tried."""
STEADY = (5, 0)
"""Blender that shows the same frames of MPEG streams whether it plays or jumps to them: 5.0 does, 4.5 does not."""
LARGEST_NUMBER = 2**31 - 1
"""Blender counts no further."""


@dataclass(frozen=True)
class ClipSource:
    """A job request's fields of the clip: absolute paths, frame numbers with both ends included."""

    path: str
    """The movie, or the folder that holds the images."""
    files: list[str] | None
    """The images `first` to `last`; None for a movie."""
    first: int
    last: int
    pixel_aspect: float
    """Width of a pixel over its height."""
    shown: ShownMovie | None = None
    """What Blender shows of a movie."""


def clip_source(clip: bpy.types.MovieClip, scene: bpy.types.Scene | None = None) -> ClipSource:
    """Where the frames of a clip are, and which of them Blender shows; BadInput where they cannot be used.

    scene   only frames within this scene's frame range are taken; None takes the whole clip
    """
    path = _file_of(clip)
    source = _movie(clip, path) if clip.source == "MOVIE" else _sequence(clip, path)
    if (space := clip.colorspace_settings.name) not in AS_THEY_ARE:
        raise BadInput(f"{path}: found the colour space {space}, in which Blender shows other colours than the file "
                       f"holds; {NEEDS_FRAMES}")
    if scene is not None:
        source = _within(source, clip, scene)
    if source.first >= source.last:
        raise BadInput(f"{path}: found {max(source.last - source.first + 1, 0)} frame; needs at least 2")
    return source


def clip_at(path: str, files: Sequence[str] | None = None, uid: int | None = None) -> bpy.types.MovieClip | None:
    """The clip of this file that shows the footage which a `ClipSource` names; of several that with a `session_uid`."""
    clips = [clip for clip in bpy.data.movieclips if shows(clip, path, files)]
    return next((clip for clip in clips if clip.session_uid == uid), clips[0] if clips else None)


def shows(clip: bpy.types.MovieClip, path: str, files: Sequence[str] | None = None) -> bool:
    """Whether a clip is of the movie or the folder at a path; of several sequences in a folder, that with `files`."""
    file = _absolute(clip.filepath, clip.library)
    if clip.source != "SEQUENCE":
        return path == file
    return path == os.path.dirname(file) and (not files or _series(files[0]) == _series(file))


def pixel_aspect_of(clip: bpy.types.MovieClip) -> float:
    """Width over height of a clip's pixels as the Movie Clip Editor shows and solves it."""
    return clip.display_aspect[0] / clip.display_aspect[1] * clip.tracking.camera.pixel_aspect


def scene_frame(clip: bpy.types.MovieClip, number: int) -> int:
    """Scene frame at which the clip shows its frame `number`."""
    return int(number) - _first_number(clip) + clip.frame_start - clip.frame_offset


def frame_number(clip: bpy.types.MovieClip, frame: int) -> int:
    """Number of the frame that the clip shows at scene frame `frame`, also outside of its range."""
    return int(frame) - clip.frame_start + clip.frame_offset + _first_number(clip)


def frame_shown(context: bpy.types.Context) -> int:
    """Scene frame on display: that of the Movie Clip Editor where the mouse is in one, else the scene's."""
    space: Any = context.space_data
    return space.clip_user.frame_current if space is not None and space.type == "CLIP_EDITOR" \
        else context.scene.frame_current


def go_to_frame(scene: bpy.types.Scene, frame: int) -> None:
    """Show another frame of a scene, in its windows' Movie Clip Editors too, which do not follow `frame_set` alone."""
    scene.frame_set(frame)
    for window in bpy.context.window_manager.windows:
        if window.scene == scene:
            for area in window.screen.areas:
                if area.type == "CLIP_EDITOR":
                    space: Any = area.spaces.active
                    space.clip_user.frame_current = frame
                    area.tag_redraw()


def mask_source(picked: str | bpy.types.MovieClip, library: bpy.types.Library | None = None) -> str:
    """Absolute path of the movie or of the folder of images that holds the masks.

    picked   a movie, an image of a sequence or its folder, as the file browser gives it; or a clip datablock, of which
             only the file counts: masks belong to the frames with their numbers
    library  from which a relative path goes; None: this file
    """
    is_path = isinstance(picked, str)
    path = _absolute(picked, library) if is_path else _file_of(picked)
    if not os.path.exists(path):
        raise BadInput(f"{path}: no such file or folder; needs the masks, white on black: a movie or images")
    suffix = os.path.splitext(path)[1].lower()
    images = bpy.path.extensions_image  # type: ignore[attr-defined]
    is_image = suffix in images if is_path else picked.source == "SEQUENCE"
    return os.path.dirname(path) if is_image and not os.path.isdir(path) else path


def _file_of(clip: bpy.types.MovieClip) -> str:
    path = _absolute(clip.filepath, clip.library)
    # Blender keeps size and length of a file that has vanished: check the disk.
    if not os.path.isfile(path):
        raise BadInput(f"{path}: file of the clip {clip.name} not found; needs the movie or the images it was made of")
    return path


def _absolute(path: str, library: bpy.types.Library | None = None) -> str:
    return os.path.abspath(bpy.path.abspath(path, library=library))


def _movie(clip: bpy.types.MovieClip, path: str) -> ClipSource:
    if clip.frame_duration < 1 or not all(clip.size):
        raise BadInput(f"{path}: found no movie that Blender can decode; needs a video file or an image sequence")
    width, height = clip.size
    shown = ShownMovie(clip.fps, clip.frame_duration, width, height, bpy.app.version >= ROTATES_MOVIES,
                       bpy.app.version >= STEADY)
    return ClipSource(path, None, max(clip.frame_offset, 0), clip.frame_duration - 1, pixel_aspect_of(clip), shown)


def _sequence(clip: bpy.types.MovieClip, path: str) -> ClipSource:
    """The images on disk, as far as they follow without a gap: there Blender's clip ends."""
    parts = _name_parts(path)
    if (suffix := os.path.splitext(path)[1].lower()) not in READ_BY_BACKEND:
        raise BadInput(f"{path}: found images of type {suffix or 'unknown'}; {NEEDS_FRAMES}")
    if parts is None:
        raise BadInput(f"{path}: found a single image without a frame number in its name; needs a sequence or a movie")
    head, digits, tail = parts
    first = int(digits) + max(clip.frame_offset, 0)
    files: list[str] = []
    while first + len(files) <= LARGEST_NUMBER \
            and os.path.isfile(name := f"{head}{first + len(files):0{len(digits)}d}{tail}"):
        files.append(name)
    if clip.frame_duration < 2 and (alike := _alike(path)) > 1:
        raise BadInput(
            f"{path}: found {alike} images, of which Blender shows {clip.frame_duration}: it counts by the last number "
            f"in a name, here {digits}, one by one up to {LARGEST_NUMBER}; needs the frame number there, or these "
            "images as a strip of the Video Sequencer and Frames of Active Strip (panel Footage)")
    return ClipSource(os.path.dirname(path), files, first, first + len(files) - 1, pixel_aspect_of(clip))


def _series(path: str) -> tuple[str, ...]:
    """The file's name without its number."""
    parts = _name_parts(os.path.basename(path))
    return parts[::2] if parts else (os.path.basename(path),)


def _alike(path: str) -> int:
    """Images whose names differ from a file's in their numbers alone."""
    folder, name = os.path.split(path)
    shape = re.sub("[0-9]+", "#", name)
    return sum(re.sub("[0-9]+", "#", other) == shape for other in os.listdir(folder))


def _within(source: ClipSource, clip: bpy.types.MovieClip, scene: bpy.types.Scene) -> ClipSource:
    """The part of a source that a scene's frame range shows."""
    first = max(source.first, frame_number(clip, scene.frame_start))
    last = min(source.last, frame_number(clip, scene.frame_end))
    if last <= first:
        raise BadInput(
            f"scene frames {scene.frame_start} to {scene.frame_end}: found {max(last - first + 1, 0)} frames of the "
            f"clip {clip.name}, which is shown from {scene_frame(clip, source.first)} to "
            f"{scene_frame(clip, source.last)}; needs at least 2"
        )
    files = source.files and source.files[first - source.first : last - source.first + 1]
    return replace(source, files=files, first=first, last=last)


def _first_number(clip: bpy.types.MovieClip) -> int:
    """Number of the file that the clip points to; 0 for a movie."""
    parts = _name_parts(clip.filepath) if clip.source == "SEQUENCE" else None
    return int(parts[1]) if parts else 0


def _name_parts(path: str) -> tuple[str, str, str] | None:
    """What stands before, in and after the last group of digits in the file's name, the extension aside."""
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", stem, re.DOTALL)
    return (os.path.join(folder, match[1]), match[2], match[3] + extension) if match else None
