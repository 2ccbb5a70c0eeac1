"""Which frames each vertex is best seen in: by visibility, angle, resolution, sharpness, and agreement of colour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse

from ..parallel import in_parallel
from ..reconstruction import Reconstruction
from .view import TexelView, camera_points, project, see, vertex_normals, window_of

Images = Callable[[int], np.ndarray]
"""Full-frame images by index in the result: (H, W, 3) uint8 RGB, or (H, W) masks; asked for in ascending order."""

BEST_FRAMES = 6
"""Frames that may colour a vertex. More even out noise, fewer keep detail that is not perfectly aligned."""

FACING = 0.15
"""Cosine between normal and view below which a vertex does not count as seen: its texels would be streaks."""

BORDER = 0.03
"""Distance from the mask's border, over the square root of the mask's area, from which a pixel is fully trusted."""

DEPTH_STEP = 0.02
"""Second difference of depth between neighbouring pixels, over the mesh's extent, that marks where one part hides
another."""

SAMPLES_PER_FACE = 4
"""Pixels to draw for each visible face, so that small faces are not missed between pixel centres."""

SMOOTHING = 2
"""Times that scores are averaged with those of neighbouring vertices."""

COLOUR_TOLERANCE = 14.0
"""Difference of colour (of 255) at which a sample's weight is quartered; half again of what shading in a turn makes."""

GAIN_LIMIT = 0.4
"""Largest correction of exposure, natural logarithm."""


@dataclass(frozen=True)
class FrameView:
    """One frame of footage where the mesh is seen in it."""

    view: TexelView
    points: np.ndarray
    """(V, 3) float32 vertices in camera space."""
    image: np.ndarray
    """(h, w, 3) uint8, the window's part of the frame."""
    trust: np.ndarray
    """(h, w) float32, 0 outside the mask and at edges where one part hides another, 1 well inside."""


@dataclass(frozen=True)
class Selection:
    """What pass one over the footage finds out."""

    weights: np.ndarray
    """(T, V) float32, 0 to 1: how much a frame colours a vertex; no more than BEST_FRAMES are above 0 for a vertex.
    Weights go to zero where a frame leaves the selection, so that no seams show."""
    gains: np.ndarray
    """(T, 3) float32: what a frame's colours are multiplied with to match the exposure of the others."""
    confidence: np.ndarray
    """(V,) float32, 0 to 1: quality of the best view of a vertex, over that of the well seen ones."""


def frame_view(reconstruction: Reconstruction, index: int, image: np.ndarray, mask: np.ndarray) -> FrameView | None:
    """The result's frame `index` with its footage, or None where the mesh is out of the picture or has no mask."""
    points = camera_points(reconstruction, index)
    intrinsics = reconstruction.intrinsics[index]
    size = (int(reconstruction.image_size[0]), int(reconstruction.image_size[1]))
    window = window_of(points, intrinsics, size)
    if window is None:
        return None
    mask = as_bool(window.cut(mask))
    if not mask.any():
        return None
    view = see(points, intrinsics, reconstruction.faces, window, _scale(points, intrinsics, reconstruction.faces))
    return FrameView(view, points, window.cut(image), _trust(view, mask, np.ptp(points, axis=0).max()))


def as_bool(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) of truth values, of 0 to 1 or of 0 to 255 as truth values."""
    return mask if mask.dtype == bool else mask > (0.5 if mask.dtype.kind == "f" else 127)


def select(reconstruction: Reconstruction, frames: Images, masks: Images,
           progress: Callable[[int, int], None] | None = None) -> Selection:
    """Weighs, for each vertex, the frames in which it is seen; passes through the footage once."""
    count, vertices = len(reconstruction.frames), reconstruction.vertices.shape[1]
    scores = np.zeros((count, vertices), np.float32)
    colours = np.zeros((count, vertices, 3), np.float32)
    sharpness = np.zeros(count, np.float32)

    def score(frame: tuple[int, np.ndarray, np.ndarray]) -> None:
        index = frame[0]
        seen = frame_view(reconstruction, *frame)
        if seen is not None:
            scores[index], colours[index] = _score(seen, reconstruction, index)
            sharpness[index] = _sharpness(seen)

    for index, _ in enumerate(in_parallel(score, ((i, frames(i), masks(i)) for i in range(count)))):
        if progress:
            progress(index + 1, count)
    if sharpness.any():
        scores *= np.clip(sharpness / np.median(sharpness[sharpness > 0]), 0.2, 1.5)[:, None]
    gains = _gains(colours, scores)
    scores *= _agreement(colours * gains[:, None], scores)
    scores = _smoothed(scores, reconstruction.faces)
    return Selection(_best(scores), gains, _confidence(scores))


def _scale(points: np.ndarray, intrinsics: np.ndarray, faces: np.ndarray) -> int:
    """Pixels to draw for one of the frame, so that a visible face has SAMPLES_PER_FACE on average."""
    corners = project(points, intrinsics)[faces]
    area = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])).mean() / 2
    return int(np.clip(np.ceil(np.sqrt(SAMPLES_PER_FACE / max(area, 1e-6))), 1, 4))


def _trust(view: TexelView, mask: np.ndarray, extent: float) -> np.ndarray:
    """How far each pixel (h, w) of the window is from where something else begins: 0 to 1."""
    depth = np.where(view.drawn, view.depth, np.nan)[::view.scale, ::view.scale]
    edge = np.zeros(depth.shape, bool)
    # Within a surface depth bends little from pixel to pixel however steep it is; nothing drawn compares as False.
    edge[:, 1:-1] |= np.abs(depth[:, 2:] - 2 * depth[:, 1:-1] + depth[:, :-2]) > DEPTH_STEP * extent
    edge[1:-1] |= np.abs(depth[2:] - 2 * depth[1:-1] + depth[:-2]) > DEPTH_STEP * extent
    distance = cv2.distanceTransform((mask & ~edge).astype(np.uint8), cv2.DIST_L2, 5)
    reach = max(BORDER * np.sqrt(np.count_nonzero(mask)), 2.0)
    # The outermost pixels of the mask, at a distance of 1, are mixed with the background: all but nothing.
    return np.clip((distance - 0.9) / reach, 0, 1)


def _score(seen: FrameView, reconstruction: Reconstruction, index: int) -> tuple[np.ndarray, np.ndarray]:
    """How well one frame shows each vertex (V,) and in which colour (V, 3).

    The score is the fraction of the vertex's surroundings that is visible and trusted, times the size at which they are
    seen, times how squarely.
    """
    visible, colours = _visible_fraction(seen, reconstruction.faces, reconstruction.intrinsics[index])
    toward = -seen.points / np.linalg.norm(seen.points, axis=1, keepdims=True)
    # Where a fit turned a fold of the mesh inside out, its inner side is what the camera sees.
    cosine = np.abs((vertex_normals(seen.points, reconstruction.faces) * toward).sum(1))
    facing = np.clip((cosine - FACING) / (1 - FACING), 0, 1)
    magnification = (reconstruction.intrinsics[index, 0] / np.maximum(seen.points[:, 2], 1e-6)) ** 2
    return visible * cosine * magnification * facing, colours


def _visible_fraction(seen: FrameView, faces: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Visible fraction (V,) of the projected faces round each vertex, by trust, and their mean colour (V, 3)."""
    view, count = seen.view, len(seen.points)
    drawn = view.drawn
    enlarged = (drawn.shape[1], drawn.shape[0])
    trust = cv2.resize(seen.trust, enlarged, interpolation=cv2.INTER_NEAREST)[drawn]
    image = cv2.resize(seen.image, enlarged, interpolation=cv2.INTER_LINEAR)[drawn]
    corner = faces[view.face_index[drawn]].ravel()
    weight = view.barycentrics[drawn] * trust[:, None]
    pixels = np.bincount(corner, weight.ravel(), count)
    colours = np.stack([np.bincount(corner, (weight * image[:, k:k + 1]).ravel(), count) for k in range(3)], 1)
    corners_px = project(seen.points, intrinsics)[faces]
    area = np.abs(np.linalg.det(corners_px[:, 1:] - corners_px[:, :1])) / 2 * view.scale**2
    area = np.bincount(faces.ravel(), np.repeat(area / 3, 3), count)
    return np.minimum(pixels / np.maximum(area, 1e-9), 1), colours / np.maximum(pixels, 1e-9)[:, None]


def _sharpness(seen: FrameView) -> float:
    """Mean strength of the finest detail well inside the mask."""
    detail = np.abs(cv2.Laplacian(cv2.cvtColor(seen.image, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    inside = seen.trust >= 0.99
    return float(detail[inside].mean()) if inside.any() else 0.0


def _smoothed(scores: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Scores (T, V) averaged with the neighbours', so that no vertex stands out with a frame of its own."""
    count = scores.shape[1]
    ahead = np.roll(faces, 1, 1)
    i, j = np.concatenate([faces, ahead]).ravel(), np.concatenate([ahead, faces]).ravel()
    link = sparse.coo_matrix((np.ones(len(i), np.float32), (i, j)), (count, count)).tocsr()
    degree = np.asarray(link.sum(1)).ravel()
    mean = sparse.diags(0.5 / np.maximum(degree, 1)) @ link + sparse.diags(np.where(degree > 0, 0.5, 1))
    for _ in range(SMOOTHING):
        scores = (mean @ scores.T).T
    return np.ascontiguousarray(scores, np.float32)


def _gains(colours: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(T, 3) factors that bring frames to a common exposure, from colours (T, V, 3) and scores (T, V).

    Medians over the frames give each vertex's colour, medians over the vertices each frame's gain, in turns.
    """
    logarithm = np.log(colours + 8.0)       # the offset keeps noise in the dark from counting
    gains = np.zeros((len(colours), 3), np.float32)
    for channel in range(3):
        for _ in range(3):
            corrected = logarithm[..., channel] + gains[:, None, channel]
            offset = weighted_median(corrected, scores)[None] - logarithm[..., channel]
            gains[:, channel] = weighted_median(offset.T, scores.T)
            gains[:, channel] -= np.median(gains[:, channel])
    return np.exp(np.clip(gains, -GAIN_LIMIT, GAIN_LIMIT))


def _agreement(colours: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(T, V) factors 0..1: low where a frame, or one vertex in it, has another colour than most frames give."""
    typical = np.stack([weighted_median(colours[..., k], scores) for k in range(3)], -1)
    difference = np.abs(colours - typical).mean(-1)
    of_frame = weighted_median(difference.T, scores.T)
    common = np.median(of_frame)
    return geman_mcclure(difference / COLOUR_TOLERANCE) * \
        geman_mcclure(np.maximum(of_frame - common, 0) / (common + COLOUR_TOLERANCE / 4))[:, None]


def geman_mcclure(x: np.ndarray) -> np.ndarray:
    """Robust weights of residuals x: 1 at 0, a quarter at 1."""
    return 1 / (1 + x * x) ** 2


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(V,) medians along the first axis of values (T, V) with weights (T, V); 0 where there is no weight."""
    order = np.argsort(values, axis=0)
    values, sums = np.take_along_axis(values, order, 0), np.cumsum(np.take_along_axis(weights, order, 0), axis=0)
    middle = (sums < sums[-1] / 2).sum(0).clip(max=len(values) - 1)
    return np.where(sums[-1] > 0, np.take_along_axis(values, middle[None], 0)[0], 0)


def _best(scores: np.ndarray) -> np.ndarray:
    """(T, V) weights from scores (T, V): 1 for a vertex's best frame, 0 from the first frame that is not chosen on."""
    weights = scores.copy()
    if len(scores) > BEST_FRAMES:
        weights -= np.partition(scores, -BEST_FRAMES - 1, axis=0)[-BEST_FRAMES - 1]
    best = weights.max(0)
    return np.clip(weights / np.where(best > 0, best, 1), 0, 1)


def _confidence(scores: np.ndarray) -> np.ndarray:
    best = scores.max(0)
    seen = best[best > 0]
    return best / np.quantile(seen, 0.9) if len(seen) else best
