"""A studio beside the file's own scenes, in which a subject is posed, lit and photographed before nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..vmr_backend.job import BadInput
from .camera import OPENCV_TO_BLENDER, SENSOR_WIDTH
from .keypoints import Keypoint, posed_places, visibility
from .subject import Subject
from .variation import Variation

ENGINES = ("AUTO", "CYCLES", "EEVEE", "WORKBENCH")
GPU_KINDS = ("OPTIX", "CUDA", "HIP", "METAL", "ONEAPI")
"""How Cycles calls what can compute beside the processor."""
EEVEE = "BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0) else "BLENDER_EEVEE"
SAMPLES = 8


@dataclass(frozen=True)
class Camera:
    """A pinhole: pixel = focal * (x, y) / z + principal, of rotation @ object + translation."""

    rotation: np.ndarray
    """(3, 3)"""
    translation: np.ndarray
    """(3,)"""
    focal: float
    """Pixels."""
    principal: np.ndarray
    """(2,) pixels from the top left corner."""

    @property
    def eye(self) -> np.ndarray:
        """(3,) in object space."""
        return -self.rotation.T @ self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """(K, 2) pixels of points (K, 3) of object space."""
        seen = points @ self.rotation.T + self.translation
        return self.focal * seen[:, :2] / seen[:, 2:] + self.principal

    def weak(self, size: int, middle: np.ndarray) -> tuple[float, np.ndarray]:
        """Scale and shift (2,) of the weak perspective camera that agrees with this one at a point, in coordinates
        from -1 to 1 of a picture of that size."""
        half = size / 2
        scale = self.focal / (self.rotation @ middle + self.translation)[2] / half
        return scale, self.project(middle[None])[0] / half - 1 - scale * (self.rotation @ middle)[:2]


@dataclass(frozen=True)
class Photograph:
    pixels: np.ndarray
    """(S, S, 4) 0 to 1, top row first; colours as on the screen, not multiplied by alpha."""
    camera: Camera
    middle: np.ndarray
    """(3,) of the subject's box, object space."""
    places: np.ndarray
    """(K, 3) keypoints, object space; NaN where there is none."""
    states: np.ndarray
    """(K,) VISIBLE or HIDDEN, as annotations count."""


class Studio:
    """Two scenes: in one the subject is posed, in the other a copy of its evaluated meshes is rendered.

    The copy lies in object space. So no rig, constraint or parent knows of proportions, and the subject keeps its own
    materials.
    """

    def __init__(self, subject: Subject, size: int, engine: str = "CYCLES", samples: int = SAMPLES):
        self.subject, self.size = subject, size
        self.stage = bpy.data.scenes.new("stage")
        self.stage.frame_set(bpy.context.scene.frame_current)
        for one in subject.objects:
            self.stage.collection.objects.link(one)
            one.hide_viewport = False
        self._still = _Still(subject)
        self._resized: list[tuple[str, bpy.types.Constraint, bpy.types.Object]] = []
        self.scene = bpy.data.scenes.new("studio")
        self.camera = _new_object(self.scene, "camera", bpy.data.cameras.new("camera"))
        self.camera.data.sensor_fit, self.camera.data.sensor_width = "HORIZONTAL", SENSOR_WIDTH
        self.scene.camera = self.camera
        self.sun = _new_object(self.scene, "sun", bpy.data.lights.new("sun", "SUN"))
        self.sun.data.angle = math.radians(10)
        self.scene.world = bpy.data.worlds.new("sky")
        self.sky = _nodes(self.scene.world)["Background"]
        self.coat = _Coat()
        _set_render(self.scene, size, engine_of(engine), samples)

    @property
    def has_material(self) -> bool:
        return any(slot.material for mesh in self.subject.meshes for slot in mesh.material_slots)

    def photograph(self, variation: Variation, keypoints: Sequence[Keypoint] = ()) -> Photograph:
        """The subject as varied, alone; BadInput where it has no surface."""
        copies, places = self._posed_copies(variation, keypoints)
        shown = [_new_object(self.scene, mesh.name, mesh) for mesh in copies]
        try:
            vertices, faces = _surface(copies)
            if not faces:
                raise BadInput(f"{self.subject.name}: found no faces in its meshes; needs a surface to see")
            middle = (vertices.min(0) + vertices.max(0)) / 2
            camera = framing(variation, vertices, self.size)
            self._place_camera(camera, vertices)
            self._light(variation)
            self._dress(variation, copies, float(np.linalg.norm(vertices - middle, axis=1).max()))
            known = np.isfinite(places).all(1)
            states = np.zeros(len(places), np.int64)
            states[known] = visibility(places[known], camera.eye, vertices, faces)
            return Photograph(self._render(variation), camera, middle, places, states)
        finally:
            for one in shown:
                bpy.data.objects.remove(one)
            for mesh in copies:
                bpy.data.meshes.remove(mesh)

    def _posed_copies(self, variation: Variation,
                      keypoints: Sequence[Keypoint]) -> tuple[list[bpy.types.Mesh], np.ndarray]:
        """The meshes as they are evaluated, in object space, and the keypoints (K, 3)."""
        try:
            self._pose(variation)
            with bpy.context.temp_override(scene=self.stage, view_layer=self.stage.view_layers[0]):
                depsgraph = bpy.context.evaluated_depsgraph_get()
            to_object = self._to_object(variation, depsgraph)
            baked = {mesh: _baked(mesh, depsgraph, to_object) for mesh in self.subject.meshes}
            rig = self.subject.armature and self.subject.armature.evaluated_get(depsgraph)
            return list(baked.values()), posed_places(self.subject, keypoints, rig, np.array(to_object), baked)
        finally:
            self._resize_back()

    def _pose(self, variation: Variation) -> None:
        self._still.restore([motion.owner for motion in variation.motions])
        for motion in variation.motions:
            motion.start()
        self._resize(variation.bones)
        if variation.frame is not None:
            whole = math.floor(variation.frame)
            self.stage.frame_set(whole, subframe=variation.frame - whole)
        self.stage.view_layers[0].update()

    def _resize(self, bones: Sequence[tuple[str, float]]) -> None:
        """By constraints, which come after whatever moves a bone."""
        for name, factor in bones:
            measure = _new_object(self.stage, "measure", None)
            measure.scale = factor, factor, factor
            constraint: Any = self.subject.armature.pose.bones[name].constraints.new("COPY_SCALE")
            constraint.target, constraint.use_offset, constraint.owner_space = measure, True, "LOCAL"
            self._resized.append((name, constraint, measure))

    def _resize_back(self) -> None:
        for name, constraint, measure in self._resized:
            self.subject.armature.pose.bones[name].constraints.remove(constraint)
            bpy.data.objects.remove(measure)
        self._resized.clear()

    def _to_object(self, variation: Variation, depsgraph: bpy.types.Depsgraph) -> Matrix:
        """From the world to object space, which keeps the world's unit, with the variation's proportions."""
        place, rotation, _ = self.subject.root.evaluated_get(depsgraph).matrix_world.decompose()
        return Matrix.Diagonal([*variation.proportions, 1.0]) @ Matrix.LocRotScale(place, rotation, None).inverted()

    def _place_camera(self, camera: Camera, vertices: np.ndarray) -> None:
        data = self.camera.data
        data.lens = camera.focal * SENSOR_WIDTH / self.size
        data.shift_x, data.shift_y = ((camera.principal - self.size / 2) / self.size * [-1, 1]).tolist()
        depths = (vertices @ camera.rotation.T + camera.translation)[:, 2]
        data.clip_start, data.clip_end = float(depths.min()) / 2, float(depths.max()) * 2
        self.camera.matrix_world = Matrix.Translation(camera.eye) @ \
            Matrix(camera.rotation.T @ OPENCV_TO_BLENDER).to_4x4()

    def _light(self, variation: Variation) -> None:
        self.sun.data.energy, self.sun.data.color = variation.sun_strength, variation.sun_colour
        self.sun.rotation_euler = Vector(variation.sun_direction).to_track_quat("Z", "Y").to_euler()
        self.sky.inputs["Strength"].default_value = variation.sky_strength
        self.sky.inputs["Color"].default_value = [*variation.sky_colour, 1.0]

    def _dress(self, variation: Variation, meshes: list[bpy.types.Mesh], radius: float) -> None:
        if variation.coat == "own":
            return
        first, second = variation.coat_colours
        self.coat.paint(first, second if variation.coat == "patterned" else first, variation.patch_size * radius)
        for mesh in meshes:
            mesh.materials.clear()
            mesh.materials.append(self.coat.material)

    def _render(self, variation: Variation) -> np.ndarray:
        # Through a file: without a window Blender gives nobody the pixels of a render.
        path = Path(bpy.app.tempdir) / "studio.png"
        self.scene.render.filepath = str(path)
        self.scene.cycles.seed = variation.noise_seed
        bpy.ops.render.render(write_still=True, scene=self.scene.name)
        try:
            return _pixels_of(path)
        finally:
            path.unlink()


class _Still:
    """The pose that the file is in, to begin each picture with: else a picture would show what earlier ones left."""

    def __init__(self, subject: Subject):
        self._armature = subject.armature
        if self._armature is not None:
            self._armature.data.pose_position = "POSE"
        self._bones = {bone.name: bone.matrix_basis.copy() for bone in self._armature.pose.bones} \
            if self._armature else {}
        self._keys = {mesh.data.shape_keys: [key.value for key in mesh.data.shape_keys.key_blocks]
                      for mesh in subject.meshes if mesh.data.shape_keys}

    def restore(self, moved: Sequence[bpy.types.ID]) -> None:
        """The pose of the file; for what an action will move, the rest pose."""
        for name, basis in self._bones.items():
            self._armature.pose.bones[name].matrix_basis = Matrix() if self._armature in moved else basis
        for keys, values in self._keys.items():
            for key, value in zip(keys.key_blocks, values, strict=True):
                key.value = 0.0 if keys in moved else value


class _Coat:
    """A material of two colours in soft patches, made once: EEVEE takes long over a new one."""

    def __init__(self) -> None:
        self.material = bpy.data.materials.new("coat")
        nodes = _nodes(self.material)
        links = self.material.node_tree.links
        surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
        surface.inputs["Roughness"].default_value = 0.8
        where, self._noise, self._ramp = (
            nodes.new(f"ShaderNode{kind}") for kind in ("TexCoord", "TexNoise", "ValToRGB"))
        links.new(where.outputs["Object"], self._noise.inputs["Vector"])
        links.new(self._noise.outputs[0], self._ramp.inputs[0])
        links.new(self._ramp.outputs[0], surface.inputs["Base Color"])
        self._ramp.color_ramp.elements[0].position, self._ramp.color_ramp.elements[1].position = 0.45, 0.55

    def paint(self, first: np.ndarray, second: np.ndarray, patch_size: float) -> None:
        """Linear colours (3,); the size of a patch in the unit of object space."""
        self._noise.inputs["Scale"].default_value = 1 / patch_size
        for element, colour in zip(self._ramp.color_ramp.elements, (first, second), strict=True):
            element.color = [*colour, 1.0]
        self.material.diffuse_color = [*first, 1.0]  # what Workbench shows


def framing(variation: Variation, vertices: np.ndarray, size: int) -> Camera:
    """The camera that sees all vertices (V, 3) in a box of the variation's place and share of the picture."""
    middle = (vertices.min(0) + vertices.max(0)) / 2
    radius = float(np.linalg.norm(vertices - middle, axis=1).max())
    translation = [0, 0, variation.distance * radius] - variation.rotation @ middle
    seen = vertices @ variation.rotation.T + translation
    flat = seen[:, :2] / seen[:, 2:]
    sides = np.ptp(flat, 0)
    focal = variation.fill * size / float(sides.max())
    principal = (size - focal * sides) * variation.place - focal * flat.min(0)
    return Camera(variation.rotation, translation, focal, principal)


def engine_of(name: str) -> str:
    """Blender's name of an engine; AUTO is EEVEE where Cycles sees a GPU, else Cycles."""
    if name == "AUTO":
        name = "EEVEE" if _has_gpu() else "CYCLES"
    return {"CYCLES": "CYCLES", "EEVEE": EEVEE, "WORKBENCH": "BLENDER_WORKBENCH"}[name]


def _has_gpu() -> bool:
    cycles: Any = bpy.context.preferences.addons.get("cycles")
    return cycles is not None and any(cycles.preferences.get_devices_for_type(kind) for kind in GPU_KINDS)


def _set_render(scene: bpy.types.Scene, size: int, engine: str, samples: int) -> None:
    render: Any = scene.render
    cycles: Any = scene.cycles  # type: ignore[attr-defined]
    view: Any = scene.view_settings
    render.engine, render.film_transparent, render.dither_intensity = engine, True, 0.0
    render.resolution_x = render.resolution_y = size
    render.resolution_percentage = 100
    render.use_compositing = render.use_sequencer = False
    cycles.device, cycles.samples, cycles.max_bounces = "CPU", samples, 4
    cycles.use_denoising = cycles.use_adaptive_sampling = False
    scene.eevee.taa_render_samples = samples
    scene.display.shading.color_type = "TEXTURE"
    view.view_transform = "Standard"
    settings = render.image_settings
    if hasattr(settings, "media_type"):  # from Blender 5.0
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_mode, settings.color_depth, settings.compression = "PNG", "RGBA", "8", 0


def _new_object(scene: bpy.types.Scene, name: str, data: bpy.types.ID) -> bpy.types.Object:
    made = bpy.data.objects.new(name, data)
    scene.collection.objects.link(made)
    return made


def _nodes(block: bpy.types.Material | bpy.types.World) -> Any:
    if block.node_tree is None:  # Blender 4.x makes them without nodes
        block.use_nodes = True
    return block.node_tree.nodes


def _baked(mesh: bpy.types.Object, depsgraph: bpy.types.Depsgraph, to_object: Matrix) -> bpy.types.Mesh:
    evaluated = mesh.evaluated_get(depsgraph)
    baked = bpy.data.meshes.new_from_object(evaluated, preserve_all_data_layers=True, depsgraph=depsgraph)
    baked.transform(to_object @ evaluated.matrix_world)
    return baked


def _surface(meshes: list[bpy.types.Mesh]) -> tuple[np.ndarray, list[tuple[int, ...]]]:
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


def _pixels_of(path: Path) -> np.ndarray:
    """(H, W, 4) 0 to 1 of an image file, top row first."""
    image = bpy.data.images.load(str(path))
    width, height = image.size
    values = np.empty(width * height * 4, np.float32)
    pixels: Any = image.pixels
    pixels.foreach_get(values)
    bpy.data.images.remove(image)
    return values.reshape(height, width, 4)[::-1]
