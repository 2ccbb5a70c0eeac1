"""One job from request to result: footage, fit, texture, measures, report; then its pictures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from .checkpoint import Checkpoint
from .devices import device_name, device_of
from .fitting.fitter import Fitter
from .fitting.stages import Course
from .job import BadInput, EventLog, JobRequest, write_whole
from .methods import AUTO, METHODS, RECOGNITION, FitInputs
from .metrics.colour import colour_errors
from .metrics.coverage import coverage
from .metrics.mask_agreement import evaluate
from .outputs.overlay import write_overlay
from .outputs.preview import COLUMNS, write_preview
from .outputs.report import Lens, StageTime, write_report
from .outputs.trust import judge, measure
from .priors import check_camera, priors_of
from .reconstruction import FILE_NAME, OVERLAY_NAME, PREVIEW_NAME, TEXTURE_NAME, Reconstruction
from .rendering import Renderer, get_renderer
from .settings import Settings, settings_of
from .snapshots import Snapshots
from .templates.rig_file import template_in
from .templates.shelf import find_template, shipped_templates
from .templates.template import Template
from .texture.bake import bake_texture
from .video.clip import as_rgb, open_footage, read_image, select
from .video.flow_finders import flow_finder
from .video.footage import Footage, load_footage
from .video.full_frames import FullFrames
from .video.subjects import Choice
from .vmr.model_file import LoadedModel, find_model, load_model, shipped_models
from .vmr.recognition import UNKNOWN, recognised
from .vmr.rigging import COST, NEAR_ENOUGH, NEARLY, knows, rigged

try:
    import resource
except ImportError:  # Windows has no such module; reports from there lack the memory
    resource = None  # type: ignore[assignment]


def run_job(folder: Path, log: EventLog, resume: bool = False) -> None:
    """Carry out the request in the folder of a run and leave the result there. BadInput where something cannot be used.

    resume  from the checkpoint that lies there
    """
    if resume and (folder / FILE_NAME).is_file():  # it is written last: killed just then
        Checkpoint.remove(folder)
        Snapshots(folder).remove()
        return
    request = JobRequest.load(folder)
    settings = settings_of(request.preset, request.settings)
    device = device_of(request.device)
    if device.type == "cpu":
        # The renderer keeps every core busy by itself; more threads than this only wait for one another.
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    renderer = get_renderer(request.renderer, device)
    like = Reconstruction.load(Path(request.shape)) if request.shape else None
    template, category = _bodies_of(request, device)
    snapshots = Snapshots(folder)
    stages: list[StageTime] = []

    with _timed(stages, "footage", device):
        clip = open_footage(request)
        chosen = select(clip, request.first, request.last)
        log.plan(_costs(request.method, settings, len(chosen), category))
        # Frames are read, and fitted, in square pixels; what is said and saved is in those of the file.
        priors = priors_of(request, clip.scale)
        check_camera(priors, clip.image_size)
        footage = load_footage(clip, request.masks, first=request.first, last=request.last,
                               crop_size=settings.crop_size, choice=Choice.of(request, clip.scale),
                               flow=flow_finder(settings.flow, device),
                               progress=lambda step, steps: log.progress("footage", step, steps))
    warnings = [*clip.remarks, *footage.notes]
    if request.method == AUTO:
        with _timed(stages, "recognition", device):
            request, choice = chosen_by_sight(request, footage, device, renderer,
                                              lambda step, steps: log.progress("recognition", step, steps))
            request.save(folder)  # where the run goes on, it goes on with this
            template, category = _bodies_of(request, device)
        warnings.append(choice)
        log.plan({"recognition": RECOGNITION} | _costs(request.method, settings, len(chosen), category))
    warnings += [f"{len(footage.left_out)} frames were left out; the first is frame {number}: {reason}"
                 for number, reason in footage.left_out[:1]]
    for line in warnings:
        log.warning(line)

    def offer(make: Callable[[], Reconstruction]) -> None:
        snapshots.offer(lambda: make().resized(*clip.file_size))

    with _timed(stages, "fit", device):
        fitter = Fitter(footage, settings, renderer, device)
        course = Course(request.seed, log.progress, offer, folder, resume)
        start = METHODS[request.method].start
        assert start is not None
        found = start(FitInputs(fitter, course, priors, category, like, template))
    fit_memory = stages.pop().peak_memory_mib
    stages += [StageTime(name, seconds, fit_memory) for name, seconds in found.seconds.items()]

    result = found.reconstruction
    if (file := _bones_for(request.method, category)) is not None and knows(kind := Template.load(file), result):
        with _timed(stages, "bones", device):
            result, off = rigged(result, kind, lambda step, steps: log.progress("bones", step, steps))
        if off > NEAR_ENOUGH:
            warnings.append(NEARLY.format(100 * off))
            log.warning(warnings[-1])
    frames = footage.full
    with _timed(stages, "texture", device):
        baked = bake_texture(result, frames.frame, frames.mask, settings.texture_size,
                             progress=lambda step, steps: log.progress("texture", step, steps))
    log.progress("measures", 0, 1)
    with _timed(stages, "measures", device):
        scores = evaluate(result, frames.masks())
        errors = colour_errors(result, baked.image, frames.frame, frames.mask)
        result = replace(result, coverage=coverage(result))
        trust = judge(measure(result, footage, scores, errors, found.hypotheses))
    log.progress("measures", 1, 1)

    if trust.verdict.trust != "good":
        warnings.append(trust.verdict.sentence)
        log.warning(warnings[-1])
    result = result.resized(*clip.file_size)
    write_whole(folder / TEXTURE_NAME, cv2.imencode(".png", baked.image[..., ::-1])[1].tobytes())
    write_report(folder, request=request, settings=settings, device=device_name(device), stages=stages, scores=scores,
                 colour_error=errors, coverage=baked.seen, trust=trust,
                 lens=Lens.of(result, request, settings), left_out=footage.left_out,
                 hypotheses=found.hypotheses, warnings=warnings)
    result.save(folder)
    Checkpoint.remove(folder)
    snapshots.remove()


def draw_pictures(folder: Path, log: EventLog) -> None:
    """Draw the pictures of the result that a folder holds: overlay and contact sheet, which nothing else waits for.

    BadInput where the footage is not that of the result any more, or a picture cannot be written.
    """
    request, result = JobRequest.load(folder), Reconstruction.load(folder)
    clip = open_footage(request)
    if clip.file_size != tuple(result.image_size) or not np.isin(result.frames, clip.numbers).all():
        raise BadInput(f"{request.clip}: found other frames than the result is of; needs those to draw it over them")
    result, frames = result.resized(*clip.image_size), FullFrames(clip, result.frames, ())
    texture = as_rgb(read_image(folder / TEXTURE_NAME))
    total = len(result.frames) + COLUMNS  # the sheet takes about as long as so many frames of the movie
    write_overlay(result, texture, frames.frame, folder / OVERLAY_NAME, clip.fps or 24.0,
                  progress=lambda step, _: log.progress("pictures", step, total))
    write_preview(result, texture, frames.frame, folder / PREVIEW_NAME, Path(request.clip).name)
    log.progress("pictures", total, total)


def chosen_by_sight(request: JobRequest, footage: Footage, device: torch.device, renderer: Renderer,
                    progress: Callable[[int, int], None]) -> tuple[JobRequest, str]:
    """The request with the method that suits what the footage shows, and which that is and why, in a line."""
    found = recognised(footage, device, renderer, progress)
    figures = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    category = next(iter(found), "")
    if not found or found[category] >= UNKNOWN:
        return replace(request, method="lasr"), (
            "Auto took the method lasr, from the clip alone: no category model that comes along recognises the subject "
            f"(disbelief: {figures}; needs less than {UNKNOWN})")
    why = f"the category model of that name recognises the subject (disbelief: {figures})"
    if category in shipped_templates():
        return replace(request, method="template", template=category), f"Auto took the template {category}: {why}"
    return replace(request, method="vmr", model=category), f"Auto took the category model {category}: {why}"


def _bodies_of(request: JobRequest, device: torch.device) -> tuple[Template | None, LoadedModel | None]:
    """Template and category model that a fit starts from."""
    template = template_in(find_template(request.template)) if request.template else None
    return template, category_of(request, template, device)


def category_of(request: JobRequest, template: Template | None, device: torch.device) -> LoadedModel | None:
    """The category model that is asked for, or that knows the template's landmarks and comes along."""
    if request.model:
        return load_model(find_model(request.model), device)
    if template is None or template.card.category not in shipped_models():
        return None
    found = load_model(find_model(template.card.category), device)
    known = set() if found.affinity is None else set(found.card.category.keypoints)
    return found if known.intersection(template.card.landmark_names) else None


def _bones_for(method: str, category: LoadedModel | None) -> Path | None:
    """The file of the template whose bones a result gets, of the category that the method fits; None for none."""
    if category is None or not METHODS[method].needs_model:
        return None
    return shipped_templates().get(category.card.category.name)


def _costs(method: str, settings: Settings, frames: int, category: LoadedModel | None) -> dict[str, float]:
    """About how long each stage takes, in milliseconds on two cores, for the forecast of the time left."""
    of_fit = METHODS[method].costs(settings, frames, category is not None)
    if _bones_for(method, category) is not None:
        of_fit["bones"] = COST[0] + COST[1] * frames
    return {"footage": 70.0 * frames, **of_fit, "texture": 130.0 * frames, "measures": 120.0 * frames,
            "pictures": 130.0 * frames}


@contextmanager
def _timed(stages: list[StageTime], name: str, device: torch.device) -> Iterator[None]:
    begin = time.monotonic()
    yield
    stages.append(StageTime(name, time.monotonic() - begin, _peak_memory_mib(device)))


def _peak_memory_mib(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
