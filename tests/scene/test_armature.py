"""A mesh that an armature moves has the result's vertices at every frame, and the result's bones."""

from dataclasses import replace

import bpy
import numpy as np
import pytest
from blender_view import world_vertices
from nodding_ball import NAMES, nodding_ball
from wobbling_ball import wobbling_ball


def armature_of(added):
    return added.mesh.modifiers["Armature"].object


@pytest.mark.parametrize("motion", ["SHAPE_KEYS", "ARMATURE"])
@pytest.mark.parametrize("numbers", [range(105, 115), [105, 108, 109, 113], [107]])
def test_either_way_of_moving_has_the_results_vertices_at_every_frame(add, motion, numbers):
    added = add(nodding_ball(numbers), motion=motion)
    for frame, vertices in zip(added.frames, added.result.vertices, strict=True):
        assert np.abs(world_vertices(added.mesh, frame) - vertices).max() < 1e-5


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 3, 0, 2]])
def test_bones_may_stand_in_any_order(add, order):
    added = add(nodding_ball(range(105, 110), order=order), motion="ARMATURE")
    for frame, vertices in zip(added.frames, added.result.vertices, strict=True):
        assert np.abs(world_vertices(added.mesh, frame) - vertices).max() < 1e-5


def test_names_may_hold_any_character(add):
    names = ['a"b', "back\\slash", "[0]", "尾"]
    added = add(replace(nodding_ball(range(105, 110)), bone_names=np.array(names)), motion="ARMATURE")
    assert set(armature_of(added).data.bones.keys()) == set(names)
    assert np.abs(world_vertices(added.mesh, added.frames[3]) - added.result.vertices[3]).max() < 1e-5


def test_bones_without_names_and_lengths_in_several_trees(add):
    result = replace(nodding_ball(range(105, 110)), bone_names=None, bone_lengths=None,
                     bone_parents=np.int32([-1, 0, -1, 2]))
    added = add(result, motion="ARMATURE")
    for frame, vertices in zip(added.frames, result.vertices, strict=True):
        assert np.abs(world_vertices(added.mesh, frame) - vertices).max() < 1e-5
    bones = armature_of(added).data.bones
    assert [bone.name for bone in bones if bone.parent is None] == ["bone_00", "bone_02"]
    assert all(bone.length == pytest.approx(0.1) for bone in bones)


def test_bones_are_the_results(add):
    added = add(nodding_ball(range(105, 110)), motion="ARMATURE")
    result, bones = added.result, armature_of(added).data.bones
    assert set(bones.keys()) == set(NAMES)
    for name, parent, rest, length in zip(
            NAMES, [None, *NAMES[:3]], result.bone_rest, result.bone_lengths, strict=True):
        bone = bones[name]
        assert (bone.parent.name if bone.parent else None) == parent
        assert np.abs(np.array(bone.matrix_local) - rest).max() < 1e-5
        assert np.abs(np.array(bone.tail_local) - (rest[:3, 3] + length * rest[:3, 1])).max() < 1e-5


@pytest.mark.parametrize("slide, connected", [(0.02, [NAMES[1]]), (0.0, NAMES[1:3])])
def test_a_bone_hangs_on_the_one_above_where_it_never_leaves_its_tail(add, slide, connected):
    added = add(nodding_ball(range(105, 115), slide=slide), motion="ARMATURE")
    armature = armature_of(added)
    assert [bone.name for bone in armature.data.bones if bone.use_connect] == connected
    moved = {pose_bone.name for pose_bone in armature.pose.bones if shifts(added, pose_bone)}
    assert moved == {NAMES[0]} | ({NAMES[2]} if slide else set()), "only bones that shift have keys for it"


def shifts(added, pose_bone):
    for frame in added.frames:
        bpy.context.scene.frame_set(frame)
        if pose_bone.location.length:
            return True
    return False


def test_poses_go_the_short_way_between_frames(add):
    added = add(nodding_ball(range(105, 115)), motion="ARMATURE")
    root = armature_of(added).pose.bones[NAMES[0]]
    turns = []
    for frame in np.arange(added.frames[0], added.frames[-1], 0.5):
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        turns.append(root.matrix.to_quaternion())
    for before, after in zip(turns, turns[1:], strict=False):
        assert before.rotation_difference(after).to_matrix().to_quaternion().angle == pytest.approx(0.45, abs=0.01)


def test_every_vertex_is_held_by_its_bones(add):
    added = add(nodding_ball(range(105, 108)), motion="ARMATURE")
    weights = np.zeros_like(added.result.skin_weights)
    names = [group.name for group in added.mesh.vertex_groups]
    assert names == NAMES
    for vertex in added.mesh.data.vertices:
        for held in vertex.groups:
            weights[vertex.index, held.group] = held.weight
    assert np.abs(weights - added.result.skin_weights).max() < 1e-6


def test_with_an_armature_there_are_no_shape_keys_and_without_no_bones(add):
    by_armature = add(nodding_ball(range(105, 108)), motion="ARMATURE", name="a")
    assert by_armature.mesh.data.shape_keys is None
    assert by_armature.mesh.parent == armature_of(by_armature)
    assert armature_of(by_armature).users_collection == by_armature.mesh.users_collection
    before = len(bpy.data.armatures), len(bpy.data.scenes)
    by_keys = add(nodding_ball(range(105, 108)), motion="SHAPE_KEYS", name="b")
    assert not by_keys.mesh.modifiers and not by_keys.mesh.vertex_groups
    assert (len(bpy.data.armatures), len(bpy.data.scenes)) == before


def test_an_animator_can_go_on_from_it(add):
    added = add(nodding_ball(range(105, 108)), motion="ARMATURE")
    armature = armature_of(added)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="POSE")
    bpy.context.scene.frame_set(added.frames[1])
    head = armature.pose.bones[NAMES[2]]
    head.rotation_quaternion = (1, 0, 0, 0)
    assert head.keyframe_insert("rotation_quaternion")
    bpy.ops.object.mode_set(mode="OBJECT")
    assert np.abs(world_vertices(added.mesh, added.frames[1]) - added.result.vertices[1]).max() > 1e-3
    assert np.abs(world_vertices(added.mesh, added.frames[2]) - added.result.vertices[2]).max() < 1e-5


def test_keys_are_grouped_by_bone(add):
    action = armature_of(add(nodding_ball(range(105, 108)), motion="ARMATURE")).animation_data.action
    channels = action.layers[0].strips[0].channelbags[0] if hasattr(action, "layers") else action
    assert [group.name for group in channels.groups] == NAMES
    assert all(f'"{curve.group.name}"' in curve.data_path for curve in channels.fcurves)


def test_a_result_without_bones_moves_by_shape_keys(add):
    added = add(wobbling_ball(range(105, 108)), motion="ARMATURE")
    assert np.abs(world_vertices(added.mesh, added.frames[1]) - added.result.vertices[1]).max() < 1e-4
    assert not bpy.data.armatures
