"""Blender 4.2 only: the context is owned by a scene that is there, so that writing to it does not crash Blender.

Reading `context.layer_collection`, or the tool settings, makes the scene the owner of all that the context holds;
Rigify does, and so does what Blender's window draws. Once another file is open, that scene is freed, and whatever
writes to the context's window follows it: exporting a glTF does. Read anew in the new file, it is that file's scene.
Nothing may ask beforehand whether a scene owns the context: `context.id_data` follows what is freed, too.
"""

from typing import Any

import bpy

AFFECTED = bpy.app.version < (4, 5)


@bpy.app.handlers.persistent
def _on_load(*_arguments: Any) -> None:
    _ = bpy.context.layer_collection


def register() -> None:
    if AFFECTED:
        bpy.app.handlers.load_post.append(_on_load)


def unregister() -> None:
    if AFFECTED:
        bpy.app.handlers.load_post.remove(_on_load)
