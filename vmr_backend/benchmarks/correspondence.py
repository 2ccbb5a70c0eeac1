"""How well masks are propagated from the middle frame to all: `python -m vmr_backend benchmark correspondence`."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch

from ..arguments import Arguments
from ..devices import device_of
from ..job import BadInput
from ..metrics.mask_agreement import contour_accuracy, region_similarity
from ..segmentation.correspondence import Correspondence
from ..segmentation.features import Features
from ..video.clip import open_clip
from ..video.full_frames import FullFrames
from ..video.masks import load_masks

HEIGHT, LEAST_HEIGHT = 240, 32
"""Pixels of the pictures that are compared."""


def main(argv: list[str] | None = None) -> int:
    """Propagates the middle frame's mask both ways, prints J and F over the other frames, returns the exit status."""
    parser = Arguments(prog="vmr_backend benchmark correspondence", description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="folders with frames/ and masks/")
    parser.add_argument("--height", type=int, default=HEIGHT, help="pixels of the pictures that are compared")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args(argv)
    if arguments.height < LEAST_HEIGHT:
        raise BadInput(f"--height: found {arguments.height}, needs {LEAST_HEIGHT} or more")
    clips = [_opened(folder) for folder in arguments.clips]
    network = Features.shipped(device_of(arguments.device))
    print("clip            by          J      F  J_min  seconds")
    for folder, (full, count) in zip(arguments.clips, clips, strict=True):
        pictures, masks = [], []
        for index in range(count):
            picture = full.frame(index)
            width = round(picture.shape[1] * arguments.height / picture.shape[0])
            pictures.append(cv2.resize(picture, (width, arguments.height), interpolation=cv2.INTER_AREA))
            masks.append(full.mask(index))
        begin = time.monotonic()
        seen = Correspondence.of_pictures(pictures, network)
        for name, carry in (("features", seen.propagate), ("flow", seen.propagate_by_flow)):
            j, f = _scores(carry, masks, len(masks) // 2, seen)
            print(f"{folder.name:15s} {name:9s} {np.mean(j):.3f}  {np.mean(f):.3f}  {np.min(j):.3f}  "
                  f"{time.monotonic() - begin:7.1f}", flush=True)
            begin = time.monotonic()
    return 0


def _opened(folder: Path) -> tuple[FullFrames, int]:
    """Frames and masks of a clip, and how many frames there are; BadInput where they cannot be used."""
    clip = open_clip(folder / "frames")
    if len(clip.numbers) < 2:
        raise BadInput(f"{folder / 'frames'}: found {len(clip.numbers)} frame, needs two or more")
    facts = load_masks(folder / "masks", clip, clip.numbers).facts
    return FullFrames(clip, np.array(list(facts), np.int32), list(facts.values())), len(facts)


def _scores(carry, masks: list[np.ndarray], start: int, seen: Correspondence) -> tuple[list[float], list[float]]:
    """J and F of every frame but the painted one."""
    height, width = seen.inside.shape[1:]
    painted = cv2.resize(masks[start].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    labels = torch.from_numpy(np.stack([1 - painted, painted])).to(seen.features)
    carried = carry(labels, start)[:, 1].cpu().numpy()
    found = [cv2.resize(one, mask.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
             for one, mask in zip(carried, masks, strict=True)]
    others = [index for index in range(len(masks)) if index != start]
    return ([region_similarity(found[t], masks[t]) for t in others],
            [contour_accuracy(found[t], masks[t]) for t in others])
