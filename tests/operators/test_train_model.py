"""Train Category Model from Object: pictures rendered in earnest by another Blender, a backend that learns nothing."""

import json
import threading
import time
from pathlib import Path

import bpy
import pytest
from model_files import save_model
from rigged_animal import rigged_animal
from test_reconstruct import error_of, request_in

pytestmark = pytest.mark.slow


@pytest.fixture
def goat(extension, backend):
    """The active object, with settings for a small training."""
    goat = rigged_animal()
    bpy.context.view_layer.objects.active = goat
    asked = bpy.context.scene.vmr.training
    asked.images, asked.size, asked.steps, asked.category = 8, 32, 10, "mountain goat"
    return goat


def training_calls(backend):
    return [call for call in backend.calls if "train" in call]


def test_the_active_object_becomes_a_model_that_is_listed_and_chosen(extension, goat, backend, untouched, tmp_path):
    before = untouched()
    assert bpy.ops.vmr.train_model() == {"FINISHED"}
    assert untouched() == before
    activity = extension.module("properties").training_activity
    assert activity.last.text == "Trained mountain_goat, IoU 0.91, PCK 0.88" and not activity.running
    (listed,) = [model for model in extension.preferences.models if not model.is_shipped]
    assert (listed.path, listed.category) == (tmp_path / "models" / "mountain_goat.safetensors", "mountain goat")
    assert bpy.context.scene.vmr.model == "mountain_goat"
    collection = json.loads((Path(activity.folder) / "pictures" / "annotations.json").read_text())
    assert len(collection["images"]) == 8 and "hind.L tip" in collection["categories"][0]["keypoints"]


def test_a_stopped_training_goes_on_with_what_is_rendered_and_can_be_started_over(extension, goat, backend):
    activity = extension.module("properties").training_activity
    backend.behave("stop with a checkpoint")
    assert "out of memory" in error_of(bpy.ops.vmr.train_model)
    assert activity.resumable == {goat.session_uid}
    picture = Path(activity.folder) / "pictures" / "images" / "000000.png"
    rendered = picture.stat().st_mtime_ns
    backend.behave("yield the result")
    bpy.ops.vmr.train_model()
    assert picture.stat().st_mtime_ns == rendered and not activity.resumable
    assert ["--resume" in call for call in training_calls(backend)] == [False, True]


def test_cancel_stops_the_rendering_within_seconds_and_leaves_no_process(extension, goat, backend):
    bpy.context.scene.vmr.training.images = 5000
    activity = extension.module("properties").training_activity

    def cancel():
        while "Rendering" not in activity.text:
            time.sleep(0.02)
        extension.module("operators.runs").cancel(activity)

    thread = threading.Thread(target=cancel)
    thread.start()
    assert bpy.ops.vmr.train_model() == {"CANCELLED"}
    thread.join()
    assert activity.last.text == "Training cancelled" and activity.resumable and not activity.running
    assert not training_calls(backend)


def test_an_object_changed_meanwhile_is_another_training(extension, goat, backend, tmp_path):
    extension.preferences.backend_python = str(tmp_path / "no python")
    for height in (0.0, 0.5):
        goat.data.vertices[0].co.z += height
        assert "cannot be started" in error_of(bpy.ops.vmr.train_model)
    assert len(list(extension.module("preferences").jobs_folder().iterdir())) == 2


def with_nothing_active(_extension, _backend):
    bpy.context.view_layer.objects.active = None


def with_a_lamp(_extension, _backend):
    lamp = bpy.data.objects.new("lamp", bpy.data.lights.new("lamp", "SUN"))
    bpy.context.scene.collection.objects.link(lamp)
    bpy.context.view_layer.objects.active = lamp


def with_an_armature_alone(_extension, _backend):
    rig = bpy.data.objects.new("lone rig", bpy.data.armatures.new("lone rig"))
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig


def with_a_keypoint_that_is_none(_extension, _backend):
    bpy.context.scene.vmr.training.keypoints = "head, wing"


def without_backend(extension, _backend):
    extension.preferences.backend_python = ""


def with_an_unwritable_jobs_folder(extension, _backend):
    extension.preferences.jobs_folder = extension.preferences.backend_python


def with_an_unwritable_models_folder(extension, _backend):
    extension.preferences.models_folder = extension.preferences.backend_python


def with_half_a_model(_extension, backend):
    backend.behave("yield half a result")


@pytest.mark.once
@pytest.mark.parametrize("trouble, text", [
    (with_nothing_active, "Choose a mesh or an armature first"),
    (with_a_lamp, "Choose a mesh or an armature first"),
    (with_an_armature_alone, "lone rig: found no mesh in it that renders show"),
    (with_a_keypoint_that_is_none, "keypoints: found no bone or vertex group 'wing' in goat"),
    (without_backend, "Install the backend first"),
    (with_an_unwritable_jobs_folder, "cannot be written"),
    (with_an_unwritable_models_folder, "cannot be written"),
    (with_half_a_model, "model.safetensors: found 0 bytes of tensors"),
])
def test_bad_input_gives_one_line_and_no_model(extension, goat, backend, trouble, text):
    trouble(extension, backend)
    message = error_of(bpy.ops.vmr.train_model)
    assert text in message and "\n" not in message.removeprefix("Error: ") and "Traceback" not in message
    assert not [model for model in extension.preferences.models if not model.is_shipped]
    assert not extension.module("properties").training_activity.running


def test_a_reconstruction_takes_the_chosen_model(extension, backend, footage, tmp_path):
    path = save_model(tmp_path / "models" / "goat.safetensors")
    props = bpy.context.scene.vmr
    props.method, props.model = "vmr", "goat"
    bpy.ops.vmr.reconstruct()
    assert request_in(extension).model == str(path)


def test_a_model_that_is_not_chosen_missing_or_broken_is_refused_before_the_run(
        extension, backend, footage, tmp_path):
    props = bpy.context.scene.vmr
    props.method = "vmr"
    assert "Choose a category model first" in error_of(bpy.ops.vmr.reconstruct)
    props.model = "unicorn"
    assert "model: found no category model 'unicorn'" in error_of(bpy.ops.vmr.reconstruct)
    (tmp_path / "broken.safetensors").write_bytes(b"\x80\x04pickle")
    props.model = str(tmp_path / "broken.safetensors")
    assert "broken.safetensors: found no safetensors header" in error_of(bpy.ops.vmr.reconstruct)
    assert not backend.calls


def test_the_other_method_asks_for_no_model(extension, backend, footage):
    bpy.context.scene.vmr.model = "unicorn"
    bpy.ops.vmr.reconstruct()
    assert request_in(extension).model is None


def test_a_model_is_chosen_from_a_file_and_removed_by_name(extension, tmp_path):
    elsewhere = save_model(tmp_path / "elsewhere" / "cow.safetensors")
    bpy.ops.vmr.choose_model(filepath=str(elsewhere))
    assert bpy.context.scene.vmr.model == str(elsewhere)
    (tmp_path / "text.safetensors").write_text("no model at all")
    assert "needs a category model" in error_of(bpy.ops.vmr.choose_model, filepath=str(tmp_path / "text.safetensors"))
    own = save_model(tmp_path / "models" / "ant.safetensors")
    bpy.ops.vmr.remove_model(model="ant")
    assert not own.exists()
    assert "found no such model" in error_of(bpy.ops.vmr.remove_model, model="ant")
