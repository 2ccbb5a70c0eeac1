"""The entries in File > Export."""

import bpy


def draw(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.operator("vmr.export_fbx", text="Animated FBX (.fbx)")
    self.layout.operator("vmr.export_gltf", text="Animated glTF (.glb)")
