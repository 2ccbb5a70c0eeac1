"""What was keyed on the user's own armature, or fitted of it, exported and read back, moves and is filmed as before."""

import bpy
import numpy as np
import pytest
from blender_clips import make_images
from blender_view import seen_pixels, world_vertices
from followed_clip import dense, followed, placed
from mathutils import Matrix
from own_rigs import armature, tubes
from test_export import FORMATS, export, read_back
from video_mesh_reconstruction.scene.own_rig import find_own_rig, key_own_rig
from video_mesh_reconstruction.scene.result import add_result
from video_mesh_reconstruction.vmr_backend.templates.rig_file import RIG_NAME
from wobbling_ball import save_texture

pytestmark = pytest.mark.usefixtures("installed_extension")

BONES = {"control": ((0, 0, 0), (0, 0.3, 0), None), "hips": ((0, 0.4, 1), (0, 0, 1), "control"),
         "chest": ((0, 0, 1), (0, -0.4, 1.05), "hips"), "head": ((0, -0.4, 1.05), (0, -0.8, 1.3), "chest"),
         "tail": ((0, 0.4, 1), (0, 0.9, 1.1), "hips"),
         **{f"{leg}.{side}": ((x, y, 1), (x, y, 0), parent) for side, x in (("L", 0.2), ("R", -0.2))
            for leg, y, parent in (("arm", -0.4, "chest"), ("leg", 0.4, "hips"))}}
HELD = [name for name in BONES if name != "control"]
FRAMES = range(11, 23)


@pytest.fixture
def scene(empty_file, tmp_path):
    bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 160, 120
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", range(105, 117), size=(160, 120))))
    clip.frame_start = 11
    save_texture(tmp_path / "clip")
    return clip


def rig_of(blend, names=HELD):
    rig = armature(BONES)
    body = tubes(rig, names, blend=blend)
    body.parent = rig
    rig.matrix_world = Matrix.Translation((3, 2, 1)) @ Matrix.Rotation(0.7, 4, "Z") @ Matrix.Scale(2.5, 4)
    return rig, body


def key(clip, folder, fit):
    rig = find_own_rig(folder / RIG_NAME, None)
    key_own_rig(bpy.context, clip, fit.result, folder, "walk", rig, set_up_scene=True)
    return [placed(rig.armature.matrix_world, vertices) for vertices in fit.truth]


def assert_same(kind, expected, seen, size):
    """What was read back has the vertices expected at each frame, and its camera sees them where it did."""
    mesh, camera = (one for one in bpy.data.objects if one.type in ("MESH", "CAMERA") and one.name in ("body", "walk",
                    "walk Camera"))
    if mesh.type == "CAMERA":
        mesh, camera = camera, mesh
    if kind == "glb":  # which knows no shift of the lens; its angle of view is that of the height
        camera.data.shift_x, camera.data.shift_y = (80 - 70) / 120, (66 - 60) / 120
    first = world_vertices(mesh, FRAMES[0])
    away = np.linalg.norm(first[:, None] - expected[0], axis=-1)
    same = away.argmin(1)
    # Mirrored parts of the middle lie in those that are there.
    assert away.min(1).max() < 1e-3 * size and away.min(0).max() < 1e-3 * size and len(first) >= len(expected[0])
    for frame, there, pixels in zip(FRAMES, expected, seen, strict=True):
        found = world_vertices(mesh, frame)
        assert np.abs(found - there[same]).max() < 1e-3 * size, frame
        if frame in (FRAMES[0], FRAMES[7]):
            assert np.abs(seen_pixels(camera, frame, found) - pixels[same]).max() < 0.1


@pytest.mark.parametrize("kind", FORMATS)
def test_keys_on_the_users_armature_with_eight_bones_a_vertex(scene, tmp_path, kind):
    rig, body = rig_of(blend=3.0)
    fit = followed(rig, tmp_path / "job")
    assert (dense(fit.arrays) > 0).sum(1).max() >= 7
    expected = key(scene, tmp_path / "job", fit)
    body.select_set(True)
    read_back(export(tmp_path / "out", kind), kind)
    assert_same(kind, expected, fit.result.projected(), 2.5 * 1.7)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_mesh_that_a_modifier_completes(scene, tmp_path, kind):
    rig, body = rig_of(blend=0.15, names=[name for name in HELD if not name.endswith(".R")])
    for name in HELD:
        if name not in body.vertex_groups:
            body.vertex_groups.new(name=name)
    mirror = body.modifiers.new("Mirror", "MIRROR")
    mirror.use_mirror_merge = False
    body.modifiers.move(1, 0)
    fit = followed(rig, tmp_path / "job")
    assert len(fit.truth[0]) == 2 * len(body.data.vertices)
    expected = key(scene, tmp_path / "job", fit)
    body.select_set(True)
    read_back(export(tmp_path / "out", kind), kind)
    assert_same(kind, expected, fit.result.projected(), 2.5 * 1.7)


@pytest.mark.parametrize("motion", ["ARMATURE", "SHAPE_KEYS"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_new_mesh_with_eight_bones_a_vertex(scene, tmp_path, kind, motion):
    rig, body = rig_of(blend=3.0)
    fit = followed(rig, tmp_path / "job")
    mesh = add_result(bpy.context, scene, fit.result, tmp_path / "clip", "walk", motion, set_up_scene=True)
    root = (mesh.find_armature() or mesh).parent
    for one in (body, rig):
        bpy.data.objects.remove(one)
    place = np.array(root.location)
    read_back(export(tmp_path / "out", kind), kind)
    assert_same(kind, fit.result.vertices + place, fit.result.projected(), 1)


def test_only_the_camera_that_was_found_with_it_goes_along(scene, tmp_path):
    rig, body = rig_of(blend=0.15)
    own = bpy.data.objects.new("own camera", bpy.data.cameras.new("own camera"))
    bpy.context.scene.collection.objects.link(own)
    key(scene, tmp_path / "job", followed(rig, tmp_path / "job"))
    read_back(export(tmp_path / "out", "glb"), "glb")
    assert [one.name for one in bpy.data.objects if one.type == "CAMERA"] == ["walk Camera"]
