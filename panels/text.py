"""Text of any length in a panel, whose labels are cut off where they do not fit."""

import textwrap

import bpy

PIXELS_PER_LETTER = 7
MARGIN_LETTERS = 8
SHORTEST_LINE = 20


def draw_text(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """The text, broken into lines that fit the region."""
    letters = int(context.region.width / context.preferences.system.ui_scale / PIXELS_PER_LETTER) - MARGIN_LETTERS
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in textwrap.wrap(text, max(letters, SHORTEST_LINE)):
        column.label(text=line, icon=icon)
        icon = "NONE" if icon == "NONE" else "BLANK1"
