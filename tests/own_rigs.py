"""Rigs made in a test: an armature from a table of bones, and tubes around bones, blended where they meet."""

from contextlib import contextmanager

import bpy
import numpy as np

SIDES, RINGS = 8, 5


def armature(bones, name="rig", deform=None) -> bpy.types.Object:
    """An armature object of bones NAME: (head, tail, parent); those of `deform` alone deform, where it is given."""
    rig = bpy.data.objects.new(name, bpy.data.armatures.new(name))
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone, (head, tail, parent) in bones.items():
        edit = rig.data.edit_bones.new(bone)
        edit.head, edit.tail = head, tail
        edit.parent = rig.data.edit_bones.get(parent or "")
        edit.use_deform = deform is None or bone in deform
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


def tubes(rig, names, radius=0.06, name="body", blend=0.15, modifier=True) -> bpy.types.Object:
    """A mesh object of a closed tube around each bone, counter-clockwise from outside, held by the nearest bones."""
    bones = [rig.data.bones[bone] for bone in names]
    heads = np.array([bone.head_local for bone in bones])
    tails = np.array([bone.tail_local for bone in bones])
    vertices, faces = [], []
    for head, tail in zip(heads, tails, strict=True):
        along = (tail - head) / np.linalg.norm(tail - head)
        x = np.cross(along, (1, 0, 0) if abs(along[0]) < 0.9 else (0, 1, 0))
        x /= np.linalg.norm(x)
        angles = np.arange(SIDES) * 2 * np.pi / SIDES
        circle = radius * (np.outer(np.cos(angles), x) + np.outer(np.sin(angles), np.cross(along, x)))
        first = len(vertices)
        for share in np.linspace(0, 1, RINGS):
            vertices += [*(head + share * (tail - head) + circle)]
        faces += [tuple(first + k for k in (r * SIDES + i, r * SIDES + (i + 1) % SIDES,
                                            (r + 1) * SIDES + (i + 1) % SIDES, (r + 1) * SIDES + i))
                  for r in range(RINGS - 1) for i in range(SIDES)]
        faces += [tuple(range(first, first + SIDES))[::-1],
                  tuple(range(first + (RINGS - 1) * SIDES, first + RINGS * SIDES))]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([tuple(map(float, vertex)) for vertex in vertices], [], faces)
    body = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(body)
    groups = [body.vertex_groups.new(name=bone) for bone in names]
    points = np.array(vertices)[:, None]
    share = np.clip(((points - heads) * (tails - heads)).sum(-1) / ((tails - heads) ** 2).sum(-1), 0, 1)
    away = np.linalg.norm(points - heads - share[..., None] * (tails - heads), axis=-1)
    weights = np.exp(-((away - away.min(1, keepdims=True)) / blend / 0.3))
    weights[weights < 0.05] = 0
    weights /= weights.sum(1, keepdims=True)
    for vertex, bone in zip(*np.nonzero(weights), strict=True):
        groups[bone].add([int(vertex)], float(weights[vertex, bone]), "REPLACE")
    if modifier:
        body.modifiers.new("rig", "ARMATURE").object = rig
    return body


@contextmanager
def rigify_enabled():
    """Blender's add-on Rigify, enabled for a while."""
    import addon_utils  # there is none before Blender runs

    addon_utils.enable("rigify", default_set=True)
    try:
        yield
    finally:
        addon_utils.disable("rigify", default_set=True)


def generated(kind) -> bpy.types.Object:
    """The rig that Rigify generates of one of its metarigs, without a face: its hundred bones are half of those of a
    wolf, and take Rigify a minute."""
    with rigify_enabled():
        getattr(bpy.ops.object, f"armature_{kind}_metarig_add")()
        metarig = bpy.context.object
        if "face" in metarig.data.bones:
            names = [bone.name for bone in metarig.data.bones["face"].children_recursive]
            bpy.ops.object.mode_set(mode="EDIT")
            for name in ["face", *names]:
                metarig.data.edit_bones.remove(metarig.data.edit_bones[name])
            bpy.ops.object.mode_set(mode="OBJECT")
        bpy.ops.pose.rigify_generate()
        return metarig.data.rigify_target_rig
