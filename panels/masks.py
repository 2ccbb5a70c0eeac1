"""Rows for the subjects of a clip: what is marked, what became of it, and the frames whose masks are doubtful."""

import bpy

from ..properties import active_subject, segmentation_activity, subjects_of
from .result import draw_doubts
from .text import draw_ended, draw_progress, draw_text


def draw_masks(layout: bpy.types.UILayout, context: bpy.types.Context, clip: bpy.types.MovieClip) -> None:
    group, subject = subjects_of(clip), active_subject(clip)
    row = layout.row()
    row.template_list("UI_UL_list", "vmr_subjects", group, "subjects", group, "active", rows=2)
    buttons = row.column(align=True)
    buttons.operator("vmr.add_subject", text="", icon="ADD")
    buttons.operator("vmr.remove_subject", text="", icon="REMOVE")
    row = layout.row(align=True)
    row.operator("vmr.mark_box", text="Box", icon="SELECT_SET")
    row.operator("vmr.mark_point", text="Points", icon="ADD").inside = True
    row.operator("vmr.mark_point", text="Points", icon="REMOVE").inside = False
    row.operator("vmr.clear_marks", text="", icon="TRASH")
    layout.prop(group, "show_masks")
    if subject is not None and (count := len(subject.marks)):
        layout.label(text=f"{count} frame{'s' * (count > 1)} marked", icon="PINNED")
    if draw_progress(layout, segmentation_activity, clip, "vmr.cancel_masks"):
        return
    row = layout.row()
    row.scale_y = 1.3
    row.operator("vmr.find_masks", icon="MOD_MASK")
    if subject is not None:
        layout.prop(subject, "mask")
        if subject.mask:
            row = layout.row(align=True)
            row.operator("vmr.use_mask", text="All Frames")
            row.operator("vmr.use_mask", text="This Frame").this_frame = True
    if (ended := segmentation_activity.ended.get(clip.session_uid)) and ended.state != "DONE":
        draw_ended(layout, context, ended)
    if subject is not None:
        draw_state(layout, context, subject)


def draw_state(layout: bpy.types.UILayout, context: bpy.types.Context, subject) -> None:
    """How a subject's masks are."""
    if not subject.found:
        return
    if subject.stale:
        draw_text(layout, context, "Marks were changed since: find the masks again", "INFO")
    count = len(subject.doubts)
    row = layout.row(align=True)
    row.label(text=f"{subject.found} masks, {count or 'none'} doubtful", icon="ERROR" if count else "CHECKMARK")
    draw_doubts(layout, row, context, subject.doubts, "vmr.doubtful_mask")
