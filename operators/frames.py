"""Frames as Images: what Blender shows of a clip, a strip or the compositor becomes an image sequence and its clip."""

from dataclasses import asdict
from pathlib import Path

import bpy

from ..jobs.frames import FrameRendering, frames_folder
from ..preferences import jobs_folder
from ..properties import clip_of, copy_subjects, frames_activity, props_of, subjects_of
from ..scene.clip import scene_frame
from ..scene.identity import still_there
from ..scene.shown_frames import Shown, shown_by_clip, shown_by_compositing, shown_by_strip
from ..vmr_backend.job import BadInput
from .runs import Run, StartsRun, save_copy


def rendering(folder: Path, shown: Shown, clip: bpy.types.MovieClip | None = None) -> FrameRendering:
    """Started in a Blender of its own. clip: what it is of, which Blender saves where it has a user only."""
    def save_with_clip(path: Path) -> None:
        had_one = clip is None or clip.use_fake_user
        try:
            if not had_one:
                clip.use_fake_user = True
            save_copy(path)
        finally:
            if not had_one:
                clip.use_fake_user = False

    child = FrameRendering(folder, asdict(shown), bpy.app.binary_path, save_with_clip)
    child.start()
    return child


class RenderingFrames(Run):
    """What Blender shows, as an image sequence."""

    label = "Frames As Images"
    activity = frames_activity
    cancelled_text = "Rendering of frames cancelled"

    def __init__(self, source: str, folder: str):
        self._source, self._folder = source, folder

    def begin(self, context):
        scene, clip = context.scene, clip_of(context)
        self._scene = self.owner = scene.session_uid
        if self._source == "CLIP":
            if clip is None:
                raise BadInput("Frames As Images: found no clip; open one in the Movie Clip Editor")
            self.owner = clip.session_uid
            shown, beside = shown_by_clip(clip), Path(bpy.path.abspath(clip.filepath, library=clip.library))
            beside = beside.parent if clip.source == "SEQUENCE" else beside
            name, self._first_at = beside.stem, scene_frame(clip, shown.first)
        else:
            shown = (shown_by_strip if self._source == "STRIP" else shown_by_compositing)(scene)
            beside = Path(bpy.data.filepath) if bpy.data.filepath else jobs_folder() / "frames"
            name, self._first_at = shown.name, shown.first
        self.activity.owner_name = name
        folder = Path(bpy.path.abspath(self._folder)) if self._folder else frames_folder(beside, name)
        return rendering(folder, shown, clip)

    def finish(self, context, rendered):
        images = rendered.images()
        scene, before = still_there(bpy.data.scenes, self._scene), still_there(bpy.data.movieclips, self.owner)
        if scene is None:
            raise BadInput(f"another file was opened meanwhile; the {len(images)} frames lie in {rendered.folder}")
        clip = bpy.data.movieclips.load(str(images[0]), check_existing=True)
        clip.filepath = clip.filepath  # read anew what was rendered anew
        clip.frame_start, clip.name = self._first_at, rendered.folder.name
        clip.use_fake_user = True
        if before is not None:
            copy_subjects(subjects_of(before), subjects_of(clip))
            camera, other = clip.tracking.camera, before.tracking.camera
            camera.sensor_width, camera.focal_length = other.sensor_width, other.focal_length
            camera.pixel_aspect, clip.display_aspect = other.pixel_aspect, before.display_aspect
        show_clip(context, before, clip)
        props_of(scene).clip = clip
        self.owner = clip.session_uid  # whose panel shows what came of it
        return f"Rendered {len(images)} frames into {rendered.folder}, and opened them as the clip {clip.name}"


class VMR_OT_frames_as_images(StartsRun, bpy.types.Operator):
    """Render what Blender shows to an image sequence in the background, and open it as a clip"""

    bl_idname = "vmr.frames_as_images"
    bl_label = "Frames As Images"

    source: bpy.props.EnumProperty(name="Source", items=[
        ("CLIP", "This Clip", "The frames of the movie clip; what is marked on them is kept"),
        ("STRIP", "Active Strip", "The active strip of the sequencer with the effects on it, at the scene's size"),
        ("COMPOSITING", "Compositing", "What the scene's compositor makes, with alpha: a keying node's output is the "
                                       "subject's mask")])
    folder: bpy.props.StringProperty(
        name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"},
        description="For the images. Empty: beside the clip, or beside the .blend file")

    def new_run(self):
        return RenderingFrames(self.source, self.folder)

    @classmethod
    def obstacle(cls, _context):
        return "Frames are being rendered" if frames_activity.running else ""


def show_clip(context, before: bpy.types.MovieClip | None, clip: bpy.types.MovieClip) -> None:
    """In the Movie Clip Editors that show the clip it is made of, or none."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "CLIP_EDITOR" and area.spaces.active.clip in (before, None):
                area.spaces.active.clip = clip
