"""Reconstruct: from the clip to an animated mesh in the scene."""

import time
from pathlib import Path

import bpy

from ..jobs.folder import can_resume, has_pictures, is_at_work, is_finished, mean_fit, note_blend, result_name, rig_in
from ..jobs.process import Job
from ..jobs.snapshot import SnapshotReader
from ..preferences import forget_jobs, interpreter
from ..properties import clip_of, inputs_of, props_of, reconstruction_activity
from ..scene.clip import shows
from ..scene.identity import still_there
from ..vmr_backend.job import BadInput, JobRequest
from ..vmr_backend.reconstruction import FILE_NAME, Reconstruction
from .adding import add_to_scene
from .preview import end_preview, show_snapshot
from .request import obstacle, prepared
from .runs import Run, StartsRun, redraw


class Finished:
    """In place of a child where nothing is left to be done: the result of an earlier run with the same request."""

    running, error = False, ""

    def __init__(self, folder: Path):
        self.folder = folder

    def poll(self):
        return []

    def cancel(self):
        """It has ended."""

    def result(self):
        return Reconstruction.load(self.folder)


class Reconstructing(Run):
    """A run in a job folder, and its preview."""

    label = "Reconstruct"
    activity = reconstruction_activity
    cancelled_text = "Reconstruction cancelled"

    def __init__(self, start_over: bool = False, folder: str = "", only_pictures: bool = False):
        """
        start_over     instead of resuming a run with the same request, or taking its result
        folder         of a stopped run to resume with its own request; empty: the request of the scene
        only_pictures  draw those that the folder's result lacks, and add nothing to the scene
        """
        self._start_over, self._resumed, self._only_pictures = start_over, folder, only_pictures
        if only_pictures:
            self.cancelled_text, self.changes_file = "Drawing pictures cancelled", False

    def begin(self, context):
        clip = clip_of(context)
        self.owner, self._scene = clip.session_uid, context.scene.session_uid
        folder = Path(self._resumed) if self._resumed else prepared(context, clip, self.activity.warnings)
        end_preview()
        self.folder, self._request = str(folder), JobRequest.load(folder)
        note_blend(folder, bpy.data.filepath)
        self._snapshots = SnapshotReader(folder)
        self.activity.folder, self.activity.owner_name = str(folder), result_name(folder)
        resume = self._only_pictures or can_resume(folder) and not self._start_over
        if is_finished(folder) and not resume and not self._start_over:
            return Finished(folder)
        job = Job(folder, interpreter(), resume)
        job.start()
        if resume and not self._only_pictures:
            self.activity.text = "Resuming the run that was stopped"
        return job

    def meanwhile(self, context):
        clip, scene = self._clip(), still_there(bpy.data.scenes, self._scene)
        if clip is None or scene is None:
            return
        if not props_of(scene).live_preview:
            if self.activity.preview is not None:
                end_preview()
                self._snapshots = SnapshotReader(Path(self.activity.folder))  # enabled again, the last one is shown
        elif snapshot := self._snapshots.newest():
            show_snapshot(scene, clip, snapshot, result_name(Path(self.activity.folder)))
            redraw()

    def finish(self, context, job):
        end_preview()
        result, name = job.result(), result_name(job.folder)
        if self._only_pictures:
            return f"Drew the pictures of {name}"
        clip, scene = self._clip(), still_there(bpy.data.scenes, self._scene)
        if clip is None or scene is None:
            self.activity.waiting[str(job.folder)] = name
            self.changes_file = False
            return f"{name} is reconstructed; its clip or scene is not in this file: Load Result adds it"
        fit = mean_fit(job.folder)
        remarks = [*([f"{fit:.0%} fit to the masks"] if fit else []),
                   *["the earlier result of the same settings"] * isinstance(job, Finished)]
        with context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
            motion = inputs_of(clip).rig_motion if rig_in(job.folder) else props_of(scene).motion
            return add_to_scene(context, clip, result, job.folder, name, motion, remarks=remarks,
                                set_up_scene=props_of(scene).set_up_scene)

    def _clip(self):
        """The clip, as long as it is there and shows the same footage."""
        clip = still_there(bpy.data.movieclips, self.owner)
        return clip if clip is not None and shows(clip, self._request.clip, self._request.files) else None

    def closed(self, _context, ended):
        forget_jobs()
        if self.folder and ended.state != "CANCELLED":  # else the user is asked whether to keep it
            end_preview()


class VMR_OT_reconstruct(StartsRun, bpy.types.Operator):
    """Find a textured, animated mesh and a matching camera from the clip, in the background"""

    bl_idname = "vmr.reconstruct"
    bl_label = "Reconstruct"

    start_over: bpy.props.BoolProperty(
        name="Start Over", options={"HIDDEN", "SKIP_SAVE"},
        description="Start from the beginning, though an earlier run of the same settings was stopped or has ended. "
                    "Its result stays until the new one is complete")
    folder: bpy.props.StringProperty(
        name="Stopped Run", options={"HIDDEN", "SKIP_SAVE"},
        description="Job folder of a stopped run to resume with its own settings")
    only_pictures: bpy.props.BoolProperty(
        name="Only Pictures", options={"HIDDEN", "SKIP_SAVE"},
        description="Draw the overlay movie and the contact sheet that the result in the job folder lacks")

    def new_run(self):
        return Reconstructing(self.start_over, self.folder, self.only_pictures)

    @classmethod
    def obstacle(cls, context):
        return obstacle(context)

    @classmethod
    def description(cls, _context, properties):
        if properties.only_pictures:
            return "Draw the overlay movie and the contact sheet, which the result lacks; the scene stays as it is"
        if properties.folder:
            return "Resume the stopped run, with the settings that it was started with"
        return ("Reconstruct from the beginning; an earlier result stays until the new one is complete"
                if properties.start_over else "")

    def invoke(self, context, event):
        if not (bpy.app.background or self.start_over or self.folder):
            try:
                folder = prepared(context, clip_of(context))
            except BadInput as error:
                self.report({"ERROR"}, str(error))
                return {"CANCELLED"}
            if is_at_work(folder):
                self.report({"ERROR"}, f"{folder}: a run with these settings is active in another Blender; wait for "
                                       "it, or cancel it there")
                return {"CANCELLED"}
            if can_resume(folder) or is_finished(folder):
                ask(context, folder)
                return {"CANCELLED"}
        return super().invoke(context, event)


def ask(context: bpy.types.Context, folder: Path) -> None:
    """Ask what to do where a run of the same settings was stopped or has ended in a folder."""
    stopped, finished = can_resume(folder), is_finished(folder)

    def draw(menu, _context):
        layout = menu.layout
        if stopped:
            layout.operator("vmr.reconstruct", text="Resume", icon="PLAY").folder = str(folder)
        if finished:
            layout.operator_context = "EXEC_DEFAULT"
            layout.operator("vmr.load_result", text="Load Result", icon="IMPORT").directory = str(folder)
            layout.operator_context = "INVOKE_DEFAULT"
        if finished and not stopped and not has_pictures(folder):
            draw_pictures = layout.operator("vmr.reconstruct", text="Draw Pictures", icon="RENDER_ANIMATION")
            draw_pictures.folder, draw_pictures.only_pictures = str(folder), True
        layout.operator("vmr.reconstruct", text="Start Over", icon="FILE_REFRESH").start_over = True

    if finished:
        when = time.strftime("%d %b %H:%M", time.localtime((folder / FILE_NAME).stat().st_mtime))
        fit = mean_fit(folder)
        title = f"Reconstructed with these settings, {when}" + (f", {fit:.0%} fit" if fit else "")
    else:
        title = "A run with these settings was stopped"
    context.window_manager.popup_menu(draw, title=title, icon="QUESTION")
