"""The first shape of a category: a closed mesh with a sphere's topology that grows out along the skeleton."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_matrix, csc_matrix, eye
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.sparse.linalg import splu
from scipy.spatial import ConvexHull

from ..annotations import ABSENT
from ..geometry.sphere import Sphere
from ..geometry.topology import combinatorial_laplacian, edges_of
from .structure import Structure

READY, GROWTH, SETTLING, INNER = 20, 200, 20, 8
"""Steps before limbs grow, in which they do, and afterwards; and moves in each."""
BLEND = (0.015, 0.006)
"""Widths over which parts melt into one another, at first and at last, object units."""
DENSITY = 0.7
"""Area that one vertex stands for goes with this power of a part's radius: thin parts have more vertices."""
FLOW, SMOOTHING = 0.3, 0.3
"""Shares, in a move, of the way to where vertices are needed, and to the middle of the neighbours."""
LONGEST_FLOW, LONGEST_MOVE = 0.3, 0.5
"""Of a move, in edges nearby and in mean edges."""
PROTRUDING = 0.1
"""Share of its radius by which a tip may be inside other parts and count as outside."""
GRID = 48
"""Places along the length of a loop of the skeleton at which balls that fit in are tried."""
NEW_SHARE = 0.25
"""Of a ball's radius that must be outside each larger one."""
RADII_PICTURES = 500
"""As many, evenly among all, are measured."""
PLACES, QUANTILE = (0.25, 0.5, 0.75), 0.3
"""Where along a part its thickness is read, and which of the values counts: before the body a part looks thicker."""
THINNEST, THICKEST, UNKNOWN = 0.008, 0.25, 0.03
"""Radii, object units: bounds, and that of parts which no picture shows."""


def radii_of(structure: Structure, skeleton: Sequence[tuple[int, int]], keypoints: np.ndarray, seen: np.ndarray,
             masks: np.ndarray) -> np.ndarray:
    """Radii (pairs,) of the parts between pairs of keypoints, object units, from the masks.

    structure  the cameras of the pictures
    keypoints  (N, K, 2) crop coordinates, seen (N, K): where the parts are in each picture
    masks      (N, S, S) of the crops, nonzero inside
    """
    pairs = np.asarray(skeleton, int).reshape(-1, 2)
    usable = np.flatnonzero(np.isfinite(structure.errors))
    some = usable[np.unique(np.linspace(0, len(usable) - 1, RADII_PICTURES).astype(int))] if len(usable) else usable
    found = np.full((len(some), len(PLACES), len(pairs)), np.nan)
    for row, picture in enumerate(some):
        pixel = 2 / masks.shape[1]
        # The nearest pixel outside is half a pixel beyond the contour.
        inside = np.pad((masks[picture] > 0).astype(np.uint8), 1)
        depth = (cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1] - 0.5) * pixel
        ends = keypoints[picture][pairs]
        for place, share in enumerate(PLACES):
            at = np.floor(((1 - share) * ends[:, 0] + share * ends[:, 1] + 1) / pixel)
            known = (seen[picture][pairs] > ABSENT).all(1) & (at >= 0).all(1) & (at < len(depth)).all(1)
            column, line = at[known].astype(int).T
            found[row, place, known] = depth[line, column] / structure.scales[picture]
    found = np.where(found > 0, found, np.nan).reshape(-1, len(pairs))
    return np.array([np.clip(np.nanquantile(values, QUANTILE), THINNEST, THICKEST) if np.isfinite(values).any()
                     else UNKNOWN for values in found.T])


def template_of(keypoints: np.ndarray, skeleton: Sequence[tuple[int, int]], mirror: Sequence[int], radii: np.ndarray,
                sphere: Sphere) -> np.ndarray:
    """Vertices (V, 3) of a shape made from the sphere, symmetric under its mirror: tubes around the skeleton.

    keypoints  (K, 3) object space, symmetric in x = 0
    skeleton   pairs of keypoints, between which parts of the body run; what they run around, such as a trunk, is
               filled. Where there are none, the shape is the convex hull of the keypoints
    mirror     K indices of keypoints' twins
    radii      (pairs,) of the parts, object units, as from `radii_of`
    """
    if not len(skeleton):
        return _hull(keypoints, sphere)
    parts, root = _growing(_graph_of(keypoints, np.asarray(mirror), np.asarray(skeleton), np.asarray(radii, float)))
    edge = _mean_edge(parts, len(sphere.faces))
    surface = _Surface(sphere, edge, root + sphere.vertices * parts.radius[parts.arrival.argmin(), 0])
    whole = float((parts.arrival + parts.length).max())
    for step in range(-READY, GROWTH):
        share = max(step, 0) / GROWTH
        way = share * whole
        for _ in range(INNER):
            surface.move(parts.grown(way), parts.fronts(way), BLEND[0] + share * (BLEND[1] - BLEND[0]), 0.0)
    for _ in range(SETTLING * INNER):
        surface.move(parts, parts.fronts(np.inf), BLEND[1], 0.5)
    return surface.vertices


def _hull(keypoints: np.ndarray, sphere: Sphere) -> np.ndarray:
    """The sphere's vertices, seen from the middle, on the convex hull of the keypoints."""
    # Keypoints all in one plane have no hull.
    thick = np.concatenate([keypoints + offset for offset in THINNEST * np.concatenate([np.eye(3), -np.eye(3)])])
    hull = ConvexHull(thick)
    centre = thick[hull.vertices].mean(0) * [0, 1, 1]
    slope = sphere.vertices @ hull.equations[:, :3].T
    gap = -(hull.equations[:, :3] @ centre + hull.equations[:, 3])
    away = np.where(slope > 1e-9, gap / np.maximum(slope, 1e-9), np.inf).min(1)
    return _symmetric(centre + away[:, None] * sphere.vertices, sphere)


def _symmetric(vertices: np.ndarray, sphere: Sphere) -> np.ndarray:
    return (vertices + vertices[sphere.mirror] * [-1, 1, 1]) / 2


@dataclass(frozen=True)
class _Graph:
    """What grows: parts between nodes, each with its mirror image."""

    nodes: np.ndarray
    """(M, 3)"""
    mirror: np.ndarray
    """(M,)"""
    pairs: np.ndarray
    """(E, 2)"""
    radii: np.ndarray
    """(E, 2) at each end."""
    root: int
    """The node from which growth begins, on the mirror plane."""


def _graph_of(keypoints: np.ndarray, mirror: np.ndarray, pairs: np.ndarray, radii: np.ndarray) -> _Graph:
    """The skeleton with its loops filled, all of it connected."""
    pairs, radii = _both_sides(pairs, radii, mirror)
    nodes, around, balls = keypoints, np.zeros(len(pairs), bool), []
    for loop in _loops(keypoints, mirror, pairs):
        on_loop = np.isin(np.minimum(pairs, mirror[pairs]), loop).all(1)
        around |= on_loop
        balls.append(_balls(keypoints[loop][:, 1:], radii[on_loop].mean()))
    if balls:
        centres, sizes = (np.concatenate(values) for values in zip(*balls, strict=True))
        bones = np.argwhere(minimum_spanning_tree(_distances_between(centres)).toarray() > 0)
        first = len(nodes)
        nodes = np.concatenate([nodes, centres])
        nearest = (np.linalg.norm(keypoints[:, None] - centres, axis=2) - sizes).argmin(1)
        on_loops = np.unique(pairs[around])
        own = np.array([radii[around][(pairs[around] == node).any(1)].mean() for node in on_loops])
        links = np.stack([on_loops, first + nearest[on_loops]], 1)
        kept = radii[~around]
        radii = np.concatenate([np.stack([kept, kept], 1), sizes[bones], np.stack([own, own], 1)])
        pairs = np.concatenate([pairs[~around], first + bones, links])
        mirror = np.concatenate([mirror, np.arange(first, len(nodes))])
        root = first + int(sizes.argmax())
    else:
        nodes, mirror, pairs, radii = _rooted(nodes, mirror, pairs, radii)
        root = len(nodes) - 1
    return _linked(_Graph(nodes, mirror, pairs, radii, root))


def _both_sides(pairs: np.ndarray, radii: np.ndarray, mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair once, with its mirror image; both with their mean radius."""
    found: dict[tuple[int, int], list[float]] = {}
    for pair, radius in zip(pairs, radii, strict=True):
        for one in (pair, mirror[pair]):
            found.setdefault((int(min(one)), int(max(one))), []).append(float(radius))
    return np.array(list(found)), np.array([np.mean(values) for values in found.values()])


def _distances_between(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points, axis=2)


def _loops(keypoints: np.ndarray, mirror: np.ndarray, pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Loops of the skeleton seen from the side, where left and right are one: their keypoints in turn."""
    sides = np.unique(np.sort(np.minimum(pairs, mirror[pairs]), axis=1), axis=0)
    sides = sides[sides[:, 0] != sides[:, 1]]
    length = np.linalg.norm((keypoints[sides[:, 0]] - keypoints[sides[:, 1]])[:, 1:], axis=1) + 1e-6
    tree = minimum_spanning_tree(coo_matrix((length, sides.T), (len(keypoints), len(keypoints))))
    inside = {(int(min(pair)), int(max(pair))) for pair in np.argwhere(tree.toarray() > 0)}
    for start, end in sides:
        if (int(start), int(end)) not in inside:
            before = dijkstra(tree, directed=False, indices=start, return_predecessors=True)[1]
            loop = [end]
            while loop[-1] != start:
                loop.append(before[loop[-1]])
            yield np.array(loop)


def _balls(outline: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Balls on the mirror plane that fill an outline (P, 2), y and z, and a margin: centres (B, 3) and radii (B,)."""
    low, high = outline.min(0), outline.max(0)
    step = (high - low).max() / GRID
    grid = np.stack(np.meshgrid(*(np.arange(a, b + step, step) for a, b in zip(low, high, strict=True))), -1)
    grid = grid.reshape(-1, 2)
    contour = outline.astype(np.float32)[:, None]
    depth = np.array([cv2.pointPolygonTest(contour, (float(y), float(z)), True) for y, z in grid])
    centres: list[np.ndarray] = []
    sizes: list[float] = []
    for number in np.argsort(-depth):
        size = depth[number] + margin
        if depth[number] > 0 and all(np.linalg.norm(grid[number] - centre) + size - larger > NEW_SHARE * size
                                     for centre, larger in zip(centres, sizes, strict=True)):
            centres.append(grid[number])
            sizes.append(size)
    if not centres:
        centres, sizes = [outline.mean(0)], [margin]
    return np.concatenate([np.zeros((len(centres), 1)), centres], 1), np.array(sizes)


def _rooted(nodes: np.ndarray, mirror: np.ndarray, pairs: np.ndarray,
            radii: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """With a last node in the middle of the thickest part, one that is its own mirror image where there is any."""
    central = [index for index, pair in enumerate(pairs) if set(mirror[pair]) == set(pair)]
    thickest = max(central or range(len(pairs)), key=lambda index: radii[index])
    ends = sorted({*pairs[thickest], *mirror[pairs[thickest]]})
    spokes = np.array([(len(nodes), end) for end in ends])
    sizes = np.append(radii, np.full(len(spokes), radii[thickest]))
    pairs = np.concatenate([pairs, spokes])
    if central:
        pairs, sizes = np.delete(pairs, thickest, 0), np.delete(sizes, thickest)
    return (np.concatenate([nodes, [nodes[ends].mean(0) * [0, 1, 1]]]), np.append(mirror, len(nodes)), pairs,
            np.stack([sizes, sizes], 1))


def _arrivals(graph: _Graph) -> np.ndarray:
    """(M,) length of the way from the root along the parts, infinite where there is none."""
    length = np.linalg.norm(graph.nodes[graph.pairs[:, 0]] - graph.nodes[graph.pairs[:, 1]], axis=1) + 1e-6
    return dijkstra(coo_matrix((length, graph.pairs.T), 2 * (len(graph.nodes),)), directed=False, indices=graph.root)


def _linked(graph: _Graph) -> _Graph:
    """With links to what hangs apart."""
    while True:
        used, arrival = np.unique(graph.pairs), _arrivals(graph)
        apart, joined = used[np.isinf(arrival[used])], used[np.isfinite(arrival[used])]
        if not len(apart):
            return graph
        gap = np.linalg.norm(graph.nodes[apart][:, None] - graph.nodes[joined], axis=2)
        i, j = np.unravel_index(gap.argmin(), gap.shape)
        link = np.array([apart[i], joined[j]])
        links = np.unique(np.sort([link, graph.mirror[link]], axis=1), axis=0)
        radius = graph.radii[(graph.pairs == apart[i]).any(1)].min()
        graph = _Graph(graph.nodes, graph.mirror, np.concatenate([graph.pairs, links]),
                       np.concatenate([graph.radii, np.full((len(links), 2), radius)]), graph.root)


@dataclass(frozen=True)
class _Fronts:
    """Where parts go on growing, and how many vertices what is to come will need there."""

    places: np.ndarray
    """(B, 3)"""
    widths: np.ndarray
    """(B,)"""
    needs: np.ndarray
    """(B,) area over radius ** DENSITY."""


@dataclass(frozen=True)
class _Parts:
    """Tubes with round ends, as they grow."""

    start: np.ndarray
    """(B, 3)"""
    along: np.ndarray
    """(B, 3) from start to end."""
    radius: np.ndarray
    """(B, 2) at start and end."""
    arrival: np.ndarray
    """(B,) length of the way along the skeleton from where growth begins to the start."""
    parent: np.ndarray
    """(B,) the part at whose end each starts, -1 at the root."""

    @property
    def length(self) -> np.ndarray:
        return np.linalg.norm(self.along, axis=1).clip(1e-9)

    def shares(self, way: float) -> np.ndarray:
        return np.clip((way - self.arrival) / self.length, 0, 1)

    def grown(self, way: float) -> _Parts:
        """What has grown on the way so far."""
        share, begun = self.shares(way), way >= self.arrival
        end = self.radius[:, 0] + share * (self.radius[:, 1] - self.radius[:, 0])
        return _Parts(self.start[begun], (share[:, None] * self.along)[begun],
                      np.stack([self.radius[:, 0], end], 1)[begun], self.arrival[begun], self.parent[begun])

    def fronts(self, way: float) -> _Fronts:
        share, begun = self.shares(way), way >= self.arrival
        size = self.radius.mean(1)
        needs = (1 - share) * 2 * np.pi * size ** (1 - DENSITY) * self.length
        # What has not begun will come out of where its parent is growing.
        for part in np.argsort(-self.arrival):
            if not begun[part] and self.parent[part] >= 0:
                needs[self.parent[part]] += needs[part]
                needs[part] = 0
        return _Fronts(self.start + share[:, None] * self.along, size, needs)

    def tips(self) -> np.ndarray:
        """(B, 3) the outermost place of each."""
        return self.start + self.along * (1 + self.radius[:, 1] / self.length)[:, None]

    def around(self, points: np.ndarray, blend: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances (P,) of points (P, 3) from the surface of all parts melted together, negative inside; their
        directions (P, 3); and the radii (P,) there."""
        to = points[:, None] - self.start
        share = np.clip((to * self.along).sum(2) / self.length**2, 0, 1)
        away = to - share[..., None] * self.along
        length = np.linalg.norm(away, axis=2)
        radius = self.radius[:, 0] + share * (self.radius[:, 1] - self.radius[:, 0])
        distance = length - radius
        weight = np.exp((distance.min(1, keepdims=True) - distance) / blend)
        weight /= weight.sum(1, keepdims=True)
        direction = (weight[..., None] * away / length.clip(1e-9)[..., None]).sum(1)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True).clip(1e-9)
        return (weight * distance).sum(1), direction, (weight * radius).sum(1)


def _growing(graph: _Graph) -> tuple[_Parts, np.ndarray]:
    """Parts that grow from the root, and its place (3,)."""
    arrival = _arrivals(graph)
    rows: list[tuple] = []
    ends: dict[int, int] = {}
    for pair, sizes in zip(graph.pairs, graph.radii, strict=True):
        (a, b), (near, far) = (pair, sizes) if arrival[pair[0]] <= arrival[pair[1]] else (pair[::-1], sizes[::-1])
        along = graph.nodes[b] - graph.nodes[a]
        length = np.linalg.norm(along)
        # Where the skeleton closes a loop, its parts meet halfway: a sphere has no loops.
        share = min((length + arrival[b] - arrival[a]) / 2 / max(length, 1e-9), 1.0)
        middle = near + share * (far - near)
        if share > 1 - 1e-4:
            ends[b] = len(rows)
        else:
            rows.append((b, (share - 1) * along, (far, middle)))
        rows.append((a, share * along, (near, middle)))
    starts = np.array([row[0] for row in rows])
    return _Parts(graph.nodes[starts], np.array([row[1] for row in rows]), np.array([row[2] for row in rows]),
                  arrival[starts], np.array([ends.get(start, -1) for start in starts])), graph.nodes[graph.root]


def _mean_edge(parts: _Parts, faces: int) -> float:
    area = 2 * np.pi * (parts.radius.mean(1) * parts.length).sum() + 4 * np.pi * parts.radius.max() ** 2
    return float(np.sqrt(4 / np.sqrt(3) * area / faces))


class _Surface:
    """A mesh that follows the surface of growing parts while its vertices flow to where they are needed."""

    def __init__(self, sphere: Sphere, edge: float, vertices: np.ndarray):
        self.vertices, self._sphere, self._edge = vertices, sphere, edge
        count = len(vertices)
        self._i, self._j = edges_of(sphere.faces).T
        owners = np.repeat(np.arange(len(sphere.faces)), 3)
        self._corners = coo_matrix((np.ones(len(owners)), (sphere.faces.ravel(), owners))).tocsr()
        self._laplacian = combinatorial_laplacian(sphere.faces, count)
        self._poisson = splu(csc_matrix(self._laplacian + 1e-6 * eye(count))).solve
        self._degree = self._laplacian.diagonal()[:, None]
        self._central = np.flatnonzero(sphere.mirror == np.arange(count))

    def move(self, parts: _Parts, fronts: _Fronts, blend: float, fill: float) -> None:
        """One move towards the surface and along it.

        fill  share of the faces' distances in those of vertices: not the corners but the whole shall have the volume
        """
        vertices = self.vertices
        distance, outwards, _ = parts.around(vertices, blend)
        corner = vertices[self._sphere.faces]
        middle = corner.mean(1)
        within, _, radius = parts.around(middle, blend)
        area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 2
        faces = np.asarray(self._corners.sum(1)).ravel()
        distance = (1 - fill) * distance + fill * (self._corners @ within) / faces
        along = self._flow(middle, area, radius, fronts) - SMOOTHING * (self._laplacian @ vertices) / self._degree
        along -= (along * outwards).sum(1, keepdims=True) * outwards
        across = -distance[:, None] * outwards
        held, places = self._held(parts, blend)
        across[held], along[held] = places - vertices[held], 0
        size = np.linalg.norm(across, axis=1, keepdims=True).clip(1e-12)
        across *= np.minimum(1, LONGEST_MOVE * self._edge / size)
        self.vertices = _symmetric(vertices + across + along, self._sphere)

    def _flow(self, middle: np.ndarray, area: np.ndarray, radius: np.ndarray, fronts: _Fronts) -> np.ndarray:
        """(V, 3) moves of vertices to where each stands for too much: a flow along the edges, fed by the surplus."""
        near = np.exp(-((middle[:, None] - fronts.places) ** 2).sum(2) / 2 / fronts.widths**2) * area[:, None]
        need = area / radius**DENSITY + (near / near.sum(0).clip(1e-12)) @ fronts.needs
        need = self._corners @ need
        potential = self._poisson(need / need.mean() - 1)
        i, j = self._i, self._j
        flux = (potential[j] - potential[i])[:, None] * (self.vertices[j] - self.vertices[i])
        flow = np.zeros_like(self.vertices)
        for axis in range(3):
            flow[:, axis] = np.bincount(i, flux[:, axis], len(flow)) + np.bincount(j, flux[:, axis], len(flow))
        # Of the six edges of a vertex some three carry what passes.
        flow *= FLOW / 3
        nearby = np.sqrt(self._corners @ area / 3)[:, None]
        return flow * np.minimum(1, LONGEST_FLOW * nearby / np.linalg.norm(flow, axis=1, keepdims=True).clip(1e-12))

    def _held(self, parts: _Parts, blend: float) -> tuple[np.ndarray, np.ndarray]:
        """The vertices that lead each growing part, and the tips at which they belong."""
        tips = parts.tips()
        tips = tips[parts.around(tips, blend)[0] > -PROTRUDING * parts.radius[:, 1]]
        away = ((tips[:, None] - self.vertices) ** 2).sum(2)
        central = np.abs(tips[:, 0]) < 1e-6
        held = away.argmin(1)
        held[central] = self._central[away[:, self._central].argmin(1)][central]
        return held, tips
