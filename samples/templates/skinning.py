"""Skin weights by heat that spreads over the surface from each bone, and landmarks as means of vertices."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu

from vmr_backend.templates.template import HELD_BY

from .anatomy import BONES, HEAD, LEG_BONES, NECK, SPINE, TAIL, twin_of
from .surface import mirror_image

LEAST = 0.012
"""A weight below this is none."""
HELD = {"trunk": (*SPINE, "shoulder.L", "thigh.L", "spine.009", "spine.003"),
        "left_fore": ("shoulder.L", *(f"{b}.L" for b in LEG_BONES["fore"])),
        "left_hind": ("spine.005", *(f"{b}.L" for b in LEG_BONES["hind"])),
        "left_fore_foot": ("front_foot.L", "front_toe.L"), "left_hind_foot": ("foot.L", "toe.L"),
        "neck": ("spine.008", *NECK, HEAD), "head": ("spine.010", HEAD, "jaw"), "tail": ("spine.004", *TAIL),
        "left_ear": (HEAD, "ear.L")}
"""Bones that may hold a part of the left half most."""
BESIDE_SPINE = {"thigh.L": 0.5, "shoulder.L": 0.5, "spine.003": 0.15}
"""How much of the trunk near these bones they hold, against the spine."""
EXCLUDED = (({"shoulder.L", *(f"{b}.L" for b in LEG_BONES["fore"])}, {f"{b}.L" for b in LEG_BONES["hind"]}),)
"""Bones of which only one side may hold a vertex, the one that holds more."""


def cotangents(vertices: np.ndarray, faces: np.ndarray) -> csr_matrix:
    """The Laplacian (V, V), positive semidefinite, of a triangle mesh; negative cotangents count as none."""
    entries = []
    for k in range(3):
        i, j, o = faces[:, (k + 1) % 3], faces[:, (k + 2) % 3], faces[:, k]
        u, v = vertices[i] - vertices[o], vertices[j] - vertices[o]
        weight = np.maximum((u * v).sum(1) / np.maximum(np.linalg.norm(np.cross(u, v), axis=1), 1e-12), 0.05) / 2
        entries += [(i, j, weight), (j, i, weight)]
    rows, columns, values = (np.concatenate(x) for x in zip(*entries, strict=True))
    graph = coo_matrix((values, (rows, columns)), (len(vertices),) * 2).tocsr()
    return (diags(np.asarray(graph.sum(1)).ravel()) - graph).tocsr()


def skin_weights(vertices: np.ndarray, faces: np.ndarray, membership: dict[str, np.ndarray], heads: np.ndarray,
                 tails: np.ndarray) -> np.ndarray:
    """Skin weights (V, B) of a symmetric mesh.

    vertices    (V, 3), all of both halves
    membership  of each vertex (V,) in each part; a right vertex is in the left part that it mirrors
    heads, tails (B, 3)
    """
    left = vertices * np.where(vertices[:, :1] < 0, [-1, 1, 1], [1, 1, 1])
    far = _distances(left, heads, tails)
    twins = [BONES.index(twin_of(name)) for name in BONES]
    prior = np.zeros((len(vertices), len(BONES)))
    for part, bones in HELD.items():
        columns = [BONES.index(b) for b in bones]
        squared = far[:, columns] ** 2
        width = 0.04 if part in ("trunk", "neck") else 0.025
        nearness = np.exp(-(squared - squared.min(1, keepdims=True)) / width**2)
        nearness *= [BESIDE_SPINE.get(b, 1.0) if part == "trunk" else 1.0 for b in bones]
        prior[:, columns] += membership[part][:, None] * nearness / nearness.sum(1, keepdims=True)
    jaw, head = BONES.index("jaw"), BONES.index(HEAD)
    lower = _lower_muzzle(left, heads, tails) * (prior[:, jaw] + prior[:, head])
    prior[:, head] += prior[:, jaw] - lower
    prior[:, jaw] = lower
    right = vertices[:, 0] < 0
    prior[right] = prior[right][:, twins]
    # The trunk's skin is drawn along over a wider stretch than a limb's.
    nearest = np.maximum(far.min(1), 0.015 + 0.04 * membership["trunk"] + 0.015 * membership["neck"])
    area, (a, b, c) = np.zeros(len(vertices)), (vertices[faces[:, k]] for k in range(3))
    for k in range(3):
        np.add.at(area, faces[:, k], np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6)
    heat = diags(area / nearest**2)
    weights = splu((cotangents(vertices, faces) + heat).tocsc()).solve(heat @ prior)
    weights = np.maximum(weights, 0)
    weights = (weights + weights[mirror_image(vertices)][:, twins]) / 2
    for number, bone in enumerate(BONES):
        if bone.endswith((".L", ".R")):
            inward = vertices[:, 0] * (1 if bone.endswith(".L") else -1)
            weights[:, number] *= np.clip(inward / 0.05 + 0.15, 0, 1)
    for one, other in EXCLUDED:
        for side in "LR":
            a, c = ([BONES.index(b[:-1] + side) for b in group] for group in (one, other))
            sums = weights[:, a].sum(1, keepdims=True), weights[:, c].sum(1, keepdims=True)
            # Both fade out towards where they are equal, so that no crease is left there.
            for bones, own, others in ((a, *sums), (c, *sums[::-1])):
                weights[:, bones] *= np.clip(1 - others / np.maximum(own, 1e-9), 0, 1)
    weights = weights / weights.sum(1, keepdims=True)
    weights[weights < LEAST] = 0
    # Twins on the mirror plane are dropped together.
    weights[weights <= np.sort(weights, 1)[:, [-HELD_BY - 1]]] = 0
    return weights / weights.sum(1, keepdims=True)


def _distances(points: np.ndarray, heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Of points to bones (V, B)."""
    way = tails - heads
    along = np.clip(((points[:, None] - heads) * way).sum(-1) / (way * way).sum(-1), 0, 1)
    return np.linalg.norm(points[:, None] - heads - along[..., None] * way, axis=-1)


def _lower_muzzle(points: np.ndarray, heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """How much the jaw holds points (V,): those below a line from its joint to the middle of the muzzle's tip."""
    jaw, head = BONES.index("jaw"), BONES.index(HEAD)
    joint, forward = heads[jaw], tails[head] - heads[jaw]
    length = np.linalg.norm(forward)
    forward = forward / length
    down = np.cross([1.0, 0, 0], forward)
    down = down if down[2] < 0 else -down
    ahead, below = (points - joint) @ forward / length, (points - joint) @ down / length
    return np.clip(ahead * 2.5 - 0.25, 0, 1) * np.clip(below * 9 + 0.4, 0, 1)


def packed(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bones (V, HELD_BY) int32 and their weights, float32, as a template has them."""
    bones = np.argsort(-weights, 1, kind="stable")[:, :HELD_BY].astype(np.int32)
    return bones, np.take_along_axis(weights, bones, 1).astype(np.float32)


def landmark_weights(position: np.ndarray, vertices: np.ndarray, among: np.ndarray,
                     count: int = 40) -> np.ndarray:
    """Weights (V,), not negative and of sum 1, whose mean of the vertices is a landmark in each of N bodies.

    position  (N, 3), the landmark in each
    vertices  (N, V, 3)
    among     (V,), which vertices may count
    """
    mean = vertices.mean(0)
    far = np.linalg.norm(mean - position.mean(0), axis=1)
    chosen = np.argsort(np.where(among, far, np.inf))[:count]
    chosen = chosen[among[chosen]]
    # A ring around a joint rather than a few vertices at its one side: small weights are preferred.
    rows = [(vertices[:, chosen] - position[:, None]).transpose(0, 2, 1).reshape(-1, len(chosen)),
            np.full((1, len(chosen)), 30.0), 0.04 * np.sqrt(len(vertices)) * np.eye(len(chosen))]
    weights = np.zeros(len(mean))
    wanted = np.concatenate([np.zeros(rows[0].shape[0]), [30.0], np.zeros(len(chosen))])
    weights[chosen] = nnls(np.vstack(rows), wanted)[0]
    weights[weights < 1e-3] = 0
    return weights / weights.sum()

