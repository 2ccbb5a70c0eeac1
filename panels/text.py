"""Text of any length in a panel, whose labels are cut off where they do not fit."""

import textwrap

import bpy

from ..properties import Activity, Ended

PIXELS_PER_LETTER = 7
MARGIN_LETTERS = 8
SHORTEST_LINE = 20


ICONS = {"DONE": "CHECKMARK", "CANCELLED": "INFO", "FAILED": "ERROR"}


def draw_ended(layout: bpy.types.UILayout, context: bpy.types.Context, ended: Ended | None) -> None:
    """How a run ended."""
    if ended is not None:
        draw_text(layout, context, ended.text, ICONS[ended.state])


def draw_progress(layout: bpy.types.UILayout, activity: Activity, owner: bpy.types.ID | None, cancel: str) -> bool:
    """Progress bar and cancel button while an activity runs; whether it does. The bar names the owner of the run
    where the panel shows another one."""
    if activity.running:
        is_other = activity.owner_name and (owner is None or activity.owner != owner.session_uid)
        text = f"{activity.owner_name}: {activity.text}" if is_other else activity.text
        layout.progress(factor=activity.fraction, text=text)
        layout.operator(cancel, icon="X")
    return activity.running


def draw_text(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """The text, broken into lines that fit the region."""
    letters = int(context.region.width / context.preferences.system.ui_scale / PIXELS_PER_LETTER) - MARGIN_LETTERS
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in textwrap.wrap(text, max(letters, SHORTEST_LINE)):
        column.label(text=line, icon=icon)
        icon = "NONE" if icon == "NONE" else "BLANK1"
