"""What is rendered as one animal, the actions that fit it, and the digest of its state."""

import bpy
from rigged_animal import rigged_animal
from video_mesh_reconstruction.scene.studio.subject import fingerprint, is_upright, motions_of, subject_of


def test_all_that_an_armature_moves_is_one_subject(goat):
    rig = goat.parent
    collar = bpy.data.objects.new("collar", goat.data.copy())
    collar.parent, collar.parent_type, collar.parent_bone = rig, "BONE", "neck"
    widget = bpy.data.objects.new("widget", goat.data.copy())
    widget.parent, widget.hide_render = rig, True
    for one in (collar, widget):
        bpy.context.scene.collection.objects.link(one)
    for chosen in (goat, rig, collar):
        subject = subject_of(chosen)
        assert (subject.root, subject.armature, set(subject.meshes)) == (rig, rig, {goat, collar})


def test_actions_of_other_rigs_are_left_out(goat):
    other = rigged_animal("other")
    bpy.data.actions.remove(other.parent.animation_data.action)
    for bone in other.parent.data.bones:
        bone.name = f"other {bone.name}"
    other.parent.pose.bones[0].keyframe_insert("location", frame=1)
    other.parent.animation_data.action.name = "stranger"
    assert {motion.action.name for motion in motions_of(subject_of(goat))} == {"goat walk"}


def test_an_object_that_lies_on_its_side_is_told_apart(goat):
    assert is_upright(subject_of(goat))
    goat.parent.rotation_euler = (1.57, 0, 0)
    bpy.context.view_layer.update()
    assert not is_upright(subject_of(goat))


def test_only_what_changes_pictures_changes_the_fingerprint(goat):
    before = fingerprint(subject_of(goat))
    bpy.context.scene.frame_set(7)
    goat.parent.location.x += 1
    assert fingerprint(subject_of(goat)) == before
    goat.modifiers.new("thicker", "SOLIDIFY")
    assert fingerprint(subject_of(goat)) != before
