"""A template: a rigged mesh in its rest pose, as one safetensors file, which cannot run code.

NumPy and safetensors only. Template space is right-handed with z up, and the front looks to -y, whatever the unit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from ..job import BadInput, write_whole
from ..reconstruction import NAME_BYTES
from .rig_file import (
    HELD_BY,
    MOST_BONES,
    MOST_FACES,
    MOST_LANDMARKS,
    MOST_SHAPES,
    MOST_VERTICES,
    digest_of,
)

FORMAT_VERSION = 1
ENDING = ".safetensors"
"""Of a template's file."""
FACTS = "template"
"""Name of the facts in the file's metadata."""
LARGEST = 2**30
"""Bytes of a file."""
SHAPES = ("keep", "adapt")
"""What a fit may do to a template's proportions, by default: nothing, or fit them."""
INTEGERS = ("faces", "skin_bones", "bone_parents", "bone_twins")


@dataclass(frozen=True)
class TemplateCard:
    """Facts about a template, in its file."""

    name: str
    """A line of text, for lists."""
    bone_names: tuple[str, ...]
    landmark_names: tuple[str, ...] = ()
    category: str = ""
    """Whose keypoints the landmarks are; empty where there is no such category."""
    shape: str = "keep"
    """One of SHAPES."""
    licence: str = ""
    source: str = ""
    """The file and object that it was made from."""


@dataclass(frozen=True)
class Template:
    """A rigged mesh at rest. V vertices, F faces, B bones, K shape components, L landmarks; template space."""

    card: TemplateCard
    vertices: np.ndarray
    """(V, 3) float32."""
    faces: np.ndarray
    """(F, 3) int32, counter-clockwise seen from outside."""
    uv: np.ndarray
    """(F, 3, 2) float32 per face corner, 0 to 1, v up."""
    skin_bones: np.ndarray
    """(V, HELD_BY) int32, the bones that hold each vertex; any bone where the weight is 0."""
    skin_weights: np.ndarray
    """(V, HELD_BY) float32, rows sum to 1."""
    bone_parents: np.ndarray
    """(B,) int32, -1 for a root; parents come before their children."""
    bone_rest: np.ndarray
    """(B, 4, 4) float32, rigid: origin at the bone's head, y along the bone, as in Blender."""
    bone_lengths: np.ndarray
    """(B,) float32, from head to tail, above 0."""
    bone_twins: np.ndarray
    """(B,) int32, each bone's image in the mirror at x = 0, itself where it has none."""
    joint_limits: np.ndarray | None = None
    """(B, 3, 2) float32, least and most of each component of a bone's turn from rest, an axis-angle in radians along
    the axes of the bone itself at rest; the turn is against its parent."""
    pose_mean: np.ndarray | None = None
    """(B, 3) float32, usual turns, likewise."""
    pose_covariance: np.ndarray | None = None
    """(3 B, 3 B) float32, how they vary together; positive definite."""
    shape_vertices: np.ndarray | None = None
    """(K, V, 3) float32, what each component of shape adds to the vertices, for one standard deviation of it."""
    shape_heads: np.ndarray | None = None
    """(K, B, 3) float32, and to the heads of bones."""
    shape_tails: np.ndarray | None = None
    """(K, B, 3) float32, and to their tails."""
    landmark_weights: np.ndarray | None = None
    """(L, V) float32, rows sum to 1: where on the mesh each landmark is."""
    placement: np.ndarray | None = None
    """(4, 4) float32, from the space of the armature that the template was made from to template space: rotation,
    uniform scale, shift."""

    def save(self, path: Path) -> None:
        """Check, then write the file, whole or not at all."""
        self.check(str(path))
        arrays = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)
                  if f.name != "card" and getattr(self, f.name) is not None}
        facts = {FACTS: json.dumps({"version": FORMAT_VERSION, **asdict(self.card)})}
        write_whole(path, safetensors.numpy.save(arrays, facts))

    @staticmethod
    def load(path: Path) -> Template:
        """The template in a file; BadInput where it is broken, of another version or none of ours."""
        card = load_card(path)
        try:
            arrays = safetensors.numpy.load(path.read_bytes())
        except (OSError, SafetensorError, KeyError, ValueError, MemoryError) as error:
            raise _broken(str(path), " ".join(str(error).split())[:200]) from None
        known = {f.name: f.default for f in fields(Template) if f.name != "card"}
        needed = {name for name, default in known.items() if default is not None}
        if unknown := sorted(set(arrays) - set(known)):
            raise _broken(str(path), f"with {unknown[0][:40]!r}")
        if missing := sorted(needed - set(arrays)):
            raise _broken(str(path), f"without {missing[0]}")
        template = Template(card, **arrays)
        template.check(str(path))
        return template

    def check(self, where: str) -> None:
        """BadInput, naming `where`, unless the arrays make a rigged mesh."""
        self._check_shapes(where)
        self._check_values(where)

    def _check_shapes(self, where: str) -> None:
        v, f, b = len(self.vertices), len(self.faces), len(self.card.bone_names)
        k = 0 if self.shape_vertices is None else len(self.shape_vertices)
        marks = len(self.card.landmark_names)
        shapes = {"vertices": (v, 3), "faces": (f, 3), "uv": (f, 3, 2), "skin_bones": (v, HELD_BY),
                  "skin_weights": (v, HELD_BY), "bone_parents": (b,), "bone_rest": (b, 4, 4), "bone_lengths": (b,),
                  "bone_twins": (b,), "joint_limits": (b, 3, 2), "pose_mean": (b, 3),
                  "pose_covariance": (3 * b, 3 * b), "shape_vertices": (k, v, 3), "shape_heads": (k, b, 3),
                  "shape_tails": (k, b, 3), "landmark_weights": (marks, v), "placement": (4, 4)}
        for names in (("pose_mean", "pose_covariance"), ("shape_vertices", "shape_heads", "shape_tails")):
            if len({getattr(self, name) is None for name in names}) > 1:
                raise _broken(where, f"with some of {', '.join(names)}")
        if (self.landmark_weights is None) != (marks == 0):
            raise _broken(where, "with names or weights of landmarks alone")
        for name, shape in shapes.items():
            if (array := getattr(self, name)) is None:
                continue
            kind = np.int32 if name in INTEGERS else np.float32
            if array.shape != shape or array.dtype != kind:
                raise _broken(where, f"{name} of {array.dtype} {array.shape}, needs {np.dtype(kind)} {shape}")
            if kind == np.float32 and not np.isfinite(array).all():
                raise _broken(where, f"{name} that are not finite")
        for word, count, most in (("vertices", v, MOST_VERTICES), ("faces", f, MOST_FACES), ("bones", b, MOST_BONES),
                                  ("components of shape", k, MOST_SHAPES), ("landmarks", marks, MOST_LANDMARKS)):
            if count > most:
                raise _broken(where, f"{count} {word}, at most {most}")
        if not v or not f or not b:
            raise _broken(where, f"{v} vertices, {f} faces, {b} bones")

    def _check_values(self, where: str) -> None:
        b, v = len(self.bone_parents), len(self.vertices)
        for name, index, least, count in (("faces", self.faces, 0, v), ("skin_bones", self.skin_bones, 0, b),
                                          ("bone_twins", self.bone_twins, 0, b), ("bone_parents", self.bone_parents,
                                                                                  -1, b)):
            if index.min() < least or index.max() >= count:
                raise _broken(where, f"{name} that point elsewhere")
        if not np.ptp(self.vertices, axis=0).max() > 0 or np.abs(self.vertices).max() > 1e9:
            raise _broken(where, "vertices without extent, or beyond all bounds")
        if (self.bone_parents >= np.arange(b)).any():
            raise _broken(where, "bones before their parents")
        if (self.bone_twins[self.bone_twins] != np.arange(b)).any():
            raise _broken(where, "twins that are not each other's")
        if self.bone_lengths.min() <= 0:
            raise _broken(where, "bones without length")
        turn = self.bone_rest[:, :3, :3].astype(np.float64)
        if np.abs(turn @ turn.mT - np.eye(3)).max() > 1e-3 or (np.linalg.det(turn) < 0).any() \
                or np.abs(self.bone_rest[:, 3] - [0, 0, 0, 1]).max() > 1e-6:
            raise _broken(where, "bone_rest that are not rigid")
        _check_rows(where, "skin_weights", self.skin_weights)
        if self.landmark_weights is not None:
            _check_rows(where, "landmark_weights", self.landmark_weights)
        if self.joint_limits is not None and (self.joint_limits[..., 0] > self.joint_limits[..., 1]).any():
            raise _broken(where, "joint_limits whose least is above their most")
        if (covariance := self.pose_covariance) is not None and (
                np.abs(covariance - covariance.T).max() > 1e-4 or np.linalg.eigvalsh(covariance).min() <= 0):
            raise _broken(where, "pose_covariance that is not positive definite")

    @property
    def digest(self) -> str:
        """A text that another template has only where all of it is the same."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "card"}
        return digest_of({name: array for name, array in arrays.items() if array is not None}, asdict(self.card))

    @property
    def dense_weights(self) -> np.ndarray:
        """Skin weights (V, B) float32."""
        dense = np.zeros((len(self.vertices), len(self.bone_parents)), np.float32)
        np.add.at(dense, (np.arange(len(dense))[:, None], self.skin_bones), self.skin_weights)
        return dense


def load_card(path: Path) -> TemplateCard:
    """The facts in a template's file; BadInput where it is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{path}: found {path.stat().st_size} bytes, needs a template below {LARGEST}")
        with safetensors.safe_open(path, "np") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
        facts = json.loads(metadata[FACTS])
        version = facts.pop("version")
        if version != FORMAT_VERSION:
            raise BadInput(f"{path}: found a template of format {json.dumps(version)[:20]}, needs format "
                           f"{FORMAT_VERSION}; make it anew")
        for name in ("bone_names", "landmark_names"):
            facts[name] = tuple(facts[name])
        card = TemplateCard(**facts)
        if not _is_sound(card):
            raise ValueError("facts")
        return card
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path}: is no whole template ({' '.join(str(error).split())[:200]}); needs one that "
                       "`template` wrote") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise BadInput(f"{path}: is no template of this program; needs one that `template` wrote") from None


def _is_sound(card: TemplateCard) -> bool:
    is_line: Callable[[Any], bool] = lambda text: isinstance(text, str) and len(text.splitlines()) <= 1  # noqa: E731
    lists = card.bone_names, card.landmark_names
    return (all(is_line(text) for text in (card.name, card.category, card.licence, card.source))
            and card.shape in SHAPES
            and all(is_line(text) and 0 < len(text.encode()) <= NAME_BYTES for names in lists for text in names)
            and all(len(set(names)) == len(names) for names in lists))


def _check_rows(where: str, name: str, weights: np.ndarray) -> None:
    if weights.min() < 0 or np.abs(weights.sum(1) - 1).max() > 1e-3:
        raise _broken(where, f"{name} whose rows do not sum to 1")


def _broken(where: str, reason: str) -> BadInput:
    return BadInput(f"{where}: does not hold a template ({reason}); needs one that `template` wrote")
