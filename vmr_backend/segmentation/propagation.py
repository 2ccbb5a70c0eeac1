"""Finds the masks of a subject in all frames of a clip from what a user marked on one or a few of them.

A marked frame is settled first: the network (mask_network.py) runs on it twice, the second time on the mask that it
found first. From there the mask is propagated to the frames around, both ways: optical flow gives where it went, the
network what it has become; corrections by points go along for some frames. Between two marked frames both ways meet
and are blended, so what is marked on one frame changes nothing beyond its marked neighbours.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import torch

from ..job import BadInput
from ..video.footage import Progress
from ..video.mask_facts import box_of
from .cues import (
    COLOURS_AND_FEATURES,
    MOTIONS,
    FeatureMemory,
    Palette,
    cues_of,
    features_of,
    lab_of,
    surroundings,
    uncovered,
)
from .features import Features
from .marks import Mark, Point
from .mask_network import InputWindow, MaskNetwork
from .motion import carried
from .onnx_network import OnnxNetwork
from .points import region_of_point
from .shots import WORKING_SIZE, Shots

PASSES = 2
"""Of the network over a marked frame."""
RECENT = 5
"""Frames after which the memory of what the subject looked like last is made anew."""
OTHERS = (-30, -16, -8, -4, 4, 8, 16, 30)
"""Frames that one is compared with for what the subject uncovers."""
CLICK = 0.04
"""Diameter of a point at the least, over the subject's longer side."""
REMEMBERED = 0.93
"""Of a correction by points, from one frame to the next: the network may find otherwise after some frames."""
STRAY = 0.04
"""Patches and holes below this fraction of the subject's area are removed and filled."""
LOST = 0.02
"""Fraction of the area at the marked frame below which the subject counts as gone."""
SURELY_NOT = 0.3
"""Probability below which something beside the mask is none of it."""
GRAIN = 5
"""Pixels across which something beside the mask is a thing."""


@dataclass(frozen=True)
class Appearance:
    """The subject's colours and features, and those of what is around it, in a marked frame."""

    palette: Palette
    marked: FeatureMemory
    recent: FeatureMemory
    """Of a frame whose mask was found last; to begin with, of the marked one too."""

    def and_that_of(self, other: Appearance) -> Appearance:
        marked = self.marked.and_that_of(other.marked)
        return Appearance(self.palette.and_that_of(other.palette), marked, marked)


@dataclass(frozen=True)
class Suspicion:
    """What speaks against the masks found, for each frame (T,), over the mask's area."""

    unlike: np.ndarray
    """What of it looks less like the subject than like its surroundings in the marked frame."""
    rival: np.ndarray
    """The largest thing beside it that moves and looks like the subject."""

    @staticmethod
    def none(count: int) -> Suspicion:
        return Suspicion(np.zeros(count), np.zeros(count))


class Propagation:
    """The masks of one subject as they come to be: probabilities (T, h, w) of the frames worked on."""

    def __init__(self, shots: Shots, network: MaskNetwork | OnnxNetwork,
                 painted: Mapping[int, np.ndarray] | None = None):
        """painted  masks (H, W) in 0..1 of the marks that have one, by frame number"""
        self.shots, self.network, self.painted = shots, network, painted or {}
        self.suspicion = Suspicion.none(len(shots))
        self.corrections: dict[int, np.ndarray] = {}
        """By points on marked frames: (h, w), 1 where the subject is, -1 where it is not, 0 elsewhere."""
        features = Features.shipped(torch.device("cpu"))
        self.ahead = ThreadPoolExecutor(1)
        # Of long clips only the frames around the one at hand are held in Lab and as features.
        self.lab = functools.lru_cache(2 * max(OTHERS) + 4)(lambda index: lab_of(shots.pictures[index]))
        self.features = functools.lru_cache(4)(lambda index: features_of(shots.pictures[index], features))
        self.uncovered = functools.lru_cache(4)(self._uncovered)

    def find(self, marks: Sequence[Mark], indices: Sequence[int],
             report: Progress = lambda done, of: None) -> np.ndarray:
        """Probabilities (T, h, w) from marks and the indices of their frames.

        Boxes and masks come first; points on frames without them correct what was found from those.
        """
        whole = [k for k, mark in enumerate(marks) if mark.box or mark.mask] or list(range(len(marks)))
        rounds = 1 + (len(whole) < len(marks))
        self.steps, self.done, self.report = rounds * len(self.shots), 0, report
        settled = {indices[k]: self._first_guess(marks[k]) for k in whole}
        # The background's motion is separated from the subject's by where it is, which is known better the second time.
        for _ in range(2):
            self._follow_background(settled)
            settled = {indices[k]: self._settled(marks[k], indices[k], settled[indices[k]]) for k in whole}
        found = self._between(settled)
        if len(whole) < len(marks):
            settled |= {index: self._corrected(mark, index, found[index].astype(np.float32))
                        if (found[index] > 0.5).any() else self._settled(mark, index, self._first_guess(mark))
                        for k, (mark, index) in enumerate(zip(marks, indices, strict=True)) if k not in whole}
            found = self._between(settled)
        return found

    def _first_guess(self, mark: Mark) -> np.ndarray:
        """(h, w) 0..1: the mask, one half in the box, or one half around the points."""
        shape, scale = self.shots.pictures[0].shape[:2], self.shots.scale
        if mark.mask:
            return cv2.resize(self.painted[mark.frame].astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
        guess = np.zeros(shape, np.float32)
        if mark.box:
            left, top, width, height = (scale * side for side in mark.box)
            rows, columns = (slice(max(round(low), 0), max(round(low + size), 0)) for low, size in (
                (top, height), (left, width)))
            guess[rows, columns] = 0.5
            return guess
        for x, y in mark.inside:
            cv2.circle(guess, (round(scale * x), round(scale * y)), WORKING_SIZE // 4, 0.5, -1)
        return guess

    def _settled(self, mark: Mark, index: int, guess: np.ndarray) -> np.ndarray:
        """The mask of a marked frame, (h, w) 0..1."""
        if mark.mask:
            return self._pointed(mark, index, self._first_guess(mark))
        limit = surroundings(self._first_guess(mark))[0] if mark.box else None
        found = guess
        for _ in range(PASSES):
            found = self._pointed(mark, index, found)
            found = self._predicted(index, found, None)
            if limit is not None:
                found = found * limit
        found = self._corrected(mark, index, found)
        if not (found > 0.5).any():
            raise BadInput(f"frame {mark.frame}: found nothing that stands out from its surroundings in what is "
                           "marked; needs a box around the subject, or more points on it")
        return found

    def _corrected(self, mark: Mark, index: int, found: np.ndarray) -> np.ndarray:
        """What was found, corrected by points, and without stray patches that no point is on."""
        scale = self.shots.scale
        return tidied(self._pointed(mark, index, found), [(scale * x, scale * y) for x, y in mark.inside])

    def _pointed(self, mark: Mark, index: int, found: np.ndarray) -> np.ndarray:
        """What was found, corrected by points; `corrections` keeps that for the frames around."""
        if not (mark.inside or mark.outside):
            return found
        found, scale = found.copy(), self.shots.scale
        correction = self.corrections[index] = np.zeros_like(found)
        for points, sign, value in ((mark.inside, 1, 0.97), (mark.outside, -1, 0.03)):
            for x, y in points:
                around = region_of_point(self.shots.pictures[index], found, (scale * x, scale * y), sign > 0,
                                         CLICK * WORKING_SIZE)
                found[around], correction[around] = value, sign
        return found

    def _between(self, settled: dict[int, np.ndarray]) -> np.ndarray:
        """All frames' probabilities, given those of some."""
        found = np.zeros((len(self.shots), *self.shots.pictures[0].shape[:2]), np.float16)
        seen = {index: self._appearance(index, mask) for index, mask in settled.items()}
        order = sorted(settled)
        for index in order:
            found[index] = settled[index]
        for t, mask in self._propagated(range(order[0], -1, -1), settled[order[0]], seen[order[0]]):
            found[t] = mask
        for t, mask in self._propagated(range(order[-1], len(self.shots)), settled[order[-1]], seen[order[-1]]):
            found[t] = mask
        for first, last in pairwise(order):
            both = seen[first].and_that_of(seen[last])
            for t, mask in self._propagated(range(first, last), settled[first], both):
                found[t] = (last - t) / (last - first) * mask
            for t, mask in self._propagated(range(last, first, -1), settled[last], both):
                found[t] += ((t - first) / (last - first) * mask).astype(np.float16)
        return found

    def _propagated(self, way: range, mask: np.ndarray, seen: Appearance) -> Iterable[tuple[int, np.ndarray]]:
        """Indices and masks of the frames on a way after its first, whose mask is given; ends where it is lost."""
        least = LOST * float((mask > 0.5).sum())
        correction = self.corrections.get(way.start)
        for step, (before, here) in enumerate(pairwise(way)):
            if (next_one := here + way.step) in way:
                self.ahead.submit(self._prefetch, next_one)
            flow = self.shots.flow(here, before)
            if flow is None:
                return
            if step and step % RECENT == 0:
                seen = replace(seen, recent=self._memory(before, mask))
            mask = tidied(self._predicted(here, carried(mask, flow), seen))
            if correction is not None:
                correction = REMEMBERED * carried(correction, flow)
                mask = mask.clip(correction, 1 + correction)
            self.done += 1
            self.report(min(self.done, self.steps), self.steps)
            if (mask > 0.5).sum() <= least:
                return
            yield here, mask

    def _predicted(self, index: int, mask: np.ndarray, seen: Appearance | None) -> np.ndarray:
        """What the network predicts (h, w) 0..1 for a frame where the mask so far is (h, w), by the appearance in a
        marked frame; without, by the colours of this one."""
        if not (mask > 0.4).any():
            return np.zeros_like(mask)
        maps, window = self._cues(index, mask, seen), InputWindow.at(box_of(mask > 0.4))
        cues = torch.from_numpy(np.moveaxis(window.cut(maps), -1, 0)[None].copy())
        with torch.inference_mode():
            odds = self.network(cues)[0, 0].numpy()
        found = 1 / (1 + np.exp(-window.put_back(odds, mask.shape, -20.0)))
        if seen and (found > 0.5).any():
            self._suspect(index, maps, found)
        return found

    def _cues(self, index: int, mask: np.ndarray, seen: Appearance | None) -> np.ndarray:
        """(h, w, CHANNELS) of a frame where the mask so far is (h, w), not empty."""
        shots = self.shots
        here = self._palette(index, mask)
        alike = [np.full(mask.shape, 0.5)] * 2
        if seen:
            marked = seen.marked.likeness(self.features(index), mask)
            alike = [marked, marked if seen.recent is seen.marked else seen.recent.likeness(self.features(index), mask)]
        return cues_of(shots.pictures[index], self.lab(index), mask,
                       [shots.motion(index, beside) for beside in (index + 1, index - 1)], self.uncovered(index), here,
                       seen.palette if seen else here, alike)

    def _suspect(self, index: int, maps: np.ndarray, found: np.ndarray) -> None:
        """Note what cues (h, w, CHANNELS) say against a mask (h, w) that was found by them, not empty."""
        alike, moving = maps[..., COLOURS_AND_FEATURES].mean(-1) > 0.5, maps[..., MOTIONS].max(-1) > 0.5
        mask = found > 0.5
        beside = np.any(surroundings(found), 0) & (found < SURELY_NOT) & alike & moving
        things = cv2.morphologyEx(beside.astype(np.uint8), cv2.MORPH_OPEN, np.ones((GRAIN, GRAIN), np.uint8))
        areas = cv2.connectedComponentsWithStats(things)[2][1:, cv2.CC_STAT_AREA]
        self.suspicion.unlike[index] = (~alike)[mask].mean()
        self.suspicion.rival[index] = areas.max(initial=0) / mask.sum()

    def _uncovered(self, index: int) -> np.ndarray:
        others = [(self.lab(index + step), way) for step in OTHERS if 0 <= index + step < len(self.shots)
                  and (way := self.shots.homography(index, index + step)) is not None]
        return uncovered(self.lab(index), others)

    def _prefetch(self, index: int) -> None:
        """Make what does not depend on the mask, while the network still runs on the frame before."""
        self.features(index)
        self.uncovered(index)

    def _appearance(self, index: int, mask: np.ndarray) -> Appearance:
        memory = self._memory(index, mask)
        return Appearance(self._palette(index, mask), memory, memory)

    def _memory(self, index: int, mask: np.ndarray) -> FeatureMemory:
        return FeatureMemory.of(self.features(index), mask)

    def _palette(self, index: int, mask: np.ndarray) -> Palette:
        # Within a box nothing is separated yet.
        unsure = surroundings(mask)[0] & (mask < 0.4) if mask.max() <= 0.5 else np.zeros(mask.shape, bool)
        return Palette.of(self.lab(index), mask, unsure)

    def _follow_background(self, guesses: dict[int, np.ndarray]) -> None:
        """How the background moves, by where the subject is if all of it moves alike from marked frames on."""
        shots = self.shots
        subjects = [np.zeros(shots.pictures[0].shape[:2], bool)] * len(shots)
        for index, guess in guesses.items():
            for way in (range(index, len(shots)), range(index, -1, -1)):
                region = subjects[index] = guess > 0.4
                for before, here in pairwise(way):
                    flow = shots.flow(before, here)
                    if flow is None or not region.any():
                        break
                    shift = np.median(flow[region], 0)
                    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
                    region = cv2.warpAffine(region.astype(np.uint8), move, region.shape[::-1]) > 0
                    subjects[here] = region
        shots.follow_background(subjects)
        self.uncovered.cache_clear()


def tidied(found: np.ndarray, points: Sequence[Point] = ()) -> np.ndarray:
    """Probabilities (h, w) without stray patches and pinholes; patches with a point on them stay."""
    mask = (found > 0.5).astype(np.uint8)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return found
    areas = facts[:, cv2.CC_STAT_AREA]
    least = STRAY * areas[1:].max()
    kept = {labels[int(np.clip(y, 0, len(labels) - 1)), int(np.clip(x, 0, labels.shape[1] - 1))] for x, y in points}
    stray = [label for label in range(1, count) if areas[label] < least and label not in kept]
    found = np.where(np.isin(labels, stray), np.minimum(found, 0.1), found)
    count, labels, facts, _ = cv2.connectedComponentsWithStats((found <= 0.5).astype(np.uint8))
    holes = [label for label in range(1, count) if facts[label, cv2.CC_STAT_AREA] < 0.1 * least]
    return np.where(np.isin(labels, holes), np.maximum(found, 0.9), found)
