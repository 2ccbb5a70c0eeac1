"""Shows where the user's rigged object is taken to look."""

import bpy

from ..properties import clip_of, inputs_of
from ..scene import front_arrow
from ..scene.front_arrow import FrontArrow
from ..vmr_backend.job import BadInput
from .runs import HasObstacle, redraw


class VMR_OT_show_front(HasObstacle, bpy.types.Operator):
    """Draw an arrow in the 3D Viewport that points where the object is taken to look; pressed again, hide it"""

    bl_idname = "vmr.show_front"
    bl_label = "Show Front"

    refresh: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"}, description="Only where it is shown")

    @classmethod
    def obstacle(cls, context):
        clip = clip_of(context)
        has_rig = clip is not None and inputs_of(clip).rig is not None
        return "" if has_rig or front_arrow.shown is not None else "Choose your rigged object first"

    def execute(self, context):
        clip, was_shown = clip_of(context), front_arrow.shown is not None
        inputs, front_arrow.shown = None if clip is None else inputs_of(clip), None
        if inputs is not None and inputs.rig is not None and was_shown == self.refresh:
            try:
                front_arrow.shown = FrontArrow.of(inputs.rig, inputs.rig_front)
                self.report({"INFO"}, f"{inputs.rig.name} is taken to look along {front_arrow.shown.front}")
            except BadInput as error:
                if not self.refresh:
                    self.report({"ERROR"}, str(error))
                    return {"CANCELLED"}
        redraw()
        return {"FINISHED"}
