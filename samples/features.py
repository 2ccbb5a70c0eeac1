"""Trains the features by which labels are propagated (segmentation/features.py): `python -m samples.features IMAGES`.

Without labels: two augmented views of an image are rotated, scaled, bent and lit differently, and the features of
corresponding pixels are matched by a contrastive loss (InfoNCE: van den Oord et al. 2018).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vmr_backend.job import EXIT_BAD_INPUT, BadInput
from vmr_backend.segmentation.features import FILE, STRIDE, Features
from vmr_backend.segmentation.network_file import save
from vmr_backend.video.clip import IMAGE_SUFFIXES

IMAGE, VIEW = 144, 112
"""Pixels across the images, and across the views of them."""
BATCH, SAMPLES = 12, 192
RATE, LAST_RATE, WARM_UP = 1e-3, 0.05, 100
"""Learning rate: the highest, the fraction of it at the end, and the steps of the warm-up."""
TEMPERATURE = 0.07
TURN, ZOOM, STRETCH, SHIFT, BEND = 0.5, 0.35, 0.2, 0.25, 0.06
"""Most by which a view is rotated (radians), scaled and stretched (logarithms) and shifted, and how far it is bent, in
halves of the image's side."""
CONTRAST, LEVEL, TINT, SLOPE, NOISE, BLURRED = 0.4, 0.3, 0.1, 0.25, 0.02, 0.3
"""Most by which contrast, level and channels change, and light does across the view; noise; how many are blurred."""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.features", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="IMAGES", help="folders, searched recursively")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    try:
        if chosen.steps < 1:
            raise BadInput(f"--steps: found {chosen.steps}, needs 1 or more")
        network = train(read(chosen.folders), chosen.steps, chosen.seed)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    save(network, chosen.out)
    return 0


def read(folders: list[Path]) -> Tensor:
    """Centre crops of all images (N, 3, IMAGE, IMAGE) uint8."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*")
                       if path.suffix.lower() in IMAGE_SUFFIXES):
        if (image := cv2.imread(str(path))) is None:
            raise BadInput(f"{path}: found no picture, needs images alone")
        scale = IMAGE / min(image.shape[:2])
        size = [max(IMAGE, round(side * scale)) for side in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        top, left = ((side - IMAGE) // 2 for side in image.shape[:2])
        found.append(image[top:top + IMAGE, left:left + IMAGE, ::-1])
    if not found:
        raise BadInput(f"{', '.join(map(str, folders))}: found no pictures, needs some")
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def train(pictures: Tensor, steps: int, seed: int) -> Features:
    """The network after so many steps."""
    torch.manual_seed(seed)
    network = Features()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    for step in range(steps):
        fall = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.param_groups[0]["lr"] = RATE * fall * min(1, (step + 1) / WARM_UP)
        few = pictures[torch.randint(len(pictures), (BATCH,))].float() / 255
        loss, found = info_nce(network, few if torch.rand(()) < 0.5 else few.flip(-1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss:.3f}, found {found:.3f}", flush=True)
    return network.eval()


def info_nce(network: Features, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The contrastive loss between two views of images, and the fraction of pixels that are matched correctly."""
    count = len(pictures)
    warps = warp(count), warp(count)
    views = [relit(functional.grid_sample(pictures, way, align_corners=False, padding_mode="reflection"))
             for way in warps]
    here, there, shown = correspondences(*warps)
    first, second = network(torch.cat(views)).chunk(2)
    first, second = (functional.normalize(
        functional.grid_sample(maps, at[:, None], align_corners=False)[:, :, 0], dim=1)
        for maps, at in ((first, here), (second, there)))
    alike = torch.einsum("bcp,bcq->bpq", first, second) / TEMPERATURE
    # Neighbouring pixels have similar features, and are no negatives.
    beside = torch.cdist(there, there) < 1.5 * 2 * STRIDE / VIEW
    wrong = beside & ~torch.eye(SAMPLES, dtype=torch.bool) | ~shown[:, None]
    alike, true = alike.masked_fill(wrong, -30)[shown], torch.arange(SAMPLES).expand(count, -1)[shown]
    return functional.cross_entropy(alike, true), (alike.argmax(-1) == true).float().mean()


def warp(count: int) -> Tensor:
    """Sampling grids of views in their images (count, VIEW, VIEW, 2), -1 to 1."""
    def chance(*size: int) -> Tensor:
        return 2 * torch.rand(count, *size) - 1

    turn, zoom, stretch = TURN * chance(), 0.75 * (ZOOM * chance()).exp(), (STRETCH * chance()).exp()
    linear = torch.stack([torch.stack([turn.cos() * stretch, -turn.sin()], 1),
                          torch.stack([turn.sin(), turn.cos() / stretch], 1)], 1) * zoom[:, None, None]
    centres = (2 * torch.arange(VIEW) + 1) / VIEW - 1
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)
    bend = functional.interpolate(BEND * torch.randn(count, 2, 5, 5), size=(VIEW, VIEW), mode="bicubic",
                                  align_corners=True)
    return (grid.view(1, -1, 2) @ linear.mT + SHIFT * chance(1, 2)).view(count, VIEW, VIEW, 2) + bend.movedim(1, -1)


def relit(views: Tensor) -> Tensor:
    """Views (N, 3, S, S) with photometric augmentation."""
    def chance(most: float, channels: int = 1) -> Tensor:
        return most * (2 * torch.rand(len(views), channels, 1, 1) - 1)

    mean = views.mean((2, 3), keepdim=True)
    views = ((views - mean) * (1 + chance(CONTRAST)) + mean * (1 + chance(LEVEL))) * (1 + chance(TINT, 3))
    across = torch.linspace(-1, 1, VIEW)
    views = views * (1 + chance(SLOPE) * across[:, None] + chance(SLOPE) * across)
    if torch.rand(()) < BLURRED:
        views = functional.avg_pool2d(views, 3, 1, 1)
    return (views + NOISE * torch.randn_like(views)).clamp(0, 1)


def correspondences(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Corresponding positions (N, P, 2) in two views of warps (N, S, S, 2); (N, P) whether the second contains it."""
    count, every = len(first), 2
    pixel = torch.randint(VIEW * VIEW, (count, SAMPLES))
    at = first.flatten(1, 2).gather(1, pixel[..., None].expand(-1, -1, 2))
    nearest = torch.cdist(at, second[:, ::every, ::every].flatten(1, 2)).min(-1)
    side = VIEW // every

    def positions(column: Tensor, row: Tensor) -> Tensor:
        return (2 * torch.stack([column, row], -1) + 1) / VIEW - 1

    there = positions(every * (nearest.indices % side), every * (nearest.indices // side))
    return positions(pixel % VIEW, pixel // VIEW), there, nearest.values < 3 / VIEW


if __name__ == "__main__":
    sys.exit(main())
