"""Takes settings back to the chosen preset, and to the clip what earlier versions kept with the scene."""

import bpy

from ..properties import (
    SETTINGS,
    apply_preset,
    clip_of,
    hand_over_to,
    held_inputs,
    obstacle_to_keeping,
    props_of,
    set_value,
)
from ..vmr_backend.settings import settings_of
from .runs import HasObstacle


class VMR_OT_take_inputs(HasObstacle, bpy.types.Operator):
    """Masks, subject and lens that the scene kept in an earlier version are this clip's from now on"""

    bl_idname = "vmr.take_inputs"
    bl_label = "Take Inputs"
    bl_options = {"UNDO"}

    @classmethod
    def obstacle(cls, context):
        return obstacle_to_keeping(clip_of(context))

    def execute(self, context):
        hand_over_to(clip_of(context), context.scene, apart=True)
        return {"FINISHED"}


class VMR_OT_forget_inputs(bpy.types.Operator):
    """Forget masks, subject and lens that the scene kept in an earlier version; files on the disk stay"""

    bl_idname = "vmr.forget_inputs"
    bl_label = "Forget"
    bl_options = {"UNDO"}

    def execute(self, context):
        for name in held_inputs(context.scene):
            props_of(context.scene).property_unset(name)
        return {"FINISHED"}


class VMR_OT_reset_settings(bpy.types.Operator):
    """Take the settings that you changed back to the preset"""

    bl_idname = "vmr.reset_settings"
    bl_label = "Reset to Preset"
    bl_options = {"INTERNAL", "UNDO"}

    name: bpy.props.StringProperty(
        name="Setting", options={"SKIP_SAVE"}, description="The one setting to reset. Empty for all")

    @classmethod
    def description(cls, _context, properties):
        if properties.name in SETTINGS:
            return f"Take {SETTINGS[properties.name].label} back to the preset's value"
        return ""

    def execute(self, context):
        props = context.scene.vmr
        if self.name:
            set_value(props.settings, self.name, getattr(settings_of(props.preset), self.name))
        else:
            apply_preset(props)
        return {"FINISHED"}
