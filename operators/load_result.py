"""Adds the result of an earlier run to the scene, and shows the folder it lies in."""

import time
from collections.abc import Callable
from pathlib import Path

import bpy

from ..jobs.folder import clip_name, finished, note_blend
from ..preferences import jobs_folder
from ..properties import (
    MOTIONS,
    OWN_MOTIONS,
    Ended,
    clip_of,
    motion_of,
    motion_property,
    props_of,
    reconstruction_activity,
    set_up_property,
)
from ..scene.clip import clip_at, clip_source, shows
from ..vmr_backend.job import BadInput, JobRequest
from ..vmr_backend.reconstruction import Reconstruction
from .adding import add_to_scene

MENU_LENGTH = 20
LOADED_MOTIONS = (*MOTIONS, OWN_MOTIONS[0])


class AddsResult:
    """Mixin: an operator that adds the result of a folder, or reports in one line why not."""

    report: Callable[[set[str], str], None]
    properties: bpy.types.OperatorProperties
    motion: motion_property(LOADED_MOTIONS, options={"SKIP_SAVE"})
    set_up_scene: set_up_property(options={"SKIP_SAVE"})

    def take_options_of_scene(self, context) -> None:
        """Where nobody chose others."""
        props = props_of(context.scene)
        for name, value in (("motion", motion_of(props, clip_of(context))), ("set_up_scene", props.set_up_scene)):
            if not self.properties.is_property_set(name):
                setattr(self, name, value)

    def add(self, context, folder: Path):
        self.take_options_of_scene(context)
        try:
            result = Reconstruction.load(folder)
            clip, is_new = _clip_of_result(context, folder)
            try:
                text = add_to_scene(context, clip, result, folder, clip_name(Path(_path_of(clip))), self.motion,
                                    set_up_scene=self.set_up_scene, select=True)
            except BaseException:
                if is_new:
                    bpy.data.movieclips.remove(clip)
                raise
        except BadInput as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if reconstruction_activity.waiting.pop(str(folder), None):
            reconstruction_activity.ended[clip.session_uid] = Ended(text, folder=str(folder))
        if folder.parent == jobs_folder():
            note_blend(folder, bpy.data.filepath)
        self.report({"INFO"}, text)
        return {"FINISHED"}


class VMR_OT_load_result(AddsResult, bpy.types.Operator):
    """Add the result of an earlier run, or of a run outside of Blender, to the scene"""

    bl_idname = "vmr.load_result"
    bl_label = "Load Result"
    bl_options = {"UNDO"}

    directory: bpy.props.StringProperty(
        name="Folder", subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"},
        description="Folder that holds reconstruction.npz. Empty for the newest in the jobs folder")

    def invoke(self, context, _event):
        self.take_options_of_scene(context)
        self.directory = str(jobs_folder())
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        folders = [Path(bpy.path.abspath(self.directory))] if self.directory else finished(jobs_folder())
        if not folders:
            self.report({"ERROR"}, f"{jobs_folder()}: holds no result yet; reconstruct a clip first")
            return {"CANCELLED"}
        return self.add(context, folders[0])


_recent_items: list[tuple[str, str, str]] = []
"""Blender does not keep the texts of a menu alive."""


def _recent(_self, _context):
    folders = finished(jobs_folder())[:MENU_LENGTH]
    dates = [time.strftime("%d %b %H:%M", time.localtime(folder.stat().st_mtime)) for folder in folders]
    _recent_items[:] = [
        (str(folder), f"{folder.name.rpartition('-')[0]}, {date}", str(folder))
        for folder, date in zip(folders, dates, strict=True)
    ] or [("NONE", "No Results Yet", "Reconstruct a clip first")]
    return _recent_items


class VMR_OT_load_recent(AddsResult, bpy.types.Operator):
    """Add one of the latest results to the scene"""

    bl_idname = "vmr.load_recent"
    bl_label = "Load Recent Result"
    bl_options = {"UNDO"}

    job: bpy.props.EnumProperty(name="Result", items=_recent, options={"SKIP_SAVE"})

    def execute(self, context):
        return {"CANCELLED"} if self.job == "NONE" else self.add(context, Path(self.job))


class VMR_OT_dismiss_waiting(bpy.types.Operator):
    """Remove this message; the result stays in its folder, and among Recent Results"""

    bl_idname = "vmr.dismiss_waiting"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}

    folder: bpy.props.StringProperty(name="Folder", options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, _context):
        reconstruction_activity.waiting.pop(self.folder, None)
        return {"FINISHED"}


class VMR_OT_open_job_folder(bpy.types.Operator):
    """Show the folder of the run: result, texture, overlay video, report and log"""

    bl_idname = "vmr.open_job_folder"
    bl_label = "Open Job Folder"

    folder: bpy.props.StringProperty(
        name="Folder", subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"},
        description="Folder of a run. Empty for the last run's")

    def execute(self, _context):
        folder = Path(self.folder or reconstruction_activity.folder or jobs_folder())
        if not folder.is_dir():
            self.report({"ERROR"}, f"{folder}: not found; reconstruct a clip first")
            return {"CANCELLED"}
        bpy.ops.wm.path_open(filepath=str(folder))
        return {"FINISHED"}


def _clip_of_result(context, folder: Path) -> tuple[bpy.types.MovieClip, bool]:
    """The clip that a result was made of, and whether it had to be loaded; else the clip chosen now."""
    if (folder / "job.json").is_file():
        request = JobRequest.load(folder)
        chosen = clip_of(context)
        if chosen is not None and shows(chosen, request.clip, request.files):
            return chosen, False
        if clip := clip_at(request.clip, request.files):
            return clip, False
        file = Path(request.files[0] if request.files else request.clip)
        if file.is_file():
            return bpy.data.movieclips.load(str(file)), True
    if (clip := clip_of(context)) is None:
        raise BadInput(f"{folder}: the clip it was made of is not found; open it first")
    return clip, False


def _path_of(clip) -> str:
    """Path of the clip as in a request; where its files are gone, that of the datablock."""
    try:
        return clip_source(clip).path
    except BadInput:
        return bpy.path.abspath(clip.filepath)
