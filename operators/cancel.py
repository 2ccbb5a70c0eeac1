"""Cancel buttons: they end the child, and the run that follows it cleans up."""

import bpy

from ..properties import (
    Activity,
    backend_activity,
    frames_activity,
    reconstruction_activity,
    segmentation_activity,
    training_activity,
)
from .runs import cancel


class Cancels:
    """Mixin: ends the child of an activity."""

    bl_label = "Cancel"
    activity: Activity

    @classmethod
    def poll(cls, _context):
        return cls.activity.running

    def execute(self, _context):
        cancel(self.activity)
        return {"FINISHED"}


class VMR_OT_cancel(Cancels, bpy.types.Operator):
    """Stop the reconstruction; the scene stays as it is, and a later run can resume from the last checkpoint"""

    bl_idname = "vmr.cancel"
    activity = reconstruction_activity


class VMR_OT_cancel_backend(Cancels, bpy.types.Operator):
    """Stop installing or checking the backend"""

    bl_idname = "vmr.cancel_backend"
    activity = backend_activity


class VMR_OT_cancel_masks(Cancels, bpy.types.Operator):
    """Stop the search for masks; those that were there before stay"""

    bl_idname = "vmr.cancel_masks"
    activity = segmentation_activity


class VMR_OT_cancel_frames(Cancels, bpy.types.Operator):
    """Stop rendering frames; those that were there before stay"""

    bl_idname = "vmr.cancel_frames"
    activity = frames_activity


class VMR_OT_cancel_training(Cancels, bpy.types.Operator):
    """Stop the training; it can be resumed later from its rendered images and its checkpoint"""

    bl_idname = "vmr.cancel_training"
    activity = training_activity
