"""An exported FBX or glTF, read back by Blender, moves, looks and is filmed as the result, whatever moves its mesh."""

import importlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_clips import make_images
from blender_view import seen_pixels, world_vertices
from nodding_ball import NAMES, PARENTS, nodding_ball
from video_mesh_reconstruction.scene.result import add_result
from video_mesh_reconstruction.vmr_backend.reconstruction import TEXTURE_NAME
from wobbling_ball import save_texture

pytestmark = pytest.mark.usefixtures("installed_extension")

PLACE = np.array([2.0, -1.0, 0.5])
"""Where the results stand, since the 3-D cursor is there."""
NUMBERS = [105, 106, 107, 109, 110, 112]
FORMATS = ["fbx", pytest.param("fbx by the second importer", marks=pytest.mark.skipif(
    bpy.app.version < (4, 5), reason="Blender has its second importer since 4.5")), "glb"]
MOTIONS = ["SHAPE_KEYS", "ARMATURE"]


@pytest.fixture
def add(empty_file, tmp_path):
    """Adds a nodding ball at scene frames 11 to 18, two frames left out, beside another object."""
    other = bpy.data.objects.new("other", bpy.data.meshes.new("other"))
    bpy.context.scene.collection.objects.link(other)
    bpy.context.scene.cursor.location = PLACE
    save_texture(tmp_path)
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", range(105, 115), size=(160, 120))))
    clip.frame_start = 11

    def add(motion="SHAPE_KEYS", name="ball", keypoints=(), **options):
        result = nodding_ball(NUMBERS, **options)
        if keypoints:
            weights = np.eye(len(result.rest_vertices), dtype=np.float32)[:len(keypoints)]
            result = replace(result, keypoint_names=np.array(keypoints), keypoint_weights=weights)
        return add_result(bpy.context, clip, result, tmp_path, name, motion, set_up_scene=True), result

    return add


def export(path, kind):
    """Export by the operator of the format; the file."""
    path = path.with_suffix(f".{kind[:3]}")
    operator = bpy.ops.vmr.export_gltf if kind == "glb" else bpy.ops.vmr.export_fbx
    assert operator(filepath=str(path)) == {"FINISHED"}
    return path


def read_back(path, kind="fbx"):
    """The mesh and the camera of a file, read into an empty Blender whose scene renders 160 x 120."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 160, 120
    if kind == "glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    elif kind == "fbx":
        bpy.ops.import_scene.fbx(filepath=str(path), anim_offset=0.0)
    else:
        bpy.ops.wm.fbx_import(filepath=str(path), anim_offset=0.0)
    bones = [bone for armature in bpy.data.objects if armature.type == "ARMATURE" for bone in armature.pose.bones]
    shapes = {bone.custom_shape for bone in bones}  # drawn for bones by the importer of glTF
    (mesh,) = (o for o in bpy.data.objects if o.type == "MESH" and o not in shapes)
    (camera,) = (o for o in bpy.data.objects if o.type == "CAMERA")
    return mesh, camera


def places(mesh, rest):
    """(V',) the result's vertex for each one read back: glTF has one for each corner at a seam of the texture."""
    at_rest = np.array([mesh.matrix_world @ vertex.co for vertex in mesh.data.vertices]) - PLACE
    away = np.linalg.norm(at_rest[:, None] - rest, axis=-1)
    assert away.min(1).max() < 1e-4 and set(away.argmin(1)) == set(range(len(rest)))
    return away.argmin(1)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("kind", FORMATS)
def test_the_vertices_move_as_before(add, tmp_path, kind, motion):
    _, result = add(motion)
    mesh, _ = read_back(export(tmp_path / "out é", kind), kind)
    assert bool(mesh.data.shape_keys) == (motion == "SHAPE_KEYS")
    same = places(mesh, result.rest_vertices)
    for number, vertices in zip(result.frames, result.vertices, strict=True):
        assert np.abs(world_vertices(mesh, number - 105 + 11) - PLACE - vertices[same]).max() < 1e-4, number
    if motion == "SHAPE_KEYS":
        between = (result.vertices[2] + result.vertices[3]) / 2
        assert np.abs(world_vertices(mesh, 14) - PLACE - between[same]).max() < 1e-4


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("rate", [(29, 29 / 29.476), (24, 1.001), (24, 1.0), (25, 1.0)],
                         ids=["29.476", "23.976", "24", "25"])
def test_keys_are_due_when_the_scene_plays_their_frames(add, tmp_path, rate, motion):
    _, result = add(motion)
    render = bpy.context.scene.render
    render.fps, render.fps_base = rate
    due = np.arange(11, 19) * render.fps_base / render.fps
    glb = export(tmp_path / "out", "glb")
    of_glb, bounds = times_of_glb(glb)
    for times in [*of_glb, *times_of_fbx(export(tmp_path / "out", "fbx"))]:
        assert times[-1] - times[0] == pytest.approx((18 - 11) * render.fps_base / render.fps, abs=1e-4)
    for times, (first, last) in zip(of_glb, bounds, strict=True):
        np.testing.assert_allclose(times, due, atol=1e-5)
        assert (times[0], times[-1]) == (first, last)
    mesh, _ = read_back(glb, "glb")
    same = places(mesh, result.rest_vertices)
    for number, vertices in zip(result.frames, result.vertices, strict=True):
        moment = due[number - 105] * bpy.context.scene.render.fps
        assert np.abs(world_vertices(mesh, moment) - PLACE - vertices[same]).max() < 1e-4, number


def times_of_glb(path: Path):
    """Seconds of the keys of each channel, and what the file says of the first and the last."""
    data = path.read_bytes()
    assert struct.unpack_from("<I", data, 8)[0] == len(data)
    length = struct.unpack_from("<I", data, 12)[0]
    document, buffer = json.loads(data[20:20 + length]), data[28 + length:]
    times, bounds = [], []
    for index in {sampler["input"] for one in document["animations"] for sampler in one["samplers"]}:
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        times.append(np.frombuffer(buffer, "<f4", accessor["count"], view.get("byteOffset", 0)))
        bounds.append((np.float32(accessor["min"][0]), np.float32(accessor["max"][0])))
    return times, bounds


def times_of_fbx(path: Path):
    """Seconds of the keys of each curve."""
    from io_scene_fbx import parse_fbx

    root, _ = parse_fbx.parse(str(path))
    (objects,) = (child for child in root.elems if child.id == b"Objects")
    return [np.array(child.props[0]) / 46186158000 for curve in objects.elems if curve.id == b"AnimationCurve"
            for child in curve.elems if child.id == b"KeyTime"]


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("kind", FORMATS)
def test_keypoints_stay_at_home_and_change_nothing(add, tmp_path, kind, motion):
    _, result = add(motion, keypoints=[NAMES[2], "snout"])
    mesh, _ = read_back(export(tmp_path / "out", kind), kind)
    assert not [o for o in bpy.data.objects if "snout" in o.name] and "keypoint snout" not in mesh.vertex_groups
    same = places(mesh, result.rest_vertices)
    assert np.abs(world_vertices(mesh, 16) - PLACE - result.vertices[4][same]).max() < 1e-4


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("kind", [FORMATS[0], pytest.param("glb", marks=pytest.mark.skipif(
    bpy.app.version < (4, 5), reason="its exporter takes active actions only, or fails over the camera"))])
def test_layers_above_the_results_action_go_along(add, tmp_path, kind, motion):
    mesh, result = add(motion)
    armature = mesh.find_armature()
    push_down(armature or mesh.data.shape_keys)
    if armature:
        armature.animation_data.action_blend_type = "COMBINE"
        head = armature.pose.bones["head"]
        head.rotation_quaternion = 0.96, 0.28, 0, 0
        head.keyframe_insert("rotation_quaternion", frame=11)
    expected = [world_vertices(mesh, frame) for frame in range(11, 19)]
    assert (np.abs(expected[0] - PLACE - result.vertices[0]).max() > 0.01) == bool(armature)
    mesh, _ = read_back(export(tmp_path / "out", kind), kind)
    same = places(mesh, result.rest_vertices)
    for frame, vertices in enumerate(expected, start=11):
        assert np.abs(world_vertices(mesh, frame) - vertices[same]).max() < 1e-4


def push_down(owner):
    """The action into a track of the NLA editor, as its button does."""
    animation = owner.animation_data
    strip = animation.nla_tracks.new().strips.new("result", 11, animation.action)
    if hasattr(animation, "action_slot"):
        strip.action_slot = animation.action_slot
    animation.action = None


@pytest.mark.parametrize("kind", FORMATS)
def test_the_bones_keep_their_names_and_their_tree(add, tmp_path, kind):
    add("ARMATURE")
    mesh, _ = read_back(export(tmp_path / "out", kind), kind)
    bones = mesh.find_armature().data.bones
    above = {bone.name: bone.parent.name if bone.parent else None for bone in bones}
    assert above == {name: NAMES[parent] if parent >= 0 else None for name, parent in zip(NAMES, PARENTS, strict=True)}


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("kind", FORMATS)
def test_the_camera_films_it_as_before(add, tmp_path, kind, motion):
    _, result = add(motion)
    _, camera = read_back(export(tmp_path / "out", kind), kind)
    if kind == "glb":  # which knows no shift of the lens; its angle of view is that of the height
        camera.data.shift_x, camera.data.shift_y = (80 - 70) / 120, (66 - 60) / 120
    for number, vertices, expected in zip(result.frames, result.vertices, result.projected(), strict=True):
        assert np.abs(seen_pixels(camera, number - 105 + 11, vertices + PLACE) - expected).max() < 0.01


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("kind", FORMATS)
def test_turned_and_scaled_by_its_root_it_is_still_filmed_as_before(add, tmp_path, kind, motion):
    mesh, result = add(motion)
    root = (mesh.find_armature() or mesh).parent
    root.scale, root.rotation_euler = (3, 3, 3), (0.2, 0.1, 0.7)
    expected = [world_vertices(mesh, frame) for frame in (11, 15)]
    mesh, camera = read_back(export(tmp_path / "out", kind), kind)
    if kind == "glb":
        camera.data.shift_x, camera.data.shift_y = (80 - 70) / 120, (66 - 60) / 120
    for frame, index, there in zip((11, 15), (0, 3), expected, strict=True):
        found = world_vertices(mesh, frame)
        away = np.linalg.norm(found[:, None] - there, axis=-1)
        assert away.min(1).max() < 1e-3 and set(away.argmin(1)) == set(range(len(there)))
        seen = seen_pixels(camera, frame, found)
        assert np.abs(seen - result.projected()[index][away.argmin(1)]).max() < 0.05


@pytest.mark.parametrize("kind", FORMATS)
def test_the_texture_travels_inside_the_file_and_the_paint_of_coverage_does_not(add, tmp_path, kind):
    add()
    there, elsewhere = tmp_path / "export", tmp_path / "elsewhere"
    there.mkdir(), elsewhere.mkdir()
    expected = save_texture(tmp_path)
    path = export(there / "out", kind)
    (tmp_path / TEXTURE_NAME).unlink()
    mesh, _ = read_back(path.rename(elsewhere / path.name), kind)
    assert not mesh.data.color_attributes
    nodes = mesh.data.materials[0].node_tree.nodes
    image = next(node.image for node in nodes if node.type == "TEX_IMAGE")
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    assert np.abs(values.reshape(*expected.shape[:2], 4)[..., :3] - expected).max() < 0.005


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("kind", FORMATS)
def test_it_takes_the_selected_result_or_that_of_the_active_collection(
        add, tmp_path, installed_extension, kind, motion):
    objects_to_export = importlib.import_module(f"{installed_extension}.operators.export").objects_to_export
    mesh, result = add(motion)
    camera = bpy.context.scene.camera
    other = bpy.data.objects["other"]
    second, _ = add(motion, "second", turn=0.3)
    armatures = [o.find_armature() for o in (mesh, second)] if motion == "ARMATURE" else [None, None]
    assert objects_to_export(bpy.context) == [o for o in (second, armatures[1], bpy.context.scene.camera) if o]
    second.select_set(False)
    other.select_set(True)
    layer = bpy.context.view_layer.layer_collection.children
    bpy.context.view_layer.active_layer_collection = layer["ball"]
    assert objects_to_export(bpy.context) == [o for o in (mesh, armatures[0], camera) if o]
    mesh.select_set(True)
    path = export(tmp_path / "out", kind)
    assert set(bpy.context.selected_objects) == {other, mesh}
    mesh, _ = read_back(path, kind)
    vertices = result.vertices[3][places(mesh, result.rest_vertices)]
    assert np.abs(world_vertices(mesh, 15) - PLACE - vertices).max() < 1e-4, "it moves as itself"


@pytest.fixture
def what_was_read_in_an_earlier_file():
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    return bpy.context.layer_collection.name


def test_a_glb_is_written_whatever_an_add_on_read_earlier(what_was_read_in_an_earlier_file, add, tmp_path):
    assert what_was_read_in_an_earlier_file
    add("ARMATURE")
    export(tmp_path / "out", "glb")
    assert bpy.context.id_data in (None, bpy.context.scene), "Blender 4.2: else what the exporter writes to is freed"


@pytest.mark.parametrize("operator", ["export_fbx", "export_gltf"])
def test_a_scene_without_a_result_greys_it_out(empty_file, tmp_path, operator):
    operator = getattr(bpy.ops.vmr, operator)
    assert not operator.poll()
    with pytest.raises(RuntimeError, match="Select a reconstructed mesh"):
        operator(filepath=str(tmp_path / "out"))


@pytest.mark.parametrize("operator, ending", [("export_fbx", ".fbx"), ("export_gltf", ".glb")])
def test_a_file_that_cannot_be_written_gives_one_line(add, tmp_path, operator, ending):
    add()
    (tmp_path / f"folder{ending}").mkdir()
    for path in (tmp_path / "missing" / f"out{ending}", tmp_path / f"folder{ending}"):
        with pytest.raises(RuntimeError) as error:
            getattr(bpy.ops.vmr, operator)(filepath=str(path))
        (line,) = str(error.value).strip().splitlines()
        assert line.startswith("Error: ") and tmp_path.name in line
