"""Teaches the network that says where masks' edges run (segmentation/edges.py): `python -m samples.edges LESSONS`.

Lessons are pieces of films that never were (scenes.py) at the edge of the subject, with what was found there by the
network that finds masks (segmenter.py), which is taught first. They are made first, into a folder.
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
from .segmenter import LEAST, Lesson, astray, box_mask, keep, learn, looking_otherwise, read

FILM = 8
"""Frames of a film."""
EVERY = 2
"""Frames of a film from one that lessons are made of to the next."""
PER_FRAME = 2
"""Lessons of a frame."""
SIDES = (320, 400, 512, SIZE, SIZE)
"""Pixels across films: subjects are small in some, and worked on as large as they are."""
PIECE, SEEN = 256, 192
"""Pixels across a lesson, and across what is learnt from it each time."""
NEAR = 4
"""Pixels, where masks are found, from the true edge beyond which nothing shall be changed: what is wrong there is not
about where an edge runs, and a look at colours alone would make it worse in other films than these."""
BEYOND = 64
"""Pixels up to which the middle of a lesson lies from the edge."""
FILM_SEED = 30
"""Added to the seed: films are none of those that the network which finds masks was taught on."""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.edges", description=__doc__)
    parser.add_argument("lessons", type=Path, metavar="LESSONS", help="folder for the lessons; goes on where it ended")
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    try:
        for name in ("films", "steps"):
            if getattr(chosen, name) < 1:
                raise BadInput(f"--{name}: found {getattr(chosen, name)}, needs 1 or more")
        prepare(chosen.lessons, chosen.films, chosen.seed)
        torch.manual_seed(chosen.seed)
        save(learn(EdgeNetwork(), *read(chosen.lessons, "edges"), chosen.steps, chosen.seed, a_piece), chosen.out)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def prepare(folder: Path, films: int, seed: int) -> None:
    """Lessons of so many films, whose masks the shipped network finds."""
    keep(folder, films, "edges", functools.partial(film_lessons, MaskNetwork.shipped(), seed))


def film_lessons(network: MaskNetwork, seed: int, index: int) -> list[Lesson]:
    """What a network finds in a film from a box on one of its frames, at the edge."""
    rng = np.random.default_rng([seed, index, 3])
    pace, side, place = rng.choice([1, 1, 2]), int(rng.choice(SIDES)), int(rng.choice([0, FILM // 2]))
    shown = moment(seed + FILM_SEED, index, [pace * step for step in range(-FILM // 2, FILM // 2)])
    frames, masks = ([cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in pictures]
                     for pictures in (shown.frames, shown.masks.astype(np.float32)))
    if (masks[place] > 0.5).sum() < LEAST:
        return []
    left, top, right, bottom = map(float, box_of(box_mask(masks[place], rng) > 0.4))
    scale = working_scale(rng.uniform(0.85, 1.2) * max(right - left, bottom - top), (side, side))
    try:
        found = Propagation(shots_of(frames, scale), network).find(
            [Mark(place, (left, top, right - left, bottom - top))], [place])
    except BadInput:
        return []  # Nothing stands out in the box.
    return [piece for frame, mask, one in list(zip(frames, masks, found, strict=True))[::EVERY]
            for piece in pieces(frame, mask, one.astype(np.float32), rng)]


def pieces(frame: np.ndarray, mask: np.ndarray, found: np.ndarray, rng: np.random.Generator) -> list[Lesson]:
    """Of a frame (S, S, 3) uint8, its true mask (S, S) in 0..1 and the probabilities found (s, s); none where these
    have gone astray, for then it is not the edge that is wrong."""
    grown = cv2.resize(found, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    if (mask > 0.5).sum() < LEAST or astray(grown, mask):
        return []
    ratio = mask.shape[1] / found.shape[1]
    maps, inside = edge_maps(frame, grown, ratio), (mask > 0.5).astype(np.uint8)
    away = np.maximum(*(cv2.distanceTransform(side, cv2.DIST_L2, 5) for side in (inside, 1 - inside)))
    maps = np.dstack([maps, np.where(away > NEAR * ratio, maps[..., -1], mask)])
    maps = np.rint(255 * maps).astype(np.uint8).transpose(2, 0, 1)
    edge = np.argwhere(away < 2)
    lessons = []
    for _ in range(PER_FRAME):
        middle = edge[rng.integers(len(edge))] + rng.integers(-BEYOND, BEYOND + 1, 2)
        top, left = np.clip(middle - PIECE // 2, 0, len(mask) - PIECE)
        piece = maps[:, top:top + PIECE, left:left + PIECE]
        lessons.append((piece[:-1], piece[-1]))
    return lessons


def a_piece(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """A batch as `looking_otherwise` makes it, a part of each lesson."""
    top, left = torch.randint(PIECE - SEEN + 1, (2,)).tolist()
    window = (..., slice(top, top + SEEN), slice(left, left + SEEN))
    return looking_otherwise(maps[window], masks[window])


if __name__ == "__main__":
    sys.exit(main())
