"""How far the active result can be trusted, and the way through its doubtful frames."""

from typing import Any

import bpy

from ..properties import Ended, result_in
from .text import draw_text

ICONS = {"GOOD": "CHECKMARK", "CAREFUL": "QUESTION", "POOR": "ERROR"}


def draw_result(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    result = result_in(context)
    draw_text(layout, context, result.verdict, ICONS[result.trust])
    layout.separator()
    row = layout.row(align=True)
    count = len(result.doubts)
    row.label(text=f"{count or 'No'} doubtful frame{'s' * (count != 1)}")
    draw_doubts(layout, row, context, result.doubts, "vmr.doubtful_frame")


def draw_doubts(layout: bpy.types.UILayout, row: bpy.types.UILayout, context: bpy.types.Context, doubts,
                jump: str) -> None:
    """Arrows at the end of a row that lead through doubts by an operator, and below what there is at this frame."""
    if not doubts:
        return
    row.operator(jump, text="", icon="PREV_KEYFRAME").next = False
    row.operator(jump, text="", icon="NEXT_KEYFRAME").next = True
    space: Any = context.space_data
    shown = space.clip_user.frame_current if space.type == "CLIP_EDITOR" else context.scene.frame_current
    for doubt in doubts:
        if doubt.frame == shown:
            draw_text(layout, context, f"Frame {doubt.frame}: {doubt.reasons}", "ERROR")


def draw_warnings(layout: bpy.types.UILayout, context: bpy.types.Context, ended: Ended) -> None:
    """Those of a run, but for a verdict that stands with the result."""
    result = result_in(context)
    for warning in ended.warnings:
        if result is None or warning != result.verdict:
            draw_text(layout, context, warning, "ERROR")
