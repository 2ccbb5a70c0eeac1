"""Keys a result on the armature that its template was made of, and places the camera where it sees that one so.

The result is in object space, scaled and shifted against template space; the rig's file says how that lies to the
armature's own space. So the bones' motion is carried over, whatever axes the template gave them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from ..vmr_backend.job import BadInput
from ..vmr_backend.reconstruction import Reconstruction
from ..vmr_backend.templates.rig_file import load_rig
from .action import add_keys, continuous, new_channels
from .camera import match_width_behind, new_camera_object
from .clip import scene_frame
from .control_rig import SWITCH, controls_among, is_generated, poses_of_controls, switches_of
from .placement import footprint_of, new_root
from .result import all_or_nothing, check_footage, select_alone
from .set_up import SETTINGS_KEY, is_untouched, look_through_camera, set_up, settings_for
from .template import rigged_object

ARMATURE_KEY = "armature"
"""Name among a rig's facts of that of its armature."""
AT_REST = 1e-3
"""Share of the mesh's extent by which a joint may have been moved at rest since the template was made."""
SHIFT_TOLERANCE = 1e-5
"""The same of a joint by which it has no key for its location."""
STILL = 1e-6
"""Deviation of a channel from rest below which it needs no key."""
ALONE: dict[str, Any] = {"action_blend_type": "REPLACE", "action_influence": 1.0}
"""How an action covers what layers of the NLA editor below it give the same channels."""


@dataclass(frozen=True)
class OwnRig:
    """The armature that a template was made of. V vertices, B bones."""

    armature: bpy.types.Object
    meshes: tuple[bpy.types.Object, ...]
    """Those that it moves."""
    bones: tuple[str, ...]
    """Names of the template's bones, each of which the armature has."""
    joints: np.ndarray
    """(B, 3) as they were when the template was made, armature space: of bones that run up to the body, the tails."""
    vertices: np.ndarray
    """(V, 3) of the template, armature space."""
    to_template: np.ndarray
    """(4, 4) from armature space: rotation, uniform scale, shift."""

    @property
    def extent(self) -> float:
        """The longest side of the box around the vertices."""
        return float(np.ptp(self.vertices, axis=0).max())


@dataclass(frozen=True)
class _Carrying:
    """From object space to armature space: x -> scale * turn x + shift."""

    scale: float
    turn: np.ndarray
    """(3, 3)"""
    shift: np.ndarray
    """(3,)"""

    def matrix(self) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.scale * self.turn, self.shift
        return matrix


def find_own_rig(file: Path | None, chosen: bpy.types.Object | None) -> OwnRig:
    """The armature that the rig in a file was gathered from; BadInput where it is not in the Blender file any more.

    chosen   what the user chose for the clip: taken where the armature was renamed
    """
    if file is None:
        raise BadInput("the result is of no object in this file")
    arrays, facts = load_rig(file)
    try:
        names, to_template = tuple(map(str, facts["bone_names"])), arrays["placement"].astype(np.float64)
        to_armature = np.linalg.inv(to_template)
        joints, vertices = (_moved(to_armature, points.astype(np.float64))
                           for points in (arrays["bone_rest"][:, :3, 3], arrays["vertices"]))
    except (KeyError, IndexError, ValueError, TypeError, np.linalg.LinAlgError):
        raise BadInput(f"{file}: holds no whole rig; reconstruct anew") from None
    # Of a mesh that was chosen alone, all others are shown in the pose as well.
    for candidate in (bpy.data.objects.get(str(facts.get(ARMATURE_KEY))), chosen):
        try:
            rigged = rigged_object(candidate) if candidate is not None else None
        except BadInput:
            continue
        if rigged is not None and set(names) <= set(rigged.armature.data.bones.keys()):
            return OwnRig(rigged.armature, rigged.meshes, names, joints, vertices, to_template)
    raise BadInput(f"the armature {facts.get(ARMATURE_KEY)} is not in this file, or lacks bones of the template")


def obstacle_to_keys(rig: OwnRig, result: Reconstruction) -> str:
    """Why a result cannot be keyed on an armature, in words; empty where it can."""
    name = rig.armature.name
    if result.bone_names is None or [str(one) for one in result.bone_names] != list(rig.bones) \
            or len(result.rest_vertices) != len(rig.vertices):
        return f"the result has other bones than {name}"
    if rig.armature.library is not None:
        return f"{name} is linked from another file"
    if not rig.armature.users_scene:
        return f"{name} is in no scene of this file"
    if np.abs(_joints(rig) - rig.joints).max() > AT_REST * rig.extent:
        return f"{name} was changed at rest since the run began"
    moved = sorted(_moved_otherwise(rig.armature, _kept_above(rig)))
    if moved and not is_generated(rig.armature):
        return f"constraints or drivers move {moved[0]}" + f" and {len(moved) - 1} other bones" * (len(moved) > 1)
    return ""


def key_own_rig(
    context: bpy.types.Context, clip: bpy.types.MovieClip, result: Reconstruction, result_folder: Path, name: str,
    rig: OwnRig, set_up_scene: bool = False, select: bool = False,
) -> bpy.types.Object:
    """Key a result on an armature that has no `obstacle_to_keys`, in a new action; the root that the camera is on.

    Of a rig that Rigify generated its controls are keyed, limbs switched to forward kinematics; BadInput where they
    cannot follow.

    The armature stays where it is; its action so far is kept with a fake user. The root hangs on the armature, in a new
    collection. Further as `add_result`.
    """
    result.check(str(result_folder))
    check_footage(clip, result)
    scene, armature = context.scene, rig.armature
    frames = np.array([scene_frame(clip, number) for number in result.frames])
    settings = settings_for(clip, result, frames)
    takes_over = set_up_scene or is_untouched(scene, settings)
    context.view_layer.update()  # matrices of what was moved by a script are old until then
    carrying = _carrying(rig, result)
    location, turn, scales = (armature.matrix_world @ Matrix(carrying.matrix())).decompose()
    scale = float(np.cbrt(np.abs(np.prod(scales))))
    with all_or_nothing(scene), _action_back(armature):
        seen = _scaled(result, scale)
        root = new_root(f"{name} Root", footprint_of(seen), location)
        root.rotation_mode, root.rotation_quaternion = "QUATERNION", turn
        root.empty_display_size *= scale
        root[SETTINGS_KEY] = settings
        root.parent, root.matrix_parent_inverse = armature, armature.matrix_world.inverted()
        camera_object = new_camera_object(f"{name} Camera", seen, frames, clip)
        camera_object.parent = root
        collection = bpy.data.collections.new(name)
        for one in (root, camera_object):
            collection.objects.link(one)
        scene.collection.children.link(collection)
        _key_bones(rig, result, carrying, frames, f"{armature.name} {name}")
        if takes_over:
            set_up(scene, camera_object, settings)
        else:
            match_width_behind(camera_object.data, clip, scene.render)
        if takes_over or select:
            select_alone(context, rig.meshes)
    if takes_over:
        look_through_camera(scene)
    return root


@contextmanager
def _action_back(armature: bpy.types.Object) -> Iterator[None]:
    """Let a new action play alone; give the armature its own back when the body raises, else keep that with a fake
    user."""
    data: Any = armature.animation_data
    if data is not None and data.use_tweak_mode:  # while a strip is edited, its action stands in the place of this one
        data.use_tweak_mode = False
    action, slot = (data.action, getattr(data, "action_slot", None)) if data else (None, None)
    had_user = action is not None and action.use_fake_user
    pose = armature.data.pose_position
    layered = {name: getattr(data, name) for name in ALONE} if data else {}
    try:
        for name in layered:
            setattr(data, name, ALONE[name])
        if action is not None:
            action.use_fake_user = True
        if armature.data.library is None:
            armature.data.pose_position = "POSE"
        yield
    except BaseException:
        armature.data.pose_position = pose
        data = armature.animation_data
        if data is not None:
            for name, value in layered.items():
                setattr(data, name, value)
            data.action = action
            if slot is not None:
                data.action_slot = slot
        if action is not None:
            action.use_fake_user = had_user
        raise


def _kept_above(rig: OwnRig) -> list[str]:
    """The template's bones and all that are above them, by name, each after its parent."""
    bones = rig.armature.data.bones
    names: dict[str, int] = {}
    for name in rig.bones:
        chain = [bones[name], *bones[name].parent_recursive]
        names |= {bone.name: len(chain) - place for place, bone in enumerate(chain)}
    return sorted(names, key=names.__getitem__)


def _moved_otherwise(armature: bpy.types.Object, names: list[str]) -> set[str]:
    """Which of some bones constraints move, their own or those of a chain of inverse kinematics; or drivers."""
    found = set()
    for bone in armature.pose.bones:
        constraints: Any = bone.constraints
        for constraint in constraints:
            if constraint.mute or not constraint.influence:
                continue
            chain = [bone]
            if constraint.type in ("IK", "SPLINE_IK"):
                length = constraint.chain_count
                chain += bone.parent_recursive[: length - 1 if length else None]
            found |= {one.name for one in chain}
    drivers = armature.animation_data.drivers if armature.animation_data else ()
    paths = {driver.data_path for driver in drivers}
    found |= {name for name in names
              if any(path.startswith(f'{_path(name)}.{channel}') for path in paths
                     for channel in ("location", "rotation", "scale"))}
    return found & set(names)


def _carrying(rig: OwnRig, result: Reconstruction) -> _Carrying:
    """From the result's object space to the armature's."""
    template = _moved(rig.to_template, rig.vertices)
    rest = result.rest_vertices.astype(np.float64)
    apart, of_template = rest - rest.mean(0), template - template.mean(0)
    # Where the shape was adapted, the best there is.
    enlarged = np.eye(4)
    enlarged[:3, :3] *= float((of_template**2).sum() / (apart * of_template).sum())
    enlarged[:3, 3] = template.mean(0) - enlarged[0, 0] * rest.mean(0)
    matrix = np.linalg.inv(rig.to_template) @ enlarged
    scale = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
    return _Carrying(scale, matrix[:3, :3] / scale, matrix[:3, 3])


def _scaled(result: Reconstruction, scale: float) -> Reconstruction:
    """The same, larger: camera and mesh, without bones."""
    return replace(
        result, vertices=_float(scale * result.vertices), rest_vertices=_float(scale * result.rest_vertices),
        camera_translation=_float(scale * result.camera_translation), bone_parents=None, bone_rest=None, bone_pose=None,
        skin_weights=None, bone_names=None, bone_lengths=None)


def _wanted(rig: OwnRig, result: Reconstruction, carrying: _Carrying) -> np.ndarray:
    """(T, B, 4, 4) pose of each of the template's bones, armature space.

    A bone turns as the result's does; its joint lies where the bone above it in the template carries it, and is shifted
    as it shifts there: so it is in the result, and on an armature of other proportions, too.
    """
    bones, rest = rig.armature.data.bones, result.bone_rest.astype(np.float64)
    own = np.array([bones[name].matrix_local for name in rig.bones], np.float64)
    moves = result.bone_pose.astype(np.float64) @ np.linalg.inv(rest)
    turns = carrying.turn @ moves[..., :3, :3] @ carrying.turn.T
    heads, joints = _joints(rig), rest[:, :3, 3]
    to_object = np.linalg.inv(carrying.matrix())
    wanted = np.tile(np.eye(4), (*moves.shape[:2], 1, 1))
    wanted[..., :3, :3] = turns @ own[:, :3, :3]
    for bone, parent in enumerate(result.bone_parents):  # parents come first
        if parent < 0:
            there = _moved(to_object, heads[bone][None])[0]
            place = _moved(carrying.matrix(), moves[:, bone, :3, :3] @ there + moves[:, bone, :3, 3])
        else:
            apart = [moves[:, one, :3, :3] @ joints[bone] + moves[:, one, :3, 3] for one in (bone, parent)]
            place = turns[:, parent] @ (heads[bone] - heads[parent]) + wanted[:, parent, :3, 3] + \
                carrying.scale * (apart[0] - apart[1]) @ carrying.turn.T
        wanted[:, bone, :3, 3] = place
    wanted[..., :3, 3] += np.einsum("tbij,bj->tbi", turns, own[:, :3, 3] - heads)
    return wanted


def _joints(rig: OwnRig) -> np.ndarray:
    """(B, 3) of the armature's bones, the ends that are nearest to the template's joints; armature space."""
    bones = [rig.armature.data.bones[name] for name in rig.bones]
    ends = np.array([(bone.head_local, bone.tail_local) for bone in bones], np.float64)
    nearest = np.linalg.norm(ends - rig.joints[:, None], axis=-1).argmin(1)
    return ends[np.arange(len(bones)), nearest]


def _key_bones(rig: OwnRig, result: Reconstruction, carrying: _Carrying, frames: np.ndarray, name: str) -> None:
    """Key the template's bones in a new action, or the controls that move them."""
    wanted = _wanted(rig, result, carrying)
    channels = new_channels(rig.armature, name)
    is_layered = any(not track.mute for track in rig.armature.animation_data.nla_tracks)
    if _moved_otherwise(rig.armature, _kept_above(rig)):
        _key_controls(rig, wanted, frames, channels, is_layered)
    else:
        _key_themselves(rig, wanted, frames, channels, is_layered)


def _key_controls(rig: OwnRig, wanted: np.ndarray, frames: np.ndarray, channels: Any, is_layered: bool) -> None:
    """Key the controls of a rig that Rigify generated, those at rest that are not needed, and its switches."""
    armature = rig.armature
    posed = poses_of_controls(armature, rig.bones, wanted, rig.extent)
    for name, pose in posed.items():
        pose_bone = armature.pose.bones[name]
        _key_turns(channels, pose_bone, frames, continuous(pose.turns))
        if np.abs(pose.shifts).max() > SHIFT_TOLERANCE * rig.extent:
            _key(channels, pose_bone, "location", frames, pose.shifts)
    for name in dict.fromkeys([*posed, *controls_among(armature)]):
        _key_rest(channels, armature.pose.bones[name], frames[:1], is_layered)
    for name in switches_of(armature):
        add_keys(channels, f'{_path(name)}["{SWITCH}"]', frames[:1], np.ones(1), group=name)


def _key_themselves(rig: OwnRig, wanted: np.ndarray, frames: np.ndarray, channels: Any, is_layered: bool) -> None:
    """Key the template's bones, and at rest what is above them and is not."""
    armature, number = rig.armature, {bone: index for index, bone in enumerate(rig.bones)}
    tolerance = SHIFT_TOLERANCE * rig.extent
    posed: dict[str, list[Matrix]] = {}
    for bone_name in _kept_above(rig):
        bone, pose_bone = armature.data.bones[bone_name], armature.pose.bones[bone_name]
        above: list[dict[str, Matrix]] = [{}] * len(frames)
        if bone.parent is not None:
            rest = bone.parent.matrix_local
            above = [{"parent_matrix": matrix, "parent_matrix_local": rest} for matrix in posed[bone.parent.name]]
        basis = [Matrix()] * len(frames)
        if bone_name in number:
            found = [bone.convert_local_to_pose(Matrix(matrix), bone.matrix_local, invert=True, **parent)
                     for matrix, parent in zip(wanted[:, number[bone_name]], above, strict=True)]
            turns = continuous(np.array([matrix.to_quaternion() for matrix in found]))
            _key_turns(channels, pose_bone, frames, turns)
            shifts = np.array([matrix.translation for matrix in found], np.float64)
            if bone.use_connect or np.abs(shifts).max() <= tolerance:
                shifts[:] = 0
            else:
                _key(channels, pose_bone, "location", frames, shifts)
            basis = [Matrix.LocRotScale(shift, Quaternion(turn), None)
                     for shift, turn in zip(shifts, turns, strict=True)]
        posed[bone_name] = [bone.convert_local_to_pose(matrix, bone.matrix_local, **parent)
                            for matrix, parent in zip(basis, above, strict=True)]
        _key_rest(channels, pose_bone, frames[:1], is_layered)


def _key_turns(channels: Any, pose_bone: bpy.types.PoseBone, frames: np.ndarray, turns: np.ndarray) -> None:
    """Key rotations, sign-continuous quaternions (T, 4), in the bone's own mode."""
    if pose_bone.rotation_mode == "QUATERNION":
        _key(channels, pose_bone, "rotation_quaternion", frames, turns)
    elif pose_bone.rotation_mode == "AXIS_ANGLE":
        _key(channels, pose_bone, "rotation_axis_angle", frames, _axes_and_angles(turns))
    else:
        eulers: list[Any] = []
        for turn in turns:
            eulers.append(Quaternion(turn).to_euler(pose_bone.rotation_mode, *eulers[-1:]))
        _key(channels, pose_bone, "rotation_euler", frames, np.array(eulers))


def _axes_and_angles(turns: np.ndarray) -> np.ndarray:
    """(T, 4) angle and axis of each rotation, so that neighbours are interpolated the short way."""
    rows: list[list[float]] = []
    axis = np.array([0.0, 1.0, 0.0])
    for w, *vector in turns:
        sine = np.linalg.norm(vector)
        if sine > STILL:
            # The axis of the frame before, or its opposite: the angle takes the sign.
            axis = np.array(vector) / sine * (1 if not rows or np.dot(vector, axis) >= 0 else -1)
        angle = 2 * np.arctan2(np.dot(vector, axis), w)
        if rows:
            angle += 2 * np.pi * np.round((rows[-1][0] - angle) / (2 * np.pi))
        rows.append([angle, *axis])
    return np.array(rows)


def _key_rest(channels: Any, pose_bone: bpy.types.PoseBone, frames: np.ndarray, is_layered: bool) -> None:
    """Key at rest what has no key yet and is not at rest, since a pose without keys would stay; where layers of the NLA
    editor may move it, whatever has none."""
    mode = pose_bone.rotation_mode
    turned = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(mode, "rotation_euler")
    at_rest = {"location": (0, 0, 0), "scale": (1, 1, 1), "rotation_quaternion": (1, 0, 0, 0),
               "rotation_euler": (0, 0, 0), "rotation_axis_angle": (0, 0, 1, 0)}
    keyed = {curve.data_path for curve in channels.fcurves}
    for channel in ("location", "scale", turned):
        now, rest = np.array(getattr(pose_bone, channel)), np.array(at_rest[channel], float)
        if f"{_path(pose_bone.name)}.{channel}" not in keyed and (is_layered or np.abs(now - rest).max() > STILL):
            _key(channels, pose_bone, channel, frames, rest[None])


def _key(channels: Any, pose_bone: bpy.types.PoseBone, channel: str, frames: np.ndarray, values: np.ndarray) -> None:
    for index, component in enumerate(values.T):
        add_keys(channels, f"{_path(pose_bone.name)}.{channel}", frames, component, index, group=pose_bone.name)


def _path(bone: str) -> str:
    return f'pose.bones["{bpy.utils.escape_identifier(bone)}"]'


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) through a matrix (4, 4)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _float(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
