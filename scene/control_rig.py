"""Poses the controls of a rig that Rigify generated so that the bones which deform its mesh take given poses.

Which control turns or shifts which bone is found by trying each: what follows it fully is its own, unless a control
further down the same chain carries that, too. So it holds whatever limbs a rig was built of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector

from ..vmr_backend.job import BadInput

GENERATED = "rig_id"
"""Property that Rigify gives the armature of each rig it generates."""
SWITCH = "IK_FK"
"""Property of a limb's parent bone: 1 where its limb follows forward kinematics."""
MECHANISM = ("DEF-", "ORG-", "MCH-", "VIS_", "WGT-")
"""How the names of Rigify's bones begin that are not for the user."""
INVERSE = "_ik"
"""What the names of controls hold that are for inverse kinematics."""
TRIED_TURN = 0.2
"""Radians by which a control is turned to see what follows it;"""
TRIED_AXIS = (1.0, -1.0, 0.5)
"""about an axis in its own space that is no bone's."""
FOLLOWS = 0.02
"""Share of a control's motion by which what follows it fully may deviate."""
BESIDE = 1e-3
"""Share of the mesh's extent by which a control that shifts a joint may lie from it."""
MOST_SWEEPS = 10
"""Corrections of all controls, from the top, in one frame; four are enough where controls do not act on each other."""
CONVERGED = 1e-3
"""Radians, and share of the mesh's extent, of corrections that are the last;"""
UNMOVED = 1e-4
"""and of poses that need no keys."""
OFF = 0.02
"""Share of the mesh's extent by which the ends of a bone may miss their places;"""
OFF_TURN = np.radians(15)
"""and how far it may be turned off, twists included."""


@dataclass(frozen=True)
class _Control:
    """A bone that the user poses."""

    name: str
    above: int
    """Number of the control that carries it, which comes earlier; -1 for none."""
    turns: int
    """Number of the bone that turns with it, -1 for none."""
    shifts: int
    """Number of the bone whose joint is shifted with it, -1 for none."""
    twists: bool
    """Whether it may turn about its own y axis only."""
    to_turned: np.ndarray
    """(4, 4) from its own axes to those of the bone that turns with it, at rest;"""
    to_shifted: np.ndarray
    """and of the bone whose joint is shifted with it."""


@dataclass(frozen=True)
class ControlPose:
    """A control over T frames, in its own rest axes."""

    turns: np.ndarray
    """(T, 4) quaternions."""
    shifts: np.ndarray
    """(T, 3)"""


def is_generated(armature: bpy.types.Object) -> bool:
    """Whether Rigify generated an armature, with limbs that follow forward kinematics where they are switched to it."""
    return GENERATED in armature.data and bool(switches_of(armature))


def switches_of(armature: bpy.types.Object) -> list[str]:
    """The bones whose property SWITCH a limb obeys."""
    return [bone.name for bone in armature.pose.bones if SWITCH in bone]


def controls_among(armature: bpy.types.Object) -> list[str]:
    """The bones that are for the user."""
    return [bone.name for bone in armature.data.bones if not bone.name.startswith(MECHANISM)]


def poses_of_controls(armature: bpy.types.Object, bones: Sequence[str], wanted: np.ndarray, extent: float
                      ) -> dict[str, ControlPose]:
    """How the controls are to be posed, by name, for some bones to take wanted poses; those that stay at rest are left
    out.

    The armature has no action, and is evaluated in a scene of its own, limbs switched to forward kinematics.
    wanted  (T, B, 4, 4) rigid, armature space
    extent  of the mesh, armature space
    BadInput names the bone that its controls cannot bring to where it is wanted.
    """
    window: Any = bpy.context.window_manager
    with _evaluated_alone(armature) as pose_of, _cursor_counts(window, len(wanted)):
        controls = _controls(armature, bones, pose_of, extent)
        names = [control.name for control in controls]
        bases = np.tile(np.eye(4), (len(wanted), len(controls), 1, 1))
        now = np.tile(np.eye(4), (len(controls), 1, 1))
        worst: tuple[float, str] = (0.0, "")
        lengths = np.array([armature.data.bones[name].length for name in bones])
        for t, targets in enumerate(wanted):
            best, farthest = np.inf, bones[0]
            for _ in range(MOST_SWEEPS):
                posed = pose_of([*bones, *names])
                off = _off(posed[: len(bones)], targets, lengths, extent)
                if off.max() < best:  # never true where it is no number
                    best, bases[t], farthest = float(off.max()), now, bones[int(off.argmax())]
                now, largest = _corrected(controls, now, posed[len(bones):], targets, extent)
                if largest < CONVERGED:
                    break
                for name, basis in zip(names, now, strict=True):
                    armature.pose.bones[name].matrix_basis = Matrix(basis.tolist())
            now = bases[t]
            worst = max(worst, (best, farthest))
            window.progress_update(t)
    if worst[0] > 1:
        raise BadInput(f"the controls of {armature.name} do not bring {worst[1]} to where it was found")
    found = {}
    for number, name in enumerate(names):
        moved = bases[:, number]
        if np.abs(moved[:, :3, 3]).max() < UNMOVED * extent:
            moved[:, :3, 3] = 0
        if np.abs(moved - np.eye(4)).max() >= UNMOVED:
            turns = np.array([Matrix(one.tolist()).to_quaternion() for one in moved])
            found[name] = ControlPose(turns, moved[:, :3, 3])
    return found


@contextmanager
def _cursor_counts(window: Any, total: int) -> Iterator[None]:
    """The cursor shows how far a loop has come that Blender waits for."""
    window.progress_begin(0, total)
    try:
        yield
    finally:
        window.progress_end()


@contextmanager
def _evaluated_alone(armature: bpy.types.Object) -> Iterator[Callable[[Sequence[str]], np.ndarray]]:
    """All bones at rest, limbs switched, no layers of the NLA editor; a function from names of bones to their poses
    (N, 4, 4), rigid, as Blender evaluates them then. All is as it was afterwards."""
    data: Any = armature.animation_data
    had_layers = data.use_nla if data else False
    kept = [(bone, bone.matrix_basis.copy(), bone.rotation_quaternion.copy(), bone.rotation_euler.copy(),
             tuple(bone.rotation_axis_angle)) for bone in armature.pose.bones]
    number = {bone.name: index for index, bone in enumerate(armature.pose.bones)}
    switches = {name: armature.pose.bones[name][SWITCH] for name in switches_of(armature)}
    scene = bpy.data.scenes.new(armature.name)
    scene.collection.objects.link(armature)
    layer: Any = scene.view_layers[0]

    def pose_of(names: Sequence[str]) -> np.ndarray:
        armature.update_tag()
        layer.update()
        every = np.empty(16 * len(number), np.float32)
        armature.evaluated_get(layer.depsgraph).pose.bones.foreach_get("matrix", every)
        found = every.reshape(-1, 4, 4).transpose(0, 2, 1)[[number[name] for name in names]].astype(np.float64)
        # A bone that is stretched between two others has a scale.
        found[:, :3, :3] = _rotations(found[:, :3, :3] / np.linalg.norm(found[:, :3, :3], axis=1, keepdims=True))
        return found

    try:
        if data:
            data.use_nla = False
        for bone, *_ in kept:
            bone.matrix_basis = Matrix()
        for name in switches:
            armature.pose.bones[name][SWITCH] = 1.0
        yield pose_of
    finally:
        for bone, basis, quaternion, euler, axis_angle in kept:
            bone.matrix_basis = basis
            bone.rotation_quaternion, bone.rotation_euler, bone.rotation_axis_angle = quaternion, euler, axis_angle
        for name, value in switches.items():
            armature.pose.bones[name][SWITCH] = value
        if data:
            data.use_nla = had_layers
        bpy.data.scenes.remove(scene)
        armature.update_tag()


def _controls(armature: bpy.types.Object, bones: Sequence[str], pose_of: Callable[[Sequence[str]], np.ndarray],
              extent: float) -> list[_Control]:
    """The controls that move the bones, each after the one that carries it."""
    names = [name for name in controls_among(armature) if INVERSE not in name]
    found = _of_their_own(armature, names, bones, pose_of, extent)
    turned = {control.turns for control in found}
    free = [name for number, name in enumerate(bones)
            if number not in turned and name not in names and not armature.pose.bones[name].constraints]
    # What no control turns and nothing else moves is posed itself.
    return _of_their_own(armature, [*names, *free], bones, pose_of, extent) if free else found


def _of_their_own(armature: bpy.types.Object, names: Sequence[str], bones: Sequence[str],
                  pose_of: Callable[[Sequence[str]], np.ndarray], extent: float) -> list[_Control]:
    """Those of some controls that have bones of their own."""
    count, rest = len(bones), pose_of([*bones, *names])
    directed, turned, moved, shifted = _tried(armature, names, bones, pose_of, extent)
    carries = turned[:, count:].copy()
    np.fill_diagonal(carries, False)
    depth = carries.sum(0)
    twists = np.array([_twists(armature, name) for name in names])
    turns, shifts = np.full(len(names), -1), np.full(len(names), -1)
    # A limb's upper half has the direction of its control, but not its twist: the lower half goes first.
    for follows in (turned[:, :count], directed[:, :count]):
        for bone in range(count):
            for kind in (False, True):
                by = np.flatnonzero((directed if not kind else turned)[:, bone] & (twists == kind))
                if len(by) and follows[(deepest := by[depth[by].argmax()]), bone] and turns[deepest] < 0:
                    turns[deepest] = bone
    for bone in range(count):
        near = np.linalg.norm(rest[count:, :3, 3] - rest[bone, :3, 3], axis=1) < BESIDE * extent
        by = np.flatnonzero(shifted[:, bone] & near & (twists | (turns < 0)))  # others are for turning
        if len(by) and shifts[(deepest := by[depth[by].argmax()])] < 0:
            shifts[deepest] = bone
    whole = np.flatnonzero(directed[:, :count].all(1) & shifted.all(1) & ~twists)
    if len(whole):
        body = whole[depth[whole].argmax()]
        # By the joint that fewest others move, so that the others' places follow from their turns.
        turns[body] = shifts[body] = int(moved[~twists].sum(0).argmin())
    used = sorted(np.flatnonzero((turns >= 0) | (shifts >= 0)), key=lambda one: int(depth[one]))
    found = []
    for one in used:
        above = [place for place, other in enumerate(used) if carries[other, one] and depth[other] < depth[one]]
        relative = [np.linalg.inv(rest[max(bone, 0)]) @ rest[count + one] for bone in (turns[one], shifts[one])]
        found.append(_Control(names[one], above[-1] if above else -1, int(turns[one]), int(shifts[one]),
                              bool(twists[one]), *relative))
    return found


def _twists(armature: bpy.types.Object, name: str) -> bool:
    """Whether a control may turn about its own y axis only."""
    return any(armature.pose.bones[name].lock_rotation)


def _tried(armature: bpy.types.Object, names: Sequence[str], bones: Sequence[str],
           pose_of: Callable[[Sequence[str]], np.ndarray], extent: float
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What follows each of C controls.

    (C, B + C) bool, the bones and controls whose direction turns as it does; those that twist with it, too; (C, B)
    bool, the bones whose joints its turns move; and those whose joints are shifted as it is.
    """
    everyone = [*bones, *names]
    directed, turned = np.zeros((2, len(names), len(everyone)), bool)
    moved, shifted = np.zeros((2, len(names), len(bones)), bool)
    before = pose_of(everyone)
    for number, name in enumerate(names):
        control, own = armature.pose.bones[name], len(bones) + number
        axis = Vector((0, 1, 0) if _twists(armature, name) else TRIED_AXIS).normalized()
        control.matrix_basis = Quaternion(axis, TRIED_TURN).to_matrix().to_4x4()
        after = pose_of(everyone)
        turn = after[own, :3, :3] @ before[own, :3, :3].T
        if _angles(turn[None], np.eye(3)[None])[0] > TRIED_TURN / 2:
            off = np.linalg.norm(after[:, :3, :3] - turn @ before[:, :3, :3], axis=1)  # of each of the three axes
            directed[number] = off[:, 1] < FOLLOWS * TRIED_TURN
            turned[number] = (off < FOLLOWS * TRIED_TURN).all(1)
            moved[number] = np.linalg.norm((after - before)[: len(bones), :3, 3], axis=1) > BESIDE * extent
        control.matrix_basis = Matrix()
        if not any(control.lock_location) and not control.bone.use_connect:
            step = FOLLOWS * extent
            control.matrix_basis = Matrix.Translation((step, step, step))
            shifts = pose_of(everyone)[:, :3, 3] - before[:, :3, 3]
            if np.linalg.norm(shifts[own]) > step:
                shifted[number] = np.linalg.norm(shifts[: len(bones)] - shifts[own], axis=1) < FOLLOWS * step
            control.matrix_basis = Matrix()
    return directed, turned, moved, shifted


def _corrected(controls: Sequence[_Control], bases: np.ndarray, posed: np.ndarray, wanted: np.ndarray, extent: float
               ) -> tuple[np.ndarray, float]:
    """Bases (C, 4, 4) of controls by which they come nearer to where bones are wanted; and the largest correction.

    Each control is corrected for what those above it already change.
    posed   (C, 4, 4) controls now
    wanted  (B, 4, 4)
    """
    found, changes, largest = bases.copy(), np.tile(np.eye(4), (len(controls), 1, 1)), 0.0
    for number, control in enumerate(controls):
        change = changes[control.above] if control.above >= 0 else np.eye(4)
        there = change @ posed[number]
        above = there[:3, :3] @ bases[number, :3, :3].T
        after = there.copy()
        if control.turns >= 0:
            local = there[:3, :3].T @ (wanted[control.turns] @ control.to_turned)[:3, :3]
            if control.twists:
                local = _twist(local)
            largest = max(largest, float(_angles(local[None], np.eye(3)[None])[0]))
            found[number, :3, :3] = bases[number, :3, :3] @ local
            after[:3, :3] = there[:3, :3] @ local
        if control.shifts >= 0:
            after[:3, 3] = (wanted[control.shifts] @ control.to_shifted)[:3, 3]
            shift = after[:3, 3] - there[:3, 3]
            largest = max(largest, float(np.linalg.norm(shift)) / extent)
            found[number, :3, 3] = bases[number, :3, 3] + above.T @ shift
        changes[number] = after @ np.linalg.inv(posed[number])
    found[:, :3, :3] = _rotations(found[:, :3, :3])  # else rounding grows into scales from sweep to sweep
    return found, largest


def _rotations(matrices: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations nearest to matrices (N, 3, 3); none where those are no numbers, of a rig that flew apart."""
    finite = np.isfinite(matrices).all((1, 2), keepdims=True)
    left, _, right = np.linalg.svd(np.where(finite, matrices, np.eye(3)))
    return left @ right


def _twist(turn: np.ndarray) -> np.ndarray:
    """(3, 3) the part of a rotation that is about y."""
    found = Matrix(turn.tolist()).to_quaternion()
    found.x = found.z = 0
    return np.array(found.normalized().to_matrix()) if abs(found.w) + abs(found.y) > 0 else np.eye(3)


def _off(posed: np.ndarray, wanted: np.ndarray, lengths: np.ndarray, extent: float) -> np.ndarray:
    """(B,) by how much bones miss their wanted poses (B, 4, 4), as a share of what they may."""
    shift = posed[:, :3, 3] - wanted[:, :3, 3]
    ends = np.stack([shift, shift + lengths[:, None] * (posed[:, :3, 1] - wanted[:, :3, 1])])
    return np.maximum(np.linalg.norm(ends, axis=-1).max(0) / (OFF * extent),
                      _angles(posed[:, :3, :3], wanted[:, :3, :3]) / OFF_TURN)


def _angles(turns: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) radians between rotations (N, 3, 3); exact where they are small."""
    apart = np.linalg.norm(turns - others, axis=(1, 2)) / np.sqrt(8)
    return 2 * np.arcsin(np.minimum(apart, 1))
