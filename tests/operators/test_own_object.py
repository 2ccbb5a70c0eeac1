"""My Rigged Object in a real Blender: from the object chosen for the clip to keys on its armature."""

import dataclasses
import importlib
import json

import bpy
import numpy as np
import pytest
from blender_view import world_vertices
from followed_clip import followed, placed
from own_rigs import armature, generated, tubes

BONES = {"hips": ((0, 0.4, 1), (0, 0, 1), None), "chest": ((0, 0, 1), (0, -0.4, 1.05), "hips"),
         "head": ((0, -0.4, 1.05), (0, -0.8, 1.3), "chest"), "tail": ((0, 0.4, 1), (0, 0.9, 1.1), "hips"),
         **{f"{leg}.{side}": ((x, y, 1), (x, y, 0), parent) for side, x in (("L", 0.2), ("R", -0.2))
            for leg, y, parent in (("arm", -0.4, "chest"), ("leg", 0.4, "hips"))}}


@pytest.fixture
def rig(footage):
    """An armature that moves a mesh, chosen as the clip's subject."""
    rig = armature(BONES)
    tubes(rig, BONES).parent = rig
    rig.location = 1, 2, 3
    rig.scale = 2, 2, 2
    bpy.context.scene.vmr.method = "own"
    footage.vmr.inputs.rig = rig
    return rig


@pytest.fixture
def fit(rig, backend, tmp_path):
    """What the backend finds of it."""
    fit = followed(rig, tmp_path / "fit", numbers=range(3, 8))
    fit.result.save(backend.folder / "result")
    return fit


def job_folder(extension):
    (path,) = extension.module("preferences").jobs_folder().glob("*/job.json")
    return path.parent


def request_in(extension):
    return extension.module("vmr_backend.job").JobRequest.load(job_folder(extension))


def error_of(operator, **options) -> str:
    with pytest.raises(RuntimeError) as error:
        operator(**options)
    return str(error.value).strip()


def assert_follows(rig, fit):
    for frame, vertices in enumerate(fit.truth, start=1):
        there = world_vertices(bpy.data.objects["body"], frame)
        assert np.abs(there - placed(rig.matrix_world, vertices)).max() < 1e-4 * 4


def text_of(extension):
    return extension.module("properties").reconstruction_activity.last.text


def test_the_armature_is_keyed_and_the_request_has_what_a_run_needs(extension, fit, rig):
    meshes = len(bpy.data.meshes)
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    assert len(bpy.data.meshes) == meshes
    assert_follows(rig, fit)
    request, folder = request_in(extension), job_folder(extension)
    assert (request.method, request.template, request.model) == ("template", str(folder / "rig.npz"), None)
    arrays, facts = extension.module("vmr_backend.templates.rig_file").load_rig(folder / "rig.npz")
    assert (facts["shape"], facts["armature"], set(facts["bone_names"])) == ("keep", "rig", set(BONES))
    assert np.array_equal(arrays["vertices"], fit.arrays["vertices"])
    assert text_of(extension).startswith("Keyed rig: 5 frames of 8 bones. Scene left as it is")


def test_the_same_object_is_the_same_job_and_another_front_another(extension, fit, rig, backend):
    bpy.ops.vmr.reconstruct()
    bpy.ops.vmr.reconstruct()
    assert len(backend.calls) == 1 and "the earlier result of the same settings" in text_of(extension)
    bpy.data.movieclips[0].vmr.inputs.rig_front = "+Y"
    bpy.ops.vmr.reconstruct()
    assert len(backend.calls) == 2


@pytest.mark.parametrize("motion", ["ARMATURE", "SHAPE_KEYS"])
def test_or_a_mesh_of_its_own_moves(extension, fit, rig, footage, motion):
    footage.vmr.inputs.rig_motion = motion
    bpy.ops.vmr.reconstruct()
    assert rig.animation_data is None
    mesh = bpy.data.objects["walk"]
    root = mesh.parent.parent if motion == "ARMATURE" else mesh.parent
    for frame, vertices in enumerate(fit.result.vertices, start=1):
        assert np.abs(world_vertices(mesh, frame) - np.array(root.location) - vertices).max() < 1e-4
    assert bool(mesh.find_armature()) == (motion == "ARMATURE")


def test_where_something_else_moves_the_bones_a_new_armature_is_keyed_and_a_line_says_so(extension, fit, rig):
    constraint = rig.pose.bones["leg.L"].constraints.new("COPY_ROTATION")
    constraint.target, constraint.subtarget = rig, "tail"
    bpy.ops.vmr.reconstruct()
    assert "with a new armature: constraints or drivers move leg.L" in text_of(extension)
    assert rig.animation_data is None
    mesh = bpy.data.objects["walk"]
    assert set(mesh.find_armature().data.bones.keys()) == set(BONES)
    for frame, vertices in enumerate(fit.result.vertices, start=1):
        there = world_vertices(mesh, frame) - np.array(mesh.parent.parent.location)
        assert np.abs(there - vertices).max() < 1e-4


def nothing(inputs):
    inputs.rig = None
    return "Choose your rigged object first"


def a_mesh_without_an_armature(inputs):
    inputs.rig = bpy.data.objects["body"]
    inputs.rig.modifiers.clear()
    return "body: found no armature that moves it"


def a_mesh_without_weights(inputs):
    inputs.rig = bpy.data.objects["body"]
    inputs.rig.vertex_groups.clear()
    return "body: found no vertex groups that are called as bones that deform"


def an_armature_without_a_mesh(inputs):
    bpy.data.objects.remove(bpy.data.objects["body"])
    return "rig: found no mesh that this armature moves"


def a_deleted_object(inputs):
    bpy.data.scenes["Scene"].collection.objects.unlink(inputs.rig)
    return "rig: found in no scene of this file"


@pytest.mark.parametrize("change", [nothing, a_deleted_object, a_mesh_without_an_armature, a_mesh_without_weights,
                                    an_armature_without_a_mesh])
def test_what_is_no_rigged_object_is_refused_in_a_line_before_anything_starts(
        extension, fit, footage, backend, change):
    reason = change(footage.vmr.inputs)
    message = error_of(bpy.ops.vmr.reconstruct)
    assert reason in message and len(message.splitlines()) <= 2 and not backend.calls
    assert not list(extension.module("preferences").jobs_folder().glob("*/job.json"))


def test_what_is_doubtful_about_it_is_told(extension, fit, rig):
    rig.scale = 2, 2, 2.5
    bpy.ops.vmr.reconstruct()
    warnings = extension.module("properties").reconstruction_activity.last.warnings
    assert any("rig: its scale differs between axes" in line for line in warnings)


def test_the_object_and_what_is_said_of_it_are_kept_with_the_clip(extension, fit, rig, footage, tmp_path):
    inputs, bpy.context.scene.vmr.clip = footage.vmr.inputs, footage
    inputs.rig_front, inputs.rig_shape, inputs.rig_motion = "-Y", "adapt", "OWN_ARMATURE"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    inputs = bpy.data.movieclips[0].vmr.inputs
    assert (inputs.rig.name, inputs.rig_front, inputs.rig_shape, inputs.rig_motion) == (
        "rig", "-Y", "adapt", "OWN_ARMATURE")
    assert bpy.context.scene.vmr.method == "own"
    bpy.ops.vmr.reconstruct()
    facts = extension.module("vmr_backend.templates.rig_file").load_rig(job_folder(extension) / "rig.npz")[1]
    assert (facts["front"], facts["shape"]) == ("-Y", "adapt")
    assert request_in(extension).settings == {}


def test_a_setting_of_templates_does_not_overrule_the_objects_shape(extension, fit, rig):
    bpy.context.scene.vmr.settings.template_shape = "adapt"
    bpy.ops.vmr.reconstruct()
    assert "template_shape" not in request_in(extension).settings


def test_an_earlier_result_is_loaded_onto_the_armature(extension, fit, rig):
    bpy.ops.vmr.reconstruct()
    first = rig.animation_data.action
    assert bpy.ops.vmr.load_result(directory=str(job_folder(extension))) == {"FINISHED"}
    assert rig.animation_data.action != first and first.use_fake_user
    assert_follows(rig, fit)
    bpy.context.scene.vmr.method = "lasr"
    bpy.ops.vmr.load_result(directory=str(job_folder(extension)), motion="OWN_ARMATURE")
    assert len([one for one in bpy.data.actions if one.name.startswith("rig walk")]) == 3


def test_a_result_of_no_object_has_an_armature_of_its_own(extension, backend, footage):
    from nodding_ball import nodding_ball

    nodding_ball(range(3, 8), size=(64, 48), centre=(30.0, 25.0), focal=(120.0, 120.0)).save(backend.folder / "result")
    bpy.ops.vmr.reconstruct()
    armatures = len(bpy.data.armatures)
    bpy.ops.vmr.load_result(directory=str(job_folder(extension)), motion="OWN_ARMATURE")
    assert len(bpy.data.armatures) == armatures + 1


def test_the_preview_shows_the_posed_mesh_and_is_kept_on_the_armature(extension, backend, fit, rig):
    fit.result.save(backend.folder, "snapshot.npz")
    backend.behave("leave a snapshot and wait")
    turns = importlib.import_module("test_live_preview").Turns(extension)
    turns.until(lambda: turns.activity.preview is not None)
    shown = bpy.data.objects["walk Preview"]
    for frame in (1, 4):
        there = world_vertices(shown, frame) - np.array(shown.location)
        assert np.abs(there - fit.result.vertices[frame - 1]).max() < 1e-5
    turns.stop()
    assert bpy.ops.vmr.keep_preview() == {"FINISHED"}
    assert_follows(rig, fit)
    assert "Keyed rig: 5 frames of 8 bones, the state of the stopped run" in text_of(extension)
    extension.module("operators.preview").forget_previews()


def test_how_far_it_may_be_trusted_is_known_of_mesh_armature_and_camera(extension, fit, rig, backend):
    (backend.folder / "result" / "report.json").write_text(json.dumps({
        "verdict": {"trust": "careful", "sentence": "Look at it"}, "frames": [], "doubtful_frames": [5]}))
    bpy.ops.vmr.reconstruct()
    result_in = extension.module("properties").result_in
    (root,) = (one for one in rig.children if one.type == "EMPTY")
    for active in (rig, bpy.data.objects["body"], root, root.children[0]):
        bpy.context.view_layer.objects.active = active
        found = result_in(bpy.context)
        assert (found.trust, found.verdict, [doubt.frame for doubt in found.doubts]) == ("CAREFUL", "Look at it", [3])


def test_a_template_that_comes_along_is_asked_for_by_name_or_refused_before_anything_starts(
        extension, backend, footage, monkeypatch):
    kinds = extension.module("properties").SUBJECT_KINDS
    bpy.context.scene.vmr.method, bpy.context.scene.vmr.start_model = "quadruped", "unicorn"
    monkeypatch.setitem(kinds, "quadruped", dataclasses.replace(kinds["quadruped"], template="centaur"))
    assert "The template centaur did not come with this installation" in error_of(bpy.ops.vmr.reconstruct)
    assert not backend.calls
    monkeypatch.undo()
    bpy.ops.vmr.reconstruct()
    request = request_in(extension)
    assert (request.method, request.template, request.model) == ("template", "quadruped", None)


def test_undo_takes_it_back_in_one_step(extension, fit, rig):
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.vmr.reconstruct()
    bpy.ops.ed.undo()
    assert bpy.data.objects["rig"].animation_data is None
    assert not [one for one in bpy.data.objects if one.type in ("CAMERA", "EMPTY")]


def test_an_arrow_shows_where_the_object_is_taken_to_look(extension, rig, footage):
    arrow = extension.module("scene.front_arrow")

    def shaft():
        foot, tip = (np.array(corner) for corner in arrow.shown.in_world()[:2])
        return foot, tip

    assert bpy.ops.vmr.show_front() == {"FINISHED"}
    assert arrow.shown.front == "-Y"
    foot, tip = shaft()
    # The head is at -0.8 in the armature's space, which is twice as large in the world and lies at (1, 2, 3).
    assert foot == pytest.approx([1, 2 - 2 * 0.8, foot[2]], abs=0.3) and tip[1] < foot[1] - 1
    assert tip[[0, 2]] == pytest.approx(foot[[0, 2]], abs=1e-4) and 3 < foot[2] < 6
    rig.rotation_euler.z = np.pi / 2
    bpy.context.view_layer.update()
    foot, tip = shaft()
    assert tip[0] > foot[0] + 1 and tip[1] == pytest.approx(foot[1], abs=1e-4), "it follows the armature"
    footage.vmr.inputs.rig_front = "+X"
    assert arrow.shown.front == "+X"
    foot, tip = shaft()
    assert tip[1] > foot[1] + 0.5 and tip[0] == pytest.approx(foot[0], abs=1e-4), "a choice is shown at once"
    bpy.ops.vmr.show_front()
    assert arrow.shown is None
    footage.vmr.inputs.rig_front = "AUTO"
    assert arrow.shown is None, "hidden, it stays so"


def test_the_arrow_goes_with_its_object(extension, rig, footage):
    arrow = extension.module("scene.front_arrow")
    bpy.ops.vmr.show_front()
    bpy.data.objects.remove(rig)
    assert arrow.shown.in_world() == []
    footage.vmr.inputs.rig = None
    assert arrow.shown is None and not bpy.ops.vmr.show_front.poll()
    cube = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    bpy.context.scene.collection.objects.link(cube)
    footage.vmr.inputs.rig = cube
    assert "cube" in error_of(bpy.ops.vmr.show_front) and arrow.shown is None


@pytest.mark.slow
@pytest.mark.parametrize(("swing", "words"), [
    (0.0, "Keyed rig: 5 frames of 46 bones"),
    (0.9, "with a new armature: the controls of rig do not bring DEF-")], ids=["they can", "they cannot"])
def test_a_rig_that_rigify_generated_is_keyed_by_its_controls_where_they_can(extension, backend, footage, tmp_path,
                                                                             swing, words):
    rig = generated("basic_quadruped")
    armatures = len(bpy.data.armatures)
    tubes(rig, [bone.name for bone in rig.data.bones if bone.use_deform], 0.02, blend=0.03).parent = rig
    bpy.context.scene.vmr.method, footage.vmr.inputs.rig = "own", rig
    followed(rig, tmp_path / "fit", numbers=range(3, 8), swing=swing).result.save(backend.folder / "result")
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    assert words in text_of(extension)
    action = rig.animation_data and rig.animation_data.action
    assert bool(action) != bool(swing) and len(bpy.data.armatures) == armatures + bool(swing)
    if not swing:
        ((_, curves),) = extension.module("scene.action").curves_by_slot(action)
        turned = [curve for curve in curves if curve.data_path == 'pose.bones["torso"].rotation_quaternion']
        assert [len(curve.keyframe_points) for curve in turned] == [5] * 4
