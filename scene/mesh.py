"""One mesh object with its coverage as vertex colours; where shape keys move it, one for each frame."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..vmr_backend.reconstruction import Reconstruction
from .action import add_keys, new_channels

COVERAGE, COVERAGE_COLOUR = "coverage", "coverage_colour"
FULL_COVERAGE = 0.5
"""Coverage from which on the colour is green: of a subject that turns round, each side is visible in half of the
frames."""


def new_mesh_object(name: str, result: Reconstruction, material: bpy.types.Material) -> bpy.types.Object:
    """A mesh object of the rest shape, not linked anywhere yet."""
    mesh = new_mesh(name, result)
    mesh.materials.append(material)
    if result.coverage is not None:
        _paint_coverage(mesh, result.coverage)
    return bpy.data.objects.new(name, mesh)


def new_mesh(name: str, result: Reconstruction) -> bpy.types.Mesh:
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


def set_shape(mesh: bpy.types.Mesh, vertices: np.ndarray) -> None:
    """Give a mesh without shape keys other vertex positions (V, 3)."""
    mesh.vertices.foreach_set("co", _flat(vertices))
    mesh.update()


def move_by_shape_keys(mesh_object: bpy.types.Object, result: Reconstruction, scene_frames: np.ndarray) -> None:
    """Give the mesh the result's vertices at each of the scene frames (T,): a relative shape key each, faded over."""
    _add_shape_keys(mesh_object, result)
    _key_shapes(mesh_object.data.shape_keys, scene_frames)


def coverage_colours(coverage: np.ndarray) -> np.ndarray:
    """(V, 4) sRGB colours of coverage (V,), the fraction of frames that show a vertex: red at 0, green when often."""
    often = np.clip(coverage / FULL_COVERAGE, 0, 1)
    red, green = np.minimum(2 - 2 * often, 1), np.minimum(2 * often, 1)
    return np.stack([red, green, np.zeros_like(often), np.ones_like(often)], 1).astype(np.float32)


def _paint_coverage(mesh: bpy.types.Mesh, coverage: np.ndarray) -> None:
    """As numbers, and as the colours that Solid shading shows where its colour is Attribute."""
    numbers: Any = mesh.attributes.new(COVERAGE, "FLOAT", "POINT")
    numbers.data.foreach_set("value", _flat(coverage))
    colours: Any = mesh.color_attributes.new(COVERAGE_COLOUR, "BYTE_COLOR", "POINT")
    colours.data.foreach_set("color_srgb", _flat(coverage_colours(coverage)))
    mesh.color_attributes.active_color = colours


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
    channels = new_channels(keys, keys.user.name)
    for t, key in enumerate(keys.key_blocks[1:]):
        low, high = max(t - 1, 0), min(t + 1, len(scene_frames) - 1)
        frames = np.asarray(scene_frames[low : high + 1])
        add_keys(channels, f'key_blocks["{key.name}"].value', frames, frames == scene_frames[t])


def _flat(values: np.ndarray) -> np.ndarray:
    """Blender's foreach_set takes flat float32 only."""
    return np.ascontiguousarray(values, np.float32).ravel()
