"""Finds the masks of a subject in all frames of a clip from what a user marked on one or a few of them.

Frames are worked on small. A marked frame is settled first: the network (mask_network.py) looks at it twice, the
second time with the mask that it found first. From there the mask is carried to the frames around, both ways: optical
flow says where it went, the network what it has become; what points tell goes along for some frames. Between two marked
frames both ways meet and are blended, so what is marked on one frame changes nothing beyond its marked neighbours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise

import cv2
import numpy as np
import torch

from ..job import BadInput
from ..video.masks import box_of
from .cues import COLOURS_AND_LOOKS, MOTIONS, Looks, Palette, cues_of, features_of, lab_of, surroundings, uncovered
from .features import Features
from .marks import Mark, Point
from .mask_network import Look, MaskNetwork
from .motion import FINER, background_homography, carried, flow_from_to
from .onnx_network import OnnxNetwork

WORKING_SIZE = 190
"""Pixels of the subject's longer side where it is worked on."""
LARGEST_FRAME = 960
"""Pixels of the longer side of the frames that are worked on, for subjects that are small in them."""
LOOKS = 2
"""Of the network at a marked frame."""
LATELY = 5
"""Frames after which what the subject looks like lately is learnt anew."""
OTHERS = (-30, -16, -8, -4, 4, 8, 16, 30)
"""Frames that one is compared with for what the subject uncovers."""
CLICK = 0.04
"""Across what a point tells of at the least, over the subject's longer side."""
ALIKE = 6
"""Lab units up to which pixels around a point count as the same thing."""
FEWEST = 10
"""Pixels of either side that a graph cut needs."""
REACH = 4
"""What a point tells of reaches so many times as far at the most."""
REMEMBERED = 0.93
"""Of what a point tells, from one frame to the next: the network may find otherwise after some frames."""
STRAY = 0.04
"""Patches and holes below this share of the subject's area are removed and filled."""
LOST = 0.02
"""Share of the area at the marked frame below which the subject counts as gone."""
SURELY_NOT = 0.3
"""Probability below which something beside the mask is none of it."""
GRAIN = 5
"""Pixels across which something beside the mask is a thing."""
CUT = 0.55
"""Share of the colours that change from one frame to the next where a clip is cut."""

Progress = Callable[[int, int], None]


@dataclass
class Shots:
    """The frames of a clip as they are worked on: T of h x w pixels, and how they move."""

    pictures: list[np.ndarray]
    """(h, w, 3) uint8 RGB."""
    scale: float
    """Their pixels over the full frame's."""
    cuts: frozenset[int] = frozenset()
    """Places of frames that a new take begins with."""
    flows: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    """(h, w, 2) float16 px, from a frame to one beside it in the same take."""
    ways: dict[int, np.ndarray] = field(default_factory=dict)
    """Homographies of the background from a frame to the next."""

    def __len__(self) -> int:
        return len(self.pictures)

    def flow(self, here: int, there: int) -> np.ndarray | None:
        """(h, w, 2) from a frame to one beside it; None where there is none, or a cut lies between."""
        flow = self.flows.get((here, there))
        return None if flow is None else flow.astype(np.float32)

    def motion(self, here: int, there: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Flow (h, w, 2) from a frame to one beside it and the background's homography (3, 3); None without a flow."""
        flow = self.flow(here, there)
        return None if flow is None else (flow, self.way(here, there))

    def follow_background(self, subjects: Sequence[np.ndarray]) -> None:
        """Find how the background moves, given where the subject may be in each frame (T of (h, w) bool)."""
        for t in range(len(self) - 1):
            flow = self.flow(t, t + 1)
            self.ways[t] = np.eye(3) if flow is None else background_homography(flow, subjects[t])

    def cut_between(self, here: int, there: int) -> bool:
        first, last = sorted((here, there))
        return any(first < cut <= last for cut in self.cuts)

    def way(self, here: int, there: int) -> np.ndarray | None:
        """The background's homography (3, 3) from a frame to another; None across a cut."""
        if self.cut_between(here, there):
            return None
        first, last = sorted((here, there))
        whole = np.eye(3)
        for t in range(first, last):
            whole = self.ways[t] @ whole
        return whole if here <= there else np.linalg.inv(whole)


def working_scale(box_side: float, image_size: tuple[int, int]) -> float:
    """The size that frames are worked on at, over their own, for a subject with a longer side of so many px."""
    return min(1.0, LARGEST_FRAME / max(image_size), WORKING_SIZE / max(box_side, 1.0))


def shots_of(frames: Iterable[np.ndarray], scale: float, moving: bool = True) -> Shots:
    """Of full frames (H, W, 3) uint8 RGB, one at a time. How they move takes time, and may be left out."""
    shots, before = Shots([], scale), None
    with ThreadPoolExecutor(2) as both:
        for here, frame in enumerate(frames):
            picture = _at_scale(frame, scale)
            larger = _at_scale(frame, min(1.0, FINER * scale)) if moving else picture
            if here and _is_cut(shots.pictures[-1], picture):
                shots.cuts |= {here}
            elif before is not None and moving:
                flows = both.map(flow_from_to, (before, larger), (larger, before), [picture.shape] * 2)
                for way, flow in zip(((here - 1, here), (here, here - 1)), flows, strict=True):
                    shots.flows[way] = flow.astype(np.float16)
            shots.pictures.append(picture)
            before = larger
    return shots


def _at_scale(frame: np.ndarray, scale: float) -> np.ndarray:
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    def shares(picture: np.ndarray) -> np.ndarray:
        counts = cv2.calcHist([picture], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)
        return cv2.GaussianBlur(counts.reshape(8, 64), (0, 0), 0.8) / picture[..., 0].size

    return 0.5 * float(np.abs(shares(before) - shares(after)).sum()) > CUT


@dataclass(frozen=True)
class Known:
    """What a marked frame tells of the subject: its colours, and what its places look like."""

    palette: Palette
    looks: Looks
    lately: Looks
    """Of a frame that was found lately; to begin with, of the marked one too."""

    def and_that_of(self, other: Known) -> Known:
        looks = self.looks.and_those_of(other.looks)
        return Known(self.palette.and_that_of(other.palette), looks, looks)


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


class Segmentation:
    """The masks of one subject as they come to be: probabilities (T, h, w) of the frames worked on."""

    def __init__(self, shots: Shots, network: MaskNetwork | OnnxNetwork,
                 painted: Mapping[int, np.ndarray] | None = None):
        """painted  masks (H, W) in 0..1 of the marks that have one, by frame number"""
        self.shots, self.network, self.painted = shots, network, painted or {}
        self.suspicion = Suspicion.none(len(shots))
        self.told: dict[int, np.ndarray] = {}
        """What points tell at marked places: (h, w), 1 where they are on the subject, -1 where they are not."""
        features = Features.shipped(torch.device("cpu"))
        self.ahead = ThreadPoolExecutor(1)
        # Of long clips only the frames around the one that is looked at are held in Lab and as features.
        self.lab = functools.lru_cache(2 * max(OTHERS) + 4)(lambda place: lab_of(shots.pictures[place]))
        self.features = functools.lru_cache(4)(lambda place: features_of(shots.pictures[place], features))
        self.uncovered = functools.lru_cache(4)(self._uncovered)

    def find(self, marks: Sequence[Mark], places: Sequence[int],
             report: Progress = lambda done, of: None) -> np.ndarray:
        """Probabilities (T, h, w) from marks and the places of their frames.

        Boxes and masks come first; points on frames without them correct what was found from those.
        """
        whole = [k for k, mark in enumerate(marks) if mark.box or mark.mask] or list(range(len(marks)))
        rounds = 1 + (len(whole) < len(marks))
        self.steps, self.done, self.report = rounds * len(self.shots), 0, report
        settled = {places[k]: self._first_guess(marks[k]) for k in whole}
        # The background's motion is told from the subject's by where it is, which is known better the second time.
        for _ in range(2):
            self._follow_background(settled)
            settled = {places[k]: self._settled(marks[k], places[k], settled[places[k]]) for k in whole}
        found = self._between(settled)
        if len(whole) < len(marks):
            settled |= {place: self._corrected(mark, place, found[place].astype(np.float32))
                        if (found[place] > 0.5).any() else self._settled(mark, place, self._first_guess(mark))
                        for k, (mark, place) in enumerate(zip(marks, places, strict=True)) if k not in whole}
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

    def _settled(self, mark: Mark, place: int, guess: np.ndarray) -> np.ndarray:
        """The mask of a marked frame, (h, w) 0..1."""
        if mark.mask:
            return self._pointed(mark, place, self._first_guess(mark))
        limit = surroundings(self._first_guess(mark))[0] if mark.box else None
        found = guess
        for _ in range(LOOKS):
            found = self._pointed(mark, place, found)
            found = self._look(place, found, None)
            if limit is not None:
                found = found * limit
        found = self._corrected(mark, place, found)
        if not (found > 0.5).any():
            raise BadInput(f"frame {mark.frame}: found nothing that stands out from its surroundings in what is "
                           "marked; needs a box around the subject, or more points on it")
        return found

    def _corrected(self, mark: Mark, place: int, found: np.ndarray) -> np.ndarray:
        """What was found with what points say, and without stray patches that no point is on."""
        scale = self.shots.scale
        return tidied(self._pointed(mark, place, found), [(scale * x, scale * y) for x, y in mark.inside])

    def _pointed(self, mark: Mark, place: int, found: np.ndarray) -> np.ndarray:
        """What was found with what points say: what looks alike around each, as far as it reaches. It is kept in `told`
        for the frames around."""
        if not (mark.inside or mark.outside):
            return found
        found, scale = found.copy(), self.shots.scale
        told = self.told[place] = np.zeros_like(found)
        for points, sign, value in ((mark.inside, 1, 0.97), (mark.outside, -1, 0.03)):
            for x, y in points:
                around = _told_by(self.shots.pictures[place], found, (scale * x, scale * y), sign > 0,
                                  CLICK * WORKING_SIZE)
                found[around], told[around] = value, sign
        return found

    def _between(self, settled: dict[int, np.ndarray]) -> np.ndarray:
        """All frames' probabilities, given those of some."""
        found = np.zeros((len(self.shots), *self.shots.pictures[0].shape[:2]), np.float16)
        known = {place: self._known(place, mask) for place, mask in settled.items()}
        order = sorted(settled)
        for place in order:
            found[place] = settled[place]
        for t, mask in self._carried(range(order[0], -1, -1), settled[order[0]], known[order[0]]):
            found[t] = mask
        for t, mask in self._carried(range(order[-1], len(self.shots)), settled[order[-1]], known[order[-1]]):
            found[t] = mask
        for first, last in pairwise(order):
            both = known[first].and_that_of(known[last])
            for t, mask in self._carried(range(first, last), settled[first], both):
                found[t] = (last - t) / (last - first) * mask
            for t, mask in self._carried(range(last, first, -1), settled[last], both):
                found[t] += ((t - first) / (last - first) * mask).astype(np.float16)
        return found

    def _carried(self, way: range, mask: np.ndarray, known: Known) -> Iterable[tuple[int, np.ndarray]]:
        """Places and masks of the frames on a way after its first, whose mask is given; ends where it is lost."""
        least = LOST * float((mask > 0.5).sum())
        told = self.told.get(way.start)
        for step, (before, here) in enumerate(pairwise(way)):
            if (next_one := here + way.step) in way:
                self.ahead.submit(self._look_ahead, next_one)
            flow = self.shots.flow(here, before)
            if flow is None:
                return
            if step and step % LATELY == 0:
                known = replace(known, lately=self._looks(before, mask))
            mask = tidied(self._look(here, carried(mask, flow), known))
            if told is not None:
                told = REMEMBERED * carried(told, flow)
                mask = mask.clip(told, 1 + told)
            self.done += 1
            self.report(min(self.done, self.steps), self.steps)
            if (mask > 0.5).sum() <= least:
                return
            yield here, mask

    def _look(self, place: int, mask: np.ndarray, known: Known | None) -> np.ndarray:
        """What the network finds (h, w) 0..1 in a frame where the mask so far is (h, w), by what is known from a marked
        frame; without, by the colours of this one."""
        if not (mask > 0.4).any():
            return np.zeros_like(mask)
        maps, look = self._cues(place, mask, known), Look.at(box_of(mask > 0.4))
        cues = torch.from_numpy(np.moveaxis(look.cut(maps), -1, 0)[None].copy())
        with torch.inference_mode():
            odds = self.network(cues)[0, 0].numpy()
        found = 1 / (1 + np.exp(-look.put_back(odds, mask.shape, -20.0)))
        if known and (found > 0.5).any():
            self._suspect(place, maps, found)
        return found

    def _cues(self, place: int, mask: np.ndarray, known: Known | None) -> np.ndarray:
        """(h, w, CHANNELS) of a frame where the mask so far is (h, w), not empty."""
        shots = self.shots
        here = self._palette(place, mask)
        looks = [np.full(mask.shape, 0.5)] * 2
        if known:
            marked = known.looks.likeness(self.features(place), mask)
            lately = known.lately.likeness(self.features(place), mask) if known.lately is not known.looks else marked
            looks = [marked, lately]
        return cues_of(shots.pictures[place], self.lab(place), mask,
                       [shots.motion(place, beside) for beside in (place + 1, place - 1)], self.uncovered(place), here,
                       known.palette if known else here, looks)

    def _suspect(self, place: int, maps: np.ndarray, found: np.ndarray) -> None:
        """Note what cues (h, w, CHANNELS) say against a mask (h, w) that was found by them, not empty."""
        alike, moving = maps[..., COLOURS_AND_LOOKS].mean(-1) > 0.5, maps[..., MOTIONS].max(-1) > 0.5
        mask = found > 0.5
        beside = np.any(surroundings(found), 0) & (found < SURELY_NOT) & alike & moving
        things = cv2.morphologyEx(beside.astype(np.uint8), cv2.MORPH_OPEN, np.ones((GRAIN, GRAIN), np.uint8))
        areas = cv2.connectedComponentsWithStats(things)[2][1:, cv2.CC_STAT_AREA]
        self.suspicion.unlike[place] = (~alike)[mask].mean()
        self.suspicion.rival[place] = areas.max(initial=0) / mask.sum()

    def _uncovered(self, place: int) -> np.ndarray:
        others = [(self.lab(place + step), way) for step in OTHERS if 0 <= place + step < len(self.shots)
                  and (way := self.shots.way(place, place + step)) is not None]
        return uncovered(self.lab(place), others)

    def _look_ahead(self, place: int) -> None:
        """Make what does not depend on the mask, while the network still looks at the frame before."""
        self.features(place)
        self.uncovered(place)

    def _known(self, place: int, mask: np.ndarray) -> Known:
        looks = self._looks(place, mask)
        return Known(self._palette(place, mask), looks, looks)

    def _looks(self, place: int, mask: np.ndarray) -> Looks:
        return Looks.of(self.features(place), mask)

    def _palette(self, place: int, mask: np.ndarray) -> Palette:
        # Within a box nothing is told apart yet.
        unsure = surroundings(mask)[0] & (mask < 0.4) if mask.max() <= 0.5 else np.zeros(mask.shape, bool)
        return Palette.of(self.lab(place), mask, unsure)

    def _follow_background(self, guesses: dict[int, np.ndarray]) -> None:
        """How the background moves, by where the subject is if all of it moves alike from marked frames on."""
        shots = self.shots
        subjects = [np.zeros(shots.pictures[0].shape[:2], bool)] * len(shots)
        for place, guess in guesses.items():
            for way in (range(place, len(shots)), range(place, -1, -1)):
                region = subjects[place] = guess > 0.4
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


def _told_by(picture: np.ndarray, found: np.ndarray, point: Point, inside: bool, size: float) -> np.ndarray:
    """(h, w) bool: what a point on the subject or off it tells of, up to REACH times some radius around it.

    What is coloured alike and within half the reach is as the point says; a graph cut (GrabCut: Rother et al. 2004)
    settles anew what is around, and all beyond the reach stays as it was found.
    """
    height, width = found.shape
    column, row = (int(np.clip(round(value), 0, side - 1)) for value, side in zip(point, (width, height), strict=True))
    disc, near = np.zeros((2, height, width), np.uint8)
    cv2.circle(near, (column, row), max(round(REACH * size / 2), 2), 1, -1)
    filled = cv2.copyMakeBorder(1 - near, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    smooth = cv2.GaussianBlur(lab_of(picture), (0, 0), 0.8)
    cv2.floodFill(smooth, filled, (column, row), 0, (ALIKE,) * 3, (ALIKE,) * 3,
                  cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | 2 << 8)
    disc[filled[1:-1, 1:-1] == 2] = 1
    cv2.circle(disc, (column, row), max(round(size / 2), 1), 1, -1)
    cv2.circle(near, (column, row), max(round(REACH * size), 2), 1, -1)
    labels = np.where(found > 0.5, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    labels[near > 0] += cv2.GC_PR_BGD - cv2.GC_BGD
    labels[disc > 0] = cv2.GC_FGD if inside else cv2.GC_BGD
    reach = round(2 * REACH * size)
    window = (slice(max(row - reach, 0), row + reach), slice(max(column - reach, 0), column + reach))
    cut = np.ascontiguousarray(labels[window])
    if FEWEST < ((cut & 1) == 1).sum() < cut.size - FEWEST:
        cv2.grabCut(np.ascontiguousarray(picture[window]), cut, None, *np.zeros((2, 1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    told = np.zeros_like(disc)
    told[window] = (cut & 1) == inside
    parts = cv2.connectedComponents(told & near)[1]
    return (parts == parts[row, column]) | (disc > 0)


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


def confidence_of(found: np.ndarray) -> float:
    """How far a mask is expected to overlap with the true one, if its probabilities (h, w) are right; 0 where empty."""
    found = found.astype(np.float32)
    mask = found > 0.5
    return float(found[mask].sum() / max(mask.sum() + found[~mask].sum(), 1.0))


def check_mark(mark: Mark, image_size: tuple[int, int], numbers: np.ndarray) -> int:
    """The place of a mark's frame among the clip's (T,); BadInput where the mark lies outside."""
    width, height = image_size
    if mark.frame not in numbers:
        raise BadInput(f"frame {mark.frame}: found no such frame among those chosen, {numbers[0]} to {numbers[-1]}")
    if mark.box:
        left, top, wide, high = mark.box
        if left >= width or top >= height or left + wide <= 0 or top + high <= 0:
            raise BadInput(f"box {left:g},{top:g},{wide:g},{high:g}: lies outside the frame of {width}x{height} "
                           "pixels; needs left, top, width, height of a box inside")
    for x, y in (*mark.inside, *mark.outside):
        if not (0 <= x < width and 0 <= y < height):
            raise BadInput(f"point {x:g},{y:g}: lies outside the frame of {width}x{height} pixels")
    return int(np.flatnonzero(numbers == mark.frame)[0])
