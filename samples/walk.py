"""The sample's skeleton and its walk: bones, skin weights and, for any moment, the pose of every bone.

Axes and units are those of `animal`; angles are radians, a positive pitch lowers the nose.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bone:
    """One bone in the rest pose; `flesh` is the usual distance in metres from it to the skin."""

    parent: str | None
    head: tuple
    tail: tuple
    flesh: float


SPINE = {
    "pelvis": Bone(None, (-.42, 0, .645), (-.18, 0, .645), .11),
    "spine": Bone("pelvis", (-.18, 0, .645), (.04, 0, .635), .12),
    "chest": Bone("spine", (.04, 0, .635), (.32, 0, .640), .14),
    "neck": Bone("chest", (.30, 0, .660), (.495, 0, .860), .09),
    "head": Bone("neck", (.495, 0, .870), (.79, 0, .850), .06),
    "tail_1": Bone("pelvis", (-.46, 0, .675), (-.565, 0, .580), .03),
    "tail_2": Bone("tail_1", (-.565, 0, .580), (-.630, 0, .410), .04),
    "tail_3": Bone("tail_2", (-.630, 0, .410), (-.662, 0, .230), .035),
}
LEFT = {
    "ear": Bone("head", (.508, .052, .945), (.491, .118, 1.10), .04),
    "thigh": Bone("pelvis", (-.36, .085, .600), (-.288, .102, .425), .07),
    "shank": Bone("thigh", (-.288, .102, .425), (-.464, .102, .232), .03),
    "hock": Bone("shank", (-.464, .102, .232), (-.425, .102, .045), .02),
    "hind_toes": Bone("hock", (-.425, .102, .045), (-.335, .102, .018), .02),
    "scapula": Bone("chest", (.205, .065, .700), (.315, .092, .510), .05),
    "upper_arm": Bone("scapula", (.315, .092, .510), (.200, .104, .412), .05),
    "forearm": Bone("upper_arm", (.200, .104, .412), (.250, .104, .165), .03),
    "pastern": Bone("forearm", (.250, .104, .165), (.262, .104, .045), .02),
    "fore_toes": Bone("pastern", (.262, .104, .045), (.330, .104, .018), .02),
}


CYCLE_FRAMES = 24  # a stride a second at 24 frames a second: a relaxed walk for an animal of this height
STRIDE = 1.23  # in heights of the hip
STANCE = 0.62  # fraction of the cycle that a foot is on the ground
FIRST_CONTACT = {"hind.L": 0.0, "fore.L": 0.25, "hind.R": 0.5, "fore.R": 0.75}  # lateral sequence, four beats
# How far the lower leg and the toes lean: (moment of the foot's own cycle, degrees from the upright or from level).
HOCK_LEAN = [(0, -20), (.30, -8), (.52, 12), (.66, 42), (.78, 46), (.93, -12)]
PASTERN_LEAN = [(0, -10), (.25, -2), (.48, 14), (.64, 50), (.78, 78), (.93, 0)]
TOES_DROOP = [(0, -6), (.06, 0), (.50, 0), (.66, 38), (.76, 44), (.92, -4)]


def skeleton(stretched):
    """Bones by name, parents first, each left one ("thigh.L") mirrored ("thigh.R"), its proportions `stretched`."""
    sides = {"": (SPINE, (1, 1, 1)), ".L": (LEFT, (1, 1, 1)), ".R": (LEFT, (1, -1, 1))}
    bones = {}
    for suffix, (half, mirror) in sides.items():
        for name, b in half.items():
            parent = b.parent if b.parent in SPINE or b.parent is None else b.parent + suffix
            head, tail = stretched(np.multiply([b.head, b.tail], mirror))
            bones[name + suffix] = Bone(parent, tuple(head), tuple(tail), b.flesh)
    return bones


def stride_length(bones):
    """Metres that the walk covers in one cycle."""
    return STRIDE * bones["thigh.L"].head[2]


def turn(pitch=0.0, yaw=0.0, roll=0.0):
    """Rotation (3, 3): roll about x, then pitch about y, then yaw about z."""
    (cp, cy, cr), (sp, sy, sr) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    return (np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
            @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]]))


def placed(rotation, rest, posed):
    """The motion (4, 4) that rotates about the rest point and carries it to the posed point."""
    return np.vstack([np.c_[rotation, posed - rotation @ rest], [0, 0, 0, 1]])


def aligning(a, b):
    """The smallest rotation (3, 3) that turns direction a into direction b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    x, y, z = np.cross(a, b)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + k + k @ k / (1 + a @ b)


def keyed(phase, keys):
    """Angle of a periodic curve that eases from key to key."""
    at, value = np.array(keys, float).T
    value = np.radians(value)
    at, value = np.r_[at, at[0] + 1], np.r_[value, value[0]]
    i = np.searchsorted(at, phase, "right") - 1
    t = (phase - at[i]) / (at[i + 1] - at[i])
    return value[i] + (value[i + 1] - value[i]) * t * t * (3 - 2 * t)


def foot_path(phase, stride, lift):
    """A foot's position (forward, up) against the body: back with the ground, then forward through the air."""
    reach = stride * STANCE
    if phase < STANCE:
        return reach * (0.5 - phase / STANCE), 0.0
    u = (phase - STANCE) / (1 - STANCE)
    slope = -0.6 * reach * (1 - STANCE) / STANCE
    forward = reach * (u * u * (3 - 2 * u) - 0.5) + slope * (2 * u**3 - 3 * u**2 + u)
    return forward, lift * np.sin(np.pi * u) ** 1.3


def middle_joint(start, end, upper, lower, bend):
    """Where the knee lies between two ends, given both lengths and the direction it bends to."""
    span = end - start
    distance = np.linalg.norm(span)
    reachable = min(distance, 0.999 * (upper + lower))
    along = (upper**2 - lower**2 + reachable**2) / (2 * reachable)
    axis = span / distance
    sideways = bend - axis * (bend @ axis)
    return start + along * axis + np.sqrt(max(upper**2 - along**2, 0)) * sideways / np.linalg.norm(sideways)


def leg(bones, names, start, path, lean, droop, bend):
    """Motions by name of a leg's four bones (upper, lower, foot, toes), hung from `start`, its foot moved along `path`.

    lean, droop  how far the foot leans forward from the upright and the toes point down
    bend         direction (3,) the middle joint bends to
    """
    bones = [bones[n] for n in names]
    rest = [np.array(b.head) for b in bones] + [np.array(bones[-1].tail)]
    lengths = [np.linalg.norm(b - a) for a, b in zip(rest, rest[1:], strict=False)]
    ball = rest[3] + [path[0], 0, path[1]]
    ankle = ball + lengths[2] * np.array([np.sin(lean), 0, np.cos(lean)])
    joints = [start, middle_joint(start, ankle, lengths[0], lengths[1], np.array(bend)), ankle, ball,
              ball + turn(pitch=droop) @ (rest[4] - rest[3])]
    return {n: placed(aligning(rest[i + 1] - rest[i], joints[i + 1] - joints[i]), rest[i], joints[i])
            for i, n in enumerate(names)}


def walking(bones, cycles):
    """Motion (4, 4) of every bone from the rest pose to the pose after so many cycles of the walk, by name."""
    c = 2 * np.pi * cycles
    stride = stride_length(bones)
    forward = stride * cycles
    hips = np.array([bones["thigh.L"].head[0], 0, bones["thigh.L"].head[2]])
    sway = np.array([forward, .010 * np.sin(c), -.014 + .009 * np.sin(2 * c - .5)])
    pose = {"pelvis": placed(turn(pitch=.02 * np.sin(2 * c + 1), yaw=.06 * np.cos(c), roll=.04 * np.sin(c)), hips,
                             hips + sway)}
    for name, rotation in body_swing(c).items():
        bone = bones[name]
        pose[name] = pose[bone.parent] @ placed(rotation, np.array(bone.head), np.array(bone.head))
    for side in (".L", ".R"):
        hind, fore = ((cycles - FIRST_CONTACT[end + side]) % 1 for end in ("hind", "fore"))
        ahead, up = foot_path(hind, stride, .075)
        hip = carried(pose["pelvis"], bones["thigh" + side].head)
        pose |= leg(bones, [n + side for n in ("thigh", "shank", "hock", "hind_toes")], hip, (forward + ahead, up),
                    keyed(hind, HOCK_LEAN), keyed(hind, TOES_DROOP), np.array([1, 0, .3]))
        ahead, up = foot_path(fore, stride, .085)
        blade = bones["scapula" + side]
        pivot = np.array(blade.head)
        pose["scapula" + side] = pose["chest"] @ placed(turn(pitch=-.8 * ahead), pivot, pivot)
        shoulder = carried(pose["scapula" + side], blade.tail)
        pose |= leg(bones, [n + side for n in ("upper_arm", "forearm", "pastern", "fore_toes")], shoulder,
                    (forward + ahead, up), keyed(fore, PASTERN_LEAN), keyed(fore, TOES_DROOP), np.array([-1, 0, .2]))
    return pose


def body_swing(c):
    """Rotation (3, 3) against its parent of every bone of back, neck, head, tail and ears, at the walk's angle c."""
    return {
        "spine": turn(pitch=.02 * np.sin(2 * c), yaw=-.05 * np.cos(c), roll=-.03 * np.sin(c)),
        "chest": turn(pitch=-.03 * np.sin(2 * c), yaw=-.05 * np.cos(c), roll=-.03 * np.sin(c)),
        "neck": turn(pitch=.20 + .06 * np.sin(2 * c - .4), yaw=.05 * np.cos(c)),
        "head": turn(pitch=-.10 - .05 * np.sin(2 * c - .7), yaw=.02 * np.cos(c), roll=.02 * np.sin(c)),
        "tail_1": turn(pitch=.10 + .06 * np.sin(2 * c), yaw=.16 * np.sin(c + .6)),
        "tail_2": turn(pitch=.05 * np.sin(2 * c - .8), yaw=.20 * np.sin(c - .2), roll=.10 * np.sin(c)),
        "tail_3": turn(pitch=.05 * np.sin(2 * c - 1.6), yaw=.26 * np.sin(c - 1.0), roll=.14 * np.sin(c - .6)),
        "ear.L": turn(yaw=.08 * np.sin(c), roll=-.05 - .06 * np.sin(2 * c)),
        "ear.R": turn(yaw=.08 * np.sin(c), roll=.05 + .06 * np.sin(2 * c)),
    }


def carried(motion, point):
    """The point (3,) moved by the motion (4, 4)."""
    return motion[:3, :3] @ point + motion[:3, 3]


def skin_weights(vertices, faces, bones, reach=.022, rounds=5, most=4):
    """Weights (V, B), rows summing to 1, by a vertex's distance from each bone beyond its flesh, smoothed."""
    gaps = []
    for bone in bones.values():
        head, axis = np.array(bone.head), np.subtract(bone.tail, bone.head)
        t = np.clip((vertices - head) @ axis / (axis @ axis), 0, 1)
        gaps.append(np.linalg.norm(vertices - head - t[:, None] * axis, axis=1) - bone.flesh)
    gaps = np.stack(gaps, 1)
    weights = np.exp(-(gaps - gaps.min(1, keepdims=True)) / reach)
    a, b = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
    degree = np.bincount(a, minlength=len(vertices)) + np.bincount(b, minlength=len(vertices))
    for _ in range(rounds):
        weights /= weights.sum(1, keepdims=True)
        around = np.zeros_like(weights)
        np.add.at(around, a, weights[b])
        np.add.at(around, b, weights[a])
        weights = 0.5 * weights + 0.5 * around / degree[:, None]
    weights[weights < np.sort(weights, 1)[:, [-most]]] = 0
    return weights / weights.sum(1, keepdims=True)
