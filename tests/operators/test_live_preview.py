"""The preview of a run that goes on beside the user's work: shown, replaced by the result, kept or discarded.

Without a window Blender follows nothing beside the user's work, so the tests give the operator's ways their turns.
"""

import os
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_view import world_vertices
from nodding_ball import nodding_ball

LOOK = dict(size=(64, 48), centre=(30.0, 25.0), focal=(120.0, 120.0))


class Turns:
    """Starts a run as `invoke` does, and gives it the turns that it has from a timer."""

    def __init__(self, extension):
        self.run = extension.module("operators.reconstruct").Reconstructing()
        self.activity = extension.module("properties").reconstruction_activity
        self.extension = extension
        assert self.run.start(bpy.context) is None

    def turn(self):
        return self.run.turn()

    def until(self, is_so):
        end = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < end
            self.turn()
            time.sleep(0.02)

    def until_the_end(self):
        self.until(lambda: not self.activity.running)
        return self.activity.last

    def stop(self):
        assert bpy.ops.vmr.cancel() == {"FINISHED"}
        return self.until_the_end()


@pytest.fixture
def snapshot(backend):
    """What the backend leaves in its folder while it runs: another motion than the result's, with bones."""
    result = nodding_ball(range(3, 8), **LOOK)
    result.save(backend.folder, "snapshot.npz")
    return result


@pytest.fixture
def running(extension, backend, footage, snapshot):
    """A run that has shown its snapshot and goes on."""
    backend.behave("leave a snapshot and wait")
    turns = Turns(extension)
    turns.until(lambda: turns.activity.preview is not None)
    yield turns
    if turns.activity.running:
        turns.stop()
    extension.module("operators.preview").forget_previews()


@pytest.fixture
def stopped(running):
    """A run that the user stopped after it had shown its snapshot."""
    assert running.stop().state == "CANCELLED"
    return running


def previewed():
    return bpy.data.objects.get("walk Preview")


def test_while_it_runs_the_mesh_of_the_shown_frame_is_in_the_viewport(running, snapshot):
    for frame in (1, 4, 2):
        assert np.array_equal(world_vertices(previewed(), frame), snapshot.vertices[frame - 1])
    assert running.activity.running and not running.activity.ended


def test_the_next_snapshot_follows(running, extension, backend, snapshot):
    running.run._snapshots = extension.module("jobs.snapshot").SnapshotReader(running.run.activity.child.folder, 0)
    later = nodding_ball(range(3, 8), turn=0.4, **LOOK)
    later.save(running.run.activity.child.folder / "run", "snapshot.npz")
    running.turn()
    assert np.array_equal(world_vertices(previewed(), 3), later.vertices[2])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", "of a turned picture"])
def test_what_cannot_be_shown_is_passed_over_and_the_run_goes_on(running, extension, snapshot, content):
    running.run._snapshots = extension.module("jobs.snapshot").SnapshotReader(running.run.activity.child.folder, 0)
    folder = running.run.activity.child.folder / "run"
    if isinstance(content, bytes):
        (folder / "snapshot.npz").write_bytes(content)
    else:
        nodding_ball(range(3, 8), size=(48, 64)).save(folder, "snapshot.npz")
    os.utime(folder / "snapshot.npz", (1e9, 1e9))
    assert running.turn()
    assert running.activity.running and not running.activity.ended
    assert np.array_equal(world_vertices(previewed(), 3), snapshot.vertices[2])


def test_the_result_takes_its_place(extension, backend, footage, snapshot):
    backend.behave("leave a snapshot and yield the result")
    turns = Turns(extension)
    turns.until(lambda: turns.activity.preview is not None)
    assert set(bpy.data.objects.keys()) == {"walk Preview", "walk Preview Camera"}
    assert turns.until_the_end().state == "DONE"
    assert turns.activity.preview is None and set(bpy.data.collections.keys()) == {"walk"}
    assert set(bpy.data.objects.keys()) == {"walk", "walk Camera", "walk Root"} and len(bpy.data.meshes) == 1
    assert np.abs(world_vertices(bpy.data.objects["walk"], 3) - backend.result.vertices[2]).max() < 1e-4


def test_a_run_that_fails_takes_it_along(extension, backend, footage, snapshot, untouched):
    before = untouched()
    backend.behave("leave a snapshot and fail")
    turns = Turns(extension)
    turns.until(lambda: turns.activity.preview is not None)
    assert turns.until_the_end().state == "FAILED"
    assert turns.activity.preview is None and untouched() == before


def test_stopped_by_the_user_it_can_be_kept(stopped, snapshot):
    assert previewed() is not None and bpy.ops.vmr.keep_preview.poll()
    assert bpy.ops.vmr.keep_preview() == {"FINISHED"}
    assert previewed() is None and not bpy.ops.vmr.keep_preview.poll() and not bpy.ops.vmr.discard_preview.poll()
    mesh = bpy.context.view_layer.objects.active
    assert (mesh.name, bpy.context.scene.camera.name) == ("walk", "walk Camera")
    for frame, vertices in enumerate(snapshot.vertices, start=1):
        assert np.abs(world_vertices(mesh, frame) - vertices).max() < 1e-4
    assert stopped.activity.last.text == "Added walk: 5 frames, the state of the stopped run"


def test_what_is_kept_moves_as_the_scene_says_and_has_a_plain_material(stopped):
    bpy.context.scene.vmr.motion = "ARMATURE"
    bpy.ops.vmr.keep_preview()
    mesh = bpy.data.objects["walk"]
    assert mesh.find_armature() and not bpy.data.images
    assert {node.type for node in mesh.active_material.node_tree.nodes} == {"BSDF_PRINCIPLED", "OUTPUT_MATERIAL"}


def test_where_the_run_had_a_texture_it_is_on_what_is_kept(stopped):
    from wobbling_ball import save_texture

    save_texture(Path(stopped.activity.folder))
    bpy.ops.vmr.keep_preview()
    nodes = bpy.data.objects["walk"].active_material.node_tree.nodes
    assert [node.image.name for node in nodes if node.type == "TEX_IMAGE"] == ["walk"]


def test_stopped_by_the_user_it_can_be_discarded(extension, backend, footage, snapshot, untouched):
    before = untouched()
    backend.behave("leave a snapshot and wait")
    turns = Turns(extension)
    turns.until(lambda: turns.activity.preview is not None)
    turns.stop()
    assert bpy.ops.vmr.discard_preview() == {"FINISHED"}
    assert untouched() == before and not bpy.ops.vmr.discard_preview.poll()


def test_while_it_runs_there_is_nothing_to_keep_or_discard(running):
    assert not bpy.ops.vmr.keep_preview.poll() and not bpy.ops.vmr.discard_preview.poll()


def test_without_its_clip_a_line_says_why_it_cannot_be_kept(stopped, footage):
    bpy.data.movieclips.remove(footage)
    with pytest.raises(RuntimeError, match="the clip or the scene was removed"):
        bpy.ops.vmr.keep_preview()
    assert bpy.ops.vmr.discard_preview() == {"FINISHED"} and previewed() is None


def test_a_run_that_cannot_begin_leaves_it(stopped, extension, footage):
    footage.vmr.inputs.masks = "/nowhere"
    ended = extension.module("operators.reconstruct").Reconstructing().start(bpy.context)
    assert ended.state == "FAILED" and stopped.activity.preview is not None
    assert bpy.ops.vmr.keep_preview() == {"FINISHED"}


def test_the_next_run_begins_without_it(stopped, extension, backend):
    backend.behave("wait")
    turns = Turns(extension)
    assert previewed() is None and turns.activity.preview is None
    turns.stop()


def test_live_preview_can_be_switched_off_and_on_while_it_runs(running, extension, snapshot):
    props = bpy.context.scene.vmr
    props.live_preview = False
    running.turn()
    assert previewed() is None
    props.live_preview = True
    running.turn()
    assert np.array_equal(world_vertices(previewed(), 2), snapshot.vertices[1])


def test_switched_off_nothing_is_shown_nor_left(extension, backend, footage, snapshot, untouched):
    bpy.context.scene.vmr.live_preview = False
    before = untouched()
    backend.behave("leave a snapshot and wait")
    turns = Turns(extension)
    turns.until(lambda: turns.activity.fraction > 0.55)
    turns.turn()
    assert untouched() == before
    turns.stop()
    assert untouched() == before and not bpy.ops.vmr.keep_preview.poll()


def test_undo_of_the_users_steps_leaves_it_as_it_is(running, snapshot):
    bpy.ops.ed.undo_push(message="with the preview")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    bpy.ops.ed.undo()
    assert "Cube" not in bpy.data.objects
    assert np.array_equal(world_vertices(previewed(), 3), snapshot.vertices[2])


def test_undo_to_before_it_brings_it_back(extension, backend, footage, snapshot):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="before the preview")
    bpy.data.objects["Cube"].name = "renamed"
    bpy.ops.ed.undo_push(message="renamed")
    backend.behave("leave a snapshot and wait")
    turns = Turns(extension)
    turns.until(lambda: turns.activity.preview is not None)
    bpy.ops.ed.undo()
    assert "Cube" in bpy.data.objects and len(bpy.data.collections) == 1
    beside = np.array(previewed().location)
    assert beside[0] > 1 and np.abs(world_vertices(previewed(), 3) - beside - snapshot.vertices[2]).max() < 1e-5
    turns.stop()
    bpy.ops.vmr.discard_preview()


def test_undo_never_brings_back_one_that_has_ended(stopped):
    bpy.ops.ed.undo_push(message="with the preview")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.ed.undo_push(message="cube")
    bpy.ops.vmr.discard_preview()
    bpy.ops.ed.undo()
    assert "Cube" not in bpy.data.objects and previewed() is None and not bpy.data.collections
    bpy.ops.ed.redo()
    assert "Cube" in bpy.data.objects and previewed() is None and not bpy.data.cameras


def test_one_undo_takes_back_what_was_kept(stopped):
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.vmr.keep_preview("EXEC_DEFAULT", True)
    assert "walk" in bpy.data.objects
    bpy.ops.ed.undo()
    assert not bpy.data.objects and not bpy.data.collections and not bpy.data.meshes
    bpy.ops.ed.redo()
    assert {"walk", "walk Camera", "walk Root"} == set(bpy.data.objects.keys())


def listening(extension):
    lists = [getattr(bpy.app.handlers, name) for name in dir(bpy.app.handlers)]
    found = [handler for one in lists if isinstance(one, list) for handler in one]
    return [one for one in found if getattr(one, "__module__", "") == f"{extension.name}.operators.preview"]


def test_another_file_ends_it(stopped, extension):
    assert listening(extension)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert stopped.activity.preview is None and not bpy.data.objects and not listening(extension)
    assert not bpy.ops.vmr.keep_preview.poll()


def test_disabling_the_extension_leaves_nothing_of_it(stopped, extension):
    operators = extension.module("operators")
    operators.unregister()
    try:
        assert previewed() is None and not bpy.data.collections and not listening(extension)
    finally:
        operators.register()


def test_after_it_has_ended_frame_changes_are_let_alone(stopped, extension):
    bpy.ops.vmr.discard_preview()
    assert not [one for one in bpy.app.handlers.frame_change_post if one in listening(extension)]


def test_a_run_to_the_end_shows_none(extension, backend, footage, snapshot):
    backend.behave("leave a snapshot and yield the result")
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    assert set(bpy.data.collections.keys()) == {"walk"}


def test_exports_leave_it_out(running):
    layer = bpy.context.view_layer.layer_collection
    bpy.context.view_layer.active_layer_collection = layer.children["walk Preview"]
    assert not bpy.ops.vmr.export_fbx.poll() and not bpy.ops.vmr.export_gltf.poll()
