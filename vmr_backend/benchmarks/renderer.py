"""Times and memory of every renderer and device present: `python -m vmr_backend benchmark renderer`."""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..arguments import Arguments
from ..geometry.sphere import icosphere
from ..job import RENDERERS
from ..rendering import get_renderer

SIGMA = 1e-4
"""Softness as LASR draws silhouettes in its published scripts."""

FULL = {"levels": [3, 4, 5], "sizes": [64, 128, 256, 512], "batches": [1, 8, 32]}
QUICK = {"levels": [3, 4], "sizes": [64, 128], "batches": [1, 8]}

METHODS = ("silhouette", "visibility")


@dataclass(frozen=True)
class Case:
    """A batch of images, size x size pixels each, of an icosphere that fills most of them."""

    level: int
    size: int
    batch: int

    def is_larger_than(self, other: Case) -> bool:
        return self.level >= other.level and self.size >= other.size and self.batch >= other.batch


@dataclass(frozen=True)
class Measurement:
    forward: float
    """Seconds, the least of all runs."""
    backward: float
    """Seconds, likewise; 0 where there are no gradients."""
    peak: float | None
    """Bytes beyond what was in use before; None where the system does not tell."""

    @property
    def total(self) -> float:
        return self.forward + self.backward


def main(argv: list[str] | None = None) -> int:
    """Measures the cases asked for, prints a table, returns the exit status."""
    args = _parser().parse_args(argv)
    extent = QUICK if args.quick else FULL
    ranges = [getattr(args, name) or extent[name] for name in ("levels", "sizes", "batches")]
    cases = [Case(*case) for case in itertools.product(*ranges)]
    print(_machine())
    print(f"{args.method}, sigma {SIGMA:g}; the least of {args.repeats} runs; ratio to the first renderer and device")
    print("renderer   device  level   faces  size  batch  forward ms  backward ms  ms/image  peak MiB   ratio")
    baseline: dict[Case, Measurement] = {}
    for renderer, device in itertools.product(args.renderers, args.devices):
        slow: list[Case] = []
        for case in cases:
            if any(case.is_larger_than(other) for other in slow):
                print(_row(renderer, device, case, None, None), flush=True)
                continue
            measured = measure(renderer, device, case, args.method, args.repeats)
            if measured.total > args.limit:
                slow.append(case)
            print(_row(renderer, device, case, measured, baseline.setdefault(case, measured)), flush=True)
    return 0


def measure(renderer: str, device: str, case: Case, method: str, repeats: int) -> Measurement:
    """Draws the case a few times, forward and backward."""
    draw, points = _scene(renderer, device, case, method)
    before = memory_used(device)
    runs = []
    for _ in range(repeats + 1):  # the first warms up
        start = now(device)
        output = draw()
        drawn = now(device)
        if output.requires_grad:
            loss = output.square().mean()
            begun = now(device)
            torch.autograd.grad(loss, points)
            runs.append((drawn - start, now(device) - begun))
        else:
            runs.append((drawn - start, 0.0))
        if sum(runs[-1]) > 10.0:  # once is enough to know that it takes long
            break
    after = memory_used(device, peak=True)
    peak = None if before is None or after is None else max(after - before, 0.0)
    forward, backward = (min(times) for times in zip(*(runs[1:] or runs), strict=True))
    return Measurement(forward, backward, peak)


def _scene(name: str, device: str, case: Case, method: str) -> tuple[Callable[[], Tensor], Tensor]:
    """A function that draws the case, and the points to differentiate by."""
    random = torch.Generator().manual_seed(0)
    sphere = icosphere(case.level)
    rest, faces = torch.tensor(sphere.vertices, dtype=torch.float32), torch.tensor(sphere.faces)
    turns = torch.linalg.qr(torch.randn(case.batch, 3, 3, generator=random))[0]
    bumps = 1.0 + 0.02 * torch.randn(case.batch, len(rest), 1, generator=random)
    points = 0.8 * bumps * (rest @ turns)
    points = (points + points.new_tensor([0.0, 0.0, 5.0])).to(device).requires_grad_()
    faces, renderer = faces.to(device), get_renderer(name, device)

    def draw() -> Tensor:
        if method == "silhouette":
            return renderer.silhouette(points, faces, case.size, SIGMA)
        return renderer.visibility(points, faces, case.size).depth

    return draw, points


def now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def memory_used(device: str, peak: bool = False) -> float | None:
    """Bytes in use now, or the most since this was last asked without peak."""
    if device.startswith("cuda"):
        if peak:
            return torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    status, peaks = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not peaks.exists():  # Linux alone tells
        return None
    if not peak:
        _give_back_freed_memory()
        peaks.write_text("5")  # the peak starts anew (man 5 proc)
    line = "VmHWM:" if peak else "VmRSS:"
    return next(1024.0 * int(row.split()[1]) for row in status.read_text().splitlines() if row.startswith(line))


def _give_back_freed_memory() -> None:
    """What earlier cases freed must not hide what the next one takes."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # glibc alone has it
        library.malloc_trim(0)


def _row(renderer: str, device: str, case: Case, measured: Measurement | None, baseline: Measurement | None) -> str:
    faces = 20 * 4**case.level
    head = f"{renderer:<10} {device:<6} {case.level:>6} {faces:>7} {case.size:>5} {case.batch:>6}"
    if measured is None or baseline is None:
        return f"{head}  left out: a smaller case took longer than --limit"
    peak = "-" if measured.peak is None else f"{measured.peak / 2**20:.0f}"
    forward, backward, each = (1e3 * t for t in (measured.forward, measured.backward, measured.total / case.batch))
    ratio = measured.total / baseline.total
    return f"{head}  {forward:>10.1f} {backward:>12.1f} {each:>9.2f} {peak:>9} {ratio:>7.1f}"


def _machine() -> str:
    lines = [f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}"]
    lines += [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return "\n".join(lines)


def _parser() -> Arguments:
    parser = Arguments(
        prog="vmr_backend benchmark renderer",
        description="Times, peak memory and ratios of the renderers present, for icospheres that fill the image.",
    )
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    installed = ["warp", *(["pytorch3d"] if importlib.util.find_spec("pytorch3d") else [])]
    parser.add_argument("--renderer", dest="renderers", choices=(*RENDERERS, "reference"), nargs="+", default=installed)
    parser.add_argument("--device", dest="devices", nargs="+", default=devices, help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--method", choices=METHODS, default="silhouette")
    for name, meaning in (("levels", "subdivisions of the icosahedron"), ("sizes", "pixels"), ("batches", "images")):
        standard = " ".join(map(str, FULL[name]))
        parser.add_argument(f"--{name}", type=int, nargs="+", help=f"{meaning} (default: {standard})")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds after which larger cases are left out")
    parser.add_argument("--quick", action="store_true", help="small cases only")
    return parser
