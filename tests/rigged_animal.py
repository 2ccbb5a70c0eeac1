"""A small asset of the kind that artists have: a body with a neck and four legs, skinned to an armature that walks."""

import bpy
import numpy as np
from mathutils import Matrix

BONES = {  # name: (head, tail, parent, radius); front is -y, up is z
    "spine": ((0, 0.5, 1.0), (0, -0.5, 1.0), None, 0.22),
    "neck": ((0, -0.5, 1.0), (0, -0.8, 1.5), "spine", 0.12),
    "head": ((0, -0.8, 1.5), (0, -1.15, 1.45), "neck", 0.14),
    "tail": ((0, 0.5, 1.0), (0, 1.0, 1.2), "spine", 0.06),
    **{f"{leg}.{side}": ((x, y, 1.0), (x, y, 0.0), "spine", 0.09)
       for leg, y in (("fore", -0.45), ("hind", 0.45)) for side, x in (("L", 0.2), ("R", -0.2))},
}
SIDES = 8


def rigged_animal(name="goat", legs_that_swing=("fore.L", "fore.R", "hind.L", "hind.R")) -> bpy.types.Object:
    """The mesh object, bound to an armature object NAME rig with an action NAME walk of frames 1 to 20."""
    mesh_object = _tubes(name)
    rig = _armature(f"{name} rig")
    mesh_object.parent = rig
    mesh_object.modifiers.new("rig", "ARMATURE").object = rig
    material = bpy.data.materials.new(f"{name} coat")
    if material.node_tree is None:
        material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0.5, 0.2, 0.05, 1)
    mesh_object.data.materials.append(material)
    walk(rig, f"{name} walk", legs_that_swing)
    return mesh_object


def walk(rig, name, legs) -> bpy.types.Action:
    for frame in (1, 10, 20):
        for index, leg in enumerate(legs):
            bone = rig.pose.bones[leg]
            bone.rotation_mode = "XYZ"
            bone.rotation_euler.x = 0.6 * (-1) ** index * (1 if frame == 10 else -1)
            bone.keyframe_insert("rotation_euler", frame=frame)
        rig.pose.bones["neck"].rotation_mode = "XYZ"
        rig.pose.bones["neck"].rotation_euler.x = 0.3 if frame == 10 else 0.0
        rig.pose.bones["neck"].keyframe_insert("rotation_euler", frame=frame)
    rig.animation_data.action.name = name
    return rig.animation_data.action


def bulging_blob(name="blob") -> bpy.types.Object:
    """A ball without armature, whose shape key bulges in an action of frames 1 to 10; groups left, right and top."""
    bpy.ops.mesh.primitive_uv_sphere_add(segments=16, ring_count=8)
    blob = bpy.context.object
    blob.name = blob.data.name = name
    blob.shape_key_add(name="Basis", from_mix=False)
    bulge = blob.shape_key_add(name="bulge", from_mix=False)
    for point in bulge.data:
        point.co.z *= 2.0
    for frame, value in ((1, 0.0), (10, 1.0)):
        bulge.value = value
        bulge.keyframe_insert("value", frame=frame)
    bulge.value = 0.0
    for group, axis, sign in (("left", 0, 1), ("right", 0, -1), ("top", 2, 1)):
        made = blob.vertex_groups.new(name=group)
        made.add([v.index for v in blob.data.vertices if sign * v.co[axis] > 0.9], 1.0, "REPLACE")
    return blob


def _tubes(name) -> bpy.types.Object:
    vertices, faces, owners = [], [], []
    for bone, (head, tail, _, radius) in BONES.items():
        head, tail = np.array(head, float), np.array(tail, float)
        axis = (tail - head) / np.linalg.norm(tail - head)
        across = np.cross(axis, (1, 0, 0))
        across /= np.linalg.norm(across)
        angles = np.arange(SIDES) * 2 * np.pi / SIDES
        circle = radius * (np.outer(np.cos(angles), across) + np.outer(np.sin(angles), np.cross(axis, across)))
        first = len(vertices)
        vertices += [*(head + circle), *(tail + circle)]
        owners += [bone] * 2 * SIDES
        faces += [tuple(first + k for k in (i, (i + 1) % SIDES, SIDES + (i + 1) % SIDES, SIDES + i))
                  for i in range(SIDES)]
        faces += [tuple(range(first, first + SIDES))[::-1], tuple(range(first + SIDES, first + 2 * SIDES))]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([tuple(map(float, vertex)) for vertex in vertices], [], faces)
    mesh_object = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(mesh_object)
    for bone in BONES:
        mesh_object.vertex_groups.new(name=bone).add(
            [index for index, owner in enumerate(owners) if owner == bone], 1.0, "REPLACE")
    return mesh_object


def _armature(name) -> bpy.types.Object:
    rig = bpy.data.objects.new(name, bpy.data.armatures.new(name))
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone, (head, tail, parent, _) in BONES.items():
        edit = rig.data.edit_bones.new(bone)
        edit.head, edit.tail = head, tail
        edit.parent = rig.data.edit_bones.get(parent or "")
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.matrix_world = Matrix.Translation((3, 2, 1)) @ Matrix.Rotation(0.7, 4, "Z") @ Matrix.Scale(2.0, 4)
    return rig
