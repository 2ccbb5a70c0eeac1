"""How a result compares with true meshes: shape, shape and turn together, and whether points stay on their spot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..job import BadInput
from ..reconstruction import Reconstruction
from .chamfer import align, chamfer_distance, sample_surface

SAMPLES, TRACK_SAMPLES = 6000, 4000
"""Points on each surface whose distances are measured, and those by which a frame is aligned to follow points."""

FOLLOWED = 500
"""True vertices that are followed through the clip."""


@dataclass(frozen=True)
class Truth:
    """The meshes that a clip was rendered from."""

    vertices: np.ndarray
    """(N, V, 3) in the world's axes, for each frame of the clip from number 0."""
    faces: np.ndarray
    """(F, 3)"""
    camera_rotation: np.ndarray
    """(N, 3, 3), world to camera, x right, y down, z forward."""

    def in_camera_axes(self, number: int) -> np.ndarray:
        """(V, 3) float64, the vertices of the clip's frame turned as its camera sees them."""
        return self.vertices[number].astype(np.float64) @ self.camera_rotation[number].T


@dataclass(frozen=True)
class ShapeScores:
    """Means over frames, all in diagonals of the true mesh's bounding box; 0 is perfect."""

    chamfer: float
    """Distance of the surfaces after each frame's best similarity."""
    pose_chamfer: float
    """Distance with one turn and scale for the whole clip: the camera's path counts, too."""
    track: float
    """How far true points have drifted from the spots of the mesh that they lay on in the first frame."""


def compare_shape(result: Reconstruction, truth: Truth, every: int = 4) -> ShapeScores:
    """Compares every n-th frame of a result with the truth; BadInput where the truth lacks a frame."""
    indices = range(0, len(result.frames), every)
    if beyond := [int(number) for number in result.frames[::every] if not 0 <= number < len(truth.vertices)]:
        raise BadInput(f"ground truth: found {len(truth.vertices)} frames, but the result has frame {beyond[0]}; needs "
                       "the meshes of the same clip, from its frame 0")
    diagonals = np.array([np.linalg.norm(np.ptp(truth.vertices[result.frames[i]].astype(np.float64), axis=0))
                          for i in indices])
    if not diagonals.all():
        raise BadInput("ground truth: found a mesh whose vertices are all one point; needs real meshes")
    drifts = _drifts(result, truth, indices) / diagonals
    return ShapeScores(
        chamfer=float((_distances_by_frame(result, truth, indices) / diagonals).mean()),
        pose_chamfer=float((_distances_of_clip(result, truth, indices) / diagonals).mean()),
        # In the first frame it is the distance of the surfaces.
        track=float((drifts[1:] if len(drifts) > 1 else drifts).mean()))


def _distances_by_frame(result: Reconstruction, truth: Truth, indices: range) -> np.ndarray:
    """(N,) distances of the surfaces, each frame aligned by itself from the turns of both cameras."""
    distances = []
    for index in indices:
        true = sample_surface(truth.in_camera_axes(result.frames[index]), truth.faces, SAMPLES)
        found = sample_surface(_in_camera_axes(result, index), result.faces, SAMPLES, seed=1)
        distances.append(chamfer_distance(align(found, true)(found), true))
    return np.array(distances)


def _distances_of_clip(result: Reconstruction, truth: Truth, indices: range) -> np.ndarray:
    """(N,) distances of the surfaces about their centroids, with one scale and the turn that both cameras agree on.

    True subjects may walk through their world, results stay where they are: positions do not count.
    """
    turns = sum(truth.camera_rotation[result.frames[i]].T @ result.camera_rotation[i] for i in indices)
    left, _, right = np.linalg.svd(turns)
    to_world = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    pairs = []
    for index in indices:
        found = sample_surface(result.vertices[index].astype(np.float64) @ to_world.T, result.faces, SAMPLES, seed=1)
        true = sample_surface(truth.vertices[result.frames[index]], truth.faces, SAMPLES)
        pairs.append((found - found.mean(0), true - true.mean(0)))
    scale = np.sqrt(sum((true**2).sum() for _, true in pairs) / sum((found**2).sum() for found, _ in pairs))
    return np.array([chamfer_distance(scale * found, true) for found, true in pairs])


def _drifts(result: Reconstruction, truth: Truth, indices: range) -> np.ndarray:
    """(N,) mean distances of followed true vertices from those of the mesh that were nearest in the first frame."""
    count = truth.vertices.shape[1]
    followed = np.random.default_rng(2).choice(count, min(FOLLOWED, count), replace=False)
    nearest, drifts = None, []
    for index in indices:
        true, found = truth.in_camera_axes(result.frames[index]), _in_camera_axes(result, index)
        similarity = align(sample_surface(found, result.faces, TRACK_SAMPLES, seed=1),
                           sample_surface(true, truth.faces, TRACK_SAMPLES))
        found = similarity(found)
        if nearest is None:
            nearest = cKDTree(found).query(true[followed])[1]
        drifts.append(np.linalg.norm(found[nearest] - true[followed], axis=1).mean())
    return np.array(drifts)


def _in_camera_axes(result: Reconstruction, index: int) -> np.ndarray:
    """(V, 3) float64, the vertices of the result's frame turned as its camera sees them."""
    return result.vertices[index].astype(np.float64) @ result.camera_rotation[index].T
