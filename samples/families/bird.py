"""The family of birds: proportions between some known kinds, in flight, standing, perched and swimming, plumages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np

from vmr_backend.annotations import Category

from .animal import Animal, Family, assembled, blend_of_kinds
from .coats import clouds, drawn_colour, painted, soft
from .tubes import (
    MIRROR,
    Part,
    chain,
    cross,
    direction,
    leaning,
    sheet,
    smooth_line,
    tangents_of,
    tube,
    turned_left,
    turned_up,
    unit,
)

SIDES = ("left", "right")
WING = ("shoulder", "elbow", "wrist", "wing_tip")
LEG = ("hip", "ankle", "foot")
KEYPOINTS = ("beak_tip", "beak_base", "left_eye", "right_eye", "crown", "neck_middle", "neck_base", "breast", "belly",
             "back", "tail_base", "tail_tip", *(f"{side}_{joint}" for side in SIDES for joint in WING + LEG))
SKELETON = [("beak_tip", "beak_base"), ("beak_base", "crown"), ("left_eye", "crown"), ("right_eye", "crown"),
            ("crown", "neck_middle"), ("neck_middle", "neck_base"), ("neck_base", "back"), ("neck_base", "breast"),
            ("breast", "belly"), ("back", "tail_base"), ("belly", "tail_base"), ("tail_base", "tail_tip"),
            *((f"{side}_{a}", f"{side}_{b}") for side in SIDES for row in (WING, LEG)
              for a, b in zip(row, row[1:], strict=False)),
            *((a, f"{side}_{b}") for side in SIDES for a, b in (("neck_base", "shoulder"), ("belly", "hip")))]
CATEGORY = Category("bird", KEYPOINTS, tuple((KEYPOINTS.index(a), KEYPOINTS.index(b)) for a, b in SKELETON))
HEAD_AND_BODY = """
kind        body breadth neck neck_base neck_top head beak deep wide hook blunt crest tail fan
songbird    .27   .92    .08    .17      .15     .15  .13 .050 .045   5   .0   .00   .55  .09
sparrow     .32   .95    .05    .20      .18     .18  .10 .070 .060   5   .0   .00   .45  .09
jay         .26   .92    .10    .16      .14     .14  .15 .050 .045   8   .0   .12   .65  .12
pigeon      .28  1.00    .16    .15      .11     .10  .10 .035 .035  10   .1   .00   .50  .13
crow        .24   .95    .14    .15      .13     .13  .22 .060 .045  12   .0   .00   .55  .14
gull        .22   .95    .14    .14      .12     .11  .20 .040 .035  12   .1   .00   .35  .11
duck        .26  1.10    .28    .12      .09     .11  .22 .045 .065  -8   .7   .00   .25  .11
goose       .26  1.05    .60    .13      .075    .09  .17 .050 .050   0   .4   .00   .22  .11
swan        .27  1.10   1.05    .13      .060    .085 .17 .045 .050   0   .5   .00   .20  .10
flamingo    .23   .95   1.35    .09      .045    .080 .19 .055 .045  50   .3   .00   .20  .08
heron       .20   .90   1.15    .09      .045    .075 .33 .040 .030   0   .0   .06   .25  .08
stork       .23   .92    .75    .11      .060    .085 .42 .045 .035   0   .0   .00   .25  .10
crane       .22   .90   1.00    .09      .050    .070 .20 .032 .028   0   .0   .00   .25  .11
ibis        .24   .95    .60    .11      .055    .080 .42 .035 .030  45   .1   .00   .25  .09
cormorant   .22   .95    .55    .12      .070    .080 .18 .035 .030  10   .0   .00   .45  .09
pelican     .26  1.00    .60    .12      .070    .095 .70 .060 .050   8   .1   .00   .20  .10
eagle       .26  1.00    .16    .17      .14     .13  .15 .065 .050  60   .0   .00   .45  .17
falcon      .22   .95    .08    .16      .14     .13  .09 .050 .045  60   .0   .00   .50  .09
parrot      .25   .95    .12    .16      .14     .15  .13 .100 .065  85   .0   .08   .85  .10
chicken     .32   .95    .30    .18      .08     .095 .11 .045 .035  25   .0   .05   .50  .12
pheasant    .25   .90    .24    .14      .08     .09  .11 .045 .035  25   .0   .00  1.30  .07
owl         .32  1.05    .04    .25      .24     .24  .07 .050 .040  70   .0   .00   .35  .13
kingfisher  .31   .95    .05    .20      .19     .20  .40 .060 .045   0   .0   .10   .35  .09
ostrich     .34  1.00    .95    .11      .050    .075 .12 .035 .045   0   .4   .00   .25  .14
"""
"""Lengths in units of the body's, half extents where they are of a thickness; breadth: of the body, width to height;
hook: degrees by which the beak bends down; blunt: how much of its width the beak keeps towards its tip."""
LIMBS = """
kind        leg  thick toes web wing chord round fingers
songbird    .45  .018  .16  .25  .95  .45   .5     .2
sparrow     .38  .018  .15  .25  .80  .42   .6     .1
jay         .45  .020  .16  .25  .95  .48   .7     .4
pigeon      .35  .025  .13  .30 1.05  .42   .3     .2
crow        .50  .028  .17  .20 1.20  .48   .6     .8
gull        .38  .022  .12  .50 1.60  .36   .0     .1
duck        .26  .024  .15  .60  .90  .34   .1     .1
goose       .40  .026  .16  .60 1.15  .40   .4     .4
swan        .34  .028  .17  .60 1.20  .42   .4     .4
flamingo   1.60  .024  .14  .50 1.25  .46   .5     .5
heron      1.10  .022  .20  .10 1.40  .55   .6     .5
stork      1.25  .026  .17  .20 1.50  .55   .7     .9
crane      1.30  .024  .17  .15 1.45  .52   .7     .8
ibis        .80  .024  .16  .15 1.25  .48   .5     .5
cormorant   .30  .026  .15  .60 1.15  .38   .5     .4
pelican     .36  .030  .17  .60 1.70  .48   .6     .8
eagle       .42  .040  .18  .15 1.50  .60   .8    1.0
falcon      .32  .028  .14  .15 1.30  .38   .1     .0
parrot      .30  .026  .14  .15 1.00  .42   .3     .3
chicken     .58  .034  .22  .10  .70  .45   .8     .4
pheasant    .50  .030  .20  .10  .75  .42   .8     .4
owl         .36  .038  .16  .20 1.20  .55   .8     .5
kingfisher  .25  .020  .12  .20  .90  .42   .5     .1
ostrich    1.55  .050  .20  .20  .55  .40   .9     .2
"""
"""Lengths in units of the body's; leg: from hip to foot; web: width of the foot to its length; wing: from shoulder to
tip; chord: its width at the body; round: of its tip; fingers: how far the feathers there stand apart."""


STANDING, PERCHED, TUCKED, TRAILING, HANGING = ((48, -26, 8), (62, -48, 38), (55, -84, 84), (-75, -88, -90),
                                                (45, -30, 20))
"""Degrees forward from straight down of a thigh, a shank and a foot."""


@dataclass(frozen=True)
class BirdPose:
    """Degrees, but for lengths; without any, a bird that stands upright with folded wings.

    pitch, bank   of the body: front up, left side down
    neck          (4,) pitch of the neck from its base to its top; head, turn, tilt: of the head
    legs          (2, 3) thigh, shank and foot forward from straight down, left and right
    legs_follow   the legs turn with the body, as in flight
    toes          (2,) pitch of the toes
    wings         for each side None where folded, else (3, 2): arm, forearm and hand raised and swept back
    twist         (2,) of the wings, front edge up
    tail, spread  tail raised; how far its feathers are fanned out, as a factor
    water         half heights of the body below its axis where the water cuts it off; None on land and in the air
    """

    pitch: float = 12.0
    bank: float = 0.0
    neck: np.ndarray = field(default_factory=lambda: np.array([30, 90, 100, 50]))
    head: float = -8.0
    turn: float = 0.0
    tilt: float = 0.0
    legs: np.ndarray = field(default_factory=lambda: np.array([STANDING, STANDING]))
    legs_follow: bool = False
    toes: np.ndarray = field(default_factory=lambda: np.zeros(2))
    wings: tuple = (None, None)
    twist: np.ndarray = field(default_factory=lambda: np.zeros(2))
    tail: float = 0.0
    spread: float = 1.0
    water: float | None = None


def animal(rng: np.random.Generator) -> Animal:
    """A bird of its own proportions, pose and plumage."""
    body = drawn_body(rng)
    return built(body, drawn_pose(rng, body), drawn_plumage(rng))


def drawn_body(rng: np.random.Generator) -> dict[str, float]:
    """Proportions by the names in the tables."""
    return blend_of_kinds([HEAD_AND_BODY, LIMBS], rng)


def drawn_pose(rng: np.random.Generator, body: dict[str, float]) -> BirdPose:
    """In half of all cases in flight, else standing, walking, perched, feeding, swimming, or with raised wings."""
    way = rng.choice(["flight", "landing", "stand", "perch", "feed", "swim", "display"],
                     p=[0.44, 0.06, 0.19, 0.1, 0.06, 0.11, 0.04])
    flies = way in ("flight", "landing")
    pitch = {"flight": rng.normal(2, 8), "landing": rng.uniform(15, 60), "stand": rng.normal(14, 12),
             "perch": rng.uniform(15, 70), "feed": rng.normal(-8, 10), "swim": rng.normal(3, 4),
             "display": rng.uniform(5, 50)}[way]
    neck, head = drawn_neck(rng, way, pitch)
    legs, toes = drawn_legs(rng, way, body["leg"])
    wings = drawn_wings(rng, way) if flies or way == "display" else (None, None)
    turn = rng.normal(0, 10) if flies or rng.random() < 0.6 else rng.uniform(-100, 100)
    return BirdPose(pitch, rng.normal(0, 14) if flies else rng.normal(0, 3), neck, head, turn, rng.normal(0, 6), legs,
                flies, toes, wings, rng.normal(4, 9) + rng.normal(0, 3, 2), rng.normal(0, 10),
                rng.uniform(0.8, 2.6) if flies else rng.uniform(0.7, 1.2),
                rng.uniform(0.1, 0.6) if way == "swim" else None)


def drawn_neck(rng, way: str, pitch: float) -> tuple[np.ndarray, float]:
    """Pitch of the neck from base to top (4,), and of the head."""
    head = rng.normal(-6, 9)
    if way == "feed":
        return np.array([10, -35, -75, -95]) + rng.normal(0, 14, 4), rng.uniform(-100, -45)
    if way == "flight":
        if rng.random() < 0.15:
            return np.array([70, 165, 120, -25]) + rng.normal(0, 12, 4), head
        return 0.7 * pitch + rng.normal(3, 10) + rng.normal(0, 9, 4), 0.4 * pitch + head
    bend = rng.uniform(0, 1)
    if rng.random() < 0.2:
        return np.array([50, 165, 150, -10]) + rng.normal(0, 14, 4), head
    carriage = np.array([30, 75 + 45 * bend, 95 + 15 * bend, 85 - 60 * bend])
    return carriage + rng.normal(-5, 12) + rng.normal(0, 8, 4), head - 12 * bend


def drawn_legs(rng, way: str, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles of both legs (2, 3) and pitch of the toes (2,)."""
    if way == "flight":
        trailing = rng.random() < np.clip(length, 0.35, 0.85)
        base = TRAILING if trailing else TUCKED
        return np.array(base) + rng.normal(0, 5, 3) + rng.normal(0, 3, (2, 3)), rng.normal(170, 8, 2)
    if way == "landing":
        swing = rng.uniform(-40, 40)
        return np.array(HANGING) + swing + rng.normal(0, 10, (2, 3)), rng.uniform(-60, 10, 2)
    if way == "swim":
        return np.array(TUCKED) + rng.normal(0, 5, (2, 3)), rng.normal(0, 8, 2)
    legs = np.array(PERCHED if way == "perch" else STANDING) + rng.normal(0, 4, (2, 3))
    if way == "stand" and rng.random() < 0.55:
        at = rng.uniform(0, 2 * np.pi)
        for side, late in enumerate((0, np.pi)):
            forward, lifted = rng.uniform(12, 30) * np.sin(at + late), max(np.cos(at + late), 0.0)
            legs[side] += np.array([0.8, 1, 1]) * forward + np.array([20, 10, -45]) * lifted * rng.uniform(0.2, 1)
    elif way == "stand" and rng.random() < 0.12:
        legs[rng.integers(2)] = TUCKED
    return legs, rng.normal(-3, 6, 2)


def drawn_wings(rng, way: str) -> tuple[np.ndarray, np.ndarray]:
    """Both wings at some moment of a flap or a glide, nearly alike."""
    at = rng.uniform(0, 2 * np.pi)
    amplitude = rng.uniform(25, 60) if rng.random() < 0.8 else rng.uniform(0, 10)
    raised = rng.uniform(2, 14) + np.array([amplitude * np.sin(at), 1.05 * amplitude * np.sin(at - 0.35),
                                            1.15 * amplitude * np.sin(at - 0.85)])
    if way != "flight":
        raised += rng.uniform(0, 35)
    drawn_in = max(np.cos(at), 0.0) * rng.uniform(0, 1) + (rng.uniform(0, 1.2) if rng.random() < 0.25 else 0)
    swept = np.array([8, -14, 12]) + drawn_in * np.array([22, -28, 42]) + rng.normal(0, 6, 3)
    both = np.stack([np.clip(raised, -65, 82), swept], 1)
    return tuple(both + rng.normal(0, 3.5, (3, 2)) for _ in SIDES)


def built(body: dict[str, float], pose: BirdPose, plumage) -> Animal:
    """The bird of these proportions in this pose."""
    b = SimpleNamespace(**body)
    parts: dict[str, Part] = {}
    points: dict[str, tuple] = {}
    frame = turned_up(pose.pitch) @ leaning(pose.bank)
    build_body_and_tail(b, pose, parts, points)
    for side in range(2):
        build_wing(b, pose, side, parts, points)
    parts = {name: part.moved(frame, np.zeros(3)) for name, part in parts.items()}
    points = {name: (frame @ position, depth) for name, (position, depth) in points.items()}
    build_neck_and_head(b, pose, frame, parts, points)
    for side in range(2):
        build_leg(b, pose, side, frame, parts, points)
    if pose.water is not None:
        surface = -pose.water * b.body
        parts = {name: cut_off(part, surface) for name, part in parts.items()}
        points = {name: (np.maximum(position, [-9, -9, surface]), depth) for name, (position, depth) in points.items()}
    longest = max(1 + 0.8 * b.tail + 0.8 * b.neck + 1.5 * b.head + 0.7 * b.beak, b.leg + b.body + 0.9 * b.neck + b.head)
    return assembled(parts, plumage, points, KEYPOINTS, 1 / longest, np.zeros(3))


def cut_off(part: Part, surface: float) -> Part:
    """The part with nothing below a height: what is there lies flat on it."""
    return replace(part, vertices=np.maximum(part.vertices, [-9, -9, surface]))


def half_height(b, y) -> np.ndarray:
    return b.body * np.interp(y, [-0.5, -0.44, -0.36, -0.2, 0.0, 0.25, 0.42, 0.5],
                              [0.45, 0.66, 0.85, 1.0, 0.98, 0.7, 0.42, 0.28])


def axis(b, y) -> np.ndarray:
    """Height of the body's axis: towards the tail it rises, so that the back is the flatter side."""
    return 0.4 * (b.body - half_height(b, y)) * np.clip(1.2 * np.asarray(y) + 0.4, 0, 1)


def build_body_and_tail(b, pose: BirdPose, parts, points) -> None:
    y = np.linspace(0.5, -0.5, 14)
    height = half_height(b, y)
    parts["body"] = tube(np.stack([0 * y, y, axis(b, y), b.breadth * height, height], 1), 30, 20, ends=(1.0, 0.9))
    points["breast"] = np.array([0, -0.45, -0.45 * b.body]), 0.05
    points["belly"] = np.array([0, 0.05, axis(b, 0.05) - 0.93 * half_height(b, 0.05)]), 0.03
    points["back"] = np.array([0, -0.05, axis(b, -0.05) + 0.93 * half_height(b, -0.05)]), 0.03
    points["neck_base"] = np.array([0, -0.4, axis(b, -0.4) + 0.75 * half_height(b, -0.4)]), 0.06
    points["tail_base"] = np.array([0, 0.5, axis(b, 0.5)]), 0.06
    step = np.linspace(0, 1, 9)
    way = direction(pose.tail - 4 * step, 180)
    line = chain([0, 0.40, axis(b, 0.45)], np.full(8, (b.tail + 0.1) / 8), way[:-1])
    wide = smooth_line(np.array([[0.5 * half_height(b, 0.4)], [0.7 * b.fan * pose.spread], [b.fan * pose.spread],
                                 [0.85 * b.fan * pose.spread]]), 9)
    thick = np.interp(step, [0, 0.3, 1], [0.5 * half_height(b, 0.45), 0.035, 0.008])[:, None]
    up = way[:, [0, 2, 1]] * [0, -1, 1]
    # The tail runs backward: its sections go round the other way, from the right to the left.
    parts["tail"] = sheet(line, wide * [-1.0, 0, 0], up * thick, np.stack([line[0], line[-1] + 0.1 * b.tail * way[-1]]),
                          12)
    points["tail_tip"] = line[-1] + 0.05 * b.tail * way[-1], 0.02


def build_wing(b, pose: BirdPose, side: int, parts, points) -> None:
    height = half_height(b, -0.25)
    shoulder = np.array([0.78 * b.breadth * height, -0.25, axis(b, -0.25) + 0.45 * height])
    angles = pose.wings[side]
    if angles is None:
        part, joints = folded_wing(b, shoulder)
    else:
        part, joints = spread_wing(b, shoulder, np.asarray(angles), pose.twist[side])
    left = side == 0
    parts[f"{SIDES[side]}_wing"] = part if left else part.reflected()
    for name, position in zip(WING, joints, strict=True):
        points[f"{SIDES[side]}_{name}"] = position if left else position * MIRROR, 0.05


def spread_wing(b, shoulder, angles, twist: float) -> tuple[Part, np.ndarray]:
    """The left wing away from the body, and its joints (4, 3)."""
    raised, swept = np.radians(angles.T)
    way = np.stack([np.cos(raised) * np.cos(swept), np.sin(swept), np.sin(raised) * np.cos(swept)], 1)
    joints = chain(shoulder, b.wing * np.array([0.25, 0.30, 0.45]), way)
    _, elbow, wrist, tip = joints
    back = turned_up(twist) @ np.array([0, 1.0, 0])
    outward = unit(back + 0.45 * way[2])
    lead = np.array([shoulder - 0.12 * b.chord * back - 0.08 * way[0], 0.55 * shoulder + 0.45 * wrist,
                     wrist - 0.05 * b.chord * back, wrist + 0.55 * (tip - wrist) - 0.04 * b.chord * back, tip])
    trail = np.array([shoulder + b.chord * back - 0.08 * way[0], elbow + 0.85 * b.chord * back,
                      wrist + 0.85 * b.chord * unit(back + 0.2 * way[2]),
                      wrist + 0.55 * (tip - wrist) + (0.5 + 0.25 * b.round) * b.chord * outward,
                      tip + (0.06 + 0.3 * b.round) * b.chord * outward])
    return wing_between(lead, trail, b.chord, b.fingers), joints


def folded_wing(b, shoulder) -> tuple[Part, np.ndarray]:
    """The left wing laid on the flank, and its joints (4, 3)."""
    y = np.array([-0.37, -0.22, 0.05, 0.3, 0.42])
    low, high = np.radians([[8, -30, -32, -12, 8], [24, 54, 66, 70, 62]])
    height = half_height(b, y)
    edges = [np.stack([1.05 * b.breadth * height * np.cos(a), y, axis(b, y) + 1.05 * height * np.sin(a)], 1)
             for a in (low, high)]
    over = 0.5 + 0.25 * (b.wing - 0.9) + 0.1 * b.tail
    tip = np.array([0.25 * b.breadth * half_height(b, 0.5), over, axis(b, 0.5) + 0.5 * half_height(b, 0.5)])
    lead, trail = (np.vstack([edge, tip + [0, 0, shift]]) for edge, shift in zip(edges, (-0.03, 0.03), strict=True))
    outward = b.breadth * half_height(b, np.array([0.18, -0.32])) * 1.05
    joints = np.array([shoulder, [outward[0], 0.18, axis(b, 0.18)], [outward[1], -0.32, axis(b, -0.32)], tip])
    joints[1:3, 2] += [0.25 * b.body, -0.05 * b.body]
    joints[1:3, 0] *= [0.9, 0.98]
    return wing_between(lead, trail, 0.5 * b.chord, 0.0, sag=0.48), joints


def wing_between(lead, trail, chord: float, fingers: float, sag: float = 0.12) -> Part:
    """A thin, arched part between a front and a back edge (N, 3), both from the body outward.

    fingers  how deep its outer back edge is notched
    sag      by how much of their width the sections are arched
    """
    rings = 22
    front, rear = smooth_line(lead, rings), smooth_line(trail, rings)
    notched = fingers * 0.28 * (np.arange(rings) % 2) * np.linspace(-0.9, 1.3, rings).clip(0, 1)
    rear = rear + notched[:, None] * (front - rear)
    centre, across = (front + rear) / 2, (rear - front) / 2
    span = tangents_of(centre)
    normal = unit(cross(span, across))
    thick = chord * np.interp(np.linspace(0, 1, rings), [0, 0.3, 1], [0.075, 0.05, 0.015])[:, None]
    wide = np.linalg.norm(across, axis=1, keepdims=True)
    tips = np.stack([centre[0] - 0.02 * span[0], centre[-1] + 0.05 * chord * span[-1]])
    return sheet(centre + sag * wide * normal, across, normal * np.minimum(thick, wide), tips, 12,
                 bow=-sag * wide * normal)


def build_neck_and_head(b, pose: BirdPose, frame, parts, points) -> None:
    step = np.linspace(0, 1, 9)
    pitch = smooth_line(pose.neck[:, None], 9)[:, 0]
    calm = np.clip((b.neck - 0.1) / 0.5, 0.25, 1)
    pitch = calm * pitch + (1 - calm) * (0.5 * pose.pitch + 30)
    way = direction(pitch, 0.6 * pose.turn * step)
    start = frame @ np.array([0, -0.36, axis(b, -0.36) + 0.22 * b.body])
    line = chain(start, np.full(8, (b.neck + 0.08) / 8), way[1:])
    line = np.vstack([start - 0.14 * unit(way[0] + frame @ [0, -0.6, 0]), line])
    thick = np.interp(np.linspace(0, 1, 10), [0, 0.12, 0.4, 1],
                      [1.25 * b.neck_base, b.neck_base, 0.35 * b.neck_base + 0.65 * b.neck_top, b.neck_top])
    head = turned_left(pose.turn) @ turned_up(pose.head) @ leaning(pose.tilt)
    parts["neck"] = tube(np.c_[line, 0.95 * thick, thick], 24, 12, np.linspace(frame[:, 0], head[:, 0], 10))
    points["neck_middle"] = line[5], 1.0 * thick[5]
    head_parts: dict[str, Part] = {}
    local: dict[str, tuple] = {}
    build_head(b, head_parts, local)
    for name, part in head_parts.items():
        parts[name] = part.moved(head, line[-1])
    for name, (position, depth) in local.items():
        points[name] = head @ position + line[-1], depth


def build_head(b, parts, points) -> None:
    """The head in its own space: forward -y, the neck's end at the origin."""
    size = b.head
    y = size * np.array([0.55, 0.2, -0.3, -0.8, -1.15])
    height = size * np.array([0.6, 0.95, 1.0, 0.8, 0.5])
    z = size * np.array([0.1, 0.15, 0.2, 0.15, 0.05])
    parts["head"] = tube(np.stack([0 * y, y, z, 0.88 * height, height], 1), 12, 14, ends=(0.9, 0.7))
    bent = -b.hook * np.linspace(0, 1.3, 5) ** 1.5 - 5
    line = chain([0, -1.05 * size, 0.05 * size], np.full(5, (b.beak + 0.15 * size) / 5), direction(bent))
    narrow = np.linspace(1, 0, 6) ** 0.8 * 0.92 + 0.08
    deep, wide = b.deep * narrow, b.wide * (narrow + b.blunt * (1 - narrow) * np.array([1, 1, 1, 1.2, 1.2, 0.8]))
    parts["beak"] = tube(np.c_[line, np.minimum(wide, 0.7 * size), np.minimum(deep, 0.7 * size)], 12, 8)
    points["beak_tip"], points["beak_base"] = (line[-1], 0.02), (line[1], 0.9 * b.deep)
    points["crown"] = np.array([0, -0.2 * size, 1.12 * size]), 0.02
    crest = b.crest if b.crest > 0.04 else 0.001
    rise = chain([0, -0.1 * size, 0.75 * size], np.full(3, (crest + 0.2 * size) / 3), direction([95, 115, 140]))
    parts["crest"] = tube(np.c_[rise, np.array([[0.25, 0.5], [0.2, 0.45], [0.12, 0.3], [0.05, 0.1]]) * size], 7, 8)
    eye = np.array([0.70 * size, -0.55 * size, 0.42 * size])
    ball = tube([[*(eye + [0, 0.17 * size * t, 0]), 0.17 * size, 0.17 * size] for t in (0.3, -0.3)], 2, 8)
    for side, way in zip(SIDES, (np.ones(3), MIRROR), strict=True):
        parts[f"{side}_eye"] = ball if side == "left" else ball.reflected()
        points[f"{side}_eye"] = eye * way, 0.25 * size


def build_leg(b, pose: BirdPose, side: int, frame, parts, points) -> None:
    """Thigh, shank and foot; standing they point down whatever the body's pitch, in flight they turn with it."""
    left = side == 0
    way_of_side = np.ones(3) if left else MIRROR
    root = frame @ (np.array([0.5 * b.breadth * b.body, 0.05, axis(b, 0.05) - 0.4 * b.body]) * way_of_side)
    angles = np.radians(pose.legs[side])
    way = np.stack([np.full(3, 0.03), -np.sin(angles), -np.cos(angles)], 1)
    thigh = 0.12 + 0.12 * b.leg
    rest = max(b.leg - 0.7 * thigh, 0.1)
    joints = chain(np.zeros(3), [thigh, 0.52 * rest, 0.5 * rest], way)
    hip, knee, ankle, foot = joints
    feather = min(0.45 * b.body, 0.13 + 0.02 * b.leg)
    spots = [hip - 0.3 * feather * way[0], hip, knee, 0.5 * (knee + ankle), ankle, 0.5 * (ankle + foot), foot]
    thick = np.array([0.9 * feather, feather, 0.75 * feather, 0.35 * feather + 0.4 * b.thick, 1.25 * b.thick, b.thick,
                      b.thick])
    shank = tube(np.c_[np.array(spots), 0.75 * thick.clip(1.3 * b.thick, None), thick], 20, 8)
    toe_way = direction(pose.toes[side])
    toes = np.array([foot - 0.3 * b.toes * toe_way, foot, foot + 0.5 * b.toes * toe_way, foot + b.toes * toe_way])
    wide = b.toes * np.array([0.12, 0.2, 0.2 + 0.8 * b.web, 0.16 + 0.8 * b.web]) / 2 + 0.3 * b.thick
    across = [1.0, 0, 0]
    paddle = tube(np.c_[toes, wide, np.full(4, 0.7 * b.thick)], 8, 8, across, (0.8, 0.8))
    turn = (frame if left else frame * MIRROR * MIRROR[:, None]) if pose.legs_follow else np.eye(3)
    for name, part in (("leg", shank), ("toes", paddle)):
        placed = part.moved(turn, root * way_of_side)
        parts[f"{SIDES[side]}_{name}"] = placed if left else placed.reflected()
    for name, position, depth in (("hip", hip, feather), ("ankle", ankle, 1.5 * b.thick),
                                  ("foot", foot, 1.5 * b.thick)):
        points[f"{SIDES[side]}_{name}"] = (turn @ position + root * way_of_side) * way_of_side, depth


PLUMAGES = np.array([[.90, .89, .86], [.95, .94, .92], [.12, .12, .13], [.20, .19, .20], [.45, .45, .47],
                     [.60, .60, .62], [.45, .33, .22], [.33, .24, .16], [.62, .48, .33], [.93, .55, .55],
                     [.88, .38, .42], [.20, .35, .65], [.25, .50, .25], [.80, .20, .15], [.92, .78, .20],
                     [.55, .40, .25], [.75, .68, .55]])
BARE = np.array([[.15, .14, .14], [.90, .55, .15], [.85, .35, .15], [.60, .55, .45], [.90, .75, .25], [.35, .33, .32],
                 [.90, .50, .50]])


def drawn_plumage(rng: np.random.Generator):
    """Colours (V, 3) of any part, by its name."""
    base, second, third = (drawn_colour(rng, PLUMAGES, 0.06) for _ in range(3))
    beak, legs = drawn_colour(rng, BARE, 0.03), drawn_colour(rng, BARE, 0.03)
    dark, pale = base * rng.uniform(0.2, 0.6), base + (1 - base) * rng.uniform(0.4, 0.9)

    def one_of(*odds):
        """Some colour or, where the first of the odds wins, none."""
        return [None, second, third, dark, pale][rng.choice(5, p=np.array(odds) / sum(odds))]

    belly, back, cap = one_of(4, 2, 1, 0.5, 3), one_of(5, 2, 1, 2, 1), one_of(5, 2, 2, 2, 1)
    neck, tail, wing = one_of(6, 2, 1, 1, 1), one_of(5, 1, 1, 2, 1.5), one_of(5, 2, 1, 2, 1)
    quills, bar, under = one_of(4, 1, 0.5, 5, 0.5), one_of(8, 1, 1, 1, 2), one_of(5, 1, 0.5, 1, 3)
    line, neck_from, quills_from = rng.uniform(-0.5, 0.4), rng.uniform(0, 0.8), rng.uniform(0.0, 0.7)
    along_tips = rng.random() < 0.5
    shapes, down = clouds(rng, rng.uniform(2, 9)), clouds(rng, 8)
    mottled = rng.uniform(-0.2, 1.0) if rng.random() < 0.3 else None
    asymmetric = rng.random() < 0.33
    beak_tip = np.array([.1, .1, .1]) if rng.random() < 0.3 else None
    ring = rng.uniform(0.05, 0.95, 3) if rng.random() < 0.15 else None

    def coat(name: str, part: Part) -> np.ndarray:
        along, across, up = part.coordinates.T
        kind = name.split("_", 1)[1] if name.startswith(SIDES) else name
        colours = np.tile(base, (len(along), 1))
        cloth = part.cloth + 0.41 * len(kind)
        if asymmetric:
            cloth = cloth + (0.8 if name.startswith("right") else 0.0)
        elif kind != "wing":
            cloth = np.abs(part.cloth) * [0, 1, 0] + cloth * [1, 0, 1]

        def paint(colour, amount):
            nonlocal colours
            if colour is not None:
                colours = painted(colours, colour, amount)

        if kind in ("eye", "beak", "toes"):
            bare = {"eye": np.array([.04, .04, .04]), "beak": beak, "toes": legs}[kind]
            colours = np.tile(bare, (len(along), 1))
            if kind == "beak":
                paint(beak_tip, soft(along - 0.7, 0.15))
            return colours
        if kind == "wing":
            paint(wing, np.ones(len(along)))
            paint(bar, soft(0.08 - np.abs(across - 0.1), 0.1))
            edge = along + 0.25 * across - 0.9 + 0.5 * quills_from if along_tips else across - quills_from
            paint(quills, soft(edge, 0.25) * soft(along - 0.2, 0.2))
            paint(under, soft(-up - 0.1, 0.2) * 0.8 * soft(quills_from - across + 0.2, 0.4))
        if mottled is not None:
            paint(second, soft(shapes(cloth) - mottled, 0.5))
        if kind in ("body", "neck"):
            paint(back, soft(up - 0.2 + 0.1 * down(cloth), 0.5))
            paint(belly, soft(line - up + 0.1 * down(cloth), 0.4))
        if kind == "neck":
            paint(neck, soft(along - neck_from, 0.12))
            paint(ring, soft(0.06 - np.abs(along - neck_from), 0.04))
        if kind == "head":
            paint(neck, np.ones(len(along)))
        if kind in ("head", "crest"):
            paint(cap, soft(up - 0.2, 0.3) if kind == "head" else np.ones(len(along)))
        if kind == "tail":
            paint(tail, soft(along - 0.2, 0.2))
        if kind == "leg":
            paint(belly, np.ones(len(along)))
            paint(legs, soft(along - 0.42, 0.1))
        return colours * (1 + 0.04 * down(cloth))[:, None]

    return coat


FAMILY = Family(CATEGORY, animal, (-20.0, 40.0))
