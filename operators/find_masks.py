"""Find Masks: from what is marked on a clip's frames to masks for all of them."""

from pathlib import Path

import bpy

from ..jobs.masks import MaskSearch, masks_folder
from ..preferences import interpreter, preferences
from ..properties import active_subject, clip_of, props_of, segmentation_activity, subjects_of
from ..scene.clip import clip_source
from ..scene.identity import still_there
from ..scene.marks import marks_of
from ..vmr_backend.job import BadInput
from ..vmr_backend.marks import SegmentRequest
from .child import FollowsChild
from .doubtful_frame import keep_doubts


class VMR_OT_find_masks(FollowsChild, bpy.types.Operator):
    """Find the subject in all frames of the clip from what is marked on some, beside your work; Esc cancels"""

    bl_idname = "vmr.find_masks"
    bl_label = "Find Masks"
    bl_options = {"UNDO"}

    activity = segmentation_activity
    cancelled_text = "Search for masks cancelled"

    @classmethod
    def obstacle(cls, context):
        clip = clip_of(context)
        if segmentation_activity.running:
            return "A search for masks is running"
        if clip is None:
            return "Open a movie clip first"
        subject = active_subject(clip)
        if subject is None or not subject.marks:
            return "Draw a box around the subject first"
        if interpreter() is None:
            return "Install the backend first"
        return ""

    def begin(self, context):
        clip = clip_of(context)
        subject = active_subject(clip)
        source = clip_source(clip, context.scene if props_of(context.scene).use_scene_range else None)
        chosen = preferences()
        request = SegmentRequest(source.path, marks_of(subject), source.files, source.first, source.last,
                                 bpy.path.abspath(chosen.mask_network), chosen.device or "auto", source.shown)
        folder = masks_folder(Path(source.path), subject.name)
        self._clip, self._scene, self._name = clip.session_uid, context.scene.session_uid, subject.name
        self.activity.folder = str(folder)
        search = MaskSearch(folder, request, interpreter())
        search.start()
        return search

    def finish(self, context, search):
        clip = still_there(bpy.data.movieclips, self._clip)
        scene = still_there(bpy.data.scenes, self._scene)
        subject = clip and subjects_of(clip).subjects.get(self._name)
        if subject is None or scene is None:
            raise BadInput(f"the clip or the subject was removed meanwhile; its masks lie in {search.masks}")
        report = search.report()
        subject.folder, subject.found, subject.stale = str(search.folder), len(report.confidence), False
        keep_doubts(subject.doubts, clip, {number: "; ".join(reasons) for number, reasons in report.doubts.items()})
        props = props_of(scene)
        props.masks, props.subject_by = str(search.masks), "WHITE"
        count = len(report.doubts)
        return f"Found {subject.found} masks of {subject.name}" + \
            (f", {count} of them doubtful" if count else "")
