"""Job folders: removes those whose footage or .blend files are gone."""

import bpy

from ..jobs.folder import out_of_reach, remove, total_size
from ..preferences import forget_jobs, jobs_folder, size_text
from ..vmr_backend.job import BadInput

MOST_NAMED = 12


class VMR_OT_remove_old_jobs(bpy.types.Operator):
    """Remove the job folders whose footage or .blend files are not found any more, with their results; asks first"""

    bl_idname = "vmr.remove_old_jobs"
    bl_label = "Remove Lost Jobs"

    def invoke(self, context, _event):
        self._found = self._folders()
        if not self._found:
            self.report({"INFO"}, f"{jobs_folder()}: footage and .blend files of all jobs are found; none is removed")
            return {"CANCELLED"}
        return context.window_manager.invoke_props_dialog(self, width=420)

    def draw(self, _context):
        layout = self.layout
        layout.label(text="Footage or .blend files of these are not found. Is a drive missing?", icon="QUESTION")
        for folder in self._found[:MOST_NAMED]:
            layout.label(text=folder.name, icon="FILE_FOLDER")
        if len(self._found) > MOST_NAMED:
            layout.label(text=f"and {len(self._found) - MOST_NAMED} more")
        layout.label(text="Their results are deleted for good, but for what is in .blend files.")

    def execute(self, _context):
        found = self._folders()
        before = total_size(jobs_folder())
        try:
            for folder in found:
                remove(folder)
        except BadInput as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        finally:
            forget_jobs()
        freed = size_text(before - total_size(jobs_folder()))
        self.report({"INFO"}, f"Removed {len(found)} job folders, {freed}")
        return {"FINISHED"}

    @staticmethod
    def _folders():
        return out_of_reach(jobs_folder())
