"""Masks of a clip's subject: found from what is marked on some frames, or rendered from a Mask datablock."""

from pathlib import Path

import bpy

from ..jobs.masks import MaskSearch, drawn_folder, masks_folder
from ..preferences import interpreter, preferences
from ..properties import (
    active_subject,
    clip_of,
    frames_activity,
    obstacle_to_keeping,
    props_of,
    segmentation_activity,
    subjects_of,
)
from ..scene.clip import clip_at, clip_source, frame_number, frame_shown, scene_frame
from ..scene.marks import folders_of_others, marks_of, put_mask
from ..scene.shown_frames import shown_by_mask
from ..vmr_backend.job import BadInput
from ..vmr_backend.segmentation.marks import SegmentRequest
from .doubtful_frame import keep_doubts
from .frames import rendering
from .runs import Run, StartsRun


class MasksOfSubject(Run):
    """A run that makes masks of the active subject of a clip."""

    def begin(self, context):
        clip, scene = clip_of(context), context.scene
        subject = active_subject(clip)
        self.owner, self.activity.owner_name, self._name = clip.session_uid, clip.name, subject.name
        self._source = source = clip_source(clip, scene if props_of(scene).use_scene_range else None)
        folder = masks_folder(Path(source.path), subject.name, folders_of_others(subject))
        return self.begin_in(folder, context, clip, subject)

    def begin_in(self, folder, context, clip, subject):
        """The child, started, for masks of a subject that lie in a folder."""
        raise NotImplementedError

    def finish(self, context, child):
        # Where the file was reopened meanwhile, the clip is the same one though its datablock is another.
        clip = clip_at(self._source.path, self._source.files, self.owner)
        subject = clip and subjects_of(clip).subjects.get(self._name)
        if subject is None:
            raise BadInput(f"the clip or the subject was removed or renamed meanwhile; its masks are in {child.folder}")
        return self.take_over(child, clip, subject)

    def take_over(self, child, clip, subject) -> str:
        """Keep with the subject what the child made; a line that reports it."""
        raise NotImplementedError

    def keep(self, subject, folder, masks, count):
        subject.folder, subject.found, subject.stale = str(folder), count, False
        subject.inputs.masks, subject.inputs.subject_by = str(masks), "WHITE"


class FindingMasks(MasksOfSubject):
    """From marks on some frames to masks of all of them."""

    label = "Find Masks"
    activity = segmentation_activity
    cancelled_text = "Search for masks cancelled"

    def begin_in(self, folder, context, clip, subject):
        source, chosen = self._source, preferences()
        request = SegmentRequest(source.path, marks_of(subject), source.files, source.first, source.last,
                                 bpy.path.abspath(chosen.mask_network), chosen.device or "auto", source.shown)
        self.activity.folder = str(folder)
        search = MaskSearch(folder, request, interpreter())
        search.start()
        return search

    def take_over(self, search, clip, subject):
        report = search.report()
        self.keep(subject, search.folder, search.masks, len(report.confidence))
        keep_doubts(subject.doubts, clip, {number: "; ".join(reasons) for number, reasons in report.doubts.items()})
        count = len(report.doubts)
        return f"Found {subject.found} masks of {subject.name}" + \
            (f", {count} of them doubtful" if count else "")


class VMR_OT_find_masks(StartsRun, bpy.types.Operator):
    """Find the subject in all frames of the clip from what is marked on some, in the background"""

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


class RenderingMask(MasksOfSubject):
    """A Mask datablock, as masks of the subject, or as a mark on one frame."""

    label = "Use Mask"
    activity = frames_activity
    cancelled_text = "Rendering of the mask cancelled"

    def __init__(self, this_frame: bool):
        self._this_frame = this_frame
        self._frame: int | None = None

    def begin_in(self, folder, context, clip, subject):
        first, last = self._source.first, self._source.last
        if self._this_frame:
            self._frame = frame_number(clip, frame_shown(context))
            if not first <= self._frame <= last:
                raise BadInput(f"frame {frame_shown(context)}: the clip {clip.name} shows nothing there; needs one of "
                               f"{scene_frame(clip, first)} to {scene_frame(clip, last)}")
            first = last = self._frame
        return rendering(drawn_folder(folder, self._frame), shown_by_mask(subject.mask, clip, first, last), clip)

    def take_over(self, rendered, clip, subject):
        images = rendered.images()
        name = subject.mask.name if subject.mask else "its mask"
        if self._frame is not None:
            put_mask(subject, self._frame, str(images[0]))
            return f"Marked frame {scene_frame(clip, self._frame)} with the mask {name}"
        self.keep(subject, rendered.folder, rendered.folder, len(images))
        subject.doubts.clear()
        return f"Took {len(images)} masks of {subject.name} from {name}"


class VMR_OT_use_mask(StartsRun, bpy.types.Operator):
    """Take the subject's Mask datablock, as Blender draws it with splines, feather and layers, for its masks"""

    bl_idname = "vmr.use_mask"
    bl_label = "Use Mask"

    this_frame: bpy.props.BoolProperty(
        name="This Frame", options={"SKIP_SAVE"},
        description="Only mark this frame with the mask; Find Masks carries it to the others")

    def new_run(self):
        return RenderingMask(self.this_frame)

    @classmethod
    def description(cls, _context, properties):
        return "Mark this frame with the mask, for Find Masks to carry on to the others" if properties.this_frame else \
            "Take the mask at all frames as the subject's masks, as they are"

    @classmethod
    def obstacle(cls, context):
        clip = clip_of(context)
        if frames_activity.running:
            return "Frames are being rendered"
        if reason := obstacle_to_keeping(clip):
            return reason
        subject = active_subject(clip)
        return "" if subject is not None and subject.mask else "Choose a mask of the subject first"
