"""Unwraps a mesh in a Blender of its own: `python unwrap_program.py IN.npz OUT.npz`, with the bpy module.

IN   vertices (V, 3), faces (F, 3), island (F,): faces of one number make one island, seams (S, 2): edges also cut
OUT  uv (F, 3, 2)
"""

import os
import sys

import bpy
import numpy as np


def main(given: str, out: str) -> None:
    data = np.load(given)
    vertices, faces, island = data["vertices"], data["faces"], data["island"]
    mesh = bpy.data.meshes.new("template")
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    mesh.uv_layers.new(name="UVMap")
    beside: dict[tuple[int, int], set[int]] = {}
    for face, number in zip(faces, island, strict=True):
        for a, b in zip(face, np.roll(face, -1), strict=True):
            beside.setdefault((min(a, b), max(a, b)), set()).add(int(number))
    cut = {edge for edge, numbers in beside.items() if len(numbers) > 1}
    cut |= {(min(edge), max(edge)) for edge in data["seams"].tolist()}
    for edge in mesh.edges:
        edge.use_seam = tuple(sorted(edge.vertices)) in cut
    thing = bpy.data.objects.new("template", mesh)
    bpy.context.scene.collection.objects.link(thing)
    bpy.context.view_layer.objects.active = thing
    thing.select_set(True)
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.uv.unwrap(method="MINIMUM_STRETCH", fill_holes=True, iterations=60, margin=0.01)
    bpy.ops.object.mode_set(mode="OBJECT")
    uv = np.zeros(len(faces) * 6, np.float32)
    mesh.uv_layers[0].uv.foreach_get("vector", uv)
    np.savez(out, uv=uv.reshape(-1, 3, 2))


if __name__ == "__main__":
    main(*sys.argv[1:3])
    sys.stdout.flush()
    # The bpy module of some versions hangs at exit.
    os._exit(0)
