"""Empties that stay at a result's named keypoints, on the mesh as it moves or is changed."""

from __future__ import annotations

from typing import Any

import bpy

from ..vmr_backend.reconstruction import Reconstruction

DISPLAY_SIZE = 0.012
"""Radius of an empty; the subject's length is 1."""


def new_landmarks(mesh_object: bpy.types.Object, result: Reconstruction) -> bpy.types.Collection | None:
    """A collection of an empty for each named keypoint, not linked anywhere yet; None where the result has none.

    Each keypoint has a vertex group of its weights, and its empty a Copy Location constraint to it: Blender puts that
    at the weighted mean of the evaluated vertices, which is the result's keypoint, inside the body too. A triangle as
    parent would keep the distance from it, but not the position on a surface that stretches.

    The mesh needs to have its other vertex groups by now: bones move whatever group is called as they are.
    """
    if result.keypoint_weights is None:
        return None
    collection = bpy.data.collections.new(f"{mesh_object.name} Keypoints")
    for name, weights in zip(result.keypoint_names, result.keypoint_weights, strict=True):
        group = mesh_object.vertex_groups.new(name=f"keypoint {name}")
        for vertex in weights.nonzero()[0]:
            group.add([int(vertex)], float(weights[vertex]), "REPLACE")
        collection.objects.link(_new_empty(str(name), mesh_object, group))
    return collection


def _new_empty(name: str, mesh_object: bpy.types.Object, group: bpy.types.VertexGroup) -> bpy.types.Object:
    empty = bpy.data.objects.new(name, None)
    empty.empty_display_type, empty.empty_display_size = "SPHERE", DISPLAY_SIZE
    empty.show_in_front = True  # else the body hides those inside of it
    follow: Any = empty.constraints.new("COPY_LOCATION")
    follow.target, follow.subtarget = mesh_object, group.name
    return empty
