"""Cues that separate a subject from what is behind it at one moment of a clip: maps for the network that finds masks.

Motion     against the background's own, which a homography describes, to the next frame and from the one before
Uncovering the background of other frames, moved onto this one by homographies, differs where the subject stands
Colour     more frequent on the subject than around it: by the mask so far, and by the frame that the user marked
Features   nearer to those of the subject in that frame than to those around it, also by where they lie in the subject's
           box; likewise nearer to those of a frame found recently, as the subject turns
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ..video.mask_facts import box_of
from .features import STRIDE, Features

CHANNELS = 11
"""RGB, the mask so far, motion forward and backward, uncovering, colours of here, colours and features of the marked
frame, features of a frame that was found recently."""
MOTIONS, COLOURS_AND_FEATURES = slice(4, 6), slice(8, 10)
"""Which of them are motion, and which are likeness to the marked frame."""
LIKEST, DECIDED, MOST = 3, 0.08, 1500
"""Features of the marked frame that each is compared with, by how much more it must be like the subject's (a cosine)
to count as decided, and how many are kept of each side."""
ELSEWHERE = 0.5
"""What likeness (a cosine of features) loses one side of the subject's box away, as the square of the distance: a
reflection looks like the subject, but not in its place."""
COMPARED = 0.8
"""Longer sides of the subject's box, from its middle, up to which features are compared; the network's window: .75."""
BINS = (20, 24, 24)
"""Of the histograms of colours, along L, a and b."""
NOTHING = 1e-5
"""Added to what histograms hold: colours that neither side has decide nothing."""
AROUND = 0.4
"""How far beyond the subject the surroundings go that it is compared with, over its longer side."""
STILL = 0.25
"""Pixels of motion, beside the surroundings' own, that count as half of what can be seen."""
SAME = 3.0
"""Difference of Lab colours that counts likewise."""
MOST_ALIKE = 0.35
"""Of the frames that a pixel is compared with, the fraction that may be more like it than the one that counts."""


@dataclass(frozen=True)
class Palette:
    """How often colours are (BINS): on the subject, and around it. Each sums to 1."""

    subject: np.ndarray
    around: np.ndarray

    @staticmethod
    def of(lab: np.ndarray, mask: np.ndarray, outside: np.ndarray) -> Palette:
        """Of a picture (H, W, 3) in Lab; mask (H, W) in 0..1; outside (H, W) bool, whose colours are not around it."""
        index = _bin(lab)
        return Palette(_histogram(index, mask), _histogram(index, (mask < 0.4) & ~outside))

    def and_that_of(self, other: Palette) -> Palette:
        return Palette((self.subject + other.subject) / 2, (self.around + other.around) / 2)

    def likeness(self, lab: np.ndarray) -> np.ndarray:
        """(H, W) 0..1: how much likelier each colour is on the subject than around it."""
        subject, around = (side.ravel()[_bin(lab)] + NOTHING for side in (self.subject, self.around))
        return subject / (subject + around)


@dataclass(frozen=True)
class FeatureMemory:
    """Features of a frame whose mask is known, on the subject and around it, (C + 3, N): the features, and the weights
    of the terms of the distance to where they lie."""

    subject: Tensor
    around: Tensor

    @staticmethod
    def of(features: Tensor, mask: np.ndarray) -> FeatureMemory:
        """Of a frame's features (C, H, W) and its mask (h, w) in 0..1."""
        subject, near = surroundings(mask)
        size = features.shape[2], features.shape[1]
        inside, outside = (cv2.resize(side.astype(np.float32), size, interpolation=cv2.INTER_AREA)
                           for side in (mask, near | subject & (mask < 0.2)))
        position = _positions(features, mask)
        sought = torch.cat([features, 2 * ELSEWHERE * position, -ELSEWHERE * (position**2).sum(0, keepdim=True)])
        sides = inside > 0.7, (outside > 0.7) & (inside < 0.2)
        return FeatureMemory(*(_few(sought[:, torch.from_numpy(side)]) for side in sides))

    def and_that_of(self, other: FeatureMemory) -> FeatureMemory:
        return FeatureMemory(torch.cat([self.subject, other.subject], 1), torch.cat([self.around, other.around], 1))

    def likeness(self, features: Tensor, mask: np.ndarray) -> np.ndarray:
        """(h, w) 0..1: how much more each of a frame's features (C, H, W) is like the subject's, whose mask (h, w) in
        0..1 is found so far."""
        if not self.subject.shape[1] or not self.around.shape[1]:
            return np.full(mask.shape, 0.5, np.float32)
        position = _positions(features, mask)
        # Products with a memory are cosines less ELSEWHERE |position - its position|^2, up to what all have alike.
        near = (position.abs() < COMPARED).all(0)
        sought = torch.cat([features, position, torch.ones_like(position[:1])])[:, near].T
        alike, other = ((sought @ side).topk(min(LIKEST, side.shape[1]), 1).values.mean(1)
                        for side in (self.subject, self.around))
        cue = torch.full(features.shape[1:], 0.5)
        cue[near] = ((alike - other) / DECIDED).sigmoid()
        return cv2.resize(cue.numpy(), mask.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _positions(features: Tensor, mask: np.ndarray) -> Tensor:
    """(2, H, W): where features (C, H, W) lie, from the middle of a mask's (h, w) box, in its longer sides."""
    left, top, right, bottom = box_of(mask > 0.4) if (mask > 0.4).any() else (0, 0, *mask.shape[::-1])
    rows, columns = torch.meshgrid(*(STRIDE * (torch.arange(count) + 0.5) for count in features.shape[1:]),
                                   indexing="ij")
    return torch.stack([columns - (left + right) / 2, rows - (top + bottom) / 2]) / max(right - left, bottom - top)


def _few(features: Tensor) -> Tensor:
    """At most MOST of features (C, N), evenly."""
    every = -(-features.shape[1] // MOST)
    return features[:, ::max(every, 1)]


def cues_of(picture: np.ndarray, lab: np.ndarray, mask: np.ndarray,
            motions: Sequence[tuple[np.ndarray, np.ndarray] | None], apart: np.ndarray,
            here: Palette, marked: Palette, alike: Sequence[np.ndarray]) -> np.ndarray:
    """All cues (H, W, CHANNELS) float32 in 0..1 of a picture (H, W, 3) uint8 RGB, as the network is trained on them.

    lab     the same in Lab
    mask    (H, W) 0..1, found so far; not empty
    motions to the next frame and to the one before: flow (H, W, 2) and the background's homography (3, 3); None where
            there is no such frame
    apart   what is `uncovered` (H, W)
    here    colours by the mask so far; marked: those of the marked frame
    alike   likeness (H, W) 0..1 to the features of the marked frame, and of one that was found recently
    """
    near = surroundings(mask)[1]
    moved = [motion_cue(*motion, near) if motion else np.full(mask.shape, 0.5, np.float32) for motion in motions]
    return np.dstack([picture.astype(np.float32) / 255, mask, *moved, uncovering_cue(apart, near),
                      here.likeness(lab), marked.likeness(lab), *alike]).astype(np.float32)


@torch.inference_mode()
def features_of(picture: np.ndarray, network: Features) -> Tensor:
    """Features (C, H, W) of a picture (h, w, 3) uint8 RGB, whose last rows and columns may be left out."""
    height, width = (STRIDE * (side // STRIDE) for side in picture.shape[:2])
    return network(torch.from_numpy(picture[:height, :width].astype(np.float32) / 255).permute(2, 0, 1)[None])[0]


def lab_of(picture: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3) uint8 to Lab float32, L in 0..100."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)


def surroundings(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a subject of a mask (H, W) in 0..1 may be, and where what is near it is: (H, W) bool, (H, W) bool."""
    if not (mask > 0.4).any():
        return np.ones(mask.shape, bool), np.zeros(mask.shape, bool)
    left, top, right, bottom = box_of(mask > 0.4)
    size = max(right - left, bottom - top)
    subject = grown(mask > 0.4, 0.05 * size)
    return subject, grown(subject, AROUND * size) & ~subject


def grown(mask: np.ndarray, reach: float) -> np.ndarray:
    """A mask (H, W) bool with all that is within reach of it, px."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    return away <= reach


def motion_cue(flow: np.ndarray, homography: np.ndarray, near: np.ndarray) -> np.ndarray:
    """(H, W) 0..1: how far flow (H, W, 2) is from that of the background."""
    length = np.linalg.norm(flow - background_flow(homography, near.shape), axis=2)
    usual = np.percentile(length[near], 75) if near.any() else 0.0
    return (length / (length + usual + STILL)).astype(np.float32)


def background_flow(homography: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W, 2) where a homography (3, 3) moves pixels of a picture."""
    rows, columns = np.mgrid[:shape[0], :shape[1]].astype(np.float32)
    pixels = np.stack([columns, rows], -1)
    return cv2.perspectiveTransform(pixels.reshape(1, -1, 2), homography).reshape(pixels.shape) - pixels


def uncovered(lab: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(H, W): how different a picture (H, W, 3) is from other frames at the same points of the background; infinite
    where none of them shows these.

    others  pictures in Lab with the homographies (3, 3) from this picture's pixels to theirs
    """
    if not others:
        return np.full(lab.shape[:2], np.inf, np.float32)
    found = np.sort(np.stack([_difference(lab, other, homography) for other, homography in others]), 0)
    seen = np.isfinite(found).sum(0)
    rank = np.minimum((MOST_ALIKE * seen).astype(int), np.maximum(seen - 1, 0))
    return np.take_along_axis(found, rank[None], 0)[0]


def uncovering_cue(apart: np.ndarray, near: np.ndarray) -> np.ndarray:
    """(H, W) 0..1 of what is `uncovered` (H, W), by how much is usual near the subject."""
    known = np.isfinite(apart)
    usual = np.percentile(apart[near & known], 75) if (near & known).any() else 0.0
    return np.where(known, apart / (np.where(known, apart, 1) + usual + SAME), 0.5).astype(np.float32)


def _difference(lab: np.ndarray, other: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """(H, W) least difference of Lab colours to the 3 x 3 pixels of another frame; infinite where it does not reach."""
    size = lab.shape[1::-1]
    way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(other, homography, size, flags=way, borderMode=cv2.BORDER_REPLICATE)
    reaches = cv2.warpPerspective(np.ones(other.shape[:2], np.uint8), homography, size, flags=way)
    block = np.ones((3, 3), np.uint8)
    apart = np.maximum(np.maximum(lab - cv2.dilate(moved, block), cv2.erode(moved, block) - lab), 0)
    return np.where(reaches > 0, np.sqrt((apart**2).sum(2)), np.inf)


def _bin(lab: np.ndarray) -> np.ndarray:
    light, a, b = (np.clip(value * count, 0, count - 1).astype(np.int32) for value, count in zip(
        (lab[..., 0] / 100, lab[..., 1] / 144 + 0.5, lab[..., 2] / 144 + 0.5), BINS, strict=True))
    return (light * BINS[1] + a) * BINS[2] + b


def _histogram(index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Smoothed over neighbouring bins."""
    counts = np.bincount(index.ravel(), weight.ravel().astype(np.float64), BINS[0] * BINS[1] * BINS[2]).reshape(BINS)
    kernel = np.exp(-0.5 * np.arange(-2, 3) ** 2)
    for axis in range(3):
        padded = np.pad(counts, [(2, 2) if a == axis else (0, 0) for a in range(3)])
        counts = sum(weight * np.take(padded, np.arange(BINS[axis]) + k, axis) for k, weight in enumerate(kernel))
    return counts / max(counts.sum(), 1e-9)
