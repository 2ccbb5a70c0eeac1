"""The training of a category model from an object: its folder, and the two commands of the backend that it takes.

    training.json     what was asked for (`ObjectTrainingRequest`)
    subject.blend     the file as it was
    pictures/         what render-dataset makes of it
    model/            what train makes of those
    log.txt           standard error of both
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..vmr_backend.job import EXIT_DONE, BadInput, Event, write_whole
from .models import file_name
from .process import LOG_NAME, WORKER, Child

REQUEST_NAME, BLEND_NAME = "training.json", "subject.blend"
PICTURES_NAME, MODEL_FOLDER, MODEL_NAME = "pictures", "model", "model.safetensors"
RENDERING_SHARE = 0.2
"""Of the whole, for the progress bar: some tenths of a second a picture, against thousands of steps."""


@dataclass(frozen=True)
class ObjectTrainingRequest:
    """One training as asked for."""

    object: str
    category: str
    images: int
    size: int
    training: str
    """weak, from masks and keypoints; self, from masks alone."""
    steps: int
    seed: int
    keypoints: str = ""
    """Names with commas between; empty lets render-dataset choose."""
    state: str = ""
    """Digest of the object: another shape or motion is another training."""


def prepare_training(root: Path, request: ObjectTrainingRequest, save_copy: Callable[[Path], None],
                     start_over: bool = False) -> tuple[Path, bool]:
    """The request's folder with a copy of the .blend in it, and whether a training that was stopped there goes on.

    save_copy  writes the file to a path
    """
    folder = root / folder_name(request)
    resume = can_resume_training(folder) and not start_over
    if resume:
        return folder, True
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        save_copy(folder / BLEND_NAME)
        # Written last: a folder that has it is ready.
        write_whole(folder / REQUEST_NAME, json.dumps(asdict(request), indent=1).encode())
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None
    return folder, False


def folder_name(request: ObjectTrainingRequest) -> str:
    digest = hashlib.sha256(json.dumps(asdict(request), sort_keys=True).encode()).hexdigest()[:10]
    return f"train-{file_name(request.category)}-{digest}"


def can_resume_training(folder: Path) -> bool:
    return (folder / REQUEST_NAME).is_file() and (folder / BLEND_NAME).is_file() and \
        not (folder / MODEL_FOLDER / MODEL_NAME).is_file()


class Training:
    """Renders the pictures, then trains, as two child processes; has the ways of one (`Child`)."""

    def __init__(self, folder: Path, request: ObjectTrainingRequest, python: Path, blender: str, device: str,
                 worker: Path = WORKER):
        self.folder = folder
        pictures, model = folder / PICTURES_NAME, folder / MODEL_FOLDER
        render = ["render-dataset", str(folder / BLEND_NAME), f"--object={request.object}", "--out", str(pictures),
                  f"--category={request.category}", "--images", str(request.images), "--size", str(request.size),
                  "--seed", str(request.seed), f"--keypoints={request.keypoints}", "--blender", blender]
        train = ["train", str(pictures), "--out", str(model), "--training", request.training,
                 "--steps", str(request.steps), "--device", device, "--seed", str(request.seed)]
        train += ["--resume"] * any(model.glob("checkpoint.*"))
        begin = [str(python), "-I", "-u", str(worker)]
        self._children = [Child([*begin, *command, "--watch-stdin"], folder / LOG_NAME) for command in (render, train)]
        self._place = 0
        self.cancelled = False
        self._refusal = ""

    @property
    def model(self) -> Path:
        """What a finished training leaves."""
        return self.folder / MODEL_FOLDER / MODEL_NAME

    def start(self) -> None:
        self._current.start()

    def poll(self) -> list[Event]:
        """The events since the last call, with the progress of the whole; starts what comes next."""
        ended = not self._current.running
        events = [self._of_the_whole(event) for event in self._current.poll()]
        if ended and self._goes_on:
            self._place += 1
            try:
                self._current.start()
            except BadInput as error:
                self._refusal = str(error)
        return events

    @property
    def running(self) -> bool:
        return self._current.running or self._goes_on

    def cancel(self) -> None:
        """End what runs, and begin nothing more; does nothing where all has ended."""
        self.cancelled = self.cancelled or self.running
        self._current.cancel()

    @property
    def error(self) -> str:
        return "" if self.cancelled else self._refusal or self._current.error

    @property
    def _current(self) -> Child:
        return self._children[self._place]

    @property
    def _has_next(self) -> bool:
        return self._place + 1 < len(self._children)

    @property
    def _goes_on(self) -> bool:
        return self._has_next and self._current.returncode == EXIT_DONE and not self.cancelled

    def _of_the_whole(self, event: Event) -> Event:
        if self._has_next:
            # How long the training takes after the rendering is not known yet.
            return replace(event, fraction=RENDERING_SHARE * event.fraction, seconds_left=None)
        return replace(event, fraction=RENDERING_SHARE + (1 - RENDERING_SHARE) * event.fraction)
