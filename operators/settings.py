"""Takes settings back to the chosen preset."""

import bpy

from ..properties import SETTINGS, apply_preset, set_value
from ..vmr_backend.settings import settings_of


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
