"""The bones of a four-legged mammal, named and connected as in Rigify's animal metarigs, and where they lie in a body
of the family.

Bones point as they do there: the spine forward, the tail backward, the legs down. Each bone's x axis is near +x, so
that a positive turn about it moves what is in front down, what is behind up, and feet backward, the same on both sides.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from samples.families.quadruped import QuadrupedPose, Trunk, parts_of
from samples.families.tubes import Part, capped, sheet, tangents_of, unit

LEG_BONES = {"fore": ("front_thigh", "front_shin", "front_foot", "front_toe"), "hind": ("thigh", "shin", "foot", "toe")}
SPINE = ("spine.004", "spine.005", "spine.006", "spine.007", "spine.008")
SPINE_JOINTS = (0.37, 0.19, 0.01, -0.17)
"""Where on the trunk, whose y runs from 0.5 at the rump to -0.5 at the chest, the bones of the spine meet."""
TAIL = ("spine.003", "spine.002", "spine.001", "spine")
NECK = ("spine.009", "spine.010")
HEAD = "spine.011"
PARENTS = {"spine.004": None, **dict(zip(SPINE[1:], SPINE, strict=False)), "spine.009": "spine.008",
           "spine.010": "spine.009", "spine.011": "spine.010", "jaw": HEAD, "ear.L": HEAD, "ear.R": HEAD,
           "spine.003": "spine.004", **dict(zip(TAIL[1:], TAIL, strict=False)),
           **{f"shoulder.{s}": "spine.008" for s in "LR"}}
for _side in "LR":
    for _first, _parent in (("fore", f"shoulder.{_side}"), ("hind", "spine.005")):
        for _bone in LEG_BONES[_first]:
            PARENTS[f"{_bone}.{_side}"] = _parent
            _parent = f"{_bone}.{_side}"
BONES = tuple(PARENTS)
TAIL_LIFT, TAIL_CURL = -35.0, 12.0
"""Of every body at rest, degrees as in the family's tables: how a tail is carried is pose, not shape."""
MIRROR = np.array([-1.0, 1.0, 1.0])


def twin_of(bone: str) -> str:
    return bone[:-1] + {"L": "R", "R": "L"}[bone[-1]] if bone.endswith((".L", ".R")) else bone


def rest_pose(body: dict[str, float]) -> QuadrupedPose:
    """Standing straight, the tail as all have it at rest."""
    return QuadrupedPose(tail=TAIL_LIFT - body["lift"], curl=TAIL_CURL - body["curl"])


def ring_centre(part: Part, at: float) -> np.ndarray:
    """The centre (3,) of the tube at a fraction of its rings, rounded ends left out."""
    rings = part.vertices[:-2].reshape(part.rings, part.segments, 3).mean(1)[2:-2]
    place = at * (len(rings) - 1)
    first = min(int(place), len(rings) - 2)
    return rings[first] + (place - first) * (rings[first + 1] - rings[first])


def joints_of(body: dict[str, float], pose: QuadrupedPose, parts: dict[str, Part], points: dict[str, tuple]
              ) -> tuple[np.ndarray, np.ndarray]:
    """Heads and tails (B, 3) of the bones in a body that is posed, in the units of `parts_of`."""
    b = SimpleNamespace(**body)
    trunk = Trunk(b, pose)
    ends: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    tail = [ring_centre(parts["tail"], at) for at in np.linspace(0, 1, 5)]
    neck = [ring_centre(parts["neck"], at) for at in (1 / 6, 3.5 / 6, 1)]
    spine = [tail[0], *(trunk.at(y, float(trunk.back(y) - 0.6 * trunk.half_height(y))) for y in SPINE_JOINTS), neck[0]]
    for names, line in ((SPINE, spine), (TAIL, tail), (NECK, neck)):
        ends |= {name: (a, c) for name, a, c in zip(names, line, line[1:], strict=False)}
    head = parts["head"].vertices[:-2].reshape(parts["head"].rings, -1, 3)[2:-2]
    centres = head.mean(1)
    ends[HEAD] = neck[2], centres[-1]
    # The first vertex of a ring is at its left, a quarter further is its top; three quarters are its bottom.
    bottom = (head[:, 10] + head[:, 11]) / 2
    ends["jaw"] = 0.45 * centres[6] + 0.55 * bottom[6], 0.35 * centres[-2] + 0.65 * bottom[-2]
    for side, letter in (("left", "L"), ("right", "R")):
        ear = parts[f"{side}_ear"]
        ends[f"ear.{letter}"] = ring_centre(ear, 0.1), ear.vertices[-1]
        for which, joints in (("fore", ("shoulder", "elbow", "wrist")), ("hind", ("hip", "knee", "hock"))):
            foot = parts[f"{side}_{which}_foot"]
            line = [*(points[f"{side}_{joint}"][0] for joint in joints), ring_centre(foot, 0), foot.vertices[-1]]
            ends |= {f"{name}.{letter}": (a, c)
                     for name, a, c in zip(LEG_BONES[which], line, line[1:], strict=False)}
        joint = points[f"{side}_shoulder"][0]
        out = 0.4 * b.breadth * b.chest * (1 if side == "left" else -1)
        top = trunk.at(-0.27, float(trunk.back(-0.27)) - 0.3 * b.chest, out)
        ends[f"shoulder.{letter}"] = top, joint
    return tuple(np.array([ends[name][end] for name in BONES]) for end in (0, 1))


def frames_of(heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Rest (B, 4, 4) of bones: y along the bone, x as near to +x as that allows."""
    y = unit(tails - heads)
    x = unit(np.array([1.0, 0, 0]) - y[:, :1] * y)
    frames = np.tile(np.eye(4), (len(heads), 1, 1))
    frames[:, :3, 0], frames[:, :3, 1], frames[:, :3, 2], frames[:, :3, 3] = x, y, np.cross(x, y), heads
    return frames


def markers_of(parts: dict[str, Part]) -> dict[str, np.ndarray]:
    """Points (N, 3) of the parts that a bone moves almost rigidly, by bone."""
    def rings(name: str, least: float, most: float) -> np.ndarray:
        grid = parts[name].vertices[:-2].reshape(parts[name].rings, -1, 3)[2:-2]
        last = len(grid) - 1
        return grid[int(np.ceil(least * last)):int(np.floor(most * last)) + 1].reshape(-1, 3)

    found = {}
    cuts = (0.5, *SPINE_JOINTS, -0.36)
    for name, a, c in zip(SPINE, cuts, cuts[1:], strict=False):
        found[name] = rings("trunk", 0.5 - a, 0.5 - c)
    for name, at in zip(TAIL, np.arange(4) / 4, strict=True):
        found[name] = rings("tail", at, at + 0.25)
    found["spine.009"], found["spine.010"] = rings("neck", 1 / 6, 3.5 / 6), rings("neck", 3.5 / 6, 1)
    found[HEAD] = found["jaw"] = parts["head"].vertices
    for side, letter in (("left", "L"), ("right", "R")):
        found[f"ear.{letter}"] = parts[f"{side}_ear"].vertices
        found[f"shoulder.{letter}"] = found["spine.008"]
        for which, names in LEG_BONES.items():
            for name, at in zip(names[:3], (1, 3, 5), strict=True):
                found[f"{name}.{letter}"] = rings(f"{side}_{which}", (at + 0.3) / 7, (at + 1.7) / 7)
            found[f"{names[3]}.{letter}"] = parts[f"{side}_{which}_foot"].vertices
    return found


def turns_of(rest: dict[str, np.ndarray], posed: dict[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
    """How each bone is turned against its parent (B, 3), an axis-angle along its own axes at rest, by its markers."""
    world = {}
    for name in BONES:
        a, c = (points[name] - points[name].mean(0) for points in (rest, posed))
        u, _, v = np.linalg.svd(a.T @ c)
        world[name] = v.T @ np.diag([1, 1, np.sign(np.linalg.det(v.T @ u.T))]) @ u.T
    turns = []
    for number, name in enumerate(BONES):
        above = world[PARENTS[name]] if PARENTS[name] else np.eye(3)
        own = frames[number, :3, :3]
        turns.append(vector_of(own.T @ above.T @ world[name] @ own))
    return np.array(turns)


def vector_of(rotation: np.ndarray) -> np.ndarray:
    """Axis-angle (3,) of a rotation (3, 3) of less than half a turn."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
                     rotation[1, 0] - rotation[0, 1]]) / 2
    sine, cosine = np.linalg.norm(skew), (np.trace(rotation) - 1) / 2
    return skew * (np.arctan2(sine, cosine) / sine if sine > 1e-9 else 1.0)


def rotations_of(vectors: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) of axis-angles (..., 3)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    axis = vectors / np.maximum(angle[..., 0], 1e-12)
    x, y, z = np.moveaxis(axis, -1, 0)
    o = np.zeros_like(x)
    k = np.stack([np.stack([o, -z, y], -1), np.stack([z, o, -x], -1), np.stack([-y, x, o], -1)], -2)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def posed_bones(frames: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Bones (B, 4, 4) that are turned from their rest frames by axis-angles (B, 3)."""
    posed = np.empty_like(frames)
    for number, name in enumerate(BONES):
        turn = np.eye(4)
        turn[:3, :3] = rotations_of(turns[number])
        if PARENTS[name] is None:
            posed[number] = frames[number] @ turn
        else:
            above = BONES.index(PARENTS[name])
            posed[number] = posed[above] @ np.linalg.inv(frames[above]) @ frames[number] @ turn
    return posed


def body_at_rest(body: dict[str, float]):
    """Parts, keypoints, heads and tails of a body in the rest pose, in units of the trunk's length."""
    pose = rest_pose(body)
    parts, points = parts_of(body, pose)
    parts["trunk"] = _upright_trunk(body, pose, parts["trunk"])
    parts["left_ear"] = _thicker_ear(parts["left_ear"])
    parts["right_ear"] = parts["left_ear"].reflected()
    return (parts, points, *joints_of(body, pose, parts, points))


def _upright_trunk(body: dict[str, float], pose: QuadrupedPose, like: Part) -> Part:
    """A straight trunk whose sections stand upright, its outline evened: where the family's falls off steeply, its
    sections tilt so far that they cross."""
    b = SimpleNamespace(**body)
    trunk, y = Trunk(b, pose), np.linspace(0.5, -0.5, like.rings - 4)
    half = trunk.half_height(y)
    top, bottom, width = (_evened(line, 1.3) for line in (trunk.back(y), trunk.back(y) - 2 * half, b.breadth * half))
    top = top + trunk.hump(y)
    nothing = np.zeros(len(y))
    centre = np.stack([nothing, y, (top + bottom) / 2], 1)
    height = (top - bottom) / 2
    return sheet(*capped(centre, np.tile([0, -1.0, 0], (len(y), 1)), np.stack([width, nothing, nothing], 1),
                         np.stack([nothing, nothing, height], 1), np.minimum(width, height), (0.8, 0.8)), like.segments)


def _evened(line: np.ndarray, width: float) -> np.ndarray:
    """The line (N,) low-passed over so many of its steps, straight on beyond its ends."""
    return gaussian_filter1d(np.pad(line, 8, "reflect", reflect_type="odd"), width)[8:-8]


def _thicker_ear(ear: Part, least: float = 0.013) -> Part:
    """The ear, nowhere thinner than a mesh of some thousand triangles can show."""
    grid = ear.vertices[:-2].reshape(ear.rings, ear.segments, 3)[2:-2]
    centre = grid.mean(1)
    axes = [grid[:, k] - centre for k in (0, ear.segments // 4)]
    axes = [unit(axis) * np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), least) for axis in axes]
    return sheet(*capped(centre, tangents_of(centre), *axes, np.full(len(centre), least), (0.3, 0.9)), ear.segments)
