"""Image collections of objects: annotations and ground truth, resumed after an interruption, extended, refused."""

import json

import bpy
import numpy as np
import pytest
from rigged_animal import BONES, bulging_blob, rigged_animal
from video_mesh_reconstruction.scene.studio.dataset import CollectionRequest, render_dataset
from video_mesh_reconstruction.scene.studio.subject import motions_of, subject_of
from video_mesh_reconstruction.vmr_backend.annotations import ABSENT
from video_mesh_reconstruction.vmr_backend.job import BadInput

SIZE = 64
ASKED = CollectionRequest("goat", images=3, size=SIZE, seed=5)


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
    render_dataset(subject_of(goat), CollectionRequest("goat", images=1, size=SIZE), tmp_path)
    first = (tmp_path / "images" / "000000.png").read_bytes()
    render_dataset(subject_of(goat), CollectionRequest("goat", images=2, size=SIZE), tmp_path)
    assert (tmp_path / "images" / "000000.png").read_bytes() == first
    assert len(json.loads((tmp_path / "annotations.json").read_text())["images"]) == 2
    with pytest.raises(BadInput, match="images of another seed; needs an empty folder"):
        render_dataset(subject_of(goat), CollectionRequest("goat", images=2, size=SIZE, seed=1), tmp_path)
    goat.data.vertices[0].co.x += 0.5
    with pytest.raises(BadInput, match="images of another fingerprint"):
        render_dataset(subject_of(goat), CollectionRequest("goat", images=2, size=SIZE), tmp_path)


def test_a_shape_keyed_object_without_armature_has_vertex_groups_for_keypoints(empty_file, tmp_path):
    blob = bulging_blob()
    subject = subject_of(blob)
    assert [motion.owner for motion in motions_of(subject)] == [blob.data.shape_keys]
    render_dataset(subject, CollectionRequest("blob", images=4, size=SIZE), tmp_path)
    category = json.loads((tmp_path / "annotations.json").read_text())["categories"][0]
    assert category["keypoints"] == ["left", "right", "top"] and category["skeleton"] == []
    with np.load(tmp_path / "truth.npz") as truth:
        left, right, top = truth["keypoints_3d"].transpose(1, 0, 2)
    assert (left[:, 0] > 0.7).all() and (right[:, 0] < -0.7).all()
    assert np.ptp(top[:, 2]) > 0.1


def test_an_object_without_anything_named_has_masks_alone(empty_file, tmp_path):
    bpy.ops.mesh.primitive_cube_add()
    render_dataset(subject_of(bpy.context.object), CollectionRequest("box", images=1, size=SIZE), tmp_path)
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert content["categories"][0]["keypoints"] == [] and content["annotations"][0]["area"] > 100


def test_the_files_own_materials_are_kept(goat, tmp_path):
    render_dataset(subject_of(goat), CollectionRequest("goat", images=4, size=SIZE, seed=2), tmp_path)
    assert [slot.material.name for slot in goat.material_slots] == ["goat coat"]


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
    (with_a_material_that_nobody_sees, {"seed": 0, "images": 8}, "goat: invisible in a render"),
    (rigged_animal, {"keypoints": ("head", "wing")}, "keypoints: found no bone or vertex group 'wing' in goat"),
    (rigged_animal, {"images": 0}, "images: found 0, needs 1 to 100000"),
    (rigged_animal, {"size": 8}, "size: found 8, needs 32 to 2048 pixels"),
    (rigged_animal, {"engine": "POVRAY"}, "engine: found 'POVRAY', needs one of"),
])
def test_what_cannot_be_rendered_gives_one_line(empty_file, tmp_path, make, asked, text):
    request = CollectionRequest(**({"category": "goat", "images": 1, "size": SIZE} | asked))
    with pytest.raises(BadInput) as refused:
        render_dataset(subject_of(make()), request, tmp_path)
    assert text in str(refused.value)
