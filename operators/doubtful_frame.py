"""Goes through doubtful frames of a result and doubtful masks of a subject, and keeps those that reports list."""

from collections.abc import Callable, Mapping
from pathlib import Path

import bpy

from ..jobs.verdict import verdict_of
from ..properties import active_subject, clip_of, result_in, result_of
from ..scene.clip import frame_shown, go_to_frame, scene_frame
from .runs import HasObstacle


class JumpsToDoubts(HasObstacle):
    """Mixin: goes to the next of some doubtful frames."""

    bl_options = {"UNDO_GROUPED"}
    bl_undo_group = "frame_change"

    next: bpy.props.BoolProperty(name="Next", default=True, options={"SKIP_SAVE"})

    thing: str
    """What may be doubtful: a noun."""
    without: str
    """Tooltip of the disabled button."""
    backwards: str
    """Tooltip of the way back."""
    report: Callable[[set[str], str], None]

    @classmethod
    def doubts(cls, context) -> list:
        raise NotImplementedError

    @classmethod
    def obstacle(cls, context):
        return "" if cls.doubts(context) else cls.without

    @classmethod
    def description(cls, _context, properties):
        return "" if properties.next else cls.backwards

    def execute(self, context):
        now = frame_shown(context)
        frames = sorted(doubt.frame for doubt in self.doubts(context)
                        if (doubt.frame > now if self.next else doubt.frame < now))
        if not frames:
            self.report({"INFO"}, f"No doubtful {self.thing} is " + ("after" if self.next else "before") + " this one")
            return {"CANCELLED"}
        go_to_frame(context.scene, frames[0] if self.next else frames[-1])
        return {"FINISHED"}


class VMR_OT_doubtful_frame(JumpsToDoubts, bpy.types.Operator):
    """Jump to the next frame of the result that is doubtful"""

    bl_idname = "vmr.doubtful_frame"
    bl_label = "Jump to Doubtful Frame"
    thing = "frame"
    without = "No result with doubtful frames is active"
    backwards = "Jump back to the doubtful frame of the result before this one"

    @classmethod
    def doubts(cls, context):
        result = result_in(context)
        return list(result.doubts) if result else []


class VMR_OT_doubtful_mask(JumpsToDoubts, bpy.types.Operator):
    """Jump to the next frame whose mask is doubtful"""

    bl_idname = "vmr.doubtful_mask"
    bl_label = "Jump to Doubtful Mask"
    thing = "mask"
    without = "No mask of the subject is doubtful"
    backwards = "Jump back to the frame before this one whose mask is doubtful"

    @classmethod
    def doubts(cls, context):
        clip = clip_of(context)
        subject = clip and active_subject(clip)
        return list(subject.doubts) if subject else []


def keep_doubts(doubts, clip: bpy.types.MovieClip, reasons: Mapping[int, str]) -> None:
    """Put doubts, by numbers of the clip's frames, in place of those that are kept."""
    doubts.clear()
    for number, why in sorted(reasons.items()):
        doubt = doubts.add()
        doubt.frame, doubt.reasons = scene_frame(clip, number), why


def keep_verdict(mesh_object: bpy.types.Object, clip: bpy.types.MovieClip, folder: Path) -> None:
    """Keep with a result's mesh the verdict of the report in its folder, if there is one: saved with the file."""
    verdict = verdict_of(folder)
    if verdict is None:
        return
    kept = result_of(mesh_object)
    kept.trust, kept.verdict = verdict.trust.upper(), verdict.sentence
    keep_doubts(kept.doubts, clip, verdict.doubts)
