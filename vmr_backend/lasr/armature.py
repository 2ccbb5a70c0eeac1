"""Makes of Gaussian bones what an animator uses: one tree with joints inside the body, frames and names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

CENTRAL = 0.15
"""Bones nearer to the mirror plane than this share of the width over which bones lie belong to both sides."""
SHORTEST = 0.02
"""Of a bone, as a share of the mesh's longest extent: a joint next to its parent's still has a direction."""


@dataclass(frozen=True)
class Armature:
    """B bones, parents before their children; object space."""

    order: np.ndarray
    """(B,) which of the bones given each one is."""
    parents: np.ndarray
    """(B,) int32, -1 for the root."""
    rest: np.ndarray
    """(B, 4, 4) origin at the joint with the parent, y along the bone."""
    lengths: np.ndarray
    """(B,)."""
    names: np.ndarray
    """(B,) unicode; .L at positive x, .R at its mirror image."""


def armature_of(vertices: np.ndarray, weights: np.ndarray) -> Armature:
    """The tree of bones that hold vertices (V, 3) with weights (V, B); every bone holds some.

    Bones that share most of what they hold are joined (a minimum spanning tree); a joint is the middle of the ring of
    vertices that two bones share, which lies inside a limb. The root is the bone nearest to the body's middle.
    """
    centres = _means(vertices, weights)
    extent = np.ptp(vertices, axis=0)
    root = int(np.linalg.norm(centres - _means(vertices, weights.sum(1, keepdims=True)), axis=1).argmin())
    order, parents = _tree(weights, centres, root)
    joints = centres.copy()
    for bone in order[1:]:
        shared = weights[:, bone] * weights[:, parents[bone]]
        together = (centres[bone] + centres[parents[bone]]) / 2
        joints[bone] = (shared @ vertices + 1e-9 * together) / (shared.sum() + 1e-9)
    tails = np.stack([_tail(b, parents, joints, vertices, weights) for b in range(len(centres))])
    lengths = np.maximum(np.linalg.norm(tails - joints, axis=1), SHORTEST * extent.max())
    rest = np.stack([_frame(joint, tail - joint) for joint, tail in zip(joints, tails, strict=True)])
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    ordered = np.where(parents[order] < 0, -1, place[parents[order]]).astype(np.int32)
    names = _names(ordered, centres[order], tails[order], extent)
    return Armature(order, ordered, rest[order], lengths[order], names)


def _means(vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B, 3) mean places of what bones hold."""
    return weights.T @ vertices / weights.sum(0)[:, None]


def _tree(weights: np.ndarray, centres: np.ndarray, root: int) -> tuple[np.ndarray, np.ndarray]:
    """Bones from the root outwards (B,), and the parent of each (B,), -1 for the root."""
    own = np.sqrt((weights**2).sum(0))
    shared = weights.T @ weights / (own[:, None] * own)
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    # Bones that share nothing, or stand on opposite sides, are joined only where nothing else joins them.
    across = np.sign(centres[:, None, 0]) * np.sign(centres[:, 0]) * _sided(centres)[:, None] * _sided(centres) < 0
    cost = apart * np.where(shared > 0.02, 1, 3) * np.where(across, 2, 1) + 1e-6
    np.fill_diagonal(cost, 0)
    order, parents = breadth_first_order(minimum_spanning_tree(cost), root, directed=False)
    return order, np.where(parents < 0, -1, parents)


def _sided(centres: np.ndarray) -> np.ndarray:
    """(B,) whether a bone at these centres (B, 3) is of one side only."""
    return np.abs(centres[:, 0]) > CENTRAL * np.ptp(centres[:, 0])


def _tail(bone: int, parents: np.ndarray, joints: np.ndarray, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Where a bone ends: at the next joint that it leads to, or where what it holds ends."""
    children = np.flatnonzero(parents == bone)
    if len(children):
        return joints[children[np.linalg.norm(joints[children] - joints[bone], axis=1).argmax()]]
    held = vertices[weights[:, bone] > 0.5 * weights[:, bone].max()] - joints[bone]
    way = held.mean(0)
    way = way / max(np.linalg.norm(way), 1e-9)
    return joints[bone] + way * np.quantile(held @ way, 0.95)


def _frame(origin: np.ndarray, way: np.ndarray) -> np.ndarray:
    """(4, 4) rigid frame with y along `way`, z as far up as that allows."""
    length = np.linalg.norm(way)
    y = way / length if length > 1e-9 else np.array([0.0, 1.0, 0.0])
    up = np.array([0.0, 0.0, 1.0]) if abs(y[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x = np.cross(y, up)
    x /= np.linalg.norm(x)
    frame = np.eye(4)
    frame[:3] = np.stack([x, y, np.cross(x, y), origin], 1)
    return frame


def _names(parents: np.ndarray, centres: np.ndarray, tails: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Chains are numbered from front (-y) to back, bones outwards; a chain and its mirror image share a number."""
    chain = _chains(parents)
    sides = (np.sign(centres[:, 0]) * _sided(centres)).astype(int)
    members = {c: np.flatnonzero(chain == c) for c in np.unique(chain[1:])}
    tips = {c: tails[bones[-1]] for c, bones in members.items()}
    side = {c: int(np.sign(sides[bones].sum())) for c, bones in members.items()}
    names = np.full(len(parents), "root", object)
    number, done = 0, set()
    for c in sorted(members, key=lambda c: tips[c][1]):
        if c in done:
            continue
        number += 1
        image = tips[c] * [-1, 1, 1]
        rivals = [d for d in members if d not in done and side[d] == -side[c] != 0]
        twin = min(rivals, key=lambda d: np.linalg.norm(tips[d] - image), default=None)
        if twin is not None and np.linalg.norm(tips[twin] - image) > 0.2 * extent.max():
            twin = None
        for one in [c] if twin is None else [c, twin]:
            done.add(one)
            suffix = {1: ".L", -1: ".R", 0: ""}[side[one]]
            names[members[one]] = [f"chain{number}_{k}{suffix}" for k in range(1, len(members[one]) + 1)]
    return names.astype(str)


def _chains(parents: np.ndarray) -> np.ndarray:
    """(B,) number of the chain that each bone is part of: the first child goes on, its siblings begin new ones."""
    chain = np.zeros(len(parents), int)
    children = {b: np.flatnonzero(parents == b) for b in range(len(parents))}
    for bone in range(len(parents)):
        for k, child in enumerate(children[bone]):
            chain[child] = chain[bone] if k == 0 and bone != 0 else child
    return chain
