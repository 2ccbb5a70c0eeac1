"""The object under a variation: posed, with other proportions and bone sizes, as new meshes in object space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from .keypoints import Keypoint, posed_positions
from .subject import DatasetSubject
from .variation import RenderVariation


class Posing:
    """A scene beside the file's own, in which the subject is evaluated.

    The copies lie in object space. So no rig, constraint or parent is affected by the proportions, and the subject
    keeps its own materials. Each variation starts from the pose that the file is in: else it would depend on those
    before it.
    """

    def __init__(self, subject: DatasetSubject):
        self.subject = subject
        self.scene = bpy.data.scenes.new("posing")
        self.scene.frame_set(bpy.context.scene.frame_current)
        for one in subject.objects:
            self.scene.collection.objects.link(one)
            one.hide_viewport = False
        armature = subject.armature
        if armature is not None:
            armature.data.pose_position = "POSE"
        self._bones = {bone.name: bone.matrix_basis.copy() for bone in armature.pose.bones} if armature else {}
        self._keys = {mesh.data.shape_keys: [key.value for key in mesh.data.shape_keys.key_blocks]
                      for mesh in subject.meshes if mesh.data.shape_keys}
        self._resized: list[tuple[str, bpy.types.Constraint, bpy.types.Object]] = []

    def posed_copies(self, variation: RenderVariation,
                     keypoints: Sequence[Keypoint]) -> tuple[list[bpy.types.Mesh], np.ndarray]:
        """The evaluated meshes, in object space, and the keypoints (K, 3)."""
        try:
            self._pose(variation)
            with bpy.context.temp_override(scene=self.scene, view_layer=self.scene.view_layers[0]):
                depsgraph = bpy.context.evaluated_depsgraph_get()
            to_object = self._to_object(variation, depsgraph)
            baked = {mesh: _baked(mesh, depsgraph, to_object) for mesh in self.subject.meshes}
            rig = self.subject.armature and self.subject.armature.evaluated_get(depsgraph)
            return list(baked.values()), posed_positions(self.subject, keypoints, rig, np.array(to_object), baked)
        finally:
            self._resize_back()

    def _pose(self, variation: RenderVariation) -> None:
        self._reset([motion.owner for motion in variation.motions])
        for motion in variation.motions:
            motion.start()
        self._resize(variation.bones)
        if variation.frame is not None:
            whole = math.floor(variation.frame)
            self.scene.frame_set(whole, subframe=variation.frame - whole)
        self.scene.view_layers[0].update()

    def _reset(self, moved: Sequence[bpy.types.ID]) -> None:
        """The pose of the file; for what an action will move, the rest pose."""
        armature = self.subject.armature
        for name, basis in self._bones.items():
            armature.pose.bones[name].matrix_basis = Matrix() if armature in moved else basis
        for keys, values in self._keys.items():
            for key, value in zip(keys.key_blocks, values, strict=True):
                key.value = 0.0 if keys in moved else value

    def _resize(self, bones: Sequence[tuple[str, float]]) -> None:
        """By constraints, which are evaluated after whatever else moves a bone."""
        for name, factor in bones:
            measure = new_object(self.scene, "measure", None)
            measure.scale = factor, factor, factor
            constraint: Any = self.subject.armature.pose.bones[name].constraints.new("COPY_SCALE")
            constraint.target, constraint.use_offset, constraint.owner_space = measure, True, "LOCAL"
            self._resized.append((name, constraint, measure))

    def _resize_back(self) -> None:
        for name, constraint, measure in self._resized:
            self.subject.armature.pose.bones[name].constraints.remove(constraint)
            bpy.data.objects.remove(measure)
        self._resized.clear()

    def _to_object(self, variation: RenderVariation, depsgraph: bpy.types.Depsgraph) -> Matrix:
        """From the world to object space, which keeps the world's unit, with the variation's proportions."""
        location, rotation, _ = self.subject.root.evaluated_get(depsgraph).matrix_world.decompose()
        return Matrix.Diagonal([*variation.proportions, 1.0]) @ Matrix.LocRotScale(location, rotation, None).inverted()


def new_object(scene: bpy.types.Scene, name: str, data: bpy.types.ID | None) -> bpy.types.Object:
    made = bpy.data.objects.new(name, data)
    scene.collection.objects.link(made)
    return made


def surface_of(meshes: list[bpy.types.Mesh]) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """All vertices (V, 3) that belong to a face, and the faces."""
    parts, faces, first = [], [], 0
    for mesh in meshes:
        values = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", values)
        corners = np.empty(len(mesh.loops), np.int32)
        mesh.loops.foreach_get("vertex_index", corners)
        used, corners = np.unique(corners, return_inverse=True)
        corners = (corners.reshape(-1) + first).tolist()
        faces += [tuple(corners[face.loop_start:face.loop_start + face.loop_total]) for face in mesh.polygons]
        parts.append(values.reshape(-1, 3)[used].astype(np.float64))
        first += len(used)
    return np.concatenate(parts), faces


def _baked(mesh: bpy.types.Object, depsgraph: bpy.types.Depsgraph, to_object: Matrix) -> bpy.types.Mesh:
    evaluated = mesh.evaluated_get(depsgraph)
    baked = bpy.data.meshes.new_from_object(evaluated, preserve_all_data_layers=True, depsgraph=depsgraph)
    baked.transform(to_object @ evaluated.matrix_world)
    return baked
