"""The pinhole camera of a rendered image, and how it frames an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .variation import RenderVariation


@dataclass(frozen=True)
class PinholeCamera:
    """pixel = focal * (x, y) / z + principal, of rotation @ object + translation."""

    rotation: np.ndarray
    """(3, 3)"""
    translation: np.ndarray
    """(3,)"""
    focal: float
    """Pixels."""
    principal: np.ndarray
    """(2,) pixels from the top left corner."""

    @property
    def centre(self) -> np.ndarray:
        """(3,) centre of projection, object space."""
        return -self.rotation.T @ self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """(K, 2) pixels of points (K, 3) of object space."""
        in_camera = points @ self.rotation.T + self.translation
        return self.focal * in_camera[:, :2] / in_camera[:, 2:] + self.principal

    def weak(self, size: int, centre: np.ndarray) -> tuple[float, np.ndarray]:
        """Scale and shift (2,) of the weak-perspective camera that agrees with this one at a point, in coordinates
        from -1 to 1 of an image of that size."""
        half = size / 2
        scale = self.focal / (self.rotation @ centre + self.translation)[2] / half
        return scale, self.project(centre[None])[0] / half - 1 - scale * (self.rotation @ centre)[:2]


def framing(variation: RenderVariation, vertices: np.ndarray, size: int) -> PinholeCamera:
    """The camera in which the bounding box of the vertices (V, 3) has the variation's size and placement."""
    centre = (vertices.min(0) + vertices.max(0)) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max())
    translation = [0, 0, variation.distance * radius] - variation.rotation @ centre
    in_camera = vertices @ variation.rotation.T + translation
    flat = in_camera[:, :2] / in_camera[:, 2:]
    sides = np.ptp(flat, 0)
    focal = variation.fill * size / float(sides.max())
    principal = (size - focal * sides) * variation.placement - focal * flat.min(0)
    return PinholeCamera(variation.rotation, translation, focal, principal)
