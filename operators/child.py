"""What operators that run a child process share: following it, blocking or beside the user's work, and ending it."""

import time
from collections.abc import Callable
from pathlib import Path

import bpy

from ..properties import Activity
from ..vmr_backend.job import BadInput, Event

SECONDS_BETWEEN_LOOKS = 0.1


class SaysWhyNot:
    """Mixin: a button is grey where there is an obstacle, and its tooltip says which."""

    poll_message_set: Callable[[str], None]

    @classmethod
    def obstacle(cls, context) -> str:
        """Why it cannot start now; empty where it can."""
        return ""

    @classmethod
    def poll(cls, context):
        reason = cls.obstacle(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason


class FollowsChild(SaysWhyNot):
    """Mixin: `execute` runs to the end (scripts, `blender -b`), `invoke` follows beside the user's work until Esc.

    Where something cannot be used, `begin` and `finish` raise BadInput with the line that the user reads.
    """

    bl_label: str
    report: Callable[[set[str], str], None]
    activity: Activity
    cancelled_text = "Cancelled"

    def begin(self, context):
        """The child, started."""
        raise NotImplementedError

    def finish(self, context, child) -> str:
        """Take over what the child did, which ended well; a line that says so."""
        raise NotImplementedError

    def meanwhile(self, context) -> None:
        """What else is to be done now and then while the child runs beside the user's work."""

    def execute(self, context):
        if not self._start(context):
            return {"CANCELLED"}
        child, said = self.activity.child, ""
        try:
            while child.running:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                self._listen(child.poll())
                percent = f"{self.activity.fraction:4.0%}"
                if bpy.app.background and percent != said:
                    said = percent
                    print(f"{self.bl_label}: {percent}  {self.activity.text}", flush=True)
        except BaseException:  # Ctrl-C too
            self._close(context)
            raise
        return self._end(context)

    def invoke(self, context, _event):
        if bpy.app.background:
            return self.execute(context)
        if not self._start(context):
            return {"CANCELLED"}
        self._timer = context.window_manager.event_timer_add(SECONDS_BETWEEN_LOOKS, window=context.window)
        context.window_manager.modal_handler_add(self)
        self._show(context)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        child = self.activity.child
        try:
            if event.type == "ESC" and event.value == "PRESS" and not context.screen.is_animation_playing:
                cancel(self.activity)
            elif event.type != "TIMER":
                return {"PASS_THROUGH"}
            if self._listen(child.poll()):
                self._show(context)
            if not child.running:
                return self._end(context)
            self.meanwhile(context)
            return {"PASS_THROUGH"}
        except BaseException:
            self._close(context)
            raise

    def cancel(self, context):
        """Blender ends the operator: another file is loaded, the window closed."""
        cancel(self.activity)
        self.activity.outcome = self.cancelled_text
        self._close(context)

    def _start(self, context) -> bool:
        activity = self.activity
        if activity.running:
            self.report({"ERROR"}, f"{self.bl_label}: is running already")
            return False
        activity.reset()
        activity.text = "Starting"
        try:
            activity.child = self.begin(context)
        except BadInput as error:
            return self._fail(str(error))
        return True

    def _listen(self, events: list[Event]) -> bool:
        for event in events:
            if event.event == "progress":
                self.activity.fraction, self.activity.text = event.fraction, progress_text(event)
            elif event.event == "warning":
                self.activity.warnings.append(event.message)
        return bool(events)

    def _end(self, context):
        """The child has ended: take over what it did, or say why not."""
        child = self.activity.child
        self._listen(child.poll())
        self._close(context)
        if self.activity.cancelled:
            self.activity.outcome = self.cancelled_text
            self.report({"WARNING"}, self.cancelled_text)
            return {"CANCELLED"}
        if child.error:
            self._fail(child.error)
            return {"CANCELLED"}
        try:
            self.activity.outcome = self.finish(context, child)
        except BadInput as error:
            self._fail(str(error))
            return {"CANCELLED"}
        for line in self.activity.warnings:
            self.report({"WARNING"}, line)
        self.report({"INFO"}, self.activity.outcome)
        return {"FINISHED"}

    def _fail(self, message: str) -> bool:
        self.activity.outcome, self.activity.failed = message, True
        self.report({"ERROR"}, message)
        return False

    def _close(self, context) -> None:
        """Nothing of the run is left in the interface, and no process."""
        if self.activity.child is not None:
            self.activity.child.cancel()
            self.activity.child = None
        if timer := getattr(self, "_timer", None):
            context.window_manager.event_timer_remove(timer)
            self._timer = None
        for workspace in bpy.data.workspaces:
            workspace.status_text_set(None)
        redraw(context)

    def _show(self, context) -> None:
        context.workspace.status_text_set(f"{self.bl_label}: {self.activity.text}  |  Esc: Cancel")
        redraw(context)


def cancel(activity: Activity) -> None:
    """End an activity's child; whoever follows it sees that and cleans up."""
    if activity.child is not None:
        activity.cancelled = True
        activity.child.cancel()


def progress_text(event: Event) -> str:
    """A line for the progress bar: what happens, how far it is, how long it takes yet."""
    text = event.message or event.stage.replace("_", " ").capitalize()
    if event.total > 1:
        text += f" {event.step}/{event.total}"
    if event.seconds_left is not None:
        minutes, seconds = divmod(round(event.seconds_left), 60)
        text += f", {minutes}:{seconds:02d} left"
    return text


def redraw(context) -> None:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"CLIP_EDITOR", "VIEW_3D", "PREFERENCES", "SEQUENCE_EDITOR"}:
                area.tag_redraw()


def save_copy(path: Path) -> None:
    """Write the file as it is now to a path, for a child to open; BadInput where it cannot be written."""
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, check_existing=False)
    except RuntimeError as error:
        raise BadInput(f"{path}: cannot be written ({' '.join(str(error).split())}); choose another folder") from None
