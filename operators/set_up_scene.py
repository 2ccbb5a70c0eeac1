"""Gives a scene what it did not take from a result when that came: camera, frame range, render size and rate."""

import bpy

from ..scene.placement import roots_in, roots_of
from ..scene.set_up import SETTINGS_KEY, look_through_camera, set_up
from .runs import HasObstacle


class VMR_OT_set_up_scene(HasObstacle, bpy.types.Operator):
    """Take camera, frame range, render size and frame rate of the active result, or else of the latest one"""

    bl_idname = "vmr.set_up_scene"
    bl_label = "Set Up Scene"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def obstacle(cls, context):
        return "" if _root(context) else "There is no result in this scene"

    def execute(self, context):
        root = _root(context)
        camera = next((one for one in root.children if one.type == "CAMERA"), None)
        if camera is None:
            self.report({"ERROR"}, f"{root.name}: found no camera on it; load the result again")
            return {"CANCELLED"}
        set_up(context.scene, camera, dict(root[SETTINGS_KEY]))
        look_through_camera(context.scene)
        self.report({"INFO"}, f"The scene is set up for {camera.name}")
        return {"FINISHED"}


def _root(context):
    """Of the active result, or else of the one that was added last; None where there is none."""
    roots = roots_of(context.view_layer.objects.active) or roots_in(context.scene)
    return max(roots, key=lambda root: root.session_uid, default=None)
