"""The family of four-legged mammals: proportions between some known kinds, gaits and postures, coats."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from vmr_backend.annotations import Category

from .animal import Animal, Family, assembled, blend_of_kinds
from .coats import clouds, drawn_colour, painted, soft
from .tubes import MIRROR, Part, chain, direction, leaning, tube, turned_left, turned_up, unit

SIDES = ("left", "right")
LEGS = {"fore": ("shoulder", "elbow", "wrist", "fore_paw"), "hind": ("hip", "knee", "hock", "hind_paw")}
KEYPOINTS = ("nose", "left_eye", "right_eye", "left_ear_tip", "right_ear_tip", "head_top", "throat", "neck_base",
             "back_middle", "tail_base", "tail_tip", "chest", "belly",
             *(f"{side}_{joint}" for joints in LEGS.values() for side in SIDES for joint in joints))
SKELETON = [("nose", "head_top"), ("nose", "throat"), ("nose", "left_eye"), ("nose", "right_eye"),
            ("left_eye", "left_ear_tip"), ("right_eye", "right_ear_tip"), ("head_top", "neck_base"),
            ("throat", "chest"), ("neck_base", "back_middle"), ("back_middle", "tail_base"), ("tail_base", "tail_tip"),
            ("chest", "belly"), ("belly", "left_hip"), ("belly", "right_hip"), ("tail_base", "left_hip"),
            ("tail_base", "right_hip"), ("neck_base", "left_shoulder"), ("neck_base", "right_shoulder"),
            *((f"{side}_{a}", f"{side}_{b}") for joints in LEGS.values() for side in SIDES
              for a, b in zip(joints, joints[1:], strict=False))]
CATEGORY = Category("quadruped", KEYPOINTS, tuple((KEYPOINTS.index(a), KEYPOINTS.index(b)) for a, b in SKELETON))

TRUNK_AND_HEAD = """
kind      chest waist rump breadth arch withers hump neck neck_base neck_top carriage curve head skull muzzle pitch
dog        .19  .14  .15   .74    .00   .03   .00   .36   .13     .10      45     -10   .42  .105  .55    22
hound      .205 .10  .13   .66    .04   .00   .00   .42   .11     .075     50      -5   .42  .085  .45    25
short_dog  .185 .16  .16   .82    .00   .00   .00   .28   .12     .10      45     -10   .38  .11   .50    15
fox        .16  .14  .14   .78    .00   .00   .00   .26   .12     .09      30       0   .37  .10   .34    15
cat        .14  .138 .135  .80    .02   .00   .00   .20   .11     .085     40       0   .26  .105  .62    12
lion       .19  .17  .165  .76    .00   .02   .00   .25   .17     .13      20       0   .36  .13   .66    20
horse      .22  .21  .20   .70    .00   .03   .00   .60   .17     .095     42       5   .48  .105  .56    48
foal       .19  .17  .175  .68    .00   .02   .00   .50   .12     .085     52       0   .42  .105  .50    40
camel      .25  .20  .17   .72    .02   .02   .17   .85   .13     .075      5      95   .36  .085  .62    10
llama      .215 .20  .19   .82    .00   .00   .00   .70   .12     .085     68       8   .28  .085  .60    18
cow        .265 .27  .23   .74    .00  -.01   .00   .36   .18     .13      15       0   .42  .12   .72    40
deer       .19  .17  .17   .70    .00   .00   .00   .48   .12     .07      55       0   .35  .085  .48    28
sheep      .255 .26  .25   .86    .00   .00   .00   .25   .14     .10      42       0   .32  .09   .60    38
goat       .215 .225 .195  .78    .00   .00   .00   .34   .12     .085     50       0   .32  .09   .55    38
pig        .23  .25  .225  .86    .05   .00   .00   .16   .19     .17       5       0   .42  .155  .48    25
bear       .24  .26  .25   .86    .02   .05   .00   .26   .19     .15      10       0   .40  .145  .44    22
antelope   .20  .17  .17   .66    .00   .05   .03   .42   .12     .075     50       0   .36  .085  .50    35
giraffe    .23  .19  .17   .70    .00   .14   .00  1.30   .15     .075     58       0   .40  .09   .50    35
"""
"""Lengths in units of the trunk's, half extents where they are of a thickness; breadth, muzzle: width to height of the
trunk, muzzle to skull. Degrees: carriage of the neck above the horizon, by how much more at its top, pitch of the head
below the horizon."""
LIMBS = """
kind       ear ear_width spread droop horn  leg  thigh cannon bend foot hoof tail tail_root tail_tip lift curl
dog        .15   .060     25    20   .00   .66  .115  .038  1.00  .11   0   .55   .035    .020     5   40
hound      .13   .050     50    70   .00   .78  .110  .030  1.10  .10   0   .60   .025    .010   -40   60
short_dog  .17   .080     35    60   .00   .38  .100  .045  1.00  .11   0   .45   .035    .020    25   40
fox        .17   .080     20     0   .00   .50  .080  .028  1.00  .09   0   .75   .050    .085   -20   15
cat        .10   .055     25     0   .00   .48  .085  .034  1.10  .08   0   .75   .034    .028   -15   60
lion       .07   .055     45     0   .00   .58  .110  .050  1.00  .13   0   .75   .032    .025   -50   40
horse      .11   .040     15     0   .00   .80  .140  .036   .75  .08   1   .65   .050    .060   -72    0
foal       .14   .045     18     0   .00   .98  .110  .036   .75  .08   1   .40   .040    .045   -65    0
camel      .07   .035     30     0   .00   .95  .120  .044   .60  .10  .3   .40   .025    .030   -80    0
llama      .14   .040     10     0   .00   .72  .115  .045   .75  .07  .8   .22   .055    .045   -45    0
cow        .13   .055     80    15   .13   .64  .130  .044   .70  .07   1   .60   .026    .034   -84    0
deer       .17   .065     48     0   .06   .80  .110  .025   .90  .07   1   .15   .040    .020   -45    0
sheep      .12   .045     80    30   .04   .52  .100  .032   .80  .06   1   .22   .045    .035   -80    0
goat       .14   .045     75    20   .26   .60  .110  .034   .80  .06   1   .14   .035    .020    40    0
pig        .14   .080     40    55   .00   .40  .110  .044   .80  .06   1   .22   .022    .014    30  160
bear       .075  .055     45     0   .00   .52  .150  .080   .70  .16   0   .07   .035    .030   -60    0
antelope   .15   .050     40     0   .22   .84  .115  .027   .85  .07   1   .35   .022    .030   -80    0
giraffe    .12   .045     65     0   .05  1.20  .130  .042   .60  .09   1   .60   .024    .035   -84    0
"""
"""Lengths in units of the trunk's; leg: from the trunk's axis to the ground; bend: how strongly the joints of the legs
are bent; hoof: 0 where the foot is a paw. Degrees: spread of the ears from upright, how far they droop, lift of the
tail above the horizon, by how much more at its tip."""


GAITS = {"stand": (7.0, (0.0, 0.3, 0.6, 0.9)), "walk": (21.0, (0.25, 0.75, 0.0, 0.5)),
         "trot": (27.0, (0.5, 0.0, 0.0, 0.5)), "gallop": (44.0, (0.55, 0.66, 0.0, 0.10))}
"""How far the legs swing to either side, in degrees, and where in its stride each leg is, in the order of a pose."""
FORWARD = ((0.6, 1.1, 1.0, 0.6), (0.9, 0.9, 1.05, 0.6))
"""How much of the swing each part of a fore and a hind leg takes over."""
LIFTED = ((14, 14, -75, -95), (22, -28, 8, -45))
"""By how many degrees the parts of a leg are bent where it swings forward through the air."""
STRAIGHT = ((-36, 7, -2), (24, -30, 6))
"""Degrees from the vertical, forward, of the parts of a fore and a hind leg that stand."""
FRACTIONS = ((0.27, 0.42, 0.31), (0.36, 0.36, 0.28))
"""Of the height of a leg, those of its parts."""
SITTING = np.array([[10, -4, 0, 0]] * 2 + [[52, -30, 70, 10]] * 2, float)
LYING = np.array([[-25, 78, 88, 20]] * 2 + [[58, -48, 80, 15]] * 2, float)
"""Swings of the legs' parts, as in a pose."""


def animal(rng: np.random.Generator) -> Animal:
    """An animal of its own proportions, posture and coat."""
    body = drawn_body(rng)
    pose = drawn_pose(rng, body)
    return built(body, pose, drawn_coat(rng))


def drawn_body(rng: np.random.Generator) -> dict[str, float]:
    """Proportions by the names in the tables, and how many humps there are."""
    body = blend_of_kinds([TRUNK_AND_HEAD, LIMBS], rng)
    return body | {"humps": rng.integers(1, 3), "ear_turn": rng.uniform(-25, 25)}


@dataclass(frozen=True)
class QuadrupedPose:
    """Angles in degrees, each a change from standing straight.

    legs   (4, 4); upper, middle and lower part and foot swung forward; left and right fore, left and right hind
    pitch  of the trunk, front up; bend to the left and gather (back arched) of the spine, as slopes of its ends
    neck   raised; turn to the left of neck and head; nod of the head, up; tilt of the head
    tail   raised, curled more, and swayed to the left
    ears   laid back
    """

    legs: np.ndarray = field(default_factory=lambda: np.zeros((4, 4)))
    splay: np.ndarray = field(default_factory=lambda: np.zeros(4))
    pitch: float = 0.0
    bend: float = 0.0
    gather: float = 0.0
    neck: float = 0.0
    turn: float = 0.0
    nod: float = 0.0
    tilt: float = 0.0
    tail: float = 0.0
    curl: float = 0.0
    sway: float = 0.0
    ears: float = 0.0


def drawn_pose(rng: np.random.Generator, body: dict[str, float]) -> QuadrupedPose:
    """Some moment of a gait, standing, grazing, sitting or lying."""
    gait = rng.choice(list(GAITS), p=[0.26, 0.32, 0.18, 0.24])
    phase = rng.random()
    pitch, gather = rng.normal(0, 3), rng.normal(0, 0.08)
    if gait == "gallop":
        gather = 0.38 * np.sin(2 * np.pi * (phase + rng.normal(0, 0.06))) * rng.uniform(0.3, 1)
        pitch += rng.normal(0, 6)
    legs = strides(rng, gait, phase)
    posture = rng.random()
    if posture < 0.05 and body["leg"] < 0.75:
        legs, pitch = SITTING + rng.normal(0, 4, (4, 4)), rng.uniform(30, 48)
    elif posture < 0.09:
        legs, pitch = LYING + rng.normal(0, 5, (4, 4)), rng.normal(0, 3)
    grazing = gait in ("stand", "walk") and posture > 0.82
    neck = rng.uniform(-60, -25) - body["carriage"] - body["curve"] / 2 if grazing else rng.normal(0, 11)
    nod = rng.uniform(-45, -10) if grazing else rng.normal(0, 10) + 0.25 * neck
    turn = rng.normal(0, 12) if rng.random() < 0.65 else rng.uniform(-75, 75)
    return QuadrupedPose(
        legs, rng.normal(0, 3, 4), pitch, rng.normal(0, 0.10), gather, neck, turn, nod, rng.normal(0, 6),
        rng.normal(0, 16) + (rng.random() < 0.2) * rng.uniform(0, 60), rng.normal(0, 25), rng.normal(0, 18),
        rng.uniform(0, 60) * (rng.random() < 0.3))


def strides(rng: np.random.Generator, gait: str, phase: float) -> np.ndarray:
    """How far (4, 4) the parts of each leg are swung at some moment of a gait."""
    swing, lag = GAITS[gait]
    swing = swing * rng.uniform(0.6, 1.15)
    legs = rng.normal(0, 4, (4, 4))
    for number, late in enumerate(lag):
        at = 2 * np.pi * (phase + late + rng.normal(0, 0.035))
        forward = swing * np.sin(at)
        lifted = max(np.cos(at), 0.0) ** 0.8 * min(swing / 25, 1.4) * rng.uniform(0.6, 1.15)
        legs[number] += np.array(FORWARD[number > 1]) * forward + np.array(LIFTED[number > 1]) * lifted
    return legs


def built(body: dict[str, float], pose: QuadrupedPose, coat) -> Animal:
    """The animal of these proportions in this pose."""
    b = SimpleNamespace(**body)
    parts, points = parts_of(body, pose)
    trunk = Trunk(b, pose)
    reach = b.neck * np.cos(np.radians(b.carriage + b.curve / 2)) + b.head * np.cos(np.radians(b.pitch))
    rise = b.neck * np.sin(np.radians(b.carriage + b.curve / 2)) + b.skull
    longest = max(0.88 + max(reach, 0.0), b.leg + b.chest + max(rise, 0.0))
    return assembled(parts, coat, points, KEYPOINTS, 1 / longest, trunk.at(0.0, 0.0))


def parts_of(body: dict[str, float], pose: QuadrupedPose) -> tuple[dict[str, Part], dict[str, tuple]]:
    """The parts by name, and position (3,) and depth of each keypoint, in units of the trunk's length, whose middle is
    near the origin."""
    b = SimpleNamespace(**body)
    parts: dict[str, Part] = {}
    points: dict[str, tuple] = {}
    trunk = Trunk(b, pose)
    trunk.build(parts, points)
    build_neck_and_head(b, pose, trunk, parts, points)
    build_tail(b, pose, trunk, parts, points)
    for number, (which, side) in enumerate((which, side) for which in LEGS for side in SIDES):
        build_leg(b, pose, trunk, which, side, number, parts, points)
    return parts, points


class Trunk:
    """The trunk's shape before it is bent, and where its positions go.

    Lengthwise, y runs from 0.5 at the rump to -0.5 at the chest.
    """

    def __init__(self, b: SimpleNamespace, pose: QuadrupedPose):
        self.b, self.pose = b, pose
        self.tilted = turned_up(pose.pitch)

    def half_height(self, y) -> np.ndarray:
        b = self.b
        return np.interp(y, (-0.5, -0.42, -0.25, 0.12, 0.33, 0.45, 0.5),
                         (0.50 * b.chest, 0.78 * b.chest, b.chest, b.waist, b.rump, 0.88 * b.rump, 0.6 * b.rump))

    def back(self, y) -> np.ndarray:
        """Height of the back line, humps left out."""
        b, y = self.b, np.asarray(y, float)
        falls = (0.25 * b.rump * np.clip((y - 0.30) / 0.2, 0, 1) ** 2
                 + 0.30 * b.chest * np.clip((-y - 0.32) / 0.18, 0, 1))
        return b.chest + b.arch * (1 - 4 * y**2) + b.withers * np.exp(-(((y + 0.3) / 0.12) ** 2)) - falls

    def hump(self, y) -> np.ndarray:
        b = self.b
        positions, width = ([0.0], 0.105) if b.humps == 1 else ([-0.14, 0.18], 0.075)
        return b.hump * sum(np.exp(-(((np.asarray(y) - position) / width) ** 2)) for position in positions)

    def at(self, y, z, x=0.0) -> np.ndarray:
        """Where the position (x, y, z) of the straight trunk is."""
        return self.tilted @ np.array([x + self.pose.bend * y * y, y, z - self.pose.gather * y * y])

    def frame(self, y) -> np.ndarray:
        """How the spine is turned there, the pitch of the trunk left out."""
        sideways, upwards = (np.degrees(np.arctan(-2 * slope * y)) for slope in (self.pose.bend, -self.pose.gather))
        return turned_left(sideways) @ turned_up(upwards)

    def build(self, parts, points) -> None:
        y = np.linspace(0.5, -0.5, 14)
        height, hump = self.half_height(y), self.hump(y)
        centre = np.stack([self.pose.bend * y * y, y, self.back(y) + hump / 2 - height - self.pose.gather * y * y], 1)
        rows = np.c_[centre @ self.tilted.T, self.b.breadth * height, height + hump / 2]
        parts["trunk"] = tube(rows, 34, 22, ends=(0.8, 0.8))
        axis = self.back(y) - height
        middle, front = np.interp(0.05, -y[::-1], axis[::-1]), axis[-1]
        points["neck_base"] = self.at(-0.3, self.back(-0.3) - 0.02), 0.03
        points["back_middle"] = self.at(0.05, self.back(0.05) + self.hump(0.05) - 0.02), 0.03
        points["belly"] = self.at(0.05, middle - 0.9 * self.half_height(0.05)), 0.03
        points["chest"] = self.at(-0.5, front - 0.35 * self.half_height(-0.5)), 0.04
        points["tail_base"] = self.at(0.5, self.back(0.5) - 0.35 * self.b.rump), 0.04


def build_neck_and_head(b, pose: QuadrupedPose, trunk: Trunk, parts, points) -> None:
    step = np.linspace(0, 1, 6)
    base = trunk.frame(-0.4)
    pitch = b.carriage + b.curve * step + pose.neck * (1 - 0.25 * step) + 0.4 * pose.pitch
    way = direction(pitch[:-1], 0.7 * pose.turn * step[1:]) @ base.T
    start = trunk.at(-0.36, trunk.back(-0.36) - 0.95 * b.neck_base)
    line = chain(start, np.full(5, b.neck / 5), way)
    # It starts inside the trunk, wherever the neck turns.
    line = np.vstack([trunk.at(-0.22, trunk.back(-0.36) - 0.95 * b.neck_base - 0.05), line])
    height = np.interp(np.linspace(0, 1, 7), [0, 0.17, 0.34, 0.65, 1],
                       [0.8 * b.neck_base, 1.1 * b.neck_base, 0.95 * b.neck_base,
                        0.45 * b.neck_base + 0.55 * b.neck_top, b.neck_top])
    head = base @ turned_left(pose.turn) @ turned_up(-b.pitch + pose.nod) @ leaning(pose.tilt)
    sides = np.linspace(base[:, 0], head[:, 0], 7)
    parts["neck"] = tube(np.c_[line, 0.72 * height, height], 18, 16, sides)
    local: dict[str, tuple] = {}
    head_parts = {}
    build_head(b, pose, head_parts, local)
    for name, part in head_parts.items():
        parts[name] = part.moved(head, line[-1])
    for name, (position, depth) in local.items():
        points[name] = head @ position + line[-1], depth
    down = unit(np.cross(way[3], base[:, 0]))
    points["throat"] = line[-1] + down * 0.9 * b.neck_top, 0.03


def build_head(b, pose: QuadrupedPose, parts, points) -> None:
    """The head in its own space: forward -y, the neck's end at the origin."""
    step = np.array([0, 0.14, 0.32, 0.48, 0.66, 0.86, 1.0])
    muzzle = b.muzzle * b.skull
    height = np.array([0.72, 0.98, 1, 0.5, 0, 0, 0]) * b.skull + np.array([0, 0, 0, 0.55, 1.08, 1, 0.8]) * muzzle
    y = (0.2 - step) * b.head
    z = -0.55 * (b.skull - height) + np.array([0.05, 0.05, 0, 0, 0, 0, 0]) * b.skull
    width = height * np.array([0.8, 0.86, 0.86, 0.84, 0.8, 0.85, 0.85])
    parts["head"] = tube(np.stack([0 * y, y, z, width, height], 1), 18, 14, ends=(0.8, 0.6))
    points["nose"] = np.array([0, y[-1] - 0.4 * muzzle, z[-1] + 0.2 * muzzle]), 0.02
    points["head_top"] = np.array([0, y[1], z[1] + 0.9 * height[1]]), 0.02
    eye = np.array([0.74 * width[2], y[2] - 0.03 * b.head, z[2] + 0.48 * height[2]])
    size = 0.15 * b.skull
    ball = tube([[*(eye + [0, size * t, 0]), size, size] for t in (0.3, -0.3)], 2, 8)
    ear = ear_of(b, pose, np.array([0.52 * width[1], y[1], z[1] + 0.74 * height[1]]))
    horn = horn_of(b, np.array([0.36 * width[1], y[1] - 0.05 * b.head, z[1] + 0.8 * height[1]]))
    for side, way in zip(SIDES, (np.ones(3), MIRROR), strict=True):
        for name, part in (("eye", ball), ("ear", ear), ("horn", horn)):
            parts[f"{side}_{name}"] = part if side == "left" else part.reflected()
        points[f"{side}_eye"] = eye * way, 1.2 * size
        points[f"{side}_ear_tip"] = ear.vertices[-1] * way, 0.02


def ear_of(b, pose: QuadrupedPose, base) -> Part:
    lean = np.radians(b.spread + np.linspace(0, 1, 4) ** 0.7 * 1.5 * b.droop)
    back = np.sin(np.radians(10 + pose.ears)) * np.cos(lean)
    way = unit(np.stack([np.sin(lean), back, np.cos(lean)], 1))
    line = chain(base - 0.15 * b.ear * way[0], np.full(4, b.ear * 1.15 / 4), way)
    turn = np.radians(30 + 0.6 * b.spread + b.ear_turn)
    wide = b.ear_width * np.array([0.75, 1.0, 0.95, 0.6, 0.14])
    return tube(np.c_[line, wide, 0.25 * wide + 0.004], 9, 8, (np.cos(turn), -np.sin(turn), 0), (0.3, 0.3))


def horn_of(b, base) -> Part:
    """A horn; where the animal has none, a grain inside its skull."""
    length = b.horn if b.horn > 0.035 else 0.01
    lean = np.radians(np.linspace(50, 5, 4))
    way = unit(np.stack([np.sin(lean), np.linspace(0.1, 0.7, 4), np.cos(lean)], 1))
    start = base - (0.03 if length > 0.01 else 0.06) * np.array([0, 0, 1.0])
    size = min(0.2 * b.skull, 0.25 * length) * np.linspace(1, 0.25, 5)
    return tube(np.c_[chain(start, np.full(4, length / 4), way), size, size], 8, 6)


def build_tail(b, pose: QuadrupedPose, trunk: Trunk, parts, points) -> None:
    step = np.linspace(0, 1, 6)
    start = trunk.at(0.47, trunk.back(0.5) - 0.35 * b.rump)
    pitch = np.clip(b.lift + pose.tail, -100, 110) + (b.curl + pose.curl) * step
    way = direction(pitch, 180 - pose.sway * (0.4 + 0.6 * step)) @ trunk.frame(0.5).T
    line = chain(start, np.full(6, b.tail / 6), way)
    thick = np.interp(np.linspace(0, 1, 7), [0, 0.25, 0.55, 0.8, 1],
                      [b.tail_root, 0.55 * b.tail_root + 0.45 * b.tail_tip, b.tail_tip, 0.95 * b.tail_tip,
                       0.4 * b.tail_tip])
    parts["tail"] = tube(np.c_[line, thick, thick], 18, 10)
    points["tail_tip"] = line[-1], 0.6 * b.tail_tip


def build_leg(b, pose: QuadrupedPose, trunk: Trunk, which: str, side: str, number: int, parts, points) -> None:
    hind = which == "hind"
    y = 0.34 if hind else -0.33
    z = trunk.back(y) - (0.9 * b.rump if hind else 1.15 * b.chest)
    x = b.breadth * (0.52 * b.rump if hind else 0.55 * b.chest)
    left = side == "left"
    root = trunk.at(y, z, x if left else -x)
    straight, fractions = np.array(STRAIGHT[hind], float) * b.bend, np.array(FRACTIONS[hind])
    foot_angle = 74 - 40 * b.hoof
    height = b.leg + z - b.foot * np.cos(np.radians(foot_angle))
    lengths = fractions * height / np.cos(np.radians(straight))
    angles = np.radians(np.append(straight, foot_angle) + pose.legs[number])
    out = np.sin(np.radians(pose.splay[number]))
    way = unit(np.stack([np.full(4, out), -np.sin(angles), -np.cos(angles)], 1))
    joints = chain(np.zeros(3), np.append(lengths, b.foot), way)
    frame = trunk.frame(y)
    if not left:
        frame = frame * MIRROR * MIRROR[:, None]
    for name, part in ((which, limb(b, hind, joints)), (f"{which}_foot", foot_of(b, joints, way))):
        placed = part.moved(frame, root if left else root * MIRROR)
        parts[f"{side}_{name}"] = placed if left else placed.reflected()
    depth = (0.5 * b.thigh, 0.4 * b.thigh, 1.1 * b.cannon, 0.9 * b.cannon)
    ends = np.vstack([joints[:3], joints[3] + 0.75 * (joints[4] - joints[3])])
    for name, position, deep in zip(LEGS[which], ends, depth, strict=True):
        position = frame @ position + (root if left else root * MIRROR)
        points[f"{side}_{name}"] = position if left else position * MIRROR, deep


def limb(b, hind: bool, joints) -> Part:
    """A leg without its foot."""
    a, c, d, e = joints[:4]
    thick, thin = b.thigh, b.cannon
    if hind:
        spots = [a + [0, 0.01, 0.35 * thick], a, a + 0.5 * (c - a), c, c + 0.5 * (d - c), d, d + 0.5 * (e - d), e]
        deep = [0.9 * thick, 1.2 * thick, 1.15 * thick, 0.78 * thick, 0.5 * (0.5 * thick + 1.2 * thin), 1.2 * thin,
                0.9 * thin, thin]
    else:
        spots = [a + [0, 0.02, 0.5 * thick], a, a + 0.5 * (c - a), c, c + 0.5 * (d - c), d, d + 0.5 * (e - d), e]
        deep = [0.85 * thick, thick, 0.9 * thick, 0.62 * thick, 0.5 * (0.4 * thick + 1.2 * thin), 1.12 * thin,
                0.88 * thin, thin]
    deep = np.array(deep)
    wide = np.minimum(deep, np.maximum(0.55 * deep, thin))
    return tube(np.c_[np.array(spots), wide, deep], 22, 10, ends=(0.8, 0.6))


def foot_of(b, joints, way) -> Part:
    heel, toe = joints[3], joints[4]
    thin = b.cannon
    wide = thin * np.array([0.95, 1.15 + 0.15 * (1 - b.hoof), 1.2 + 0.1 * (1 - b.hoof)])
    deep = thin * np.array([0.95, 0.95 + 0.1 * b.hoof, 0.7 + 0.45 * b.hoof])
    return tube(np.c_[np.stack([heel, heel + 0.5 * (toe - heel), toe]), wide, deep], 5, 8, ends=(0.8, 0.5))


COATS = np.array([[.45, .29, .17], [.62, .42, .24], [.76, .60, .41], [.85, .76, .60], [.30, .20, .14], [.13, .12, .12],
                  [.90, .88, .84], [.55, .53, .50], [.72, .38, .15], [.38, .36, .35], [.70, .55, .45]])


def drawn_coat(rng: np.random.Generator):
    """Colours (V, 3) of any part, by its name."""
    wild = 0.06
    base, second = drawn_colour(rng, COATS, wild), drawn_colour(rng, COATS, wild)
    pale, dark = base + (1 - base) * rng.uniform(0.3, 0.8), base * rng.uniform(0.15, 0.55)
    belly = [None, pale, dark][rng.choice(3, p=[0.35, 0.5, 0.15])]
    line = rng.uniform(-0.75, -0.1)
    pattern = rng.choice(["plain", "patches", "stripes", "spots", "saddle", "flecks"],
                         p=[0.38, 0.2, 0.13, 0.1, 0.12, 0.07])
    scale = {"stripes": rng.uniform(5, 10), "spots": rng.uniform(8, 14), "flecks": rng.uniform(14, 25)}.get(
        pattern, rng.uniform(1.2, 3))
    stretch = (1.6, 0.35, 0.35) if pattern == "stripes" else (1, 1, 1)
    shapes, hair = clouds(rng, scale, stretch), clouds(rng, rng.uniform(4, 9))
    threshold = rng.uniform(-0.3, 0.8)
    asymmetric = rng.random() < 0.35
    socks, sock_height = [None, pale, dark, second][rng.choice(4, p=[0.4, 0.2, 0.25, 0.15])], rng.uniform(0.3, 0.8)
    muzzle = [None, pale, dark][rng.choice(3, p=[0.4, 0.3, 0.3])]
    face = [None, pale, dark][rng.choice(3, p=[0.7, 0.15, 0.15])]
    tip = [None, pale, dark][rng.choice(3, p=[0.4, 0.25, 0.35])]
    ears = [base, dark, pale, second][rng.choice(4, p=[0.5, 0.3, 0.1, 0.1])]
    mane = dark if rng.random() < 0.25 else None
    nose, horn = np.array([.08, .07, .07]) + rng.uniform(0, .1), np.array([.45, .40, .32])

    def coat(name: str, part: Part) -> np.ndarray:
        along, across, up = part.coordinates.T
        kind = name.split("_", 1)[1] if name.startswith(SIDES) else name
        cloth = part.cloth + 0.37 * len(kind)
        if asymmetric:
            cloth = cloth + (0.8 if name.startswith("right") else 0.0)
        else:
            cloth = np.abs(part.cloth) * [0, 1, 0] + cloth * [1, 0, 1]
        if kind == "eye":
            return np.tile([.04, .03, .03], (len(along), 1))
        if kind == "horn":
            return np.tile(horn, (len(along), 1))
        colours = np.tile(base, (len(along), 1))
        if kind == "ear":
            colours = np.tile(ears, (len(along), 1))
        elif pattern == "saddle" and kind in ("trunk", "neck", "tail"):
            colours = painted(colours, second, soft(up - threshold + 0.3 + 0.2 * shapes(cloth), 0.3))
        elif pattern not in ("plain", "saddle"):
            colours = painted(colours, second, soft(shapes(cloth) - threshold, 0.35))
        if belly is not None and kind in ("trunk", "neck", "head"):
            colours = painted(colours, belly, soft(line - up + 0.1 * hair(cloth), 0.4))
        if mane is not None and kind == "neck":
            colours = painted(colours, mane, soft(up - 0.75, 0.2))
        if socks is not None and kind in ("fore", "hind"):
            colours = painted(colours, socks, soft(along - sock_height, 0.1))
        if kind.endswith("foot"):
            colours = painted(colours, base if socks is None else socks, np.ones(len(along)))
            colours = painted(colours, dark * 0.6, soft(along - 0.55, 0.3) * 0.8)
        if kind == "tail" and tip is not None:
            colours = painted(colours, tip, soft(along - 0.65, 0.1))
        if kind == "head":
            if face is not None:
                colours = painted(colours, face, soft(along - 0.3, 0.2) * soft(up - 0.3, 0.3))
            if muzzle is not None:
                colours = painted(colours, muzzle, soft(along - 0.65, 0.15))
            colours = painted(colours, nose, soft(along - 0.97, 0.03) * soft(up + 0.1, 0.3))
        return colours * (1 + 0.04 * hair(cloth))[:, None]

    return coat


FAMILY = Family(CATEGORY, animal, (-10.0, 35.0))
