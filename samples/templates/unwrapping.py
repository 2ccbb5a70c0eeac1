"""The UV map of a template: where it is cut, unwrapped by Blender's operators, its islands packed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.signal import fftconvolve
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

GRID = 384
MARGIN = 2
"""Free cells of the grid around an island, on which islands are packed."""


def islands(membership: dict[str, np.ndarray], faces: np.ndarray, vertices: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """Islands of the UV map: number (F,) of each face, and edges (S, 2) that are cut beside their borders.

    The trunk with neck and head is one, cut along its underside; each leg, each ear and the tail are one, cut along
    their inner side, back and underside.
    """
    groups = [("trunk", "neck", "head"), ("left_fore", "left_fore_foot"), ("left_hind", "left_hind_foot"),
              ("left_ear",), ("tail",)]
    held = np.stack([sum(membership[name] for name in group) for group in groups], 1)
    # Trunk and limbs meet where the limb is clearly itself, along a smooth line.
    held[:, 0] *= 1.3
    graph = _lengths(faces, vertices)
    beside = (graph + graph.T) > 0
    for _ in range(4):
        held = 0.5 * held + 0.5 * (beside @ held) / np.asarray(beside.sum(1))
    left = vertices[faces].mean(1)[:, 0] > 0
    label = held[faces].sum(1).argmax(1)
    label = np.where(~left & (label > 0) & (label < 4), label + 4, label)
    cuts = [_underside(faces, vertices)]
    label = _one_piece_each(faces, label, cuts[0])
    for number in (1, 2, 3, 5, 6, 7):
        own = np.unique(faces[label == number])
        border = np.intersect1d(own, np.unique(faces[label != number]))
        inside = np.setdiff1d(own, border)
        # A cut along the border would cut single triangles off.
        border = border[np.asarray((graph[border][:, inside] + graph[inside][:, border].T).sum(1)).ravel() > 0]
        if number in (3, 7):
            start, end = border[vertices[border, 1].argmax()], own[np.abs(vertices[own, 0]).argmax()]
        else:
            toes = own[vertices[own, 2] < vertices[own, 2].min() + 0.02]
            start, end = border[np.abs(vertices[border, 0]).argmin()], toes[vertices[toes, 1].argmin()]
        cuts.append(_path(graph, np.append(inside, start), start, end, vertices, prefer_inner=number not in (3, 7)))
    return label, np.vstack(cuts)


def _one_piece_each(faces: np.ndarray, label: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Labels of faces whose smaller pieces are given to what surrounds them; edges (S, 2) of the trunk are cut."""
    label = label.copy()
    cuts = {tuple(sorted(edge)) for edge in cut.tolist()}
    corners = csr_matrix((np.ones(faces.size), (np.repeat(np.arange(len(faces)), 3), faces.ravel())))
    beside = (corners @ corners.T).tocoo()
    keep = beside.data > 1.5
    rows, columns = beside.row[keep], beside.col[keep]
    severed = np.array([tuple(sorted(set(faces[i].tolist()) & set(faces[j].tolist()))) in cuts
                        for i, j in zip(rows, columns, strict=True)])
    for _ in range(3):
        same = (label[rows] == label[columns]) & ~(severed & (label[rows] == 0))
        graph = csr_matrix((np.ones(same.sum()), (rows[same], columns[same])), (len(faces),) * 2)
        piece = connected_components(graph, directed=False)[1]
        sizes = np.bincount(piece)
        for number in np.unique(label):
            pieces = np.unique(piece[label == number])
            for small in pieces[sizes[pieces] < sizes[pieces].max()]:
                around = columns[(piece[rows] == small) & (piece[columns] != small)]
                if len(around):
                    label[piece == small] = np.bincount(label[around]).argmax()
    return label


def _lengths(faces: np.ndarray, vertices: np.ndarray) -> csr_matrix:
    edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return csr_matrix((np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1), edges.T))


def _path(graph: csr_matrix, own: np.ndarray, start: int, end: int, vertices: np.ndarray,
          prefer_inner: bool) -> np.ndarray:
    """Edges (S, 2) of the shortest path within some vertices; along the inner side of a limb where asked for."""
    part = graph[own][:, own].tocoo()
    cost = part.data
    if prefer_inner:
        outward = np.sign(vertices[own, 0]) * _inwardness(vertices, own)
        cost = cost * (1 + 3 * np.clip(outward[part.row] + 0.7, 0, 2))
    weighted = csr_matrix((cost, (part.row, part.col)), part.shape)
    first, last = (int(np.flatnonzero(own == v)[0]) for v in (start, end))
    previous = dijkstra(weighted, directed=False, indices=first, return_predecessors=True)[1]
    line = [last]
    while line[-1] != first:
        line.append(int(previous[line[-1]]))
    line = own[line]
    return np.stack([line[:-1], line[1:]], 1)


def _inwardness(vertices: np.ndarray, own: np.ndarray) -> np.ndarray:
    """x of points relative to the middle of the limb at their height, -1 at the inner side to 1."""
    x, z = vertices[own, 0], vertices[own, 2]
    near = np.exp(-((z[:, None] - z) / 0.03) ** 2)
    middle = (near @ x) / near.sum(1)
    spread = np.sqrt(np.maximum((near @ x**2) / near.sum(1) - middle**2, 1e-12))
    return np.clip((x - middle) / (1.5 * spread), -1, 1)


def _underside(faces: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Edges (S, 2) of the mirror plane from the tip of the nose over the belly to the tip of the tail."""
    edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges[(vertices[edges][..., 0] == 0).all(1)], 1), axis=0)
    beside: dict[int, list[int]] = {}
    for a, b in edges:
        beside.setdefault(int(a), []).append(int(b))
        beside.setdefault(int(b), []).append(int(a))
    nose, tail = (min(beside, key=lambda v: sign * vertices[v, 1]) for sign in (1, -1))
    arcs = []
    for second in beside[nose]:
        line = [nose, second]
        while line[-1] != tail:
            line.append(next(v for v in beside[line[-1]] if v != line[-2]))
        arcs.append(np.array(line))
    lower = min(arcs, key=lambda line: vertices[line, 2].mean())
    return np.stack([lower[:-1], lower[1:]], 1)


def unwrapped(vertices: np.ndarray, faces: np.ndarray, island: np.ndarray, seams: np.ndarray, python: str
              ) -> np.ndarray:
    """UV (F, 3, 2), by the operators of a Blender that a Python has as a module."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = (os.path.join(folder, name) for name in ("mesh.npz", "uv.npz"))
        np.savez(given, vertices=vertices, faces=faces, island=island, seams=seams)
        subprocess.run([python, str(Path(__file__).with_name("unwrap_program.py")), given, out], check=True,
                       stdout=subprocess.DEVNULL)
        uv = np.load(out)["uv"].astype(float)
    return packed_islands(_to_scale(uv, vertices[faces], island), island)


def _to_scale(uv: np.ndarray, corners: np.ndarray, island: np.ndarray) -> np.ndarray:
    """UV whose islands are as large as on the mesh, each turned so that its longest extent lies across."""
    uv = uv.copy()
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    flat = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    real = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    for number in np.unique(island):
        own = island == number
        points = uv[own].reshape(-1, 2)
        points = (points - points.mean(0)) * np.sqrt(real[own].sum() / flat[own].sum())
        angles = np.radians(np.arange(0, 180, 3))
        turned = [points @ np.array([[np.cos(w), np.sin(w)], [-np.sin(w), np.cos(w)]]) for w in angles]
        boxes = [np.ptp(p, axis=0) for p in turned]
        best = min(range(len(angles)), key=lambda k: boxes[k].prod() * (1 if boxes[k][0] >= boxes[k][1] else 1.0001))
        uv[own] = (turned[best] - turned[best].min(0)).reshape(-1, 3, 2)
    return uv


def packed_islands(uv: np.ndarray, island: np.ndarray) -> np.ndarray:
    """UV with the islands in the unit square, as large as they fit, none over another."""
    numbers = sorted(np.unique(island), key=lambda n: -np.ptp(uv[island == n].reshape(-1, 2), axis=0).prod())
    least, most, found = 0.0, 1.5 / np.sqrt(sum(np.ptp(uv[island == n].reshape(-1, 2), axis=0).prod()
                                                for n in numbers)), None
    for _ in range(9):
        scale = (least + most) / 2
        attempt = _placed(uv, island, numbers, scale)
        least, most, found = (scale, most, attempt) if attempt is not None else (least, scale, found)
    return found


def _placed(uv: np.ndarray, island: np.ndarray, numbers: list, scale: float) -> np.ndarray | None:
    taken, placed = np.zeros((GRID, GRID)), np.zeros_like(uv)
    for number in numbers:
        own = island == number
        best = None
        for quarter in range(4):
            turn = np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), quarter)
            points = uv[own] @ turn * scale
            points -= points.reshape(-1, 2).min(0)
            shape = _cells(points)
            if max(shape.shape) > GRID:
                continue
            free = np.argwhere(fftconvolve(taken, shape[::-1, ::-1], "valid") < 0.5)
            if len(free):
                spot = free[(free + shape.shape).max(1).argmin()]
                score = (spot + shape.shape).max()
                if best is None or score < best[0]:
                    best = score, spot, shape, points
        if best is None:
            return None
        _, (x, y), shape, points = best
        taken[x:x + shape.shape[0], y:y + shape.shape[1]] += shape
        placed[own] = points + (np.array([x, y]) + MARGIN) / GRID
    return placed


def _cells(points: np.ndarray) -> np.ndarray:
    """Which cells of the grid triangles (F, 3, 2) touch, with the margin around them."""
    steps = np.array([(i / 8, j / 8, 1 - (i + j) / 8) for i in range(9) for j in range(9 - i)])
    samples = np.einsum("sk,fkc->fsc", steps, points).reshape(-1, 2)
    cells = (samples * GRID).astype(int) + MARGIN
    shape = np.zeros(cells.max(0) + MARGIN + 1, bool)
    shape[tuple(cells.T)] = True
    return binary_dilation(shape, iterations=MARGIN).astype(float)
