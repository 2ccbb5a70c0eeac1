"""Rigify generates a control rig from the quadruped template's bones, and its controls move what deforms the mesh."""

import math

import bpy
import numpy as np
import pytest
from mathutils import Matrix
from quadruped_bones import quadruped_bones
from video_mesh_reconstruction.vmr_backend.templates import rigify


@pytest.fixture
def rigs(empty_file):
    """The metarig, and the rig that Rigify generates from it."""
    import addon_utils

    addon_utils.enable("rigify", default_set=True)
    bones = quadruped_bones()
    data = bpy.data.armatures.new("quadruped")
    metarig = bpy.data.objects.new("quadruped", data)
    bpy.context.scene.collection.objects.link(metarig)
    bpy.context.view_layer.objects.active = metarig
    bpy.ops.object.mode_set(mode="EDIT")
    for number, name in enumerate(bones.names):
        made = data.edit_bones.new(name)
        made.head, made.tail = (0, 0, 0), (0, bones.lengths[number], 0)
        made.matrix = Matrix(bones.rest[number].tolist())
        if bones.parents[number] >= 0:
            made.parent = data.edit_bones[bones.names[bones.parents[number]]]
    rigify.connect(data.edit_bones)
    bpy.ops.object.mode_set(mode="OBJECT")
    rigify.prepare(metarig)
    bpy.ops.object.mode_set(mode="POSE")
    assert bpy.ops.pose.rigify_generate() == {"FINISHED"}
    yield metarig, metarig.data.rigify_target_rig
    bpy.ops.object.mode_set(mode="OBJECT")
    addon_utils.disable("rigify", default_set=True)


def test_the_table_has_each_bone_once():
    names = quadruped_bones().names
    assert set(rigify.QUADRUPED) == set(names)
    assert set(rigify.CONNECTED) < set(names) and set(rigify.CONTROLS) < set(names)


def test_bones_keep_their_rest_and_controls_turn_them(rigs):
    metarig, rig = rigs
    for bone in metarig.data.bones:
        deform = rig.data.bones[f"DEF-{bone.name}"]
        assert np.allclose(deform.matrix_local, bone.matrix_local, atol=1e-4), bone.name
    for switch in rigify.SWITCHES:
        rig.pose.bones[switch]["IK_FK"] = 1.0
    rig.update_tag()
    bpy.context.view_layer.update()
    for name, control in rigify.CONTROLS.items():
        posed, deform = rig.pose.bones[control], rig.pose.bones[f"DEF-{name}"]
        before = deform.matrix.to_quaternion()
        posed.rotation_mode = "QUATERNION"
        posed.rotation_quaternion = (math.cos(0.2), math.sin(0.2), 0, 0)
        bpy.context.view_layer.update()
        turned = before.inverted() @ deform.matrix.to_quaternion()
        assert abs(turned.angle - 0.4) < 1e-3 and turned.axis.x > 0.999, (name, turned)
        posed.rotation_quaternion = (1, 0, 0, 0)
        bpy.context.view_layer.update()
