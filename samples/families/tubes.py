"""Bodies of closed parts, each a row of rings along a smooth line: tubes, and sheets for wings and tails.

Every animal of a family has the same parts with the same numbers of rings, so all share their faces.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix

MIRROR = np.array([-1.0, 1.0, 1.0])
CAP = np.radians([60.0, 30.0])
"""Where the rings of a rounded end stand on their quarter of an ellipse, from the tip's on; 90 were the tip."""


@dataclass(frozen=True)
class Part:
    """One closed part of a body.

    vertices  (V, 3); ring after ring, then the points that close the first and the last ring
    coordinates  (V, 3); along the part 0 to 1, then across it: side and up, on the unit circle (0 at both ends)
    cloth     (V, 3); the same in lengths: texture coordinates, whatever the pose
    rings, segments  their numbers, caps included
    mirrored  made as a left part and reflected since, so that its faces turn the other way
    """

    vertices: np.ndarray
    coordinates: np.ndarray
    cloth: np.ndarray
    rings: int
    segments: int
    mirrored: bool = False

    def reflected(self) -> Part:
        """The part of the other side."""
        return replace(self, vertices=self.vertices * MIRROR, mirrored=not self.mirrored)

    def moved(self, frame: np.ndarray, origin: np.ndarray) -> Part:
        """The part turned by a rotation (3, 3), then shifted (3,)."""
        return replace(self, vertices=self.vertices @ frame.T + origin)

    @property
    def layout(self) -> tuple[int, int, bool]:
        return self.rings, self.segments, self.mirrored


def tube(rows, rings: int, segments: int, side=(1.0, 0.0, 0.0), ends=(1.0, 1.0)) -> Part:
    """A tube of elliptic sections along the smooth curve through `rows`.

    rows  (N, 5): x, y, z of the centre, half the extent along `side`, half the extent across it
    side  (3,) or (N, 3): what the sections' first axis is near to; with the curve along -y and side +x, up is +z
    ends  how far both ends are rounded, in units of the section's smaller half extent
    """
    rows = np.asarray(rows, float)
    weights = curve_weights(len(rows), rings)
    smooth = weights @ rows
    centre, width, height = smooth[:, :3], np.maximum(smooth[:, 3:4], 1e-4), np.maximum(smooth[:, 4:5], 1e-4)
    tangent = tangents_of(centre)
    near = weights @ np.broadcast_to(np.asarray(side, float), (len(rows), 3))
    across = unit(near - (near * tangent).sum(1, keepdims=True) * tangent)
    up = cross(tangent, across)
    return sheet(*capped(centre, tangent, across * width, up * height, np.minimum(width, height), ends), segments)


def capped(centre, tangent, across, up, reach, ends):
    """Rings with those of the rounded ends before and after them, then both tips (2, 3)."""
    first, last = (sign * tangent[at] * reach[at] * end for sign, at, end in ((-1, 0, ends[0]), (1, -1, ends[1])))
    out, size = np.sin(CAP)[:, None], np.cos(CAP)[:, None]
    centre_rows = [centre[0] + out * first, centre, (centre[-1] + out * last)[::-1]]
    around = [[size * axis[0], axis, (size * axis[-1])[::-1]] for axis in (across, up)]
    tips = np.stack([centre[0] + first, centre[-1] + last])
    return np.vstack(centre_rows), np.vstack(around[0]), np.vstack(around[1]), tips


def sheet(centre, across, up, tips, segments: int, bow=(0.0, 0.0, 0.0)) -> Part:
    """The part with the sections centre + cos(a) across + sin(a) up + cos(a)^2 bow, closed by both tips.

    centre, across, up, bow  (R, 3), bow also (3,); half axes with their lengths; a runs from `across` to `up`
    tips                     (2, 3)
    """
    angle = np.arange(segments) * (2 * np.pi / segments)
    cosine, sine = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    count = len(centre) * segments
    vertices, coordinates, cloth = np.empty((3, count + 2, 3))
    rings = vertices[:count].reshape(len(centre), segments, 3)
    rings[:] = centre[:, None] + cosine * across[:, None] + sine * up[:, None] + cosine**2 * np.reshape(bow, (-1, 1, 3))
    length = np.append(0.0, np.cumsum(lengths_of(centre[1:] - centre[:-1])[:, 0]))
    for values, sizes in ((coordinates, (length / length[-1], 1, 1)),
                          (cloth, (length, lengths_of(across), lengths_of(up)))):
        grid = values[:count].reshape(len(centre), segments, 3)
        grid[..., 0], grid[..., 1], grid[..., 2] = sizes[0][:, None], cosine[..., 0] * sizes[1], sine[..., 0] * sizes[2]
        values[count:] = [[0, 0, 0], [sizes[0][-1], 0, 0]]
    vertices[count:] = tips
    return Part(vertices, coordinates, cloth, len(centre), segments)


@functools.lru_cache
def curve_weights(controls: int, count: int) -> np.ndarray:
    """(count, controls): weights that put `count` points on the Catmull-Rom curve through some rows."""
    at = np.linspace(0, controls - 1, count)
    span = np.minimum(at.astype(int), controls - 2)
    t = at - span
    four = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1) / 2
    padded = np.zeros((count, controls + 2))
    padded[np.arange(count)[:, None], span[:, None] + np.arange(4)] = four
    # Beyond its ends the row of controls goes on straight.
    weights = padded[:, 1:-1].copy()
    weights[:, [0, 1]] += padded[:, :1] * [2, -1]
    weights[:, [-1, -2]] += padded[:, -1:] * [2, -1]
    return weights


def smooth_line(rows, count: int) -> np.ndarray:
    """`count` points on the smooth curve through rows (N, C)."""
    return curve_weights(len(rows), count) @ np.asarray(rows, float)


@functools.lru_cache
def faces_of(layouts: tuple[tuple[int, int, bool], ...]) -> np.ndarray:
    """Triangles (F, 3) of parts in a row, counter-clockwise seen from outside."""
    found, first = [], 0
    for rings, segments, mirrored in layouts:
        i, j = np.meshgrid(np.arange(rings - 1), np.arange(segments), indexing="ij")
        following = (j + 1) % segments
        a, b, c, d = (ring * segments + step for ring in (i, i + 1) for step in (j, following))
        around = np.arange(segments)
        beside = (around + 1) % segments
        start, end = np.full(segments, rings * segments), np.full(segments, rings * segments + 1)
        last = (rings - 1) * segments
        faces = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3),
                                np.stack([start, beside, around], 1), np.stack([end, last + around, last + beside], 1)])
        found.append(first + (faces[:, ::-1] if mirrored else faces))
        first += rings * segments + 2
    return np.concatenate(found).astype(np.int32)


@functools.lru_cache
def _corners_of(layouts) -> csr_matrix:
    """(V, F), one where a face has a vertex."""
    faces = faces_of(layouts)
    columns = np.repeat(np.arange(len(faces)), 3)
    return csr_matrix((np.ones(faces.size), (faces.ravel(), columns)))


def normals_of(vertices: np.ndarray, layouts) -> np.ndarray:
    """Unit normals (V, 3) of the vertices, those of their faces averaged by area."""
    a, b, c = (vertices[corner] for corner in faces_of(layouts).T)
    return unit(_corners_of(layouts) @ cross(b - a, c - a))


def tangents_of(line: np.ndarray) -> np.ndarray:
    """Unit directions (N, 3) of a row of points."""
    padded = np.vstack([2 * line[:1] - line[1:2], line, 2 * line[-1:] - line[-2:-1]])
    return unit(padded[2:] - padded[:-2])


def cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cross products (N, 3); NumPy's own takes several times as long on few vectors."""
    turned, further = [1, 2, 0], [2, 0, 1]
    return u[:, turned] * v[:, further] - u[:, further] * v[:, turned]


def lengths_of(vectors: np.ndarray) -> np.ndarray:
    """(..., 1)"""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(lengths_of(vectors), 1e-12)


def turned_up(degrees: float) -> np.ndarray:
    """The rotation (3, 3) that raises the front (-y) by some degrees, left and right staying where they are."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def turned_left(degrees: float) -> np.ndarray:
    """The rotation (3, 3) about z that turns the front (-y) to the left (+x)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def leaning(degrees: float) -> np.ndarray:
    """The rotation (3, 3) about the axis ahead that lowers the left side."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def direction(pitch, yaw=0.0) -> np.ndarray:
    """Unit vectors (..., 3) from straight ahead (-y), raised by `pitch` and turned left by `yaw` degrees."""
    pitch, yaw = np.broadcast_arrays(np.radians(pitch), np.radians(yaw))
    return np.stack([np.cos(pitch) * np.sin(yaw), -np.cos(pitch) * np.cos(yaw), np.sin(pitch)], -1)


def chain(start, lengths, directions) -> np.ndarray:
    """Points (N + 1, 3) of N links of some lengths (N,) and unit directions (N, 3), the first at `start`."""
    steps = np.asarray(lengths, float)[:, None] * directions
    return np.vstack([np.asarray(start, float), start + np.cumsum(steps, 0)])
