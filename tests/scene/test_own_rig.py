"""A result keyed on the user's own armature moves its mesh as the subject did, before the result's camera."""

from dataclasses import replace

import bpy
import numpy as np
import pytest
from blender_clips import make_images
from blender_view import seen_pixels, world_vertices
from followed_clip import followed, placed
from mathutils import Matrix
from own_rigs import armature, rigify_enabled, tubes
from video_mesh_reconstruction.scene.action import curves_by_slot
from video_mesh_reconstruction.scene.own_rig import find_own_rig, key_own_rig, obstacle_to_keys
from video_mesh_reconstruction.scene.result import is_set_up
from video_mesh_reconstruction.vmr_backend.job import BadInput
from video_mesh_reconstruction.vmr_backend.templates.rig_file import RIG_NAME

PLACE = Matrix.Translation((3, 2, 1)) @ Matrix.Rotation(0.7, 4, "Z") @ Matrix.Scale(2.5, 4)
BONES = {  # front is -y; the feet hang on bones that no vertex is held by
    "root": ((0, 0, 0), (0, -0.3, 0), None), "hips": ((0, 0.2, 1), (0, 0.5, 1), "root"),
    "spine": ((0, 0.2, 1), (0, -0.5, 1.05), "hips"), "neck": ((0, -0.5, 1.05), (0, -0.75, 1.4), "spine"),
    "head": ((0, -0.75, 1.4), (0, -1.15, 1.35), "neck"), "tail": ((0, 0.5, 1), (0, 1, 1.2), "hips"),
    **{f"{name}.{side}": (tuple((x, *head)), tuple((x, *tail)), parent.replace("?", side))
       for side, x in (("L", 0.2), ("R", -0.2)) for name, head, tail, parent in (
           ("pull", (0.45, 0.1), (0.7, 0.1), "root"), ("thigh", (0.45, 1), (0.4, 0.5), "hips"),
           ("twist", (0.4, 0.5), (0.4, 0.4), "thigh.?"), ("shin", (0.4, 0.5), (0.45, 0.1), "twist.?"),
           ("foot", (0.45, 0.1), (0.3, 0), "pull.?"), ("arm", (-0.45, 1), (-0.45, 0.02), "spine"))},
}
CONTROLS = ("root", "pull", "twist")
HELD = [name for name in BONES if not name.startswith(CONTROLS)]
FRAMES = range(11, 23)


@pytest.fixture
def scene(empty_file, tmp_path):
    """The clip of `followed`, from scene frame 11 on."""
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", range(105, 117), size=(160, 120))))
    clip.frame_start = 11
    bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 160, 120
    return clip


def animal(place=PLACE, blend=0.15):
    """An armature object, its mesh its child as Ctrl P makes it."""
    rig = armature(BONES)
    body = tubes(rig, HELD, blend=blend)
    body.parent = rig
    rig.matrix_world = place
    return rig, body


def key(clip, folder, fit, chosen=None, **options):
    rig = find_own_rig(folder / RIG_NAME, chosen)
    assert not obstacle_to_keys(rig, fit.result)
    return key_own_rig(bpy.context, clip, fit.result, folder, "walk", rig, **options)


def camera_on(rig):
    (root,) = (one for one in rig.children if one.type == "EMPTY")
    (camera,) = root.children
    return camera


def curves(rig):
    ((_, found),) = curves_by_slot(rig.animation_data.action)
    return found


def values_of(rig, path):
    """(T, n) keyed values, and their frames."""
    those = sorted((curve for curve in curves(rig) if curve.data_path == path), key=lambda curve: curve.array_index)
    keys = [[tuple(point.co) for point in curve.keyframe_points] for curve in those]
    return np.array(keys)[..., 1].T if keys else np.empty((0, 0))


def assert_follows(rig, body, fit, tolerance=1e-4):
    """In the world, where the armature is, to a share of the size; and in the picture, to a tenth of a pixel."""
    size = np.ptp(placed(rig.matrix_world, fit.truth[0]), axis=0).max()
    pixels = fit.result.projected()
    for frame, vertices, seen in zip(FRAMES, fit.truth, pixels, strict=True):
        there = world_vertices(body, frame)
        assert np.abs(there - placed(rig.matrix_world, vertices)).max() < tolerance * size, frame
        if frame % 5 == 0:
            assert np.abs(seen_pixels(camera_on(rig), frame, there) - seen).max() < 0.1, frame


@pytest.mark.parametrize("place", [Matrix(), PLACE, Matrix.Rotation(1.5708, 4, "X") @ Matrix.Scale(0.01, 4)],
                         ids=["at the origin", "placed", "tiny and lying"])
def test_the_users_mesh_follows_where_it_stands(scene, tmp_path, place):
    rig, body = animal(place)
    fit = followed(rig, tmp_path / "job", front="-Y" if place != Matrix() else "AUTO")
    where, meshes = rig.matrix_world.copy(), len(bpy.data.meshes)
    assert key(scene, tmp_path / "job", fit).parent == rig
    assert rig.matrix_world == where and len(bpy.data.meshes) == meshes
    assert_follows(rig, body, fit)


def test_it_follows_where_the_armature_was_moved_since_and_wherever_it_is_moved_to(scene, tmp_path):
    rig, body = animal()
    fit = followed(rig, tmp_path / "job")
    rig.matrix_world = Matrix.Translation((-4, 0, 2)) @ Matrix.Rotation(-1.2, 4, (1, 2, 0.5)) @ Matrix.Scale(0.4, 4)
    key(scene, tmp_path / "job", fit)
    assert_follows(rig, body, fit)
    rig.matrix_world = Matrix.Translation((1, 0, 2)) @ Matrix.Rotation(0.3, 4, "Y") @ Matrix.Scale(3, 4)
    assert_follows(rig, body, fit)


@pytest.mark.parametrize("mode", ["XYZ", "ZXY", "AXIS_ANGLE"])
def test_a_bone_keeps_its_rotation_mode(scene, tmp_path, mode):
    rig, body = animal()
    for name in ("hips", "neck", "shin.L"):
        rig.pose.bones[name].rotation_mode = mode
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit)
    assert_follows(rig, body, fit)
    assert rig.pose.bones["hips"].rotation_mode == mode
    channel = "rotation_axis_angle" if mode == "AXIS_ANGLE" else "rotation_euler"
    for name in ("hips", "neck", "shin.L"):
        values = values_of(rig, f'pose.bones["{name}"].{channel}')
        assert len(values) == 12 and not len(values_of(rig, f'pose.bones["{name}"].rotation_quaternion'))
        assert np.abs(np.diff(values, axis=0)).max() < 3.2
    assert len(values_of(rig, 'pose.bones["head"].rotation_quaternion')) == 12


def test_rotations_never_flip_between_frames(scene, tmp_path):
    rig, _ = animal()
    key(scene, tmp_path / "job", followed(rig, tmp_path / "job", swing=1.4))
    for name in HELD:
        turns = values_of(rig, f'pose.bones["{name}"].rotation_quaternion')
        assert ((turns[1:] * turns[:-1]).sum(1) > 0).all()


def test_only_joints_that_the_bone_above_does_not_carry_have_keys_for_their_location(scene, tmp_path):
    rig, _ = animal()
    key(scene, tmp_path / "job", followed(rig, tmp_path / "job"))
    located = {curve.data_path.split('"')[1] for curve in curves(rig) if curve.data_path.endswith("location")}
    assert located == {"foot.L", "foot.R"}, "whose bones above are none of the template's"
    keyed = {curve.data_path.split('"')[1] for curve in curves(rig)}
    assert keyed == set(HELD)


def test_bones_that_inherit_and_connect_in_other_ways_follow_too(scene, tmp_path):
    rig, body = animal()
    bones = rig.data.bones
    bones["neck"].use_inherit_rotation = False
    bones["foot.L"].use_local_location = False
    bones["arm.L"].inherit_scale = "NONE"
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones["head"].use_connect = True
    bpy.ops.object.mode_set(mode="OBJECT")
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit)
    assert_follows(rig, body, fit)


def test_what_was_posed_without_keys_is_no_part_of_it(scene, tmp_path):
    rig, body = animal()
    rig.pose.bones["root"].location = 1, 2, 3
    rig.pose.bones["twist.L"].rotation_quaternion = 0.8, 0.6, 0, 0
    rig.pose.bones["neck"].scale = 2, 1, 1
    rig.pose.bones["tail"].location = 0.1, 0, 0
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit)
    assert_follows(rig, body, fit)


def test_an_armature_shown_at_rest_is_shown_in_its_pose(scene, tmp_path):
    rig, body = animal()
    rig.data.pose_position = "REST"
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit)
    assert_follows(rig, body, fit)


def animated(rig):
    """An action of the user's on the rig."""
    rig.pose.bones["head"].rotation_quaternion = 0.8, 0.6, 0, 0
    rig.pose.bones["head"].keyframe_insert("rotation_quaternion", frame=1)
    rig.animation_data.action.name = "idle"
    return rig.animation_data.action


def test_the_action_so_far_is_kept(scene, tmp_path):
    rig, body = animal()
    idle = animated(rig)
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit)
    assert idle.use_fake_user and rig.animation_data.action not in (idle, None)
    assert rig.animation_data.action.name == "rig walk"
    assert_follows(rig, body, fit)
    if hasattr(idle, "slots"):
        assert rig.animation_data.action_slot in list(rig.animation_data.action.slots)
    key(scene, tmp_path / "job", fit)
    assert bpy.data.actions["rig walk"].use_fake_user and rig.animation_data.action.name == "rig walk.001"


def test_layers_of_the_nla_editor_do_not_show_through(scene, tmp_path):
    rig, body = animal()
    idle = animated(rig)
    for frame in (1, 40):
        for name in ("neck", "root"):
            bone = rig.pose.bones[name]
            bone.location, bone.scale = (0, frame / 20, 0), (1, 1 + frame / 40, 1)
            bone.keyframe_insert("location", frame=frame)
            bone.keyframe_insert("scale", frame=frame)
    data = rig.animation_data
    strip = data.nla_tracks.new().strips.new("idle", 1, idle)
    if hasattr(data, "action_slot"):
        strip.action_slot = idle.slots[0]
    data.action = None
    data.action_blend_type = "ADD"
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit)
    assert_follows(rig, body, fit)


def test_nothing_is_left_where_it_fails(scene, tmp_path, monkeypatch):
    rig, _ = animal()
    idle = animated(rig)
    fit = followed(rig, tmp_path / "job")
    before = {kind: len(getattr(bpy.data, kind)) for kind in ("objects", "actions", "collections", "cameras")}

    def fails(*_arguments):
        raise RuntimeError("no room")

    monkeypatch.setattr("video_mesh_reconstruction.scene.own_rig.match_width_behind", fails)
    with pytest.raises(RuntimeError, match="no room"):
        key(scene, tmp_path / "job", fit)
    assert rig.animation_data.action == idle and not idle.use_fake_user
    if hasattr(idle, "slots"):
        assert rig.animation_data.action_slot == idle.slots[0]
    assert {kind: len(getattr(bpy.data, kind)) for kind in before} == before


def test_undo_is_one_step(scene, tmp_path):
    rig, _ = animal()
    animated(rig)
    fit = followed(rig, tmp_path / "job")
    bpy.ops.ed.undo_push(message="before")
    key(scene, tmp_path / "job", fit, set_up_scene=True)
    bpy.ops.ed.undo_push(message="keyed")
    bpy.ops.ed.undo()
    rig = bpy.data.objects["rig"]
    assert rig.animation_data.action.name == "idle" and not rig.animation_data.action.use_fake_user
    assert not [one for one in bpy.data.objects if one.type in ("CAMERA", "EMPTY")]


def test_the_scene_takes_the_camera_where_it_shall(scene, tmp_path):
    rig, body = animal()
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit)
    assert not is_set_up(body) and bpy.context.scene.camera is None
    root = key(scene, tmp_path / "job", fit, set_up_scene=True)
    assert is_set_up(root) and is_set_up(body) and bpy.context.scene.camera.parent.parent == rig
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (11, 22)


def test_all_meshes_of_the_armature_are_selected_for_an_export(scene, tmp_path):
    rig, body = animal()
    hat = tubes(rig, ["head"], radius=0.2, name="hat")
    hat.parent = rig
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit, select=True)
    assert set(bpy.context.selected_objects) == {body, hat}
    both = fit.truth[:, :len(body.data.vertices)], fit.truth[:, len(body.data.vertices):]
    for mesh, truth in zip(sorted((body, hat), key=lambda one: one.name), both, strict=True):
        for frame, vertices in zip(FRAMES, truth, strict=True):
            assert np.abs(world_vertices(mesh, frame) - placed(rig.matrix_world, vertices)).max() < 1e-3


def inverse_kinematics(rig):
    constraint = rig.pose.bones["shin.L"].constraints.new("IK")
    constraint.target, constraint.subtarget, constraint.chain_count = rig, "pull.L", 3
    return "constraints or drivers move shin.L and 2 other bones"


def copied_transforms(rig):
    constraint = rig.pose.bones["head"].constraints.new("COPY_ROTATION")
    constraint.target, constraint.subtarget = rig, "root"
    return "constraints or drivers move head"


def a_driver(rig):
    rig.pose.bones["tail"].driver_add("rotation_quaternion", 1).driver.expression = "0.3"
    return "constraints or drivers move tail"


def a_joint_moved_at_rest(rig):
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones["head"].head.z += 0.1
    bpy.ops.object.mode_set(mode="OBJECT")
    return "rig was changed at rest since the run began"


@pytest.mark.parametrize("change", [inverse_kinematics, copied_transforms, a_driver, a_joint_moved_at_rest])
def test_what_cannot_be_keyed_says_why(scene, tmp_path, change):
    rig, _ = animal()
    fit = followed(rig, tmp_path / "job")
    reason = change(rig)
    assert obstacle_to_keys(find_own_rig(tmp_path / "job" / RIG_NAME, None), fit.result).startswith(reason)


def test_of_rigify_the_metarig_is_keyed(scene, tmp_path):
    with rigify_enabled():
        bpy.ops.object.armature_basic_quadruped_metarig_add()
    meta = bpy.context.object
    body = tubes(meta, [bone.name for bone in meta.data.bones], 0.02, blend=0.03)
    fit = followed(body, tmp_path / "meta")
    key(scene, tmp_path / "meta", fit)
    assert_follows(meta, body, fit)


def test_constraints_that_do_nothing_are_no_obstacle(scene, tmp_path):
    rig, body = animal()
    inverse_kinematics(rig)
    copied_transforms(rig)
    rig.pose.bones["shin.L"].constraints[0].mute = True
    rig.pose.bones["head"].constraints[0].influence = 0
    constraint = rig.pose.bones["pull.R"].constraints.new("LIMIT_ROTATION")
    constraint.mute = True
    fit = followed(rig, tmp_path / "job")
    key(scene, tmp_path / "job", fit)
    assert_follows(rig, body, fit)


def test_the_armature_is_found_again_under_another_name(scene, tmp_path):
    rig, body = animal()
    followed(rig, tmp_path / "job")
    rig.name = "hero"
    with pytest.raises(BadInput, match="the armature rig is not in this file, or lacks bones of the template"):
        find_own_rig(tmp_path / "job" / RIG_NAME, None)
    for chosen in (rig, body):
        assert find_own_rig(tmp_path / "job" / RIG_NAME, chosen).armature == rig
    with pytest.raises(BadInput, match="the result is of no object in this file"):
        find_own_rig(None, rig)


def test_a_result_of_something_else_is_none_for_it(scene, tmp_path):
    rig, _ = animal()
    fit = followed(rig, tmp_path / "job")
    found = find_own_rig(tmp_path / "job" / RIG_NAME, rig)
    other = replace(fit.result, bone_names=np.array([f"x{name}" for name in fit.result.bone_names]))
    assert obstacle_to_keys(found, other) == "the result has other bones than rig"


def test_on_other_proportions_bones_turn_as_the_results_do(scene, tmp_path):
    rig, _ = animal()
    fit = followed(rig, tmp_path / "job")
    # What a fit that adapts the shape gives: the same turns, joints 20 % further from each other along z.
    result, stretch = fit.result, np.diag([1.0, 1.0, 1.2])
    rest, pose = result.bone_rest.copy(), result.bone_pose.copy()
    rest[:, :3, 3] = rest[:, :3, 3] @ stretch
    turns = pose[..., :3, :3] @ result.bone_rest[:, :3, :3].transpose(0, 2, 1)
    for bone, parent in enumerate(result.bone_parents):
        pose[:, bone, :3, 3] = rest[bone, :3, 3] if parent < 0 else \
            pose[:, parent, :3, 3] + turns[:, parent] @ (rest[bone, :3, 3] - rest[parent, :3, 3])
    adapted = replace(result, bone_rest=rest, bone_pose=pose,
                      rest_vertices=(result.rest_vertices @ stretch).astype(np.float32))
    own = find_own_rig(tmp_path / "job" / RIG_NAME, rig)
    assert not obstacle_to_keys(own, adapted)
    key_own_rig(bpy.context, scene, adapted, tmp_path / "job", "walk", own)
    located = {curve.data_path.split('"')[1] for curve in curves(rig) if curve.data_path.endswith("location")}
    assert not located - {"foot.L", "foot.R", fit.facts["bone_names"][0]}
    wanted = {name: values_of(rig, f'pose.bones["{name}"].rotation_quaternion') for name in HELD}
    key(scene, tmp_path / "job", fit)
    for name in HELD:
        same = values_of(rig, f'pose.bones["{name}"].rotation_quaternion')
        assert np.abs((same * wanted[name]).sum(1)).min() > 1 - 1e-5, name
