"""Trains the mask network (segmentation/mask_network.py): `python -m samples.segmenter EXAMPLES`.

Examples are moments of synthetic films (scenes.py) as the network's input: cropped around a box, or around a corrupted
mask of the frame before. They are written into a folder first. The network's own errors accumulate over a clip in other
ways. So it then segments whole films, and is trained further on the inputs that it met there and the true masks
(DAgger: Ross et al. 2011).
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import swa_utils

from vmr_backend.job import EXIT_BAD_INPUT, BadInput, write_whole
from vmr_backend.segmentation.cues import FeatureMemory, Palette, cues_of, features_of, lab_of, surroundings, uncovered
from vmr_backend.segmentation.features import Features
from vmr_backend.segmentation.marks import Mark
from vmr_backend.segmentation.mask_network import FILE, InputWindow, MaskNetwork
from vmr_backend.segmentation.motion import FINER, background_homography, carried, flow_from_to
from vmr_backend.segmentation.network_file import load, save
from vmr_backend.segmentation.propagation import Appearance, Propagation
from vmr_backend.segmentation.shots import Shots, shots_of
from vmr_backend.video.mask_facts import box_of

from .scenes import OFFSETS, Moment, moment

NOW = OFFSETS.index(0)
PER_MOMENT = 3
"""Examples made of a moment: the first from a box, the others from a mask."""
SHARD = 50
"""Moments or films in a file of examples."""
LEAST = 150
"""Pixels of the subject that must be visible."""
FILM = 36
"""Frames of a film."""
FILM_SEED = 1000
"""Added to the seed: films show none of the moments."""
DIVERGED = 0.5
"""Overlap with the true mask below which a prediction has diverged."""
Example = tuple[np.ndarray, np.ndarray]
"""Cues (CHANNELS, SIDE, SIDE) and the true mask (SIDE, SIDE), both uint8."""
Network = TypeVar("Network", bound=nn.Module)
BATCH, RATE, LAST_RATE, WARM_UP = 8, 2e-3, 0.03, 100
KEPT = 0.998
"""Of the averaged weights, at each step."""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.segmenter", description=__doc__)
    parser.add_argument("examples", type=Path, metavar="EXAMPLES", help="folder for examples; existing ones are kept")
    parser.add_argument("--moments", type=int, default=2500)
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--steps", type=int, default=4000, help="on moments; half as many follow with films")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    try:
        for name in ("moments", "films", "steps"):
            if getattr(chosen, name) < 1:
                raise BadInput(f"--{name}: found {getattr(chosen, name)}, needs 1 or more")
        save(trained(chosen.examples, chosen.moments, chosen.films, chosen.steps, chosen.seed), chosen.out)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def trained(folder: Path, moments: int, films: int, steps: int, seed: int) -> MaskNetwork:
    """The network, first trained on moments, then on films too, which it has segmented itself."""
    write_moments(folder, moments, seed)
    first = folder / "first_round.safetensors"
    if not first.exists():
        torch.manual_seed(seed)
        save(train(MaskNetwork(), *read(folder, "moments"), steps, seed), first)
    network = load(MaskNetwork(), first)
    write_films(folder, films, network, seed)
    return train(network, *read(folder), max(steps // 2, 1), seed + 1)


def write_moments(folder: Path, moments: int, seed: int) -> None:
    """Examples of so many moments."""
    def of_moment(index: int) -> list[Example]:
        shown, rng = moment(seed, index), np.random.default_rng([seed, index, 1])
        return [one for number in range(PER_MOMENT) if (one := example(shown, rng, number == 0))]

    write_shards(folder, moments, "moments", of_moment)


def write_films(folder: Path, films: int, network: MaskNetwork, seed: int) -> None:
    """Examples of so many films, whose masks the network predicts."""
    write_shards(folder, films, "films", lambda index: film_examples(network, seed, index))


def write_shards(folder: Path, count: int, kind: str, examples_of: Callable[[int], list[Example]]) -> None:
    """Examples of `count` moments or films in files of SHARD each; existing files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, count, SHARD):
        path = folder / f"{kind}-{first:06d}.safetensors"
        if path.exists():
            continue
        examples = [one for index in range(first, min(first + SHARD, count)) for one in examples_of(index)]
        cues, masks = (torch.from_numpy(np.ascontiguousarray(np.stack(part))) for part in zip(*examples, strict=True))
        write_whole(path, safetensors.torch.save({"cues": cues, "masks": masks}))
        print(f"{min(first + SHARD, count)} of {count} {kind}", flush=True)


def film_examples(network: MaskNetwork, seed: int, index: int) -> list[Example]:
    """The network's inputs while it segments a film from a box on one of its frames, with the true masks."""
    rng = np.random.default_rng([seed, index, 2])
    pace = rng.choice([1, 1, 2])
    shown = moment(seed + FILM_SEED, index, [pace * step for step in range(-FILM // 2, FILM // 2)])
    masks = at_working_scale(shown).masks
    visible = [t for t, mask in enumerate(masks) if (mask > 0.5).sum() > LEAST]
    if not visible:
        return []
    marked = visible[0] if rng.random() < 0.7 else visible[len(visible) // 2]
    left, top, right, bottom = (FINER * float(side) for side in box_of(box_mask(masks[marked], rng) > 0.4))
    rollout = Rollout(shots_of(shown.frames, 1 / FINER), network, masks)
    try:
        rollout.find([Mark(marked, (left, top, right - left, bottom - top))], [marked])
    except BadInput:
        pass  # Nothing found in the box; its input there is an example.
    return rollout.examples


class Rollout(Propagation):
    """Segments a film whose true masks (T, h, w) are known, and keeps the network's inputs. Where the prediction has
    diverged it is replaced by the truth: what follows would be no useful example."""

    def __init__(self, shots: Shots, network: MaskNetwork, truth: np.ndarray):
        super().__init__(shots, network)
        self.truth, self.examples = truth, []

    def _predicted(self, index: int, mask: np.ndarray, seen: Appearance | None) -> np.ndarray:
        found, truth = super()._predicted(index, mask, seen), self.truth[index]
        return truth if has_diverged(found, truth) else found

    def _cues(self, index: int, mask: np.ndarray, seen: Appearance | None) -> np.ndarray:
        cues = super()._cues(index, mask, seen)
        if (self.truth[index] > 0.5).sum() > LEAST:
            self.examples.append(_packed(InputWindow.at(box_of(mask > 0.4)), cues, self.truth[index]))
        return cues


def has_diverged(found: np.ndarray, truth: np.ndarray) -> bool:
    """Whether a prediction (H, W) hardly overlaps with the true mask (H, W), both in 0..1."""
    either, both = np.maximum(found, truth) > 0.5, np.minimum(found, truth) > 0.5
    return bool(both.sum() < DIVERGED * either.sum())


def _packed(window: InputWindow, cues: np.ndarray, truth: np.ndarray) -> Example:
    cues, truth = window.cut(cues.clip(0, 1)), window.cut(truth)
    return np.rint(255 * np.moveaxis(cues, -1, 0)).astype(np.uint8), np.rint(255 * truth).astype(np.uint8)


def at_working_scale(shown: Moment) -> Moment:
    """A moment at the working scale: small, as footage is for a large subject."""
    def small(pictures: np.ndarray) -> np.ndarray:
        return np.stack([cv2.resize(one, None, fx=1 / FINER, fy=1 / FINER, interpolation=cv2.INTER_AREA)
                         for one in pictures])

    shift = (FINER - 1) / 2
    larger = np.array([[FINER, 0, shift], [0, FINER, shift], [0, 0, 1]])
    return Moment(small(shown.frames), small(shown.masks), shown.cameras @ larger)


def example(shown: Moment, rng: np.random.Generator, from_box: bool) -> Example | None:
    """Input and true mask at a moment; None where the subject is hardly visible."""
    full, shown = shown.frames, at_working_scale(shown)
    picture, truth = shown.frames[NOW], shown.masks[NOW]
    lab = lab_of(picture)
    if (truth > 0.5).sum() < LEAST or (shown.masks[NOW - 1] > 0.5).sum() < LEAST:
        return None
    there, back = (flow_from_to(full[NOW], full[NOW + step], picture.shape) if rng.random() < 0.9 else None
                   for step in (1, -1))
    if from_box:
        there, mask = there if rng.random() < 0.7 else None, box_mask(truth, rng)
        back = None if rng.random() < 0.7 else back
    else:
        before = shown.masks[NOW - 1]
        mask = corrupted(before if back is None else carried(before, back), lab, rng)
    if not (mask > 0.4).any():
        return None
    others = []
    for index, offset in enumerate(OFFSETS):
        if abs(offset) > 1 and rng.random() < 0.8 and (offset > 0 or not from_box or rng.random() < 0.5):
            way = np.linalg.inv(shown.cameras[index]) @ shown.cameras[NOW]
            way[:2, 2] += rng.normal(0, 0.4, 2)
            others.append((lab_of(shown.frames[index]), way))
    here = Palette.of(lab, mask, surroundings(mask)[0] & (mask < 0.4))
    marked, looks = here, [np.full(mask.shape, 0.5, np.float32)] * 2
    # Without colours and features of a marked frame it is the marked frame itself, refined.
    if not from_box and rng.random() < 0.8:
        known = [of_frame(shown, index, rng) for index in (rng.choice([NOW - 3, NOW - 2, NOW + 3]), NOW - 2)]
        marked = known[0][0]
        looks = [side.likeness(features_of(picture, features_network()), mask) for _, side in known]
    subject = surroundings(mask)[0]
    motions = [flow if flow is None else (flow, background_homography(flow, subject)) for flow in (there, back)]
    return _packed(InputWindow.at(box_around(mask, rng)), cues_of(
        picture, lab, mask, motions, uncovered(lab, others), here, marked, looks), truth)


def of_frame(shown: Moment, index: int, rng: np.random.Generator) -> tuple[Palette, FeatureMemory]:
    """Colours and features of the subject in another frame of a moment, by a mask that may be corrupted."""
    lab, mask = lab_of(shown.frames[index]), shown.masks[index]
    mask = corrupted(mask, lab, rng) if rng.random() < 0.7 else mask
    return (Palette.of(lab, mask, np.zeros(mask.shape, bool)),
            FeatureMemory.of(features_of(shown.frames[index], features_network()), mask))


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


def corrupted(mask: np.ndarray, lab: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask (H, W) of an image (H, W, 3) in Lab with the errors of a prediction: bays and leaks, regions of one colour
    lost or added, dilated or eroded, soft at the edge."""
    mask = mask.astype(np.float32).copy()
    if rng.random() < 0.15:
        return mask
    size = math.sqrt(float((mask > 0.5).sum()))
    for chance, value, sure in ((0.35, 0.0, mask > 0.5), (0.25, 1.0, surroundings(mask)[0] & (mask < 0.1))):
        if rng.random() < chance and sure.any():
            mask[similar_region(np.argwhere(sure), lab, size, rng)] = value
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


def similar_region(pixels: np.ndarray, lab: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W) bool: pixels near one of some pixels (N, 2), of a similar colour."""
    row, column = pixels[rng.integers(len(pixels))]
    smooth = cv2.GaussianBlur(lab, (0, 0), 1)
    near = np.zeros(lab.shape[:2], np.uint8)
    cv2.circle(near, (int(column), int(row)), max(int(size * rng.uniform(0.2, 0.8)), 1), 1, -1)
    apart = np.linalg.norm(smooth - smooth[row, column], axis=2)
    return (near > 0) & (apart < rng.uniform(5, 20))


def read(folder: Path, kind: str = "*") -> tuple[Tensor, Tensor]:
    """All examples of "moments", "films" or both: cues (N, CHANNELS, SIDE, SIDE) and masks (N, SIDE, SIDE), uint8."""
    parts = [safetensors.torch.load_file(path) for path in sorted(folder.glob(f"{kind}-*.safetensors"))]
    return torch.cat([part["cues"] for part in parts]), torch.cat([part["masks"] for part in parts])


def augmented(cues: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """A batch as `colour_augmented` makes it, in which now and then a cue is uninformative."""
    cues, masks = colour_augmented(cues, masks)
    rest = torch.cat([drifted(cues[:, 3:4]), cues[:, 4:]], 1)
    silent = (torch.rand(len(cues), rest.shape[1], 1, 1) < 0.05) & (torch.arange(rest.shape[1]) > 0).view(1, -1, 1, 1)
    return torch.cat([cues[:, :3], torch.where(silent, torch.full_like(rest, 0.5), rest)], 1), masks


def colour_augmented(cues: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """A batch whose first cues are RGB, half of it mirrored, with colour jitter."""
    mirrored = torch.rand(len(cues)) < 0.5
    cues = torch.where(mirrored[:, None, None, None], cues.flip(-1), cues)
    masks = torch.where(mirrored[:, None, None], masks.flip(-1), masks)
    gain, level = (torch.rand(2, len(cues), 3, 1, 1) - 0.5) * cues.new_tensor([0.6, 0.3]).view(2, 1, 1, 1, 1)
    return torch.cat([((cues[:, :3] - 0.5) * (1 + gain) + 0.5 + level).clamp(0, 1), cues[:, 3:]], 1), masks


def drifted(so_far: Tensor) -> Tensor:
    """Previous masks (N, 1, S, S), some of which have leaked to one side, or lost a part, by much more than in one
    frame: errors accumulate over a clip, and the other cues shall outweigh them. Boxes stay as they are."""
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


def train(network: Network, cues: Tensor, masks: Tensor, steps: int, seed: int,
          augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = augmented) -> Network:
    """The network after so many steps more; the first twentieth of the examples is held out to score it."""
    torch.manual_seed(seed)
    network.train().requires_grad_(True)
    held = max(len(cues) // 20, 1)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    # At first the average decays faster: it shall not keep the initial weights.
    average = swa_utils.AveragedModel(network, use_buffers=True, avg_fn=lambda kept, new, count: (
        kept + max(1 - KEPT, 9 / (10 + count)) * (new - kept))).eval()
    for step in range(steps):
        fall = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.param_groups[0]["lr"] = RATE * fall * min(1, (step + 1) / WARM_UP)
        chosen = torch.randint(held, len(cues), (BATCH,))
        seen, true = augment(cues[chosen].float() / 255, masks[chosen].float() / 255)
        loss = segmentation_loss(network(seen)[:, 0], true)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(network)
        if step % 200 == 199 or step == steps - 1:
            print(f"step {step + 1}: loss {loss:.3f}, "
                  f"IoU {mean_iou(average.module, cues[:held], masks[:held]):.3f}",
                  flush=True)
    return average.module


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy and Dice loss (Milletari et al. 2016) of log-odds (N, H, W)."""
    found = logits.sigmoid()
    shared, both = (found * masks).sum((1, 2)), (found + masks).sum((1, 2))
    return functional.binary_cross_entropy_with_logits(logits, masks) + (1 - (2 * shared + 1) / (both + 1)).mean()


@torch.no_grad()
def mean_iou(network: nn.Module, cues: Tensor, masks: Tensor) -> float:
    """Mean intersection over union."""
    found = torch.cat([network(few.float() / 255)[:, 0] for few in cues.split(16)]) > 0
    true = masks > 127
    return float(((found & true).sum((1, 2)) / (found | true).sum((1, 2)).clamp_min(1)).mean())


if __name__ == "__main__":
    sys.exit(main())
