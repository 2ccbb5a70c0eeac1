"""Bakes one UV map from all frames of a clip.

The footage is passed through twice. First the few frames are found that show each vertex best (`selection`), then
the texels between them collect their colours from those frames alone. No frame is kept: memory hardly grows with the
length of the clip.
Each sample is kept in two bands (Burt and Adelson 1983; Baumberg 2002 for textures): the coarse band, where light and
exposure differ between frames, is averaged robustly over all of a texel's samples; the fine band is taken from
the best of them, since averaging over frames that are not perfectly aligned would blur it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ..parallel import in_parallel
from ..reconstruction import Reconstruction
from .fill import fill
from .layout import Layout, lay_out
from .selection import BEST_FRAMES, FrameView, Images, Selection, frame_view, geman_mcclure, select
from .view import TexelView, look_up, project

MAX_ROWS = 2048
"""Larger maps are enlarged from one of this size: footage holds no more detail, and memory would."""

COARSE = 0.03
"""Standard deviation of the blur that makes the coarse band, over the square root of the mask's area."""

DEPTH_TOLERANCE = 0.01
"""How far behind the nearest surface a texel may lie and still count as seen, over the mesh's extent."""

OUTLIER = 12.0
"""Difference of colour (of 255) from the other samples at which a sample's weight is quartered."""

FINE_POWER = 4
"""Power of the weights in the fine band: with 4, a sample half as good as the best has 1/16 of its weight."""

POOR = (0.005, 0.03)
"""Confidence at which a view counts as none, and from which it counts fully."""

CHUNK = 1 << 15
"""Texels whose samples are combined together."""


@dataclass(frozen=True)
class BakedTexture:
    """A UV map and how much of it the footage shows."""

    image: np.ndarray
    """(size, 2 * size, 3) uint8 RGB, row 0 at v = 1."""
    coverage: np.ndarray
    """(size, 2 * size) uint8: 255 seen, 0 made up (or no part of the surface)."""
    seen: float
    """Fraction of the surface, by area of the rest shape, that some frame shows."""


@dataclass
class _Samples:
    """The best samples of each of N texels; a slot is empty while its weight is 0."""

    weight: np.ndarray
    """(BEST_FRAMES, N) float16."""
    colour: np.ndarray
    """(BEST_FRAMES, N, 6) uint8: RGB in full, RGB of the coarse band."""

    @staticmethod
    def none(count: int) -> _Samples:
        return _Samples(np.zeros((BEST_FRAMES, count), np.float16), np.zeros((BEST_FRAMES, count, 6), np.uint8))

    def add(self, texels: np.ndarray, weight: np.ndarray, colour: np.ndarray) -> None:
        """Keeps samples (n,), (n, 6) of distinct texels (n,) in place of the worst ones held so far."""
        slot = self.weight[:, texels].argmin(0)
        better = weight > self.weight[slot, texels]
        texels, slot = texels[better], slot[better]
        self.weight[slot, texels], self.colour[slot, texels] = weight[better], colour[better]


def bake_texture(reconstruction: Reconstruction, frames: Images, masks: Images, size: int,
                 progress: Callable[[int, int], None] | None = None) -> BakedTexture:
    """One UV map, size x 2 size, of the surface as the clip shows it.

    frames    called with the index of a frame in the result (0 is its first), gives (H, W, 3) uint8 RGB of the full
              frame; asked for in ascending order, twice from the start
    masks     likewise (H, W), bool, 0..1 or 0..255
    progress  called with steps done and steps in all
    """
    count = len(reconstruction.frames)
    step = (lambda done: progress(done, 2 * count)) if progress else (lambda done: None)
    rows = min(size, MAX_ROWS)
    layout = lay_out(reconstruction.uv, rows, 2 * rows)
    selection = select(reconstruction, frames, masks, lambda done, _: step(done))
    samples = _Samples.none(len(layout.texel))

    def collect(frame: tuple[int, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        index = frame[0]
        if not selection.weights[index].any():
            return None
        return _collect(frame_view(reconstruction, *frame), reconstruction, index, selection, layout)

    for index, found in enumerate(in_parallel(collect, ((i, frames(i), masks(i)) for i in range(count)))):
        if found:
            samples.add(*found)
        step(count + index + 1)
    colours, known = _combine(samples)
    known *= _well_seen(selection, reconstruction, layout)
    return _finish(colours, known, layout, reconstruction, size)


def _collect(seen: FrameView, reconstruction: Reconstruction, index: int, selection: Selection,
             layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The samples that one frame gives: texels (n,), weights (n,) and colours (n, 6)."""
    faces, weights = reconstruction.faces, selection.weights[index]
    texels = layout.texels_of(np.flatnonzero((weights[faces] > 0).any(1)))
    values = np.concatenate([seen.points, weights[:, None]], 1)
    held = layout.interpolate(values, faces, texels)
    x, y = (project(held[:, :3], reconstruction.intrinsics[index]) - seen.view.window[:2]).T
    weight = held[:, 3] * _visible(seen.view, x, y, held[:, 2], np.ptp(seen.points, axis=0).max())
    weight[weight > 0] *= look_up(seen.trust, x[weight > 0], y[weight > 0])
    chosen = weight > 1e-3
    x, y = x[chosen], y[chosen]
    coarse_band = _coarse_band(seen)
    subject = np.where(seen.trust[..., None] > 0, seen.image, coarse_band)     # so that no lookup meets the background
    full = look_up(subject, x, y, cv2.INTER_CUBIC) * selection.gains[index]
    coarse = look_up(coarse_band, x, y) * selection.gains[index]
    colours = np.clip(np.concatenate([full, coarse], 1) + 0.5, 0, 255).astype(np.uint8)
    return texels[chosen], weight[chosen], colours


def _visible(view: TexelView, x: np.ndarray, y: np.ndarray, depth: np.ndarray, extent: float) -> np.ndarray:
    """(n,) bool, whether points at window pixels x, y (n,) and depth (n,) are the nearest surface."""
    height, width = view.depth.shape
    column, row = np.floor(x * view.scale).astype(int), np.floor(y * view.scale).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    nearest = view.depth[np.where(inside, row, 0), np.where(inside, column, 0)]
    return inside & (nearest > 0) & (depth <= nearest + DEPTH_TOLERANCE * extent)


def _coarse_band(seen: FrameView) -> np.ndarray:
    """(h, w, 3) float32, the frame blurred within the mask, so that the background does not leak in."""
    height, width = seen.trust.shape
    weight = seen.trust[..., None] + 1e-4
    deviation = max(COARSE * np.sqrt(np.count_nonzero(seen.trust)), 1.0)
    shrink = max(int(deviation / 4), 1)     # a wide blur needs no fine pixels, and takes long on them
    small = (max(width // shrink, 1), max(height // shrink, 1))
    sums = cv2.resize(np.concatenate([seen.image * weight, weight], 2), small, interpolation=cv2.INTER_AREA)
    sums = cv2.GaussianBlur(sums, (0, 0), deviation / shrink)
    return cv2.resize(sums[..., :3] / sums[..., 3:], (width, height), interpolation=cv2.INTER_LINEAR)


def _combine(samples: _Samples) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N, 3) float32 and (N,) float32 how far they are known, 0 to 1."""
    count = samples.weight.shape[1]
    colours, known = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)

    def combine(start: int) -> None:
        chunk = slice(start, start + CHUNK)
        weight = samples.weight[:, chunk].astype(np.float32)
        full, coarse = np.moveaxis(samples.colour[:, chunk], 2, 0).astype(np.float32).reshape(2, 3, *weight.shape)
        base, agreement = _robust_mean(coarse, weight)
        fine = (weight * agreement) ** FINE_POWER
        fine /= np.maximum(fine.sum(0), 1e-20)
        mixed = base + ((full - coarse) * fine).sum(1)
        # No colour that no sample has: bands of different frames may add up to one.
        held = weight > 0
        colours[chunk] = np.clip(mixed, np.where(held, full, 255).min(1), np.where(held, full, 0).max(1)).T
        # Weights go to zero within a face where the seen part of the surface ends: blend over that face.
        known[chunk] = np.minimum(weight.sum(0) / 0.25, 1)

    list(in_parallel(combine, range(0, count, CHUNK)))
    return colours, known


def _robust_mean(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (3, n) of samples (3, S, n) weighted by (S, n) and by their agreement (S, n) with the mean.

    Iteratively reweighted (Geman and McClure), from the sample of median brightness.
    """
    order = values.sum(0).argsort(0)
    passed = np.take_along_axis(weight, order, 0).cumsum(0)
    middle = np.take_along_axis(order, (passed < passed[-1] / 2).sum(0, keepdims=True).clip(max=len(weight) - 1), 0)
    mean = np.take_along_axis(values, middle[None], 1)
    for _ in range(3):
        agreement = geman_mcclure(np.abs(values - mean).sum(0) / (3 * OUTLIER))
        agreeing = weight * agreement
        mean = (values * agreeing).sum(1, keepdims=True) / np.maximum(agreeing.sum(0), 1e-20)
    return mean[:, 0], agreement


def _well_seen(selection: Selection, reconstruction: Reconstruction, layout: Layout) -> np.ndarray:
    low, high = POOR
    well = np.clip((selection.confidence - low) / (high - low), 0, 1).astype(np.float32)
    return layout.interpolate(well, reconstruction.faces, slice(None))


def _finish(colours: np.ndarray, known: np.ndarray, layout: Layout, reconstruction: Reconstruction,
            size: int) -> BakedTexture:
    """The whole map, with what is not known made up."""
    rest, faces = reconstruction.rest_vertices, reconstruction.faces
    texels = fill(colours, known, layout, rest, faces)
    image = layout.spread(np.clip(texels + 0.5, 0, 255).astype(np.uint8))
    coverage = np.zeros(layout.shape, np.uint8)
    coverage.reshape(-1)[layout.texel] = np.where(known > 0.5, 255, 0)
    if size > MAX_ROWS:
        image = cv2.resize(image, (2 * size, size), interpolation=cv2.INTER_CUBIC)
        coverage = cv2.resize(coverage, (2 * size, size), interpolation=cv2.INTER_NEAREST)
    return BakedTexture(image, coverage, _seen_fraction(known, layout, rest, faces))


def _seen_fraction(known: np.ndarray, layout: Layout, rest: np.ndarray, faces: np.ndarray) -> float:
    """Fraction of the surface whose texels are known for more than half; faces without texels count as unseen."""
    texels = np.bincount(layout.face, minlength=len(faces))
    seen = np.bincount(layout.face, known > 0.5, len(faces)) / np.maximum(texels, 1)
    corners = rest[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return float((seen * area).sum() / area.sum())
