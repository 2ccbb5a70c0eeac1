"""Image collections of objects: what is annotated is where Blender itself sees it, and rendering can be interrupted."""

import json

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree
from rigged_animal import BONES, bulging_blob, rigged_animal
from video_mesh_reconstruction.scene.dataset import Collection, render_dataset
from video_mesh_reconstruction.scene.keypoints import MOST, category_of, choose_keypoints
from video_mesh_reconstruction.scene.picture import mask_of
from video_mesh_reconstruction.scene.studio import Studio
from video_mesh_reconstruction.scene.subject import fingerprint, is_upright, motions_of, subject_of
from video_mesh_reconstruction.scene.variation import Variation, draw, rotation_towards
from video_mesh_reconstruction.vmr_backend.annotations import ABSENT, HIDDEN, VISIBLE
from video_mesh_reconstruction.vmr_backend.job import BadInput

SIZE = 64
ASKED = Collection("goat", images=3, size=SIZE, seed=5)


@pytest.fixture
def goat(empty_file):
    return rigged_animal()


def variation(number=0, motions=(), **changes):
    """One drawn by chance, but for what is changed."""
    drawn = draw(3, number, motions, [], has_material=True)
    return Variation(**(vars(drawn) | changes))


def photographed(subject, drawn, names=(), size=SIZE):
    """The studio, its photograph and keypoints."""
    studio, keypoints = Studio(subject, size, "CYCLES", samples=2), choose_keypoints(subject, names)
    return studio, studio.photograph(drawn, keypoints), keypoints


def seen_by_blender(studio, points):
    """(K, 2) pixels at which Blender says that its camera in the studio sees points of object space."""
    studio.scene.view_layers[0].update()
    views = [world_to_camera_view(studio.scene, studio.camera, Vector(map(float, point))) for point in points]
    return np.array([(view.x * studio.size, (1 - view.y) * studio.size) for view in views])


def in_object_space(mesh_object, frame):
    """Evaluated vertices (V, 3) of a mesh, and heads of the bones of its armature, in the armature's axes."""
    scene, rig = bpy.context.scene, mesh_object.parent
    scene.frame_set(int(frame), subframe=frame % 1)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    evaluated, posed = mesh_object.evaluated_get(depsgraph), rig.evaluated_get(depsgraph)
    place, rotation, _ = posed.matrix_world.decompose()
    inverse = (Matrix.Translation(place) @ rotation.to_matrix().to_4x4()).inverted()
    vertices = [inverse @ evaluated.matrix_world @ vertex.co for vertex in evaluated.data.vertices]
    heads = {bone.name: inverse @ posed.matrix_world @ bone.head for bone in posed.pose.bones}
    return np.array(vertices), heads, [tuple(face.vertices) for face in evaluated.data.polygons]


def test_keypoints_are_where_blender_sees_the_bones(goat):
    (motion,) = motions_of(subject_of(goat))
    drawn = variation(motions=[motion], proportions=(1, 1, 1), frame=12.4)
    names = ("head", "fore.L", "hind.R", "tail")
    studio, photograph, _ = photographed(subject_of(goat), drawn, names)
    _, heads, _ = in_object_space(goat, 12.4)
    expected = seen_by_blender(studio, [heads[name] for name in names])
    np.testing.assert_allclose(photograph.camera.project(photograph.places), expected, atol=0.01)


def test_masks_are_the_silhouettes_that_rays_find(goat):
    drawn = variation(number=4, motions=motions_of(subject_of(goat)), proportions=(1, 1, 1))
    studio, photograph, _ = photographed(subject_of(goat), drawn)
    vertices, _, faces = in_object_space(goat, drawn.frame)
    tree, camera = BVHTree.FromPolygons(vertices.tolist(), faces), photograph.camera
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    ways = np.stack([(columns - camera.principal[0]) / camera.focal, (rows - camera.principal[1]) / camera.focal,
                     np.ones((SIZE, SIZE))], -1) @ camera.rotation
    hit = np.array([[tree.ray_cast(Vector(camera.eye), Vector(way))[0] is not None for way in row] for row in ways])
    mask = mask_of(photograph.pixels)
    assert (mask & hit).sum() / (mask | hit).sum() > 0.93
    corners = seen_by_blender(studio, vertices)
    found = np.argwhere(mask)[:, ::-1]
    np.testing.assert_allclose([found.min(0), found.max(0) + 1], [corners.min(0), corners.max(0)], atol=1.2)


@pytest.mark.parametrize("number", range(4))
def test_the_subject_fills_its_share_and_is_wholly_inside(goat, number):
    drawn = variation(number, motions_of(subject_of(goat)))
    _, photograph, _ = photographed(subject_of(goat), drawn)
    mask = mask_of(photograph.pixels)
    sides = np.ptp(np.argwhere(mask), 0) + 1
    assert sides.max() / SIZE == pytest.approx(drawn.fill, abs=2.5 / SIZE)
    assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_the_front_is_seen_from_the_front_and_the_left_at_the_right(goat):
    """Front -y, up z, whatever the object's place in the world."""
    drawn = variation(rotation=rotation_towards(0, 0), proportions=(1, 1, 1))
    _, photograph, keypoints = photographed(subject_of(goat), drawn, ("head", "tail", "hind.L", "hind.R"))
    (head, tail, left, right) = photograph.camera.project(photograph.places)
    depth = photograph.places @ photograph.camera.rotation[2]
    assert depth[0] < depth[1] and left[0] > right[0] + 3 and head[1] < tail[1]
    _, photograph, _ = photographed(subject_of(goat), variation(rotation=rotation_towards(90, 0)), ("head", "tail"))
    (head, tail) = photograph.camera.project(photograph.places)
    assert head[0] < tail[0] - 20


@pytest.mark.parametrize("azimuth, elevation, roll", [(0, 0, 0), (35, 20, -7), (-120, -10, 3)])
def test_a_camera_is_where_its_angles_say(azimuth, elevation, roll):
    rotation = rotation_towards(azimuth, elevation, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    x, y, z = -rotation[2]  # from the subject to the camera
    assert np.degrees(np.arcsin(z)) == pytest.approx(elevation)
    assert np.degrees(np.arctan2(x, -y)) == pytest.approx(azimuth)
    up = rotation @ [0, 0, 1]
    assert np.degrees(np.arctan2(up[0], -up[1])) == pytest.approx(-roll)


def test_a_joint_behind_the_body_is_hidden_and_one_before_it_seen(goat):
    drawn = variation(rotation=rotation_towards(90, 0), proportions=(1, 1, 1))
    _, photograph, _ = photographed(subject_of(goat), drawn, ("hind.L", "hind.R", "head tip"))
    assert photograph.states.tolist() == [VISIBLE, HIDDEN, VISIBLE]


def test_proportions_stretch_the_subject_and_its_keypoints(goat):
    names = ("fore.L tip", "head")
    plain, tall = (photographed(subject_of(goat), variation(proportions=(1, 1, height)), names)[1]
                   for height in (1.0, 1.1))
    np.testing.assert_allclose(tall.places[:, 2], 1.1 * plain.places[:, 2], atol=1e-5)
    np.testing.assert_allclose(tall.places[:, :2], plain.places[:, :2], atol=1e-5)


def test_a_bone_that_grows_takes_along_what_hangs_on_it_and_no_later_picture_shows_it(goat):
    names = ("neck", "head", "tail tip")
    studio = Studio(subject_of(goat), SIZE, "CYCLES", samples=1)
    keypoints = choose_keypoints(subject_of(goat), names)
    drawn = {"motions": motions_of(subject_of(goat)), "proportions": (1, 1, 1)}
    plain, grown, again = (studio.photograph(variation(**drawn, bones=bones), keypoints).places
                           for bones in ((), (("neck", 1.5),), ()))
    length = [np.linalg.norm(places[1] - places[0]) for places in (plain, grown)]
    assert length[1] == pytest.approx(1.5 * length[0], rel=1e-4)
    np.testing.assert_allclose(grown[[0, 2]], plain[[0, 2]], atol=1e-5)
    np.testing.assert_allclose(again, plain, atol=1e-6)


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


def test_a_collection_is_rendered_with_its_truth(goat, tmp_path):
    told = []
    render_dataset(subject_of(goat), ASKED, tmp_path, lambda *news: told.append(news))
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [f"images/{n:06d}.png" for n in range(3)]
    assert content["categories"][0]["name"] == "goat" and told == [(0, 3, 0), (1, 3, 0), (2, 3, 0), (3, 3, 0)]
    with np.load(tmp_path / "truth.npz") as truth:
        for index, entry in enumerate(content["annotations"]):
            keypoints = np.array(entry["keypoints"]).reshape(-1, 3)
            annotated = keypoints[:, 2] > ABSENT
            assert annotated.sum() == entry["num_keypoints"] >= len(BONES)
            seen = truth["keypoints_3d"][index] @ truth["rotation"][index].T
            full = seen + truth["translation"][index]
            pixels = truth["focal"][index] * full[:, :2] / full[:, 2:] + truth["principal"][index]
            np.testing.assert_allclose(pixels[annotated], keypoints[annotated, :2], atol=0.01)
            weak = (truth["scale"][index] * seen[:, :2] + truth["shift"][index] + 1) * SIZE / 2
            assert np.abs(weak - pixels).max() < 0.12 * SIZE
    pictures = {(tmp_path / image["file_name"]).read_bytes() for image in content["images"]}
    assert len(pictures) == 3


def test_the_same_seed_gives_the_same_pictures_and_an_interrupted_rendering_goes_on(goat, tmp_path):
    def interrupt(done, *_):
        if done == 2:
            raise KeyboardInterrupt

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    render_dataset(subject_of(goat), ASKED, whole)
    with pytest.raises(KeyboardInterrupt):
        render_dataset(subject_of(goat), ASKED, parts, interrupt)
    assert not (parts / "annotations.json").exists()
    (parts / "rows" / "000001.npz").write_bytes(b"cut off")
    told = []
    render_dataset(subject_of(goat), ASKED, parts, lambda *news: told.append(news))
    assert told[-1] == (2, 2, 1)
    for name in ("annotations.json", "images/000000.png", "images/000001.png", "images/000002.png"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name


def test_more_pictures_can_be_added_but_none_of_another_object_seed_or_shape(goat, tmp_path):
    render_dataset(subject_of(goat), Collection("goat", images=1, size=SIZE), tmp_path)
    first = (tmp_path / "images" / "000000.png").read_bytes()
    render_dataset(subject_of(goat), Collection("goat", images=2, size=SIZE), tmp_path)
    assert (tmp_path / "images" / "000000.png").read_bytes() == first
    assert len(json.loads((tmp_path / "annotations.json").read_text())["images"]) == 2
    with pytest.raises(BadInput, match="pictures of another seed; needs an empty folder"):
        render_dataset(subject_of(goat), Collection("goat", images=2, size=SIZE, seed=1), tmp_path)
    goat.data.vertices[0].co.x += 0.5
    with pytest.raises(BadInput, match="pictures of another fingerprint"):
        render_dataset(subject_of(goat), Collection("goat", images=2, size=SIZE), tmp_path)


def test_a_shape_keyed_object_without_armature_has_vertex_groups_for_keypoints(empty_file, tmp_path):
    blob = bulging_blob()
    subject = subject_of(blob)
    assert [motion.owner for motion in motions_of(subject)] == [blob.data.shape_keys]
    render_dataset(subject, Collection("blob", images=4, size=SIZE), tmp_path)
    category = json.loads((tmp_path / "annotations.json").read_text())["categories"][0]
    assert category["keypoints"] == ["left", "right", "top"] and category["skeleton"] == []
    with np.load(tmp_path / "truth.npz") as truth:
        left, right, top = truth["keypoints_3d"].transpose(1, 0, 2)
    assert (left[:, 0] > 0.7).all() and (right[:, 0] < -0.7).all()
    assert np.ptp(top[:, 2]) > 0.1


def test_an_object_without_anything_named_has_masks_alone(empty_file, tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    render_dataset(subject_of(bpy.context.object), Collection("box", images=1, size=SIZE), tmp_path)
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert content["categories"][0]["keypoints"] == [] and content["annotations"][0]["area"] > 100


def test_the_files_own_materials_are_kept(goat, tmp_path):
    render_dataset(subject_of(goat), Collection("goat", images=4, size=SIZE, seed=2), tmp_path)
    assert [slot.material.name for slot in goat.material_slots] == ["goat coat"]


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


def without_mesh():
    rig = rigged_animal().parent
    bpy.data.objects.remove(rig.children[0])
    return rig


def without_faces():
    return bpy.data.objects.new("dust", bpy.data.meshes.new("dust"))


def with_a_material_that_nobody_sees():
    goat = rigged_animal()
    nodes = goat.data.materials[0].node_tree.nodes
    nodes["Principled BSDF"].inputs["Alpha"].default_value = 0.0
    return goat


@pytest.mark.parametrize("make, asked, text", [
    (without_mesh, {}, "goat rig: found no mesh in it that renders show"),
    (without_faces, {}, "dust: found no faces in its meshes"),
    (with_a_material_that_nobody_sees, {"seed": 0, "images": 8}, "goat: nothing of it is seen in a render"),
    (rigged_animal, {"keypoints": ("head", "wing")}, "keypoints: found no bone or vertex group 'wing' in goat"),
    (rigged_animal, {"images": 0}, "images: found 0, needs 1 to 100000"),
    (rigged_animal, {"size": 8}, "size: found 8, needs 32 to 2048 pixels"),
    (rigged_animal, {"engine": "POVRAY"}, "engine: found 'POVRAY', needs one of"),
])
def test_what_cannot_be_rendered_gives_one_line(empty_file, tmp_path, make, asked, text):
    with pytest.raises(BadInput) as refused:
        render_dataset(subject_of(make()), Collection(**({"category": "goat", "images": 1, "size": SIZE} | asked)),
                       tmp_path)
    assert text in str(refused.value)
