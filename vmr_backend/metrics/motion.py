"""Whether anything moves in a clip: how far its optical flow, across the whole of it, carries the subject."""

from __future__ import annotations

import cv2
import numpy as np

from ..video.crops import pixel_centres
from ..video.flow import dis, over_mean, sample
from ..video.footage import Footage

FRAMES = 16
"""Frames, spread over the clip, that are compared with the first one: steps from frame to frame may be too small."""

SHARE = 0.95
"""Fraction of the subject that moves less than is returned: a limb that moves counts, a few pixels of noise do not."""

EXPLAINED = 0.6
"""Fraction of the difference between two frames beyond which motion does not explain it: it is noise or light."""

ROUNDED = 0.3
"""Squared difference, of 255, that sampling one picture in two crops leaves."""

ANOTHER_PICTURE = 0.2
"""Squared difference between two frames, over the variance of the subject's greys, beyond which it has moved further
than flow can follow: between pixels taken at random it is 2."""

GRAIN, WINDOW = 1.0, 4.0
"""Pixels of a crop by which frames are smoothed, against noise, and around each pixel over which they are compared."""


def motion(footage: Footage) -> float:
    """How far the subject moves in the picture from the clip's first frame to any other, as a fraction of its size, the
    square root of its mask's area; 1 where it moves further than flow can follow. Masks and crops that shake over a
    still picture, noise and light are no motion."""
    others = np.unique(np.linspace(1, len(footage.numbers) - 1, FRAMES).astype(int))
    return max(_between(footage, int(t)) for t in others)


def _between(footage: Footage, t: int) -> float:
    """Of the subject from the first frame to the t-th."""
    grey = [cv2.cvtColor(footage.images[i], cv2.COLOR_RGB2GRAY) for i in (0, t)]
    subject = footage.masks[0]
    here = pixel_centres(len(subject))
    flow = dis(*map(over_mean, grey, footage.masks[[0, t]])) * np.float32(2 / len(subject))
    (centre, half), (centre_then, half_then) = ((footage.crop_centre[i], footage.crop_half[i]) for i in (0, t))
    stays = (centre + half * here - centre_then) / half_then
    first, then = (cv2.GaussianBlur(picture.astype(np.float32), (0, 0), GRAIN) for picture in grey)
    mean, spread = _light(first, subject)
    mean_then, spread_then = _light(sample(then, stays, cv2.BORDER_REPLICATE), subject)
    then = mean + (then - mean_then) * spread / spread_then
    still, moved = (_difference(first, sample(then, samples, cv2.BORDER_REPLICATE), subject)
                    for samples in (stays, here + flow))
    if np.average(np.minimum(still, moved), weights=subject) > ANOTHER_PICTURE * spread**2:
        return 1.0
    way = np.linalg.norm(here + flow - stays, axis=-1) * half_then
    way[moved + ROUNDED > EXPLAINED * still] = 0
    order = np.argsort(way, axis=None)
    sums = np.cumsum(subject.ravel()[order])
    size = 2 * half * np.sqrt(subject.mean())
    return min(float(way.ravel()[order][np.searchsorted(sums, SHARE * sums[-1])] / size), 1.0)


def _light(picture: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of a picture (S, S) by a weight (S, S): what differs where two frames are lit differently."""
    mean = np.average(picture, weights=weight)
    return float(mean), max(float(np.sqrt(np.average((picture - mean) ** 2, weights=weight))), 1.0)


def _difference(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of two pictures (S, S), squared: the mean around each pixel by a weight (S, S)."""
    blurred = [cv2.GaussianBlur(values, (0, 0), WINDOW) for values in ((a - b) ** 2 * weight, weight)]
    return blurred[0] / np.maximum(blurred[1], 1e-6)
