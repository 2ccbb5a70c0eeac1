"""Hints on the direction in which the subject faces: adds one at the current frame, and removes them."""

import math

import bpy

from ..properties import clip_of, props_of, value_of
from ..scene.clip import frame_shown
from ..scene.hints import FRAME_KEY, add_hint, hints_in
from .runs import HasObstacle


class VMR_OT_add_hint(HasObstacle, bpy.types.Operator):
    """Add an arrow in front of the camera; rotate it to the direction in which the subject faces at this frame"""

    bl_idname = "vmr.add_hint"
    bl_label = "Add Facing Hint"
    bl_options = {"REGISTER", "UNDO"}

    facing: bpy.props.FloatProperty(
        name="Facing", subtype="ANGLE", default=math.pi / 2, soft_min=-math.pi, soft_max=math.pi,
        description="0 into the camera, 90 to the right of the picture, -90 to its left, 180 away from the camera")

    @classmethod
    def obstacle(cls, context):
        if clip_of(context) is None:
            return "Open a movie clip first"
        return "Leave edit mode first" if context.mode != "OBJECT" else ""

    def execute(self, context):
        clip, frame = clip_of(context), frame_shown(context)
        if any(hint[FRAME_KEY] == frame for hint in hints_in(context.scene, clip)):
            self.report({"ERROR"}, f"Frame {frame} has a hint already; turn that one, or remove it first")
            return {"CANCELLED"}
        view = value_of(props_of(context.scene).settings, "field_of_view")
        add_hint(context, clip, math.degrees(self.facing), view)
        return {"FINISHED"}


class VMR_OT_remove_hint(HasObstacle, bpy.types.Operator):
    """Remove the selected hints, or where none is selected the one at this frame"""

    bl_idname = "vmr.remove_hint"
    bl_label = "Remove Facing Hint"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def obstacle(cls, context):
        clip = clip_of(context)
        return "" if clip and hints_in(context.scene, clip) else "There are no hints on this clip"

    def execute(self, context):
        hints = hints_in(context.scene, clip_of(context))
        here = frame_shown(context)
        chosen = [hint for hint in hints if hint.select_get()] or [one for one in hints if one[FRAME_KEY] == here]
        if not chosen:
            self.report({"ERROR"}, f"No hint is selected, and none is at frame {here}")
            return {"CANCELLED"}
        for hint in chosen:
            bpy.data.objects.remove(hint)
        self.report({"INFO"}, f"Removed {len(chosen)} hint" + "s" * (len(chosen) > 1))
        return {"FINISHED"}
