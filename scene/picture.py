"""From a subject rendered before nothing to a picture: its colours, what is behind it, and the file."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np

from .variation import Variation

THRESHOLD = 0.5


def composed(pixels: np.ndarray, variation: Variation) -> np.ndarray:
    """(H, W, 3) 0 to 1: the subject (H, W, 4) in changed colours before a background."""
    alpha = pixels[..., 3:]
    behind = background(variation, len(pixels))
    return np.clip(alpha * recoloured(pixels[..., :3], variation) + (1 - alpha) * behind, 0, 1)


def mask_of(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool, where the subject (H, W, 4) is."""
    return pixels[..., 3] >= THRESHOLD


def recoloured(colours: np.ndarray, variation: Variation) -> np.ndarray:
    """Colours (..., 3) turned about the grey axis, and made paler or stronger, darker or brighter."""
    sine, cosine = math.sin(variation.hue), math.cos(variation.hue)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = cosine * np.eye(3) + sine * across + (1 - cosine) / 3
    grey = np.full((3, 3), 1 / 3)
    return colours @ (variation.brightness * (grey + variation.saturation * (turn - grey))).T


def background(variation: Variation, size: int) -> np.ndarray:
    """(S, S, 3): the variation's few colours, blended in between, with grain."""
    cells = variation.background
    along = _blend(len(cells), size)
    picture = np.einsum("ri,ijk,cj->rck", along, cells, along)
    return picture + np.random.default_rng(variation.noise_seed).normal(0, variation.grain, (size, size, 1))


def png(picture: np.ndarray) -> bytes:
    """The file of a picture (H, W, 3) 0 to 1."""
    height, width, _ = picture.shape
    values = np.round(picture * 255).astype(np.uint8).reshape(height, width * 3)
    rows = np.hstack([np.zeros((height, 1), np.uint8), values]).tobytes()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 6)),
             (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts)


def _blend(cells: int, size: int) -> np.ndarray:
    """(S, n) weights of n cells, from the first pixel's at the first to the last's at the last."""
    places = np.linspace(0, cells - 1, size)
    return np.clip(1 - np.abs(places[:, None] - np.arange(cells)), 0, 1)
