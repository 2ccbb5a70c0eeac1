"""Runs: child processes, followed in the background or to their end. They belong to Blender, not to a window."""

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy

from ..properties import Activity, Ended
from ..vmr_backend.job import BadInput, Event

SECONDS_BETWEEN_POLLS = 0.1
REDRAWN = {"CLIP_EDITOR", "VIEW_3D", "PREFERENCES", "SEQUENCE_EDITOR"}
"""Editors in which our panels are."""
HARMLESS = {"SCREEN_OT_animation_step", "SCREEN_OT_animation_play"}
"""Modal operators beside which the file may be changed."""


class Run:
    """One run from its start to what it leaves in the file.

    Where something cannot be used, `begin` and `finish` raise BadInput with the line that the user reads. Datablocks
    are kept by their session_uid, for undo makes them anew; another file may be opened meanwhile.
    """

    label: str
    activity: Activity
    cancelled_text = "Cancelled"
    owner: int | None = None
    """session_uid of the clip, scene or object that it is about; its messages are shown with that one alone."""
    folder = ""
    """Where it works."""
    found: list[str] = []
    """What a check found."""
    changes_file = True
    """Whether `finish` changes the file, which is one step of undo."""
    has_result = False
    """Whether the child said that its result is whole, though it may still draw pictures of it."""
    taken: Ended | None = None
    """How the result was taken over, which may be before the child ends."""

    def begin(self, context: bpy.types.Context) -> Any:
        """The child, started: it has poll(), running, cancel() and error."""
        raise NotImplementedError

    def finish(self, context: bpy.types.Context, child: Any) -> str:
        """Take over what the child made, which succeeded; a line that reports it."""
        raise NotImplementedError

    def meanwhile(self, context: bpy.types.Context) -> None:
        """What else is to be done regularly while the child runs in the background."""

    def closed(self, context: bpy.types.Context, ended: Ended) -> None:
        """What else is to be done once it has ended, however that went."""

    def start(self, context: bpy.types.Context) -> Ended | None:
        """Start the child; how it ended where it could not be started."""
        activity = self.activity
        activity.begin("Starting")
        try:
            activity.child = self.begin(context)
        except BadInput as error:
            return self._close(context, Ended(str(error), "FAILED"))
        activity.owner = self.owner
        activity.ended.pop(self.owner, None)
        return None

    def listen(self) -> bool:
        """Handle the child's events; whether there were any."""
        events: list[Event] = self.activity.child.poll()
        for event in events:
            if event.event == "progress":
                self.activity.fraction, self.activity.text = event.fraction, progress_text(event)
            elif event.event == "warning":
                self.activity.warnings.append(event.message)
            self.has_result |= event.event == "result"
        return bool(events)

    def end(self, context: bpy.types.Context) -> Ended:
        """The child has ended: take over what it made, or report why not."""
        child = self.activity.child
        self.listen()
        warnings = self.activity.warnings
        if self.taken is None and self.activity.cancelled:
            return self._close(context, Ended(self.cancelled_text, "CANCELLED"))
        if not self.has_result and child.error:
            return self._close(context, Ended(child.error, "FAILED"))
        if self.has_result and (child.error or child.cancelled):  # the result stands
            warnings = [*warnings, child.error or "Cancelled before its pictures were drawn: Reconstruct offers them"]
        ended = self.taken or self._take_over(context)
        return self._close(context, replace(ended, warnings=warnings * (ended.state == "DONE"), found=self.found))

    def _take_over(self, context: bpy.types.Context) -> Ended:
        try:
            text = self.finish(context, self.activity.child)
        except BadInput as error:
            return Ended(str(error), "FAILED")
        if self.changes_file:
            bpy.ops.ed.undo_push(message=self.label)
        return Ended(text)

    def abandon(self, context: bpy.types.Context) -> None:
        """End the child, whatever it does, and leave nothing of the run in the interface."""
        cancel(self.activity)
        self._close(context, Ended(self.cancelled_text, "CANCELLED"))

    def turn(self) -> bool:
        """One step of a timer that follows the child; whether it continues."""
        child = self.activity.child
        if self.listen():
            redraw()
        with in_window() as context:
            if child.running:
                if not self.has_result:
                    self.meanwhile(context)
                elif self.taken is None and not is_busy(context):
                    self.taken = self._take_over(context)
                    redraw()
                return True
            if self.taken is None and is_busy(context):
                self.activity.text = "Waiting until Blender is free"
                return True
            self.end(context)
        return False

    def _close(self, context: bpy.types.Context, ended: Ended) -> Ended:
        activity = self.activity
        if activity.child is not None:
            activity.child.cancel()
            activity.child = None
        activity.ended[self.owner] = activity.last = ended = replace(ended, folder=self.folder)
        self.closed(context, ended)
        redraw()
        return ended


class HasObstacle:
    """Mixin: a button is disabled where there is an obstacle, which its tooltip names."""

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


class StartsRun(HasObstacle):
    """Mixin: `execute` runs to the end (scripts, `blender -b`), `invoke` starts a run that is followed by a timer."""

    report: Callable[[set[str], str], None]

    def new_run(self) -> Run:
        """A run as the operator's properties ask for it."""
        raise NotImplementedError

    def execute(self, context):
        run = self.new_run()
        if self._is_running(run) or self._has_failed(run.start(context)):
            return {"CANCELLED"}
        activity, printed = run.activity, ""
        child = activity.child
        try:
            while child.running:
                time.sleep(SECONDS_BETWEEN_POLLS)
                run.listen()
                percent = f"{activity.fraction:4.0%}"
                if bpy.app.background and percent != printed:
                    printed = percent
                    print(f"{run.label}: {percent}  {activity.text}", flush=True)
        except BaseException:  # Ctrl-C too
            run.abandon(context)
            raise
        ended = run.end(context)
        if self._has_failed(ended):
            return {"CANCELLED"}
        for line in ended.warnings:
            self.report({"WARNING"}, line)
        self.report({"INFO"}, ended.text)
        return {"FINISHED"}

    def invoke(self, context, _event):
        if bpy.app.background:
            return self.execute(context)
        run = self.new_run()
        if self._is_running(run) or self._has_failed(run.start(context)):
            return {"CANCELLED"}
        follow(run)
        return {"FINISHED"}

    def _is_running(self, run: Run) -> bool:
        if run.activity.running:
            self.report({"ERROR"}, f"{run.label}: is already running")
        return run.activity.running

    def _has_failed(self, ended: Ended | None) -> bool:
        if ended is None or ended.state == "DONE":
            return False
        self.report({"ERROR" if ended.state == "FAILED" else "WARNING"}, ended.text)
        return True


_followed: list[Run] = []


def follow(run: Run) -> None:
    """Follow a run until it has ended, whatever windows and files are opened and closed meanwhile."""
    _followed.append(run)
    if not bpy.app.timers.is_registered(_follow_all):
        bpy.app.timers.register(_follow_all, first_interval=SECONDS_BETWEEN_POLLS, persistent=True)
    redraw()


def _follow_all() -> float | None:
    for run in list(_followed):
        try:
            continues = run.turn()
        except Exception:
            traceback.print_exc(file=sys.stderr)
            run.abandon(bpy.context)
            continues = False
        if not continues and run in _followed:
            _followed.remove(run)
    return SECONDS_BETWEEN_POLLS if _followed else None


def abandon_all() -> None:
    """End all runs, for the extension goes."""
    if bpy.app.timers.is_registered(_follow_all):
        bpy.app.timers.unregister(_follow_all)
    for run in _followed:
        run.abandon(bpy.context)
    _followed.clear()


def cancel(activity: Activity) -> None:
    """End an activity's child; the run that follows it cleans up."""
    if activity.child is not None:
        activity.cancelled = True
        activity.child.cancel()


@contextlib.contextmanager
def in_window() -> Iterator[bpy.types.Context]:
    """The context of a window: a timer has none of its own."""
    windows = bpy.context.window_manager.windows
    if bpy.context.window is not None or not windows:
        yield bpy.context
        return
    with bpy.context.temp_override(window=windows[0]):
        yield bpy.context


def is_busy(context: bpy.types.Context) -> bool:
    """Whether the file must not be changed now: Blender renders from it, or the user is in the middle of something."""
    if bpy.app.is_job_running("RENDER"):
        return True
    modal = {one.bl_idname for window in context.window_manager.windows for one in window.modal_operators} - HARMLESS
    # Those of other add-ons may last for hours, such as what shows the keys that are pressed.
    return any(name.startswith("VMR_OT_") or bpy.types.Operator.bl_rna_get_subclass_py(name) is None for name in modal)


def progress_text(event: Event) -> str:
    """A line for the progress bar: what happens, how far it is, how long it takes yet."""
    text = event.message or event.stage.replace("_", " ").capitalize()
    if event.total > 1:
        text += f" {event.step}/{event.total}"
    if event.seconds_left is not None:
        minutes, seconds = divmod(round(event.seconds_left), 60)
        text += f", {minutes}:{seconds:02d} left"
    return text


def redraw() -> None:
    """Draw our panels anew in all windows."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in REDRAWN:
                area.tag_redraw()


def save_copy(path: Path) -> None:
    """Write the file as it is now to a path, for a child to open; BadInput where it cannot be written."""
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, check_existing=False)
    except RuntimeError as error:
        raise BadInput(f"{path}: cannot be written ({' '.join(str(error).split())}); choose another folder") from None
