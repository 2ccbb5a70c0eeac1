"""What the user marked on a clip's frames, between Blender's data and the backend's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..vmr_backend.segmentation.marks import Mark


def folders_of_others(subject: Any) -> set[Path]:
    """Where the masks of all other subjects in the file lie, and those that mark frames of theirs."""
    clips: Any = bpy.data.movieclips
    others = [(one, clip.library) for clip in clips for one in clip.vmr.subjects if one != subject]
    paths = [(path, library) for one, library in others
             for path in (one.folder, one.inputs.masks, *(mark.mask for mark in one.marks)) if path]
    return {Path(bpy.path.abspath(path, library=library)) for path, library in paths}


def mark_at(subject: Any, frame: int) -> Any:
    """The subject's mark on a frame (the clip's own number), or None."""
    return next((mark for mark in subject.marks if mark.frame == frame), None)


def put_box(subject: Any, frame: int, box: tuple[float, float, float, float]) -> None:
    """Mark a box on a frame, in place of a box or a mask that is there."""
    mark = _mark_on(subject, frame)
    mark.box, mark.mask = box, ""
    subject.stale = True


def put_point(subject: Any, frame: int, position: tuple[float, float], inside: bool) -> None:
    """Add a point to what is marked on a frame."""
    point = _mark_on(subject, frame).points.add()
    point.place, point.inside = position, inside
    subject.stale = True


def put_mask(subject: Any, frame: int, path: str) -> None:
    """Mark a frame with an image of its whole mask, in place of all that is marked there."""
    clear_mark(subject, frame)
    _mark_on(subject, frame).mask = path
    subject.stale = True


def take_back_point(subject: Any, frame: int) -> bool:
    """Remove the last point on a frame; whether there was one."""
    mark = mark_at(subject, frame)
    if not mark or not mark.points:
        return False
    mark.points.remove(len(mark.points) - 1)
    subject.stale = True
    if not (mark.points or mark.mask or has_box(mark)):
        clear_mark(subject, frame)
    return True


def clear_mark(subject: Any, frame: int) -> bool:
    """Remove all that is marked on a frame; whether there was something."""
    index = next((index for index, mark in enumerate(subject.marks) if mark.frame == frame), None)
    if index is None:
        return False
    subject.marks.remove(index)
    subject.stale = True
    return True


def marks_of(subject: Any) -> tuple[Mark, ...]:
    """In the backend's terms, by frame."""
    return tuple(Mark(
        mark.frame, _numbers(mark.box) if has_box(mark) else None,
        *(tuple(_numbers(point.place) for point in mark.points if point.inside == side) for side in (True, False)),
        mask=bpy.path.abspath(mark.mask) if mark.mask else None)
        for mark in sorted(subject.marks, key=lambda mark: mark.frame))


def has_box(mark: Any) -> bool:
    return mark.box[2] > 0 and mark.box[3] > 0


def inside_frame(clip: bpy.types.MovieClip, box: tuple[float, float, float, float]) \
        -> tuple[float, float, float, float] | None:
    """The part of a box that lies in the clip's picture, px; None where there is none."""
    width, height = clip.size
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], float(width)), min(box[1] + box[3], float(height))
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def _mark_on(subject: Any, frame: int) -> Any:
    if (mark := mark_at(subject, frame)) is None:
        mark = subject.marks.add()
        mark.frame = frame
    return mark


def _numbers(values: Any) -> tuple[float, ...]:
    """Without the digits that single precision adds."""
    return tuple(float(f"{value:.7g}") for value in values)
