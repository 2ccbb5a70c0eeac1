"""Finds out how masks mark the subject: white on black, labels, colours, cut-outs or alpha; once for all of them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..job import BadInput
from .clip import read_image

LARGEST_GREY_LABEL = 32
"""Grey images that are nowhere brighter hold labels, not a dark mask."""
MOST_LABELS = 64
"""Images of more values or flat colours than this are pictures."""
VOID = 255
"""Label of pixels that are neither subject nor background, beside labels up to LARGEST_GREY_LABEL (DAVIS, VOC)."""
VOID_COLOUR = (192, 224, 224)
"""BGR, the same where labels of VOC were written as colours."""
NEAR_BLACK = 24
"""What black becomes at most where a picture was compressed."""
COLOURED = 40
"""Difference between a pixel's channels from which on it is no grey that was compressed."""
ALIKE = 12
"""Largest difference of channels between pixels of one flat colour that was compressed."""
APART = 48
"""Least difference between two flat colours that were compressed."""
PURE_LABELS = 0.99
"""Fraction of the subject's pixels that have the few values of labels; edges of soft or compressed masks are more."""
LEAST_LABELLED = 0.02
"""Fraction of what is not black that labels take beside void; less is dirt in white masks."""
FLAT_FRACTION = 0.4
"""Fraction of the subject's inner pixels, without its edges, that are flat in labels, however soft these are."""
BORDER_FRACTION = 0.9
"""Fraction of the pictures' border from which on a colour is what the subject lies on."""
WHITE_BORDER_FRACTION = 0.98
"""... if it is white, which may also be a subject that fills the picture."""
LEAST_BLACK = 0.005
"""Fraction of the pixels from which on black is the background where the border is of many colours."""
PURE_BLACK = 0.7
"""... of its dark pixels that differ by nothing but compression; in the shadows of a picture they are fewer."""
THIN = 0.1
"""Fraction of inner pixels below which subjects are as thin as lines."""
MOST_LOSSY_LABELS = 8
BLACK_AND_WHITE = 0.95
"""Fraction of pixels in the darkest or brightest quarter from which on grey pictures are masks, however noisy."""
STRANGE = 0.01
"""Of the labels' pixels; as many of another flat colour are of one more subject."""
CORE = 0.5
"""A subject's core is as far from its outline as this, over the farthest point."""
EVEN_FRACTION = 0.75
"""Of the core of one colour, and of labels all over an image."""
SLOW_RISE = 0.4
"""Brightness just inside the outline over the core's, below which a soft matte rises; cut-outs begin at once."""
LARGEST_CUT_OUT = 0.98
"""Of its bounding box; more is a picture between black bars."""
NOISE = 20
"""Pixels of all borders that may be nearly the background's colour in pictures that were never compressed."""
SHARP = 0.2
"""Difference of a cut-out's outermost pixels from the background, over the median inside; below, its edge is soft, or
compressed."""
LONGEST_SIDE = 640
"""Larger images are judged by every second (third ...) pixel of each row and column."""


@dataclass(frozen=True)
class MaskImage:
    """One image that holds a mask in whatever form."""

    name: str
    pixels: np.ndarray
    """(H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA, uint8"""
    values: np.ndarray | None = None
    """(H, W) indices in the palette, or grey values of 16 bit"""
    palette: np.ndarray | None = None
    """(N, 3) uint8 BGR, where it is one of colours"""


class Form(Enum):
    """What in an image is the subject."""

    BRIGHTNESS = "brightness"
    """what is brighter than `level`"""
    ALPHA = "alpha"
    """what is not transparent"""
    VALUES = "values"
    """the label is the index in a palette or the grey value"""
    COLOURS = "colours"
    """the label is the number of the nearest of some colours"""
    CUT_OUT = "cut-out"
    """whatever differs from the background's colour by more than `level`"""


@dataclass(frozen=True)
class Reading:
    """How all images of a sequence are read."""

    form: Form = Form.BRIGHTNESS
    note: str = ""
    """In one line, where it is not plain white on black."""
    level: int = 127
    background: tuple[int, ...] | None = (0, 0, 0)
    """BGR; None where every pixel has a label"""
    colours: tuple[tuple[int, ...], ...] = ()
    """BGR of the labels, where the form is COLOURS"""
    labels: tuple[int, ...] = ()
    """Those that were seen in the images by which this was decided"""
    void: int | None = None
    """The label that is neither subject nor background"""
    palette: np.ndarray | None = None
    """Of all images, where the labels are indices"""
    transparent: bool = False
    """Whether the background of colours is transparent"""

    @property
    def has_labels(self) -> bool:
        return self.form in (Form.VALUES, Form.COLOURS)

    def label_names(self, labels: Sequence[int]) -> list[str]:
        """Labels in words: colours are named."""
        colours = dict(zip(self.labels, self.colours, strict=False))
        return [str(n) if colours.get(n, (n,)) == 3 * (n,) or n not in colours else f"{n}: {colour_name(colours[n])}"
                for n in labels]


def read_mask_image(path: Path) -> MaskImage:
    """An image file; BadInput where it cannot be decoded."""
    pixels = read_image(path)
    try:
        with Image.open(path) as image:
            if image.mode == "P":
                palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)[:, ::-1]
                values = np.array(image)
                used = np.unique(values)
                # Greys are read by their brightness, unless the palette shows several labels alike.
                if (palette != palette[:, :1]).any() or len(np.unique(palette[used], axis=0)) < len(used):
                    return MaskImage(str(path), pixels, values, palette)
            elif image.mode.startswith("I;16"):
                return MaskImage(str(path), pixels, np.array(image, np.uint16))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass  # what OpenCV alone can read has no palette
    return MaskImage(str(path), pixels)


def labels_in(image: MaskImage, reading: Reading) -> np.ndarray:
    """Label of each pixel, (H, W) uint8 or uint16 with 0 the background; 1 the subject in forms without labels."""
    pixels = image.pixels
    if reading.form is Form.VALUES:
        return _values(image, reading)
    if reading.form is Form.COLOURS:
        return _by_nearest_colour(image, reading)
    if reading.form is Form.ALPHA:
        if pixels.shape[2:] != (4,):
            raise BadInput(f"{image.name}: found no alpha channel, which other masks have; needs it in every mask")
        return (pixels[..., 3] > 127).view(np.uint8)
    if reading.form is Form.CUT_OUT:
        return (_difference(_bgr(pixels), reading.background) > reading.level).view(np.uint8)
    return (brightness(pixels) > reading.level).view(np.uint8)


def brightness(pixels: np.ndarray) -> np.ndarray:
    """The brightest channel of each pixel, (H, W) uint8."""
    if pixels.ndim == 2:
        return pixels
    blue, green, red = cv2.split(pixels)[:3]
    return cv2.max(cv2.max(blue, green), red)  # NumPy's maximum over an axis of three takes twenty times as long


def colour_name(colour: Sequence[int]) -> str:
    """A colour (BGR) in words: "red (200, 0, 0)"."""
    blue, green, red = map(int, colour)
    brightest, range_ = max(colour), max(colour) - min(colour)
    if range_ < COLOURED:
        word = "black" if brightest <= NEAR_BLACK else "white" if brightest > 230 else "grey"
    else:
        hue = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)[0] * 360
        ends = {15: "red", 45: "orange", 70: "yellow", 165: "green", 200: "cyan", 255: "blue", 290: "purple",
                345: "pink", 361: "red"}
        word = next(name for end, name in ends.items() if hue < end)
    return f"{word} ({red}, {green}, {blue})"


def reading_of(images: Sequence[MaskImage], name: Path | str, asked: bool = False) -> Reading:
    """How images are read, judged by some of them, spread over the sequence.

    name    of the sequence, for errors
    asked   a label is looked for: then any grey value is one
    BadInput where they are pictures in which nothing tells the subject from the rest.
    """
    images = [_thinned(image) for image in images]
    if (reading := _by_palette(images)) is not None:
        return reading
    opaque = [image.pixels[..., 3] > 127 for image in images if image.pixels.shape[2:] == (4,)]
    if len(opaque) == len(images) and any(o.any() for o in opaque) and not all(o.all() for o in opaque):
        return _by_alpha(images, opaque)
    grey = all(_is_grey(image.pixels, exactly=True) for image in images)
    reading = _by_value(images) if grey else None
    if reading is None:
        reading = _by_colour(images, name)
    if asked and grey and not reading.has_labels:
        return _of_values(np.concatenate([np.unique(brightness(image.pixels)) for image in images]))
    return reading


def _by_palette(images: Sequence[MaskImage]) -> Reading | None:
    """Labels are indices where all images have the same palette; an optimiser of PNG files gives each its own."""
    first = next((image.palette for image in images if image.palette is not None), None)
    if first is None or not all(_has_palette(image, first) for image in images):
        return None
    used = np.unique(np.concatenate([np.unique(i.values) for i in images if i.palette is not None]))
    black = first[used].max(1) <= NEAR_BLACK
    if len(used) > MOST_LABELS or black.any() and not (used[0] == 0 and black[0]):
        return None
    return _of_values(used, palette=first)


def _by_alpha(images: Sequence[MaskImage], opaque: Sequence[np.ndarray]) -> Reading:
    """Alpha alone, unless what it leaves is painted in several flat colours, or in one on black."""
    found = _flat_colours([_bgr(image.pixels) for image in images], opaque)
    if found is not None and len(found) > 1:
        return replace(_of_colours([c for c in found if max(c) > NEAR_BLACK], (0, 0, 0), False), transparent=True)
    return Reading(Form.ALPHA, "read by their alpha: what is not transparent is the subject")


def _by_value(images: Sequence[MaskImage]) -> Reading | None:
    """Labels are grey values where these are small, or few without any at edges between."""
    deep = all(image.values is not None and image.palette is None for image in images)
    greys = [image.values if deep else brightness(image.pixels) for image in images]
    found = np.unique(np.concatenate([np.unique(grey) for grey in greys]))
    if len(found) < 2:
        return None
    if found[-1] <= LARGEST_GREY_LABEL:
        return _of_values(found)
    if len(found) > MOST_LABELS:
        return None
    steps = np.ravel(_flat_colours([grey[..., None] for grey in greys], [grey > 0 for grey in greys], True) or [])
    painted = np.concatenate([grey[grey > 0] for grey in greys])
    small = found[found != VOID]
    if len(small) > 1 and small[-1] <= LARGEST_GREY_LABEL and (painted != VOID).mean() > LEAST_LABELLED:
        return _of_values(found)
    several = len(steps) > 1 and steps.min() < 200 * (257 if found[-1] > VOID else 1)
    return _of_values(steps) if several and np.isin(painted, steps).mean() > PURE_LABELS else None


def _of_values(found: np.ndarray, palette: np.ndarray | None = None) -> Reading:
    labels = tuple(int(value) for value in np.unique(found) if value)
    void = VOID if len(labels) > 1 and VOID in labels and labels[-2] <= LARGEST_GREY_LABEL else None
    labels = tuple(label for label in labels if label != void)
    note = f"read as labels: the one there is, {labels[0]}, is the subject" if len(labels) == 1 else ""
    if void and note:
        note += f"; {void} counts neither as subject nor as background"
    return Reading(Form.VALUES, note, labels=labels, void=void, palette=palette)


def _by_colour(images: Sequence[MaskImage], name: Path | str) -> Reading:
    pixels = [_bgr(image.pixels) for image in images]
    grey = all(_is_grey(p) for p in pixels)
    background, fraction = _background(pixels)
    if background is None:
        found = _flat_colours(pixels, [np.ones(p.shape[:2], bool) for p in pixels], least=EVEN_FRACTION)
        if found is None and not (grey and _is_black_and_white(pixels)):
            raise _no_masks(name)
        bright = [colour for colour in found or () if max(colour) > NEAR_BLACK]
        if len(bright) < 2:
            return _of_one_colour(bright[0], (0, 0, 0), 1) if bright else Reading()
        return _of_colours(bright, (0, 0, 0) if bright != found else None, grey)
    shown = [_difference(p, background) > NEAR_BLACK for p in pixels]
    if not any(s.any() for s in shown):
        return Reading()
    found = _flat_colours(pixels, shown)
    if found is not None and len(found) > 1:
        return _of_colours(found, background, grey)
    one = found[0] if found else _soft_colour(pixels, shown, grey)
    if one is not None:
        return _of_one_colour(one, background, fraction)
    if not _are_cut_outs(shown):
        raise _no_masks(name)
    return Reading(Form.CUT_OUT, f"read as cut-outs: everything that is not {_word(background)} is the subject",
                   _level(pixels, background), background)


def _of_one_colour(colour: tuple[int, ...], background: tuple[int, ...], fraction: float) -> Reading:
    """What is nearer to a colour than to the background; bright pixels where that is white on black."""
    if max(background) > NEAR_BLACK:
        return Reading(Form.CUT_OUT, f"read as {_word(colour)} on {_word(background)}: everything that is not "
                       f"{_word(background)} is the subject", _apart(colour, background) // 2, background)
    plain = max(colour) - min(colour) < COLOURED and max(colour) > 127
    if plain and fraction < 0.5:
        return Reading(note="read as white on black, although the border is mostly white: invert them if the subject "
                            "is black")
    note = "" if plain else f"read as {colour_name(colour)} on black: what is brighter than half of that is the subject"
    return Reading(note=note, level=127 if max(colour) > 127 else max(colour) // 2)


def _of_colours(found: Sequence[tuple[int, ...]], background: tuple[int, ...] | None, grey: bool) -> Reading:
    """Grey labels are called by their value, others numbered by their hue, from red."""
    colours = [colour for colour in found if len(found) == 1 or _apart(colour, VOID_COLOUR) > ALIKE]
    void = VOID if len(colours) < len(found) else None
    colours.sort(key=lambda colour: colour if grey else _hue_order(colour))
    labels = tuple(colour[0] for colour in colours) if grey else tuple(range(1, len(colours) + 1))
    note = f"read as colours: the one there is, {colour_name(colours[0])}, is the subject" if len(labels) == 1 else ""
    return Reading(Form.COLOURS, note, background=background, colours=tuple(colours), labels=labels, void=void)


def _background(pixels: Sequence[np.ndarray]) -> tuple[tuple[int, ...] | None, float]:
    """What the subject lies on: the colour of most of the border, or else black, if there is enough of it; None where
    every pixel may be of a subject. And the fraction of the border that has it."""
    border = _border(pixels)
    colour = _most_frequent(border)
    fraction = float((_difference(border[None], colour) <= NEAR_BLACK).mean())
    least = BORDER_FRACTION if min(colour) < 255 - NEAR_BLACK else WHITE_BORDER_FRACTION
    if max(colour) > NEAR_BLACK and fraction >= least:
        return colour, fraction
    dark = np.concatenate([p[brightness(p) <= NEAR_BLACK] for p in pixels])
    if len(dark) < LEAST_BLACK * sum(p[..., 0].size for p in pixels):
        return None, 0
    black = _most_frequent(dark)
    if (_difference(dark[None], black) <= 2).mean() < PURE_BLACK:
        return None, 0
    return black, float((brightness(border[None]) <= NEAR_BLACK).mean())


def _border(pixels: Sequence[np.ndarray]) -> np.ndarray:
    """The outermost pixels (n, 3) of pictures."""
    return np.concatenate([edge for p in pixels for edge in (p[0], p[-1], p[:, 0], p[:, -1])])


def _flat_colours(pixels: Sequence[np.ndarray], shown: Sequence[np.ndarray],
                  exactly: bool = False, least: float = FLAT_FRACTION) -> list[tuple[int, ...]] | None:
    """The few colours in which all that is `shown` (H, W) bool is painted flat; None where it is a picture, or soft.

    least       fraction of what is shown, without its edges, that is flat
    exactly     not as they are after compression
    """
    inner = [_eroded(s) for s in shown]
    thin = _count(inner) < THIN * _count(shown)
    for spread in (0,) if exactly else (0, ALIKE):
        flat = np.concatenate([p[s] if thin else p[i & (_range(p) <= spread)]
                               for p, i, s in zip(pixels, inner, shown, strict=True)])
        if len(flat) >= least * _count(inner):
            found = _like_colours(flat) if spread else _equal_colours(flat, exactly)
            if found:
                return found
    return None


def _equal_colours(flat: np.ndarray, exactly: bool) -> list[tuple[int, ...]] | None:
    """The colours of pixels (n, C), if few; None where there are many, or some so alike that compression made them."""
    codes = flat.astype(np.uint32) @ np.array([1 << 8 * channel for channel in range(flat.shape[1])], np.uint32)
    codes, counts = np.unique(codes, return_counts=True)
    kept = counts >= max(4, 0.0005 * len(flat))
    colours = codes[kept, None] >> np.array([8 * channel for channel in range(flat.shape[1])], np.uint32)
    colours = colours & 255 if flat.shape[1] > 1 else colours
    if not 0 < len(colours) <= MOST_LABELS or counts[kept].sum() < 0.9 * len(flat):
        return None
    if not exactly and len(colours) > 1:
        apart = np.abs(colours[:, None].astype(int) - colours).max(-1)[np.triu_indices(len(colours), 1)]
        if apart.min() <= ALIKE:
            return None
    return [tuple(colour) for colour in colours.tolist()]


def _like_colours(flat: np.ndarray) -> list[tuple[int, ...]] | None:
    """The colours around which pixels (n, 3) lie closely, each far from the next; None where they are spread out."""
    found: list[tuple[int, ...]] = []
    left, near = flat, 0
    while len(left) > 0.01 * len(flat) and len(found) <= MOST_LOSSY_LABELS:
        colour = _most_frequent(left)
        if all(_apart(colour, other) >= APART for other in found):
            found.append(colour)
        distance = _difference(left[None], colour)[0]
        near += np.count_nonzero(distance <= ALIKE)
        left = left[distance > 2 * ALIKE]
    return found if near >= 0.9 * len(flat) and len(found) <= MOST_LOSSY_LABELS else None


def _soft_colour(pixels: Sequence[np.ndarray], shown: Sequence[np.ndarray], grey: bool) -> tuple[int, ...] | None:
    """The one colour that soft mattes have in their core; None where it is the texture of a cut-out."""
    cores, rims, calm = [], [], []
    for p, s in zip(pixels, shown, strict=True):
        depth = cv2.distanceTransform(np.pad(s, 1).view(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        core = s & (depth >= CORE * depth.max())
        cores.append(p[core])
        calm.append(_range(p)[core] <= ALIKE / 2)
        rims.append(p[s & (depth >= 2) & (depth <= 4)])
    core, rim = np.concatenate(cores), np.concatenate(rims)
    colour = tuple(int(c) for c in np.median(core, 0))
    if not grey and _of_other_hue(np.concatenate([p[s] for p, s in zip(pixels, shown, strict=True)]), colour) > 0.05:
        return None
    even = (_difference(core[None], colour)[0] <= ALIKE) & np.concatenate(calm)
    if even.mean() >= EVEN_FRACTION or grey and rim.size and np.median(rim) < SLOW_RISE * max(colour):
        return colour
    return None


def _of_other_hue(pixels: np.ndarray, colour: tuple[int, ...]) -> float:
    """Fraction of the brighter pixels (n, 3) that are no darker shade of a colour."""
    brightest = pixels.max(1)
    lit = brightest > 2 * NEAR_BLACK
    shades = pixels[lit] / np.maximum(brightest[lit], 1)[:, None] - np.array(colour) / max(*colour, 1)
    return float((np.abs(shades).max(1) > 0.25).mean()) if lit.any() else 0


def _are_cut_outs(shown: Sequence[np.ndarray]) -> bool:
    """Whether what is `shown` (H, W) bool has an outline, other than a picture's."""
    fraction = []
    for s in shown:
        if s.any():
            rows, columns = np.flatnonzero(s.any(1)), np.flatnonzero(s.any(0))
            fraction.append(s.sum() / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1)))
    return np.median(fraction) < LARGEST_CUT_OUT


def _is_black_and_white(pixels: Sequence[np.ndarray]) -> bool:
    """Whether pictures without a pure black are masks under noise."""
    extreme = [np.abs(brightness(p).astype(int) - 127) > 64 for p in pixels]
    return float(np.mean([e.mean() for e in extreme])) > BLACK_AND_WHITE


def _level(pixels: Sequence[np.ndarray], background: tuple[int, ...]) -> int:
    """By how much cut-outs differ from their background at the least: by anything, unless their edge fades."""
    rim, inside = [], []
    for p in pixels:
        difference = _difference(p, background)
        some = difference > 0
        rim.append(difference[some & ~_eroded(some)])
        inside.append(difference[_eroded(some)])
    around = _difference(_border(pixels)[None], background)
    if np.count_nonzero(around) > NOISE + 2 * np.count_nonzero(around > NEAR_BLACK):
        return NEAR_BLACK
    outermost, inner = np.concatenate(rim), np.concatenate(inside)
    if not outermost.size or not inner.size or np.median(outermost) > SHARP * np.median(inner):
        return 0
    return min(NEAR_BLACK, int(np.median(inner) / 4))


def _values(image: MaskImage, reading: Reading) -> np.ndarray:
    if reading.palette is not None:
        if not _has_palette(image, reading.palette):
            found = "no labels, but colours" if image.palette is None else "another palette than in the other images"
            raise BadInput(f"{image.name}: found {found}; needs images with the same palette, or grey")
        return np.zeros(image.pixels.shape[:2], np.uint8) if image.palette is None else image.values
    if image.values is not None and image.palette is None:
        return image.values
    if not _is_grey(image.pixels):
        raise BadInput(f"{image.name}: found no labels, but colours; needs an image with a palette, or grey")
    return brightness(image.pixels)


def strange_colour(image: MaskImage, reading: Reading) -> tuple[int, ...] | None:
    """A flat colour (BGR) of an image that is none of the labels', if it has more than a few pixels."""
    labels, unsure = _nearest_colours(image, reading)
    strange = _eroded(unsure) & (_range(_bgr(image.pixels)) <= ALIKE)
    if np.count_nonzero(strange) <= STRANGE * np.count_nonzero(labels) + 4:
        return None
    return tuple(np.median(_bgr(image.pixels)[strange], 0).astype(int).tolist())


def _by_nearest_colour(image: MaskImage, reading: Reading) -> np.ndarray:
    """Pixels at edges, which are mixed of two colours, get the label of the nearest one that is surely of a colour."""
    if (strange := strange_colour(image, reading)) is not None:
        raise BadInput(f"{image.name}: found {colour_name(strange)} beside the labels "
                       f"{', '.join(reading.label_names(reading.labels))}; needs the same colours in all masks")
    labels, unsure = _nearest_colours(image, reading)
    if unsure.any() and not unsure.all():
        _, nearest = cv2.distanceTransformWithLabels(unsure.view(np.uint8), cv2.DIST_L2, 3,
                                                    labelType=cv2.DIST_LABEL_PIXEL)
        label_of = np.zeros(nearest.max() + 1, np.uint8)
        label_of[nearest[~unsure]] = labels[~unsure]
        labels[unsure] = label_of[nearest[unsure]]
    return labels


def _nearest_colours(image: MaskImage, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Label of each pixel's nearest colour, (H, W) uint8, and where it is too far for that, (H, W) bool."""
    pixels = _bgr(image.pixels)
    known = list(zip(reading.colours, reading.labels, strict=True))
    known += [(VOID_COLOUR, VOID)] if reading.void else []
    known += [(reading.background, 0)] if reading.background else []
    nearest, labels = np.full(pixels.shape[:2], 255, np.uint8), np.zeros(pixels.shape[:2], np.uint8)
    for colour, label in known:
        difference = _difference(pixels, colour)
        nearer = difference < nearest
        nearest[nearer], labels[nearer] = difference[nearer], label
    apart = [_apart(a, b) for i, (a, _) in enumerate(known) for b, _ in known[:i]]
    unsure = nearest > min([NEAR_BLACK, *(distance // 3 for distance in apart)])
    if reading.transparent:
        clear = image.pixels[..., 3] <= 127
        labels[clear], unsure[clear] = 0, False
    return labels, unsure


def _has_palette(image: MaskImage, palette: np.ndarray) -> bool:
    """Whether an image's labels are those of a palette; one without a palette may be black."""
    if image.palette is None:
        return not brightness(image.pixels).any()
    used = np.unique(image.values)
    return used[-1] < len(palette) and np.array_equal(image.palette[used], palette[used])


def _thinned(image: MaskImage) -> MaskImage:
    step = -(-max(image.pixels.shape[:2]) // LONGEST_SIDE)
    values = None if image.values is None else image.values[::step, ::step]
    return replace(image, pixels=np.ascontiguousarray(image.pixels[::step, ::step]), values=values)


def _is_grey(pixels: np.ndarray, exactly: bool = False) -> bool:
    if pixels.ndim == 2:
        return True
    blue, green, red = cv2.split(pixels)[:3]
    chroma = cv2.subtract(cv2.max(cv2.max(blue, green), red), cv2.min(cv2.min(blue, green), red))
    return not chroma.any() if exactly else bool((chroma > COLOURED).mean() < 0.001)


def _bgr(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., :3])


def _difference(pixels: np.ndarray, colour: Sequence[int]) -> np.ndarray:
    """Largest difference (H, W) uint8 of any channel from a colour."""
    return brightness(cv2.absdiff(pixels, np.broadcast_to(np.array(colour, np.uint8), pixels.shape).copy()))


def _range(pixels: np.ndarray) -> np.ndarray:
    """Largest difference (H, W) of any channel within 3 x 3 pixels."""
    kernel = np.ones((3, 3), np.uint8)
    return (cv2.dilate(pixels, kernel) - cv2.erode(pixels, kernel)).reshape(*pixels.shape[:2], -1).max(-1)


def _eroded(mask: np.ndarray) -> np.ndarray:
    return cv2.erode(mask.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)


def _count(masks: Sequence[np.ndarray]) -> int:
    return sum(map(np.count_nonzero, masks))


def _most_frequent(pixels: np.ndarray) -> tuple[int, ...]:
    """The colour of most of some pixels (n, 3), give or take what compression does."""
    pixels = pixels[:: 1 + len(pixels) // 20000]  # so many are enough
    bins = (pixels // 16).astype(int) @ [256, 16, 1]
    about = np.median(pixels[bins == np.bincount(bins).argmax()], 0)
    return tuple(np.median(pixels[np.abs(pixels - about).max(1) <= ALIKE], 0).astype(int).tolist())


def _apart(one: Sequence[int], other: Sequence[int]) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _word(colour: Sequence[int]) -> str:
    name = colour_name(colour)
    return name.split()[0] if name.startswith(("black", "white")) else name


def _hue_order(colour: tuple[int, ...]) -> tuple:
    """Where a colour (BGR) stands among others: from red by hue, greys last."""
    blue, green, red = (c / 255 for c in colour)
    hue, *_ = colorsys.rgb_to_hsv(red, green, blue)
    return max(colour) - min(colour) < COLOURED, (hue * 360 + 15) % 360, colour


def _no_masks(name: Path | str) -> BadInput:
    return BadInput(f"{name}: found pictures in which nothing tells the subject from the rest; needs masks: white on "
                    "black, labels, or cut-outs on black or with alpha")
