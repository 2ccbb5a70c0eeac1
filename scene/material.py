"""A material that shows the baked texture, which travels inside the .blend file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..vmr_backend.job import BadInput

ROUGHNESS, SPECULAR = 0.9, 0.05
"""The texture holds the light of the footage already: a surface that hardly shines adds little to it."""


def new_material(name: str, texture: Path | None) -> bpy.types.Material:
    """A Principled material of the image file `texture`, plain grey for None; BadInput where that cannot be read."""
    image = None if texture is None else _packed_image(name, texture)
    material, surface = principled(name)
    nodes, links = nodes_of(material), material.node_tree.links
    surface.inputs["Roughness"].default_value = ROUGHNESS
    surface.inputs["Specular IOR Level"].default_value = SPECULAR
    if image is None:
        return material
    picture: Any = nodes.new("ShaderNodeTexImage")
    picture.image = image
    picture.location = surface.location.x - 300, surface.location.y
    links.new(picture.outputs["Color"], surface.inputs["Base Color"])
    nodes.active = picture  # what Solid shading with Texture colour shows
    return material


def principled(name: str) -> tuple[bpy.types.Material, Any]:
    """A new material, and its Principled BSDF node."""
    material = bpy.data.materials.new(name)
    return material, next(node for node in nodes_of(material) if node.type == "BSDF_PRINCIPLED")


def nodes_of(block: bpy.types.Material | bpy.types.World) -> Any:
    if block.node_tree is None:  # Blender 4.x makes them without nodes
        block.use_nodes = True
    return block.node_tree.nodes


def _packed_image(name: str, path: Path) -> bpy.types.Image:
    if not path.is_file():
        raise BadInput(f"{path}: texture not found; a result folder holds one")
    image = bpy.data.images.load(str(path))
    if not all(image.size):
        raise BadInput(f"{path}: found no image that Blender can read; needs a PNG texture")
    image.pack()
    image.name = name
    # Where it goes when the user unpacks it; the job folder may be gone by then.
    image.filepath_raw = f"//{bpy.path.clean_name(name)}_texture{path.suffix}"
    return image
