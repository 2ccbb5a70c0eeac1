"""Results of earlier runs come back into a scene."""

import shutil
from pathlib import Path

import bpy
import pytest
from blender_clips import make_images


def test_the_newest_result_comes_back_with_its_clip(extension, backend, footage):
    bpy.ops.vmr.reconstruct()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert not bpy.data.movieclips
    assert bpy.ops.vmr.load_result() == {"FINISHED"}
    assert [clip.name for clip in bpy.data.movieclips] == ["f_0003.png"]
    camera = bpy.context.scene.camera.data
    assert camera.background_images[0].clip == bpy.data.movieclips[0]
    assert "walk" in bpy.data.objects


def test_a_result_goes_over_the_clip_it_was_made_of(extension, backend, footage, tmp_path):
    from blender_clips import make_images

    bpy.ops.vmr.reconstruct()
    other = bpy.data.movieclips.load(str(make_images(tmp_path / "other", range(3))))
    bpy.context.scene.vmr.clip = other
    bpy.ops.vmr.load_result()
    assert bpy.context.scene.camera.data.background_images[0].clip == footage
    assert len(bpy.data.movieclips) == 2


def test_a_result_from_outside_goes_over_the_chosen_clip(extension, backend, footage):
    bpy.ops.vmr.load_result(directory=str(backend.folder / "result"))
    assert bpy.context.scene.camera.data.background_images[0].clip == footage


def test_recent_results_are_offered(extension, backend, footage):
    bpy.ops.vmr.reconstruct()
    (folder,) = extension.module("jobs.folder").finished(extension.module("preferences").jobs_folder())
    bpy.ops.vmr.load_recent(job=str(folder))
    assert len([o for o in bpy.data.objects if o.type == "MESH"]) == 2


@pytest.fixture
def bones(backend):
    """The backend's result has bones."""
    from nodding_ball import nodding_ball

    result = nodding_ball(range(3, 8), size=(64, 48), centre=(30.0, 25.0), focal=(120.0, 120.0))
    result.save(backend.folder / "result")
    return result


def moved_by_armature(name="walk"):
    mesh = bpy.data.objects[name]
    assert bool(mesh.find_armature()) != bool(mesh.data.shape_keys)
    return bool(mesh.find_armature())


def test_a_run_and_a_loaded_result_move_as_the_scene_says(extension, backend, footage, bones):
    bpy.context.scene.vmr.motion = "ARMATURE"
    bpy.ops.vmr.reconstruct()
    assert moved_by_armature()
    bpy.ops.vmr.load_result()
    assert moved_by_armature("walk.001")
    (folder,) = extension.module("jobs.folder").finished(extension.module("preferences").jobs_folder())
    bpy.ops.vmr.load_recent(job=str(folder))
    assert moved_by_armature("walk.002")


def test_by_default_a_mesh_moves_by_shape_keys(extension, backend, footage, bones):
    bpy.ops.vmr.reconstruct()
    assert not moved_by_armature()


def test_what_the_operator_is_told_goes_before_what_the_scene_says(extension, backend, footage, bones):
    bpy.context.scene.vmr.motion = "ARMATURE"
    bpy.ops.vmr.load_result(directory=str(backend.folder / "result"), motion="SHAPE_KEYS")
    assert not moved_by_armature()
    bpy.context.scene.vmr.motion = "SHAPE_KEYS"
    bpy.ops.vmr.load_result(directory=str(backend.folder / "result"), motion="ARMATURE")
    assert moved_by_armature("walk.001")
    assert bpy.context.scene.vmr.motion == "SHAPE_KEYS"


def test_without_bones_it_says_that_shape_keys_move_the_mesh(extension, backend, footage, capfd):
    bpy.context.scene.vmr.motion = "ARMATURE"
    bpy.ops.vmr.load_result(directory=str(backend.folder / "result"))
    assert not moved_by_armature()
    assert "by shape keys: it has no bones" in capfd.readouterr().out


@pytest.mark.parametrize("motion", ["SHAPE_KEYS", "ARMATURE"])
def test_one_undo_takes_it_all_back_and_redo_brings_it(extension, backend, footage, bones, untouched, motion):
    bpy.ops.ed.undo_push(message="before")
    before = untouched()
    bpy.ops.vmr.load_result("EXEC_DEFAULT", True, directory=str(backend.folder / "result"), motion=motion)
    after = untouched()
    assert moved_by_armature() == (motion == "ARMATURE")
    bpy.ops.ed.undo()
    assert untouched() == before
    bpy.ops.ed.redo()
    assert untouched() == after


def no_result(backend, clip, folder):
    return folder / "nothing"


def half_a_result(backend, clip, folder):
    shutil.copytree(backend.folder / "result", folder / "half")
    (folder / "half" / "reconstruction.npz").write_bytes(b"PK")
    return folder / "half"


def without_any_clip(backend, clip, folder):
    bpy.data.movieclips.remove(clip)
    return backend.folder / "result"


def without_its_texture(backend, clip, folder):
    bpy.ops.vmr.reconstruct()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    (job,) = folder.glob("jobs/*/")
    (job / "texture.png").unlink()
    return job


@pytest.mark.parametrize("trouble, text", [
    (no_result, "reconstruction.npz: not found"),
    (half_a_result, "cannot be read"),
    (without_any_clip, "the clip it was made of is not found"),
    (without_its_texture, "texture.png"),
])
def test_trouble_gives_one_line_and_leaves_the_scene_untouched(
        extension, backend, footage, untouched, tmp_path, trouble, text):
    folder = trouble(backend, footage, tmp_path)
    before = untouched()
    with pytest.raises(RuntimeError, match=text) as error:
        bpy.ops.vmr.load_result(directory=str(folder))
    assert "\n" not in str(error.value).strip()
    assert untouched() == before


def test_without_any_result_the_line_says_so(extension):
    with pytest.raises(RuntimeError, match="holds no result yet"):
        bpy.ops.vmr.load_result()


def taken():
    """Whether the scene has taken what a result brings."""
    scene = bpy.context.scene
    return scene.camera is not None and (scene.frame_start, scene.frame_end, scene.render.resolution_x) == (1, 5, 64)


def test_into_a_scene_with_other_work_it_brings_a_selected_mesh_and_says_that_the_rest_stayed(
        extension, backend, footage, capfd):
    bpy.ops.mesh.primitive_monkey_add()
    bpy.ops.vmr.load_result(directory=str(backend.folder / "result"))
    assert not taken() and bpy.context.selected_objects == [bpy.data.objects["walk"]]
    said = capfd.readouterr().out
    assert "Added walk: 5 frames. Scene left as it is: Set Up Scene takes its camera" in said


def test_set_up_scene_of_the_scene_or_of_the_operator_takes_it_all(extension, backend, footage, capfd):
    bpy.ops.mesh.primitive_monkey_add()
    bpy.ops.vmr.load_result(directory=str(backend.folder / "result"), set_up_scene=True)
    assert taken() and "left as it is" not in capfd.readouterr().out
    bpy.context.scene.render.resolution_x = 999
    bpy.ops.vmr.load_result(directory=str(backend.folder / "result"))
    assert not taken()
    bpy.context.scene.vmr.set_up_scene = True
    bpy.ops.vmr.load_result(directory=str(backend.folder / "result"))
    assert taken()


def test_a_run_that_ends_beside_other_work_takes_nothing_over_unless_it_is_told_to(extension, backend, footage):
    bpy.ops.mesh.primitive_monkey_add()
    monkey, activity = bpy.context.object, extension.module("properties").reconstruction_activity
    bpy.context.scene.frame_set(30)
    bpy.ops.vmr.reconstruct()
    assert not taken() and bpy.context.scene.frame_current == 30 and bpy.context.selected_objects == [monkey]
    assert activity.last.text == ("Added walk: 5 frames. Scene left as it is: Set Up Scene takes its camera, range "
                                "and size")
    bpy.context.scene.vmr.set_up_scene = True
    bpy.ops.vmr.reconstruct()
    assert taken() and activity.last.text.startswith("Added walk.001: 5 frames")


def test_what_a_scene_did_not_take_it_takes_by_a_button(extension, backend, footage):
    assert not bpy.ops.vmr.set_up_scene.poll()
    bpy.ops.mesh.primitive_monkey_add()
    monkey, scene = bpy.context.object, bpy.context.scene
    bpy.ops.vmr.reconstruct()
    bpy.ops.vmr.reconstruct()
    assert bpy.ops.vmr.set_up_scene() == {"FINISHED"} and taken()
    assert scene.camera.name == "walk Camera.001" and bpy.context.selected_objects == [monkey], "the latest"
    bpy.context.view_layer.objects.active, scene.frame_end = bpy.data.objects["walk"], 99
    assert bpy.ops.vmr.set_up_scene() == {"FINISHED"} and taken() and scene.camera.name == "walk Camera"
    bpy.data.objects.remove(bpy.data.objects["walk Camera"])
    with pytest.raises(RuntimeError, match="walk Root: found no camera on it"):
        bpy.ops.vmr.set_up_scene()


def test_a_result_goes_to_its_own_among_the_sequences_of_a_folder(extension, backend, footage):
    images = make_images(Path(footage.filepath).parent, range(3, 8), name="other_{:04d}.png")
    other = bpy.data.movieclips.load(str(images))
    other.vmr.inputs.masks, bpy.context.scene.vmr.clip = footage.vmr.inputs.masks, other
    backend.behave("stop with a checkpoint")
    with pytest.raises(RuntimeError):
        bpy.ops.vmr.reconstruct()
    assert extension.preferences.stopped_run(other) and extension.preferences.stopped_run(footage) is None
    backend.behave("yield the result")
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    bpy.context.scene.vmr.clip = footage
    assert bpy.ops.vmr.load_result() == {"FINISHED"}
    cameras = [one for one in bpy.context.scene.objects if one.type == "CAMERA"]
    assert [camera.data.background_images[0].clip for camera in cameras] == [other, other]


def test_of_twins_of_a_clip_a_result_goes_to_the_one_that_is_looked_at(extension, backend, footage):
    bpy.ops.vmr.reconstruct()
    twin = footage.copy()
    twin.frame_start, bpy.context.scene.vmr.clip = 101, twin
    bpy.ops.vmr.load_result()
    camera = next(one for one in bpy.context.object.parent.children if one.type == "CAMERA")
    assert camera.data.background_images[0].clip == twin
