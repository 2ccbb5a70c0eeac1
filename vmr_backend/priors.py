"""What is known before the fit: focal length, which way the subject faces in some frames, a solve, a rough shape, and
where a category model sees the subject's parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from .geometry.sphere import Sphere
from .job import FOCAL_LENGTHS, BadInput, FrameRotation, JobRequest, facing


@dataclass(frozen=True)
class Rotations:
    """Object to camera at some frames; camera axes x right, y down, z forward, the object's front -y, up z."""

    frames: np.ndarray
    """(N,) int, ascending."""
    matrices: np.ndarray
    """(N, 3, 3) float64."""


@dataclass(frozen=True)
class Shape:
    """The subject's form at rest."""

    vertices: np.ndarray
    """(V, 3) as large as the crops show it: crop units in the middle of the clip. Front -y, up z."""
    sphere: Sphere
    """Where on the sphere its vertices are."""


@dataclass(frozen=True)
class PredictedLandmarks:
    """What a category model predicts of T frames, each by itself: rough, and now and then wrong."""

    names: tuple[str, ...]
    """L of them: the category's keypoints."""
    points: np.ndarray
    """(T, L, 2) float32, crop units."""
    headings: np.ndarray
    """(T,) radians, the path of the camera: yaw of the subject (`yaw_of`), without jumps of whole turns."""


@dataclass(frozen=True)
class Priors:
    """All that is known beforehand; None where nothing is."""

    focal_length: float | None = None
    """Pixels of the full frame."""
    principal_point: tuple[float, float] | None = None
    """Pixels from the top left corner."""
    hints: Rotations | None = None
    """As a user sees it: within some 20 degrees."""
    solve: Rotations | None = None
    """Exact, up to one rotation of the object that is the same in all frames."""
    shape: Shape | None = None
    landmarks: PredictedLandmarks | None = None


NOTHING = Priors()

OUTSIDE = 3
"""Pictures' sizes by which the camera's axis may miss the picture: one may be cut out of a larger one."""

NEAR = 2
"""Frames by which a hint may miss a frame that is fitted, and still hold for it."""


def priors_of(request: JobRequest, scale: Sequence[float] | np.ndarray = (1, 1)) -> Priors:
    """What a request gives of the camera, in square pixels: those of the file times `scale`, x and y."""
    point, focal = request.principal_point, request.focal_length
    return Priors(focal and focal * float(scale[0]),
                 (point[0] * float(scale[0]), point[1] * float(scale[1])) if point else None, _rotations(request.hints),
                 _rotations(request.camera_solve))


def check_camera(priors: Priors, image_size: tuple[int, int]) -> None:
    """BadInput where no camera could film pictures of this size, width and height in px, with what is known of it."""
    shortest, longest = (factor * image_size[0] for factor in FOCAL_LENGTHS)
    if priors.focal_length is not None and not shortest <= priors.focal_length <= longest:
        raise BadInput(f"focal_length: found {priors.focal_length:g} pixels, needs {shortest:g} to {longest:g} for "
                       f"pictures {image_size[0]} pixels wide")
    for name, place, side in zip(("x", "y"), priors.principal_point or (), image_size, strict=False):
        if not -OUTSIDE * side <= place <= (OUTSIDE + 1) * side:
            raise BadInput(f"principal_point: found {name} = {place:g} pixels, needs {-OUTSIDE * side} to "
                           f"{(OUTSIDE + 1) * side} for pictures of {image_size[0]}x{image_size[1]}")


def intrinsics_of(priors: Priors, image_size: tuple[int, int], field_of_view: float) -> np.ndarray:
    """fx, fy, cx, cy (4,) in pixels of the full frame.

    image_size     width and height, px
    field_of_view  horizontal, degrees; counts where no focal length is known
    """
    width, height = image_size
    focal = priors.focal_length or width / 2 / math.tan(math.radians(field_of_view) / 2)
    x, y = priors.principal_point or (width / 2, height / 2)
    return np.array([focal, focal, x, y])


def starting_rotations(priors: Priors, numbers: np.ndarray, heading: float = 0.0) -> np.ndarray | None:
    """Object to camera (T, 3, 3) float64 at frame `numbers` (T,), as far as it is known; None where nothing is.

    A solve gives the turning; the rotation of the object that it leaves open is the one that agrees best with the
    hints, or without hints the one by which the subject stands upright before a level camera in the middle frame, with
    the yaw `heading` in radians. Hints alone are joined by the shortest turns; before the first and after the last
    the subject stands still.
    """
    if priors.solve is not None:
        turning = _at(priors.solve, numbers)
        if priors.hints is not None:
            return turning @ _common(_at(priors.solve, priors.hints.frames), priors.hints.matrices)
        middle = turning[len(turning) // 2]
        return turning @ (middle.T @ _matrix(facing(0, math.degrees(heading))))
    return None if priors.hints is None else _at(priors.hints, numbers)


def starting_turns(priors: Priors, numbers: np.ndarray, rates: Sequence[float]) -> np.ndarray | None:
    """Yaw in radians (H, T) of an upright subject at frame `numbers` (T,), one path for each rate; None without hints.

    Between hints the yaw goes the shortest way from one to the next. Beyond the first and the last it goes on at each
    of the `rates` (H,), radians over the whole clip: so a single hint leaves open only how fast and which way the
    subject turns.
    """
    if priors.hints is None:
        return None
    frames = priors.hints.frames.astype(float)
    yaw = np.unwrap(yaw_of(priors.hints.matrices))
    beyond = np.minimum(numbers - frames[0], 0) + np.maximum(numbers - frames[-1], 0)
    span = max(float(np.max(numbers) - np.min(numbers)), 1.0)
    return np.interp(numbers, frames, yaw) + np.asarray(rates, float)[:, None] * beyond / span


def hints_at(priors: Priors, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices (K,) among frame numbers (T,) of those that hints are of, and the hints (K, 3, 3) float64.

    The hint of a frame that is not fitted, as its mask is empty, say, holds for the nearest one, or where none is NEAR
    for none.
    """
    if priors.hints is None:
        return np.zeros(0, int), np.zeros((0, 3, 3))
    apart = np.abs(numbers - priors.hints.frames[:, None])
    near = apart.min(1) <= NEAR
    return apart.argmin(1)[near], priors.hints.matrices[near]


def yaw_of(rotations: np.ndarray) -> np.ndarray:
    """Yaw in radians (...) of object-to-camera rotations (..., 3, 3): 0 faces the camera, pi / 2 the picture's right.

    Whatever the camera's elevation: the picture's x axis stays in the object's horizontal plane where nothing rolls.
    """
    return np.arctan2(-rotations[..., 0, 1], rotations[..., 0, 0])


def _rotations(entries: Sequence[FrameRotation] | None) -> Rotations | None:
    if not entries:
        return None
    ordered = sorted(entries, key=lambda entry: entry.frame)
    return Rotations(np.array([entry.frame for entry in ordered]), np.stack([_matrix(entry) for entry in ordered]))


def _matrix(entry: FrameRotation) -> np.ndarray:
    """The exact rotation (3, 3) next to the one written down."""
    return Rotation.from_matrix(np.reshape(entry.rotation, (3, 3))).as_matrix()


def _at(rotations: Rotations, numbers: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) at frame numbers (T,): the shortest turn between neighbours, the ends held beyond them."""
    if len(rotations.frames) == 1:
        return np.repeat(rotations.matrices, len(numbers), axis=0)
    turns = Slerp(rotations.frames, Rotation.from_matrix(rotations.matrices))
    return turns(np.clip(numbers, rotations.frames[0], rotations.frames[-1])).as_matrix()


def _common(turning: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The one rotation C (3, 3) for which turning (N, 3, 3) @ C is nearest to seen (N, 3, 3) (Procrustes)."""
    u, _, vt = np.linalg.svd(np.einsum("nji,njk->ik", turning, seen))
    return u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
