"""Cancel buttons: they end the child, and the operator that follows it sees that."""

import bpy

from ..properties import backend_activity, reconstruction_activity, segmentation_activity, training_activity
from .child import cancel


class VMR_OT_cancel(bpy.types.Operator):
    """Stop the reconstruction; the scene stays as it is, and a later run can go on from its last checkpoint"""

    bl_idname = "vmr.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, _context):
        return reconstruction_activity.running

    def execute(self, _context):
        cancel(reconstruction_activity)
        return {"FINISHED"}


class VMR_OT_cancel_backend(bpy.types.Operator):
    """Stop installing or checking the backend"""

    bl_idname = "vmr.cancel_backend"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, _context):
        return backend_activity.running

    def execute(self, _context):
        cancel(backend_activity)
        return {"FINISHED"}


class VMR_OT_cancel_masks(bpy.types.Operator):
    """Stop the search for masks; those that were there before stay"""

    bl_idname = "vmr.cancel_masks"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, _context):
        return segmentation_activity.running

    def execute(self, _context):
        cancel(segmentation_activity)
        return {"FINISHED"}


class VMR_OT_cancel_training(bpy.types.Operator):
    """Stop the training; it can go on later from what is rendered and learnt"""

    bl_idname = "vmr.cancel_training"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, _context):
        return training_activity.running

    def execute(self, _context):
        cancel(training_activity)
        return {"FINISHED"}
