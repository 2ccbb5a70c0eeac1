"""The command `reconstruct`: its arguments, the request that they make, and whether a run begins or goes on."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .arguments import Arguments, frame_range, number_list, refuse_others
from .job import (
    EXIT_BAD_INPUT,
    EXIT_DONE,
    PICTURES,
    RENDERERS,
    REQUEST_NAME,
    WHOLE_NAME,
    BadInput,
    Event,
    EventLog,
    FrameRotation,
    JobRequest,
    facing,
    rotations_of,
    take_place,
)
from .methods import AUTO, METHODS
from .process import carry_out, stop_with_standard_input
from .reconstruction import FILE_NAME
from .run_folder import abandon, begin, locked, stopped
from .settings import DEFAULT_PRESET, PRESETS, Settings, settings_of


def main(argv: list[str]) -> int:
    """Reconstruct as the arguments say, or as the request in a folder does; returns the exit status (job.py)."""
    parser = Arguments(
        prog="python -m vmr_backend reconstruct", description="Make one animated mesh with its camera from a clip.",
        epilog="settings: " + ", ".join(setting.name for setting in Settings.describe()))
    parser.add_argument("clip", nargs="?", metavar="CLIP", help="a video file or a folder of images")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the result")
    parser.add_argument("--masks", metavar="MASKS",
                        help="a folder of images or a video: white on black, labels, colours, cut-outs or alpha; "
                             "default: the clip's alpha channel")
    parser.add_argument("--subject", type=int, metavar="N",
                        help="label of the subject in masks that hold several: palette index, grey value or number of "
                             "a colour, as a run without it lists them")
    parser.add_argument("--box", metavar="X,Y,W,H",
                        help="the subject, among several in the masks, that lies in this box of the full frame, px")
    parser.add_argument("--at", type=int, metavar="FRAME", help="the frame that the box is of; default: the first")
    parser.add_argument("--focal-length", type=float, metavar="PX", help="of the footage's camera, in full-frame px")
    parser.add_argument("--pixel-aspect", metavar="X:Y",
                        help="width to height of the footage's pixels; default: as the video says, images 1:1")
    parser.add_argument("--principal-point", metavar="X,Y", help="px from the top left corner; default: the middle")
    parser.add_argument("--facing", action="append", default=[], metavar="FRAME:DEGREES",
                        help="which way the subject faces in a frame: 0 into the camera, 90 to the right of the "
                             "picture, -90 to its left, 180 away; may be given for several frames")
    parser.add_argument("--camera-solve", type=Path, metavar="FILE",
                        help="JSON list of {\"frame\": N, \"rotation\": [9 numbers]}: object to camera, up to one turn "
                             "of the object for all frames")
    parser.add_argument("--method", choices=METHODS, default="lasr")
    parser.add_argument("--model", metavar="CATEGORY_MODEL",
                        help="category model of the vmr method; with lasr, what camera and shape start from")
    parser.add_argument("--template", metavar="TEMPLATE",
                        help="rigged body of the template method: a file, or one that the command templates lists")
    parser.add_argument("--shape", type=Path, metavar="RESULT",
                        help="folder of a result of the same subject whose rest shape the vmr method starts from")
    parser.add_argument("--preset", choices=PRESETS, default=DEFAULT_PRESET)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting of the preset")
    parser.add_argument("--frames", metavar="FIRST:LAST", help="the clip's own frame numbers, both included")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--renderer", choices=RENDERERS, default=RENDERERS[0],
                        help="what draws the mesh while it is fitted; pytorch3d must be built first, and is for GPUs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run in DIR")
    parser.add_argument("--job", type=Path, metavar="DIR", help="run the request that lies in DIR/job.json")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input ends")
    arguments = parser.parse_args(argv)

    folder = arguments.job or arguments.out
    if folder is None:
        raise BadInput("reconstruct: found no folder for the result, needs --out DIR")
    if arguments.job:
        refuse_others(arguments, parser, "--job", {"job", "resume", "watch_stdin"})
    elif arguments.resume and not arguments.clip:
        refuse_others(arguments, parser, "--resume without CLIP", {"out", "resume", "device", "watch_stdin"})
    folder = folder.resolve()
    request = None
    if not arguments.job and not (arguments.resume and not arguments.clip):
        request = _request_of(arguments)
    elif not folder.is_dir():
        raise BadInput(f"{folder}: found no folder; needs one that holds {REQUEST_NAME}")
    if arguments.watch_stdin:
        stop_with_standard_input()
    with locked(folder):
        return _run(folder, request, arguments.resume, arguments.device)


def _request_of(arguments: argparse.Namespace) -> JobRequest:
    if not arguments.clip:
        raise BadInput("reconstruct: found no clip, needs CLIP, a video file or a folder of images")
    first, last = frame_range(arguments.frames)
    values = {}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--set: found {text!r}, needs NAME=VALUE")
        values[name] = value
    request = JobRequest(
        clip=os.path.abspath(arguments.clip), masks=arguments.masks and os.path.abspath(arguments.masks), first=first,
        last=last, method=arguments.method, preset=arguments.preset, settings=values,
        model=arguments.model and _model_of(arguments.model),
        template=arguments.template and _model_of(arguments.template),
        shape=arguments.shape and os.path.abspath(arguments.shape),
        subject=arguments.subject, box=number_list("--box", arguments.box, "X,Y,W,H"), at=arguments.at,
        focal_length=arguments.focal_length, pixel_aspect=arguments.pixel_aspect and _ratio(arguments.pixel_aspect),
        principal_point=number_list("--principal-point", arguments.principal_point, "X,Y"),
        hints=[_facing(text) for text in arguments.facing] or None,
        camera_solve=arguments.camera_solve and _rotations_in(arguments.camera_solve),
        device=arguments.device, renderer=arguments.renderer, seed=arguments.seed).check()
    settings = settings_of(request.preset, values)
    return replace(request, settings={name: getattr(settings, name) for name in values})


def _run(folder: Path, request: JobRequest | None, resume: bool, device: str) -> int:
    """Run a request, else the one that lies in the folder, or go on with a run that was stopped there.

    folder   a locked one
    request  what is asked for now; None: what the folder holds
    device   where a run goes on; auto: as the request says
    """
    before = stopped(folder) if resume else None
    goes_on = resume and (before is not None or (folder / FILE_NAME).is_file())
    if goes_on:
        asked = _asked_before(before or folder)
        if request is not None:
            _refuse_another_request(request, asked, folder)
        if before is not None:
            device = request.device if request else asked.device if device == "auto" else device
            replace(asked, device=device).save(before)
        elif all((folder / name).is_file() for name in PICTURES):
            return _say_that_it_is_finished(folder)
    else:
        before = begin(folder, request or JobRequest.load(folder))

    def work(log: EventLog) -> None:
        # Imported late: they take seconds, and help and refusals do not need them.
        from .video.clip import open_footage

        open_footage(JobRequest.load(before or folder))
        from .run import draw_pictures, run_job

        log.plan({"pictures": 1.0})  # where a stopped run left only them
        if before is not None:
            run_job(before, log, resume)
            take_place(folder)
            log.folder = folder
            log.write(Event("result", message=str(folder)))
        try:
            draw_pictures(folder, log)
        except Exception as error:
            error.add_note("the result is whole: --resume draws its pictures")
            raise

    status = carry_out(before or folder, work, done=str(folder))
    if status == EXIT_BAD_INPUT and not goes_on and not (before / WHOLE_NAME).is_file():
        abandon(before)
    return status


def _asked_before(folder: Path) -> JobRequest:
    """The request of a run that is there already; BadInput where this version cannot take it up."""
    try:
        return JobRequest.load(folder)
    except BadInput as error:
        raise BadInput(f"{error}; without --resume, and with CLIP, it is done anew") from None


def _say_that_it_is_finished(folder: Path) -> int:
    """Nothing is left to be done, and nothing is touched."""
    for event in (Event("warning", message=f"{folder}: the run is finished; nothing is left to resume. Without "
                                           "--resume it is done anew"),
                  Event("done", fraction=1.0, message=str(folder))):
        print(event.line(), flush=True)
    return EXIT_DONE


def _refuse_another_request(request: JobRequest, before: JobRequest, folder: Path) -> None:
    """BadInput where the folder's run was asked for otherwise: its checkpoint would not fit."""
    asked, known = _what_shapes_a_run(request), _what_shapes_a_run(before)
    chosen = ("method", "template", "model") if request.method == AUTO else ()
    if other := [name for name in asked if asked[name] != known[name] and name not in chosen]:
        names = ", ".join(other[:3]) + " ..." * (len(other) > 3)
        raise BadInput(f"--resume: found a run with another {names} in {folder}; needs what that was started with, "
                       "or no CLIP, or no --resume")


def _what_shapes_a_run(request: JobRequest) -> dict[str, Any]:
    """A request's values without the device, which may change on the way, and with the preset's settings."""
    values = asdict(request) | dict(settings_of(request.preset, request.settings).items())
    return {name: value for name, value in values.items() if name not in ("device", "preset", "settings")}


def _model_of(text: str) -> str:
    """A category's name, or the absolute path of a model file: a run may go on from elsewhere."""
    return os.path.abspath(text) if Path(text).is_file() else text


def _ratio(text: str) -> float:
    sides = text.split(":")
    try:
        width, height = (float(side) for side in sides)
        return width / height
    except (ValueError, ZeroDivisionError):
        raise BadInput(f"--pixel-aspect: found {text!r}, needs X:Y, such as 16:11") from None


def _facing(text: str) -> FrameRotation:
    frame, _, degrees = text.partition(":")
    try:
        (angle,) = number_list("--facing", degrees, "DEGREES")
        if abs(angle) <= 360:
            return facing(int(frame), angle)
    except (ValueError, BadInput):
        pass
    raise BadInput(f"--facing: found {text!r}, needs FRAME:DEGREES, of -360 to 360")


def _rotations_in(path: Path) -> list[FrameRotation]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"--camera-solve: {path} cannot be read as JSON ({error})") from None
    return rotations_of("camera_solve", entries)
