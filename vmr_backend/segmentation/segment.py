"""A search for masks from request to images: frames worked on small, masks found, their edges refined, a report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..devices import device_of
from ..job import BadInput, EventLog, write_whole
from ..parallel import in_parallel
from ..video.clip import Clip, as_rgb, open_clip, read_frames, select
from ..video.footage import Progress
from ..video.mask_facts import box_of
from ..video.masks import single_mask
from .doubts import report_of
from .edges import EdgeNetwork, refined
from .marks import MASKS_NAME, OUTLINES_NAME, REPORT_NAME, Mark, SegmentRequest
from .mask_network import MaskNetwork
from .onnx_network import OnnxNetwork
from .propagation import Propagation, Suspicion
from .sam2 import find_by_sam2, load_predictor
from .shots import Shots, shots_of, working_scale

STAGES = {"reading": 0.4, "finding": 1.0, "writing": 0.15}
"""Fractions of the time; flow is found as frames are read."""
SECONDS_TO_WRITE = 2.0
"""By how much later than the report a file may seem to be written that was written before it: clocks of file systems
are coarse."""
SAM2_SIDE = 1024
"""Pixels of the longer side of the frames that SAM 2 takes."""
MOST_THREADS = 4
"""The networks are so small that more would wait for each other."""
UNKNOWN_SIDE = 0.4
"""Of a subject that only points are on, its longer side over the frame's shorter one."""


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
    indices = [check_mark(mark, clip.image_size, numbers) for mark in request.marks]
    painted = {mark.frame: _painted(mark, clip, log) for mark in request.marks if mark.mask}
    network = network_of(request)
    scale = working_scale(_side(request.marks, painted, clip), clip.image_size) if takes_cues(network) \
        else min(1.0, SAM2_SIDE / max(clip.image_size))
    shots = shots_of(_read(clip, numbers, log, "reading"), scale, moving=takes_cues(network))
    found, suspicion = find(network, shots, request.marks, indices, painted,
                            lambda step, steps: log.progress("finding", step, steps))
    report = report_of(found, suspicion, numbers, shots, request.marks, indices)
    part = folder / f"{MASKS_NAME}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    edges = EdgeNetwork.shipped()
    frames = zip(found, _read(clip, numbers, log, "writing"), strict=True)
    masks = in_parallel(lambda frame: refined(*frame, edges), frames, torch.get_num_threads())
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


def network_of(request: SegmentRequest) -> Any:
    """What finds masks: the network that comes along, an ONNX network or SAM 2's predictor."""
    path = Path(request.network)
    if not request.network:
        return MaskNetwork.shipped()
    return OnnxNetwork(path) if path.suffix.lower() == ".onnx" else load_predictor(path, device_of(request.device))


def takes_cues(network: Any) -> bool:
    """Whether a network takes one frame after the other, unlike SAM 2's predictor, which takes the whole clip."""
    return isinstance(network, (MaskNetwork, OnnxNetwork))


def find(network: Any, shots: Shots, marks: Sequence[Mark], indices: Sequence[int], painted: dict[int, np.ndarray],
         report: Progress) -> tuple[np.ndarray, Suspicion]:
    """Probabilities (T, h, w) of the subject in the frames that are worked on, and what speaks against them, where that
    is known; nothing in takes without a mark."""
    if takes_cues(network):
        propagation = Propagation(shots, network, painted)
        return propagation.find(marks, indices, report), propagation.suspicion
    found = find_by_sam2(network, shots.pictures, shots.scale, marks, indices, painted, report)
    for t in range(len(shots)):
        if all(shots.cut_between(index, t) for index in indices):
            found[t] = 0
    return found, Suspicion.none(len(shots))


def _read(clip: Clip, numbers: np.ndarray, log: EventLog, stage: str) -> Iterator[np.ndarray]:
    for step, (_, image) in enumerate(read_frames(clip, numbers), 1):
        yield as_rgb(image)
        log.progress(stage, step, len(numbers))


def check_mark(mark: Mark, image_size: tuple[int, int], numbers: np.ndarray) -> int:
    """The index of a mark's frame among the clip's (T,); BadInput where the mark lies outside."""
    width, height = image_size
    if mark.frame not in numbers:
        raise BadInput(f"frame {mark.frame}: found no such frame among those chosen, {numbers[0]} to {numbers[-1]}")
    if mark.box:
        left, top, wide, high = mark.box
        if left >= width or top >= height or left + wide <= 0 or top + high <= 0:
            raise BadInput(f"box {left:g},{top:g},{wide:g},{high:g}: lies outside the frame of {width}x{height} "
                           "pixels; needs left, top, width, height of a box inside")
    for x, y in (*mark.inside, *mark.outside):
        if not (0 <= x < width and 0 <= y < height):
            raise BadInput(f"point {x:g},{y:g}: lies outside the frame of {width}x{height} pixels")
    return int(np.flatnonzero(numbers == mark.frame)[0])


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
