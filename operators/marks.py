"""Marks from which masks are found: subjects of a clip by name, boxes and points on frames."""

import math
from collections.abc import Callable

import bpy

from ..properties import active_subject, add_subject, clip_of, obstacle_to_keeping, subjects_of
from ..scene import overlay
from ..scene.clip import frame_number, frame_shown
from ..scene.marks import clear_mark, inside_frame, put_box, put_point, take_back_point
from .runs import HasObstacle, redraw

DEFAULT_NAME = "Subject"
BRUSH_STEP = 12.0
"""Distance of the points of a painted stroke, screen pixels."""


class OnClip(HasObstacle):
    """Mixin: needs a clip that something can be kept with."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def obstacle(cls, context):
        return obstacle_to_keeping(clip_of(context))


class VMR_OT_add_subject(OnClip, bpy.types.Operator):
    """Add a subject of this clip, to mark and to find masks of"""

    bl_idname = "vmr.add_subject"
    bl_label = "Add Subject"

    name: bpy.props.StringProperty(name="Name", default=DEFAULT_NAME)

    def execute(self, context):
        add_subject(subjects_of(clip_of(context)), self.name.strip() or DEFAULT_NAME)
        redraw()
        return {"FINISHED"}


class OnSubject(OnClip):
    """Mixin: needs a subject."""

    @classmethod
    def obstacle(cls, context):
        return super().obstacle(context) or (
            "" if active_subject(clip_of(context)) else "Draw a box around the subject first")


class VMR_OT_remove_subject(OnSubject, bpy.types.Operator):
    """Remove the active subject with its marks; its masks stay on the disk"""

    bl_idname = "vmr.remove_subject"
    bl_label = "Remove Subject"

    def execute(self, context):
        group = subjects_of(clip_of(context))
        group.subjects.remove(group.active)
        group.active = max(min(group.active, len(group.subjects) - 1), 0)
        redraw()
        return {"FINISHED"}


class DrawnInEditor(OnClip):
    """Mixin: drawn with the mouse in the Movie Clip Editor; scripts give coordinates to `execute`."""

    bl_label: str
    hint: str
    report: Callable[[set[str], str], None]
    execute: Callable[..., set[str]]

    def invoke(self, context, _event):
        if bpy.app.background:
            return self.execute(context)
        area = context.area
        self._region = next((one for one in area.regions if one.type == "WINDOW"), None) \
            if area is not None and area.type == "CLIP_EDITOR" else None
        if self._region is None:
            self.report({"ERROR"}, f"{self.bl_label}: needs a Movie Clip Editor that shows the clip")
            return {"CANCELLED"}
        subjects_of(clip_of(context)).show_masks = True
        context.window.cursor_modal_set("CROSSHAIR")
        context.workspace.status_text_set(f"{self.bl_label}: {self.hint}")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def position_under(self, context, event):
        """Pixel of the clip under the mouse, and whether the mouse is over the editor."""
        x, y = event.mouse_x - self._region.x, event.mouse_y - self._region.y
        inside = 0 <= x < self._region.width and 0 <= y < self._region.height
        return overlay.pixel_at(self._region, clip_of(context), x, y), inside

    def subject(self, context):
        """The active subject; a clip without any gets its first."""
        clip = clip_of(context)
        return active_subject(clip) or add_subject(subjects_of(clip), DEFAULT_NAME)

    def cancel(self, context):
        """Blender ends the operator: another file is loaded, the window closed."""
        self._leave(context)

    def _leave(self, context):
        overlay.rubber_band = None
        context.window.cursor_modal_restore()
        context.workspace.status_text_set(None)
        redraw()


class VMR_OT_mark_box(DrawnInEditor, bpy.types.Operator):
    """Draw a box around the subject at this frame"""

    bl_idname = "vmr.mark_box"
    bl_label = "Draw Box"

    box: bpy.props.FloatVectorProperty(
        name="Box", size=4, subtype="NONE", options={"SKIP_SAVE"},
        description="Left, top, width and height in pixels of the clip, from its top left corner")

    hint = "drag around the subject  |  Esc: Cancel"
    _start = None

    def modal(self, context, event):
        if event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            self._leave(context)
            return {"CANCELLED"}
        position, inside = self.position_under(context, event)
        if event.type == "LEFTMOUSE" and event.value == "PRESS" and inside:
            self._start = position
        elif self._start is not None and event.type in {"MOUSEMOVE", "LEFTMOUSE"}:
            (left, right), (top, bottom) = (sorted(ends) for ends in zip(self._start, position, strict=True))
            self.box = overlay.rubber_band = (left, top, right - left, bottom - top)
            redraw()
            if event.type == "LEFTMOUSE":
                self._leave(context)
                return self.execute(context)
        elif event.type not in {"MOUSEMOVE", "LEFTMOUSE"}:
            return {"PASS_THROUGH"}  # to zoom, to pan, to go to another frame
        return {"RUNNING_MODAL"}

    def execute(self, context):
        clip = clip_of(context)
        box = inside_frame(clip, tuple(self.box)) if min(self.box[2:]) > 0 else None
        if box is None:
            numbers = ", ".join(f"{side:g}" for side in self.box)
            self.report({"ERROR"}, f"Box {numbers}: lies outside the clip of {clip.size[0]} x {clip.size[1]} pixels")
            return {"CANCELLED"}
        put_box(self.subject(context), frame_number(clip, frame_shown(context)), box)
        redraw()
        return {"FINISHED"}


class VMR_OT_mark_point(DrawnInEditor, bpy.types.Operator):
    """Click on the subject, or on background that was taken for it, at this frame"""

    bl_idname = "vmr.mark_point"
    bl_label = "Mark Points"

    place: bpy.props.FloatVectorProperty(
        name="Position", size=2, options={"SKIP_SAVE"},
        description="In pixels of the clip, from its top left corner, right and down")
    inside: bpy.props.BoolProperty(
        name="On the Subject", default=True, options={"SKIP_SAVE"},
        description="Otherwise the point lies on the background")

    @classmethod
    def description(cls, _context, properties):
        return "" if properties.inside else "Click on background that was taken for the subject at this frame"

    hint = "click or paint on the subject, with Ctrl on the background  |  Backspace: Remove Last  |  " \
        "Enter: Done"
    _last: tuple[float, float] | None = None
    _count = 0

    def modal(self, context, event):
        (x, y), inside = self.position_under(context, event)
        if event.type in {"RET", "NUMPAD_ENTER", "ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            self._leave(context)
            return {"FINISHED"} if self._count else {"CANCELLED"}
        if event.type == "BACK_SPACE" and event.value == "PRESS" and self._count:
            self._take_back(context)
        elif event.type == "LEFTMOUSE" and event.value == "PRESS" and inside:
            self._paint(context, event, (x, y))
        elif event.type == "LEFTMOUSE":
            self._last = None
        elif event.type == "MOUSEMOVE" and self._last is not None:
            if math.dist(self._last, (event.mouse_x, event.mouse_y)) > BRUSH_STEP:
                self._paint(context, event, (x, y))
        elif event.type != "MOUSEMOVE":
            return {"PASS_THROUGH"}
        return {"RUNNING_MODAL"}

    def execute(self, context):
        if not self._put(context, tuple(self.place), self.inside):
            (x, y), (width, height) = self.place, clip_of(context).size
            self.report({"ERROR"}, f"Point {x:g}, {y:g}: lies outside the clip of {width} x {height} pixels")
            return {"CANCELLED"}
        return {"FINISHED"}

    def _put(self, context, position, inside) -> bool:
        """Mark a point if it lies within the frame; whether it does."""
        clip = clip_of(context)
        if not (0 <= position[0] < clip.size[0] and 0 <= position[1] < clip.size[1]):
            return False
        put_point(self.subject(context), frame_number(clip, frame_shown(context)), position, inside)
        redraw()
        return True

    def _paint(self, context, event, position):
        if self._put(context, position, self.inside != event.ctrl):
            self._last, self._count = (event.mouse_x, event.mouse_y), self._count + 1

    def _take_back(self, context):
        clip = clip_of(context)
        if take_back_point(active_subject(clip), frame_number(clip, frame_shown(context))):
            self._count -= 1
            redraw()


class VMR_OT_clear_marks(OnSubject, bpy.types.Operator):
    """Remove what is marked at this frame"""

    bl_idname = "vmr.clear_marks"
    bl_label = "Clear Marks"

    everywhere: bpy.props.BoolProperty(name="On All Frames", options={"SKIP_SAVE"})

    @classmethod
    def description(cls, _context, properties):
        return "Remove all that is marked of the subject, on all frames" if properties.everywhere else ""

    def execute(self, context):
        clip = clip_of(context)
        subject = active_subject(clip)
        frame = frame_shown(context)
        if self.everywhere:
            subject.stale = bool(subject.marks)
            subject.marks.clear()
        elif not clear_mark(subject, frame_number(clip, frame)):
            self.report({"ERROR"}, f"Nothing is marked at frame {frame}")
            return {"CANCELLED"}
        redraw()
        return {"FINISHED"}
