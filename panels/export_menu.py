"""The entries in File > Export."""

import bpy


def draw(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.operator("vmr.export_fbx", text="Animated FBX (.fbx)")
    self.layout.operator("vmr.export_gltf", text="Animated glTF (.glb)")


def register() -> None:
    bpy.types.TOPBAR_MT_file_export.append(draw)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_export.remove(draw)
