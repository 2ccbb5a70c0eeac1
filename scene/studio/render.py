"""A scene beside the file's own, in which the posed subject is lit and rendered before a transparent background."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ...vmr_backend.job import BadInput
from ..camera import OPENCV_TO_BLENDER, SENSOR_WIDTH
from ..material import nodes_of, principled
from ..png_output import set_png
from .camera import PinholeCamera, framing
from .keypoints import Keypoint, visibility
from .posing import Posing, new_object, surface_of
from .subject import DatasetSubject
from .variation import RenderVariation

ENGINES = ("AUTO", "CYCLES", "EEVEE", "WORKBENCH")
GPU_KINDS = ("OPTIX", "CUDA", "HIP", "METAL", "ONEAPI")
"""Cycles' names of the devices beside the CPU."""
EEVEE = "BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0) else "BLENDER_EEVEE"
SAMPLES = 8


@dataclass(frozen=True)
class ObjectRender:
    """One render of the subject alone, with its ground truth."""

    pixels: np.ndarray
    """(S, S, 4) 0 to 1, top row first; sRGB, not multiplied by alpha."""
    camera: PinholeCamera
    centre: np.ndarray
    """(3,) of the subject's bounding box, object space."""
    keypoints: np.ndarray
    """(K, 3) positions in object space; NaN where there is none."""
    states: np.ndarray
    """(K,) VISIBLE or HIDDEN, as in COCO's annotations."""


class Studio:
    """The scene with camera, sun, sky and coat."""

    def __init__(self, subject: DatasetSubject, size: int, engine: str = "CYCLES", samples: int = SAMPLES):
        self.subject, self.size = subject, size
        self._posing = Posing(subject)
        self.scene = bpy.data.scenes.new("studio")
        self.camera = new_object(self.scene, "camera", bpy.data.cameras.new("camera"))
        self.camera.data.sensor_fit, self.camera.data.sensor_width = "HORIZONTAL", SENSOR_WIDTH
        self.scene.camera = self.camera
        self.sun = new_object(self.scene, "sun", bpy.data.lights.new("sun", "SUN"))
        self.sun.data.angle = math.radians(10)
        self.scene.world = bpy.data.worlds.new("sky")
        self.sky = nodes_of(self.scene.world)["Background"]
        self.coat = _Coat()
        _set_render(self.scene, size, engine_of(engine), samples)

    @property
    def has_material(self) -> bool:
        return any(slot.material for mesh in self.subject.meshes for slot in mesh.material_slots)

    def render(self, variation: RenderVariation, keypoints: Sequence[Keypoint] = ()) -> ObjectRender:
        """The subject under a variation, alone; BadInput where it has no surface."""
        copies, positions = self._posing.posed_copies(variation, keypoints)
        objects = [new_object(self.scene, mesh.name, mesh) for mesh in copies]
        try:
            vertices, faces = surface_of(copies)
            if not faces:
                raise BadInput(f"{self.subject.name}: found no faces in its meshes; needs a surface to render")
            centre = (vertices.min(0) + vertices.max(0)) / 2
            camera = framing(variation, vertices, self.size)
            self._place_camera(camera, vertices)
            self._light(variation)
            self._dress(variation, copies, float(np.linalg.norm(vertices - centre, axis=1).max()))
            known = np.isfinite(positions).all(1)
            states = np.zeros(len(positions), np.int64)
            states[known] = visibility(positions[known], camera.centre, vertices, faces)
            return ObjectRender(self._pixels(variation), camera, centre, positions, states)
        finally:
            for one in objects:
                bpy.data.objects.remove(one)
            for mesh in copies:
                bpy.data.meshes.remove(mesh)

    def _place_camera(self, camera: PinholeCamera, vertices: np.ndarray) -> None:
        data = self.camera.data
        data.lens = camera.focal * SENSOR_WIDTH / self.size
        data.shift_x, data.shift_y = ((camera.principal - self.size / 2) / self.size * [-1, 1]).tolist()
        depths = (vertices @ camera.rotation.T + camera.translation)[:, 2]
        data.clip_start, data.clip_end = float(depths.min()) / 2, float(depths.max()) * 2
        self.camera.matrix_world = Matrix.Translation(camera.centre) @ \
            Matrix(camera.rotation.T @ OPENCV_TO_BLENDER).to_4x4()

    def _light(self, variation: RenderVariation) -> None:
        self.sun.data.energy, self.sun.data.color = variation.sun_strength, variation.sun_colour
        self.sun.rotation_euler = Vector(variation.sun_direction).to_track_quat("Z", "Y").to_euler()
        self.sky.inputs["Strength"].default_value = variation.sky_strength
        self.sky.inputs["Color"].default_value = [*variation.sky_colour, 1.0]

    def _dress(self, variation: RenderVariation, meshes: list[bpy.types.Mesh], radius: float) -> None:
        if variation.coat == "own":
            return
        first, second = variation.coat_colours
        self.coat.paint(first, second if variation.coat == "patterned" else first, variation.patch_size * radius)
        for mesh in meshes:
            mesh.materials.clear()
            mesh.materials.append(self.coat.material)

    def _pixels(self, variation: RenderVariation) -> np.ndarray:
        """(S, S, 4), through a file: without a window Blender gives nobody the pixels of a render."""
        path = Path(bpy.app.tempdir) / "studio.png"
        self.scene.render.filepath = str(path)
        self.scene.cycles.seed = variation.noise_seed
        bpy.ops.render.render(write_still=True, scene=self.scene.name)
        image = bpy.data.images.load(str(path))
        values = np.empty(4 * self.size**2, np.float32)
        pixels: Any = image.pixels
        pixels.foreach_get(values)
        bpy.data.images.remove(image)
        path.unlink()
        return values.reshape(self.size, self.size, 4)[::-1]


class _Coat:
    """A material of two colours in soft patches, made once: EEVEE takes long to compile a new one."""

    def __init__(self) -> None:
        self.material, surface = principled("coat")
        nodes, links = nodes_of(self.material), self.material.node_tree.links
        surface.inputs["Roughness"].default_value = 0.8
        coordinates, self._noise, self._ramp = (
            nodes.new(f"ShaderNode{kind}") for kind in ("TexCoord", "TexNoise", "ValToRGB"))
        links.new(coordinates.outputs["Object"], self._noise.inputs["Vector"])
        links.new(self._noise.outputs[0], self._ramp.inputs[0])
        links.new(self._ramp.outputs[0], surface.inputs["Base Color"])
        self._ramp.color_ramp.elements[0].position, self._ramp.color_ramp.elements[1].position = 0.45, 0.55

    def paint(self, first: np.ndarray, second: np.ndarray, patch_size: float) -> None:
        """Linear colours (3,); the size of a patch in the unit of object space."""
        self._noise.inputs["Scale"].default_value = 1 / patch_size
        for element, colour in zip(self._ramp.color_ramp.elements, (first, second), strict=True):
            element.color = [*colour, 1.0]
        self.material.diffuse_color = [*first, 1.0]  # the colour that Workbench renders


def engine_of(name: str) -> str:
    """Blender's name of an engine; AUTO is EEVEE where Cycles finds a GPU, else Cycles."""
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
    set_png(render, (size, size), "RGBA", compression=0)
    render.engine, render.film_transparent = engine, True
    render.use_compositing = render.use_sequencer = False
    cycles.device, cycles.samples, cycles.max_bounces = "CPU", samples, 4
    cycles.use_denoising = cycles.use_adaptive_sampling = False
    scene.eevee.taa_render_samples = samples
    scene.display.shading.color_type = "TEXTURE"
    view.view_transform = "Standard"
