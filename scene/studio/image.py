"""From a render with alpha to an image: colours varied, a random background, and the PNG file."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np

from .variation import RenderVariation

THRESHOLD = 0.5


def composed(pixels: np.ndarray, variation: RenderVariation) -> np.ndarray:
    """(H, W, 3) 0 to 1: the render (H, W, 4), recoloured, over a background."""
    alpha = pixels[..., 3:]
    return np.clip(alpha * recoloured(pixels[..., :3], variation)
                   + (1 - alpha) * background(variation, len(pixels)), 0, 1)


def mask_of(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool, the mask of a render (H, W, 4)."""
    return pixels[..., 3] >= THRESHOLD


def recoloured(colours: np.ndarray, variation: RenderVariation) -> np.ndarray:
    """Colours (..., 3) with hue, saturation and brightness varied."""
    sine, cosine = math.sin(variation.hue), math.cos(variation.hue)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = cosine * np.eye(3) + sine * across + (1 - cosine) / 3
    grey = np.full((3, 3), 1 / 3)
    return colours @ (variation.brightness * (grey + variation.saturation * (turn - grey))).T


def background(variation: RenderVariation, size: int) -> np.ndarray:
    """(S, S, 3): the variation's few colours, interpolated bilinearly, with grain."""
    cells = variation.background
    weights = _interpolation(len(cells), size)
    return np.einsum("ri,ijk,cj->rck", weights, cells, weights) + \
        np.random.default_rng(variation.noise_seed).normal(0, variation.grain, (size, size, 1))


def png(image: np.ndarray) -> bytes:
    """The PNG file of an image (H, W, 3) 0 to 1."""
    height, width, _ = image.shape
    values = np.round(image * 255).astype(np.uint8).reshape(height, width * 3)
    rows = np.hstack([np.zeros((height, 1), np.uint8), values]).tobytes()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 6)),
             (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts)


def _interpolation(cells: int, size: int) -> np.ndarray:
    """(S, n) linear interpolation weights of n cells, the first at the first pixel, the last at the last."""
    positions = np.linspace(0, cells - 1, size)
    return np.clip(1 - np.abs(positions[:, None] - np.arange(cells)), 0, 1)
