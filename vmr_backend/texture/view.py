"""What a camera sees of a mesh: hard visibility in a window of the full frame, and colours looked up through it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ..reconstruction import Reconstruction
from ..rendering import get_renderer

COLUMNS = 1024
"""Width of the table in which single samples are handed to cv2.remap, which takes no longer rows than 32,766."""


class Window(NamedTuple):
    """A rectangle of whole pixels of the full frame."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The part of a full-frame image (H, W, ...) that lies in the window; a view, not a copy."""
        return image[self.top:self.top + self.height, self.left:self.left + self.width]


@dataclass(frozen=True)
class TexelView:
    """The nearest face at each pixel of a window, drawn at `scale` pixels to one of the full frame."""

    window: Window
    scale: int
    face_index: np.ndarray
    """(h, w) int32, -1 where there is no face; h, w are the window's times scale."""
    barycentrics: np.ndarray
    """(h, w, 3) float32, perspective-correct."""
    depth: np.ndarray
    """(h, w) float32, camera z, 0 where there is no face."""

    @property
    def drawn(self) -> np.ndarray:
        """(h, w) bool, where there is a face."""
        return self.face_index >= 0


def camera_points(reconstruction: Reconstruction, index: int) -> np.ndarray:
    """(V, 3) float32, the vertices in camera space in the result's frame `index`."""
    rotation, translation = reconstruction.camera_rotation[index], reconstruction.camera_translation[index]
    return reconstruction.vertices[index] @ rotation.T + translation


def project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixels (..., 2) of the full frame of points (..., 3) in camera space; intrinsics fx, fy, cx, cy."""
    return points[..., :2] / np.maximum(points[..., 2:], 1e-6) * intrinsics[:2] + intrinsics[2:]


def window_of(points: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int], margin: int = 2) -> Window | None:
    """The window of a frame of `size` (width, height) that holds the points (V, 3) in front of the camera, or None."""
    points = points[points[:, 2] > 1e-6]
    if not len(points):
        return None
    points_px = np.clip(project(points, intrinsics), -1e6, 1e6)
    low = np.clip(np.floor(points_px.min(0)).astype(int) - margin, 0, size)
    high = np.clip(np.ceil(points_px.max(0)).astype(int) + margin, 0, size)
    if (high <= low).any():
        return None
    return Window(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))


def see(points: np.ndarray, intrinsics: np.ndarray, faces: np.ndarray, window: Window, scale: int = 1) -> TexelView:
    """Draws points (V, 3) in camera space, joined by faces (F, 3), in the window."""
    corner, extent = np.array(window[:2]), np.array(window[2:])
    ndc = (project(points, intrinsics) - corner) / extent * 2 - 1
    points = torch.from_numpy(np.concatenate([ndc, points[:, 2:]], 1).astype(np.float32))
    size = (window.height * scale, window.width * scale)
    seen = _renderer().visibility(points[None], torch.from_numpy(np.ascontiguousarray(faces)), size)
    return TexelView(window, scale, *(a[0].numpy() for a in (seen.face_index, seen.barycentrics, seen.depth)))


@cache
def _renderer():
    return get_renderer("warp", "cpu")


def interpolate(values: np.ndarray, view: TexelView) -> np.ndarray:
    """(N, C) values at the drawn pixels of a view, row by row, from values (F, 3, C) at the corners of the faces."""
    drawn = view.drawn
    return np.einsum("nk,nkc->nc", view.barycentrics[drawn], values.take(view.face_index[drawn], axis=0))


def look_up(image: np.ndarray, x: np.ndarray, y: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Samples (N,) or (N, C) of an image at pixels x, y (N,), pixel centres at +0.5; its edges are carried outward."""
    count = len(x)
    rows = max(-(-count // COLUMNS), 1)
    at = np.zeros((2, rows * COLUMNS), np.float32)
    at[:, :count] = x, y
    at -= 0.5
    samples = cv2.remap(image, *at.reshape(2, rows, COLUMNS), interpolation, borderMode=cv2.BORDER_REPLICATE)
    return samples.reshape(rows * COLUMNS, *image.shape[2:])[:count]


def look_up_uv(texture: np.ndarray, uv: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Samples (N, C) of a texture (H, W, C), its first row at v = 1, at uv (N, 2)."""
    height, width = texture.shape[:2]
    return look_up(texture, uv[:, 0] * width, (1 - uv[:, 1]) * height, interpolation)


def textured(view: TexelView, uv: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8, the mesh in the colours of a texture (H, W, 3) uint8 through uv (F, 3, 2); black elsewhere."""
    image = np.zeros((*view.face_index.shape, 3), np.uint8)
    if view.drawn.any():
        image[view.drawn] = look_up_uv(_reduced(texture, view, uv), interpolate(uv, view))
    return image


def _reduced(texture: np.ndarray, view: TexelView, uv: np.ndarray) -> np.ndarray:
    """The texture made small enough that neighbouring pixels of the view do not skip texels (a mipmap's level)."""
    faces, pixels = np.unique(view.face_index[view.drawn], return_counts=True)
    edges = uv[faces, 1:] - uv[faces, :1]
    texels = np.abs(np.linalg.det(edges)) / 2 * texture.shape[0] * texture.shape[1]
    shrink = np.sqrt(np.median(texels / pixels))
    if shrink < 1.5:
        return texture
    size = [max(int(n / shrink), 1) for n in texture.shape[1::-1]]
    return cv2.resize(texture, size, interpolation=cv2.INTER_AREA)


def vertex_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, outward, of points (V, 3): the mean of the adjacent faces' weighted by area."""
    corners = points[faces]
    of_faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack([np.bincount(faces.ravel(), np.repeat(of_faces[:, k], 3), len(points)) for k in range(3)], 1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
