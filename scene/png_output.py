"""Renders are written as PNG images of 8 bits, without dithering."""

from __future__ import annotations

from typing import Any


def set_png(render: Any, size: tuple[int, int], color_mode: str, compression: int) -> None:
    """size   of the images, pixels
    color_mode  BW, RGB or RGBA
    """
    render.resolution_x, render.resolution_y = size
    render.resolution_percentage, render.dither_intensity = 100, 0
    settings = render.image_settings
    if hasattr(settings, "media_type"):  # from Blender 5.0
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", color_mode, "8"
    settings.compression = compression
