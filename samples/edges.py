"""Trains the network that refines the edges of masks (segmentation/edges.py): `python -m samples.edges EXAMPLES`.

Examples are crops of synthetic films (scenes.py) at the edge of the subject, with the prediction of the mask network
(segmenter.py), which is trained first. They are written into a folder first.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from vmr_backend.job import EXIT_BAD_INPUT, BadInput
from vmr_backend.segmentation.edges import FILE, EdgeNetwork, edge_maps
from vmr_backend.segmentation.marks import Mark
from vmr_backend.segmentation.mask_network import MaskNetwork
from vmr_backend.segmentation.network_file import save
from vmr_backend.segmentation.propagation import Propagation
from vmr_backend.segmentation.shots import shots_of, working_scale
from vmr_backend.video.mask_facts import box_of

from .scenes import SIZE, moment
from .segmenter import LEAST, Example, box_mask, colour_augmented, has_diverged, read, train, write_shards

FILM = 8
"""Frames of a film."""
EVERY = 2
"""Every so many frames of a film make examples."""
PER_FRAME = 2
"""Examples of a frame."""
SIDES = (320, 400, 512, SIZE, SIZE)
"""Pixels across films: subjects are small in some."""
PIECE, SEEN = 256, 192
"""Pixels across an example, and across the random crop of it in a batch."""
NEAR = 4
"""Pixels of the working scale from the true edge beyond which nothing shall be changed: errors there are not errors of
an edge, and correcting them by colours alone would not generalise."""
BEYOND = 64
"""Pixels up to which the centre of an example lies from the edge."""
FILM_SEED = 30
"""Added to the seed: films are none of those that the mask network was trained on."""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.edges", description=__doc__)
    parser.add_argument("examples", type=Path, metavar="EXAMPLES", help="folder for examples; existing ones are kept")
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    try:
        for name in ("films", "steps"):
            if getattr(chosen, name) < 1:
                raise BadInput(f"--{name}: found {getattr(chosen, name)}, needs 1 or more")
        write_films(chosen.examples, chosen.films, chosen.seed)
        torch.manual_seed(chosen.seed)
        save(train(EdgeNetwork(), *read(chosen.examples, "edges"), chosen.steps, chosen.seed, random_crop), chosen.out)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def write_films(folder: Path, films: int, seed: int) -> None:
    """Examples of so many films, whose masks the shipped network predicts."""
    write_shards(folder, films, "edges", functools.partial(film_examples, MaskNetwork.shipped(), seed))


def film_examples(network: MaskNetwork, seed: int, index: int) -> list[Example]:
    """Crops at the edge of what the mask network predicts in a film from a box on one of its frames."""
    rng = np.random.default_rng([seed, index, 3])
    pace, side, marked = rng.choice([1, 1, 2]), int(rng.choice(SIDES)), int(rng.choice([0, FILM // 2]))
    shown = moment(seed + FILM_SEED, index, [pace * step for step in range(-FILM // 2, FILM // 2)])
    frames, masks = ([cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in pictures]
                     for pictures in (shown.frames, shown.masks.astype(np.float32)))
    if (masks[marked] > 0.5).sum() < LEAST:
        return []
    left, top, right, bottom = map(float, box_of(box_mask(masks[marked], rng) > 0.4))
    scale = working_scale(rng.uniform(0.85, 1.2) * max(right - left, bottom - top), (side, side))
    try:
        found = Propagation(shots_of(frames, scale), network).find(
            [Mark(marked, (left, top, right - left, bottom - top))], [marked])
    except BadInput:
        return []  # Nothing stands out in the box.
    return [piece for frame, mask, one in list(zip(frames, masks, found, strict=True))[::EVERY]
            for piece in edge_crops(frame, mask, one.astype(np.float32), rng)]


def edge_crops(frame: np.ndarray, mask: np.ndarray, found: np.ndarray, rng: np.random.Generator) -> list[Example]:
    """Of a frame (S, S, 3) uint8, its true mask (S, S) in 0..1 and the probabilities found (s, s); none where these
    have diverged from the mask, for then the error is not one of the edge."""
    grown = cv2.resize(found, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    if (mask > 0.5).sum() < LEAST or has_diverged(grown, mask):
        return []
    ratio = mask.shape[1] / found.shape[1]
    maps, inside = edge_maps(frame, grown, ratio), (mask > 0.5).astype(np.uint8)
    away = np.maximum(*(cv2.distanceTransform(side, cv2.DIST_L2, 5) for side in (inside, 1 - inside)))
    maps = np.dstack([maps, np.where(away > NEAR * ratio, maps[..., -1], mask)])
    maps = np.rint(255 * maps).astype(np.uint8).transpose(2, 0, 1)
    edge = np.argwhere(away < 2)
    examples = []
    for _ in range(PER_FRAME):
        middle = edge[rng.integers(len(edge))] + rng.integers(-BEYOND, BEYOND + 1, 2)
        top, left = np.clip(middle - PIECE // 2, 0, len(mask) - PIECE)
        piece = maps[:, top:top + PIECE, left:left + PIECE]
        examples.append((piece[:-1], piece[-1]))
    return examples


def random_crop(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """A batch as `colour_augmented` makes it, a random crop of each example."""
    top, left = torch.randint(PIECE - SEEN + 1, (2,)).tolist()
    window = (..., slice(top, top + SEEN), slice(left, left + SEEN))
    return colour_augmented(maps[window], masks[window])


if __name__ == "__main__":
    sys.exit(main())
