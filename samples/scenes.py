"""Moments of synthetic films: animals and people in motion before busy surroundings, with true masks.

Training data of the mask network (samples/segmenter.py). Every moment has the frames around it too, at OFFSETS, since
motion is a cue.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import cv2
import numpy as np
import torch

from vmr_backend.rendering import get_renderer

from .families import bird, quadruped
from .families.animal import Animal
from .families.render import DISTANCE, RenderView, light, view_rotation

OFFSETS = (-16, -8, -4, -1, 0, 1, 4, 8, 16)
"""Frames from the moment."""
SIZE = 640
"""Pixels across a frame."""
PX = SIZE / 320
"""Unit of the lengths below: pixels of frames 320 across."""
CANVAS = 2 * SIZE
"""Pixels across the background that the camera moves over."""
KINDS = 4
"""Noise images of each kind that textures are made of."""
FIGURES = 0.3
"""Of the subjects, those that are flat figures of limbs (people, and creatures of no kind); the rest are the families'
animals."""
STANDING = 0.45
"""Of the subjects on land, those whose feet stand still on what is behind them."""
LOWEST = 0.03
"""Fraction of a subject's points that it stands on."""


@dataclass(frozen=True)
class Kin:
    """Colours (K, 3) of the subject, 0 to 1, and the fraction of the background that is coloured much as they are."""

    colours: np.ndarray
    fraction: float


@dataclass(frozen=True)
class FilmSubject:
    """Colours (N, S, S, 3), 0 to 1, coverage (N, S, S), and the displacement of the ground under its lowest
    points since the first frame (N, 2), px."""

    colours: np.ndarray
    masks: np.ndarray
    ground: np.ndarray


@dataclass(frozen=True)
class Moment:
    """Frames (N, S, S, 3) uint8 RGB at some offsets, the subject's masks in them (N, S, S), 0 to 1, and homographies
    (N, 3, 3) from their pixels to the background."""

    frames: np.ndarray
    masks: np.ndarray
    cameras: np.ndarray


def moment(seed: int, index: int, offsets: Sequence[int] = OFFSETS) -> Moment:
    """One moment at offsets; it depends on these, seed and index alone."""
    rng = np.random.default_rng([seed, index])
    subject = moving_subject(rng, offsets)
    middle, colours, masks = offsets.index(0), subject.colours, subject.masks
    shown = colours[middle][masks[middle] > 0.5]
    kin = Kin(shown[rng.integers(len(shown), size=8)] if len(shown) else np.full((1, 3), 0.5),
              float(rng.choice([0.05, 0.2, 0.5])))
    water = rng.random() < 0.4
    ground = canvas(rng, kin, water)
    camera = camera_path(rng, offsets)
    if not water and rng.random() < STANDING:
        camera = camera_over(subject.ground, camera(0), offsets)
    if water and rng.random() < 0.6:
        masks = in_water(masks, subject.ground, middle, rng)
    shadow, reflected = rng.random() < 0.45, water and rng.random() < 0.7
    dark, lean, flat = rng.uniform(0.25, 0.65), rng.uniform(-1, 1), rng.uniform(0.1, 0.4)
    mirror = mirror_of_water(rng)
    waves = PX * rng.uniform(0.5, 5), PX * rng.uniform(20, 90), rng.uniform(-0.5, 0.5), rng.uniform(0, 6)
    front = occluder(rng) if rng.random() < 0.15 else None
    wake = wake_behind(masks[middle], offsets, rng) if water and rng.random() < 0.6 else None
    other = companion(rng, offsets) if rng.random() < 0.25 else None
    develop = film(rng)
    frames, shown = [], []
    for offset, colour, mask in zip(offsets, colours, masks, strict=True):
        behind = cv2.warpPerspective(ground.still, camera(offset), (SIZE, SIZE),
                                     flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT)
        if water:
            wet = cv2.warpPerspective(ground.wet, camera(offset), (SIZE, SIZE),
                                      flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT)
            if reflected:
                mirrored, cover = mirror(colour, mask)
                behind = over(behind, mirrored, cover * wet)
            behind += wet[..., None] * (rippled(behind, offset, *waves) - behind)
            if wake is not None:
                behind = behind + wet[..., None] * wake(offset)[..., None]
        elif shadow:
            behind = behind * (1 - dark * cast(mask, lean, flat)[..., None])
        if other is not None:
            behind = over(behind, *other(offset))
        picture = over(behind, colour, mask)
        if front is not None:
            texture, cover = front(offset)
            picture, mask = over(picture, texture, cover), mask * (1 - cover)
        frames.append(develop(picture))
        shown.append(mask)
    return Moment(np.stack(frames), np.stack(shown), np.stack([camera(offset) for offset in offsets]))


def moving_subject(rng: np.random.Generator, offsets: Sequence[int]) -> FilmSubject:
    """An animal or a figure in motion."""
    return (moving_figure if rng.random() < FIGURES else moving_animal)(rng, offsets)


def moving_animal(rng: np.random.Generator, offsets: Sequence[int]) -> FilmSubject:
    """An animal that moves as it turns and comes nearer."""
    family = (quadruped, bird)[rng.integers(2)]
    body = family.drawn_body(rng)
    coat = (family.drawn_coat if family is quadruped else family.drawn_plumage)(rng)
    one = family.drawn_pose(rng, body)
    other = next((pose for pose in (family.drawn_pose(rng, body) for _ in range(40)) if alike(one, pose)), one)
    pace, start, swing = 2 * np.pi / rng.uniform(14, 60), rng.uniform(0, 2 * np.pi), rng.choice([0.0, 0.35, 0.7, 1.0])
    azimuth, turning = rng.uniform(0, 360), rng.normal(0, rng.choice([0.5, 2.5]))
    elevation, roll = rng.uniform(-8, 30), rng.normal(0, 6)
    fill, growth = rng.uniform(0.42, 0.68), rng.normal(0, 0.004)
    drift, placement = PX * rng.normal(0, 0.6, 2), PX * rng.normal(0, 8, 2)
    animals = [family.built(body, between(one, other, 0.5 + 0.5 * swing * np.sin(pace * offset + start)), coat)
               for offset in offsets]
    views = [view_rotation(azimuth + turning * offset, elevation, roll) for offset in offsets]
    middle = offsets.index(0)
    seen = (animals[middle].vertices @ views[middle].T)[:, :2]
    scale = fill * SIZE / np.ptp(seen, axis=0).max()
    centre = (seen.min(0) + seen.max(0)) / 2
    views = [RenderView(rotation, float(scale * (1 + growth * offset)),
                  SIZE / 2 + placement + drift * offset - scale * centre)
             for offset, rotation in zip(offsets, views, strict=True)]
    seen = np.stack([view.pixels(animal.vertices) for animal, view in zip(animals, views, strict=True)])
    return FilmSubject(*drawn(animals, views, rng), footing(seen))


def footing(points: np.ndarray) -> np.ndarray:
    """(N, 2): displacement of the lowest of points (N, P, 2) since the first frame."""
    steps = [np.median((after - before)[before[:, 1] >= np.quantile(before[:, 1], 1 - LOWEST)], 0)
             for before, after in pairwise(points)]
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])


def alike(one, other) -> bool:
    """Whether two poses can be interpolated: the same wings spread, both in water or on land."""
    return all((getattr(one, f.name) is None) == (getattr(other, f.name) is None) for f in fields(one)) and \
        getattr(one, "legs_follow", None) == getattr(other, "legs_follow", None) and \
        (getattr(one, "wings", (None,))[0] is None) == (getattr(other, "wings", (None,))[0] is None)


def between(one, other, fraction: float):
    """The poses interpolated."""
    def mixed(a, b):
        if a is None or isinstance(a, bool):
            return a
        return tuple(mixed(x, y) for x, y in zip(a, b, strict=True)) if isinstance(a, tuple) else a + fraction * (b - a)
    return replace(one, **{f.name: mixed(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)})


def drawn(animals: list[Animal], views: list[RenderView], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N, S, S, 3) and coverage (N, S, S) of animals with the same faces under one light."""
    points = np.stack([np.c_[view.pixels(animal.vertices) * (2 / SIZE) - 1,
                             animal.vertices @ view.rotation[2] + DISTANCE].astype(np.float32)
                       for animal, view in zip(animals, views, strict=True)])
    found = get_renderer("warp").visibility(torch.from_numpy(points), torch.from_numpy(animals[0].faces), SIZE)
    seed, grain = rng.integers(1 << 31), fur(rng)
    colours, masks = [], []
    for n, (animal, view) in enumerate(zip(animals, views, strict=True)):
        lit = (animal.colours * light(animal, view, np.random.default_rng(seed))[:, None]).astype(np.float32)
        faces, barycentrics = found.face_index[n].numpy(), found.barycentrics[n].numpy()
        rows, columns = np.nonzero(faces >= 0)
        corners = animal.faces[faces[rows, columns]]
        picture = np.zeros((SIZE, SIZE, 4), np.float32)
        picture[rows, columns, :3] = sum(lit[corners[:, k]] * barycentrics[rows, columns, k, None] for k in range(3))
        picture[rows, columns, 3] = 1
        soft = cv2.GaussianBlur(picture, (0, 0), 0.6)
        worn = views[0].scale / view.scale * np.array([[1, 0, -view.shift[0]], [0, 1, -view.shift[1]]])
        colours.append(np.clip(soft[..., :3] / np.maximum(soft[..., 3:], 1e-3) * grain(worn), 0, 1))
        masks.append(soft[..., 3])
    return np.stack(colours), np.stack(masks)


def fur(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """From the affine map (2, 3) of a frame's pixels to the subject's own to what its colours are multiplied with
    (S, S, 1): hair, feathers or cloth, that go along with it."""
    pattern = 1 + rng.uniform(0, 0.25) * noise(rng, rng.uniform(0.2, 1.4), float(np.exp(rng.normal(0, 0.8))))

    def at(worn: np.ndarray) -> np.ndarray:
        moved = worn + [[0, 0, CANVAS / 2], [0, 0, CANVAS / 2]]
        return cv2.warpAffine(pattern, moved, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                              borderMode=cv2.BORDER_REFLECT)[..., None]

    return at


@dataclass(frozen=True)
class Limb:
    """Of a flat figure, in units of its trunk: it begins at a fraction of the length of its parent."""

    parent: int
    along: float
    angle: float
    """From the picture's right towards its bottom, radians, at rest."""
    length: float
    radii: tuple[float, float]
    swing: float = 0.0
    phase: float = 0.0


def moving_figure(rng: np.random.Generator, offsets: Sequence[int]) -> FilmSubject:
    """A person or a creature made of limbs, flat, in motion."""
    bones = person(rng) if rng.random() < 0.6 else creature(rng)
    palette = np.stack([colour(rng, Kin(np.full((1, 3), 0.5), 0)) for _ in range(rng.integers(1, 5))])
    dyes = np.clip(palette[rng.integers(len(palette), size=len(bones))] + rng.normal(0, 0.03, (len(bones), 3)), 0, 1)
    order = rng.permutation(len(bones))
    grain, pace = fur(rng), 2 * np.pi / rng.uniform(14, 60)
    lamp = rng.normal(0, 1, 2)
    lamp, strength = lamp / np.linalg.norm(lamp), rng.uniform(0, 0.4)
    fill, growth, narrow = rng.uniform(0.42, 0.7), rng.normal(0, 0.004), rng.uniform(0.7, 1.0)
    drift, turning = PX * rng.normal(0, 0.6, 2), rng.normal(0, 0.004)
    ends = limbs_at(bones, 0.0)
    reach = np.array([[radius] for bone in bones for radius in bone.radii])
    low, high = (ends.reshape(-1, 2) - reach).min(0), (ends.reshape(-1, 2) + reach).max(0)
    size = fill * SIZE / (high - low).max()
    middle, placement = (low + high) / 2, SIZE / 2 + PX * rng.normal(0, 8, 2)
    colours, masks, seen = [], [], []
    for offset in offsets:
        scale = size * (1 + growth * offset) * np.array([narrow + turning * offset, 1])
        shift = placement + drift * offset - scale * middle
        cover, dye = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE, 3), np.float32)
        limbs = limbs_at(bones, pace * offset)
        seen.append((scale * limbs + shift).reshape(-1, 2))
        for number in order:
            outline = capsule(*(scale * limbs[number] + shift), *(scale[1] * np.array(bones[number].radii)))
            cv2.fillPoly(cover, [outline], 1.0, cv2.LINE_AA, 4)
            cv2.fillPoly(dye, [outline], tuple(map(float, dyes[number])), cv2.LINE_AA, 4)
        bulge = cv2.GaussianBlur(cover, (0, 0), 0.03 * SIZE)
        slope = np.stack([cv2.Sobel(bulge, cv2.CV_32F, 1, 0), cv2.Sobel(bulge, cv2.CV_32F, 0, 1)], -1) @ lamp
        lit = 1 - strength * slope / max(float(np.abs(slope).max()), 1e-6)
        worn = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]]) * (size / scale[1])
        colours.append(np.clip(dye * lit[..., None] * grain(worn), 0, 1).astype(np.float32))
        masks.append(cv2.GaussianBlur(cover, (0, 0), 0.6))
    return FilmSubject(np.stack(colours), np.stack(masks), footing(np.stack(seen)))


def person(rng: np.random.Generator) -> list[Limb]:
    """Bones of a person, who stands, walks or sits."""
    down, stout, bent = np.pi / 2, rng.uniform(0.7, 1.4), rng.uniform(-1.3, 1.3) * (rng.random() < 0.5)
    stride, phase = rng.uniform(0, 0.6), rng.uniform(0, 2 * np.pi)
    bones = [Limb(-1, 0, -down + rng.normal(0, 0.1), 1.0, (0.22 * stout, 0.24 * stout), 0.04, phase),
             Limb(0, 1.3, -down + rng.normal(0, 0.15), 0.18, (0.17, 0.19), 0.05, phase)]
    for side in (-1, 1):
        lift = rng.normal(0, 0.5) if rng.random() < 0.7 else rng.uniform(-2.5, 2.5)
        bones.append(Limb(0, 0.9, down + lift, 0.55, (0.1 * stout, 0.08 * stout), stride, phase + side * down))
        bones.append(Limb(len(bones) - 1, 1, down + lift + rng.normal(0, 0.6), 0.5, (0.08 * stout, 0.06), stride,
                          phase + side * down))
        bones.append(Limb(0, 0, down + bent + rng.normal(0, 0.12), 0.75, (0.16 * stout, 0.11 * stout), stride,
                          phase - side * down))
        bones.append(Limb(len(bones) - 1, 1, down - abs(bent) * 0.3 + rng.normal(0, 0.15), 0.75,
                          (0.11 * stout, 0.07 * stout), stride, phase - side * down + 0.6))
        bones.append(Limb(len(bones) - 1, 1, rng.choice([0.2, np.pi - 0.2]), 0.2, (0.07, 0.05)))
    return bones


def creature(rng: np.random.Generator) -> list[Limb]:
    """Bones of a creature of no kind: a trunk with limbs of one to three parts anywhere on it."""
    bones = [Limb(-1, 0, rng.uniform(0, 2 * np.pi), 1.0, tuple(rng.uniform(0.1, 0.45, 2)), 0.1)]
    for _ in range(rng.integers(1, 7)):
        parent, along, angle = 0, rng.choice([0.0, 1.0, rng.uniform(0, 1)]), rng.uniform(0, 2 * np.pi)
        width, swing, phase = rng.uniform(0.04, 0.25), rng.uniform(0, 0.7), rng.uniform(0, 2 * np.pi)
        for _ in range(rng.integers(1, 4)):
            thinner = width * rng.uniform(0.5, 1.1)
            bones.append(Limb(parent, along, angle, rng.uniform(0.2, 0.9), (width, thinner), swing, phase))
            parent, along, angle, width = len(bones) - 1, 1.0, angle + rng.normal(0, 0.6), thinner
    return bones


def limbs_at(bones: list[Limb], time: float) -> np.ndarray:
    """(B, 2, 2): both ends of each bone."""
    ends: list[np.ndarray] = []
    for bone in bones:
        start = np.zeros(2) if bone.parent < 0 else ends[bone.parent][0] + bone.along * (
            ends[bone.parent][1] - ends[bone.parent][0])
        angle = bone.angle + bone.swing * np.sin(time + bone.phase)
        ends.append(np.stack([start, start + bone.length * np.array([np.cos(angle), np.sin(angle)])]))
    return np.stack(ends)


def capsule(start: np.ndarray, end: np.ndarray, first: float, last: float) -> np.ndarray:
    """The outline (N, 1, 2) int32, in sixteenths of a pixel, of two discs with what lies between them."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    disc = np.stack([np.cos(turn), np.sin(turn)], 1)
    points = np.concatenate([start + first * disc, end + last * disc]).astype(np.float32)
    return np.rint(16 * cv2.convexHull(points)).astype(np.int32)


@dataclass(frozen=True)
class Ground:
    """What is behind: still (C, C, 3), and where it is wet (C, C), 0 to 1."""

    still: np.ndarray
    wet: np.ndarray


def canvas(rng: np.random.Generator, kin: Kin, water: bool) -> Ground:
    """One to three regions of a texture each, one above the other, with shapes in between."""
    levels = np.sort(rng.uniform(0.2, 0.75, rng.integers(0, 3)))
    rows = np.linspace(0, 1, CANVAS, dtype=np.float32)[:, None]
    rough = 0.15 * noise(rng, rng.uniform(1.5, 3), 1.0) * rng.uniform(0, 1)
    still, below = texture(rng, kin), np.zeros((CANVAS, CANVAS), np.float32)
    for level in levels:
        below = np.clip((rows - level + rough * rng.uniform(0.1, 1)) * rng.uniform(20, 300), 0, 1)
        still = over(still, texture(rng, kin), below)
    if not len(levels):
        below = np.ones_like(below)
    for _ in range(rng.integers(0, 10)):
        shape = polygon(rng)
        still = over(still, texture(rng, kin) if rng.random() < 0.6 else np.full_like(still, colour(rng, kin)), shape)
        if rng.random() < 0.8:
            below = below * (1 - shape)
    return Ground(still, below if water else np.zeros_like(below))


def texture(rng: np.random.Generator, kin: Kin) -> np.ndarray:
    """(C, C, 3): leaves over leaves, or colours along a noise, with another noise of light; stretched as grass, planks
    and waves are."""
    if rng.random() < 0.25:
        return leaves(rng, kin)
    stretch = float(np.exp(rng.normal(0, 0.9))) if rng.random() < 0.6 else 1.0
    palette = np.stack([colour(rng, kin) for _ in range(rng.integers(2, 5))]).astype(np.float32)
    palette = palette.mean(0) + rng.uniform(0.15, 1) * (palette - palette.mean(0))
    wandering = rng.uniform(0.15, 0.35) * noise(rng, rng.uniform(0.4, 2.6), stretch)
    along = np.clip(wandering + np.float32(0.5), 0, 1) * (len(palette) - 1)
    low = np.minimum(along.astype(int), len(palette) - 2)
    fraction = (along - low)[..., None]
    flat = palette[low] * (1 - fraction) + palette[low + 1] * fraction
    return np.clip(flat * (1 + rng.uniform(0, 0.3) * noise(rng, rng.uniform(0, 1.6), stretch)[..., None]), 0, 1)


def leaves(rng: np.random.Generator, kin: Kin) -> np.ndarray:
    """(C, C, 3): shapes of many sizes that lie over each other, few large and many small (Lee et al. 2001)."""
    palette = np.stack([colour(rng, kin) for _ in range(rng.integers(2, 6))])
    found = np.full((CANVAS, CANVAS, 3), palette[0], np.float32)
    smallest, count, slim = PX * rng.uniform(3, 10), int(rng.integers(300, 1800)), rng.uniform(0.25, 1)
    spread, uneven = rng.uniform(0, 0.12), rng.uniform(0.02, 0.15)
    # Uniform in 1 / radius^2 is the law of natural pictures: as much area in each octave.
    radius = smallest / np.sqrt(rng.uniform((smallest / (70 * PX)) ** 2, 1, count))
    for size in np.sort(radius)[::-1] if rng.random() < 0.5 else radius:
        shade = np.clip(palette[rng.integers(len(palette))] + rng.normal(0, spread, 3) + rng.normal(0, uneven), 0, 1)
        axes = tuple(map(float, 2 * size * np.array([1, slim * rng.uniform(0.6, 1)])))
        cv2.ellipse(found, (tuple(map(float, rng.uniform(0, CANVAS, 2))), axes, float(rng.uniform(0, 180))),
                    tuple(map(float, shade)), -1, cv2.LINE_AA)
    return np.clip(found * (1 + rng.uniform(0, 0.15) * noise(rng, rng.uniform(0, 1), 1.0)[..., None]), 0, 1)


def colour(rng: np.random.Generator, kin: Kin) -> np.ndarray:
    """(3,) of things out of doors: often pale, at times near one of the subject's own."""
    if rng.random() < kin.fraction:
        own = kin.colours[rng.integers(len(kin.colours))]
        return np.clip(own * rng.uniform(0.6, 1.3) + rng.normal(0, 0.05, 3), 0, 1)
    grey = rng.uniform(0.05, 0.95)
    return np.clip(grey + rng.normal(0, rng.uniform(0.02, 0.2), 3), 0, 1)


def noise(rng: np.random.Generator, exponent: float, stretch: float) -> np.ndarray:
    """(C, C) of mean 0 and deviation 1, whose amplitude falls with about that power of the frequency."""
    found = one_noise(int(rng.integers(KINDS)), round(4 * np.clip(exponent, 0, 3)),
                      round(2 * np.clip(np.log(stretch), -2, 2)))
    return np.roll(found, rng.integers(CANVAS, size=2), (0, 1))[:: rng.choice([1, -1]), :: rng.choice([1, -1])]


@functools.lru_cache
def one_noise(kind: int, quarters: int, stretched: int) -> np.ndarray:
    exponent, stretch = quarters / 4, float(np.exp(stretched / 2))
    rng = np.random.default_rng([kind, quarters, stretched + 100])
    across = np.fft.rfftfreq(CANVAS)[None, :] * stretch
    down = np.fft.fftfreq(CANVAS)[:, None] / stretch
    frequency = np.maximum(np.hypot(across, down), 1 / CANVAS)
    spectrum = np.fft.rfft2(rng.standard_normal((CANVAS, CANVAS))) * frequency**-exponent
    found = np.fft.irfft2(spectrum, (CANVAS, CANVAS)).astype(np.float32)
    found -= found.mean()
    return found / max(float(found.std()), 1e-6)


def polygon(rng: np.random.Generator) -> np.ndarray:
    """(C, C) coverage of a post, a stone or a bush."""
    cover = np.zeros((CANVAS, CANVAS), np.float32)
    centre = rng.uniform(0.1, 0.9, 2) * CANVAS
    if rng.random() < 0.4:
        half = PX * np.array([rng.uniform(2, 14), rng.uniform(60, 400)])[:: rng.choice([1, -1])]
        box = (tuple(map(float, centre)), tuple(map(float, 2 * half)), float(rng.normal(0, 6)))
        corners = cv2.boxPoints(box)
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 14)))
        radius = PX * rng.uniform(8, 90) * rng.uniform(0.6, 1, len(angle))
        corners = centre + radius[:, None] * np.stack([np.cos(angle), rng.uniform(0.4, 1) * np.sin(angle)], 1)
    cv2.fillPoly(cover, [np.round(corners).astype(np.int32)], 1.0, cv2.LINE_AA)
    return cv2.GaussianBlur(cover, (0, 0), PX * rng.uniform(0.5, 2))


def camera_path(rng: np.random.Generator, offsets: Sequence[int]) -> Callable[[int], np.ndarray]:
    """From a frame's offset to the homography (3, 3) from its pixels to the canvas."""
    still = rng.random() < 0.15
    speed = 0.0 if still else PX * float(np.exp(rng.uniform(np.log(0.4), np.log(9))))
    angle = rng.choice([0, np.pi]) + rng.normal(0, 0.3) if rng.random() < 0.8 else rng.uniform(0, 2 * np.pi)
    start = rng.uniform(0.25, 0.75, 2) * (CANVAS - SIZE)
    shake, zoom, spin = PX * rng.uniform(0, 0.6) * (not still), rng.normal(0, 0.003), rng.normal(0, 0.0015)
    parallax = rng.normal(0, 0.003) if rng.random() < 0.4 else 0.0
    jitter = {offset: rng.normal(0, shake, 2) for offset in offsets}

    def homography(offset: int) -> np.ndarray:
        way = speed * offset * np.array([np.cos(angle), np.sin(angle)]) + jitter[offset]
        size, turn = 1 + zoom * offset * (not still), spin * offset * (not still)
        c, s = size * np.cos(turn), size * np.sin(turn)
        half = SIZE / 2
        lean = parallax * speed / PX * offset * np.cos(angle)
        linear = np.array([[c, -s + lean, 0], [s, c, 0], [0, 0, 1.0]])
        return np.array([[1, 0, start[0] + half + way[0]], [0, 1, start[1] + half + way[1]], [0, 0, 1]]) @ linear @ \
            np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1.0]])

    return homography


def camera_over(ground: np.ndarray, start: np.ndarray, offsets: Sequence[int]) -> Callable[[int], np.ndarray]:
    """The same, of a camera before which a subject stands still or walks: the ground under its feet (N, 2) moves as
    they do, and frame 0 has the homography start (3, 3)."""
    middle = ground[offsets.index(0)]

    def homography(offset: int) -> np.ndarray:
        way = np.eye(3)
        way[:2, 2] = middle - ground[offsets.index(offset)]
        return start @ way

    return homography


def in_water(masks: np.ndarray, ground: np.ndarray, middle: int, rng: np.random.Generator) -> np.ndarray:
    """Coverage (N, S, S) of what is above the water of a subject that swims or wades: its lowest points,
    displaced by ground (N, 2), are below."""
    rows = np.flatnonzero((masks[middle] > 0.5).any(1))
    if not len(rows):
        return masks
    line = rows[-1] - rng.uniform(0.05, 0.45) * len(rows) + ground[:, 1] - ground[middle, 1]
    down, across = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    waves = PX * rng.uniform(0, 3) * np.sin(across / (PX * rng.uniform(4, 30)) + rng.uniform(0, 6))
    tilt = rng.normal(0, 0.04) * (across - SIZE / 2)
    return masks * np.clip(line[:, None, None] + waves + tilt - down + 0.5, 0, 1).astype(np.float32)


def occluder(rng: np.random.Generator) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Something before the subject: from a frame's offset to its colours (S, S, 3) and coverage (S, S)."""
    cover, colours = polygon(rng), texture(rng, Kin(np.full((1, 3), 0.5), 0))
    start, speed = rng.uniform(0.1, 0.4, 2) * CANVAS, PX * rng.normal(0, 5, 2) * [1, 0.2]

    def at(offset: int) -> tuple[np.ndarray, np.ndarray]:
        move = np.float32([[1, 0, -start[0] - speed[0] * offset], [0, 1, -start[1] - speed[1] * offset]])
        return cv2.warpAffine(colours, move, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT), \
            cv2.warpAffine(cover, move, (SIZE, SIZE))

    return at


def companion(rng: np.random.Generator, offsets: Sequence[int]) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Another animal behind the subject, mostly beside it: from a frame's offset to its colours and coverage."""
    subject = moving_subject(rng, offsets)
    aside = np.array([rng.choice([-1, 1]) * rng.uniform(0.15, 0.5), rng.uniform(-0.15, 0.1)]) * SIZE
    speed, size = PX * rng.normal(0, 2, 2) * [1, 0.2] * (rng.random() < 0.6), rng.uniform(0.4, 1.0)

    def at(offset: int) -> tuple[np.ndarray, np.ndarray]:
        corner = SIZE / 2 * (1 - size) + aside + speed * offset
        move = np.float32([[size, 0, corner[0]], [0, size, corner[1]]])
        number = offsets.index(offset)
        return cv2.warpAffine(subject.colours[number], move, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE), \
            cv2.warpAffine(subject.masks[number], move, (SIZE, SIZE))

    return at


def wake_behind(shape: np.ndarray, offsets: Sequence[int],
                rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """Streaks of light and dark on the water that follow a subject of a shape (S, S): from a frame's offset to what
    they add (S, S)."""
    rows, columns = (np.flatnonzero((shape > 0.5).any(axis)) for axis in (1, 0))
    if not len(rows):
        return lambda offset: np.zeros_like(shape)
    middle, foot = columns[[0, -1]].mean(), rows[-1] - rng.uniform(0, 0.25) * len(rows)
    way, reach, high = rng.choice([-1, 1]), len(columns) * rng.uniform(0.6, 1.6), len(rows) * rng.uniform(0.1, 0.35)
    down, across = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    away = (across - middle) * way / reach
    cover = np.exp(-0.5 * ((down - foot) / (high * (0.5 + np.clip(away, 0, 1)))) ** 2) * (np.abs(away) < 1) * (
        1 - np.abs(away)) * (0.3 + 0.7 * (away > 0))
    streaks = noise(rng, rng.uniform(0.8, 1.6), float(np.exp(rng.uniform(0.5, 1.5)))) * rng.uniform(0.05, 0.3)
    slip, shake = PX * rng.uniform(-2, 2), {offset: PX * rng.normal(0, 1.5, 2) for offset in offsets}

    def at(offset: int) -> np.ndarray:
        move = np.float32([[1, 0, -SIZE / 2 + slip * offset + shake[offset][0]],
                           [0, 1, -SIZE / 2 + shake[offset][1]]])
        return cover * cv2.warpAffine(streaks, move, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)

    return at


def film(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Camera response, noise and compression of images (S, S, 3), 0 to 1, as uint8."""
    gain, gamma, tint = rng.uniform(0.75, 1.2), rng.uniform(0.75, 1.35), rng.normal(1, 0.05, 3)
    blur, grain, quality = PX * rng.uniform(0, 1.1), rng.uniform(0, 0.02), int(rng.integers(55, 97))

    def develop(picture: np.ndarray) -> np.ndarray:
        picture = np.clip(picture * tint * gain, 0, 1) ** gamma
        picture = cv2.GaussianBlur(picture, (0, 0), blur) if blur > 0.3 else picture
        noisy = np.clip(picture + grain * rng.standard_normal(picture.shape, np.float32), 0, 1)
        packed = cv2.imencode(".jpg", (255 * noisy[..., ::-1]).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1]

    return develop


def over(behind: np.ndarray, before: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return behind + cover[..., None] * (before - behind)


def rippled(picture: np.ndarray, offset: int, height: float, length: float, pace: float, start: float) -> np.ndarray:
    """The picture (S, S, 3) as moving water shows it."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    phase = 2 * np.pi * (rows / (0.3 * length) + np.sin(columns / length) * 0.6) + start + pace * offset
    return cv2.remap(picture, columns + height * np.sin(phase).astype(np.float32),
                     rows + 0.6 * height * np.cos(1.7 * phase).astype(np.float32), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REFLECT)


def mirror_of_water(rng: np.random.Generator) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """From a subject's colours (S, S, 3) and coverage (S, S) to its reflection's: at times dark, blurred, and lost with
    depth."""
    clear, dark = rng.uniform(0.3, 1), rng.uniform(0.3, 1) if rng.random() < 0.7 else 1.0
    blur, depth = PX * rng.uniform(0.5, 6) if rng.random() < 0.7 else 0.0, rng.uniform(0.1, 1) * SIZE

    def reflection(colours: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        foot, cover = lowest_row(mask), flipped(mask, mask)
        picture = flipped(colours, mask)
        if blur:
            soft = cv2.GaussianBlur(cover, (0, 0), blur)
            picture = cv2.GaussianBlur(picture * cover[..., None], (0, 0), blur) / np.maximum(soft, 1e-3)[..., None]
            cover = np.maximum(cover, soft)
        below = np.exp(-np.maximum(np.arange(SIZE, dtype=np.float32) - foot, 0) / depth)
        return np.clip(dark * picture, 0, 1), clear * cover * below[:, None]

    return reflection


def lowest_row(mask: np.ndarray) -> int:
    """Of a mask (S, S); below the picture where it is empty."""
    rows = np.flatnonzero(mask.max(1) > 0.5)
    return int(rows[-1]) if len(rows) else SIZE


def flipped(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Values (S, S[, 3]) mirrored at the lowest row of the mask."""
    return cv2.warpAffine(values, np.float32([[1, 0, 0], [0, -1, 2 * lowest_row(mask)]]), (SIZE, SIZE))


def cast(mask: np.ndarray, lean: float, flat: float) -> np.ndarray:
    """The shadow (S, S) that a mask throws on level ground."""
    foot = lowest_row(mask)
    move = np.float32([[1, lean, -lean * foot], [0, flat, foot * (1 - flat) - 2 * PX]])
    return cv2.GaussianBlur(cv2.warpAffine(mask, move, (SIZE, SIZE)), (0, 0), 1.5 * PX)
