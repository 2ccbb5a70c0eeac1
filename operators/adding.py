"""Adds a result to the scene in one of the ways in which it may move, and says in a line what was added."""

from collections.abc import Sequence
from pathlib import Path

import bpy

from ..jobs.folder import rig_in
from ..properties import inputs_of
from ..scene.own_rig import find_own_rig, key_own_rig, obstacle_to_keys
from ..scene.result import add_result, is_set_up
from ..vmr_backend.job import BadInput
from ..vmr_backend.reconstruction import Reconstruction
from .doubtful_frame import keep_verdict

LEFT_AS_IT_IS = "Scene left as it is: Set Up Scene takes its camera, range and size"


def add_to_scene(
    context: bpy.types.Context, clip: bpy.types.MovieClip, result: Reconstruction, folder: Path, name: str, motion: str,
    *, remarks: Sequence[str] = (), is_finished: bool = True, is_textured: bool = True, set_up_scene: bool = False,
    select: bool = False,
) -> str:
    """Add the result of a folder; the line that reports it. BadInput where that is not possible.

    motion       one of OWN_MOTIONS or MOTIONS (properties.py); where the user's armature cannot be keyed, the line
                 says why, and the result has a new one
    remarks      for the line
    is_finished  whether the verdict in the folder is that of the result
    """
    why_not = ""
    if motion == "OWN_ARMATURE":
        try:
            rig = find_own_rig(rig_in(folder), inputs_of(clip).rig)
            why_not = obstacle_to_keys(rig, result)
            if not why_not:
                added = key_own_rig(context, clip, result, folder, name, rig, set_up_scene=set_up_scene, select=select)
                text = f"Keyed {rig.armature.name}: {len(result.frames)} frames of {len(result.bone_parents)} bones"
        except BadInput as error:
            why_not = str(error)
        if why_not:
            motion, why_not = "ARMATURE", f"with a new armature: {why_not}"
    if motion != "OWN_ARMATURE":
        added = add_result(context, clip, result, folder, name, motion, is_textured, set_up_scene, select)
        text = f"Added {added.name}: {len(result.frames)} frames"
    if is_finished:
        keep_verdict(added, clip, folder)
    by_shapes = ["by shape keys: it has no bones"] * (motion == "ARMATURE" and result.skin_weights is None)
    text = ", ".join([text, *filter(None, [why_not]), *by_shapes, *remarks])
    return text if is_set_up(added) else f"{text}. {LEFT_AS_IT_IS}"
