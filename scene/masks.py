"""Refuses masks that cannot be of a clip, by their size and number, before anything is started for them."""

from __future__ import annotations

import os

import bpy

from ..vmr_backend.job import BadInput

ASPECT_TOLERANCE = 0.01
"""Masks may have another size than the frames, but for this the same shape."""
SPARE_PIXELS, SPARE_FRAMES = 2, 2
"""By so many a mask's sides, and the frames of a movie, may differ: programs round and count differently."""


def check_masks(path: str, clip: bpy.types.MovieClip) -> None:
    """BadInput where the masks in a folder or a movie are of another shape than the clip, or more than its frames.

    The backend checks their content.
    """
    size, count, is_movie = _folder(path) if os.path.isdir(path) else _movie(path)
    width, height = clip.size
    if all(size) and all(clip.size):
        near = abs(size[0] - width) <= SPARE_PIXELS and abs(size[1] - height) <= SPARE_PIXELS
        if not near and abs(size[0] * height / (size[1] * width) - 1) > ASPECT_TOLERANCE:
            raise BadInput(f"masks: {path} holds masks of {size[0]}x{size[1]} pixels, the clip {clip.name} has "
                           f"{width}x{height}; needs masks of this clip")
    if clip.source != "MOVIE" or not count:
        return
    more = count - clip.frame_duration
    if more > SPARE_FRAMES or is_movie and more < -SPARE_FRAMES:
        raise BadInput(f"masks: {path} holds {count} masks, the clip {clip.name} has {clip.frame_duration} frames; "
                       "needs masks of this clip")


def _folder(path: str) -> tuple[tuple[int, int], int, bool]:
    suffixes = bpy.path.extensions_image  # type: ignore[attr-defined]
    names = sorted(name for name in os.listdir(path)
                   if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes)
    if not names:
        raise BadInput(f"masks: {path} holds no images; needs one for each frame, white where the subject is")
    image = bpy.data.images.load(os.path.join(path, names[0]), check_existing=False)
    try:
        width, height = image.size
    finally:
        bpy.data.images.remove(image)
    return (width, height), len(names), False


def _movie(path: str) -> tuple[tuple[int, int], int, bool]:
    try:
        masks = bpy.data.movieclips.load(path, check_existing=False)
    except RuntimeError:
        return (0, 0), 0, True  # the backend reports why
    try:
        return tuple(masks.size), masks.frame_duration, True
    finally:
        bpy.data.movieclips.remove(masks)
