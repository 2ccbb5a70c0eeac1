"""What the user sees; no logic."""

import bpy

from . import export_menu, footage, headers, reconstruct

register_classes, unregister_classes = bpy.utils.register_classes_factory(  # type: ignore[attr-defined]
    (*reconstruct.CLASSES, footage.VMR_SEQUENCER_PT_footage))
APPENDED = {"TOPBAR_MT_file_export": export_menu.draw} | dict.fromkeys(headers.HEADERS, headers.draw)


def register() -> None:
    register_classes()
    for name, draw in APPENDED.items():
        getattr(bpy.types, name).append(draw)


def unregister() -> None:
    for name, draw in APPENDED.items():
        getattr(bpy.types, name).remove(draw)
    unregister_classes()
