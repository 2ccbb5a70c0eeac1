"""What a family is and yields: a category, and animals of its own proportions, coat and pose by number."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vmr_backend.annotations import Category

from .tubes import Part, faces_of


@dataclass(frozen=True)
class Animal:
    """One animal in object space: its front looks to -y, its left is at +x, up is +z; longest extent at rest about 1.

    vertices   (V, 3)
    colours    (V, 3), sRGB 0 to 1
    layouts    of the parts that the vertices belong to (tubes.Part.layout); they give the faces
    keypoints  (K, 3)
    depths     (K,), how deep in the body each keypoint lies
    """

    vertices: np.ndarray
    colours: np.ndarray
    layouts: tuple
    keypoints: np.ndarray
    depths: np.ndarray

    @property
    def faces(self) -> np.ndarray:
        """(F, 3), counter-clockwise seen from outside."""
        return faces_of(self.layouts)


@dataclass(frozen=True)
class Family:
    """A category and how one of it is made.

    animal     from a generator: its proportions, pose and coat
    elevation  degrees of the camera above the horizon, between which most views lie
    """

    category: Category
    animal: Callable[[np.random.Generator], Animal]
    elevation: tuple[float, float]


def blend_of_kinds(tables: list[str], rng: np.random.Generator, jitter: float = 0.12) -> dict[str, float]:
    """Proportions of a kind, or of one on the way to another, each a little off.

    tables  each with the proportions' names in its first line, then a line for each kind, the same kinds in all
    """
    heads, rows = zip(*(_columns(table) for table in tables), strict=True)
    kinds = np.hstack(rows)
    one, other = rng.integers(len(kinds), size=2)
    fraction = rng.uniform(0, 0.6) * (rng.random() < 0.6)
    mixed = kinds[one] + fraction * (kinds[other] - kinds[one])
    off = np.exp(np.clip(rng.normal(0, jitter, len(mixed)), -2 * jitter, 2 * jitter))
    return dict(zip(sum(heads, []), (mixed * off).tolist(), strict=True))


@functools.lru_cache
def _columns(table: str) -> tuple[list[str], np.ndarray]:
    head, *lines = (line.split() for line in table.strip().splitlines())
    return head[1:], np.array([[float(word) for word in line[1:]] for line in lines])


def assembled(parts: Mapping[str, Part], coat: Callable[[str, Part], np.ndarray], keypoints: Mapping[str, tuple],
              names: tuple[str, ...], scale: float, centre: np.ndarray) -> Animal:
    """The animal of some parts, shifted from its centre to the origin and scaled.

    coat       colours (V, 3) of a part and its name
    keypoints  position (3,) and depth by name
    """
    vertices = (np.concatenate([part.vertices for part in parts.values()]) - centre) * scale
    colours = np.clip(np.concatenate([coat(name, part) for name, part in parts.items()]), 0.02, 0.98)
    positions = (np.array([keypoints[name][0] for name in names]) - centre) * scale
    depths = np.array([keypoints[name][1] for name in names]) * scale
    return Animal(vertices, colours, tuple(part.layout for part in parts.values()), positions, depths)
