"""Looks at what Blender evaluates at a scene frame: where a mesh's vertices are, and where its camera sees them."""

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector


def world_vertices(mesh_object: bpy.types.Object, frame: float) -> np.ndarray:
    """(V, 3) evaluated vertices in world space."""
    _go_to(frame)
    seen = mesh_object.evaluated_get(bpy.context.evaluated_depsgraph_get())
    vertices = np.empty(3 * len(seen.data.vertices), np.float32)
    seen.data.vertices.foreach_get("co", vertices)
    return vertices.reshape(-1, 3) @ np.array(seen.matrix_world.to_3x3()).T + np.array(seen.matrix_world.translation)


def seen_pixels(camera: bpy.types.Object, frame: float, points: np.ndarray) -> np.ndarray:
    """(V, 2) pixels of the scene's picture, from its top left corner, at which a camera sees world points (V, 3)."""
    _go_to(frame)
    scene = bpy.context.scene
    views = [world_to_camera_view(scene, camera, Vector(map(float, point))) for point in points]
    return np.array([(v.x, 1 - v.y) for v in views]) * [scene.render.resolution_x, scene.render.resolution_y]


def _go_to(frame: float) -> None:
    bpy.context.scene.frame_set(int(np.floor(frame)), subframe=frame - np.floor(frame))
