"""Goes through the frames of a result that are doubtful, and keeps with the mesh what the report says of them."""

from pathlib import Path

import bpy

from ..jobs.verdict import verdict_of
from ..properties import result_in, result_of
from ..scene.clip import scene_frame


class VMR_OT_doubtful_frame(bpy.types.Operator):
    """Jump to the next frame of the result that is doubtful"""

    bl_idname = "vmr.doubtful_frame"
    bl_label = "Jump to Doubtful Frame"
    bl_options = {"UNDO_GROUPED"}
    bl_undo_group = "frame_change"

    next: bpy.props.BoolProperty(name="Next", default=True, options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        result = result_in(context)
        if result is None or not result.doubts:
            cls.poll_message_set("No result with doubtful frames is active")
            return False
        return True

    @classmethod
    def description(cls, _context, properties):
        return "" if properties.next else "Jump back to the doubtful frame of the result before this one"

    def execute(self, context):
        doubts, now = result_in(context).doubts, context.scene.frame_current
        frames = sorted(doubt.frame for doubt in doubts if (doubt.frame > now if self.next else doubt.frame < now))
        if not frames:
            self.report({"INFO"}, "No doubtful frame is " + ("after" if self.next else "before") + " this one")
            return {"CANCELLED"}
        context.scene.frame_set(frames[0] if self.next else frames[-1])
        return {"FINISHED"}


def keep_verdict(mesh_object: bpy.types.Object, clip: bpy.types.MovieClip, folder: Path) -> None:
    """Write on a result's mesh what the report in its folder says, if there is one: it is saved with the file."""
    verdict = verdict_of(folder)
    if verdict is None:
        return
    kept = result_of(mesh_object)
    kept.trust, kept.verdict = verdict.trust.upper(), verdict.sentence
    for number, reasons in sorted(verdict.doubts.items()):
        doubt = kept.doubts.add()
        doubt.frame, doubt.reasons = scene_frame(clip, number), reasons
