"""Rows for category models: which one a reconstruction takes, which there are, and training one from an object."""

import bpy

from ..properties import training_activity
from .text import draw_ended, draw_progress, draw_text


def draw_chosen_model(layout: bpy.types.UILayout, props) -> None:
    row = layout.row(align=True)
    row.prop(props, "model", icon="OUTLINER_OB_MESH")
    row.operator("vmr.choose_model", text="", icon="FILEBROWSER")


def draw_models(layout: bpy.types.UILayout, context: bpy.types.Context, models) -> None:
    """Each model with its scores, broken ones with the reason."""
    for model in models:
        row = layout.row(align=True)
        scores = "  ".join(f"{name} {value:.2f}" for name, value in model.scores.items())
        row.label(text=f"{model.name}  {scores}".strip(), icon="ERROR" if model.problem else "OUTLINER_OB_MESH")
        if not model.is_shipped:
            row.operator("vmr.remove_model", text="", icon="X", emboss=False).model = model.name
        draw_text(layout, context, model.problem)
    if not models:
        layout.label(text="No category models yet")


def draw_training(layout: bpy.types.UILayout, context: bpy.types.Context, asked) -> None:
    active = context.view_layer.objects.active
    layout.label(text=f"Object: {active.name}" if active else "Choose an object to train on", icon="OBJECT_DATA")
    for name in ("category", "images", "size", "training", "keypoints", "steps", "seed"):
        layout.prop(asked, name)
    layout.separator()
    if draw_progress(layout, training_activity, active, "vmr.cancel_training"):
        return
    row = layout.row(align=True)
    owner = active.session_uid if active else None
    resumable = owner in training_activity.resumable
    row.operator("vmr.train_model", text="Resume" if resumable else "Train", icon="RENDER_ANIMATION")
    if resumable:
        row.operator("vmr.train_model", text="", icon="FILE_REFRESH").start_over = True
    draw_ended(layout, context, ended := training_activity.ended.get(owner))
    for line in ended.warnings if ended else ():
        draw_text(layout, context, line, "ERROR")
