"""What is gathered of a user's rigged object: its surface at rest, and one tree over the bones that hold it."""

import time

import bpy
import numpy as np
import pytest
from mathutils import Matrix
from own_rigs import armature, generated, rigify_enabled, tubes
from video_mesh_reconstruction.scene.skeleton import pairs_by_name
from video_mesh_reconstruction.scene.template import gather, only_rigged_object, rigged_object
from video_mesh_reconstruction.vmr_backend.job import BadInput

ARM = {"upper": ((0, 0, 0), (0, -1, 0), None), "lower": ((0, -1, 0), (0, -2, 0), "upper"),
       "hand": ((0, -2, 0), (0, -2.5, 0), "lower")}
BODY = {"spine": ((0, 0.5, 1), (0, -0.5, 1), None), "head": ((0, -0.5, 1), (0, -1, 1.3), "spine"),
        "tail": ((0, 0.5, 1), (0, 1.1, 1.1), "spine")}
LEGS = {f"{bone}.{side}": (tuple((x, *head)), tuple((x, *tail)), parent and f"{parent}.{side}")
        for side, x in (("L", 0.2), ("R", -0.2))
        for bone, (head, tail, parent) in {"thigh": ((0.45, 1), (0.4, 0.5), None), "shin": ((0.4, 0.5), (0.45, 0.1),
                                           "thigh"), "foot": ((0.45, 0.1), (0.3, 0), None)}.items()}


@pytest.fixture(autouse=True)
def in_an_empty_file(empty_file):
    """Each test begins with nothing."""


def animal(control=True, held=()):
    """A body with two legs whose feet hang below targets of inverse kinematics."""
    bones = {"root": ((0, 0, 0), (0, -0.3, 0), None)} if control else {}
    bones |= {"spine": (*BODY["spine"][:2], "root"), "head": BODY["head"], "tail": BODY["tail"]}
    for side in "LR":
        x = 0.2 if side == "L" else -0.2
        bones[f"IK.{side}"] = ((x, 0.45, 0.1), (x, 0.7, 0.1), "root")
        bones[f"pole.{side}"] = ((x, -0.4, 0.5), (x, -0.6, 0.5), "root")
    for name, (head, tail, parent) in LEGS.items():
        kind, side = name.split(".")
        bones[name] = head, tail, {"thigh": "spine", "foot": f"IK.{side}"}.get(kind, parent)
    rig = armature(bones)
    return rig, tubes(rig, [*BODY, *LEGS, *held])


def tree(arrays, facts):
    """{bone: parent}"""
    names = facts["bone_names"]
    return {name: names[parent] if parent >= 0 else None
            for name, parent in zip(names, arrays["bone_parents"], strict=True)}


def twins(arrays, facts):
    names = facts["bone_names"]
    return {name: names[twin] for name, twin in zip(names, arrays["bone_twins"], strict=True) if names[twin] != name}


def volume(vertices, faces):
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def in_world(body):
    points = np.array([vertex.co for vertex in body.data.vertices])
    return points @ np.array(body.matrix_world)[:3, :3].T + np.array(body.matrix_world)[:3, 3]


def check(arrays, facts):
    """What the backend checks, which this Python cannot run."""
    count = len(facts["bone_names"])
    parents, twin = arrays["bone_parents"], arrays["bone_twins"]
    assert (parents < np.arange(count)).all() and (parents == -1).sum() == 1
    assert (twin[twin] == np.arange(count)).all()
    assert arrays["skin_bones"].shape == arrays["skin_weights"].shape == (len(arrays["vertices"]), 8)
    assert 0 <= arrays["skin_bones"].min() and arrays["skin_bones"].max() < count
    np.testing.assert_allclose(arrays["skin_weights"].sum(1), 1, atol=1e-5)
    turn = arrays["bone_rest"][:, :3, :3]
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.tile(np.eye(3), (count, 1, 1)), atol=1e-5)
    assert (np.linalg.det(turn) > 0).all() and arrays["bone_lengths"].min() > 0
    assert {name: array.dtype for name, array in arrays.items()} == {
        name: np.int32 if name in ("faces", "skin_bones", "bone_parents", "bone_twins") else np.float32
        for name in arrays}


def test_an_arm_is_gathered_as_it_is():
    rig = armature(ARM)
    body = tubes(rig, ARM)
    arrays, facts = gather(rigged_object(body), "-Y")
    check(arrays, facts)
    assert tree(arrays, facts) == {"upper": None, "lower": "upper", "hand": "lower"}
    np.testing.assert_allclose(arrays["vertices"], in_world(body), atol=1e-6)
    np.testing.assert_allclose(arrays["bone_lengths"], [1, 1, 0.5], atol=1e-6)
    np.testing.assert_allclose(arrays["bone_rest"], [bone.matrix_local for bone in rig.data.bones], atol=1e-6)
    np.testing.assert_allclose(arrays["placement"], np.eye(4), atol=1e-7)
    assert volume(arrays["vertices"], arrays["faces"]) > 0
    uv = arrays["uv"]
    assert uv.min() >= 0 and uv.max() <= 1 and len(np.unique(uv.mean(1), axis=0)) == len(uv), "cells of their own"
    assert (facts["name"], facts["front"]) == ("body", "-Y")


def test_the_active_uv_map_is_taken():
    rig = armature(ARM)
    body = tubes(rig, ARM)
    body.data.uv_layers.new(name="other")
    layer = body.data.uv_layers.new(name="mine")
    values = np.random.default_rng(0).random(2 * len(body.data.loops), np.float32)
    layer.uv.foreach_set("vector", values)
    body.data.uv_layers.active = layer
    arrays, _ = gather(rigged_object(body))
    body.data.calc_loop_triangles()
    corners = np.array([triangle.loops[:] for triangle in body.data.loop_triangles])
    np.testing.assert_allclose(arrays["uv"], values.reshape(-1, 2)[corners], atol=1e-6)


@pytest.mark.parametrize("constrained", [True, False])
def test_feet_below_targets_of_inverse_kinematics_hang_on_the_shins(constrained):
    rig, body = animal()
    if constrained:
        for side in "LR":
            constraint = rig.pose.bones[f"shin.{side}"].constraints.new("IK")
            constraint.target, constraint.subtarget, constraint.chain_count = rig, f"IK.{side}", 2
            constraint.pole_target, constraint.pole_subtarget = rig, f"pole.{side}"
    arrays, facts = gather(rigged_object(body))
    check(arrays, facts)
    assert tree(arrays, facts) == {
        "spine": None, "head": "spine", "tail": "spine", "thigh.L": "spine", "shin.L": "thigh.L", "foot.L": "shin.L",
        "thigh.R": "spine", "shin.R": "thigh.R", "foot.R": "shin.R"}
    assert twins(arrays, facts) == {f"{bone}.{a}": f"{bone}.{b}" for bone in ("thigh", "shin", "foot")
                                    for a, b in ("LR", "RL")}
    assert facts["front"] == "-Y" and not facts["warnings"]


def test_a_root_that_holds_vertices_does_not_take_the_feet():
    rig, body = animal(held=["root"])
    arrays, facts = gather(rigged_object(body))
    found = tree(arrays, facts)
    assert found["foot.L"] == "shin.L" and found["foot.R"] == "shin.R" and found["thigh.L"] == "spine"


def test_legs_without_parents_are_hung_alike():
    bones = {**BODY, **{name: (*ends[:2], None) for name, ends in LEGS.items()}}
    rig = armature(bones)
    arrays, facts = gather(rigged_object(tubes(rig, bones)))
    found = tree(arrays, facts)
    for side in "LR":
        assert (found[f"foot.{side}"], found[f"shin.{side}"], found[f"thigh.{side}"]) == (
            f"shin.{side}", f"thigh.{side}", "spine")


def transform(turn, scale, location=(0.5, -2, 3)):
    return Matrix.Translation(location) @ turn @ Matrix.Diagonal((*scale, 1))


TURNED = Matrix.Rotation(0.7, 4, "Z")
LYING = Matrix.Rotation(np.pi / 2, 4, "X")
"""As importers of FBX leave armatures whose own y is up."""


@pytest.mark.parametrize("turn, scale", [(TURNED, (2, 2, 2)), (TURNED, (1, 2, 0.5)), (LYING, (0.01, 0.01, 0.01))])
def test_the_template_is_what_is_seen_upright_and_turned_to_the_front(turn, scale):
    rig, body = animal()
    if turn is LYING:
        for data in (rig.data, body.data):
            data.transform(LYING.inverted())
    before = in_world(body)
    body.parent = rig
    rig.matrix_world = transform(turn, scale)
    bpy.context.view_layer.update()
    arrays, facts = gather(rigged_object(rig))
    check(arrays, facts)
    upright = before @ np.array(turn)[:3, :3].T * scale if turn is LYING else before * scale
    np.testing.assert_allclose(arrays["vertices"], upright, atol=1e-5)
    bones = [rig.data.bones[name] for name in facts["bone_names"]]
    axes = np.array(turn)[:3, :3] if turn is LYING else np.eye(3)
    heads = np.array([bone.head_local for bone in bones]) @ axes.T * scale
    tails = np.array([bone.tail_local for bone in bones]) @ axes.T * scale
    np.testing.assert_allclose(arrays["bone_rest"][:, :3, 3], heads, atol=1e-5)
    found = arrays["bone_rest"][:, :3, 3] + arrays["bone_rest"][:, :3, 1] * arrays["bone_lengths"][:, None]
    np.testing.assert_allclose(found, tails, atol=1e-5)
    assert bool(facts["warnings"]) == (len(set(scale)) > 1)
    if len(set(scale)) == 1:
        points = np.array([bone.head_local for bone in bones])
        placed = points @ arrays["placement"][:3, :3].T + arrays["placement"][:3, 3]
        np.testing.assert_allclose(placed, heads, atol=1e-5)


@pytest.mark.parametrize("scale", [(-1.5, 1, 0.7), (-1, -1, -1), (1, -2, 1)])
def test_a_mirrored_mesh_object_keeps_its_outside_out(scale):
    rig, body = animal()
    matrix = transform(Matrix.Rotation(0.5, 4, "Y"), scale)
    before = in_world(body)
    body.data.transform(matrix.inverted())
    body.matrix_world = matrix
    bpy.context.view_layer.update()
    arrays, facts = gather(rigged_object(rig))
    np.testing.assert_allclose(arrays["vertices"], before, atol=1e-5)
    assert volume(arrays["vertices"], arrays["faces"]) > 0


def test_faces_that_look_inwards_are_turned():
    rig, body = animal()
    body.data.flip_normals()
    arrays, _ = gather(rigged_object(body))
    assert volume(arrays["vertices"], arrays["faces"]) > 0


@pytest.mark.parametrize("degrees, front", [(0, "-Y"), (90, "+X"), (180, "+Y"), (270, "-X")])
@pytest.mark.parametrize("asked", [True, False])
def test_the_front_is_found_or_asked_for(degrees, front, asked):
    rig, body = animal()
    straight, _ = gather(rigged_object(body))
    for data in (rig.data, body.data):
        data.transform(Matrix.Translation((3, -2, 0)) @ Matrix.Rotation(np.radians(degrees), 4, "Z"))
    arrays, facts = gather(rigged_object(body), front if asked else "AUTO")
    assert facts["front"] == front and not facts["warnings"]
    moved = arrays["vertices"] - straight["vertices"]
    assert np.ptp(moved, axis=0).max() < 1e-4 and abs(moved[:, 0]).max() < 1e-4, "the mirror is at x = 0"
    placed = np.array([rig.data.bones[name].head_local for name in facts["bone_names"]])
    np.testing.assert_allclose(placed @ arrays["placement"][:3, :3].T + arrays["placement"][:3, 3],
                               arrays["bone_rest"][:, :3, 3], atol=1e-5)
    assert len(twins(arrays, facts)) == 6


def test_the_front_of_what_stands_upright_is_where_toes_point_or_left_says():
    bones = {"hips": ((0, 0, 1), (0, 0, 1.5), None)}
    for side, x in (("Left", -0.2), ("Right", 0.2)):
        bones |= {f"{side}Leg": ((x, 0, 1), (x, 0, 0.1), "hips"), f"{side}Arm": ((x, 0, 1.5), (3 * x, 0, 1.5), "hips")}
    rig = armature(bones)
    arrays, facts = gather(rigged_object(tubes(rig, bones)))
    assert facts["front"] == "+Y", "its left is at -x"
    assert twins(arrays, facts)["LeftArm"] == "RightArm"
    toes = {f"{side}Toe": ((x, 0, 0.1), (x, -0.3, 0), f"{side}Leg") for side, x in (("Left", -0.2), ("Right", 0.2))}
    rig = armature(bones | toes)
    assert gather(rigged_object(tubes(rig, bones | toes)))[1]["front"] == "-Y"


def test_what_tells_nothing_of_its_front_looks_to_minus_y_with_a_warning():
    rig = armature(ARM)
    arrays, facts = gather(rigged_object(tubes(rig, ARM)))
    assert facts["front"] == "-Y" and "front" in facts["warnings"][0]


def test_twins_without_names_are_found_by_where_they_are():
    names = {name: f"bone{number}" for number, name in enumerate([*BODY, *LEGS])}
    bones = {names[name]: (head, tail, names.get(parent)) for name, (head, tail, parent) in (BODY | LEGS).items()}
    rig = armature(bones)
    arrays, facts = gather(rigged_object(tubes(rig, bones)), "-Y")
    assert twins(arrays, facts) == {names[f"{bone}.{a}"]: names[f"{bone}.{b}"] for bone in ("thigh", "shin", "foot")
                                    for a, b in ("LR", "RL")}


@pytest.mark.parametrize("left, right", [
    ("thigh.L", "thigh.R"), ("DEF-thigh.L.001", "DEF-thigh.R.001"), ("hand_l", "hand_r"), ("L_Arm", "R_Arm"),
    ("mixamorig:LeftHandIndex1", "mixamorig:RightHandIndex1"), ("b_LeftFoot01_017", "b_RightFoot01_021"),
    ("Leg_L_013", "Leg_R_027"), ("leftLeg", "rightLeg"), ("Bip01 L Thigh", "Bip01 R Thigh"), ("lShin", "rShin"),
    ("LegL", "LegR"), ("r_toe.L", "r_toe.R"), ("ARM_LEFT", "ARM_RIGHT"), ("Ear1.L", "Ear1.R"),
])
def test_names_tell_twins(left, right):
    names = ["Root", "Spine_01", left, "Collar", right, "tail_02", "upright"]
    assert pairs_by_name(names) == [([2], [4])]


def test_generating_modifiers_are_applied_and_subdivision_is_not():
    bones = BODY | {name: (head, tail, "spine" if parent is None else parent)
                    for name, (head, tail, parent) in LEGS.items() if not name.startswith("foot")}
    rig = armature(bones)
    body = tubes(rig, [name for name in bones if name.endswith(".L")])
    body.vertex_groups.new(name="thigh.R")
    body.vertex_groups.new(name="shin.R")
    mirror = body.modifiers.new("mirror", "MIRROR")
    subdivision = body.modifiers.new("smooth", "SUBSURF")
    subdivision.levels = 2
    for _ in range(2):
        body.modifiers.move(len(body.modifiers) - 1, 0)
    assert mirror.use_mirror_vertex_groups
    arrays, facts = gather(rigged_object(body))
    assert len(arrays["vertices"]) == 2 * len(body.data.vertices)
    np.testing.assert_allclose(sorted(arrays["vertices"][:, 0]), sorted(-arrays["vertices"][:, 0]), atol=1e-6)
    assert set(facts["bone_names"]) == {"thigh.L", "thigh.R", "shin.L", "shin.R"}
    assert volume(arrays["vertices"], arrays["faces"]) > 0
    assert subdivision.show_viewport and subdivision.levels == 2 and mirror.show_viewport


def test_several_meshes_are_one_and_what_a_bone_holds_is_rigid():
    rig, body = animal()
    eyes = tubes(rig, ["head"], 0.02, "eyes", modifier=False)
    eyes.vertex_groups.clear()
    world = eyes.matrix_world.copy()
    eyes.parent, eyes.parent_type, eyes.parent_bone = rig, "BONE", "head"
    eyes.matrix_world = world
    bpy.context.view_layer.update()
    rig.pose.bones["head"].rotation_mode = "XYZ"
    rig.pose.bones["head"].rotation_euler.x = 1.0
    bpy.context.view_layer.update()
    arrays, facts = gather(rigged_object(rig))
    check(arrays, facts)
    assert facts["name"] == "rig" and len(arrays["vertices"]) == len(body.data.vertices) + len(eyes.data.vertices)
    own = arrays["vertices"][-len(eyes.data.vertices):] if rigged_object(rig).meshes[-1] == eyes else \
        arrays["vertices"][:len(eyes.data.vertices)]
    np.testing.assert_allclose(own, [vertex.co for vertex in eyes.data.vertices], atol=1e-5)
    assert only_rigged_object().armature == rig


def test_a_bone_of_almost_no_length_gets_a_small_one():
    bones = BODY | {"bud": ((0, -1, 1.3), (0, -1, 1.30001), "head")}
    rig = armature(bones)
    body = tubes(rig, BODY)
    body.vertex_groups.new(name="bud").add([RING_END], 1.0, "REPLACE")
    arrays, facts = gather(rigged_object(body))
    check(arrays, facts)
    assert 1e-3 < arrays["bone_lengths"][facts["bone_names"].index("bud")] < 0.2


RING_END = 79
"""A vertex at the tip of the head."""


def test_bones_that_importers_lay_across_are_turned_along():
    rig, body = animal()
    straight, _ = gather(rigged_object(body))
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in rig.data.edit_bones:
        bone.use_connect = False
        length, matrix = bone.length, bone.matrix @ Matrix.Rotation(np.pi / 2, 4, "X")
        bone.matrix = matrix
        bone.length = length
    bpy.ops.object.mode_set(mode="OBJECT")
    arrays, facts = gather(rigged_object(body))
    check(arrays, facts)
    along = (arrays["bone_rest"][:, :3, 1] * straight["bone_rest"][:, :3, 1]).sum(1)
    inner = [facts["bone_names"].index(name) for name in ("thigh.L", "shin.L", "thigh.R", "shin.R")]
    assert along[inner].min() > 0.9
    np.testing.assert_allclose(arrays["bone_lengths"][inner], straight["bone_lengths"][inner], atol=0.05)


def test_vertices_without_weight_go_to_the_nearest_bone_and_at_most_eight_hold_one():
    rig = armature({f"b{i}": ((0, -i, 0), (0, -i - 1, 0), f"b{i - 1}" if i else None) for i in range(10)})
    body = tubes(rig, [f"b{i}" for i in range(10)])
    for group in body.vertex_groups:
        group.add([0], 0.1 * (group.index + 1), "REPLACE")
        group.remove([200])
    arrays, facts = gather(rigged_object(body))
    check(arrays, facts)
    held = arrays["skin_bones"][0][arrays["skin_weights"][0] > 0]
    assert {facts["bone_names"][bone] for bone in held} == {f"b{i}" for i in range(2, 10)}
    bone = int(-body.data.vertices[200].co.y)
    assert facts["bone_names"][arrays["skin_bones"][200, 0]] in (f"b{bone}", f"b{bone - 1}")
    assert arrays["skin_weights"][200, 0] == 1


def state():
    """Everything in the file that gathering could have changed."""
    blocks = {kind: sorted(block.name for block in getattr(bpy.data, kind))
              for kind in ("objects", "meshes", "armatures", "scenes", "actions", "shape_keys", "collections")}
    objects = {one.name: (one.mode, one.hide_viewport, one.visible_get(), one.select_get(), one.users,
                          one.data.users, [modifier.show_viewport for modifier in one.modifiers],
                          np.array(one.matrix_world).tolist()) for one in bpy.data.objects}
    rigs = {one.name: (one.data.pose_position, [np.array(bone.matrix).tolist() for bone in one.pose.bones])
            for one in bpy.data.objects if one.type == "ARMATURE"}
    return blocks, objects, rigs, bpy.context.view_layer.objects.active, bpy.context.scene


@pytest.mark.parametrize("mode", ["OBJECT", "MESH_EDIT", "ARMATURE_EDIT", "POSE", "WEIGHT_PAINT", "HIDDEN"])
def test_in_any_mode_the_rest_is_read_and_nothing_is_changed(mode):
    rig, body = animal()
    body.parent = rig
    body.shape_key_add(name="Basis", from_mix=False)
    fat = body.shape_key_add(name="fat", from_mix=False)
    for point in fat.data:
        point.co.x *= 3
    curve = fat.driver_add("value")
    curve.driver.expression = "1.0"
    before, _ = gather(rigged_object(body))
    for bone in rig.pose.bones:
        bone.rotation_mode = "XYZ"
        bone.rotation_euler.x = 0.4
    if mode == "HIDDEN":
        body.hide_viewport = rig.hide_viewport = True
    elif mode != "OBJECT":
        bpy.context.view_layer.objects.active = rig if mode in ("ARMATURE_EDIT", "POSE") else body
        bpy.ops.object.mode_set(mode="EDIT" if mode.endswith("EDIT") else mode)
    bpy.context.view_layer.update()
    known = state()
    arrays, facts = gather(rigged_object(rig))
    bpy.context.view_layer.update()
    assert state() == known
    check(arrays, facts)
    np.testing.assert_allclose(arrays["vertices"], before["vertices"], atol=1e-6)
    if bpy.context.object and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")


def test_edits_that_are_not_left_yet_count():
    rig = armature(ARM)
    body = tubes(rig, ARM)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones["hand"].tail = (0, -2.75, 0)
    arrays, facts = gather(rigged_object(body))
    bpy.ops.object.mode_set(mode="OBJECT")
    assert arrays["bone_lengths"][2] == pytest.approx(0.75)


def test_skinned_with_it_the_mesh_moves_as_in_blender():
    rig, body = animal()
    body.parent = rig
    rig.matrix_world = transform(TURNED, (2, 2, 2))
    arrays, facts = gather(rigged_object(body))
    random = np.random.default_rng(1)
    for bone in rig.pose.bones:
        bone.rotation_mode = "XYZ"
        bone.rotation_euler = random.normal(0, 0.3, 3)
    layer = bpy.context.view_layer
    layer.update()
    evaluated = body.evaluated_get(layer.depsgraph)
    seen = np.array([vertex.co for vertex in evaluated.data.vertices])
    place = arrays["placement"].astype(float)
    bones = [rig.pose.bones[name] for name in facts["bone_names"]]
    moves = np.array([place @ np.array(bone.matrix) @ np.linalg.inv(np.array(bone.bone.matrix_local))
                      @ np.linalg.inv(place) for bone in bones])
    points = np.concatenate([arrays["vertices"], np.ones((len(arrays["vertices"]), 1))], 1)
    each = np.einsum("vkij,vj->vki", moves[arrays["skin_bones"]], points)
    posed = (each * arrays["skin_weights"][..., None]).sum(1)[:, :3]
    np.testing.assert_allclose(posed, seen @ place[:3, :3].T + place[:3, 3], atol=1e-4)


@pytest.mark.parametrize("kind", ["basic_quadruped", "wolf"])
def test_deforming_bones_of_rigify_are_one_tree(kind):
    rig = generated(kind)
    names = [bone.name for bone in rig.data.bones if bone.use_deform]
    arrays, facts = gather(rigged_object(tubes(rig, names, 0.02, blend=0.03)))
    check(arrays, facts)
    found = tree(arrays, facts)
    assert set(found) == set(names) and all(name.startswith("DEF-") for name in found)
    for side in "LR":
        assert found[f"DEF-thigh.{side}.001"] == f"DEF-thigh.{side}"
        assert found[f"DEF-shin.{side}"] == f"DEF-thigh.{side}.001"
        assert found[f"DEF-front_foot.{side}"] == f"DEF-front_shin.{side}.001"
        assert found[f"DEF-thigh.{side}"].startswith("DEF-spine")
        assert found[f"DEF-front_thigh.{side}"] == f"DEF-shoulder.{side}"
        assert found[f"DEF-shoulder.{side}"].startswith("DEF-spine")
    if kind == "basic_quadruped":  # its tail runs up to the body, from the tip
        for number, name in enumerate(("DEF-spine", "DEF-spine.001", "DEF-spine.002", "DEF-spine.003")):
            assert found[name] == f"DEF-spine.{number + 1:03}"
            bone, rest = rig.data.bones[name], arrays["bone_rest"][facts["bone_names"].index(name)]
            tail = arrays["placement"] @ np.array([*bone.tail_local, 1])
            assert np.allclose(rest[:3, 3], tail[:3], atol=1e-4) and rest[:3, 1] @ (0, 1, 0) > 0.3, "to the tip"
    pairs = twins(arrays, facts)
    assert {name for name in names if ".L" in name or ".R" in name} == set(pairs)
    assert not [name for name, parent in found.items() if ".L" in f"{name} {parent}" and ".R" in f"{name} {parent}"]
    assert facts["front"] == "-Y"


@pytest.mark.parametrize("kind", ["basic_human", "horse", "wolf", "shark"])
def test_a_tree_that_is_one_already_stays(kind):
    with rigify_enabled():
        getattr(bpy.ops.object, f"armature_{kind}_metarig_add")()
    rig = bpy.context.object
    arrays, facts = gather(rigged_object(tubes(rig, [bone.name for bone in rig.data.bones], 0.02, blend=0.03)))
    check(arrays, facts)
    assert tree(arrays, facts) == {bone.name: bone.parent and bone.parent.name for bone in rig.data.bones}
    assert facts["front"] == "-Y" and not facts["warnings"]


@pytest.mark.slow
def test_a_large_mesh_takes_seconds():
    rig = armature({f"b{i}": ((0, 0.02 * -i, 0), (0, 0.02 * (-i - 1), 0), f"b{i - 1}" if i else None)
                    for i in range(50)})
    side = 317
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, side), np.linspace(0, -1, side))
    mesh = bpy.data.meshes.new("sheet")
    number = np.arange(side * side).reshape(side, side)
    quads = np.stack([number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]], -1).reshape(-1, 4)
    mesh.from_pydata(np.stack([x, y, 0 * x + 0.01], -1).reshape(-1, 3).tolist(), [], quads.tolist())
    body = bpy.data.objects.new("sheet", mesh)
    bpy.context.scene.collection.objects.link(body)
    rows = np.clip((-y[:, 0] / 0.02).astype(int), 0, 49)
    for bone in range(50):
        group = body.vertex_groups.new(name=f"b{bone}")
        for away, weight in ((0, 0.6), (1, 0.3), (2, 0.1)):
            group.add(number[np.abs(rows - bone) == away].ravel().tolist(), weight, "REPLACE")
    body.modifiers.new("rig", "ARMATURE").object = rig
    start = time.monotonic()
    arrays, facts = gather(rigged_object(body))
    taken = time.monotonic() - start
    check(arrays, facts)
    assert len(arrays["vertices"]) == side * side and taken < SECONDS


SECONDS = 30
"""Ten times what it takes where nothing else runs."""


def without_groups(rig, body):
    body.vertex_groups.clear()


def other_groups(rig, body):
    for group in body.vertex_groups:
        group.name = f"not {group.name}"


def empty_groups(rig, body):
    for group in body.vertex_groups:
        group.remove(range(len(body.data.vertices)))


def no_deform(rig, body):
    for bone in rig.data.bones:
        bone.use_deform = False


def mirrored(rig, body):
    rig.scale.x = -1


def flat(rig, body):
    rig.scale.x = 0


def no_faces(rig, body):
    body.data.clear_geometry()


def far_away(rig, body):
    body.location.y = 50


def tiny(rig, body):
    body.scale = 0.01, 0.01, 0.01


def huge(rig, body):
    body.scale = 100, 100, 100


def another_armature(rig, body):
    other = armature(ARM, "other")
    body.modifiers.new("second", "ARMATURE").object = other


@pytest.mark.parametrize("wrong, text", [
    (without_groups, "body: found no vertex groups that are called as bones that deform; parent it to the armature"),
    (other_groups, "body: found no vertex groups that are called as bones"),
    (empty_groups, "body: found no weights in its vertex groups"),
    (no_deform, "body: found no bone that deforms; switch Deform on"),
    (mirrored, "rig: found an armature that a negative scale mirrors; needs one that is not: apply its scale"),
    (flat, "rig: found an armature that is scaled to nothing"),
    (no_faces, "body: found no faces"),
    (far_away, "body: found its mesh away from the bones that hold it in rest position"),
    (tiny, "body: found its mesh away from the bones that hold it in rest position"),
    (huge, "body: found its mesh away from the bones that hold it in rest position"),
    (another_armature, "body: found 2 armatures that move it (rig, other); needs one"),
])
def test_what_is_wrong_is_one_line(wrong, text):
    rig, body = animal()
    wrong(rig, body)
    bpy.context.view_layer.update()
    before = len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.scenes)
    with pytest.raises(BadInput) as refusal:
        gather(rigged_object(body))
    assert str(refusal.value).startswith(text) and len(str(refusal.value).splitlines()) == 1
    assert (len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.scenes)) == before


def test_what_is_no_rigged_object_is_one_line():
    with pytest.raises(BadInput, match="found no armature that moves a mesh"):
        only_rigged_object()
    rig = armature(ARM)
    with pytest.raises(BadInput, match="rig: found no mesh that this armature moves"):
        rigged_object(rig)
    body = tubes(rig, ARM, modifier=False)
    with pytest.raises(BadInput, match="body: found no armature that moves it; needs an Armature modifier"):
        rigged_object(body)
    lamp = bpy.data.objects.new("lamp", bpy.data.lights.new("lamp", "POINT"))
    with pytest.raises(BadInput, match="lamp: found an object of type light"):
        rigged_object(lamp)
    body.modifiers.new("rig", "ARMATURE").object = rig
    with pytest.raises(BadInput, match="front: found 'Z', needs one of AUTO"):
        gather(rigged_object(body), "Z")
    tubes(armature(ARM, "second"), ARM, name="other")
    with pytest.raises(BadInput, match="found 2 armatures that move meshes; name one by --object: rig, second"):
        only_rigged_object()
