"""Draws over the Movie Clip Editor what is marked of a clip's active subject, and the outlines of its masks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bpy
from mathutils.geometry import tessellate_polygon

from ..vmr_backend.segmentation.marks import outlines_in
from .clip import frame_number, frame_shown
from .marks import has_box, mark_at

MASK_COLOUR, FILL_COLOUR = (1.0, 0.55, 0.1, 1.0), (1.0, 0.55, 0.1, 0.22)
BOX_COLOUR, INSIDE_COLOUR, OUTSIDE_COLOUR = (1.0, 1.0, 1.0, 0.9), (0.25, 0.9, 0.35, 1.0), (1.0, 0.25, 0.25, 1.0)
POINT_RADIUS, ARM = 7.0, 4.0
"""Of a point's disc and of its plus or minus, in pixels of the screen."""

rubber_band: tuple[float, float, float, float] | None = None
"""The box that is being drawn: left, top, width, height in pixels of the clip."""
_handler: Any = None


def register() -> None:
    global _handler
    _handler = bpy.types.SpaceClipEditor.draw_handler_add(draw, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    global _handler
    bpy.types.SpaceClipEditor.draw_handler_remove(_handler, "WINDOW")
    _handler = None


def pixel_at(region: bpy.types.Region, clip: bpy.types.MovieClip, x: float, y: float) -> tuple[float, float]:
    """Pixel of the clip, from its top left corner, at a point of the editor's region."""
    across, up = region.view2d.region_to_view(x, y)
    return across * clip.size[0], (1 - up) * clip.size[1]


def shown_at(region: bpy.types.Region, clip: bpy.types.MovieClip, x: float, y: float) -> tuple[float, float, float]:
    """Where the editor's region shows a pixel of the clip."""
    across, up = region.view2d.view_to_region(x / clip.size[0], 1 - y / clip.size[1], clip=False)
    return float(across), float(up), 0.0


def draw() -> None:
    """For Blender to call at each redraw of the editor."""
    context = bpy.context
    clip = context.edit_movieclip
    if clip is None or not all(clip.size):
        return
    group, region = clip.vmr, context.region  # type: ignore[attr-defined]
    if group.show_masks and 0 <= group.active < len(group.subjects):
        subject, frame = group.subjects[group.active], frame_number(clip, frame_shown(context))
        if subject.folder:
            _draw_outlines(region, clip, outlines_in(Path(bpy.path.abspath(subject.folder))).get(frame, []))
        if mark := mark_at(subject, frame):
            _draw_mark(region, clip, mark)
    if rubber_band is not None:
        _draw_box(region, clip, rubber_band)


def _draw_outlines(region: bpy.types.Region, clip: bpy.types.MovieClip, outlines: Iterable[Iterable[float]]) -> None:
    loops = [[shown_at(region, clip, x, y) for x, y in zip(one[::2], one[1::2], strict=True)] for one in outlines]
    if not loops:
        return
    corners = [corner for loop in loops for corner in loop]
    draw_shape("TRIS", [corners[index] for triangle in tessellate_polygon(loops) for index in triangle], FILL_COLOUR)
    draw_shape("LINES", [corner for loop in loops for pair in zip(loop, loop[1:] + loop[:1], strict=True)
                         for corner in pair], MASK_COLOUR, 1.5)


def _draw_mark(region: bpy.types.Region, clip: bpy.types.MovieClip, mark: Any) -> None:
    if has_box(mark):
        _draw_box(region, clip, mark.box)
    for point in mark.points:
        x, y, _ = shown_at(region, clip, *point.place)
        colour = INSIDE_COLOUR if point.inside else OUTSIDE_COLOUR
        draw_shape("TRIS", _disc(x, y), colour)
        arms = [(x - ARM, y, 0.0), (x + ARM, y, 0.0)] + [(x, y - ARM, 0.0), (x, y + ARM, 0.0)] * point.inside
        draw_shape("LINES", arms, (0.0, 0.0, 0.0, 1.0), 2.0)


def _draw_box(region: bpy.types.Region, clip: bpy.types.MovieClip, box: Any) -> None:
    left, top, width, height = box
    corners = [shown_at(region, clip, x, y) for x, y in (
        (left, top), (left + width, top), (left + width, top + height), (left, top + height))]
    draw_shape("LINES", [corner for pair in zip(corners, corners[1:] + corners[:1], strict=True) for corner in pair],
          BOX_COLOUR, 2.0)


def _disc(x: float, y: float, sides: int = 16) -> list[tuple[float, float, float]]:
    rim = [(x + POINT_RADIUS * math.cos(2 * math.pi * k / sides), y + POINT_RADIUS * math.sin(2 * math.pi * k / sides),
            0.0) for k in range(sides)]
    return [corner for k in range(sides) for corner in ((x, y, 0.0), rim[k], rim[(k + 1) % sides])]


def draw_shape(kind: Any, corners: list, colour: tuple[float, float, float, float], width: float = 1.0) -> None:
    """Draw lines ("LINES") or triangles ("TRIS") between corners."""
    # Not at the top: without a window Blender has no graphics.
    import gpu
    from gpu_extras.batch import batch_for_shader

    if not corners:
        return
    shader: Any = gpu.shader.from_builtin("UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    gpu.state.line_width_set(width)
    shader.uniform_float("color", colour)
    batch_for_shader(shader, kind, {"pos": corners}).draw(shader)
    gpu.state.line_width_set(1.0)
    gpu.state.blend_set("NONE")
