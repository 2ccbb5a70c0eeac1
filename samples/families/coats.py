"""Colours of coats and plumages: palettes, soft random patterns, and how they are painted over one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pattern = Callable[[np.ndarray], np.ndarray]


def hsv(hue, saturation, value) -> np.ndarray:
    """sRGB (3,) of hue in degrees, saturation and value 0 to 1."""
    wheel = np.abs((np.array([0.0, 4.0, 2.0]) + hue / 60) % 6 - 3) - 1
    return value * (1 - saturation * (1 - np.clip(wheel, 0, 1)))


def drawn_colour(rng: np.random.Generator, palette: np.ndarray, wild: float) -> np.ndarray:
    """One of a palette's colours (N, 3), a little off; with probability `wild` any colour."""
    if rng.random() < wild:
        return hsv(rng.uniform(0, 360), rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.95))
    shade = palette[rng.integers(len(palette))]
    return np.clip(shade * np.exp(rng.normal(0, 0.12)) + rng.normal(0, 0.03, 3), 0.03, 0.97)


def clouds(rng: np.random.Generator, scale: float, stretch=(1.0, 1.0, 1.0)) -> Pattern:
    """A smooth random pattern of about unit spread on a part's cloth, its clouds about 1 / scale wide.

    stretch  how much faster it changes along, across and up
    """
    waves = (rng.normal(0, scale * 2.2, (3, 12)) * np.reshape(stretch, (3, 1))).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 12).astype(np.float32)
    return lambda cloth: np.sin(cloth.astype(np.float32) @ waves + phases).sum(1) / np.sqrt(6)


def soft(value, width: float) -> np.ndarray:
    """0 well below 0, 1 well above it, soft over `width`."""
    return np.clip(np.asarray(value) / width + 0.5, 0, 1)


def painted(colours: np.ndarray, paint, amount) -> np.ndarray:
    """Colours (V, 3) under some amount (V,) of a paint (3,)."""
    return colours + (paint - colours) * np.asarray(amount)[:, None]
