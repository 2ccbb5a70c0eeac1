"""Domain randomisation: pose, camera, light and colours of each image of a collection, drawn from a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .subject import Motion

ELEVATION = (-10.0, 35.0)
ANY_ELEVATION = (-30.0, 70.0)
ANY_ELEVATION_PROBABILITY = 0.1
LARGEST_ROLL = 8.0
DISTANCE = (4.0, 12.0)
"""Of the camera, in radii of the subject: from a wide angle to a telephoto lens."""
FILL = (0.55, 0.9)
"""Length of the longer side of the subject's bounding box over that of the image."""
PROPORTIONS = 0.12
BONE_SIZE = 0.12
BONES_CHANGED = 3
"""More at once add up along a limb."""
COATS = {"own": 0.6, "flat": 0.12, "patterned": 0.28}
GRADIENT_PROBABILITY = 0.4


@dataclass(frozen=True)
class RenderVariation:
    """The random parameters of one image. Object space: -y front, z up; camera axes x right, y down, z forward."""

    motions: tuple[Motion, ...] = ()
    frame: float | None = None
    """At which the motions are shown; None for the pose that the file is in."""
    proportions: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors along the axes of object space."""
    bones: tuple[tuple[str, float], ...] = ()
    """Factors on the size of bones and of their descendants."""
    rotation: np.ndarray = None
    """(3, 3) object to camera."""
    distance: float = 8.0
    """Of the camera from the subject's centre, in radii of the subject."""
    fill: float = 0.7
    placement: tuple[float, float] = (0.5, 0.5)
    """Of the subject's bounding box within the margins, from 0 (left, top) to 1."""
    sun_direction: tuple[float, float, float] = (0.0, -0.6, 0.8)
    """From the subject to the sun, object space."""
    sun_strength: float = 3.0
    sun_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    sky_strength: float = 0.6
    sky_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    coat: str = "own"
    """own: the file's materials; flat: one colour; patterned: two in patches."""
    coat_colours: np.ndarray = None
    """(2, 3)"""
    patch_size: float = 0.2
    """In radii of the subject."""
    hue: float = 0.0
    """Rotation of the colours about the grey axis, radians."""
    saturation: float = 1.0
    brightness: float = 1.0
    background: np.ndarray = None
    """(n, n, 3) colours, 0 to 1, interpolated between: 2 x 2 make a gradient."""
    grain: float = 0.0
    """Of the background, standard deviation."""
    noise_seed: int = 0
    """Of the grain, and of the path tracer."""


def draw(seed: int, number: int, motions: Sequence[Motion], bones: Sequence[tuple[str, ...]],
         has_material: bool) -> RenderVariation:
    """The variation of image `number`; it depends on no other.

    bones         names of bones that are scaled together: the left and the right one of a pair
    has_material  whether the coat "own" is possible
    """
    rng = np.random.default_rng([seed, number])
    chosen, frame = _moment(rng, motions)
    coats = {name: probability for name, probability in COATS.items() if has_material or name != "own"}
    probabilities = np.array(list(coats.values()))
    return RenderVariation(
        chosen, frame, tuple(rng.uniform(1 - PROPORTIONS, 1 + PROPORTIONS, 3)), _bone_sizes(rng, bones),
        rotation=_rotation(rng), distance=float(rng.uniform(*DISTANCE)), fill=float(rng.uniform(*FILL)),
        placement=tuple(rng.uniform(0.25, 0.75, 2)), sun_direction=_direction(rng),
        sun_strength=float(rng.uniform(1.0, 3.5)), sun_colour=_tint(rng), sky_strength=float(rng.uniform(0.3, 0.9)),
        sky_colour=_tint(rng), coat=str(rng.choice(list(coats), p=probabilities / probabilities.sum())),
        coat_colours=rng.uniform(0.02, 0.8, (2, 3)), patch_size=float(np.exp(rng.uniform(*np.log([0.05, 0.6])))),
        hue=float(rng.normal(0, 0.35)), saturation=float(rng.uniform(0.6, 1.3)),
        brightness=float(rng.uniform(0.7, 1.25)), background=_background(rng), grain=float(rng.uniform(0, 0.05)),
        noise_seed=int(rng.integers(2**31)))


def rotation_towards(azimuth: float, elevation: float, roll: float = 0.0) -> np.ndarray:
    """(3, 3) object to camera; degrees.

    azimuth    of the camera: 0 in front of the subject, 90 at its left (+x)
    elevation  of the camera above the subject
    roll       of the camera about its axis; the image turns the other way
    """
    a, e, r = (math.radians(angle) for angle in (azimuth, elevation, roll))
    forward = np.array([-math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), -math.sin(e)])
    right = np.array([math.cos(a), math.sin(a), 0.0])
    level = np.stack([right, np.cross(forward, right), forward])
    turn = np.array([[math.cos(r), math.sin(r), 0], [-math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return turn @ level


def _moment(rng: np.random.Generator, motions: Sequence[Motion]) -> tuple[tuple[Motion, ...], float | None]:
    """One motion for the armature and for each keyed mesh, and a frame of the first."""
    by_owner: dict[str, list[Motion]] = {}
    for motion in motions:
        by_owner.setdefault(motion.owner.name_full, []).append(motion)
    chosen = tuple(of_one[int(rng.integers(len(of_one)))] for of_one in by_owner.values())
    if not chosen:
        return (), None
    return chosen, float(rng.uniform(*chosen[0].action.frame_range))


def _bone_sizes(rng: np.random.Generator, bones: Sequence[tuple[str, ...]]) -> tuple[tuple[str, float], ...]:
    picked = rng.permutation(len(bones))[:BONES_CHANGED]
    factors = rng.uniform(1 - BONE_SIZE, 1 + BONE_SIZE, len(picked))
    return tuple((name, float(factor)) for index, factor in zip(picked, factors, strict=True) for name in bones[index])


def _rotation(rng: np.random.Generator) -> np.ndarray:
    limits = ANY_ELEVATION if rng.uniform() < ANY_ELEVATION_PROBABILITY else ELEVATION
    return rotation_towards(rng.uniform(-180, 180), rng.uniform(*limits), rng.uniform(-LARGEST_ROLL, LARGEST_ROLL))


def _direction(rng: np.random.Generator) -> tuple[float, float, float]:
    azimuth, height = rng.uniform(0, 2 * math.pi), rng.uniform(0.15, 1.0)
    level = math.sqrt(1 - height**2)
    return level * math.cos(azimuth), level * math.sin(azimuth), float(height)


def _tint(rng: np.random.Generator) -> tuple[float, float, float]:
    """White, a little warm or cold."""
    warmth = rng.uniform(-0.25, 0.25)
    return float(1 + min(warmth, 0)), 1.0 - abs(float(warmth)) / 2, float(1 - max(warmth, 0))


def _background(rng: np.random.Generator) -> np.ndarray:
    cells = 2 if rng.uniform() < GRADIENT_PROBABILITY else int(rng.integers(3, 10))
    colours = rng.uniform(0.05, 0.95, 3) + rng.normal(0, rng.uniform(0.05, 0.3), (cells, cells, 3))
    grey = colours.mean(-1, keepdims=True)
    return np.clip(grey + rng.uniform(0.1, 0.8) * (colours - grey), 0, 1)
