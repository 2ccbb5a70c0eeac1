"""Job folders: removes those whose footage or .blend files are gone."""

import bpy

from ..jobs.folder import out_of_reach, remove, size_of
from ..preferences import forget_jobs, jobs_folder, size_text
from ..vmr_backend.job import BadInput

MOST_NAMED = 12


class VMR_OT_remove_old_jobs(bpy.types.Operator):
    """Remove the job folders whose footage or .blend files are not found any more, with their results; asks first"""

    bl_idname = "vmr.remove_old_jobs"
    bl_label = "Remove Lost Jobs"

    def invoke(self, context, _event):
        self._shown = out_of_reach(jobs_folder())
        if not self._shown:
            self.report({"INFO"}, f"{jobs_folder()}: footage and .blend files of all jobs are found; none is removed")
            return {"CANCELLED"}
        self._sizes = {folder: size_of(folder) for folder in self._shown}
        return context.window_manager.invoke_props_dialog(self, width=420, confirm_text="Remove")

    def draw(self, _context):
        layout = self.layout
        layout.label(text="Footage or .blend files of these are not found. Is a drive missing?", icon="QUESTION")
        for folder in self._shown[:MOST_NAMED]:
            row = layout.split(factor=0.8)
            row.label(text=folder.name, icon="FILE_FOLDER")
            row.label(text=size_text(self._sizes[folder]))
        if len(self._shown) > MOST_NAMED:
            layout.label(text=f"and {len(self._shown) - MOST_NAMED} more")
        layout.label(text=f"Their results are deleted for good, {size_text(sum(self._sizes.values()))}; "
                          "what is in .blend files stays.")

    def execute(self, _context):
        shown = getattr(self, "_shown", None)
        found = [folder for folder in out_of_reach(jobs_folder()) if shown is None or folder in shown]
        freed = sum(size_of(folder) for folder in found)
        try:
            for folder in found:
                remove(folder)
        except BadInput as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        finally:
            forget_jobs()
        self.report({"INFO"}, f"Removed {len(found)} job folder{'s' * (len(found) != 1)}, {size_text(freed)}")
        return {"FINISHED"}
