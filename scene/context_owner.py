"""Blender 4.2 only: the context is owned by a scene that is there, so that writing to it does not crash Blender.

Reading `context.layer_collection` makes the scene the owner of all that the context holds. Rigify does. Once another
file is open, that scene is freed, and whatever writes to the context's window follows it: exporting a glTF does. Read
anew in the new file, it is that file's scene. Where nothing was read, no scene owns the context, and none shall.
"""

from typing import Any

import bpy

AFFECTED = bpy.app.version < (4, 5)

_owned = False
"""Whether a scene owned the context when the file before was left."""


@bpy.app.handlers.persistent
def _before_load(*_arguments: Any) -> None:
    global _owned
    _owned = bpy.context.id_data is not None


@bpy.app.handlers.persistent
def _on_load(*_arguments: Any) -> None:
    if _owned:
        _ = bpy.context.layer_collection


def register() -> None:
    if AFFECTED:
        bpy.app.handlers.load_pre.append(_before_load)
        bpy.app.handlers.load_post.append(_on_load)


def unregister() -> None:
    if AFFECTED:
        bpy.app.handlers.load_post.remove(_on_load)
        bpy.app.handlers.load_pre.remove(_before_load)
