"""A rigged tadpole: an egg with a thick head at -y, four bones along it, and a pair of stubs for fins."""

from __future__ import annotations

import numpy as np

from vmr_backend.geometry.sphere import icosphere, spherical_uv
from vmr_backend.templates.template import HELD_BY, Template, TemplateCard

NAMES = ("body", "head", "tail", "tip", "fin.L", "fin.R")
PARENTS = np.int32([-1, 0, 0, 2, 0, 0])
TWINS = np.int32([0, 1, 2, 3, 5, 4])
ENDS = np.float64([[[0, 0.05, 0], [0, 0.25, 0]], [[0, -0.1, 0], [0, -0.5, 0]], [[0, 0.25, 0], [0, 0.45, 0]],
                   [[0, 0.45, 0], [0, 0.7, 0]], [[0.1, -0.05, 0], [0.25, 0, 0]], [[-0.1, -0.05, 0], [-0.25, 0, 0]]])
"""(B, 2, 3) heads and tails."""


def tadpole(level: int = 3, **changes) -> Template:
    """Some 1.2 long, in its own units."""
    sphere = icosphere(level)
    y = 0.1 + 0.6 * sphere.vertices[:, 1]
    thick = np.interp(y, [-0.5, -0.35, 0, 0.3, 0.7], [0.9, 1.0, 0.7, 0.4, 0.3])
    vertices = np.stack([0.2 * thick * sphere.vertices[:, 0], y, 0.16 * thick * sphere.vertices[:, 2]], 1)
    aside = np.clip(np.abs(vertices[:, 0]) / 0.2 - 0.4, 0, 1) * (np.abs(y + 0.05) < 0.15)
    along = np.stack([np.exp(-((y - middle) / 0.12) ** 2) for middle in (0.1, -0.3, 0.35, 0.6)], 1)
    fins = np.stack([aside * (vertices[:, 0] > 0), aside * (vertices[:, 0] < 0)], 1)
    dense = np.concatenate([along * (1 - fins.sum(1, keepdims=True)), fins * along.sum(1, keepdims=True)], 1)
    dense /= dense.sum(1, keepdims=True)
    weights, bones = np.zeros((2, len(vertices), HELD_BY))
    weights[:, :6], bones[:, :6] = dense, np.arange(6)
    values = {"card": TemplateCard("tadpole", NAMES), "vertices": vertices, "faces": sphere.faces,
              "uv": spherical_uv(sphere), "skin_bones": bones, "skin_weights": weights, "bone_parents": PARENTS,
              "bone_rest": rest_of(ENDS), "bone_lengths": np.linalg.norm(ENDS[:, 1] - ENDS[:, 0], axis=1),
              "bone_twins": TWINS} | changes
    integers = ("faces", "skin_bones", "bone_parents", "bone_twins")
    return Template(values.pop("card"), **{name: np.asarray(value, np.int32 if name in integers else np.float32)
                                           for name, value in values.items()})


def rest_of(ends: np.ndarray) -> np.ndarray:
    """(B, 4, 4) frames of bones from heads to tails (B, 2, 3): y along the bone, z as far up as it goes."""
    frames = np.tile(np.eye(4), (len(ends), 1, 1))
    y = ends[:, 1] - ends[:, 0]
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    up = np.where(np.abs(y[:, 2:]) > 0.9, [[1.0, 0, 0]], [[0, 0, 1.0]])
    x = np.cross(y, up)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    frames[:, :3, :3] = np.stack([x, y, np.cross(x, y)], 2)
    frames[:, :3, 3] = ends[:, 0]
    return frames
