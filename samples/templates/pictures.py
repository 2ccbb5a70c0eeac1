"""Pictures of a template: its kinds, and some of its poses."""

from __future__ import annotations

import cv2
import numpy as np

from samples.families.quadruped import LYING, SITTING, QuadrupedPose, parts_of, strides
from vmr_backend.templates.template import Template

from .anatomy import body_at_rest, frames_of, markers_of, posed_bones, turns_of
from .build import kinds
from .surface import vertex_normals

SAMPLES = 2
"""Samples a pixel, across and down."""
SUN = np.array([0.4, 0.7, 0.6]) / np.linalg.norm([0.4, 0.7, 0.6])
"""Towards the light, along the picture's axes right, up and towards the camera."""
COLOUR = np.array([175.0, 190.0, 205.0])


def posed_vertices(template: Template, turns: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) of the template with components of shape (K,), its bones turned by axis-angles (B, 3)."""
    heads = template.bone_rest[:, :3, 3].astype(float)
    tails = heads + template.bone_rest[:, :3, 1] * template.bone_lengths[:, None]
    vertices, heads, tails = (mean + np.tensordot(shape, basis, 1) for mean, basis in (
        (template.vertices, template.shape_vertices), (heads, template.shape_heads), (tails, template.shape_tails)))
    frames = frames_of(heads, tails)
    moved = np.einsum("vb,bij->vij", template.dense_weights, posed_bones(frames, turns) @ np.linalg.inv(frames))
    return np.einsum("vij,vj->vi", moved[:, :3, :3], vertices) + moved[:, :3, 3]


def shape_of(template: Template, vertices: np.ndarray) -> np.ndarray:
    """The components of shape (K,) with which the template comes nearest to vertices (V, 3)."""
    basis = template.shape_vertices.reshape(len(template.shape_vertices), -1).astype(float)
    return np.linalg.lstsq(basis.T, (vertices - template.vertices).ravel(), rcond=None)[0]


def turns_in(body: dict[str, float], pose: QuadrupedPose) -> np.ndarray:
    """How the bones (B, 3) of a body of the family are turned in a pose."""
    parts, _, heads, tails = body_at_rest(body)
    return turns_of(markers_of(parts), markers_of(parts_of(body, pose)[0]), frames_of(heads, tails))


def view(heading: float, elevation: float) -> np.ndarray:
    """Axes (3, 3) of a picture, right, up and towards the camera; degrees from the front to the animal's left."""
    a, e = np.radians([heading, elevation])
    ahead = np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    right = np.array([np.cos(a), np.sin(a), 0])
    return np.stack([right, np.cross(ahead, right), ahead])


def drawn(vertices: np.ndarray, faces: np.ndarray, axes: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """A mesh in the middle of a white picture of (width, height), BGR uint8; `scale` is pixels a unit."""
    seen = (vertices - (vertices.min(0) + vertices.max(0)) / 2) @ axes.T
    pixels = np.stack([size[0] / 2 + seen[:, 0] * scale, size[1] / 2 - seen[:, 1] * scale], 1) * SAMPLES
    light = 0.35 + 0.65 * np.maximum(vertex_normals(seen, faces)[faces].mean(1) @ SUN, 0)
    corners = pixels[faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    towards = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0
    image = np.full((size[1] * SAMPLES, size[0] * SAMPLES, 3), 255, np.uint8)
    # From the farthest to the nearest: small triangles of a closed surface need no more.
    for face in seen[faces][..., 2].sum(1).argsort():
        if towards[face]:
            cv2.fillConvexPoly(image, np.round(corners[face] * 16).astype(np.int32), (COLOUR * light[face]).tolist(),
                               cv2.LINE_8, 4)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def sheet(template: Template, shapes: list[tuple]) -> np.ndarray:
    """The family's kinds as the template has them, standing, then some poses; BGR uint8.

    shapes  surfaces of bodies, the last ones those of the kinds
    """
    bodies = kinds()
    scale = 1 / np.ptp(np.mean([shape[0] for shape in shapes], 0), axis=0).max()
    found = {name: shape_of(template, shape[0] * scale)
             for name, shape in zip(bodies, shapes[-len(bodies):], strict=True)}
    stand = QuadrupedPose()
    rng = np.random.default_rng(3)
    poses = {"sitting": ("dog", QuadrupedPose(SITTING, pitch=38, neck=-8)), "lying": ("lion", QuadrupedPose(LYING)),
             "grazing": ("horse", QuadrupedPose(neck=-85, nod=-15)),
             "walking": ("fox", QuadrupedPose(strides(rng, "walk", 0.2))),
             "galloping": ("horse", QuadrupedPose(strides(rng, "gallop", 0.15), gather=-0.1, neck=-12, tail=40)),
             "looking back": ("cat", QuadrupedPose(turn=65, bend=0.15, sway=20))}
    rows = [(name, name, stand, 90, 0) for name in bodies] + [(text, kind, pose, 65, 12)
                                                              for text, (kind, pose) in poses.items()]
    tiles = []
    for text, kind, pose, heading, elevation in rows:
        vertices = posed_vertices(template, turns_in(bodies[kind], pose), found[kind])
        axes = view(heading, elevation)
        extent = np.ptp(vertices @ axes.T, axis=0)[:2]
        tile = drawn(vertices, template.faces, axes, (230, 190), min(205 / extent[0], 150 / extent[1]))
        cv2.putText(tile, text.replace("_", " "), (6, 184), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (90, 90, 90), 1, cv2.LINE_AA)
        tiles.append(tile)
    return np.vstack([np.hstack(tiles[row:row + 6]) for row in range(0, len(tiles), 6)])
