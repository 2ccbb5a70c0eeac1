"""The command `train`: its arguments, its request, its folder, and the processes that share the work."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import Arguments
from ..job import EVENTS_NAME, RENDERERS, BadInput, EventLog, write_request
from ..process import carry_out, stop_with_standard_input
from ..run_folder import locked
from ..settings import RENAMED, TRAININGS
from .settings import TrainingSettings

if TYPE_CHECKING:
    import torch

MODEL_NAME, REQUEST_NAME = "model.safetensors", "request.json"


@dataclass(frozen=True)
class TrainingRequest:
    """One training as asked for."""

    collection: str
    """Path of the image collection."""
    category: str | None = None
    """Which of the collection's; None where it has one."""
    training: str = "weak"
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    imagenet: str | None = None
    """Torchvision's ResNet-18 weights, a file: textures are compared by its features, and the encoder resnet18 starts
    with them."""
    renderer: str = RENDERERS[0]


def main(argv: list[str]) -> int:
    """Train as the arguments say; returns the exit status (job.py)."""
    arguments = parser().parse_args(argv)
    # Of the processes that torchrun starts, the first holds the folder and reports what happens.
    with locked(arguments.out) if is_first() else contextlib.nullcontext():
        request = prepare(arguments)
        if arguments.watch_stdin:
            stop_with_standard_input()
        if not arguments.resume:
            (arguments.out / EVENTS_NAME).unlink(missing_ok=True)
        with contextlib.nullcontext(sys.stdout) if is_first() else open(os.devnull, "w", encoding="utf-8") as stream:
            return carry_out(arguments.out, lambda log: run(arguments, request, log), stream)


def parser() -> Arguments:
    """Of the command's arguments."""
    names = "\n".join(f"  {s.name}  {s.description} (default {s.default})" for s in TrainingSettings.describe())
    found = Arguments(
        prog="vmr_backend train", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a category model on an image collection: COCO, CUB-200-2011, or folders of images and "
        f"masks. The result is DIR/{MODEL_NAME}.", epilog=f"settings for --set:\n{names}")
    found.add_argument("collection", nargs="?", metavar="COLLECTION", help="its folder, or COCO's annotation file")
    found.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the model and its checkpoint go")
    found.add_argument("--category", help="which of the collection's categories")
    found.add_argument("--training", choices=TRAININGS, default=TrainingRequest.training,
                       help="; ".join(f"{name}: {text[0].lower() + text[1:]}" for name, text in TRAININGS.items()))
    found.add_argument("--steps", type=int, help="updates of the network; the same as --set steps=N")
    found.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one setting")
    found.add_argument("--imagenet", metavar="FILE",
                       help="torchvision's ResNet-18 weights: textures are compared by its features, and the encoder "
                            "resnet18 starts with them")
    found.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    found.add_argument("--renderer", choices=RENDERERS, default=RENDERERS[0], help="as of the command reconstruct")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--resume", action="store_true",
                       help="go on with an interrupted training in DIR, or with more --steps with a finished one")
    found.add_argument("--watch-stdin", action="store_true", help="stop when standard input ends")
    return found


def request_of(arguments: argparse.Namespace) -> TrainingRequest:
    """The request of a command's arguments; BadInput where it contradicts itself."""
    if not arguments.collection:
        raise BadInput("train: found no collection, needs COLLECTION, a folder of images with masks or annotations")
    values: dict[str, object] = {} if arguments.steps is None else {"steps": arguments.steps}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--set: found {text!r}, needs NAME=VALUE")
        values[RENAMED.get(name, name)] = value
    settings = _checked(values)
    return TrainingRequest(
        os.path.abspath(arguments.collection), arguments.category, arguments.training,
        {name: getattr(settings, name) for name in values}, arguments.device, arguments.seed,
        arguments.imagenet and os.path.abspath(arguments.imagenet), arguments.renderer)


def prepare(arguments: argparse.Namespace) -> TrainingRequest:
    """The request, written into its folder; with --resume the one that lies there, or the same with other steps.
    BadInput where more differs."""
    path = arguments.out / REQUEST_NAME
    before = _written(path) if arguments.resume else None
    request = before if before and not arguments.collection else request_of(arguments)
    if before:
        if other := [name for name, value in asdict(_of_steps(request, None)).items()
                     if name != "device" and value != getattr(_of_steps(before, None), name)]:
            raise BadInput(f"--resume: found a training with another {', '.join(other)} in {arguments.out}; needs what "
                           "that was started with but for --steps, or no COLLECTION, or no --resume")
        asked = (arguments.steps, request.settings.get("steps"), before.settings.get("steps"))
        request = _of_steps(request, next((steps for steps in asked if steps is not None), None))
    _checked(request.settings)
    write_request(path, asdict(request))
    return request


def _checked(values: Mapping[str, object]) -> TrainingSettings:
    try:
        return TrainingSettings().with_values(values)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _of_steps(request: TrainingRequest, steps: int | None) -> TrainingRequest:
    """The same with other steps; None for the usual ones."""
    rest = {name: value for name, value in request.settings.items() if name != "steps"}
    return replace(request, settings=rest if steps is None else rest | {"steps": steps})


def _written(path: Path) -> TrainingRequest | None:
    if not path.exists():
        return None
    try:
        request = TrainingRequest(**json.loads(path.read_text(encoding="utf-8")))
        return replace(request, settings={RENAMED.get(k, k): value for k, value in request.settings.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: is no request of a training ({error}); run again without resuming") from None


def run(arguments: argparse.Namespace, request: TrainingRequest, log: EventLog) -> None:
    """Train, in as many processes as torchrun started."""
    import torch

    from .train import train

    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    with processes(request.device) as device:
        train(request, arguments.out, log, arguments.resume, device)


@contextlib.contextmanager
def processes(name: str) -> Iterator[torch.device]:
    """This process's device; while it lasts the processes of torchrun are connected."""
    import torch
    import torch.distributed

    from ..devices import device_of

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield device_of(name)
        return
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "auto" and torch.cuda.is_available() else name
    device = device_of(own)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # for what processes send each other of what they have read
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        torch.distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the one that reports."""
    return os.environ.get("RANK", "0") == "0"
