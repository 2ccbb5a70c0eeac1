"""Teaches the network that finds masks (video/mask_network.py): `python -m samples.segmenter LESSONS`.

Lessons are moments of films that never were (scenes.py), seen as the network sees footage: around a box, or a mask of
the frame before, which has gone wrong in one way or another. They are made first, into a folder, and then learnt from.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import swa_utils

from vmr_backend.job import EXIT_BAD_INPUT, BadInput, write_whole
from vmr_backend.video.cues import Looks, Palette, cues_of, features_of, lab_of, surroundings
from vmr_backend.video.features import Features
from vmr_backend.video.mask_network import FILE, Look, MaskNetwork
from vmr_backend.video.masks import box_of
from vmr_backend.video.motion import background_homography, carried, flow_from_to
from vmr_backend.video.network_file import save

from .scenes import OFFSETS, Moment, moment

NOW = OFFSETS.index(0)
PER_MOMENT = 3
"""Lessons made of a moment: the first from a box, the others from a mask."""
SHARD = 50
"""Moments in a file of lessons."""
BATCH, RATE, LAST_RATE, WARM_UP = 8, 2e-3, 0.03, 100
KEPT = 0.998
"""Of the averaged weights, at each step."""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.segmenter", description=__doc__)
    parser.add_argument("lessons", type=Path, metavar="LESSONS", help="folder for the lessons; goes on where it ended")
    parser.add_argument("--moments", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    try:
        for name in ("moments", "steps"):
            if getattr(chosen, name) < 1:
                raise BadInput(f"--{name}: found {getattr(chosen, name)}, needs 1 or more")
        prepare(chosen.lessons, chosen.moments, chosen.seed)
        network = learn(*read(chosen.lessons, chosen.moments), chosen.steps, chosen.seed)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    save(network, chosen.out)
    return 0


def prepare(folder: Path, moments: int, seed: int) -> None:
    """Lessons of so many moments in files of SHARD; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, moments, SHARD):
        path = folder / f"{first:06d}.safetensors"
        if path.exists():
            continue
        lessons = []
        for index in range(first, min(first + SHARD, moments)):
            shown = moment(seed, index)
            rng = np.random.default_rng([seed, index, 1])
            lessons += [one for number in range(PER_MOMENT) if (one := lesson(shown, rng, number == 0))]
        cues, masks = (torch.from_numpy(np.ascontiguousarray(np.stack(part))) for part in zip(*lessons, strict=True))
        write_whole(path, safetensors.torch.save({"cues": cues, "masks": masks}))
        print(f"{min(first + SHARD, moments)} of {moments} moments", flush=True)


def lesson(shown: Moment, rng: np.random.Generator, from_box: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Cues (CHANNELS, SIDE, SIDE) and the true mask (SIDE, SIDE), both uint8; None where there is nothing to see."""
    picture, truth = shown.frames[NOW], shown.masks[NOW]
    lab = lab_of(picture)
    if (truth > 0.5).sum() < 150 or (shown.masks[NOW - 1] > 0.5).sum() < 150:
        return None
    there, back = (flow_from_to(picture, shown.frames[NOW + step]) if rng.random() < 0.9 else None for step in (1, -1))
    if from_box:
        there, mask = there if rng.random() < 0.7 else None, box_mask(truth, rng)
        back = None if rng.random() < 0.7 else back
    else:
        before = shown.masks[NOW - 1]
        mask = gone_wrong(before if back is None else carried(before, back), lab, rng)
    if not (mask > 0.4).any():
        return None
    others = []
    for place, offset in enumerate(OFFSETS):
        if abs(offset) > 1 and rng.random() < 0.8 and (offset > 0 or not from_box or rng.random() < 0.5):
            way = np.linalg.inv(shown.cameras[place]) @ shown.cameras[NOW]
            way[:2, 2] += rng.normal(0, 0.4, 2)
            others.append((lab_of(shown.frames[place]), way))
    here = Palette.of(lab, mask, surroundings(mask)[0] & (mask < 0.4))
    marked, looks = here, np.full(mask.shape, 0.5, np.float32)
    # Without what is known of a marked frame it is one itself, looked at again.
    if not from_box and rng.random() < 0.8:
        place = rng.choice([NOW - 3, NOW - 2, NOW + 3])
        there_lab = lab_of(shown.frames[place])
        before = gone_wrong(shown.masks[place], there_lab, rng) if rng.random() < 0.7 else shown.masks[place]
        marked = Palette.of(there_lab, before, np.zeros(before.shape, bool))
        network = features_network()
        looks = Looks.of(features_of(shown.frames[place], network), before).likeness(
            features_of(picture, network), mask.shape)
    subject = surroundings(mask)[0]
    motions = [flow if flow is None else (flow, background_homography(flow, subject)) for flow in (there, back)]
    look = Look.at(box_around(mask, rng))
    cues = np.moveaxis(look.cut(cues_of(picture, lab, mask, motions, others, here, marked, looks)), -1, 0)
    return np.rint(255 * cues.clip(0, 1)).astype(np.uint8), np.rint(255 * look.cut(truth)).astype(np.uint8)


@functools.lru_cache
def features_network() -> Features:
    return Features.shipped(torch.device("cpu"))


def box_mask(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W): one half in a box drawn round the subject by hand."""
    left, top, right, bottom = box_of(truth > 0.5)
    off = rng.normal(0, 0.015, 4) * max(right - left, bottom - top) * (rng.random() < 0.7)
    top, bottom, left, right = np.rint(np.array([top, bottom, left, right]) + off).astype(int)
    mask = np.zeros(truth.shape, np.float32)
    mask[max(top, 0):bottom, max(left, 0):right] = 0.5
    return mask


def box_around(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, ...]:
    """Left, top, right, bottom of a mask, a little off."""
    left, top, right, bottom = box_of(mask > 0.4)
    return tuple(np.array([left, top, right, bottom]) + rng.normal(0, 0.03, 4) * max(right - left, bottom - top))


def gone_wrong(mask: np.ndarray, lab: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask (H, W) of a picture (H, W, 3) in Lab as finding it may leave it: with bays and leaks, parts of one colour
    lost or caught, fat or thin, soft at the edge."""
    mask = mask.astype(np.float32).copy()
    if rng.random() < 0.15:
        return mask
    size = math.sqrt(float((mask > 0.5).sum()))
    for chance, value, sure in ((0.35, 0.0, mask > 0.5), (0.25, 1.0, surroundings(mask)[0] & (mask < 0.1))):
        if rng.random() < chance and sure.any():
            mask[like_one_of(np.argwhere(sure), lab, size, rng)] = value
    edge = np.argwhere(cv2.morphologyEx((mask > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    for _ in range(rng.integers(0, 7)):
        if not len(edge):
            break
        row, column = edge[rng.integers(len(edge))] + rng.normal(0, 0.05, 2) * size
        axes = np.maximum(rng.uniform(0.03, 0.3, 2) * size * rng.choice([0.4, 1]), 1)
        cv2.ellipse(mask, ((float(column), float(row)), tuple(map(float, 2 * axes)), float(rng.uniform(0, 180))),
                    float(rng.random() < 0.55), -1)
    if rng.random() < 0.15:
        cut = rng.uniform(0.6, 0.95)
        rows = np.flatnonzero((mask > 0.5).any(1))
        if len(rows) > 2:
            mask[int(rows[0] + cut * (rows[-1] - rows[0])):] = 0
    if (reach := rng.integers(-3, 4)) and rng.random() < 0.6:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(reach) + 1,) * 2)
        mask = (cv2.dilate if reach > 0 else cv2.erode)(mask, kernel)
    moved = np.float32([[1, 0, rng.normal(0, 1.5)], [0, 1, rng.normal(0, 1.5)]])
    mask = cv2.warpAffine(mask, moved, mask.shape[::-1])
    return cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2.5))


def like_one_of(places: np.ndarray, lab: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W) bool: what has the colour of one of some places (N, 2) and lies around it."""
    row, column = places[rng.integers(len(places))]
    smooth = cv2.GaussianBlur(lab, (0, 0), 1)
    near = np.zeros(lab.shape[:2], np.uint8)
    cv2.circle(near, (int(column), int(row)), max(int(size * rng.uniform(0.2, 0.8)), 1), 1, -1)
    apart = np.linalg.norm(smooth - smooth[row, column], axis=2)
    return (near > 0) & (apart < rng.uniform(5, 20))


def read(folder: Path, moments: int) -> tuple[Tensor, Tensor]:
    """All lessons: cues (N, CHANNELS, SIDE, SIDE) and masks (N, SIDE, SIDE), uint8."""
    parts = [safetensors.torch.load_file(folder / f"{first:06d}.safetensors") for first in range(0, moments, SHARD)]
    return torch.cat([part["cues"] for part in parts]), torch.cat([part["masks"] for part in parts])


def learn(cues: Tensor, masks: Tensor, steps: int, seed: int) -> MaskNetwork:
    """The network after so many steps; one lesson in twenty is kept to test it."""
    torch.manual_seed(seed)
    network = MaskNetwork()
    held = max(len(cues) // 20, 1)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    # At first the average forgets sooner: it shall not keep what the network was before it learnt anything.
    average = swa_utils.AveragedModel(
        network, avg_fn=lambda kept, new, count: kept + max(1 - KEPT, 9 / (10 + count)) * (new - kept))
    for step in range(steps):
        fall = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.param_groups[0]["lr"] = RATE * fall * min(1, (step + 1) / WARM_UP)
        chosen = torch.randint(held, len(cues), (BATCH,))
        seen, true = varied(cues[chosen].float() / 255, masks[chosen].float() / 255)
        loss = disagreement(network(seen)[:, 0], true)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(network)
        if step % 200 == 199 or step == steps - 1:
            print(f"step {step + 1}: loss {loss:.3f}, overlap {overlap(average.module, cues[:held], masks[:held]):.3f}",
                  flush=True)
    return average.module.eval()


def varied(cues: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """A batch, half of it mirrored, with other colours, and now and then a cue that tells nothing."""
    mirrored = torch.rand(len(cues)) < 0.5
    cues = torch.where(mirrored[:, None, None, None], cues.flip(-1), cues)
    masks = torch.where(mirrored[:, None, None], masks.flip(-1), masks)
    gain, level = (torch.rand(2, len(cues), 3, 1, 1) - 0.5) * cues.new_tensor([0.6, 0.3]).view(2, 1, 1, 1, 1)
    colours = ((cues[:, :3] - 0.5) * (1 + gain) + 0.5 + level).clamp(0, 1)
    rest = torch.cat([misled(cues[:, 3:4]), cues[:, 4:]], 1)
    silent = (torch.rand(len(cues), rest.shape[1], 1, 1) < 0.05) & (torch.arange(rest.shape[1]) > 0).view(1, -1, 1, 1)
    return torch.cat([colours, torch.where(silent, torch.full_like(rest, 0.5), rest)], 1), masks


def misled(so_far: Tensor) -> Tensor:
    """Masks so far (N, 1, S, S), some of which have leaked to one side, or lost a part, by much more than in one frame:
    what goes wrong adds up over a clip, and the other cues shall outweigh it. Boxes stay as they are."""
    size = so_far.shape[-1]
    found = so_far.clone()
    for mask in found:
        if mask.max() < 0.6:
            continue
        leak, loss = (functional.interpolate(torch.randn(2, 1, 5, 5), (size, size), mode="bicubic") > 0.3)[:, 0]
        if torch.rand(()) < 0.35:
            by = tuple(torch.randint(-size // 5, size // 5 + 1, (2,)).tolist())
            mask[0] = torch.maximum(mask[0], mask[0].roll(by, (0, 1)) * leak)
        if torch.rand(()) < 0.25:
            mask[0] *= ~loss
    return found


def disagreement(odds: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy and what the soft masks lack of overlapping (Milletari et al. 2016), each over (N, H, W)."""
    found = odds.sigmoid()
    shared, both = (found * masks).sum((1, 2)), (found + masks).sum((1, 2))
    return functional.binary_cross_entropy_with_logits(odds, masks) + (1 - (2 * shared + 1) / (both + 1)).mean()


@torch.no_grad()
def overlap(network: MaskNetwork, cues: Tensor, masks: Tensor) -> float:
    """Mean intersection over union."""
    found = torch.cat([network(few.float() / 255)[:, 0] for few in cues.split(16)]) > 0
    true = masks > 127
    return float(((found & true).sum((1, 2)) / (found | true).sum((1, 2)).clamp_min(1)).mean())


if __name__ == "__main__":
    sys.exit(main())
