"""How far optical flow is off on a rendered clip whose motion is known: `python -m vmr_backend benchmark flow`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from ..arguments import Arguments
from ..devices import device_of
from ..fitting.guided_flow import ShownSurface
from ..job import BadInput
from ..rendering import get_renderer
from ..settings import FLOWS
from ..video.crops import pixel_centres
from ..video.flow import CropFlow, crop_flow
from ..video.flow_finders import flow_finder
from ..video.footage import Footage, downsample, load_footage
from .fit import SAMPLE

GAPS = (1, 2, 4, 8)
TRUSTED = 0.5
"""Weight above which a fit relies on flow."""
CROP = 256


def main(argv: list[str] | None = None) -> int:
    """Prints a row for each way to find flow and each gap between frames; returns the exit status."""
    parser = Arguments(prog="python -m vmr_backend benchmark flow", description=__doc__)
    parser.add_argument("--clip", type=Path, default=SAMPLE.frames, help="a video file or a folder of images")
    parser.add_argument("--masks", type=Path, default=SAMPLE.masks)
    parser.add_argument("--truth", type=Path, default=SAMPLE.gt,
                        help="npz with vertices (N, V, 3), faces (F, 3), world_to_camera (N, 4, 4) and intrinsics "
                             "(N, 4: fx, fy, cx, cy), one for each frame of the clip")
    parser.add_argument("--flow", nargs="+", choices=tuple(FLOWS), default=["dis"])
    parser.add_argument("--gaps", nargs="+", type=int, default=list(GAPS), metavar="N", help="frames apart")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    if min(arguments.gaps) < 1:
        raise BadInput(f"--gaps: found {min(arguments.gaps)}, needs 1 or more")
    device = device_of(arguments.device)
    finders = {name: flow_finder(name, device) for name in arguments.flow}
    footage = load_footage(arguments.clip, arguments.masks, crop_size=CROP)
    surface = surface_of(arguments.truth, footage)
    print("flow  gap  motion px   error px   median   trusted   error there   s a pair")
    for name, find in finders.items():
        for gap in arguments.gaps:
            begin = time.monotonic()
            found = crop_flow(footage.images, footage.masks, gap, find)
            seconds = (time.monotonic() - begin) / max(len(footage.numbers) - gap, 1)
            print(row(name, errors(found, surface, footage)) + f"{seconds:11.3f}", flush=True)
    return 0


def row(name: str, measured: tuple[int, np.ndarray, np.ndarray, np.ndarray]) -> str:
    gap, error, motion, weight = measured
    if not len(error):
        raise BadInput(f"--gaps: found {gap}, across which nothing stays visible; needs fewer frames apart")
    sure = weight > TRUSTED
    there = error[sure].mean() if sure.any() else np.nan
    return f"{name:5s} {gap:3d} {motion.mean():10.2f} {error.mean():10.2f} {np.median(error):8.2f} " \
           f"{sure.mean():9.0%} {there:13.2f}"


def errors(found: CropFlow, surface: ShownSurface, footage: Footage) \
        -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The gap, and at all pixels (N,) that both frames show: the end-point error and the motion in the full frame, px,
    and the weight of the flow."""
    size = found.forward.shape[1]
    small, centres = downsample(footage, size), pixel_centres(size)
    kept: list[list[np.ndarray]] = [[], [], []]
    for t in range(len(found.forward)):
        target, seen = surface.seen_from(t, t + found.gap)
        seen &= small.masks[t] > 0.5
        half, shift = footage.crop_half[t + found.gap], footage.crop_centre[t + found.gap] - footage.crop_centre[t]
        off = np.linalg.norm(centres + found.forward[t] - target, axis=2) * half
        motion = np.linalg.norm(target * half + shift - centres * footage.crop_half[t], axis=2)
        for values, more in zip(kept, (off, motion, found.forward_weight[t]), strict=True):
            values.append(np.asarray(more[seen], np.float32))
    error, motion, weight = (np.concatenate(values) for values in kept)
    return found.gap, error, motion, weight


def surface_of(path: Path, footage: Footage) -> ShownSurface:
    """What the true mesh shows at each pixel of half the crops' resolution."""
    needed = "needs vertices (N, V, 3), faces (F, 3), world_to_camera (N, 4, 4), intrinsics (N, 4)"
    try:
        with np.load(path, allow_pickle=False) as archive:
            vertices, faces, cameras, intrinsics = (
                archive[name] for name in ("vertices", "faces", "world_to_camera", "intrinsics"))
        numbers = footage.numbers - footage.numbers[0] if footage.fps is None else footage.numbers
        vertices, cameras, (fx, fy, cx, cy) = vertices[numbers], cameras[numbers], intrinsics[numbers].T[:, :, None]
        x, y, depth = np.moveaxis(vertices @ cameras[:, :3, :3].transpose(0, 2, 1) + cameras[:, None, :3, 3], -1, 0)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise BadInput(f"{path}: is no truth for this clip ({error}); {needed}") from None
    pixels = np.stack([fx * x / depth + cx, fy * y / depth + cy], -1)
    positions = (pixels - footage.crop_centre[:, None]) / footage.crop_half[:, None, None]
    scale = np.ptp(vertices, axis=1).max()
    points = torch.from_numpy(np.concatenate([positions, depth[..., None] / scale], -1).astype(np.float32))
    return ShownSurface.of(points, torch.from_numpy(faces.astype(np.int64)), CROP // 2, get_renderer("warp"))
