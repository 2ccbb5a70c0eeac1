"""The preview of a reconstruction: shown while it runs, and kept or discarded where the user stopped it."""

from collections.abc import Callable
from pathlib import Path

import bpy

from ..jobs.folder import result_name, rig_in
from ..properties import Ended, inputs_of, props_of, reconstruction_activity
from ..scene.clip import shows
from ..scene.preview import Preview, remove_previews
from ..vmr_backend.job import BadInput, JobRequest
from ..vmr_backend.reconstruction import TEXTURE_NAME, Reconstruction
from .adding import add_to_scene


class VMR_OT_keep_preview(bpy.types.Operator):
    """Make a result of the stopped run's latest state: mesh, motion and camera, without a texture"""

    bl_idname = "vmr.keep_preview"
    bl_label = "Keep Preview"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, _context):
        return is_left()

    def execute(self, context):
        activity = reconstruction_activity
        preview, folder = activity.preview, Path(activity.folder)
        scene, clip = preview.scene, preview.clip
        try:
            request = JobRequest.load(folder)
            if scene is None or clip is None or not shows(clip, request.clip, request.files):
                raise BadInput("the clip or the scene was removed or changed; a preview is kept over its clip only")
            motion = inputs_of(clip).rig_motion if rig_in(folder) else props_of(scene).motion
            with context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
                text = add_to_scene(
                    context, clip, preview.snapshot, folder, result_name(folder), motion, is_finished=False,
                    is_textured=(folder / TEXTURE_NAME).is_file(), set_up_scene=props_of(scene).set_up_scene,
                    select=True, remarks=["the state of the stopped run"])
        except BadInput as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        activity.ended[clip.session_uid] = activity.last = Ended(text, folder=str(folder))
        end_preview()
        self.report({"INFO"}, text)
        return {"FINISHED"}


class VMR_OT_discard_preview(bpy.types.Operator):
    """Remove the preview of the stopped run from the scene"""

    bl_idname = "vmr.discard_preview"
    bl_label = "Discard Preview"

    @classmethod
    def poll(cls, _context):
        return is_left()

    def execute(self, _context):
        end_preview()
        return {"FINISHED"}


def is_left() -> bool:
    """Whether there is a preview of a run that was stopped."""
    return reconstruction_activity.preview is not None and not reconstruction_activity.running


def show_snapshot(
    scene: bpy.types.Scene, clip: bpy.types.MovieClip, snapshot: Reconstruction, name: str,
) -> None:
    """Show a snapshot of the running reconstruction; does nothing where it is of other footage."""
    activity = reconstruction_activity
    try:
        if activity.preview is None:
            activity.preview = Preview(scene, clip, f"{name} Preview", snapshot)
        else:
            activity.preview.show(snapshot)
    except BadInput:
        return
    for handlers, handler in _handlers():
        if handler not in handlers:
            handlers.append(handler)


def end_preview() -> None:
    """Remove the preview from the scene, if there is one."""
    reconstruction_activity.preview = None
    if _on_frame_change in bpy.app.handlers.frame_change_post:
        bpy.app.handlers.frame_change_post.remove(_on_frame_change)
    remove_previews()


def forget_previews() -> None:
    """Remove their handlers too."""
    end_preview()
    for handlers, handler in _handlers():
        if handler in handlers:
            handlers.remove(handler)


def _on_frame_change(*_arguments) -> None:
    if preview := reconstruction_activity.preview:
        preview.refresh()


def _on_undo(*_arguments) -> None:
    """The step that is shown now may lack the preview, or hold one that has ended."""
    if preview := reconstruction_activity.preview:
        preview.refresh()
    else:
        remove_previews()


def _on_load(*_arguments) -> None:
    end_preview()


def _handlers() -> list[tuple[list[Callable], Callable]]:
    """Blender's lists and what of ours is in them. It drops them with the file, and with the file its undo steps."""
    lists = bpy.app.handlers
    return [(lists.frame_change_post, _on_frame_change), (lists.undo_post, _on_undo), (lists.redo_post, _on_undo),
            (lists.load_pre, _on_load)]
