"""Keypoints that are chosen automatically: both of a mirrored pair or none, spread over the body."""

import bpy
from rigged_animal import rigged_animal
from video_mesh_reconstruction.scene.studio.keypoints import MOST, category_of, choose_keypoints
from video_mesh_reconstruction.scene.studio.subject import subject_of


def test_keypoints_are_chosen_in_pairs_that_mirror_each_other(goat):
    subject = subject_of(goat)
    category = category_of(subject, "goat", choose_keypoints(subject))
    names = category.keypoints
    assert {"head tip", "fore.L", "fore.R", "hind.L tip", "hind.R tip"} <= set(names)
    assert {names[i]: names[j] for i, j in enumerate(category.mirror)}["hind.L tip"] == "hind.R tip"
    assert ("neck", "head") in {(names[a], names[b]) for a, b in category.skeleton}
    assert ("fore.L", "fore.L tip") in {(names[a], names[b]) for a, b in category.skeleton}


def test_of_many_bones_those_far_apart_are_taken_both_of_a_pair_or_none(empty_file):
    goat = rigged_animal()
    rig = goat.parent
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for side, x in (("L", 0.2), ("R", -0.2)):
        for number in range(30):
            toe = rig.data.edit_bones.new(f"toe{number}.{side}")
            toe.head, toe.tail = (x, -0.6 - 0.1 * number, 0), (x, -0.605 - 0.1 * number, 0)
            toe.parent = rig.data.edit_bones[f"fore.{side}"]
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in rig.data.bones:
        if bone.name not in goat.vertex_groups:
            goat.vertex_groups.new(name=bone.name)
    names = [keypoint.name for keypoint in choose_keypoints(subject_of(goat))]
    assert MOST - 1 <= len(names) <= MOST and {"head tip", "tail tip", "hind.L tip"} <= set(names)
    assert {name.replace(".L", ".R") for name in names if ".L" in name} == {name for name in names if ".R" in name}
