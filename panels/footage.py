"""Where footage comes from that is no plain clip: rows in the tab, and its panel in the Video Sequencer."""

import bpy

from ..properties import clip_of, frames_activity
from .text import draw_ended, draw_progress

SOURCES = {"CLIP": ("Frames of This Clip", "FILE_MOVIE"), "STRIP": ("Frames of Active Strip", "SEQUENCE"),
           "COMPOSITING": ("Frames of Compositing", "NODE_COMPOSITING")}


def draw_frames(layout: bpy.types.UILayout, context: bpy.types.Context, sources: tuple[str, ...]) -> None:
    """From what Blender shows to a clip of images, or how far that is."""
    clip, scene = clip_of(context), context.scene
    owner = clip if clip is not None and frames_activity.owner == clip.session_uid else scene
    if draw_progress(layout, frames_activity, owner, "vmr.cancel_frames"):
        return
    for source in sources:
        text, icon = SOURCES[source]
        layout.operator("vmr.frames_as_images", text=text, icon=icon).source = source
    for owner in (clip, scene):  # strips and compositing are the scene's
        if owner is not None:
            draw_ended(layout, context, frames_activity.ended.get(owner.session_uid))


class VMR_SEQUENCER_PT_footage(bpy.types.Panel):
    """A strip as footage."""

    bl_label = "Footage"
    bl_space_type = "SEQUENCE_EDITOR"
    bl_region_type = "UI"
    bl_category = "Reconstruct"

    def draw(self, context):
        draw_frames(self.layout, context, ("STRIP",))
