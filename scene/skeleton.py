"""What a rig means: one tree over the bones that hold vertices, their twins, and where its front is. NumPy only.

Rigs as people have them hold more bones than move the mesh: targets and poles of inverse kinematics, controls, roots,
mechanisms. Bones that hold vertices may hang on those, or on nothing; here they hang on each other, as the body does.
All positions are in one space with z up.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

FRONTS = {"-Y": 0, "-X": 1, "+Y": 2, "+X": 3}
"""Quarter turns about z, counter-clockwise from above, that bring each axis to -y."""
SIDES = [re.compile(pattern) for pattern in (
    r"(?<![A-Za-z])(left|right|Left|Right|LEFT|RIGHT)(?![a-z])|(?<=[a-z0-9])(Left|Right)(?![a-z])",
    r"(?<![A-Za-z0-9])([LRlr])(?![A-Za-z0-9])",
    r"(?<=[a-z0-9])([LR])(?![A-Za-z])",
    r"^([lr])(?=[A-Z])|^([LR])(?=[A-Z][a-z])")]
"""How names tell left from right: words, letters by themselves, at a word's end, before a word."""
NUMBER = re.compile(r"_\d+$")
"""What exporters of glTF append, another to each bone."""
HELPERS = re.compile(r"^(ORG|MCH)-")
"""Rigify's bones that stand for a deforming bone of the same name."""
DEFORMING = "DEF-"
AHEAD = re.compile(r"head(?!er)|skull|jaw|nose|snout|muzzle|beak|mouth|tongue|chin|eye|neck", re.I)
BEHIND = re.compile(r"tail", re.I)
HAIR = re.compile(r"hair|pony|pig", re.I)
TOES = re.compile(r"toe", re.I)
FEET = re.compile(r"foot|paw|hoof", re.I)

HOLDS = 0.01
"""Least weight, in some vertex, of a bone that holds vertices; less is rounding in exported files."""
SMALL = 0.05
"""Shares of the rig's extent: how far a joint may lie from the bone it hangs on, as thighs do from hips;"""
AWAY = 0.15
"""how far a foot that follows an IK target may lie from the shin, or a twin from the image of its twin;"""
ALIKE = 0.02
"""how well bones are mirror images that names say nothing of;"""
SHORT, LEAST_LENGTH = 0.01, 1e-3
"""length below which a bone's tail says nothing; length of a bone that has none."""
TIED = 1e-3
"""Share of the rig's extent by which a bone's tail may lie from the end of its parent that it is tied to."""
UNRELATED = 0.1
"""A bone that touches its parent's part by less than this share of what it touches of another is tied to that one."""
CLEAR = 0.15
"""Shares of the extent by which the head lies before the middle, or the toes before the heel, where that is clear."""
MOST_EDGES = 100_000
"""Edges that are looked at, of a mesh that has more."""
ALONG = 0.7
"""Cosine up to which a bone's y axis points to its child's joint."""


@dataclass(frozen=True)
class Bones:
    """All bones of an armature."""

    names: tuple[str, ...]
    parents: np.ndarray
    """(B,) int, -1 for a root."""
    heads: np.ndarray
    """(B, 3)"""
    tails: np.ndarray
    """(B, 3)"""
    axes: np.ndarray
    """(B, 3, 3) rotations, whose columns are the bones' axes; y runs from head to tail."""
    pulls: np.ndarray
    """(B,) int, the bone whose tail is pulled to this one by inverse kinematics; -1 where there is none."""

    def __len__(self) -> int:
        return len(self.names)

    def above(self, bone: int) -> list[int]:
        """The bones that a bone hangs on, from the nearest."""
        found: list[int] = []
        while (bone := int(self.parents[bone])) >= 0:
            found.append(bone)
        return found


def extent_of(points: np.ndarray) -> float:
    """The longest side of the box around points (N, 3)."""
    return float(np.ptp(points, axis=0).max())


def contact_of(skin_bones: np.ndarray, skin_weights: np.ndarray, edges: np.ndarray, count: int) -> np.ndarray:
    """(B, B) how much the parts that bones hold have to do with each other: products of weights across edges.

    skin_bones, skin_weights  (V, K)
    edges                     (E, 2); where weights are not blended, parts still touch along edges
    """
    contact = np.zeros(count * count)
    edges = edges[:: max(1, len(edges) // MOST_EDGES)]
    for start, end in (edges.T, edges.T[::-1]):
        for i in range(skin_bones.shape[1]):
            held = np.flatnonzero(skin_weights[start, i] > 0)
            for j in range(skin_bones.shape[1]):
                weights = skin_weights[start[held], i] * skin_weights[end[held], j]
                pairs = skin_bones[start[held], i].astype(np.int64) * count + skin_bones[end[held], j]
                contact += np.bincount(pairs, weights, count * count)
    contact = contact.reshape(count, count)
    np.fill_diagonal(contact, 0)
    return contact


def lengthened(bones: Bones, points: np.ndarray, main: np.ndarray, extent: float) -> Bones:
    """The bones with tails that say where they end: importers guess them, and may make bones of no length.

    A short bone ends at the joints of its children, else where the vertices do that it holds.
    points  (N, 3) of the mesh
    main    (N,) the bone that holds most of each
    """
    tails = bones.tails.copy()
    for bone in np.flatnonzero(np.linalg.norm(bones.tails - bones.heads, axis=1) < SHORT * extent):
        head, y = bones.heads[bone], bones.axes[bone, :, 1]
        ends = (bones.heads[bones.parents == bone] - head) @ y
        ends = float(ends.max(initial=0))
        if ends < SHORT * extent:
            ends = _reach(bones, int(bone), y, points, main)
        length = max(ends, float((bones.tails[bone] - head) @ y), LEAST_LENGTH * extent)
        tails[bone] = head + length * y
    return replace(bones, tails=tails)


def _reach(bones: Bones, bone: int, way: np.ndarray, points: np.ndarray, main: np.ndarray) -> float:
    """How far most of the vertices that a bone holds lie from its head in a direction; 0 where it holds none."""
    held = points[main == bone]
    return float(np.percentile((held - bones.heads[bone]) @ way, 95)) if len(held) else 0.0


# A tree over the bones that hold vertices.

def tree_over(bones: Bones, holding: np.ndarray, held: np.ndarray, contact: np.ndarray, twins: np.ndarray,
              extent: float) -> np.ndarray:
    """(B,) int: for each bone that holds vertices the one it hangs on, which holds some, too; -1 for the one root.

    That is the nearest bone above it that holds any, unless their parts have nothing to do with each other; else the
    one that inverse kinematics pulls to it; else the one whose part touches its own most; else the nearest.
    holding  (B,) bool
    held     (B,) sums of weights
    twins    (B,) int
    """
    near = _distances(bones)
    below = np.eye(len(bones), dtype=bool)
    for bone in range(len(bones)):
        below[bones.above(bone), bone] = True
    parents = np.full(len(bones), -1)
    for bone in np.flatnonzero(holding):
        parent, is_meant = _given_parent(bones, holding, int(bone), below, near, extent)
        # A control between them may hang on anything.
        far = (AWAY if is_meant else SMALL) * extent
        if parent >= 0 and not _is_below(parents, parent, int(bone)) \
                and not _is_unrelated(holding & ~below[bone], int(bone), parent, near, contact, far):
            parents[bone] = parent
    return _from_the_body(bones, _joined(parents, holding, held, contact, near, twins, extent), contact, extent)


def from_their_joints(bones: Bones, parents: np.ndarray, extent: float) -> Bones:
    """The bones, those turned about whose tails are tied to their parents: a chain may run up to the body, as the tail
    of Rigify's quadrupeds does from its tip, and bends about the joints nearer to the body all the same.

    parents  (B,) as `tree_over` returns them
    """
    heads, tails, axes = bones.heads.copy(), bones.tails.copy(), bones.axes.copy()
    for bone in np.flatnonzero(parents >= 0):
        if _is_tied(bones, int(bone), int(parents[bone]), extent):
            heads[bone], tails[bone] = bones.tails[bone], bones.heads[bone]
            axes[bone] = bones.axes[bone] * (1, -1, -1)
    return replace(bones, heads=heads, tails=tails, axes=axes)


def from_the_top(parents: np.ndarray, holding: np.ndarray) -> list[int]:
    """The bones that hold vertices, each after its parent, a parent's own next to each other."""
    children: dict[int, list[int]] = {}
    for bone in np.flatnonzero(holding):
        children.setdefault(int(parents[bone]), []).append(int(bone))
    order: list[int] = []
    waiting = children.get(-1, [])[::-1]
    while waiting:
        order.append(waiting.pop())
        waiting += children.get(order[-1], [])[::-1]
    return order


def _given_parent(bones: Bones, holding: np.ndarray, bone: int, below: np.ndarray, near: np.ndarray, extent: float
                  ) -> tuple[int, bool]:
    """The bone that the armature itself names as the one to hang on, -1 where it names none; and whether it is meant:
    not merely what some control hangs on.

    below  (B, B) bool, whether the second is the first or hangs on it
    """
    named = {name: index for index, name in enumerate(bones.names)}
    for above in [bone, *bones.above(bone)]:
        if above != bone:
            if holding[above]:
                return above, above == bones.parents[bone]
            stands_for = named.get(HELPERS.sub(DEFORMING, bones.names[above]), above)
            if stands_for != above and holding[stands_for] and not below[bone, stands_for]:
                return stands_for, True
        pulled = int(bones.pulls[above])
        if pulled >= 0:
            for one in [pulled, *bones.above(pulled)]:
                if holding[one] and not below[bone, one] and near[bone, one] < AWAY * extent:
                    return one, True
    return -1, False


def _is_unrelated(others: np.ndarray, bone: int, parent: int, near: np.ndarray, contact: np.ndarray, far: float
                  ) -> bool:
    """Whether a bone's part touches that of one of some others, at its joint, but not its parent's, far from the joint.

    So with feet below targets of inverse kinematics that hang on a root which holds vertices itself.
    """
    touched = np.where(others, contact[bone], 0.0)
    best = int(touched.argmax())
    return bool(touched[best] > 0 and touched[parent] < UNRELATED * touched[best]
                and near[bone, parent] > far and near[bone, best] < near[bone, parent] / 2)


def _joined(parents: np.ndarray, holding: np.ndarray, held: np.ndarray, contact: np.ndarray, near: np.ndarray,
            twins: np.ndarray, extent: float) -> np.ndarray:
    """The trees as one: from the one that holds most, the root that fits best is hung on it, and again."""
    parents = parents.copy()
    tree = np.array([_top(parents, bone) if holding[bone] else -1 for bone in range(len(parents))])
    tops = [int(bone) for bone in np.flatnonzero(holding) if parents[bone] < 0]
    main = max(tops, key=lambda top: held[tree == top].sum())
    grown = tree == main
    waiting = [top for top in tops if top != main]
    touch = {top: contact[tree == top].sum(0) for top in waiting}
    while waiting:
        fits = {top: _fit(top, touch, near, twins, extent) * grown for top in waiting}
        top = max(waiting, key=lambda top: fits[top].max())
        if fits[top].max() > 0:
            parent = int(fits[top].argmax())
        else:  # nothing touches: props, eyes
            top = min(waiting, key=lambda top: near[top][grown].min())
            parent = int(np.where(grown, near[top], np.inf).argmin())
        pairs = [(top, parent)]
        other, others = int(twins[top]), int(twins[parent])
        if other != top and other in waiting and grown[others] and touch[other][others] > 0:
            pairs.append((other, others))
        for one, above in pairs:
            parents[one] = above
            grown |= tree == one
            waiting.remove(one)
    return parents


def _from_the_body(bones: Bones, parents: np.ndarray, contact: np.ndarray, extent: float) -> np.ndarray:
    """The tree with chains that run up to the body turned round: hung on it by their ends, as the tail of Rigify's
    quadrupeds, which begins at its tip."""
    parents = parents.copy()
    children = np.bincount(parents[parents >= 0], minlength=len(bones))
    for tip in np.flatnonzero((parents >= 0) & (parents != bones.parents)):
        parent, chain = int(parents[tip]), [int(tip)]
        while children[chain[-1]] == 1:
            chain.append(int(np.flatnonzero(parents == chain[-1])[0]))
        touching = contact[chain, parent]
        end = int(touching.argmax())
        if end > 0 and touching[end] > 0 and _is_tied(bones, chain[end], parent, extent):
            for above, below in zip(chain[:end], chain[1:end + 1], strict=True):
                parents[above] = below
            parents[chain[end]] = parent
    return parents


def _is_tied(bones: Bones, bone: int, parent: int, extent: float) -> bool:
    """Whether a bone's tail lies at an end of another, from which its head is away."""
    start, end = bones.heads[parent], bones.tails[parent]
    near = min(np.linalg.norm(bones.tails[bone] - start), np.linalg.norm(bones.tails[bone] - end))
    away = to_segments(bones.heads[bone][None], start[None], end[None])[0, 0]
    return bool(near < TIED * extent and away > SHORT * extent)


def _fit(top: int, touch: dict[int, np.ndarray], near: np.ndarray, twins: np.ndarray, extent: float) -> np.ndarray:
    """(B,) how well a tree's top fits on each bone: what its parts touch there, and how near its joint is.

    Of twins together, so that both legs hang alike.
    """
    fit = touch[top] / max(touch[top].sum(), 1e-12) / (1 + (near[top] / (SMALL * extent)) ** 2)
    other = int(twins[top])
    if other != top and other in touch:
        mirrored = touch[other] / max(touch[other].sum(), 1e-12) / (1 + (near[other] / (SMALL * extent)) ** 2)
        fit = np.where(fit > 0, fit + mirrored[twins], 0)
    return fit


def _distances(bones: Bones) -> np.ndarray:
    """(B, B) from the head of each bone to each bone, a line from head to tail."""
    return np.stack([to_segments(head[None], bones.heads, bones.tails)[0] for head in bones.heads])


def to_segments(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(N, S) distances of points (N, 3) from lines with two ends (S, 3)."""
    along = ends - starts
    squared = np.maximum((along**2).sum(1), 1e-24)
    share = np.clip(((points[:, None] - starts) * along).sum(-1) / squared, 0, 1)
    return np.linalg.norm(points[:, None] - starts - share[..., None] * along, axis=-1)


def _top(parents: np.ndarray, bone: int) -> int:
    while parents[bone] >= 0:
        bone = int(parents[bone])
    return bone


def _is_below(parents: np.ndarray, bone: int, other: int) -> bool:
    """Whether a bone is another or hangs on it."""
    while bone >= 0 and bone != other:
        bone = int(parents[bone])
    return bone == other


# Twins and the mirror between them.

@dataclass(frozen=True)
class Mirror:
    """A plane across x or y."""

    axis: int
    """0 for x, 1 for y."""
    position: float
    """On that axis."""

    def image(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) mirrored."""
        image = points.copy()
        image[..., self.axis] = 2 * self.position - image[..., self.axis]
        return image


def pairs_by_name(names: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """Left and right bones of one name each; lists, since what exporters number may be several."""
    pairs: list[tuple[list[int], list[int]]] = []
    paired: set[int] = set()
    # The side is mostly said last: r_toe.L is the left of the rear toes.
    for strip, which, pattern in itertools.product((False, True), (-1, 0), SIDES):
        groups: dict[str, tuple[list[int], list[int]]] = {}
        for index, name in enumerate(names):
            text = NUMBER.sub("", name) if strip else name
            if index not in paired and (matches := list(pattern.finditer(text))):
                match = matches[which]
                side = 0 if match[0].lower().startswith("l") else 1
                groups.setdefault(f"{text[:match.start()]}*{text[match.end():]}", ([], []))[side].append(index)
        for left, right in groups.values():
            if left and right:
                pairs.append((left, right))
                paired.update(left, right)
    return pairs


def mirror_of(bones: Bones, which: np.ndarray, points: np.ndarray, axis: int | None) -> Mirror:
    """The plane that the body is alike on both sides of: from bones of a left and right name, else from its shape.

    which   (B,) bool, the bones that count
    points  (N, 3) of the mesh
    axis    where it is known
    """
    extent = extent_of(points)
    pairs = [(left[0], right[0]) for left, right in pairs_by_name(bones.names)
             if len(left) == len(right) == 1 and which[left[0]] and which[right[0]]]
    if pairs:
        left, right = bones.heads[np.array(pairs).T]
        apart = np.abs(left - right)[:, :2].sum(0)
        if axis is None and apart.max() > 2 * apart.min():
            axis = int(apart.argmax())
        if axis is not None and apart[axis] > 0:
            return Mirror(axis, _rounded(float(np.median((left + right)[:, axis] / 2)), extent))
    best, least = Mirror(axis or 0, 0.0), np.inf
    for one in (0, 1) if axis is None else (axis,):
        middle = float(points[:, one].min() + points[:, one].max()) / 2
        for position in (0.0, middle):
            mirror = Mirror(one, _rounded(position, extent))
            # The first is taken where they are equally good: x before y, the origin before the middle.
            if (error := _asymmetry(points, mirror)) < least - ALIKE * ALIKE * extent:
                best, least = mirror, error
    return best


def _rounded(position: float, extent: float) -> float:
    """0 where it is almost that: people model around the origin."""
    return 0.0 if abs(position) < ALIKE / 2 * extent else position


def _asymmetry(points: np.ndarray, mirror: Mirror) -> float:
    """Mean distance of some points' images from the nearest of some points."""
    some = points[:: max(1, len(points) // 2000)]
    images = mirror.image(points[:: max(1, len(points) // 200)])
    return float(np.mean([np.linalg.norm(some - image, axis=1).min() for image in images]))


def twins_of(bones: Bones, mirror: Mirror, extent: float) -> np.ndarray:
    """(B,) int, each bone's image in the mirror; itself where it has none. By names, checked by where they are, and
    by where they are alone where names tell nothing."""
    count = len(bones)
    ends = np.concatenate([bones.heads, bones.tails], 1).reshape(count, 2, 3)
    away = np.linalg.norm(mirror.image(bones.heads)[:, None] - bones.heads, axis=-1)
    exact = np.linalg.norm(mirror.image(ends)[:, None] - ends, axis=-1).max(-1)
    off = (bones.heads + bones.tails)[:, mirror.axis] / 2 - mirror.position
    twins = np.arange(count)
    free = np.ones(count, bool)
    for left, right in pairs_by_name(bones.names):
        for one, other in sorted(((a, b) for a in left for b in right), key=lambda pair: exact[pair]):
            if free[one] and free[other] and away[one, other] < AWAY * extent \
                    and off[one] * off[other] <= (ALIKE * extent) ** 2:
                twins[one], twins[other] = other, one
                free[one] = free[other] = False
    named = np.zeros(count, bool)
    named[[index for pair in pairs_by_name(bones.names) for side in pair for index in side]] = True
    free &= ~named & (np.abs(off) > ALIKE / 2 * extent)
    exact = np.where(free[:, None] & free[None] & ~np.eye(count, dtype=bool), exact, np.inf)
    for one in np.flatnonzero(free):
        other = int(exact[one].argmin())
        if exact[one, other] < ALIKE * extent and exact[other].argmin() == one:
            twins[one] = other
    return twins


# The front.

def front_of(bones: Bones, which: np.ndarray, mirror: Mirror, points: np.ndarray) -> str | None:
    """One of FRONTS: where the head is, where the toes point, left of which side the bones are that are called left.

    The first of these that is clear; None where none is.
    """
    axis = 1 - mirror.axis
    extent, middle = extent_of(points), float(points[:, axis].mean())
    for side in (_head(bones, which, axis, middle) / extent, _toes(bones, which, axis) / extent * 3):
        if abs(side) > CLEAR:
            return ("-" if side < 0 else "+") + "XY"[axis]
    apart = [bones.heads[left[0], mirror.axis] - bones.heads[right[0], mirror.axis]
             for left, right in pairs_by_name(bones.names) if which[left[0]] and which[right[0]]]
    if apart and abs(np.mean(apart)) > ALIKE / 2 * extent:
        # Up is z: whoever looks to -y has x at the left, whoever looks to +x has y there.
        towards = np.sign(np.mean(apart)) * (-1 if axis == 1 else 1)
        return ("-" if towards < 0 else "+") + "XY"[axis]
    return None


def _named(bones: Bones, which: np.ndarray, pattern: re.Pattern) -> list[int]:
    return [index for index, name in enumerate(bones.names)
            if which[index] and pattern.search(name) and not HAIR.search(name)]


def _head(bones: Bones, which: np.ndarray, axis: int, middle: float) -> float:
    """How far the head lies to the plus of the middle, or the tail to its minus; 0 where nothing is called so."""
    ahead, behind = _named(bones, which, AHEAD), _named(bones, which, BEHIND)
    found = [bones.heads[ahead, axis].mean() - middle] if ahead else []
    found += [middle - bones.tails[behind, axis].mean()] if behind else []
    return float(np.mean(found)) if found else 0.0


def _toes(bones: Bones, which: np.ndarray, axis: int) -> float:
    """How far toes reach to the plus of where they, or the feet above them, begin."""
    found = []
    for bone in _named(bones, which, TOES):
        start = next((one for one in bones.above(bone) if FEET.search(bones.names[one])), bone)
        found.append((bones.heads[bone] if start != bone else bones.tails[bone])[axis] - bones.heads[start][axis])
    if not found:
        found = [(bones.tails[bone] - bones.heads[bone])[axis] for bone in _named(bones, which, FEET)]
    return float(np.mean(found)) if found else 0.0


# Axes.

def along_the_bones(bones: Bones, parents: np.ndarray, order: Sequence[int], points: np.ndarray, main: np.ndarray,
                    extent: float) -> tuple[np.ndarray, np.ndarray]:
    """(B, 3, 3) axes with y along the bones, (B,) lengths.

    Rigs of other programs have x or z there: where most bones with one child do not point to it, the axes of all are
    exchanged, which keeps them right-handed and hinges where they were. A chain ends where its vertices do.
    points  (N, 3) of the mesh
    main    (N,) the bone that holds most of each
    """
    axes, lengths = bones.axes.copy(), np.linalg.norm(bones.tails - bones.heads, axis=1)
    ways: dict[int, np.ndarray] = {}
    single = []
    for bone in order:
        children = [one for one in order if parents[one] == bone]
        if children:
            way = bones.heads[children].mean(0) - bones.heads[bone]
            if np.linalg.norm(way) > ALIKE * extent:
                ways[bone] = way
                if len(children) == 1:
                    single.append(bool(way @ axes[bone, :, 1] > ALONG * np.linalg.norm(way)))
    if single and np.mean(single) < 0.5:
        exchanged: dict[int, np.ndarray] = {}
        for bone in order:
            turn = exchanged.get(int(parents[bone]), np.eye(3))
            if bone in ways:
                turn = _axis_to_y(axes[bone].T @ ways[bone])
            exchanged[bone] = turn
        for bone, turn in exchanged.items():
            axes[bone] = axes[bone] @ turn
            if bone in ways:
                lengths[bone] = ways[bone] @ axes[bone, :, 1]
            elif (reach := _reach(bones, bone, axes[bone, :, 1], points, main)) > SHORT * extent:
                lengths[bone] = reach
    return axes, np.maximum(lengths, LEAST_LENGTH * extent)


def _axis_to_y(way: np.ndarray) -> np.ndarray:
    """(3, 3) the rotation by exchanged axes whose y is the axis nearest to a direction."""
    axis = int(np.abs(way).argmax())
    sign = 1.0 if way[axis] > 0 else -1.0
    turn = np.zeros((3, 3))
    turn[axis, 1] = sign
    if axis == 1:
        turn[0, 0], turn[2, 2] = 1, sign
    elif axis == 0:
        turn[1, 0], turn[2, 2] = -sign, 1
    else:
        turn[1, 2], turn[0, 0] = -sign, 1
    return turn
