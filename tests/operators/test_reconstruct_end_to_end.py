"""From a clip to a mesh in Blender with the real backend, in seconds: tiny pictures, few iterations."""

import json
import os
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_clips import pixels_of
from blender_view import seen_pixels, world_vertices
from bpy_extras.object_utils import world_to_camera_view
from followed_clip import followed
from own_rigs import armature, tubes
from video_mesh_reconstruction.vmr_backend.reconstruction import Reconstruction
from wobbling_ball import drawn_mask, wobbling_ball

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("VMR_BACKEND_PYTHON", ROOT / ".venv" / "bin" / "python"))
TINY = {"crop_size": 64, "hypotheses": 2, "rigid_iterations": 20, "coarse_iterations": 20, "fine_iterations": 10,
        "subdivision": 3, "bones": 4, "texture_size": 64}
FIRST, COUNT, SIZE = 12, 6, (96, 72)

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no backend: {PYTHON} (VMR_BACKEND_PYTHON names another)"),
    pytest.mark.skipif(not (ROOT / "vmr_backend" / "__main__.py").exists(), reason="the backend has no entrance yet"),
    pytest.mark.slow,
]


def save_picture(path: Path, values: np.ndarray) -> None:
    """(H, W, 3) float32, top row first, as an image file."""
    height, width, _ = values.shape
    image = bpy.data.images.new("picture", width, height)
    image.pixels.foreach_set(np.dstack([values[::-1], np.ones((height, width))]).astype(np.float32).ravel())
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)


def film_a_ball(folder: Path) -> None:
    """Frames and masks of a wobbling ball."""
    film(folder, wobbling_ball(range(FIRST, FIRST + COUNT), SIZE, (SIZE[0] / 2, SIZE[1] / 2), (150.0, 150.0)))


def film(folder: Path, filmed: Reconstruction) -> None:
    """Frames and masks of a chequered thing before a speckled wall."""
    width, height = (int(side) for side in filmed.image_size)
    wall = np.random.default_rng(0).uniform(0.2, 0.5, (height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    for name in ("frames", "masks"):
        (folder / name).mkdir()
    for index, number in enumerate(filmed.frames):
        mask = drawn_mask(filmed, index)[..., None]
        chequers = 0.5 + 0.4 * ((rows // 6 + (columns + index) // 6) % 2)[..., None] * np.array([1, 0.6, 0.2])
        save_picture(folder / "frames" / f"{number:04d}.png", np.where(mask, chequers, wall))
        save_picture(folder / "masks" / f"{number:04d}.png", np.repeat(mask, 3, 2).astype(float))


@pytest.fixture(scope="module")
def job(installed_extension, tmp_path_factory):
    """The folder of one run, with the scene that it left saved in it."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    folder = tmp_path_factory.mktemp("ball")
    film_a_ball(folder)
    preferences = bpy.context.preferences.addons[installed_extension].preferences
    preferences.backend_python, preferences.device = str(PYTHON), "cpu"
    preferences.jobs_folder = str(folder / "jobs")
    bpy.data.movieclips.load(str(folder / "frames" / f"{FIRST:04d}.png"))
    props = bpy.context.scene.vmr
    bpy.data.movieclips[0].vmr.inputs.masks = str(folder / "masks")
    for name, value in TINY.items():
        setattr(props.settings, name, value)
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    (path,) = (folder / "jobs").iterdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(path / "scene.blend"))
    return path


@pytest.fixture
def scene(job):
    bpy.ops.wm.open_mainfile(filepath=str(job / "scene.blend"))
    return bpy.context.scene


@pytest.fixture
def result(job):
    from video_mesh_reconstruction.vmr_backend.reconstruction import Reconstruction

    return Reconstruction.load(job)


def meshes():
    return [o for o in bpy.data.objects if o.type == "MESH"]


def evaluated(mesh) -> np.ndarray:
    data = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    found = np.empty(3 * len(data.vertices), np.float32)
    data.vertices.foreach_get("co", found)
    return found.reshape(-1, 3)


def test_the_mesh_is_the_results_at_every_frame(scene, result):
    (mesh,) = meshes()
    assert list(result.frames) == list(range(FIRST, FIRST + COUNT))
    assert (scene.frame_start, scene.frame_end) == (1, COUNT)
    for frame, expected in enumerate(result.vertices, start=1):
        scene.frame_set(frame)
        np.testing.assert_allclose(evaluated(mesh), expected, atol=1e-4)


def test_the_camera_sees_the_results_silhouette(scene, result, tmp_path):
    scene.render.engine, scene.cycles.samples, scene.render.film_transparent = "CYCLES", 8, True
    scene.render.filepath = str(tmp_path / "mask.png")
    for index in (0, COUNT - 1):
        scene.frame_set(1 + index)
        bpy.ops.render.render(write_still=True)
        rendered = pixels_of(tmp_path / "mask.png")[::-1, :, 3] > 0.5
        drawn = drawn_mask(result, index)
        assert (rendered & drawn).sum() / (rendered | drawn).sum() > 0.97


def test_the_texture_and_the_footage_are_in_the_file(scene, job):
    (mesh,) = meshes()
    images = [node.image for node in mesh.active_material.node_tree.nodes if node.type == "TEX_IMAGE"]
    assert images and all(image.packed_file for image in images)
    background = scene.camera.data.background_images[0]
    assert background.clip == bpy.data.movieclips[0]
    assert (scene.render.resolution_x, scene.render.resolution_y) == SIZE


def test_the_job_folder_holds_all_that_a_run_yields(job):
    expected = {"job.json", "events.jsonl", "log.txt", "reconstruction.npz", "texture.png", "report.json",
                "overlay.mp4", "preview.png"}
    assert expected <= {path.name for path in job.iterdir()}


def test_the_file_keeps_what_the_report_says_of_the_result(scene, result, job):
    (mesh,), report = meshes(), json.loads((job / "report.json").read_text(encoding="utf-8"))
    kept = mesh.vmr_result
    assert (kept.trust.lower(), kept.verdict) == (report["verdict"]["trust"], report["verdict"]["sentence"])
    assert [doubt.frame for doubt in kept.doubts] == [number - FIRST + 1 for number in report["doubtful_frames"]]
    assert all(doubt.reasons for doubt in kept.doubts)
    seen = np.empty(len(mesh.data.vertices), np.float32)
    mesh.data.attributes["coverage"].data.foreach_get("value", seen)
    assert np.array_equal(seen, result.coverage) and seen.max() > 0.5


def test_the_animation_survives_fbx(scene, result, tmp_path):
    (mesh,) = meshes()
    bpy.context.view_layer.objects.active = mesh
    mesh.select_set(True)
    bpy.ops.vmr.export_fbx(filepath=str(tmp_path / "ball.fbx"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.import_scene.fbx(filepath=str(tmp_path / "ball.fbx"), anim_offset=0.0)
    (mesh,) = meshes()
    extent = np.ptp(result.vertices[0], axis=0).max()
    for frame, expected in enumerate(result.vertices, start=1):
        bpy.context.scene.frame_set(frame)
        matrix = np.array(mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world)
        found = evaluated(mesh) @ matrix[:3, :3].T + matrix[:3, 3]
        assert np.abs(found - expected).max() < 1e-3 * extent


@pytest.mark.once
def test_a_run_stopped_by_the_user_goes_on_from_its_checkpoint(extension, scene):
    extension.preferences.backend_python = str(PYTHON)
    request = extension.module("operators.request").request_of(bpy.context, bpy.data.movieclips[0])
    folder = extension.module("jobs.folder").prepare(extension.module("preferences").jobs_folder(), request)
    stopped = extension.module("jobs.process").Job(folder, PYTHON)
    stopped.start()
    end = time.monotonic() + 120
    while not (folder / "run" / "checkpoint.json").exists():
        assert stopped.running and time.monotonic() < end, stopped.error
        time.sleep(0.005)
    stopped.cancel()
    assert stopped.cancelled
    told = len((folder / "run" / "events.jsonl").read_text().splitlines())
    bpy.ops.vmr.reconstruct()
    news = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()[told:]]
    assert len(meshes()) == 2
    stages = {event.get("stage") for event in news}
    assert "fine" in stages and "camera" not in stages
    assert not (folder / "run").exists()


@pytest.mark.once
def test_a_category_model_that_comes_along_makes_a_mesh_of_each_frame(extension, scene):
    extension.preferences.backend_python = str(PYTHON)
    (before,) = meshes()
    scene.vmr.method, scene.vmr.model = "vmr", "bird"
    scene.vmr.settings.visits, scene.vmr.settings.iterations = 1, 4
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    mesh = next(mesh for mesh in meshes() if mesh != before)
    result = extension.module("vmr_backend.reconstruction").Reconstruction.load(
        next(path for path in (extension.module("preferences").jobs_folder()).iterdir()
             if json.loads((path / "job.json").read_text(encoding="utf-8"))["method"] == "vmr"))
    for index in (0, COUNT - 1):
        scene.frame_set(1 + index)
        np.testing.assert_allclose(evaluated(mesh), result.vertices[index], atol=1e-4)
        for vertex in (0, 100, 641):
            seen = world_to_camera_view(scene, scene.camera, mesh.matrix_world @ mesh.evaluated_get(
                bpy.context.evaluated_depsgraph_get()).data.vertices[vertex].co)
            point = result.camera_rotation[index] @ result.vertices[index, vertex] + result.camera_translation[index]
            fx, fy, cx, cy = result.intrinsics[index]
            expected = fx * point[0] / point[2] + cx, fy * point[1] / point[2] + cy
            # The camera stands so far away that single precision is seen.
            assert abs(seen.x * SIZE[0] - expected[0]) < 0.05 and abs((1 - seen.y) * SIZE[1] - expected[1]) < 0.05


@pytest.mark.once
def test_footage_without_a_subject_gives_the_backends_line(extension, untouched, scene):
    extension.preferences.backend_python = str(PYTHON)
    for path in Path(bpy.data.movieclips[0].vmr.inputs.masks).iterdir():
        save_picture(path, np.zeros((SIZE[1], SIZE[0], 3)))
    before = untouched()
    with pytest.raises(RuntimeError) as error:
        bpy.ops.vmr.reconstruct()
    message = str(error.value).removeprefix("Error: ").strip()
    assert "mask" in message and "\n" not in message and "Traceback" not in message
    assert untouched() == before


def test_an_object_of_the_users_follows_a_clip_of_it(installed_extension, tmp_path):
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bones = {"body": ((0, 0.4, 0.5), (0, -0.4, 0.5), None), "head": ((0, -0.4, 0.5), (0, -0.8, 0.9), "body"),
             "fore": ((0, -0.35, 0.5), (0, -0.35, 0), "body"), "hind": ((0, 0.35, 0.5), (0, 0.35, 0), "body")}
    rig = armature(bones)
    body = tubes(rig, bones, radius=0.12)
    body.parent = rig
    rig.location, rig.scale = (1, 2, 3), (2, 2, 2)
    rig.pose.bones["head"].rotation_mode = "XYZ"
    film(tmp_path, followed(rig, tmp_path / "fit", numbers=range(FIRST, FIRST + COUNT)).result)
    preferences = bpy.context.preferences.addons[installed_extension].preferences
    preferences.backend_python, preferences.device = str(PYTHON), "cpu"
    preferences.jobs_folder = str(tmp_path / "jobs")
    clip = bpy.data.movieclips.load(str(tmp_path / "frames" / f"{FIRST:04d}.png"))
    clip.vmr.inputs.masks, clip.vmr.inputs.rig = str(tmp_path / "masks"), rig
    bpy.context.scene.vmr.method = "own"
    for name, value in TINY.items():
        setattr(bpy.context.scene.vmr.settings, name, value)
    assert bpy.ops.vmr.reconstruct() == {"FINISHED"}
    (path,) = (tmp_path / "jobs").iterdir()
    found = Reconstruction.load(path)
    assert set(map(str, found.bone_names)) == set(bones)
    (root,) = (one for one in rig.children if one.type == "EMPTY")
    bpy.context.view_layer.objects.active = body
    bpy.ops.vmr.set_up_scene()
    for frame, expected in enumerate(found.projected(), start=1):
        seen = seen_pixels(root.children[0], frame, world_vertices(body, frame))
        assert np.abs(seen - expected).max() < 0.2
