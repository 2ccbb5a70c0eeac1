"""Category models: choose one from a file, remove one."""

from pathlib import Path

import bpy

from ..jobs.models import read_model, remove_model
from ..preferences import models_folder
from ..properties import props_of
from ..vmr_backend.job import BadInput
from .runs import redraw


class VMR_OT_choose_model(bpy.types.Operator):
    """Choose the file of a category model that is not listed"""

    bl_idname = "vmr.choose_model"
    bl_label = "Choose Category Model"
    bl_options = {"UNDO"}

    filepath: bpy.props.StringProperty(name="File", subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: bpy.props.StringProperty(default="*.safetensors", options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context, _event):
        self.filepath = str(models_folder() / "")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        path = Path(bpy.path.abspath(self.filepath))
        try:
            model = read_model(path)
        except BadInput as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        props_of(context.scene).model = str(model.path)
        return {"FINISHED"}


class VMR_OT_remove_model(bpy.types.Operator):
    """Delete the file of a category model from the models folder"""

    bl_idname = "vmr.remove_model"
    bl_label = "Remove Category Model"

    model: bpy.props.StringProperty(name="Model", options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context):
        try:
            path = remove_model(self.model, models_folder())
        except BadInput as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        redraw()
        self.report({"INFO"}, f"Removed {path.name}")
        return {"FINISHED"}
