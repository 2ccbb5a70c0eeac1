"""How far the active result can be trusted, and the way through its doubtful frames."""

import bpy

from ..properties import reconstruction_activity, result_in
from .text import draw_text

ICONS = {"GOOD": "CHECKMARK", "CAREFUL": "QUESTION", "POOR": "ERROR"}


def draw_result(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    result = result_in(context)
    draw_text(layout, context, result.verdict, ICONS[result.trust])
    layout.separator()
    row = layout.row(align=True)
    count = len(result.doubts)
    row.label(text=f"{count or 'No'} doubtful frame{'s' * (count != 1)}")
    if not count:
        return
    row.operator("vmr.doubtful_frame", text="", icon="PREV_KEYFRAME").next = False
    row.operator("vmr.doubtful_frame", text="", icon="NEXT_KEYFRAME").next = True
    for doubt in result.doubts:
        if doubt.frame == context.scene.frame_current:
            draw_text(layout, context, f"Frame {doubt.frame}: {doubt.reasons}", "ERROR")


def draw_warnings(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Those of the last run, but for a verdict that stands with the result."""
    result = result_in(context)
    for warning in reconstruction_activity.warnings:
        if result is None or warning != result.verdict:
            draw_text(layout, context, warning, "ERROR")
