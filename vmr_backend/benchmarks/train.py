"""What the training of a category model costs a picture, by size and batch: `python -m vmr_backend benchmark train`."""

from __future__ import annotations

import itertools

import torch

from ..arguments import Arguments
from ..bodies.category import CategoryShape, Handles, ellipsoid
from ..devices import device_name, device_of
from ..geometry.cameras import LEVEL_CAMERA, WeakCamera
from ..geometry.sphere import icosphere
from ..rendering import Renderer, get_renderer
from ..training.augmentation import Examples
from ..training.instances import Instances, descend
from ..training.network import BatchLoss, Draws, targets_of
from ..training.settings import TrainingSettings
from ..vmr.encoders import ENCODERS
from ..vmr.model import Architecture, CategoryModel
from ..vmr.model_file import STRENGTH
from ..vmr.objective import INSIDE
from .renderer import memory_used, now

SIZES, BATCHES = (64, 96, 128), (8, 32)
KEYPOINTS = 26
RADII = (0.2, 0.5, 0.3)
"""Object units, of the ellipsoid that stands for a subject."""
ROUNDS = (("mesh fit", None), ("imitation", (False, False, False)), ("refinement", (True, False, False)),
          ("pictures", (True, True, False)), ("texture", (True, True, True)))
"""What is timed: the fit of meshes, and a batch's loss with more and more terms (refinement, pictures, texture)."""


def main(argv: list[str] | None = None) -> int:
    """Times steps of each kind, prints a table, returns the exit status."""
    parser = Arguments(prog="vmr_backend benchmark train", description=__doc__)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=["small"])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="pixels across the pictures")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args(argv)
    device = device_of(arguments.device)
    renderer = get_renderer("warp", device)
    print(f"{device_name(device)}; the least of {arguments.repeats} steps, {torch.get_num_threads()} threads")
    print("encoder    size  batch  step           ms/step  ms/picture  peak MiB")
    for encoder, size, batch in itertools.product(arguments.encoders, arguments.sizes, arguments.batches):
        for name, parts in ROUNDS:
            seconds, peak = _timed(encoder, size, batch, parts, device, renderer, arguments.repeats)
            memory = "" if peak is None else f"{peak / 2**20:9.0f}"
            print(f"{encoder:9s} {size:5d} {batch:6d}  {name:13s} {1000 * seconds:8.1f} {1000 * seconds / batch:11.2f} "
                  f"{memory}", flush=True)
    return 0


def _timed(encoder: str, size: int, batch: int, parts: tuple[bool, bool, bool] | None, device: torch.device,
           renderer: Renderer, repeats: int) -> tuple[float, float | None]:
    """Seconds of one step, the least, and bytes beyond what was in use before."""
    torch.manual_seed(0)
    settings = TrainingSettings()
    sphere = icosphere(3)
    body = ellipsoid(sphere, RADII)
    handles = Handles.spread_over(body, sphere, settings.handles)
    weights = settings.weights()
    affinity = torch.eye(len(body), device=device)[torch.randperm(len(body))[:KEYPOINTS]]
    bases = 1 if parts is None else settings.bases
    shape = CategoryShape(body.repeat(bases, 1, 1).to(device), sphere, handles, STRENGTH).to(device)
    examples = _examples(body, batch, size, device)
    before = memory_used(device.type)
    if parts is None:
        targets = targets_of(examples, torch.rand(batch, INSIDE, device=device))
        instances = Instances.of(examples.camera, shape.weights.shape[1])

        def step() -> None:
            descend(shape, instances, targets, affinity, [torch.arange(batch, device=device)], weights, renderer,
                    False, lambda _: None)
    else:
        architecture = Architecture(encoder, size, settings.hypotheses, settings.refinements)
        model = CategoryModel(shape, architecture).to(device)
        draws = Draws.draw(batch, torch.Generator().manual_seed(0)).to(device)
        loss = BatchLoss(model, affinity, renderer, weights)

        def step() -> None:
            loss(examples, draws, *parts)[0].backward()

    times = []
    for _ in range(repeats + 1):  # the first warms up
        start = now(device.type)
        step()
        times.append(now(device.type) - start)
    after = memory_used(device.type, peak=True)
    return min(times[1:]), None if before is None or after is None else max(0.0, after - before)


def _examples(body: torch.Tensor, batch: int, size: int, device: torch.device) -> Examples:
    """Pictures of noise in which an ellipse stands for the subject."""
    line = torch.linspace(-1, 1, size)
    mask = ((line[None, :] / 0.8) ** 2 + (line[:, None] / 0.5) ** 2 < 1).float()
    camera = WeakCamera(LEVEL_CAMERA.repeat(batch, 1, 1).to(device), torch.full((batch,), 1.6, device=device),
                        torch.zeros(batch, 2, device=device))
    return Examples(torch.rand(batch, 3, size, size, device=device), mask.repeat(batch, 1, 1).to(device),
                    torch.rand(batch, KEYPOINTS, 2, device=device) - 0.5, torch.ones(batch, KEYPOINTS, device=device),
                    body.repeat(batch, 1, 1).to(device), camera, torch.zeros(batch, dtype=torch.int64, device=device))
