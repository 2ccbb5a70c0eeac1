"""Region similarity J and contour accuracy F of a result's silhouettes against masks (DAVIS; Perazzi et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput
from ..parallel import in_parallel
from ..reconstruction import Reconstruction
from ..video.clip import Clip
from ..video.mask_facts import MaskFacts
from ..video.masks import load_masks
from ..video.subjects import Choice
from .raster import silhouette

Masks = Mapping[int, np.ndarray] | Iterable[tuple[int, np.ndarray]]

CONTOUR_TOLERANCE = 0.008
"""Distance within which contours count as matched, in image diagonals (DAVIS)."""


@dataclass(frozen=True)
class MaskScores:
    """J and F of each scored frame."""

    frames: np.ndarray
    """(N,) int32, numbers of the clip's frames that have a mask."""
    j: np.ndarray
    """(N,) float64, 0 to 1."""
    f: np.ndarray
    """(N,) float64, 0 to 1."""

    def means(self) -> dict[str, float | int]:
        """What `evaluate` prints."""
        return {"J": float(self.j.mean()), "F": float(self.f.mean()), "J_min": float(self.j.min()),
                "scored_frames": len(self.frames)}


def region_similarity(predicted: np.ndarray, true: np.ndarray) -> float:
    """J, intersection over union of two masks (H, W) bool; 1 where both are empty."""
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else 1.0


def contour_accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """F, the harmonic mean of precision and recall of the contours of two masks (H, W) bool.

    A contour pixel is matched where the other contour passes within CONTOUR_TOLERANCE, rounded up to whole pixels.
    """
    contours = boundary(predicted), boundary(true)
    present = [contour.any() for contour in contours]
    if not all(present):
        return 0.0 if any(present) else 1.0
    tolerance = math.ceil(CONTOUR_TOLERANCE * math.hypot(*predicted.shape))
    near = [_distance_to(contour) <= tolerance for contour in contours]
    precision = np.count_nonzero(contours[0] & near[1]) / np.count_nonzero(contours[0])
    recall = np.count_nonzero(contours[1] & near[0]) / np.count_nonzero(contours[1])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool, the pixels that differ from their right, lower or lower right neighbour (DAVIS seg2bmap)."""
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask ^ beyond[:-1, 1:]) | (mask ^ beyond[1:, :-1]) | (mask ^ beyond[1:, 1:])


def _distance_to(contour: np.ndarray) -> np.ndarray:
    return cv2.distanceTransform((~contour).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def evaluate(reconstruction: Reconstruction, masks: Masks) -> MaskScores:
    """J and F of each frame of the result that has a mask.

    masks   (H, W) bool at the size of the footage with the number of the clip's frame: a mapping or pairs in any order
    BadInput if none of the result's frames has one.
    """
    index = {int(number): i for i, number in enumerate(reconstruction.frames)}

    def score(frame: tuple[int, np.ndarray]) -> tuple[int, float, float]:
        number, mask = frame
        predicted = silhouette(reconstruction, index[number])
        return number, region_similarity(predicted, mask), contour_accuracy(predicted, mask)

    given = masks.items() if isinstance(masks, Mapping) else masks
    scored = list(in_parallel(score, (frame for frame in given if frame[0] in index)))
    if not scored:
        raise BadInput(f"masks: found none for the result's frames {reconstruction.frames[0]} to "
                       f"{reconstruction.frames[-1]}; needs at least one")
    numbers, j, f = zip(*sorted(scored), strict=True)
    return MaskScores(np.array(numbers, np.int32), np.array(j), np.array(f))


def masks_of(
    result: Reconstruction, path: Path, clip: Clip | None = None, selected: np.ndarray | None = None,
    choice: Choice | None = None,
) -> tuple[dict[int, MaskFacts], Sequence[str]]:
    """Masks of the result's frames that have one in a folder of images or a video, by the frame's number.

    clip      of the result, by whose frames masks are matched; None: as far as is known, the result's frames are all
    selected  (n,) frames of the clip that the result was asked for, the result's among them
    choice    which subject is meant where the masks hold several
    Also returns how the masks were read and matched, in a line each, where they are not plain.
    """
    size = (int(result.image_size[0]), int(result.image_size[1]))
    if clip is None:
        files = tuple(Path(f"{number}.png") for number in result.frames)
        clip = Clip(path, result.frames, size, size, None, files)
    masks = load_masks(path, clip, result.frames if selected is None else selected, choice)
    return {number: facts for number, facts in masks.facts.items() if number in result.frames}, masks.notes
