"""Makes of Gaussian bones what an animator uses: one tree with joints inside the body, frames and names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

SHARED = 0.02
"""Of what two bones hold: from here on they are neighbours, whom a joint suits better than bones that only lie near."""
SHORTEST = 0.02
"""Of a bone, over the mesh's longest extent: a joint next to its parent's still has a direction."""


@dataclass(frozen=True)
class Tree:
    """How B bones hang on one another."""

    parents: np.ndarray
    """(B,) int64, -1 for the root."""
    joints: np.ndarray
    """(B, 3) where a bone meets its parent; the root's own middle."""


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


def tree_of(vertices: np.ndarray, weights: np.ndarray, twin: np.ndarray) -> Tree:
    """The tree of bones that hold vertices (V, 3) with weights (V, B).

    Bones that share most of what they hold are joined (a minimum spanning tree); the root is the bone nearest to the
    body's middle. A bone and its mirror image, twin (B,), itself for a bone of both sides, hang alike: the tree spans
    pairs, not bones.
    """
    centres = _means(vertices, weights)
    own = np.sqrt((weights**2).sum(0)) + 1e-9
    shared = weights.T @ weights / (own[:, None] * own)
    both_sides = twin == np.arange(len(twin))
    # A spine of bones of both sides, from which pairs branch off, rather than a spine down one flank.
    cost = np.linalg.norm(centres[:, None] - centres, axis=2) * np.where(shared > SHARED, 1, 3) + 1e-6
    cost *= np.where(both_sides[:, None] == both_sides, 1, 2)
    first = np.flatnonzero(twin >= np.arange(len(twin)))
    between = np.minimum(cost[np.ix_(first, first)], cost[np.ix_(first, twin[first])])
    np.fill_diagonal(between, 0)
    central = np.flatnonzero(both_sides[first])
    far = np.linalg.norm(centres[first] - _means(vertices, weights.sum(1, keepdims=True)), axis=1)
    root = int(min(central if len(central) else range(len(first)), key=lambda k: far[k]))
    order, above = breadth_first_order(minimum_spanning_tree(between), root, directed=False)
    parents = np.full(len(twin), -1)
    if not len(central):
        parents[twin[first[root]]] = first[root]
    for k in order[1:]:
        pair = {first[above[k]], twin[first[above[k]]]}
        for bone in {first[k], twin[first[k]]}:
            parents[bone] = min(sorted(pair), key=lambda p, bone=bone: cost[bone, p])
    return Tree(parents, joints_of(vertices, weights, parents))


def joints_of(vertices: np.ndarray, weights: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """(B, 3) joints of bones with their parents (B,): the middle of the ring of vertices that both hold, which lies
    inside a limb."""
    joints = _means(vertices, weights)
    between = (joints + joints[parents]) / 2
    for bone in np.flatnonzero(parents >= 0):
        shared = weights[:, bone] * weights[:, parents[bone]]
        joints[bone] = (shared @ vertices + 1e-6 * between[bone]) / (shared.sum() + 1e-6)
    return joints


def armature_of(vertices: np.ndarray, weights: np.ndarray, tree: Tree, twin: np.ndarray) -> Armature:
    """Frames, lengths and names of the bones of a tree that hold vertices (V, 3) with weights (V, B); twin (B,) is
    each bone's mirror image."""
    root = int(np.flatnonzero(tree.parents < 0)[0])
    order = [root]
    for bone in order:
        order.extend(np.flatnonzero(tree.parents == bone))
    tails = np.stack([_tail(b, tree, vertices, weights) for b in range(len(twin))])
    extent = np.ptp(vertices, axis=0).max()
    lengths = np.maximum(np.linalg.norm(tails - tree.joints, axis=1), SHORTEST * extent)
    rest = np.stack([_frame(joint, tail - joint) for joint, tail in zip(tree.joints, tails, strict=True)])
    rank = np.argsort(order).astype(np.int32)
    parents = np.where(tree.parents[order] < 0, -1, rank[tree.parents[order]])
    names = _names(parents, rank[twin[order]], (tree.joints + tails)[order, 0], tails[order, 1])
    return Armature(np.array(order), parents, rest[order], lengths[order], names)


def _means(vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B, 3) mean positions of what bones hold."""
    return weights.T @ vertices / np.maximum(weights.sum(0), 1e-9)[:, None]


def _tail(bone: int, tree: Tree, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Where a bone ends: at the next joint that it leads to, or where what it holds ends."""
    joint, children = tree.joints[bone], np.flatnonzero(tree.parents == bone)
    if len(children):
        return tree.joints[children[np.linalg.norm(tree.joints[children] - joint, axis=1).argmax()]]
    if not weights[:, bone].any():
        return joint
    held = vertices[weights[:, bone] > 0.5 * weights[:, bone].max()] - joint
    way = held.mean(0)
    way = way / max(np.linalg.norm(way), 1e-9)
    return joint + way * np.quantile(held @ way, 0.95)


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


def _names(parents: np.ndarray, twin: np.ndarray, x: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Chains are numbered from front (-y) to back by where they end (B,), bones outwards; a bone and its mirror image
    share a name but for the side, by x (B,)."""
    chain = _chains(parents)
    members = [np.flatnonzero(chain == c) for c in np.unique(chain[1:])]
    names = np.full(len(parents), "", object)
    names[0] = "root"
    number = 0
    for bones in sorted(members, key=lambda bones: ends[bones[-1]]):
        number += not all(names[bones])
        for k, bone in enumerate(bones, 1):
            image = twin[bone]
            if names[bone]:
                continue
            if image in (bone, 0):
                names[bone] = f"chain{number}_{k}"
            else:
                left, right = sorted((bone, image), key=lambda b: (-x[b], b))
                names[left], names[right] = f"chain{number}_{k}.L", f"chain{number}_{k}.R"
    return names.astype(str)


def _chains(parents: np.ndarray) -> np.ndarray:
    """(B,) number of the chain that each bone is part of: the first child goes on, its siblings begin new ones."""
    chain = np.zeros(len(parents), int)
    children = {b: np.flatnonzero(parents == b) for b in range(len(parents))}
    for bone in range(len(parents)):
        for k, child in enumerate(children[bone]):
            chain[child] = chain[bone] if k == 0 and bone != 0 else child
    return chain
