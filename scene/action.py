"""Key frames of a datablock, the same way in every supported Blender (4.2 to 5.2)."""

from __future__ import annotations

import re
from typing import Any

import bpy
import numpy as np

KEY_PATH = re.compile(r'key_blocks\["(.+?)"\]\.value')
"""Of the curves that move a shape key; its name."""
Channels = Any
"""What holds the f-curves of a datablock and their groups: `Action`, or `ActionChannelbag` since Blender 4.4."""
LINEAR = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value  # type: ignore[attr-defined]


def new_channels(block: bpy.types.Object | bpy.types.Camera | bpy.types.Key, name: str) -> Channels:
    """Give a datablock an action of its own; what holds its f-curves, none yet.

    Up to Blender 4.3 an action holds its curves; since 4.4 the channel bag of a slot in a strip of a layer does.
    """
    data: Any = block.animation_data or block.animation_data_create()
    action: Any = bpy.data.actions.new(name)
    data.action = action
    if not hasattr(action, "slots"):
        return action
    slot = action.slots.new(id_type=block.id_type, name=block.name)
    data.action_slot = slot
    strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True)


def add_keys(
    channels: Channels, data_path: str, frames: np.ndarray, values: np.ndarray, index: int = 0, group: str = ""
) -> None:
    """Add the f-curve of one property: straight from key to key, holding the first and last value outside.

    frames  (n,) scene frames, ascending
    values  (n,)
    group   under which animation editors list it, with others of the same
    """
    curve = channels.fcurves.new(data_path, index=index)
    curve.keyframe_points.add(len(frames))
    curve.keyframe_points.foreach_set("co", np.stack([frames, values], 1).astype(np.float32).ravel())
    curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), LINEAR, np.int32))
    curve.update()
    if group:
        curve.group = channels.groups.get(group) or channels.groups.new(group)


def continuous(quaternions: np.ndarray) -> np.ndarray:
    """The same rotations (T, 4) with signs such that neighbours are interpolated the short way."""
    turns = np.sum(quaternions[1:] * quaternions[:-1], axis=1) < 0
    signs = np.cumprod(np.concatenate([[1.0], np.where(turns, -1.0, 1.0)]))
    return quaternions * signs[:, None]


def curves_by_slot(action: bpy.types.Action) -> list[tuple[Any, list[Any]]]:
    """The f-curves of an action by slot; up to Blender 4.3 all of them, with None for a slot."""
    if not hasattr(action, "slots"):
        return [(None, list(action.fcurves))]
    layers: Any = action.layers  # type: ignore[attr-defined]
    bags = [bag for layer in layers for strip in layer.strips for bag in strip.channelbags]
    return [(slot, [curve for bag in bags if bag.slot_handle == slot.handle for curve in bag.fcurves])
            for slot in action.slots]
