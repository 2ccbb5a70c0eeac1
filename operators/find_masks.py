"""Find Masks: from what is marked on a clip's frames to masks for all of them."""

from pathlib import Path

import bpy

from ..jobs.masks import MaskSearch, masks_folder
from ..preferences import interpreter, preferences
from ..properties import (
    active_subject,
    clip_of,
    obstacle_to_keeping,
    props_of,
    segmentation_activity,
    subjects_of,
)
from ..scene.clip import clip_at, clip_source
from ..scene.marks import folders_of_others, marks_of
from ..vmr_backend.job import BadInput
from ..vmr_backend.segmentation.marks import SegmentRequest
from .doubtful_frame import keep_doubts
from .runs import Run, StartsRun


class FindingMasks(Run):
    """Masks of the active subject of a clip."""

    label = "Find Masks"
    activity = segmentation_activity
    cancelled_text = "Search for masks cancelled"

    def begin(self, context):
        clip = clip_of(context)
        subject = active_subject(clip)
        self.owner, self._scene = clip.session_uid, context.scene.session_uid
        source = clip_source(clip, context.scene if props_of(context.scene).use_scene_range else None)
        chosen = preferences()
        request = SegmentRequest(source.path, marks_of(subject), source.files, source.first, source.last,
                                 bpy.path.abspath(chosen.mask_network), chosen.device or "auto", source.shown)
        folder = masks_folder(Path(source.path), subject.name, folders_of_others(subject))
        self._source, self._name = source, subject.name
        self.activity.owner_name, self.activity.folder = clip.name, str(folder)
        search = MaskSearch(folder, request, interpreter())
        search.start()
        return search

    def finish(self, context, search):
        # Where the file was opened anew meanwhile, the clip is the same one though its datablock is another.
        clip = clip_at(self._source.path, self._source.files, self.owner)
        subject = clip and subjects_of(clip).subjects.get(self._name)
        if subject is None:
            raise BadInput(f"the clip or the subject was removed or renamed meanwhile; its masks lie in {search.masks}")
        report = search.report()
        subject.folder, subject.found, subject.stale = str(search.folder), len(report.confidence), False
        keep_doubts(subject.doubts, clip, {number: "; ".join(reasons) for number, reasons in report.doubts.items()})
        subject.inputs.masks, subject.inputs.subject_by = str(search.masks), "WHITE"
        count = len(report.doubts)
        return f"Found {subject.found} masks of {subject.name}" + \
            (f", {count} of them doubtful" if count else "")


class VMR_OT_find_masks(StartsRun, bpy.types.Operator):
    """Find the subject in all frames of the clip from what is marked on some, beside your work"""

    bl_idname = "vmr.find_masks"
    bl_label = "Find Masks"

    def new_run(self):
        return FindingMasks()

    @classmethod
    def obstacle(cls, context):
        clip = clip_of(context)
        if segmentation_activity.running:
            return "A search for masks is running"
        if reason := obstacle_to_keeping(clip):
            return reason
        subject = active_subject(clip)
        if subject is None or not subject.marks:
            return "Draw a box around the subject first"
        if interpreter() is None:
            return "Install the backend first"
        return ""
