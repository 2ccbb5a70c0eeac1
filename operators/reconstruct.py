"""Reconstruct: from the clip to an animated mesh in the scene."""

from pathlib import Path

import bpy

from ..jobs.folder import can_resume, mean_fit, prepare, result_name
from ..jobs.process import Job
from ..jobs.snapshot import Snapshots
from ..preferences import interpreter, jobs_folder
from ..properties import clip_of, props_of, reconstruction_activity
from ..scene.identity import still_there
from ..scene.result import add_result
from ..vmr_backend.job import BadInput
from .child import FollowsChild, redraw
from .doubtful_frame import keep_verdict
from .load_result import added_text
from .preview import end_preview, show_snapshot
from .request import obstacle, request_of


class Reconstructs(FollowsChild):
    """Mixin: all of Reconstruct but what makes it an operator of Blender's."""

    start_over: bpy.props.BoolProperty(
        name="Start Over", options={"HIDDEN", "SKIP_SAVE"},
        description="Begin anew where an earlier run of the same settings was stopped")

    activity = reconstruction_activity
    cancelled_text = "Reconstruction cancelled"

    def begin(self, context):
        clip = clip_of(context)
        folder, resume = prepare(jobs_folder(), request_of(context, clip), self.start_over)
        self._clip, self._scene = clip.session_uid, context.scene.session_uid
        self._snapshots = Snapshots(folder)
        self.activity.folder = str(folder)
        job = Job(folder, interpreter(), resume)
        job.start()
        if resume:
            self.activity.text = "Going on where the last run was stopped"
        return job

    def meanwhile(self, context):
        clip = still_there(bpy.data.movieclips, self._clip)
        scene = still_there(bpy.data.scenes, self._scene)
        if clip is None or scene is None:
            return
        if not props_of(scene).live_preview:
            if self.activity.preview is not None:
                end_preview()
                self._snapshots = Snapshots(Path(self.activity.folder))  # ticked again, the last one comes back
        elif snapshot := self._snapshots.newest():
            show_snapshot(scene, clip, snapshot, result_name(Path(self.activity.folder)))
            redraw(context)

    def finish(self, context, job):
        clip = still_there(bpy.data.movieclips, self._clip)
        scene = still_there(bpy.data.scenes, self._scene)
        if clip is None or scene is None:
            raise BadInput(f"the clip or the scene was removed meanwhile; Load Result adds it from {job.folder}")
        result = job.result()
        with context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
            motion = props_of(scene).motion
            added = add_result(context, clip, result, job.folder, result_name(job.folder), motion,
                               set_up_scene=props_of(scene).set_up_scene)
        keep_verdict(added, clip, job.folder)
        fit = mean_fit(job.folder)
        return added_text(added, result, motion, *([f"{fit:.0%} fit to the masks"] if fit else []))

    def cancel(self, context):
        super().cancel(context)
        end_preview()

    def _start(self, context):
        if not self.activity.running:
            end_preview()
        return super()._start(context)

    def _end(self, context):
        outcome = super()._end(context)
        self.activity.resumable = "FINISHED" not in outcome and can_resume(Path(self.activity.folder))
        return outcome

    def _close(self, context):
        super()._close(context)
        if not self.activity.cancelled:  # else the user is asked whether to keep it
            end_preview()


class VMR_OT_reconstruct(Reconstructs, bpy.types.Operator):
    """Find a textured, animated mesh and a matching camera from the clip, beside your work; Esc cancels"""

    bl_idname = "vmr.reconstruct"
    bl_label = "Reconstruct"
    # Without REGISTER: "Repeat Last" would run it again to the end, with Blender standing still for minutes.
    bl_options = {"UNDO"}

    @classmethod
    def obstacle(cls, context):
        return obstacle(context)

    @classmethod
    def description(cls, _context, properties):
        return "Reconstruct anew, not from where the last run was stopped" if properties.start_over else ""
