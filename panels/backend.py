"""State of the backend and the buttons that change it, for the tab and the preferences."""

import bpy

from ..properties import backend_activity
from .text import draw_ended, draw_text


def draw_backend(layout: bpy.types.UILayout, context: bpy.types.Context, is_found: bool) -> None:
    if not is_found:
        layout.label(text="The backend is not installed", icon="ERROR")
    if backend_activity.running:
        row = layout.row(align=True)
        row.progress(factor=backend_activity.fraction, text=backend_activity.text)
        row.operator("vmr.cancel_backend", text="", icon="X")
    row = layout.row(align=True)
    row.operator("vmr.install_backend")
    row.operator("vmr.check_backend")
    draw_ended(layout, context, ended := backend_activity.last)
    for line in ended.found if ended else ():
        draw_text(layout, context, line)
