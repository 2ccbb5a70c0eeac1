"""Rows for what the user knows beforehand: which subject is meant, the clip's camera, which way the subject faces."""

import bpy

HINT_KEY = "vmr_hint_frame"
"""Custom property by which scene/hints.py knows its empties."""


def draw_subject(layout: bpy.types.UILayout, props) -> None:
    layout.prop(props, "subject_by")
    if props.subject_by == "LABEL":
        layout.prop(props, "subject")
    elif props.subject_by == "BOX":
        sides = layout.column(align=True)
        for index, name in enumerate(("Left", "Top", "Width", "Height")):
            sides.prop(props, "box", index=index, text=name)
        layout.prop(props, "box_frame")


def draw_known(layout: bpy.types.UILayout, scene: bpy.types.Scene, props) -> None:
    """What stands above the settings of the camera."""
    layout.prop(props, "use_clip_lens")
    layout.prop(props, "use_camera_solve")
    count = sum(HINT_KEY in one for one in scene.objects)
    row = layout.row(align=True)
    row.label(text=f"Facing Hints: {count}")
    row.operator("vmr.add_hint", text="", icon="ADD")
    row.operator("vmr.remove_hint", text="", icon="REMOVE")
