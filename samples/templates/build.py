"""The quadruped's template from the family's bodies: surface, proportions, skin weights, poses, keypoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from samples.families.animal import _columns
from samples.families.quadruped import KEYPOINTS, LIMBS, TRUNK_AND_HEAD, drawn_body, drawn_pose, parts_of
from vmr_backend.templates.template import Template, TemplateCard

from .anatomy import BONES, HEAD, MIRROR, PARENTS, SPINE, TAIL, body_at_rest, frames_of, markers_of, turns_of, twin_of
from .skinning import landmark_weights, packed, skin_weights
from .surface import BLENDED, Remesher, Ties, Union, edge_lengths, meshed_half, mirror_image, whole
from .unwrapping import islands, unwrapped

COMPONENTS = 20
LICENCE = "GPL-3.0-or-later"
SPREAD = 3.0
"""Degrees, of each component of a bone's turn, beside what the family's poses have."""
TWINS = np.array([BONES.index(twin_of(name)) for name in BONES])
MIRRORED_TURN = np.array([1.0, -1.0, -1.0])
"""The mirror image of an axis-angle along a bone's own axes, along those of its twin."""
LIMITS = {"spine.004": ((-60, 60), (-40, 40), (-40, 40)), "spine": ((-50, 50), (-20, 20), (-30, 30)),
          "spine.009": ((-60, 125), (-45, 45), (-60, 60)), "spine.010": ((-60, 75), (-45, 45), (-60, 60)),
          "head": ((-95, 75), (-60, 60), (-60, 60)),
          "jaw": ((-4, 30), (-4, 4), (-6, 6)), "ear": ((-70, 50), (-60, 60), (-50, 50)),
          "tail": ((-100, 120), (-40, 40), (-70, 70)), "shoulder": ((-25, 25), (-12, 12), (-15, 15)),
          "front_thigh": ((-75, 60), (-25, 25), (-35, 35)), "front_shin": ((-125, 35), (-15, 15), (-15, 15)),
          "front_foot": ((-30, 145), (-15, 15), (-15, 15)), "front_toe": ((-75, 120), (-15, 15), (-20, 20)),
          "thigh": ((-90, 65), (-30, 30), (-40, 40)), "shin": ((-35, 125), (-15, 15), (-15, 15)),
          "foot": ((-140, 35), (-15, 15), (-15, 15)), "toe": ((-75, 120), (-15, 15), (-20, 20))}
"""Degrees about a bone's x, y and z axes at rest: bend, twist and swing to the side, of the left side. Elbow, knee,
hock and wrist are hinges."""


def kind_of_bone(name: str) -> str:
    for kind, names in (("head", (HEAD,)), ("tail", TAIL), ("spine", SPINE[1:])):
        if name in names:
            return kind
    return name.removesuffix(".L").removesuffix(".R")


def kinds() -> dict[str, dict[str, float]]:
    """The family's kinds, as bodies by name."""
    tables = TRUNK_AND_HEAD, LIMBS
    heads, rows = zip(*(_columns(table) for table in tables), strict=True)
    names = [line.split()[0] for line in LIMBS.strip().splitlines()[1:]]
    values = np.hstack(rows)
    return {name: dict(zip(sum(heads, []), row.tolist(), strict=True)) | {"humps": 1, "ear_turn": 0.0}
            for name, row in zip(names, values, strict=True)}


def mean_kind() -> dict[str, float]:
    bodies = list(kinds().values())
    return {name: float(np.mean([body[name] for body in bodies])) for name in bodies[0]} | {"humps": 1}


@dataclass(frozen=True)
class Draft:
    """The surface of any body, with common faces."""

    ties: Ties
    faces: np.ndarray
    origin: np.ndarray
    sign: np.ndarray
    membership: dict[str, np.ndarray]

    def on(self, body: dict[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Vertices (V, 3), heads and tails (B, 3), keypoints (K, 3) of a body at rest."""
        parts, points, heads, tails = body_at_rest(body)
        half = self.ties.on(parts)
        vertices = half[self.origin] * np.c_[self.sign, np.ones((len(self.sign), 2))]
        keypoints = np.array([points[name][0] for name in KEYPOINTS])
        return vertices, *((x + x[TWINS] * MIRROR) / 2 for x in (heads, tails)), keypoints


def drafted(voxel: float = 0.007, rounds: int = 14) -> Draft:
    parts = body_at_rest(mean_kind())[0]
    union = Union(parts)
    half, faces = Remesher(*meshed_half(union, voxel), lambda points: edge_lengths(parts, points),
                           union.projected).run(rounds)
    ties = Ties(parts, half, faces)
    faces, origin, sign = whole(half, faces)
    return Draft(ties, faces, origin, sign, {name: ties.weights[origin, k] for k, name in enumerate(BLENDED)})


def drawn_shapes(draft: Draft, count: int, seed: int, progress: Callable[[str], None]) -> list[tuple]:
    """Surfaces of `count` bodies of the family, and of its kinds, thrice."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        found.append(draft.on(drawn_body(rng)))
        if number % 20 == 19:
            progress(f"{number + 1} of {count} bodies")
    return found + [draft.on(body) for body in kinds().values()] * 3


def drawn_turns(count: int, seed: int) -> np.ndarray:
    """How the bones are turned (N, B, 3) in poses of the family, and in their mirror images."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        body = drawn_body(rng)
        pose = drawn_pose(rng, body)
        parts, _, heads, tails = body_at_rest(body)
        found.append(turns_of(markers_of(parts), markers_of(parts_of(body, pose)[0]), frames_of(heads, tails)))
    turns = np.array(found)
    return np.concatenate([turns, turns[:, TWINS] * MIRRORED_TURN])


def limits() -> np.ndarray:
    """(B, 3, 2) radians."""
    found = np.radians([LIMITS[kind_of_bone(name)] for name in BONES])
    for number, name in enumerate(BONES):
        if name.endswith(".R"):
            found[number, 1:] = -found[number, 1:, ::-1]
    return found


def landmarks(shapes: list[tuple], draft: Draft) -> np.ndarray:
    """Weights (L, V) of the category's keypoints."""
    vertices, positions = np.array([s[0] for s in shapes]), np.array([s[3] for s in shapes])
    image = mirror_image(vertices.mean(0))
    found = np.zeros((len(KEYPOINTS), vertices.shape[1]))
    for number, name in enumerate(KEYPOINTS):
        if name.startswith("right_"):
            found[number] = found[KEYPOINTS.index("left_" + name[6:])][image]
            continue
        among = draft.sign > 0 if name.startswith("left_") else np.ones(len(draft.sign), bool)
        if name.startswith("left_"):
            part = "head" if name.endswith("eye") else "left_ear" if name.endswith("ear_tip") else \
                "left_fore" if name[5:] in ("shoulder", "elbow", "wrist", "fore_paw") else "left_hind"
            held = draft.membership[part] + (draft.membership[part + "_foot"] if part + "_foot" in draft.membership
                                             else 0) + 0.5 * draft.membership["trunk"]
            among &= held > 0.25
        deep = name.removeprefix("left_") in ("shoulder", "elbow", "hip", "knee")
        weights = landmark_weights(positions[:, number], vertices, among, 90 if deep else 40)
        found[number] = weights if name.startswith("left_") else (weights + weights[image]) / 2
    return found


def made(blender_python: str, bodies: int, poses: int, seed: int, progress: Callable[[str], None]
         ) -> tuple[Template, list[tuple]]:
    """The quadruped's template, and the shapes that its proportions are taken from."""
    draft = drafted()
    progress(f"a surface of {len(draft.sign)} vertices")
    shapes = drawn_shapes(draft, bodies, seed, progress)
    return template_of(draft, shapes, drawn_turns(poses, seed + 1), blender_python, progress), shapes


def template_of(draft: Draft, shapes: list[tuple], turns: np.ndarray, blender_python: str,
                progress: Callable[[str], None]) -> Template:
    """The template of some bodies and poses."""
    stacked = np.array([np.concatenate([s[0], s[1], s[2]]) for s in shapes])
    count = len(draft.sign)
    mean = stacked.mean(0)
    scale = 1 / np.ptp(mean[:count], axis=0).max()
    _, sizes, components = np.linalg.svd((stacked - mean).reshape(len(stacked), -1), full_matrices=False)
    basis = (components[:COMPONENTS] * (sizes[:COMPONENTS, None] / np.sqrt(len(stacked)))).reshape(COMPONENTS, -1, 3)
    basis *= np.where(basis[:, :count].sum(1)[:, 2] < 0, -1, 1)[:, None, None]
    progress(f"{COMPONENTS} components hold {(sizes[:COMPONENTS]**2).sum() / (sizes**2).sum():.4f} of the variance")
    mean, basis = mean * scale, basis * scale
    vertices, heads, tails = mean[:count], mean[count:count + len(BONES)], mean[count + len(BONES):]
    weights = skin_weights(vertices, draft.faces, draft.membership, heads, tails)
    skin_bones, skin = packed(weights)
    flat = turns.reshape(len(turns), -1)
    covariance = np.cov(flat.T) + np.radians(SPREAD) ** 2 * np.eye(flat.shape[1])
    uv = unwrapped(vertices, draft.faces, *islands(draft.membership, draft.faces, vertices), blender_python)
    marks = landmarks(shapes, draft)
    single = lambda array: np.ascontiguousarray(array, np.float32)  # noqa: E731
    return Template(
        TemplateCard("Quadruped", BONES, tuple(KEYPOINTS), "quadruped", "adapt", LICENCE,
                     "samples/families/quadruped.py"),
        single(vertices), draft.faces.astype(np.int32), single(uv), skin_bones, skin,
        np.array([BONES.index(PARENTS[n]) if PARENTS[n] else -1 for n in BONES], np.int32),
        single(frames_of(heads, tails)), single(np.linalg.norm(tails - heads, axis=1)), TWINS.astype(np.int32),
        single(limits()), single(flat.mean(0).reshape(-1, 3)), single((covariance + covariance.T) / 2),
        single(basis[:, :count]), single(basis[:, count:count + len(BONES)]), single(basis[:, count + len(BONES):]),
        single(marks))
