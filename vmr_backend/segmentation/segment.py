"""The command segment: masks of a subject in all frames of a clip, from what is marked on some of them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch

from ..arguments import Arguments, number_list
from ..devices import device_of
from ..job import BadInput, EventLog, write_whole
from ..video.clip import Clip, as_rgb, open_clip, read_frames, select
from ..video.masks import box_of, single_mask
from .edges import EdgeNetwork, refined
from .marks import MASKS_NAME, OUTLINES_NAME, REPORT_NAME, Mark, MaskReport, SegmentRequest
from .mask_network import MaskNetwork
from .onnx_network import OnnxNetwork
from .propagation import (
    Progress,
    Segmentation,
    Shots,
    Suspicion,
    check_mark,
    confidence_of,
    shots_of,
    working_scale,
)
from .sam2 import find_by_sam2, load_predictor

Item, Result = TypeVar("Item"), TypeVar("Result")
STAGES = {"reading": 0.4, "finding": 1.0, "writing": 0.15}
"""Shares of the time; flow is found as frames are read."""
SECONDS_TO_WRITE = 2.0
"""By how much later than the report a file may seem to be written that was written before it: clocks of file systems
are coarse."""
SAM2_SIDE = 1024
"""Pixels of the longer side of frames that SAM 2 looks at."""
MOST_THREADS = 4
"""The networks are so small that more would wait for each other."""
UNKNOWN_SIDE = 0.4
"""Of a subject that only points are on, its longer side over the frame's shorter one."""
DOUBTFUL = 0.75
"""Confidence below which a mask is doubted."""
UNLIKE = 0.06
"""Share of a mask that looks unlike the subject in the marked frame above which it is doubted: it leaks, or the subject
shows another side."""
RIVAL = 0.1
"""Area of something beside a mask that moves and looks like the subject, over the mask's, where this is doubted."""
MISTAKEN = 0.3
"""The same, where it is also doubted from there on."""
APART = 0.1
"""Share of a mask that may lie apart from its largest part without a doubt."""
CHANGED = 0.4
"""Share by which a mask's area changes from one frame to the next where it is doubted."""
FILLED = 0.8
"""Share of a box's width or height that the mask found in it has at the least; else it is doubted."""


def run(folder: Path, log: EventLog) -> None:
    """Carry out the request in a folder and leave the masks there. BadInput where something cannot be used."""
    request = SegmentRequest.load(folder)
    _refuse_masks_of_others(folder)
    torch.set_num_threads(min(os.cpu_count() or 1, MOST_THREADS))
    log.plan(STAGES)
    # Masks have the pixels of the file, and so have marks.
    clip = open_clip(request.clip, request.files, request.last, request.shown, pixel_aspect=1.0)
    for line in clip.remarks:
        log.warning(line)
    numbers = select(clip, request.first, request.last)
    if len(numbers) < 2:
        raise BadInput(f"{clip.path}: found a single frame ({numbers[0]}) to work on; needs at least 2")
    places = [check_mark(mark, clip.image_size, numbers) for mark in request.marks]
    painted = {mark.frame: _painted(mark, clip, log) for mark in request.marks if mark.mask}
    network = network_of(request)
    scale = working_scale(_side(request.marks, painted, clip), clip.image_size) if looks_at_cues(network) \
        else min(1.0, SAM2_SIDE / max(clip.image_size))
    shots = shots_of(_told(clip, numbers, log, "reading"), scale, moving=looks_at_cues(network))
    found, suspicion = find(network, shots, request.marks, places, painted,
                            lambda step, steps: log.progress("finding", step, steps))
    report = _report(found, suspicion, numbers, shots, request.marks, places)
    part = folder / f"{MASKS_NAME}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    edges = EdgeNetwork.shipped()
    masks = _in_threads(lambda pair: refined(pair[0], pair[1], edges),
                        zip(found, _told(clip, numbers, log, "writing"), strict=True))
    outlines = {}
    for number, mask in zip(map(int, numbers), masks, strict=True):
        outlines[number] = outlines_of(mask)
        write_whole(part / f"{number:06d}.png", cv2.imencode(".png", mask)[1].tobytes())
    # Masks of an earlier search stay until all are there.
    _make_room(folder)
    part.rename(folder / MASKS_NAME)
    write_whole(folder / OUTLINES_NAME, json.dumps(outlines).encode())
    report.save(folder)
    if report.doubts:
        first, why = min(report.doubts.items())
        log.warning(f"{len(report.doubts)} masks are doubtful; the first is of frame {first}: {why[0]}")


def _refuse_masks_of_others(folder: Path) -> None:
    """BadInput where masks lie in a folder that no search has found."""
    masks = folder / MASKS_NAME
    if masks.exists() and not (folder / REPORT_NAME).is_file() and not (masks.is_dir() and not any(masks.iterdir())):
        raise BadInput(f"{masks}: found masks that no search made here; choose another folder")


def _make_room(folder: Path) -> None:
    """Take the masks of an earlier search away; where some were edited since, all are kept beside."""
    masks = folder / MASKS_NAME
    if not masks.is_dir():
        return
    found = (folder / REPORT_NAME).stat().st_mtime
    if any(path.stat().st_mtime > found + SECONDS_TO_WRITE for path in masks.iterdir()):
        names = (f"{MASKS_NAME} edited{f' {number}' if number > 1 else ''}" for number in count(1))
        masks.rename(next(path for path in map(folder.joinpath, names) if not path.exists()))
    else:
        shutil.rmtree(masks)


def _in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What some work makes of items, in their order; only some items are held at a time."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > torch.get_num_threads():
                yield waiting.popleft().result()
        for last in waiting:
            yield last.result()


def network_of(request: SegmentRequest) -> Any:
    """What finds masks: the network that comes along, an ONNX network or SAM 2's predictor."""
    path = Path(request.network)
    if not request.network:
        return MaskNetwork.shipped()
    return OnnxNetwork(path) if path.suffix.lower() == ".onnx" else load_predictor(path, device_of(request.device))


def looks_at_cues(network: Any) -> bool:
    """Whether a network looks at one frame after the other, unlike SAM 2's predictor, which takes the whole clip."""
    return isinstance(network, (MaskNetwork, OnnxNetwork))


def find(network: Any, shots: Shots, marks: Sequence[Mark], places: Sequence[int], painted: dict[int, np.ndarray],
         report: Progress) -> tuple[np.ndarray, Suspicion]:
    """Probabilities (T, h, w) of the subject in the frames that are worked on, and what speaks against them, where that
    is known; nothing in takes without a mark."""
    if looks_at_cues(network):
        search = Segmentation(shots, network, painted)
        return search.find(marks, places, report), search.suspicion
    found = find_by_sam2(network, shots.pictures, shots.scale, marks, places, painted, report)
    for t in range(len(shots)):
        if all(shots.cut_between(place, t) for place in places):
            found[t] = 0
    return found, Suspicion.none(len(shots))


def _told(clip: Clip, numbers: np.ndarray, log: EventLog, stage: str) -> Iterator[np.ndarray]:
    for step, (_, image) in enumerate(read_frames(clip, numbers), 1):
        yield as_rgb(image)
        log.progress(stage, step, len(numbers))


def _painted(mark: Mark, clip: Clip, log: EventLog) -> np.ndarray:
    """(H, W) 0 or 1."""
    mask, brightest, notes = single_mask(Path(mark.mask), clip.image_size)
    for note in notes:
        log.warning(note)
    if not mask.any():
        raise BadInput(f"{mark.mask}: the mask is empty (brightest value {brightest} of 255); needs white on black")
    return mask.astype(np.float32)


def _side(marks: tuple[Mark, ...], painted: dict[int, np.ndarray], clip: Clip) -> float:
    """The subject's longer side, px."""
    sides = [max(mark.box[2:]) for mark in marks if mark.box]
    for left, top, right, bottom in map(box_of, painted.values()):
        sides.append(max(right - left, bottom - top))
    return max(sides, default=UNKNOWN_SIDE * min(clip.image_size))


def outlines_of(mask: np.ndarray) -> list[list[float]]:
    """The outlines of a mask (H, W) uint8 and of its holes, each x, y, x, y ... in pixels, to about one pixel."""
    loops, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    simple = (cv2.approxPolyDP(loop, max(0.7, max(mask.shape) / 1500), True) for loop in loops)
    return [(loop + 0.5).ravel().tolist() for loop in simple if len(loop) > 2]


def _report(found: np.ndarray, suspicion: Suspicion, numbers: np.ndarray, shots: Shots, marks: Sequence[Mark],
            places: list[int]) -> MaskReport:
    areas = (found > 0.5).sum((1, 2)).astype(float)
    confidence = [confidence_of(one) for one in found]
    doubts: dict[int, list[str]] = {}
    for t, number in enumerate(map(int, numbers)):
        why = []
        if not areas[t]:
            cut = all(shots.cut_between(place, t) for place in places)
            why.append("the clip is cut: mark the subject after it" if cut else "the subject was not found")
        else:
            if confidence[t] < DOUBTFUL:
                why.append("the mask is unsure")
            if suspicion.unlike[t] > UNLIKE:
                why.append("a part of it looks unlike the subject where it was marked")
            if suspicion.rival[t] > RIVAL:
                why.append("something that moves beside it looks like the subject: they may have been mistaken")
            elif (met := met_on_the_way(suspicion.rival, places, t)) is not None:
                why.append(f"in frame {numbers[met]} something was beside it that looks like the subject: it may be "
                           "that")
            if (apart := apart_from_the_largest(found[t])) > APART:
                why.append(f"{apart:.0%} of it lies apart from the rest")
            if t and areas[t - 1] and abs(areas[t] / areas[t - 1] - 1) > CHANGED:
                why.append(f"the mask has {areas[t] / areas[t - 1]:.0%} of the area in the frame before")
        if why and t not in places:
            doubts[number] = why
    for mark, place in zip(marks, places, strict=True):
        # Where there are points too, the user has had a look.
        if mark.box and not (mark.inside or mark.outside) and areas[place]:
            share = filled(found[place], [shots.scale * side for side in mark.box])
            if share < FILLED:
                doubts[mark.frame] = [f"the mask fills {share:.0%} of the box: part of the subject may be missing"]
    return MaskReport({int(n): round(c, 3) for n, c in zip(numbers, confidence, strict=True)}, doubts,
                      tuple(int(numbers[place]) for place in sorted(set(places))))


def met_on_the_way(rival: np.ndarray, places: Sequence[int], place: int) -> int | None:
    """The first frame, from the last mark on to a place behind it, or back from the first one, where a rival (T,) is so
    large that the subject may be mistaken for it from there on."""
    way = range(max(places) + 1, place) if place > max(places) else range(min(places) - 1, place, -1)
    return next((met for met in way if rival[met] > MISTAKEN), None)


def apart_from_the_largest(found: np.ndarray) -> float:
    """Share of a mask found (h, w), not empty, that is not in its largest part."""
    areas = cv2.connectedComponentsWithStats((found > 0.5).astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
    return float(1 - areas.max() / areas.sum())


def filled(found: np.ndarray, box: Sequence[float]) -> float:
    """Extent of a mask found (h, w), not empty, over that of the box that it was found in, as far as this is within the
    frame: the lesser of both axes'. Both in the same pixels: left, top, width, height."""
    low, high = np.array(box_of(found > 0.5)).reshape(2, 2)
    first, size = np.array(box).reshape(2, 2)
    first, last = np.maximum(first, 0), np.minimum(first + size, found.shape[::-1])
    return float(((high - low) / (last - first)).min())


def parser() -> Arguments:
    """Of the command's arguments."""
    found = Arguments(
        prog="python -m vmr_backend segment",
        description="Find the masks of a subject in all frames of a clip from a box around it, or points on it, on one "
                    f"frame or a few. They are written to DIR/{MASKS_NAME}, white on black.")
    found.add_argument("clip", nargs="?", metavar="CLIP", help="a video file or a folder of images")
    found.add_argument("--out", type=Path, metavar="DIR", help="folder for the masks")
    found.add_argument("--box", action="append", default=[], metavar="[FRAME:]X,Y,W,H",
                       help="around the subject, in pixels of the full frame; without FRAME on the first")
    found.add_argument("--inside", action="append", default=[], metavar="[FRAME:]X,Y", help="a point on the subject")
    found.add_argument("--outside", action="append", default=[], metavar="[FRAME:]X,Y", help="a point not on it")
    found.add_argument("--mask", action="append", default=[], metavar="[FRAME:]FILE",
                       help="an image of a frame's whole mask, white on black")
    found.add_argument("--frames", metavar="FIRST:LAST", help="the clip's own frame numbers, both included")
    found.add_argument("--network", default="", metavar="FILE",
                       help="an ONNX network (.onnx) or a checkpoint of SAM 2 (.pt), in place of the project's own")
    found.add_argument("--device", default="auto", help="where SAM 2 computes")
    found.add_argument("--job", type=Path, metavar="DIR", help="run the request that lies in DIR/segment.json")
    found.add_argument("--watch-stdin", action="store_true", help="stop when standard input ends")
    return found


def request_of(arguments: argparse.Namespace, first: int | None, last: int | None) -> SegmentRequest:
    """The request of the command's arguments; BadInput where they say nothing or cannot be read."""
    if not arguments.clip:
        raise BadInput("segment: found no clip, needs CLIP, a video file or a folder of images")
    # Up to the first frame alone: the run itself counts those of a long video.
    start = int(select(open_clip(arguments.clip, last=first or 0, pixel_aspect=1.0), first, last)[0])
    marked: dict[int, dict[str, Any]] = {}
    for option, form in (("box", "X,Y,W,H"), ("inside", "X,Y"), ("outside", "X,Y"), ("mask", "")):
        for text in getattr(arguments, option):
            frame, value = _at_frame(option, text, start)
            mark = marked.setdefault(frame, {"frame": frame, "inside": [], "outside": []})
            said = number_list(f"--{option}", value, form) if form else os.path.abspath(value)
            if option in ("inside", "outside"):
                mark[option].append(said)
            elif option in mark:
                raise BadInput(f"--{option}: found two for frame {frame}, needs one")
            else:
                mark[option] = said
    return SegmentRequest(os.path.abspath(arguments.clip), tuple(Mark.of(one) for one in marked.values()),
                          first=first, last=last,
                          network=arguments.network and os.path.abspath(arguments.network), device=arguments.device
                          ).check()


def _at_frame(option: str, text: str, start: int) -> tuple[int, str]:
    """The frame before a colon, or the first, and what is said of it."""
    frame, colon, value = text.partition(":")
    if not colon or not frame.strip().lstrip("-").isdecimal():
        return start, text
    if not value:
        raise BadInput(f"--{option}: found {text!r}, needs a value after the frame's number")
    return int(frame), value
