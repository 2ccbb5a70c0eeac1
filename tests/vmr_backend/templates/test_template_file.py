"""A template's file: what is saved is loaded, and what is broken, crafted or foreign is refused in one line."""

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import safetensors.numpy
from tiny_templates import full_template, tiny_template

from vmr_backend import cli
from vmr_backend.job import BadInput
from vmr_backend.templates import shelf
from vmr_backend.templates.rig_file import save_rig, template_of
from vmr_backend.templates.shelf import find_template
from vmr_backend.templates.template import FACTS, Template, TemplateCard, load_card


def same(one, other):
    assert one.card == other.card
    for field in fields(Template)[1:]:
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert (left is None) == (right is None), field.name
        if left is not None:
            np.testing.assert_array_equal(left, right)


def refusal(work, *given):
    with pytest.raises(BadInput) as refused:
        work(*given)
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize("make", [tiny_template, full_template])
def test_what_is_saved_is_loaded(make, tmp_path):
    path = tmp_path / "pole.safetensors"
    make().save(path)
    same(Template.load(path), make())
    assert load_card(path) == make().card


def test_dense_weights_add_up():
    template = tiny_template()
    np.testing.assert_array_equal(template.dense_weights, np.float32([[1, 0], [1, 0], [0, 1], [0, 1]]))


CYCLE, REST = np.int32([1, -1]), tiny_template().bone_rest
BROKEN = [
    ({"vertices": np.zeros((4, 3), np.float32)}, "vertices without extent"),
    ({"vertices": np.full((4, 3), np.nan, np.float32)}, "vertices that are not finite"),
    ({"vertices": np.zeros((4, 3))}, "vertices of float64"),
    ({"faces": np.int32([[0, 1, 4], [0, 1, 2]])}, "faces that point elsewhere"),
    ({"faces": np.int64([[0, 1, 2], [0, 1, 2]])}, "faces of int64"),
    ({"uv": np.zeros((2, 3, 3), np.float32)}, "uv of float32"),
    ({"skin_bones": np.full((4, 8), 2, np.int32)}, "skin_bones that point elsewhere"),
    ({"skin_bones": np.zeros((4, 4), np.int32)}, "skin_bones of int32 (4, 4), needs int32 (4, 8)"),
    ({"skin_weights": np.full((4, 8), 0.25, np.float32)}, "skin_weights whose rows do not sum to 1"),
    ({"skin_weights": np.float32(np.tile([2, -1, 0, 0, 0, 0, 0, 0], (4, 1)))}, "skin_weights whose rows"),
    ({"bone_parents": CYCLE}, "bones before their parents"),
    ({"bone_parents": np.int32([-2, 0])}, "bone_parents that point elsewhere"),
    ({"bone_twins": np.int32([1, 1])}, "twins that are not each other's"),
    ({"bone_lengths": np.float32([1, 0])}, "bones without length"),
    ({"bone_rest": 2 * REST}, "bone_rest that are not rigid"),
    ({"bone_rest": REST * np.float32([-1, 1, 1, 1])}, "bone_rest that are not rigid"),
    ({"joint_limits": np.tile(np.float32([1, -1]), (2, 3, 1))}, "joint_limits whose least is above"),
    ({"pose_mean": np.zeros((2, 3), np.float32)}, "with some of pose_mean, pose_covariance"),
    ({"pose_mean": np.zeros((2, 3), np.float32), "pose_covariance": -np.eye(6, dtype=np.float32)},
     "pose_covariance that is not positive definite"),
    ({"shape_vertices": np.zeros((1, 4, 3), np.float32)}, "with some of shape_vertices, shape_heads, shape_tails"),
    ({"landmark_weights": np.zeros((1, 4), np.float32)}, "with names or weights of landmarks alone"),
    ({"card": TemplateCard("pole", ("lower", "upper"), ("top",)), "landmark_weights": np.zeros((1, 4), np.float32)},
     "landmark_weights whose rows"),
    ({"placement": np.eye(3, dtype=np.float32)}, "placement of float32 (3, 3)"),
]


@pytest.mark.parametrize("changed, text", BROKEN, ids=[text for _, text in BROKEN])
def test_what_makes_no_rigged_mesh_is_neither_saved_nor_loaded(changed, text, tmp_path):
    template = tiny_template(**changed)
    path = tmp_path / "pole.safetensors"
    assert text in refusal(template.save, path) and not path.exists()
    arrays = {f.name: getattr(template, f.name) for f in fields(Template)[1:] if getattr(template, f.name) is not None}
    path.write_bytes(safetensors.numpy.save(
        arrays, {FACTS: json.dumps({"version": 1, **asdict(template.card)})}))
    assert text in refusal(Template.load, path)


def crafted(path, facts, **arrays):
    template = tiny_template()
    own = {f.name: getattr(template, f.name) for f in fields(Template)[1:] if getattr(template, f.name) is not None}
    own = {name: array for name, array in (own | arrays).items() if array is not None}
    metadata = {} if facts is None else {FACTS: facts if isinstance(facts, str) else json.dumps(facts)}
    path.write_bytes(safetensors.numpy.save(own, metadata))
    return path


SOUND = {"version": 1, **asdict(tiny_template().card)}


@pytest.mark.parametrize("facts, arrays, text", [
    (None, {}, "is no template of this program"),
    ("no JSON", {}, "is no template of this program"),
    ("[" * 100_000, {}, "is no template of this program"),
    ("[]", {}, "is no template of this program"),
    (SOUND | {"version": 2}, {}, "found a template of format 2, needs format 1; make it anew"),
    (SOUND | {"bone_names": ["a", "a"]}, {}, "is no template of this program"),
    (SOUND | {"bone_names": ["a", "b" * 64]}, {}, "is no template of this program"),
    (SOUND | {"bone_names": ["a", 2]}, {}, "is no template of this program"),
    (SOUND | {"bone_names": ["a"]}, {}, "does not hold a template"),
    (SOUND | {"name": "two\nlines"}, {}, "is no template of this program"),
    (SOUND | {"shape": "melt"}, {}, "is no template of this program"),
    (SOUND | {"colour": "red"}, {}, "is no template of this program"),
    (SOUND, {"colour": np.zeros(3, np.float32)}, "with 'colour'"),
    (SOUND, {"faces": None}, "without faces"),
])
def test_crafted_files_are_refused_in_a_line(facts, arrays, text, tmp_path):
    assert text in refusal(Template.load, crafted(tmp_path / "crafted.safetensors", facts, **arrays))


def test_what_is_no_whole_file_is_refused_in_a_line(tmp_path):
    path = tmp_path / "pole.safetensors"
    tiny_template().save(path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:40], whole[:-8]):
        path.write_bytes(content)
        assert "needs one that `template` wrote" in refusal(Template.load, path)
    assert "is no whole template" in refusal(Template.load, tmp_path / "none.safetensors")


def test_what_blender_hands_over_becomes_a_template(tmp_path):
    template = tiny_template()
    arrays = {f.name: getattr(template, f.name) for f in fields(Template)[1:] if getattr(template, f.name) is not None}
    facts = {"name": "pole", "bone_names": ["lower", "upper"], "front": "-Y", "warnings": []}
    save_rig(tmp_path / "rig.npz", arrays, facts)
    same(template_of(tmp_path / "rig.npz"), template)
    for content in (b"", b"PK", (tmp_path / "rig.npz").read_bytes()[:200]):
        (tmp_path / "broken.npz").write_bytes(content)
        assert "holds no rig" in refusal(template_of, tmp_path / "broken.npz")
    np.savez(tmp_path / "broken.npz", facts=np.array([{}], object))
    assert "holds no rig" in refusal(template_of, tmp_path / "broken.npz")
    save_rig(tmp_path / "rig.npz", arrays | {"colour": np.zeros(3)}, facts)
    assert "holds no rig" in refusal(template_of, tmp_path / "rig.npz")


def test_templates_are_found_by_name_and_by_path_and_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shelf, "SHIPPED", tmp_path)
    assert "found no file or template 'pole'" in refusal(find_template, "pole")
    full_template().save(tmp_path / "pole.safetensors")
    own = tmp_path / "own" / "mine.safetensors"
    own.parent.mkdir()
    replace(tiny_template(), card=TemplateCard("mine", ("a", "b"))).save(own)
    assert find_template("pole") == tmp_path / "pole.safetensors" and find_template(str(own)) == own
    assert "or one of pole" in refusal(find_template, "dragon")
    assert "found no file or template" in refusal(find_template, "own/mine")
    assert cli.main(["templates"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name  category  bones  vertices  shape", "pole  pole      2      4         adapt"]
    assert cli.main(["templates", str(own)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [str(own), "-", "2", "4", "keep"]


@pytest.mark.parametrize("arguments, text", [
    ([], "template: the following arguments are required: ASSET, --out"),
    (["none.blend", "--out", "t.safetensors"], "none.blend: found no such file; needs one of the kinds .blend, .glb"),
    (["asset.obj", "--out", "t.safetensors"], "asset.obj: found no such file"),
    (["asset.blend", "--out", "t.npz"], "--out: found 't.npz', needs a name that ends in .safetensors"),
    (["asset.blend", "--out", "t.safetensors", "--front", "Z"], "--front: found 'Z', needs one of AUTO, -Y, +Y"),
    (["asset.blend", "--out", "t.safetensors", "--blender", "no such program"], "--blender: found no program"),
])
def test_what_the_command_cannot_use_is_one_line(arguments, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("asset.blend", "asset.obj"):
        (tmp_path / name).write_bytes(b"")
    assert cli.main(["template", *arguments]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and text in said[0]
