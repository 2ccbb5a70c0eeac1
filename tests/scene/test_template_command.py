"""The command `template`, with this Python for a Blender: files that Blender and others write become templates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from own_rigs import armature, tubes
from rigged_animal import BONES, rigged_animal
from video_mesh_reconstruction.vmr_backend.job import Event

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("VMR_BACKEND_PYTHON", ROOT / ".venv" / "bin" / "python"))
PROGRAM = ROOT / "vmr_backend" / "__main__.py"
MODELS = Path(os.environ.get("VMR_TEST_MODELS", "no folder"))
LOADED = """import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vmr_backend.templates.template import Template
found = Template.load(Path(sys.argv[2]))
print(json.dumps({"names": found.card.bone_names, "name": found.card.name, "source": found.card.source,
                  "shape": found.card.shape, "parents": found.bone_parents.tolist(),
                  "vertices": found.vertices.tolist(), "heads": found.bone_rest[:, :3, 3].tolist(),
                  "y": found.bone_rest[:, :3, 1].tolist(), "twins": found.bone_twins.tolist()}))
"""

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=f"no backend: {PYTHON} (VMR_BACKEND_PYTHON names another)")


def run(asset, out, *more):
    return subprocess.run(
        [str(PYTHON), str(PROGRAM), "template", str(asset), "--out", str(out), "--blender", sys.executable,
         *map(str, more)], capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL)


def loaded(path):
    done = subprocess.run([str(PYTHON), "-c", LOADED, str(ROOT), str(path)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return {name: np.array(value) if isinstance(value, list) and name != "names" else value
            for name, value in json.loads(done.stdout).items()}


def write_blend(path):
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True)


def write_gltf(path):
    _ = bpy.context.layer_collection  # see scene/context_owner.py
    bpy.ops.export_scene.gltf(filepath=str(path), export_format="GLB" if path.suffix == ".glb" else "GLTF_SEPARATE")


def write_fbx(path):
    bpy.ops.export_scene.fbx(filepath=str(path), add_leaf_bones=False)


@pytest.fixture
def goat(empty_file):
    mesh = rigged_animal()
    mesh.parent.matrix_world.identity()
    for pose in mesh.parent.pose.bones:
        pose.matrix_basis.identity()
    return mesh


@pytest.mark.slow
@pytest.mark.parametrize("write, name", [
    (write_blend, "goat é.blend"), (write_gltf, "goat.glb"), (write_gltf, "goat.gltf"), (write_fbx, "goat.fbx")])
def test_a_file_becomes_a_template(goat, tmp_path, write, name):
    write(tmp_path / name)
    out = tmp_path / "new folder" / "goat.safetensors"
    done = run(tmp_path / name, out)
    assert done.returncode == 0, done.stderr
    events = [Event.parse(line) for line in done.stdout.splitlines()]
    assert [event.event for event in events] == ["done"] and events[0].message == str(out)
    found = loaded(out)
    names = found["names"]
    assert {bone: names[parent] if parent >= 0 else None for bone, parent in
            zip(names, found["parents"], strict=True)} == {bone: parent for bone, (_, _, parent, _) in BONES.items()}
    assert (found["name"], found["source"], found["shape"]) == ("goat", f"{name}: goat", "keep")
    np.testing.assert_allclose(found["heads"], [BONES[bone][0] for bone in names], atol=1e-4)
    along = np.array([np.subtract(BONES[bone][1], BONES[bone][0]) for bone in names])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    inner = [names.index(bone) for bone in ("spine", "neck")]
    assert (along * found["y"]).sum(1)[inner].min() > 0.7
    assert sorted(names[twin] for bone, twin in zip(names, found["twins"], strict=True) if names[twin] != bone) == [
        "fore.L", "fore.R", "hind.L", "hind.R"]
    points = np.array([vertex.co for vertex in goat.data.vertices])
    np.testing.assert_allclose(np.ptp(found["vertices"], axis=0), np.ptp(points, axis=0), atol=1e-4)


@pytest.mark.once
def test_a_file_without_a_rig_is_one_line(goat, tmp_path):
    goat.parent = None
    goat.modifiers.clear()
    write_gltf(tmp_path / "statue.glb")
    done = run(tmp_path / "statue.glb", tmp_path / "out.safetensors")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        "statue.glb: found no armature that moves a mesh; needs a rigged object")


@pytest.mark.once
def test_an_object_and_a_front_may_be_named(goat, tmp_path):
    rig = armature({"stem": ((5, 0, 0), (5, 0, 1), None)}, "flower")
    tubes(rig, ["stem"], name="stalk")
    write_blend(tmp_path / "both.blend")
    out = tmp_path / "out.safetensors"
    done = run(tmp_path / "both.blend", out)
    assert done.returncode == 2 and not out.exists()
    assert done.stderr.splitlines()[-1] == ("both.blend: found 2 armatures that move meshes; name one by --object: "
                                            "flower, goat rig")
    done = run(tmp_path / "both.blend", out, "--object", "flower")
    warning = Event.parse(done.stdout.splitlines()[0])
    assert warning.event == "warning" and "front" in warning.message
    assert done.returncode == 0 and loaded(out)["names"] == ["stem"]
    done = run(tmp_path / "both.blend", out, "--object", "goat", "--front", "-x")
    assert done.returncode == 0
    found = loaded(out)
    # What looked to -x looks to -y: the head was at -y, and is at +x.
    head = found["heads"][found["names"].index("head")] - found["heads"][found["names"].index("tail")]
    assert abs(head[0]) > 2 * abs(head[1]) and head[0] > 0
    done = run(tmp_path / "both.blend", out, "--object", "cow")
    assert done.returncode == 2
    assert "object: found no 'cow' in both.blend; needs one of flower, goat, goat rig" in done.stderr


@pytest.mark.once
@pytest.mark.parametrize("name", ["text.blend", "text.glb", "text.gltf", "text.fbx"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name):
    (tmp_path / name).write_text("no asset")
    done = run(tmp_path / name, tmp_path / "out.safetensors")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last.startswith(f"{tmp_path / name}: cannot be opened (")
    assert "needs a" in last and not (tmp_path / "out.safetensors").exists()


@pytest.mark.once
@pytest.mark.parametrize("name, bones, under", [
    ("Fox.glb", 22, {"b_LeftFoot01_017": "b_LeftLeg02_016", "b_RightHand_08": "b_RightForeArm_07"}),
    ("Wolf.glb", 46, {f"{foot}.{side}": f"{shin}.{side}" for side in "LR" for foot, shin in (
        ("IKBackLeg", "BackLowerLeg"), ("FFB", "IKBackLeg"), ("IKFrontLeg", "FrontLowerLeg"))}),
])
def test_rigs_that_others_made(tmp_path, name, bones, under):
    if not (MODELS / name).is_file():
        pytest.skip(f"no {name} (VMR_TEST_MODELS names a folder)")
    assert run(MODELS / name, tmp_path / "out.safetensors").returncode == 0
    found = loaded(tmp_path / "out.safetensors")
    parent = {bone: found["names"][above] for bone, above in zip(found["names"], found["parents"], strict=True)}
    assert len(found["names"]) == bones and under.items() <= parent.items()
