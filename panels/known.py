"""Rows for what the user may know: which subject is meant, its rig, the clip's camera, the direction that it faces."""

import bpy

from ..properties import subjects_of

HINT_KEY, CLIP_KEY = "vmr_hint_frame", "vmr_hint_clip"
"""Custom properties of the empties of scene/hints.py: their frame and clip."""


def draw_subject(layout: bpy.types.UILayout, inputs) -> None:
    layout.prop(inputs, "subject_by")
    if inputs.subject_by == "LABEL":
        layout.prop(inputs, "subject")
    elif inputs.subject_by == "BOX":
        sides = layout.column(align=True)
        for index, name in enumerate(("Left", "Top", "Width", "Height")):
            sides.prop(inputs, "box", index=index, text=name)
        layout.prop(inputs, "box_frame")


def draw_own_rig(layout: bpy.types.UILayout, inputs) -> None:
    """Rows for an object of the user's that is the subject."""
    layout.prop(inputs, "rig")
    row = layout.row(align=True)
    row.prop(inputs, "rig_front")
    row.operator("vmr.show_front", text="", icon="HIDE_OFF")
    layout.prop(inputs, "rig_shape")


def draw_known(layout: bpy.types.UILayout, scene: bpy.types.Scene, clip: bpy.types.MovieClip) -> None:
    """Rows above the settings of the camera."""
    layout.prop(subjects_of(clip), "use_clip_lens")
    layout.prop(subjects_of(clip), "use_camera_solve")
    count = sum(HINT_KEY in one and one.get(CLIP_KEY) in (clip, None) for one in scene.objects)
    row = layout.row(align=True)
    row.label(text=f"Facing Hints: {count}")
    row.operator("vmr.add_hint", text="", icon="ADD")
    row.operator("vmr.remove_hint", text="", icon="REMOVE")
