"""The entry in File > Export."""

import bpy


def draw(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.operator("vmr.export_fbx", text="Animated FBX (.fbx)")


def register() -> None:
    bpy.types.TOPBAR_MT_file_export.append(draw)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_export.remove(draw)
