"""How far runs are, in the headers of editors: they go on though no tab is open."""

import bpy

from ..properties import ACTIVITIES

HEADERS = ("VIEW3D_HT_header", "CLIP_HT_header", "SEQUENCER_HT_header")


def draw(self: bpy.types.Header, _context: bpy.types.Context) -> None:
    for title, activity in ACTIVITIES.items():
        if activity.running:
            self.layout.progress(factor=activity.fraction, text=f"{title} {activity.fraction:.0%}")
