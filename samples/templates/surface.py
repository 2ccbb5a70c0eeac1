"""One closed surface around a body's parts: their smooth union, a mesh of even triangles on it, and where that mesh
goes as the parts change. Only the left half, x >= 0, is made; the right one is its mirror image."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from samples.animal import surface_net
from samples.families.tubes import Part, curve_weights, faces_of, normals_of, tangents_of, unit

BLENDED = {"trunk": 0.0, "left_fore": 0.06, "left_hind": 0.06, "left_fore_foot": 0.015, "left_hind_foot": 0.015,
           "neck": 0.08, "head": 0.05, "tail": 0.04, "left_ear": 0.012}
"""Parts in the order in which they are united, with the widths of the fillets, in units of the trunk's length. Eyes are
left to the texture; horns are left out, since most kinds have none."""
SOFT = {"trunk": 1.0, "neck": 1.0, "head": 0.5, "left_fore": 0.5, "left_hind": 0.5, "tail": 0.3}
"""How much each part may be evened."""
EDGES = {"trunk": (0.052, 0.052, 0.052), "left_fore": (0.042, 0.034, 0.027), "left_hind": (0.042, 0.034, 0.027),
         "left_fore_foot": (0.025, 0.022, 0.020), "left_hind_foot": (0.025, 0.022, 0.020),
         "neck": (0.050, 0.046, 0.038), "head": (0.034, 0.030, 0.022), "tail": (0.034, 0.028, 0.022),
         "left_ear": (0.020, 0.018, 0.012)}
"""Lengths of edges at a part's start, middle and end."""


class Union:
    """The smooth union of a body's parts as a signed distance, negative inside."""

    def __init__(self, parts: dict[str, Part]):
        self.samples, self.normals, self.trees = {}, {}, {}
        for name in BLENDED:
            part = _finer(parts[name])
            normals = normals_of(part.vertices, (part.layout,))
            outside = _outside(part, normals)
            self.samples[name], self.normals[name] = part.vertices[outside], normals[outside]
            self.trees[name] = cKDTree(self.samples[name])

    def of_part(self, name: str, points: np.ndarray):
        """Signed distance (N,) and its gradient (N, 3)."""
        far, near = self.trees[name].query(points, k=9)
        apart = points[:, None] - self.samples[name][near]
        normals = self.normals[name][near]
        # Implicit moving least squares: the planes of the nearest samples, those of the sheet's other side left out.
        width = 0.7 * (far[:, 4:5] - far[:, :1]) + 0.008
        weight = np.exp(-((far - far[:, :1]) / width) ** 2) * ((normals * normals[:, :1]).sum(-1) > 0.3)
        weight /= weight.sum(1, keepdims=True)
        normal = unit((weight[..., None] * normals).sum(1))
        height = (weight * (apart * normals).sum(-1)).sum(1)
        # The samples lie apart from each other: what is aside by less is right above the surface.
        aside = np.linalg.norm(apart[:, 0] - (apart[:, 0] * normal).sum(1)[:, None] * normal, axis=1)
        aside = np.maximum(aside - 0.03, 0)
        # Points inside have a sample right before them.
        sign = np.where((height < 0) & (aside == 0), -1.0, 1.0)
        distance = sign * np.hypot(height, aside)
        gradient = np.where((aside > 0)[:, None], sign[:, None] * unit(apart[:, 0]), normal)
        return distance, gradient

    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed distance (N,) to the union, and its gradient (N, 3)."""
        total, gradient = self.of_part("trunk", points)
        for name, width in list(BLENDED.items())[1:]:
            near = ((points > self.samples[name].min(0) - width) & (points < self.samples[name].max(0) + width)).all(1)
            other, way = self.of_part(name, points[near])
            own = total[near]
            share = np.clip(0.5 + (own - other) / (2 * width), 0, 1)
            total[near] = own + share * (other - own) - width * share * (1 - share)
            gradient[near] += share[:, None] * (way - gradient[near])
        return total, gradient

    def projected(self, points: np.ndarray, on_plane: np.ndarray, steps: int = 4) -> np.ndarray:
        """Points moved onto the surface; those of `on_plane` within x = 0."""
        points = points.copy()
        for _ in range(steps):
            distance, gradient = self.distance(points)
            gradient[on_plane, 0] = 0
            length = np.maximum((gradient**2).sum(1), 0.09)
            step = distance / length
            points -= np.clip(step, -0.03, 0.03)[:, None] * gradient
        return points


def _finer(part: Part) -> Part:
    """The part with twice the rings and segments, on smooth lines."""
    grid = part.vertices[:-2].reshape(part.rings, part.segments, 3)
    closed = np.concatenate([grid[:, -2:], grid, grid[:, :3]], 1)
    lines = curve_weights(closed.shape[1], 2 * closed.shape[1] - 1)[4:4 + 2 * part.segments]
    grid = np.einsum("cs,rsx->rcx", lines, closed)
    more = np.vstack([grid[:1] * 0 + part.vertices[-2], grid, grid[:1] * 0 + part.vertices[-1]])
    rows = curve_weights(len(more), 2 * len(more) - 1)[1:-1]
    grid = np.einsum("cr,rsx->csx", rows, more)
    vertices = np.vstack([grid.reshape(-1, 3), part.vertices[-2:]])
    coordinates = np.zeros_like(vertices)
    return Part(vertices, coordinates, coordinates, len(grid), grid.shape[1], part.mirrored)


def _outside(part: Part, normals: np.ndarray) -> np.ndarray:
    """Which vertices (V,) of a tube are not buried in it where it bends sharply and its rings cross."""
    grid = part.vertices[:-2].reshape(part.rings, part.segments, 3)
    centre = grid.mean(1)
    along = tangents_of(centre)
    axes = [grid[:, k] - centre for k in (0, round(part.segments / 4))]
    apart = part.vertices[:, None] - centre
    deep = sum(((apart * axis).sum(-1) / np.maximum((axis * axis).sum(-1), 1e-12)) ** 2 for axis in axes)
    near = np.abs((apart * along).sum(-1)) < 0.01
    own = np.append(np.repeat(np.arange(part.rings), part.segments), [0, part.rings - 1])
    near[np.arange(len(own)), own] = False
    # The rings of rounded ends lie close to larger ones without being buried.
    near[(own < 7) | (own >= part.rings - 7)] = False
    backward = ((part.vertices - centre[own]) * normals).sum(1) < 0
    return ~((near & (deep < 0.8)).any(1) | backward)


def edge_lengths(parts: dict[str, Part], points: np.ndarray) -> np.ndarray:
    """Which length of edges (N,) is wanted at points."""
    total, weights = np.zeros(len(points)), np.zeros(len(points))
    for name, lengths in EDGES.items():
        far, nearest = cKDTree(parts[name].vertices).query(points)
        weight = np.exp(-far / 0.012) + 1e-12
        total += weight * np.interp(parts[name].coordinates[nearest, 0], (0, 0.5, 1), lengths)
        weights += weight
    return total / weights


def meshed_half(union: Union, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """A dense mesh (V, 3), (F, 3) of the union's left half, open at x = 0."""
    points = np.vstack(list(union.samples.values()))
    least, most = points.min(0) - 4 * voxel, points.max(0) + 4 * voxel
    axes = [voxel * (np.arange(-int(np.ceil(most[0] / voxel)) - 1, int(np.ceil(most[0] / voxel)) + 1) + 0.5)]
    axes += [np.arange(least[axis], most[axis], voxel) for axis in (1, 2)]
    half = [axes[0][axes[0] > 0], *axes[1:]]
    field = np.concatenate([union.distance(np.stack(np.meshgrid([x], *half[1:], indexing="ij"), -1).reshape(-1, 3)
                                           )[0].reshape(1, len(half[1]), -1) for x in half[0]])
    vertices, quads = surface_net(np.concatenate([field[::-1], field]), np.array([a[0] for a in axes]), voxel)
    vertices[np.abs(vertices[:, 0]) < 1e-9, 0] = 0
    quads = quads[(vertices[quads][..., 0] > -1e-9).all(1) & (vertices[quads][..., 0] > 1e-9).any(1)]
    corners = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    piece = connected_components(csr_matrix((np.ones(len(corners)), corners.T), (len(vertices),) * 2), False)[1]
    quads = quads[piece[quads[:, 0]] == np.bincount(piece[quads[:, 0]]).argmax()]
    used, faces = np.unique(quads, return_inverse=True)
    faces = faces.reshape(-1, 4)
    return vertices[used], np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])


class Remesher:
    """Even triangles on an open half surface: long edges split, short ones collapsed, edges flipped towards six at a
    vertex, vertices moved along the surface to the middle of their neighbours. The border stays on x = 0."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, length, project):
        self.at = [v for v in vertices]
        self.faces = dict(enumerate(tuple(int(v) for v in f) for f in faces))
        self.around: dict[int, set[int]] = defaultdict(set)
        for number, face in self.faces.items():
            for v in face:
                self.around[v].add(number)
        self.next = len(faces)
        self.length, self.project = length, project
        self.goal = list(length(vertices))

    def run(self, rounds: int) -> tuple[np.ndarray, np.ndarray]:
        for _ in range(rounds):
            self._split()
            self._collapse()
            self._flip()
            self._relax()
        return self._compact()

    def _edges(self) -> list[tuple[int, int]]:
        return sorted({(min(e), max(e)) for a, b, c in self.faces.values() for e in ((a, b), (b, c), (c, a))})

    def _sides(self, a: int, b: int) -> set[int]:
        return self.around[a] & self.around[b]

    def _ring(self, v: int) -> set[int]:
        return {w for f in self.around[v] for w in self.faces[f]} - {v}

    def _is_border(self, v: int) -> bool:
        return self.at[v][0] == 0

    def _ratio(self, a: int, b: int) -> float:
        return float(np.linalg.norm(self.at[a] - self.at[b])) / (0.5 * (self.goal[a] + self.goal[b]))

    def _replace(self, number: int, face: tuple[int, int, int]) -> None:
        for v in self.faces.get(number, ()):
            self.around[v].discard(number)
        self.faces[number] = face
        for v in face:
            self.around[v].add(number)

    def _remove(self, number: int) -> None:
        for v in self.faces.pop(number):
            self.around[v].discard(number)

    def _split(self) -> None:
        for a, b in self._edges():
            if self._ratio(a, b) < 4 / 3:
                continue
            middle = len(self.at)
            self.at.append((self.at[a] + self.at[b]) / 2)
            self.goal.append((self.goal[a] + self.goal[b]) / 2)
            sides = self._sides(a, b)
            if len(sides) == 2 and self.at[middle][0] == 0:
                self.at[middle][0] = 1e-4
            for number in sides:
                face = self.faces[number]
                self._replace(number, tuple(middle if v == b else v for v in face))
                self._replace(self.next, tuple(middle if v == a else v for v in face))
                self.next += 1

    def _collapse(self) -> None:
        for a, b in self._edges():
            sides = self._sides(a, b)
            if not sides or self._ratio(a, b) > 0.8:
                continue
            border = self._is_border(a), self._is_border(b)
            if all(border) and len(sides) == 2 or len(self._ring(a) & self._ring(b)) != len(sides):
                continue
            spot = self.at[a] if border[0] and not border[1] else self.at[b] if border[1] and not border[0] \
                else (self.at[a] + self.at[b]) / 2
            if self._turns_over(a, b, spot) or any(
                    np.linalg.norm(self.at[v] - spot) > 1.4 * self.goal[v] for v in self._ring(a) | self._ring(b)):
                continue
            for number in sides:
                self._remove(number)
            for number in list(self.around[b]):
                self._replace(number, tuple(a if v == b else v for v in self.faces[number]))
            self.at[a] = spot
            self.goal[a] = (self.goal[a] + self.goal[b]) / 2

    def _turns_over(self, a: int, b: int, spot: np.ndarray) -> bool:
        for number in self.around[a] ^ self.around[b]:
            old = [self.at[v] for v in self.faces[number]]
            new = [spot if v in (a, b) else self.at[v] for v in self.faces[number]]
            if _normal(*new) @ _normal(*old) < 0.3:
                return True
        return False

    def _flip(self) -> None:
        for a, b in self._edges():
            sides = list(self._sides(a, b))
            if len(sides) != 2:
                continue
            face = next(self.faces[n] for n in sides if _follows(self.faces[n], a, b))
            other = next(self.faces[n] for n in sides if self.faces[n] != face)
            c, d = (next(v for v in f if v not in (a, b)) for f in (face, other))
            if c == d or self._sides(c, d):
                continue
            valences = {v: len(self._ring(v)) - (4 if self._is_border(v) else 6) for v in (a, b, c, d)}
            before = sum(x * x for x in valences.values())
            after = sum((x + (1 if v in (c, d) else -1)) ** 2 for v, x in valences.items())
            if after >= before:
                continue
            one, two = (c, a, d), (d, b, c)
            normals = [_normal(*(self.at[v] for v in f)) for f in (one, two, face, other)]
            if normals[0] @ normals[1] < 0.5 or normals[0] @ (normals[2] + normals[3]) < 0.8:
                continue
            self._replace(sides[0], one)
            self._replace(sides[1], two)

    def _relax(self) -> None:
        vertices, faces = self._compact()
        border = vertices[:, 0] == 0
        goal = np.array([self.goal[v] for v in self._kept])
        for _ in range(3):
            vertices = relaxed(vertices, faces, border, np.full(len(vertices), 0.6), goal)
            vertices = self.project(vertices, border)
        fresh = self.length(vertices)
        for number, v in enumerate(self._kept):
            self.at[v], self.goal[v] = vertices[number], fresh[number]

    def _compact(self) -> tuple[np.ndarray, np.ndarray]:
        faces = np.array(list(self.faces.values()))
        self._kept, packed = np.unique(faces, return_inverse=True)
        return np.array([self.at[v] for v in self._kept]), packed.reshape(-1, 3)


def _normal(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    u, v = b - a, c - a
    n = np.array([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]])
    return n / max(float(np.sqrt(n @ n)), 1e-15)


def _follows(face: tuple[int, int, int], a: int, b: int) -> bool:
    return (face[0], face[1]) == (a, b) or (face[1], face[2]) == (a, b) or (face[2], face[0]) == (a, b)


def neighbours(faces: np.ndarray, count: int) -> csr_matrix:
    """(V, V), 1 where two vertices share an edge."""
    edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.vstack([edges, edges[:, ::-1]])
    graph = csr_matrix((np.ones(len(edges)), edges.T), (count, count))
    graph.data[:] = 1
    return graph


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    return unit(normals)


def relaxed(vertices: np.ndarray, faces: np.ndarray, border: np.ndarray, rate: np.ndarray, goal=None) -> np.ndarray:
    """Vertices moved along the surface towards their neighbours' mean, by a rate (V,); the border along itself."""
    graph = neighbours(faces, len(vertices))
    graph = graph - graph.multiply(border[:, None] & ~border[None, :])
    weight = graph if goal is None else graph.multiply(1 / goal[None, :]).tocsr()
    mean = weight @ vertices / np.maximum(np.asarray(weight.sum(1)), 1e-12)
    normals = vertex_normals(vertices, faces)
    normals[border, 0] = 0
    normals = unit(normals)
    step = mean - vertices
    step -= (step * normals).sum(1, keepdims=True) * normals
    step[border, 0] = 0
    return vertices + rate[:, None] * step


class Ties:
    """Where each vertex of a mesh on one body's union lies on the parts, so that it can be found on another body's."""

    def __init__(self, parts: dict[str, Part], vertices: np.ndarray, faces: np.ndarray):
        self.home, self.faces, self.border = vertices, faces, vertices[:, 0] == 0
        union = Union(parts)
        distances = np.stack([np.abs(union.of_part(name, vertices)[0]) for name in BLENDED], 1)
        weights = np.exp(-np.clip(distances - distances.min(1, keepdims=True), 0, 1) / 0.012)
        graph = neighbours(faces, len(vertices))
        degree = np.asarray(graph.sum(1)).ravel()[:, None]
        for _ in range(2):
            weights = 0.5 * weights + 0.5 * (graph @ weights) / degree
        weights[weights < 0.03] = 0
        self.weights = weights / weights.sum(1, keepdims=True)
        self.spots = {name: nearest_on(parts[name].vertices, faces_of((parts[name].layout,)), vertices)
                      for name in BLENDED}
        self.origin = {name: self._points(parts, name) for name in BLENDED}
        self.graph, self.degree = graph, degree.copy()
        # Across the mirror plane, a vertex of the border has its neighbours' images beside it.
        self.graph_across = graph.multiply(self.border[:, None] & ~self.border[None, :]).tocsr()
        self.degree += np.asarray(self.graph_across.sum(1)).ravel()[:, None]
        mixed = 1 - self.weights.max(1)
        for _ in range(3):
            mixed = np.maximum(mixed, 0.7 * (graph @ mixed) / degree[:, 0])
        self.junction = np.clip(3 * mixed, 0, 1)
        soft = self.weights @ [SOFT.get(name, 0.0) for name in BLENDED]
        for _ in range(3):
            soft = (graph @ soft + soft) / (degree[:, 0] + 1)
        self.soft = soft

    def _points(self, parts: dict[str, Part], name: str) -> np.ndarray:
        face, weights = self.spots[name]
        corners = parts[name].vertices[faces_of((parts[name].layout,))[face]]
        return (corners * weights[..., None]).sum(1)

    def on(self, parts: dict[str, Part], rounds: int = 12) -> np.ndarray:
        """The mesh's vertices (V, 3) on another body's union."""
        vertices = self.home + sum(self.weights[:, [k]] * (self._points(parts, name) - self.origin[name])
                                   for k, name in enumerate(BLENDED))
        vertices[self.border, 0] = 0
        union = Union(parts)
        vertices = union.projected(vertices, self.border, 3)
        for _ in range(rounds):
            vertices = relaxed(vertices, self.faces, self.border, 0.5 * self.junction)
            vertices[:, 0] = np.where(self.border, 0, np.maximum(vertices[:, 0], 1e-3))
            vertices = union.projected(vertices, self.border, 1)
        vertices = union.projected(vertices, self.border, 3)
        # Ledges where one part comes out of another are evened, thin parts left as they are (Taubin's filter).
        for step in (0.5, -0.52) * 3:
            image = vertices * [-1, 1, 1]
            mean = (self.graph @ vertices + self.graph_across @ image) / self.degree
            vertices = vertices + step * self.soft[:, None] * (mean - vertices)
            vertices[self.border, 0] = 0
        return vertices


def nearest_on(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray, among: int = 16):
    """The nearest face (N,) to each point, and the barycentrics (N, 3) of the nearest position on it."""
    corners = vertices[faces]
    _, near = cKDTree(corners.mean(1)).query(points, k=among)
    a, b, c = (corners[near][:, :, k] for k in range(3))
    weights = barycentrics_of(points[:, None], a, b, c)
    found = (corners[near] * weights[..., None]).sum(2)
    best = np.linalg.norm(found - points[:, None], axis=-1).argmin(1)
    rows = np.arange(len(points))
    return near[rows, best], weights[rows, best]


def barycentrics_of(p, a, b, c) -> np.ndarray:
    """Barycentrics (..., 3) of the positions on triangles a, b, c that are nearest to points p."""
    def on_edge(u, v):
        way = v - u
        t = np.clip(((p - u) * way).sum(-1) / np.maximum((way * way).sum(-1), 1e-20), 0, 1)
        return t, np.linalg.norm(p - u - t[..., None] * way, axis=-1)

    u, v, w = b - a, c - a, p - a
    uu, uv, vv, wu, wv = (np.sum(x * y, -1) for x, y in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    det = np.maximum(uu * vv - uv * uv, 1e-20)
    s, t = (wu * vv - wv * uv) / det, (wv * uu - wu * uv) / det
    inside = (s >= 0) & (t >= 0) & (s + t <= 1)
    best = np.stack([1 - s - t, s, t], -1)
    edges = [on_edge(a, b), on_edge(b, c), on_edge(c, a)]
    nearest = np.stack([e[1] for e in edges], -1).argmin(-1)
    zero = np.zeros_like(s)
    choices = [np.stack(x, -1) for x in ((1 - edges[0][0], edges[0][0], zero), (zero, 1 - edges[1][0], edges[1][0]),
                                         (edges[2][0], zero, 1 - edges[2][0]))]
    on_edges = np.choose(nearest[..., None], choices)
    return np.where(inside[..., None], best, on_edges)


def mirror_image(vertices: np.ndarray) -> np.ndarray:
    """Which vertex (V,) is each one's image in the mirror x = 0."""
    return cKDTree(vertices * [-1, 1, 1]).query(vertices)[1]


def whole(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both halves: faces (F, 3), which vertex of the left half each vertex comes from (V,), and its sign of x (V,)."""
    border = vertices[:, 0] == 0
    image = np.arange(len(vertices))
    image[~border] = len(vertices) + np.arange((~border).sum())
    origin = np.concatenate([np.arange(len(vertices)), np.flatnonzero(~border)])
    sign = np.concatenate([np.ones(len(vertices)), -np.ones((~border).sum())])
    return np.vstack([faces, image[faces][:, ::-1]]), origin, sign
