"""Draws an arrow in the 3D Viewport that points where the user's rigged object is taken to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

from .identity import still_there
from .overlay import draw_shape
from .template import AUTO, gather, rigged_object

COLOUR = (0.25, 0.9, 0.35, 1.0)
LENGTH, HEAD = 0.5, 0.12
"""Of the arrow and of its head, in extents of the object."""


@dataclass(frozen=True)
class FrontArrow:
    """The arrow of one object. It follows its armature."""

    armature: int
    """`session_uid`."""
    front: str
    """Where the object looks along the axes of its armature, as `gather` has it."""
    corners: np.ndarray
    """(10, 3) ends of five lines, the space of the armature. The first is the shaft, from its foot to its tip."""

    @staticmethod
    def of(chosen: bpy.types.Object, front: str = AUTO) -> FrontArrow:
        """That of an object, or of the armature that moves it; BadInput where it is no rigged one."""
        rigged = rigged_object(chosen)
        arrays, facts = gather(rigged, front)
        low, high = arrays["vertices"].min(0), arrays["vertices"].max(0)
        extent = float((high - low).max())
        # Template space: the front is -y, up is z.
        foot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        tip = foot - [0, LENGTH * extent, 0]
        ends = [foot]
        for side in np.eye(3)[[0, 2]]:
            for sign in (-1, 1):
                ends.append(tip + HEAD * extent * (np.array([0, 1, 0]) + sign * side / 2))
        corners = np.array([corner for end in ends for corner in (end, tip)])
        to_armature = np.linalg.inv(arrays["placement"].astype(np.float64))
        return FrontArrow(rigged.armature.session_uid, facts["front"],
                          corners @ to_armature[:3, :3].T + to_armature[:3, 3])

    def in_world(self) -> list[Vector]:
        """The corners in the world; none where the armature is gone or hidden."""
        armature = still_there(bpy.data.objects, self.armature)
        if armature is None or not armature.visible_get():
            return []
        matrix: Any = armature.matrix_world
        return [matrix @ Vector(corner) for corner in self.corners.tolist()]


shown: FrontArrow | None = None
_handler: Any = None


def register() -> None:
    global _handler
    _handler = bpy.types.SpaceView3D.draw_handler_add(draw, (), "WINDOW", "POST_VIEW")


def unregister() -> None:
    global _handler, shown
    bpy.types.SpaceView3D.draw_handler_remove(_handler, "WINDOW")
    _handler = shown = None


def draw() -> None:
    """For Blender to call at each redraw of a viewport."""
    if shown is not None:
        draw_shape("LINES", [tuple(corner) for corner in shown.in_world()], COLOUR, 3.0)
