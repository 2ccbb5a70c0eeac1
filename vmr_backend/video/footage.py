"""Reads a clip and its masks into what the methods fit: crops, soft masks, flow, and what to doubt.

clip.py decodes frames, masks.py finds the subject in them, crops.py cuts it out, and flow.py follows it: `load_footage`
goes this way once, downwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..job import BadInput
from .clip import Clip, as_grey, as_rgb, open_clip, read_frames, select
from .crops import Crop, crop_track, cut, inside_frame, pixel_centres
from .flow import FlowFinder, FlowFrame, PairFlow, dis, flow_between, sample
from .full_frames import FullFrames
from .mask_facts import absent, area_doubts, border_weight, touching_doubts
from .masks import SubjectMasks, load_masks
from .subjects import Choice

LARGEST_GAP = 2
"""Flow is found across up to this many left-out frames between two that remain; across more its weight is 0."""
SMALLEST_CROP = 16
BLURRED = 0.5
"""Sharpness, over that of the frames around, below which a frame counts as blurred. Frames of five unblurred clips keep
0.55 and more, smeared over 5 pixels of the crop they have 0.15 to 0.5, over 15 pixels 0.05 to 0.3."""
LEAST_COLOUR_WEIGHT = 0.1
SHARPNESS_NEIGHBOURS = 5
"""Frames to each side that sharpness is compared with."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Footage:
    """T frames of a clip, cropped to S x S pixels around the subject.

    Crop coordinates: x right, y down, in [-1, 1]; full-frame px = crop_centre + crop_half * ndc.
    Flow is kept in half precision, which is finer than a twentieth of a pixel and half the memory of a long clip.
    """

    numbers: np.ndarray
    """(T,) int32, the clip's frame numbers"""
    image_size: tuple[int, int]
    """width and height of the full frame, px"""
    fps: float | None
    """frames a second of a video; None for images"""
    images: np.ndarray
    """(T, S, S, 3) uint8 RGB, black where not `inside`"""
    masks: np.ndarray
    """(T, S, S) float32 0..1, the fraction of the pixel that the subject covers"""
    inside: np.ndarray
    """(T, S, S) bool, the pixel's centre lies inside the full frame and on no other subject, which may hide this one"""
    crop_centre: np.ndarray
    """(T, 2) float32 px"""
    crop_half: np.ndarray
    """(T,) float32 px, half the side of the square crop"""
    flow_forward: np.ndarray
    """(T-1, S, S, 2) float16: for each pixel of crop t, its position in crop t+1 minus its position in crop t"""
    flow_backward: np.ndarray
    """(T-1, S, S, 2) float16: for each pixel of crop t+1, its position in crop t minus its position in crop t+1"""
    flow_forward_weight: np.ndarray
    """(T-1, S, S) float16 0..1: forward-backward consistency x mask at both ends x both ends inside the frame"""
    flow_backward_weight: np.ndarray
    """(T-1, S, S) float16 0..1, likewise"""
    frame_weight: np.ndarray
    """(T,) float32: 1 good, less where the frame's border cuts the subject off"""
    doubts: list[list[str]]
    """for each frame why it may mislead"""
    sharpness: np.ndarray
    """(T,) float32: variance of the Laplacian inside the mask over the clip's median of it"""
    colour_weight: np.ndarray
    """(T,) float32: how far colours may be trusted: 1 sharp, less where the frame is blurred against those around it"""
    left_out: list[tuple[int, str]]
    """frames of the range that are not among `numbers`, and why"""
    notes: Sequence[str] = ()
    """how masks were read and matched with frames, in a line each, where they are not plain"""
    full: FullFrames | None = None
    """the full frames and masks that the crops were cut from"""


def load_footage(
    clip: Clip | Path | str | None,
    masks_path: Path | str | None,
    *,
    first: int | None = None,
    last: int | None = None,
    crop_size: int = 256,
    progress: Progress | None = None,
    files: Sequence[Path | str] | None = None,
    choice: Choice | None = None,
    flow: FlowFinder = dis,
) -> Footage:
    """Read a clip's frames `first` to `last` (both included, the clip's own numbers) and their masks.

    clip        opened, or a video file or folder of images
    masks_path  video file or folder of images (docs/inputs.md says in which forms); None: the clip's alpha channel
    crop_size   S, pixels along the side of the square crops
    progress    called with (step, steps) while it goes on
    files       the images of the clip where its folder holds others too; their names carry the frame numbers
    choice      which subject is meant where the masks hold several
    flow        finds the flow from frame to frame

    Masks are read first, then frames, each once and one at a time: memory holds the crops and two full frames.
    Raises BadInput with one line that says what cannot be used.
    """
    if crop_size < SMALLEST_CROP:
        raise BadInput(f"crop size: found {crop_size} pixels; needs at least {SMALLEST_CROP}")
    clip = clip if isinstance(clip, Clip) else open_clip(clip, files, last)
    selected = select(clip, first, last)
    if len(selected) < 2:
        raise BadInput(f"{clip.path}: found a single frame ({selected[0]}) to work on; needs at least 2")
    steps = 2 * len(selected)

    def report(done: int) -> None:
        if progress:
            progress(done, steps)

    masks = load_masks(masks_path, clip, selected, choice, report)
    numbers, left_out = _leave_out(clip, masks, selected)
    full = FullFrames(clip, numbers, [masks.facts[int(n)] for n in numbers])
    footage = _cut_crops(full, crop_size, flow, lambda done: report(steps - len(numbers) + done))
    return replace(footage, left_out=left_out, notes=masks.notes)


def downsample(footage: Footage, size: int) -> Footage:
    """The same footage at a lower crop resolution `size`, averaged over the area of each pixel.

    Flow stays in crop coordinates. It is averaged by its weight, images and masks over what lies inside the frame, so
    that what does not count leaves no trace.
    """
    full = footage.masks.shape[1]
    if size == full:
        return footage
    if not 0 < size < full:
        raise ValueError(f"cannot downsample crops of {full} pixels to {size}")
    forward, forward_weight = _shrink_flow(footage.flow_forward, footage.flow_forward_weight, size)
    backward, backward_weight = _shrink_flow(footage.flow_backward, footage.flow_backward_weight, size)
    crops = [Crop(c, float(h)) for c, h in zip(footage.crop_centre, footage.crop_half, strict=True)]
    inside = np.stack([inside_frame(c, size, footage.image_size) for c in crops])
    within = np.stack([inside_frame(c, full, footage.image_size) for c in crops])
    if not (footage.inside == within).all():
        inside &= _shrink(within & ~footage.inside, size) < 0.5
    weight = inside / np.maximum(_shrink(footage.inside, size), 1e-6)
    return replace(
        footage,
        images=_shrink(footage.images, size, weight, np.uint8),
        masks=np.minimum(_shrink(footage.masks, size, weight), 1),
        inside=inside,
        flow_forward=forward,
        flow_backward=backward,
        flow_forward_weight=forward_weight,
        flow_backward_weight=backward_weight,
    )


def _leave_out(clip: Clip, masks: SubjectMasks, selected: np.ndarray) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Frames that are fitted (T,) int32, and the others of the range with the reason."""
    facts, name = masks.facts, masks.path
    if not any(f.area for f in facts.values()):
        brightest = max(f.brightest for f in facts.values())
        raise BadInput(f"{name}: every mask is empty (brightest value {brightest} of 255); needs white on black")
    whole = clip.image_size[0] * clip.image_size[1]
    if masks.is_alpha and all(f.area == whole for f in facts.values()):
        raise BadInput(f"{name}: no masks were given and the alpha is opaque throughout; needs masks, white on black")
    reasons = dict(zip(facts, absent(list(facts.values())), strict=True))
    left_out = [(int(n), reasons.get(int(n), "there is no mask")) for n in selected]
    left_out = [(n, reason) for n, reason in left_out if reason]
    gone = {n for n, _ in left_out}
    kept = np.array([n for n in selected if int(n) not in gone], np.int32)
    if len(kept) < 2:
        why = f" ({left_out[0][1]} in frame {left_out[0][0]})" if left_out else ""
        raise BadInput(f"{name}: found {len(kept)} of {len(selected)} frames with the subject{why}; needs at least 2")
    return kept, left_out


def _cut_crops(full: FullFrames, size: int, find: FlowFinder, report: Callable[[int], None]) -> Footage:
    """Every frame once, into crops of `size` pixels and flow."""
    clip, numbers, facts = full.clip, full.numbers, full.facts
    centre, half = crop_track(np.array([f.box for f in facts], float), numbers)
    crops = [Crop(c, float(h)) for c, h in zip(centre, half, strict=True)]
    count = len(numbers)
    images = np.empty((count, size, size, 3), np.uint8)
    masks = np.empty((count, size, size), np.float32)
    inside = np.stack([inside_frame(crop, size, clip.image_size) for crop in crops])
    flow = np.zeros((2, count - 1, size, size, 2), np.float16)
    weight = np.zeros((2, count - 1, size, size), np.float16)
    linked = np.diff(numbers) <= (LARGEST_GAP + 1) * np.median(np.diff(clip.numbers))
    before = None
    for t, (_, image) in enumerate(read_frames(clip, numbers)):
        if facts[t].others is not None:
            inside[t] &= cut(facts[t].others.mask(), crops[t], size) < 128
        images[t] = as_rgb(cut(image, crops[t], size)) * inside[t, ..., None]
        frame = FlowFrame(as_grey(image), facts[t].mask(), crops[t])
        masks[t] = cut(frame.mask, crops[t], size) * (inside[t] / np.float32(255))
        if before is not None and linked[t - 1]:
            pair = flow_between(before, frame, size, find)
            flow[:, t - 1] = pair.forward, pair.backward
            weight[:, t - 1] = _flow_weights(pair, masks[t - 1], masks[t])
        before = frame
        report(t + 1)
    border = [border_weight(f) for f in facts]
    sharpness = _sharpness(images, masks)
    colour_weight, blurs = _colour_weight(sharpness)
    return Footage(
        numbers=numbers,
        image_size=clip.image_size,
        fps=clip.fps,
        images=images,
        masks=masks,
        inside=inside,
        crop_centre=centre.astype(np.float32),
        crop_half=half.astype(np.float32),
        flow_forward=flow[0],
        flow_backward=flow[1],
        flow_forward_weight=weight[0],
        flow_backward_weight=weight[1],
        frame_weight=np.array([w for w, _ in border], np.float32),
        doubts=[b + touching_doubts(f) + a + s
                for (_, b), f, a, s in zip(border, facts, area_doubts(facts), blurs, strict=True)],
        sharpness=sharpness,
        colour_weight=colour_weight,
        left_out=[],
        full=full,
    )


def _flow_weights(pair: PairFlow, mask_a: np.ndarray, mask_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forward and backward weights (S, S): consistency x mask at the pixel x mask where its flow leads.

    The masks (S, S) are 0 outside the full frame and sampled as 0 outside the crop, so neither end counts there.
    """
    centres = pixel_centres(len(mask_a))
    forward = pair.forward_consistency * mask_a * sample(mask_b, centres + pair.forward)
    backward = pair.backward_consistency * mask_b * sample(mask_a, centres + pair.backward)
    return forward, backward


def _sharpness(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Variance of the Laplacian inside each mask, over the median of all frames: (T,) float32.

    The outermost pixels of the mask are left aside: an outline is an edge however blurred the subject is.
    """
    variances = []
    for image, mask in zip(images, masks, strict=True):
        laplacian = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
        covered = (mask > 0.5).astype(np.uint8)
        core = cv2.erode(covered, np.ones((5, 5), np.uint8), borderValue=0)
        chosen = laplacian[(core if core.any() else covered) > 0]
        variances.append(float(chosen.var()) if chosen.size else 0.0)
    middle = float(np.median(variances))
    return np.array(variances, np.float32) / middle if middle > 0 else np.ones(len(variances), np.float32)


def _colour_weight(sharpness: np.ndarray) -> tuple[np.ndarray, list[list[str]]]:
    """For each frame how far its colours count, (T,) float32, and a doubt where it is blurred."""
    reach = SHARPNESS_NEIGHBOURS
    around = [float(np.median(sharpness[max(0, t - reach) : t + reach + 1])) for t in range(len(sharpness))]
    ratio = sharpness / np.maximum(around, 1e-6)
    doubts = [["blurred"] if r < BLURRED else [] for r in ratio]
    return np.clip(ratio / BLURRED, LEAST_COLOUR_WEIGHT, 1).astype(np.float32), doubts


def _shrink(
    values: np.ndarray, size: int, factor: np.ndarray | None = None, kind: type = np.float32
) -> np.ndarray:
    """Area average of (T, S, S[, C]) to (T, size, size[, C]) of a kind, times a factor (T, size, size)."""
    shrunk = np.empty((len(values), size, size, *values.shape[3:]), kind)
    for t, value in enumerate(values):
        mean = cv2.resize(value.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
        if factor is not None:
            mean *= factor[t].reshape(factor[t].shape + (1,) * (mean.ndim - 2)).astype(np.float32)
        shrunk[t] = np.rint(mean) if kind is np.uint8 else mean
    return shrunk


def _shrink_flow(flow: np.ndarray, weight: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted area average of flow (P, S, S, 2), plain where no weight is, and average of its weight (P, S, S)."""
    shrunk = _shrink(weight, size, kind=np.float16)
    mean = np.empty((*shrunk.shape, 2), np.float16)
    for p, vectors in enumerate(flow):
        vectors, counted = vectors.astype(np.float32), weight[p, ..., None].astype(np.float32)
        weighted = cv2.resize(vectors * counted, (size, size), interpolation=cv2.INTER_AREA)
        plain = cv2.resize(vectors, (size, size), interpolation=cv2.INTER_AREA)
        total = cv2.resize(counted, (size, size), interpolation=cv2.INTER_AREA)[..., None]
        mean[p] = np.where(total > 1e-6, weighted / np.maximum(total, 1e-6), plain)
    return mean, shrunk
