"""Meshes that are no sphere: with borders, two parts, one side, an edge of three faces, vertices without any face."""

from typing import NamedTuple

import numpy as np

from vmr_backend.geometry.sphere import icosphere


class Mesh(NamedTuple):
    vertices: np.ndarray
    """(V, 3) float64."""
    faces: np.ndarray
    """(F, 3) int64."""


def grid(rows: int = 4, columns: int = 5) -> Mesh:
    """Unit squares in the plane z = 0, each of two triangles."""
    return Mesh(*_strip(rows, columns, lambda u, v: (u, v, 0 * u)))


def cylinder(around: int = 12, along: int = 3) -> Mesh:
    """Of radius 1 about z, open at both ends, with squares of the sides' width."""
    width = 2 * np.sin(np.pi / around)
    return Mesh(*_strip(along, around, lambda u, v: (np.cos(turn := 2 * np.pi * u / around), np.sin(turn), width * v),
                        closed=True))


def moebius(around: int = 14, across: int = 2) -> Mesh:
    """A strip of half a turn."""
    def point(u, v):
        turn, beside = 2 * np.pi * u / around, 0.6 * (v / across - 0.5)
        radius = 1 + beside * np.cos(turn / 2)
        return radius * np.cos(turn), radius * np.sin(turn), beside * np.sin(turn / 2)

    return Mesh(*_strip(across, around, point, closed=True, turned=True))


def two_balls() -> Mesh:
    ball = icosphere(1)
    return Mesh(np.concatenate([ball.vertices, 0.5 * ball.vertices + [3, 0, 0]]),
                np.concatenate([ball.faces, ball.faces + len(ball.vertices)]))


def book() -> Mesh:
    """Three leaves on one back, two of them running along it in the same direction."""
    return Mesh(np.array([(0, 0, 0), (0, 0, 1), (1, 0.1, 0.4), (-0.3, 0.9, 0.5), (-0.6, -0.7, 0.6)]),
                np.array([(0, 1, 2), (1, 0, 3), (0, 1, 4)]))


def with_lonely(mesh: Mesh) -> Mesh:
    """With far vertices that no face has before, among and after the others."""
    middle = len(mesh.vertices) // 2
    lonely = np.full((1, 3), 7.0)
    vertices = np.concatenate([lonely, mesh.vertices[:middle], -lonely, mesh.vertices[middle:], lonely])
    return Mesh(vertices, mesh.faces + 1 + (mesh.faces >= middle))


def _strip(rows: int, columns: int, point, closed: bool = False, turned: bool = False):
    """Vertices and faces of rows x columns squares whose corners `point` puts somewhere; if closed, the last column's
    right side is the first one's left, if turned, upside down."""
    v, u = np.mgrid[:rows + 1, :columns if closed else columns + 1]
    index = np.arange(u.size).reshape(u.shape)
    if closed:
        index = np.concatenate([index, index[::-1, :1] if turned else index[:, :1]], 1)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack(point(u.ravel().astype(float), v.ravel().astype(float)), 1), faces


ODD_MESHES = {"a grid": grid(), "a tube": cylinder(), "a Moebius strip": moebius(), "two balls": two_balls(),
              "a book": book(), "lonely vertices": with_lonely(grid())}


def box_uv(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3, 2) of a body around the origin, as its author might have unwrapped it: six islands, one for each side of a
    box that it is seen from, some of them turned over."""
    middle = vertices[faces].mean(1)
    axis = np.abs(middle).argmax(1)
    side = 2 * axis + (np.take_along_axis(middle, axis[:, None], 1)[:, 0] > 0)
    across = np.take_along_axis(vertices[faces], np.array([(1, 2), (0, 2), (0, 1)])[axis][:, None], 2)
    across = 0.5 + 0.4 * across / np.abs(vertices).max()
    return (np.stack([side % 3, side // 3], 1)[:, None] + across) / [3, 2]
