"""Rigs that Rigify generates are keyed by their controls, so that their deforming bones follow."""

import bpy
import numpy as np
import pytest
from blender_clips import make_images
from blender_view import world_vertices
from followed_clip import followed
from mathutils import Matrix, Quaternion
from own_rigs import generated, tubes
from video_mesh_reconstruction.scene.action import curves_by_slot
from video_mesh_reconstruction.scene.own_rig import find_own_rig, key_own_rig, obstacle_to_keys
from video_mesh_reconstruction.scene.result import add_result
from video_mesh_reconstruction.vmr_backend.job import BadInput
from video_mesh_reconstruction.vmr_backend.templates.rig_file import RIG_NAME
from wobbling_ball import save_texture

FRAMES = range(11, 16)
FINGERS = "palm", "index", "middle", "ring", "pinky", "thumb"


@pytest.fixture
def clip(empty_file, tmp_path):
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", range(105, 110), size=(160, 120))))
    clip.frame_start = 11
    return clip


def body_of(rig):
    """A mesh around its deforming bones but those of its fingers."""
    names = [bone.name for bone in rig.data.bones if bone.use_deform and bone.length > 1e-4
             and not any(part in bone.name for part in FINGERS)]
    body = tubes(rig, names, 0.02, blend=0.03)
    body.parent = rig
    return body, names


def evaluated(rig, names):
    bpy.context.view_layer.update()
    posed = rig.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose.bones
    return np.array([posed[name].matrix for name in names], np.float64)


def acted(rig, names, controls):
    """(T, 4, 4) poses by name of bones, as an animator would turn some controls on forward kinematics; the rig is as it
    was afterwards."""
    switches = [bone for bone in rig.pose.bones if "IK_FK" in bone]
    before = [bone["IK_FK"] for bone in switches]
    for bone in switches:
        bone["IK_FK"] = 1.0
    found = []
    for t in range(len(FRAMES)):
        for number, name in enumerate(controls):
            axis = np.random.default_rng(number).normal(size=3)
            turn = Quaternion(axis / np.linalg.norm(axis), 0.4 * np.sin(0.8 * t + number)).to_matrix().to_4x4()
            rig.pose.bones[name].matrix_basis = turn
        turn = Matrix.Rotation(0.5 * t, 4, "Z")
        rig.pose.bones["torso"].matrix_basis = Matrix.Translation((0.1 * t, 0.2, 0.05)) @ turn
        found.append(evaluated(rig, names))
    for name in [*controls, "torso"]:
        rig.pose.bones[name].matrix_basis = Matrix()
    for bone, value in zip(switches, before, strict=True):
        bone["IK_FK"] = value
    bpy.context.view_layer.update()
    return dict(zip(names, np.array(found).transpose(1, 0, 2, 3), strict=True))


def key(clip, folder, fit, rig):
    own = find_own_rig(folder / RIG_NAME, None)
    assert not obstacle_to_keys(own, fit.result) and own.armature == rig
    return key_own_rig(bpy.context, clip, fit.result, folder, "walk", own)


def curves(rig):
    ((_, found),) = curves_by_slot(rig.animation_data.action)
    return found


def assert_bones_follow(rig, poses, extent):
    for t, frame in enumerate(FRAMES):
        bpy.context.scene.frame_set(frame)
        for name, found in zip(poses, evaluated(rig, poses), strict=True):
            assert np.linalg.norm(found[:3, 3] - poses[name][t, :3, 3]) < 0.005 * extent, (frame, name)
            direction = found[:3, 1] / np.linalg.norm(found[:3, 1])
            wanted = poses[name][t, :3, 1] / np.linalg.norm(poses[name][t, :3, 1])
            assert np.degrees(np.arccos(np.clip(direction @ wanted, -1, 1))) < 3, (frame, name)


QUADRUPED = [f"{end}{name}.{side}" for side in "LR" for end in ("", "front_")
             for name in ("thigh_fk", "shin_fk", "foot_fk", "toe")] + ["shoulder.L", "shoulder.R"]
QUADRUPED += ["spine_fk.007", "spine_fk.006", "spine_fk.004", "neck", "head"]


def test_controls_of_a_quadruped_follow_what_was_found(clip, tmp_path):
    rig = generated("basic_quadruped")
    body, names = body_of(rig)
    rig.pose.bones["foot_ik.L"].location = (0, 0.1, 0.2)
    switch = next(bone for bone in rig.pose.bones if "IK_FK" in bone)
    poses = acted(rig, names, QUADRUPED)
    fit = followed(rig, tmp_path / "job", numbers=range(105, 110), poses=poses)
    scenes = len(bpy.data.scenes)
    assert key(clip, tmp_path / "job", fit, rig).parent == rig
    assert len(bpy.data.scenes) == scenes
    assert_bones_follow(rig, poses, max(body.dimensions))
    keyed = {curve.data_path.split('"')[1] for curve in curves(rig)}
    assert set(QUADRUPED) | {"torso"} <= keyed
    assert not {name for name in keyed if name.startswith(("ORG-", "MCH-"))}
    located = {curve.data_path.split('"')[1] for curve in curves(rig) if curve.data_path.endswith("location")}
    assert not located & set(QUADRUPED) and "torso" in located, "animators turn what they turn"
    assert switch["IK_FK"] == 1


@pytest.mark.once
@pytest.mark.parametrize("kind", ["wolf", "basic_human"])
def test_controls_of_other_kinds_follow_too(clip, tmp_path, kind):
    rig = generated(kind)
    body, names = body_of(rig)
    fore = "front_thigh_fk" if kind == "wolf" else "upper_arm_fk"
    limbs = [f"{name}.{side}" for side in "LR" for name in ("thigh_fk", "shin_fk", "foot_fk", fore)]
    poses = acted(rig, names, [*limbs, "spine_fk.004" if kind == "wolf" else "spine_fk.002", "head"])
    fit = followed(rig, tmp_path / "job", numbers=range(105, 110), poses=poses)
    key(clip, tmp_path / "job", fit, rig)
    assert_bones_follow(rig, poses, max(body.dimensions))


def test_what_controls_cannot_do_is_refused_and_all_is_as_before(clip, tmp_path):
    rig = generated("basic_quadruped")
    _, names = body_of(rig)
    rig.pose.bones["head"].rotation_quaternion = (0.8, 0.6, 0, 0)
    action = bpy.data.actions.new("mine")
    rig.animation_data_create().action = action
    before = evaluated(rig, ["DEF-thigh.L", "head"])
    fit = followed(rig, tmp_path / "job", numbers=range(105, 110), swing=0.9)  # halves of limbs bend on their own
    with pytest.raises(BadInput, match="the controls of rig do not bring DEF-"):
        key(clip, tmp_path / "job", fit, rig)
    assert rig.animation_data.action == action and len(bpy.data.scenes) == 1
    assert np.allclose(evaluated(rig, ["DEF-thigh.L", "head"]), before, atol=1e-6)
    assert list(bpy.data.actions) == [action]

    save_texture(tmp_path)
    mesh = add_result(bpy.context, clip, fit.result, tmp_path, "walk", "ARMATURE")
    assert set(mesh.find_armature().data.bones.keys()) == set(names)
    place = np.array(mesh.parent.parent.location)
    for frame, vertices in zip(FRAMES, fit.result.vertices, strict=True):
        assert np.abs(world_vertices(mesh, frame) - place - vertices).max() < 1e-4
