"""Draws meshes for people to look at: shaded grey or in their texture, smooth at the edges, over any background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..texture.view import TexelView, Window, interpolate, see, textured, vertex_normals, window_of

LIGHT = np.array([-0.45, -0.7, -0.55]) / np.linalg.norm([-0.45, -0.7, -0.55])
"""Direction to the lamp in camera axes: over the viewer's left shoulder."""

CLAY = (205.0, 203.0, 198.0)
"""Colour of a mesh without texture."""

INSIDE = (225.0, 45.0, 35.0)
"""Colour of faces seen from behind, where they are to be told from the others."""

OUTLINE = (0, 230, 255)
"""Colour of the mesh's outline over footage; hardly an animal or a meadow has it."""


@dataclass(frozen=True)
class Picture:
    """A drawn mesh in a window of a frame."""

    window: Window
    colour: np.ndarray
    """(h, w, 3) float32, 0..255, premultiplied with alpha."""
    alpha: np.ndarray
    """(h, w) float32, 0..1."""


def draw(points: np.ndarray, faces: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int], *,
         uv: np.ndarray | None = None, texture: np.ndarray | None = None, shading: float = 1.0,
         samples: int = 2, mark_inside: bool = False) -> Picture | None:
    """A mesh in a frame of `size` (width, height), or None where it is out of the picture.

    points       (V, 3) in camera space
    texture      (H, W, 3) uint8 seen through uv (F, 3, 2); without it the mesh is grey
    shading      0: the texture's colours as they are, 1: lit by one lamp and the sky
    samples      per pixel and axis, against jagged edges
    mark_inside  faces seen from behind, of holes and of walls that passed through each other, are red
    """
    window = window_of(points, intrinsics, size)
    if window is None:
        return None
    view = see(points, intrinsics, faces, window, samples)
    colour = np.zeros((*view.face_index.shape, 3), np.float32)
    if view.drawn.any():
        albedo = CLAY if texture is None else textured(view, uv, texture)[view.drawn]
        if mark_inside:
            behind = _seen_from_behind(points, faces)[view.face_index[view.drawn]]
            albedo = np.where(behind[:, None], INSIDE, albedo)
        colour[view.drawn] = albedo * (1 - shading + shading * _light(view, points, faces))[:, None]
    extent = (window.width, window.height)
    alpha = cv2.resize(view.drawn.astype(np.float32), extent, interpolation=cv2.INTER_AREA)
    return Picture(window, cv2.resize(np.minimum(colour, 255), extent, interpolation=cv2.INTER_AREA), alpha)


def _seen_from_behind(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) bool, the faces that turn their inner side to the camera; points (V, 3) in camera space."""
    a, b, c = points[faces].transpose(1, 0, 2)
    return (np.cross(b - a, c - a) * a).sum(1) > 0


def _light(view: TexelView, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N,) brightness at the drawn pixels, about 0.3 to 1.15: a soft lamp, the sky, and darker rims."""
    normals = interpolate(vertex_normals(points, faces)[faces].astype(np.float32), view)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    normals[normals[:, 2] > 0] *= -1    # both sides of a face are lit
    lamp = (0.5 + 0.5 * normals @ LIGHT) ** 2
    sky = 0.5 - 0.5 * normals[:, 1]
    rim = np.sqrt(-normals[:, 2])
    return 0.12 + 0.68 * lamp + 0.15 * sky + 0.2 * rim


def paste(picture: Picture | None, image: np.ndarray) -> np.ndarray:
    """A copy of the image (H, W, 3) uint8 with the picture over it."""
    out = image.copy()
    if picture is not None:
        part = picture.window.cut(out)
        part[:] = np.clip(part * (1 - picture.alpha[..., None]) + picture.colour + 0.5, 0, 255)
    return out


def outline(picture: Picture | None, image: np.ndarray, thickness: int = 2) -> np.ndarray:
    """A copy of the image (H, W, 3) uint8 with the picture's outline drawn on it; a thick one on a dark edge."""
    out = image.copy()
    if picture is None:
        return out
    # A frame of one empty pixel closes the outline where the mesh is cut by the window.
    inside = np.pad((picture.alpha > 0.5).astype(np.uint8), 1)
    corner = (picture.window.left - 1, picture.window.top - 1)
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=corner)
    if thickness > 1:
        cv2.polylines(out, contours, True, (12, 16, 20), thickness + 2, cv2.LINE_AA)
    cv2.polylines(out, contours, True, OUTLINE, thickness, cv2.LINE_AA)
    return out


def dimmed(image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) uint8 darker and with less colour, so that a mesh over it stands out."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return np.clip(0.38 * (0.5 * image + 0.5 * grey) + 12, 0, 255).astype(np.uint8)


def look_from(azimuth: float, elevation: float) -> np.ndarray:
    """(3, 3) rotation from object space (z up, front at -y) to a camera that looks at it from a side, in degrees.

    Azimuth 0 looks at the front, 90 at the side of +x; elevation is above the horizon, below 90.
    """
    a, e = np.radians([azimuth, elevation])
    forward = -np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def label(image: np.ndarray, text: str, x: int, y: int, height: float = 11, colour=(214, 218, 224)) -> None:
    """Writes text into the image with the foot of its letters at x, y; capitals are `height` pixels tall."""
    scale = height / 21     # capitals of the font are 21 px tall at scale 1
    shadow = [(x + right, y + down, (10, 12, 15)) for right in (-1, 1) for down in (-1, 1)]
    for left, foot, ink in (*shadow, (x, y, colour)):
        cv2.putText(image, text, (left, foot), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)
