"""The command `segment`: its arguments, and the request that they make."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..arguments import Arguments, frame_range, number_list, refuse_others
from ..job import EVENTS_NAME, BadInput, EventLog
from ..process import carry_out, stop_with_standard_input
from ..run_folder import locked
from .marks import MASKS_NAME, REQUEST_NAME, Mark, SegmentRequest


def main(argv: list[str]) -> int:
    """Find masks as the arguments say, or as the request in a folder does; returns the exit status (job.py)."""
    known = parser()
    arguments = known.parse_args(argv)
    if arguments.job:
        refuse_others(arguments, known, "--job", {"job", "watch_stdin"})
    folder = arguments.job or arguments.out
    if folder is None:
        raise BadInput("segment: found no folder for the masks, needs --out DIR")
    request = None
    if not arguments.job:
        request = request_of(arguments, *frame_range(arguments.frames))
    elif not folder.is_dir():
        raise BadInput(f"{folder}: found no folder; needs one that holds {REQUEST_NAME}")
    if arguments.watch_stdin:
        stop_with_standard_input()

    def work(log: EventLog) -> None:
        from .segment import run

        run(folder, log)

    with locked(folder):
        if request is not None:
            request.save(folder)
        (folder / EVENTS_NAME).unlink(missing_ok=True)
        return carry_out(folder, work)


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
    from ..video.clip import open_clip, select

    if not arguments.clip:
        raise BadInput("segment: found no clip, needs CLIP, a video file or a folder of images")
    # Up to the first frame alone: the run itself counts those of a long video.
    start = int(select(open_clip(arguments.clip, last=first or 0, pixel_aspect=1.0), first, last)[0])
    marked: dict[int, dict[str, Any]] = {}
    for option, form in (("box", "X,Y,W,H"), ("inside", "X,Y"), ("outside", "X,Y"), ("mask", "")):
        for text in getattr(arguments, option):
            frame, value = _at_frame(option, text, start)
            mark = marked.setdefault(frame, {"frame": frame, "inside": [], "outside": []})
            given = number_list(f"--{option}", value, form) if form else os.path.abspath(value)
            if option in ("inside", "outside"):
                mark[option].append(given)
            elif option in mark:
                raise BadInput(f"--{option}: found two for frame {frame}, needs one")
            else:
                mark[option] = given
    return SegmentRequest(os.path.abspath(arguments.clip), tuple(Mark.of(one) for one in marked.values()),
                          first=first, last=last,
                          network=arguments.network and os.path.abspath(arguments.network), device=arguments.device
                          ).check()


def _at_frame(option: str, text: str, start: int) -> tuple[int, str]:
    """The frame before a colon, or the first, and what is given for it."""
    frame, colon, value = text.partition(":")
    if not colon or not frame.strip().lstrip("-").isdecimal():
        return start, text
    if not value:
        raise BadInput(f"--{option}: found {text!r}, needs a value after the frame's number")
    return int(frame), value
