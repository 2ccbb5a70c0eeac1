"""Which mask belongs to which frame of a clip, by their numbers or by their order; and which cannot be of the clip."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..job import BadInput
from .clip import Clip
from .movie import pictures_shown

SPARE = 2
"""A movie may have so many frames more or less than its masks: programs differ in where a movie ends."""
LEAST_COMMON = 0.5
"""Share of a clip's range that the range of masks which go beyond it covers at least; else they are of another clip."""


def match_masks(masks: Clip, clip: Clip, selected: np.ndarray) -> tuple[dict[int, int], str]:
    """Which mask belongs to which of the `selected` frames (n,): frame number → mask number; and how, in one line.

    By number, where the numbers can be the clip's. By order, where there are as many masks as frames (of the clip, or
    else of the selected range) and the numbers are shifted as a whole or mostly differ; where masks are numbered from 1
    and a clip from 0; and where the masks are a movie, whose frames have no numbers of their own. Of a movie that shows
    pictures again, or passes some over, there may be a mask for each picture. The line is empty where the numbers are
    the same.
    BadInput where the masks cannot be of the clip.
    """
    frames, numbers = clip.numbers, masks.numbers
    if (by_picture := _by_picture(masks, clip, selected)) is not None:
        return by_picture
    if masks.files is None:
        return _of_movie(masks, clip, selected)
    if np.array_equal(frames, numbers):
        return _pairs(frames, numbers, selected), ""
    if len(frames) == len(numbers) and _renumbered(frames, numbers):
        return _in_order(masks, frames, selected)
    if len(selected) == len(numbers) and _renumbered(selected, numbers) and (
            not np.isin(numbers, selected).any() or selected[0] == 0 and numbers[0] == 1):
        return _in_order(masks, selected, selected)
    beyond = np.setdiff1d(numbers, frames)
    if len(beyond) and frames[0] == 0 and 0 not in numbers and _from_1(numbers, clip):
        shifted = np.intersect1d(numbers - 1, frames)
        first = masks.files[int(np.searchsorted(numbers, shifted[0] + 1))]
        return _pairs(shifted, shifted + 1, selected), (
            f"numbered from 1 beside frames from 0: {first.name} is taken for frame {shifted[0]}, and so on")
    if clip.files is None:
        belong = len(beyond) <= SPARE
    else:
        shared = min(frames[-1], numbers[-1]) - max(frames[0], numbers[0]) + 1
        belong = not len(beyond) or shared >= LEAST_COMMON * (frames[-1] - frames[0] + 1)
    common = np.intersect1d(selected, numbers)
    if not belong or not len(common):
        raise _others(masks, clip, selected)
    return _pairs(common, common, selected), ""


def _by_picture(masks: Clip, clip: Clip, selected: np.ndarray) -> tuple[dict[int, int], str] | None:
    """Where a movie's frames are not its pictures, and there are as many masks as pictures; else None."""
    numbers = masks.numbers
    if clip.movie is None or len(numbers) == clip.movie.count:
        return None
    if numbers[0] not in (0, 1) or (np.diff(numbers) > 1).any():
        return None
    pictures = pictures_shown(clip.movie)
    if pictures is None or len(numbers) != pictures[-1] + 1:
        return None
    note = (f"as many as the movie has pictures, {len(numbers)}, of which {clip.movie.count} frames are shown at a "
            "steady rate: each frame gets the mask of the picture that it shows")
    return _pairs(clip.numbers, numbers[pictures], selected), note


def _of_movie(masks: Clip, clip: Clip, selected: np.ndarray) -> tuple[dict[int, int], str]:
    count = len(masks.numbers)
    for frames in (clip.numbers, selected):
        if count == len(frames):
            return _pairs(frames, masks.numbers, selected), ""
    if abs(count - len(clip.numbers)) > SPARE:
        raise _others(masks, clip, selected)
    return _pairs(clip.numbers, masks.numbers, selected), (
        f"a movie of {count} beside a clip of {len(clip.numbers)} frames: taken in order, from the first")


def _renumbered(frames: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether as many masks as frames are shifted as a whole, or mostly have other numbers."""
    return len(np.unique(numbers - frames)) == 1 or np.isin(frames, numbers).mean() < LEAST_COMMON


def _from_1(numbers: np.ndarray, clip: Clip) -> bool:
    """Whether masks without a number 0, some beyond the last frame, fit a clip from 0 if they count from 1."""
    outside = np.setdiff1d(numbers - 1, clip.numbers)
    if clip.files is None:
        return len(outside) <= (SPARE if numbers[0] == 1 else 0)
    return numbers[0] == 1 and not len(outside)


def _in_order(masks: Clip, frames: np.ndarray, selected: np.ndarray) -> tuple[dict[int, int], str]:
    return _pairs(frames, masks.numbers, selected), (
        f"numbered otherwise than the frames: {masks.files[0].name} is taken for frame {frames[0]}, and so on in order")


def _pairs(frames: Iterable[int], numbers: Iterable[int], selected: np.ndarray) -> dict[int, int]:
    chosen = set(selected.tolist())
    return {int(f): int(n) for f, n in zip(frames, numbers, strict=False) if int(f) in chosen}


def _others(masks: Clip, clip: Clip, selected: np.ndarray) -> BadInput:
    count, frames = len(masks.numbers), clip.numbers
    if masks.files is None:
        return BadInput(f"{masks.path}: found a movie of {count} masks for a clip of {len(frames)} frames; "
                        "needs as many masks as frames")
    return BadInput(
        f"{masks.path}: found {count} masks, {masks.numbers[0]} to {masks.numbers[-1]}, for frames {selected[0]} to "
        f"{selected[-1]} of a clip of {len(frames)}, {frames[0]} to {frames[-1]}; needs masks of this clip, with the "
        "frames' numbers, or as many as frames"
    )
