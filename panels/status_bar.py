"""How far runs are, in the status bar: they go on whatever editor is looked at."""

import bpy

from ..properties import ACTIVITIES


def draw(self: bpy.types.Header, _context: bpy.types.Context) -> None:
    for title, activity in ACTIVITIES.items():
        if activity.running:
            name = f"{activity.owner_name}: " if activity.owner_name else ""
            self.layout.progress(factor=activity.fraction, text=f"{title} {name}{activity.text}")


def register() -> None:
    bpy.types.STATUSBAR_HT_header.append(draw)


def unregister() -> None:
    bpy.types.STATUSBAR_HT_header.remove(draw)
