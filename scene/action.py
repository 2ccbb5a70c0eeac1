"""Key frames of a datablock, the same way in every supported Blender (4.2 to 5.2)."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

Curves = Any
"""The f-curves of an action: `ActionFCurves`, or `ActionChannelbagFCurves` since Blender 4.4."""
LINEAR = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value  # type: ignore[attr-defined]


def new_curves(block: bpy.types.Object | bpy.types.Camera | bpy.types.Key, name: str) -> Curves:
    """Give a datablock an action of its own; its f-curves, none yet.

    Up to Blender 4.3 an action holds its curves; since 4.4 the channel bag of a slot in a strip of a layer does.
    """
    data: Any = block.animation_data or block.animation_data_create()
    action: Any = bpy.data.actions.new(name)
    data.action = action
    if not hasattr(action, "slots"):
        return action.fcurves
    slot = action.slots.new(id_type=block.id_type, name=block.name)
    data.action_slot = slot
    strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True).fcurves


def add_keys(curves: Curves, data_path: str, frames: np.ndarray, values: np.ndarray, index: int = 0) -> None:
    """Add the f-curve of one property: straight from key to key, holding the first and last value outside.

    frames  (n,) scene frames, ascending
    values  (n,)
    """
    curve = curves.new(data_path, index=index)
    curve.keyframe_points.add(len(frames))
    curve.keyframe_points.foreach_set("co", np.stack([frames, values], 1).astype(np.float32).ravel())
    curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), LINEAR, np.int32))
    curve.update()
