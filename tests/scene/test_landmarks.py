"""The empties of a result's keypoints are where the result has them, whatever moves its mesh."""

from dataclasses import replace

import bpy
import numpy as np
import pytest
from blender_view import world_vertices
from nodding_ball import NAMES, nodding_ball
from video_mesh_reconstruction.scene.result import add_result
from wobbling_ball import wobbling_ball

MOTIONS = ["SHAPE_KEYS", "ARMATURE"]


def named(result):
    """The result with keypoints: a vertex, the middle of a face, one deep inside, and one named as a bone."""
    count = len(result.rest_vertices)
    weights = np.zeros((4, count), np.float32)
    weights[0, 40] = 1
    weights[1, result.faces[100]] = 0.2, 0.3, 0.5
    weights[2] = 1 / count
    weights[3, result.faces[7]] = 1 / 3
    return replace(result, keypoint_names=np.array(["snout", "knie é", "heart", NAMES[2]]), keypoint_weights=weights)


def places(names, frame):
    """(K, 3) where the empties are at a scene frame, in the world."""
    bpy.context.scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    return np.array([bpy.data.objects[name].evaluated_get(graph).matrix_world.translation for name in names])


@pytest.mark.parametrize("motion", MOTIONS)
def test_at_every_frame_each_is_where_the_result_has_it(add, motion):
    result = named(nodding_ball(range(105, 110)))
    added = add(result, motion=motion)
    found = np.array([places(result.keypoint_names, frame) for frame in added.frames])
    expected = result.keypoint_weights @ result.vertices
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(expected, axis=0).max() > 0.1, "they move"


def test_where_the_surface_stretches_they_stay_on_it(add):
    result = named(wobbling_ball(range(105, 110)))
    added = add(result)
    for frame, vertices in zip(added.frames, result.vertices, strict=True):
        assert np.abs(places(result.keypoint_names, frame) - result.keypoint_weights @ vertices).max() < 1e-5


def test_between_frames_they_move_as_the_mesh_does(add):
    result = named(wobbling_ball([105, 109]))
    add(result)
    assert np.abs(places(result.keypoint_names, 13) - result.keypoint_weights @ result.vertices.mean(0)).max() < 1e-5


@pytest.mark.parametrize("motion", MOTIONS)
def test_they_follow_the_mesh_where_the_user_takes_it(add, motion):
    result = named(nodding_ball(range(105, 110)))
    added = add(result, motion=motion)
    mover = added.mesh.find_armature() or added.mesh
    mover.location, mover.scale = (1, 2, 3), (2, 2, 2)
    expected = 2 * result.keypoint_weights @ result.vertices[2] + [1, 2, 3]
    assert np.abs(places(result.keypoint_names, added.frames[2]) - expected).max() < 1e-4


def test_their_weights_do_not_move_the_mesh_though_bones_have_such_names(add):
    result = named(nodding_ball(range(105, 110)))
    added = add(replace(result, bone_names=np.array(["keypoint snout", *NAMES[1:]])), motion="ARMATURE")
    for frame, vertices in zip(added.frames, result.vertices, strict=True):
        assert np.abs(world_vertices(added.mesh, frame) - vertices).max() < 1e-4
        assert np.abs(places(["snout"], frame) - result.keypoint_weights[:1] @ vertices).max() < 1e-5


def test_names_may_be_as_long_as_the_format_allows_and_begin_alike(add):
    result = named(wobbling_ball(range(105, 108)))
    names = np.array([f"{'ü' * 30}{number:03d}" for number in range(4)])
    frames = add(replace(result, keypoint_names=names)).frames
    assert np.abs(places(names, frames[1]) - result.keypoint_weights @ result.vertices[1]).max() < 1e-5


def test_they_have_a_collection_in_the_results_and_are_small(add):
    added = add(named(wobbling_ball(range(105, 108))), name="fox")
    (inner,) = bpy.data.collections["fox"].children
    assert inner.name == "fox Keypoints"
    assert sorted(empty.name for empty in inner.objects) == sorted(["snout", "knie é", "heart", "head"])
    assert all(empty.type == "EMPTY" and empty.empty_display_size < 0.05 for empty in inner.objects)
    assert bpy.context.selected_objects == [added.mesh]


def test_two_results_have_their_own(add):
    first, second = named(wobbling_ball(range(105, 108))), named(nodding_ball(range(105, 108)))
    frames, beside = add(first).frames, np.array(add(second).root.location)
    assert np.abs(places(["snout"], frames[2]) - first.keypoint_weights[:1] @ first.vertices[2]).max() < 1e-5
    found = places(["snout.001"], frames[2]) - beside
    assert np.abs(found - second.keypoint_weights[:1] @ second.vertices[2]).max() < 1e-5


def test_a_result_without_names_has_none(add):
    added = add(replace(wobbling_ball(range(105, 107)), keypoints=np.zeros((2, 3, 2), np.float32)))
    assert set(bpy.context.scene.objects) == {added.mesh, added.camera, added.root}
    assert not added.mesh.vertex_groups


@pytest.mark.parametrize("motion", MOTIONS)
def test_saving_and_loading_keeps_them_in_place(add, tmp_path, motion):
    result = named(nodding_ball(range(105, 108)))
    frames = add(result, motion=motion).frames
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert np.abs(places(result.keypoint_names, frames[1]) - result.keypoint_weights @ result.vertices[1]).max() < 1e-5


def test_undo_takes_them_back_and_redo_brings_them(add):
    added = add()
    bpy.ops.ed.undo_push(message="before")
    result = named(wobbling_ball(range(105, 108)))
    add_result(bpy.context, added.clip, result, added.folder, "second")
    bpy.ops.ed.undo_push(message="added")
    bpy.ops.ed.undo()
    assert "snout" not in bpy.data.objects and "second Keypoints" not in bpy.data.collections
    bpy.ops.ed.redo()
    found = places(result.keypoint_names, 12) - np.array(bpy.data.objects["second Root"].location)
    assert np.abs(found - result.keypoint_weights @ result.vertices[1]).max() < 1e-5


def test_a_failure_at_the_very_end_leaves_none_behind(add, monkeypatch):
    added = add()
    monkeypatch.setattr("video_mesh_reconstruction.scene.result.select_alone", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add_result(bpy.context, added.clip, named(wobbling_ball(range(105, 108))), added.folder, "second")
    assert set(bpy.data.objects) == {added.mesh, added.camera, added.root}
    assert [collection.name for collection in bpy.data.collections] == ["ball"]
