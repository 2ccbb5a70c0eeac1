"""What a run yields: one animated mesh with its camera. Save, load, check.

Standard library and NumPy only: Blender's own process imports it. The format is described in docs/result-format.md.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from .job import PICTURES, BadInput, settle, write_whole

FILE_NAME = "reconstruction.npz"
SNAPSHOT_NAME = "snapshot.npz"
"""What a run that goes on has found so far, in the same format."""
TEXTURE_NAME, REPORT_NAME = "texture.png", "report.json"
OVERLAY_NAME, PREVIEW_NAME = PICTURES
BONE_ARRAYS = ("bone_parents", "bone_rest", "bone_pose", "skin_weights")
BONE_EXTRAS = ("bone_names", "bone_lengths")
KEYPOINT_ARRAYS = ("keypoint_names", "keypoint_weights")
INTEGERS = {"frames", "faces", "image_size", "bone_parents"}
TEXTS = {"bone_names", "keypoint_names"}
BONES_PER_VERTEX = 8
"""Four where a method finds the weights itself, eight where they are a template's own."""
NAME_BYTES = 63
"""Blender keeps no more of a name."""


@dataclass(frozen=True)
class Reconstruction:
    """One mesh over T frames, seen by one camera. T frames, V vertices, F faces, B bones, K keypoints."""

    frames: np.ndarray
    """(T,) int32, numbers of the clip's frames."""
    vertices: np.ndarray
    """(T, V, 3) float32, object space: z up, right-handed; the rest shape's longest extent is 1."""
    rest_vertices: np.ndarray
    """(V, 3) float32, the shape that the motion deforms."""
    faces: np.ndarray
    """(F, 3) int32, counter-clockwise seen from outside."""
    uv: np.ndarray
    """(F, 3, 2) float32 per face corner, 0 to 1, v up."""
    camera_rotation: np.ndarray
    """(T, 3, 3) float32, object to camera; camera axes x right, y down, z forward."""
    camera_translation: np.ndarray
    """(T, 3) float32, object to camera."""
    intrinsics: np.ndarray
    """(T, 4) float32: fx, fy, cx, cy in pixels of the full frame; pixel centres at +0.5."""
    image_size: np.ndarray
    """(2,) int32: width, height of the full frame in pixels."""
    bone_parents: np.ndarray | None = None
    """(B,) int32, the bone above, -1 for a root; no bone is above itself."""
    bone_rest: np.ndarray | None = None
    """(B, 4, 4) float32, rest pose of each bone in object space: its origin the joint, y along the bone; rigid."""
    bone_pose: np.ndarray | None = None
    """(T, B, 4, 4) float32, pose of each bone in object space; rigid."""
    skin_weights: np.ndarray | None = None
    """(V, B) float32, rows sum to 1, at most 8 bones a vertex."""
    bone_names: np.ndarray | None = None
    """(B,) text, each different."""
    bone_lengths: np.ndarray | None = None
    """(B,) float32, from joint to tail, above 0."""
    coverage: np.ndarray | None = None
    """(V,) float32, share of the frames in which the vertex is seen, 0 to 1."""
    keypoints: np.ndarray | None = None
    """(T, K, 2) float32, projected category keypoints in pixels."""
    keypoint_names: np.ndarray | None = None
    """(K,) text, each different."""
    keypoint_weights: np.ndarray | None = None
    """(K, V) float32, shares of the vertices: rows sum to 1, and `keypoint_weights @ vertices[t]` are the places."""

    def resized(self, width: int, height: int) -> Reconstruction:
        """The same in frames of another width and height: what a pixel shows keeps its place in the picture."""
        scale = np.array([width, height]) / self.image_size
        keypoints = None if self.keypoints is None else (self.keypoints * scale).astype(np.float32)
        return replace(self, intrinsics=(self.intrinsics * np.tile(scale, 2)).astype(np.float32), keypoints=keypoints,
                       image_size=np.array([width, height], np.int32))

    def save(self, folder: Path, name: str = FILE_NAME) -> None:
        """Check, then write the archive `name` into a folder, whole or not at all."""
        self.check(str(folder))
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_whole(folder / name, buffer.getvalue())

    @staticmethod
    def load(folder: Path, name: str = FILE_NAME) -> Reconstruction:
        """The reconstruction of a result folder; BadInput names the file and what is wrong with it.

        What a run that was killed just then had begun to put in place is put there first: files are of one run.
        """
        if name == FILE_NAME:
            settle(folder)
        path = folder / name
        try:
            with np.load(path, allow_pickle=False) as archive:
                # What is no array in an archive comes as bytes; as an array it fails the check.
                arrays = {entry: np.asarray(archive[entry]) for entry in archive.files}
        except FileNotFoundError:
            raise BadInput(f"{path}: not found; a result folder holds one") from None
        except (OSError, ValueError, TypeError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile,
                zlib.error) as error:
            raise BadInput(f"{path}: cannot be read ({error}); the file is cut short or no result") from None
        names = {f.name for f in fields(Reconstruction)}
        required = {f.name for f in fields(Reconstruction) if f.default is not None}
        if missing := required - set(arrays):
            raise BadInput(f"{path}: lacks {', '.join(sorted(missing))}; the file is no whole result")
        result = Reconstruction(**{entry: array for entry, array in arrays.items() if entry in names})
        result.check(str(path))
        return result

    def check(self, where: str) -> None:
        """BadInput, naming `where`, unless shapes, types and values are those of the format."""
        self._check_shapes(where)
        frames, faces, (width, height) = self.frames, self.faces, self.image_size
        if not len(frames) or not len(faces) or faces.min() < 0 or faces.max() >= len(self.rest_vertices):
            raise BadInput(f"{where}: {len(frames)} frames, {len(faces)} faces over {len(self.rest_vertices)} vertices "
                           "do not make a mesh")
        if (np.diff(frames) <= 0).any():
            raise BadInput(f"{where}: frames needs ascending numbers, each once")
        if width < 1 or height < 1 or (self.intrinsics[:, :2] <= 0).any():
            raise BadInput(f"{where}: image_size and focal lengths need to be above 0")
        if not _are_rotations(self.camera_rotation):
            raise BadInput(f"{where}: camera_rotation holds matrices that are no rotations")
        if self.skin_weights is not None:
            self._check_bones(where)
        if self.coverage is not None and (self.coverage.min() < 0 or self.coverage.max() > 1):
            raise BadInput(f"{where}: coverage needs shares of the frames, 0 to 1")
        if self.keypoint_weights is not None:
            self._check_keypoints(where)

    def _check_shapes(self, where: str) -> None:
        """BadInput unless all arrays that belong together are there, finite, and agree in their shapes."""
        t, v = self.vertices.shape[:2] if self.vertices.ndim == 3 else ("T", "V")
        f = _length(self.faces, "F")
        shapes: dict[str, tuple] = {
            "vertices": (t, v, 3), "frames": (t,), "rest_vertices": (v, 3), "faces": (f, 3), "uv": (f, 3, 2),
            "camera_rotation": (t, 3, 3), "camera_translation": (t, 3), "intrinsics": (t, 4), "image_size": (2,),
        }
        bones = [getattr(self, name) is not None for name in BONE_ARRAYS]
        if any(bones) and not all(bones):
            raise BadInput(f"{where}: holds some of {', '.join(BONE_ARRAYS)}; needs all or none")
        if all(bones):
            b = _length(self.bone_parents, "B")
            shapes |= {"bone_parents": (b,), "bone_rest": (b, 4, 4), "bone_pose": (t, b, 4, 4), "skin_weights": (v, b)}
            shapes |= {name: (b,) for name in BONE_EXTRAS if getattr(self, name) is not None}
        elif extras := [name for name in BONE_EXTRAS if getattr(self, name) is not None]:
            raise BadInput(f"{where}: holds {', '.join(extras)} without bones; needs {', '.join(BONE_ARRAYS)}, too")
        if self.coverage is not None:
            shapes["coverage"] = (v,)
        shapes |= self._keypoint_shapes(where, t, v)
        for name, shape in shapes.items():
            array = getattr(self, name)
            kind = "text" if name in TEXTS else "int32" if name in INTEGERS else "float32"
            found = "text" if array.dtype.kind == "U" else str(array.dtype)
            if array.shape != shape or found != kind:
                needed = f"({', '.join(map(str, shape))})"
                raise BadInput(f"{where}: {name} is {array.dtype} {array.shape}, needs {kind} {needed}")
            if kind == "float32" and not np.isfinite(array).all():
                raise BadInput(f"{where}: {name} holds values that are not finite")

    def _keypoint_shapes(self, where: str, t: int | str, v: int | str) -> dict[str, tuple]:
        """The shapes that the arrays of keypoints need; BadInput where there are names or weights alone."""
        named = [name for name in KEYPOINT_ARRAYS if getattr(self, name) is not None]
        if len(named) == 1:
            raise BadInput(f"{where}: holds {named[0]} alone; needs {' and '.join(KEYPOINT_ARRAYS)}, or neither")
        shapes: dict[str, tuple] = {}
        k: int | str = _length(self.keypoint_names, "K") if named else "K"
        if self.keypoints is not None:
            # Where they are named, names say how many there are.
            k = k if named or self.keypoints.ndim != 3 else self.keypoints.shape[1]
            shapes["keypoints"] = (t, k, 2)
        return shapes | ({"keypoint_names": (k,), "keypoint_weights": (k, v)} if named else {})

    def _check_bones(self, where: str) -> None:
        """BadInput unless bones are trees of rigid parts and each vertex is held by a few that share it out."""
        weights, parents = self.skin_weights, self.bone_parents
        if not len(parents) or parents.min() < -1 or parents.max() >= len(parents):
            raise BadInput(f"{where}: bone_parents needs numbers of bones, -1 for a root")
        above = parents
        for _ in parents:
            above = np.where(above < 0, -1, parents[above])
        if (above >= 0).any():
            raise BadInput(f"{where}: bone_parents puts bone {int(np.argmax(above >= 0))} below itself; needs trees")
        uneven = np.abs(weights.sum(1) - 1).max() > 1e-3 or weights.min() < 0
        if uneven or (weights > 0).sum(1).max() > BONES_PER_VERTEX:
            raise BadInput(f"{where}: skin_weights need rows that sum to 1 with at most {BONES_PER_VERTEX} bones each")
        for name in ("bone_rest", "bone_pose"):
            matrices = getattr(self, name)
            if not _are_rotations(matrices[..., :3, :3]) or np.abs(matrices[..., 3, :] - [0, 0, 0, 1]).max() > 1e-3:
                raise BadInput(f"{where}: {name} holds matrices that are not rigid")
        if self.bone_lengths is not None and self.bone_lengths.min() <= 0:
            raise BadInput(f"{where}: bone_lengths need to be above 0")
        if self.bone_names is not None and not _are_names(self.bone_names):
            raise BadInput(f"{where}: bone_names needs another name for each bone, of 1 to {NAME_BYTES} bytes")

    def _check_keypoints(self, where: str) -> None:
        """BadInput unless each keypoint has a name of its own and lies among the vertices."""
        weights = self.keypoint_weights
        if (weights < 0).any() or (np.abs(weights.sum(1) - 1) > 1e-3).any():
            raise BadInput(f"{where}: keypoint_weights need rows of shares that sum to 1")
        if not _are_names(self.keypoint_names):
            raise BadInput(f"{where}: keypoint_names needs another name for each keypoint, of 1 to {NAME_BYTES} bytes")

    def in_camera(self) -> np.ndarray:
        """(T, V, 3) float32, vertices in camera space."""
        return self.vertices @ self.camera_rotation.transpose(0, 2, 1) + self.camera_translation[:, None]

    def projected(self) -> np.ndarray:
        """(T, V, 2) float32, vertices in pixels of the full frame."""
        points = self.in_camera()
        focal, centre = self.intrinsics[:, None, :2], self.intrinsics[:, None, 2:]
        return focal * points[..., :2] / np.maximum(points[..., 2:], 1e-6) + centre


def _are_rotations(matrices: np.ndarray) -> bool:
    """Whether (..., 3, 3) are rotations, to single precision."""
    turn = matrices.astype(np.float64)
    return np.abs(turn @ turn.swapaxes(-1, -2) - np.eye(3)).max() < 1e-3 and bool((np.linalg.det(turn) > 0).all())


def _are_names(texts: np.ndarray) -> bool:
    """Whether all are different, and short enough for Blender."""
    try:
        names = {str(text).encode() for text in texts}
    except (ValueError, SystemError):  # numbers that are no characters
        return False
    return len(names) == len(texts) and all(0 < len(name) <= NAME_BYTES for name in names)


def _length(array: np.ndarray, letter: str) -> int | str:
    """How many rows an array has, or the letter that stands for it where it has none."""
    return len(array) if array.ndim else letter
