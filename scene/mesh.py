"""One mesh object that moves: a relative shape key for each frame, faded from one frame's to the next."""

from __future__ import annotations

import bpy
import numpy as np

from ..vmr_backend.reconstruction import Reconstruction
from .action import add_keys, new_curves


def new_mesh_object(
    name: str, result: Reconstruction, scene_frames: np.ndarray, material: bpy.types.Material
) -> bpy.types.Object:
    """A mesh object, not linked anywhere yet, that has the result's vertices at each of the scene frames (T,)."""
    mesh = _new_mesh(name, result)
    mesh.materials.append(material)
    mesh_object = bpy.data.objects.new(name, mesh)
    _add_shape_keys(mesh_object, result)
    _key_shapes(mesh.shape_keys, scene_frames)
    return mesh_object


def _new_mesh(name: str, result: Reconstruction) -> bpy.types.Mesh:
    """The rest shape, smooth shaded, with a UV corner for every corner of its faces."""
    faces = len(result.faces)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(result.rest_vertices))
    mesh.vertices.foreach_set("co", _flat(result.rest_vertices))
    mesh.loops.add(3 * faces)
    mesh.loops.foreach_set("vertex_index", result.faces.ravel())
    mesh.polygons.add(faces)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * faces, 3, dtype=np.int32))
    mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", _flat(result.uv))
    mesh.update(calc_edges=True)
    mesh.validate()
    mesh.shade_smooth()
    return mesh


def _add_shape_keys(mesh_object: bpy.types.Object, result: Reconstruction) -> None:
    mesh_object.shape_key_add(name="Basis", from_mix=False)
    for number, vertices in zip(result.frames, result.vertices, strict=True):
        key = mesh_object.shape_key_add(name=f"frame_{number:04d}", from_mix=False)
        key.points.foreach_set("co", _flat(vertices))


def _key_shapes(keys: bpy.types.Key, scene_frames: np.ndarray) -> None:
    """Key each frame's weight as a hat: 1 at its own scene frame, 0 at the frames before and after it.

    Two hats overlap and add up to 1 everywhere between two frames, so the shape is interpolated there, however far
    apart they are; outside, the first and last shape hold. The Basis does not show.
    """
    curves = new_curves(keys, keys.user.name)
    for t, key in enumerate(keys.key_blocks[1:]):
        low, high = max(t - 1, 0), min(t + 1, len(scene_frames) - 1)
        frames = np.asarray(scene_frames[low : high + 1])
        add_keys(curves, f'key_blocks["{key.name}"].value', frames, frames == scene_frames[t])


def _flat(values: np.ndarray) -> np.ndarray:
    """Blender's foreach_set takes flat float32 only."""
    return np.ascontiguousarray(values, np.float32).ravel()
