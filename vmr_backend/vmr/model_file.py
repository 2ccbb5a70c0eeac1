"""A category model as one file: tensors and facts in safetensors' format, which cannot run code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..annotations import Category
from ..bodies.category import CategoryShape, Handles
from ..geometry import sphere as spheres
from ..job import BadInput, write_whole
from ..settings import RENAMED, TRAININGS
from .encoders import ENCODERS
from .model import Architecture, CategoryModel

FORMAT_VERSION = 2
FACTS = "vmr"
"""Name of the facts in the file's metadata."""
LARGEST = 2**30
"""Bytes; ResNet-18 in single precision is a tenth of it."""
STRENGTH = 8.0
"""Of the preconditioner that keeps shapes smooth."""
BASES, AFFINITY, LANDMARKS, PLACES = "bases", "affinity", "landmarks", "shape.places"
SMALLEST = {"image_size": 16, "hypotheses": 1}
MOST = {"image_size": 1024, "hypotheses": 256, "refinements": 16}
"""Of an architecture's numbers, in files by strangers."""
DERIVED = ("shape.latent", "anchors")
"""Tensors of a model that follow from the rest."""


@dataclass(frozen=True)
class ModelCard:
    """Facts about a model, in its file."""

    category: Category
    training: str
    """One of TRAININGS."""
    architecture: Architecture
    licence: str
    """Of the pictures it was trained on."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """On held-out pictures."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    pictures: int = 0
    steps: int = 0


@dataclass(frozen=True)
class LoadedModel:
    """The content of a model file."""

    model: CategoryModel
    affinity: Tensor | None
    """(K, V) weights of vertices in keypoints, rows sum to 1; None without keypoints."""
    card: ModelCard


def save_model(path: Path, model: CategoryModel, affinity: Tensor | None, card: ModelCard) -> None:
    """Write a model in half precision, but for positions on the sphere; whole or not at all."""
    tensors = {name: value for name, value in model.state_dict().items() if name not in DERIVED}
    tensors[BASES] = model.shape.bases()
    if affinity is not None:
        tensors[AFFINITY] = affinity
    half = {name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
            for name, value in tensors.items()}
    half[PLACES] = tensors[PLACES].detach().cpu().contiguous()
    metadata = {FACTS: json.dumps({"version": FORMAT_VERSION, **asdict(card)}),
                # For lists of models, which read no more than this (jobs/models.py).
                "category": card.category.name, "scores": json.dumps(dict(card.scores))}
    write_whole(path, safetensors.torch.save(half, metadata))


SHIPPED = Path(__file__).parents[2] / "models"
"""Models that come with the program."""


def find_model(name: str) -> Path:
    """The file of a shipped category or of a path; BadInput names what there is."""
    path = Path(name)
    if path.is_file():
        return path
    if (shipped := SHIPPED / f"{name}.safetensors").is_file():
        return shipped
    names = shipped_models()
    raise BadInput(f"model: found no file or category {name!r}; needs a model file"
                   + (f" or one of {', '.join(names)}" if names else ""))


def shipped_models() -> list[str]:
    """Categories whose models come with the program."""
    return sorted(file.stem for file in SHIPPED.glob("*.safetensors"))


def load_card(path: Path) -> ModelCard:
    """The facts in a model file; BadInput where it is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{path}: found {path.stat().st_size} bytes, needs a model file below {LARGEST}")
        with safetensors.safe_open(path, "pt") as file:
            return _card_of(path, file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path}: is no whole model file ({_in_a_line(error)}); needs one that `train` wrote") from None


def _card_of(path: Path, metadata: Mapping[str, str]) -> ModelCard:
    try:
        facts = json.loads(metadata[FACTS])
        version = facts.pop("version")
        if version == FORMAT_VERSION:
            numbers = {RENAMED.get(name, name): value for name, value in facts.pop("architecture").items()}
            category, architecture = _category_of(facts.pop("category")), Architecture(**numbers)
            card = ModelCard(category, architecture=architecture, **facts)
            if not (_is_buildable(architecture) and _is_sound(card)):
                raise ValueError(facts)
            return card
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise BadInput(f"{path}: is no category model of this program; needs one that `train` wrote") from None
    raise BadInput(f"{path}: found a model of format {json.dumps(version)[:20]}, needs format {FORMAT_VERSION}; train "
                   "it anew")


def _category_of(facts: Mapping[str, Any]) -> Category:
    category = Category(**facts)
    if not isinstance(category.keypoints, list) or not all(map(_is_line, [category.name, *category.keypoints])):
        raise ValueError("names")
    if not all(type(end) is int and 0 <= end < len(category.keypoints) for pair in category.skeleton for end in pair):
        raise ValueError("a skeleton between other keypoints")
    return Category(category.name, tuple(category.keypoints), tuple((a, b) for a, b in category.skeleton))


def _is_buildable(architecture: Architecture) -> bool:
    numbers = {name: value for name, value in asdict(architecture).items() if name != "encoder"}
    return architecture.encoder in ENCODERS and all(
        type(value) is int and SMALLEST.get(name, 0) <= value <= MOST[name] for name, value in numbers.items())


def _is_sound(card: ModelCard) -> bool:
    return (card.training in TRAININGS and _is_line(card.licence)
            and isinstance(card.scores, dict) and all(type(value) in (int, float) for value in card.scores.values())
            and isinstance(card.settings, dict)
            and all(type(value) is int and value >= 0 for value in (card.pictures, card.steps)))


def _is_line(text: Any) -> bool:
    return isinstance(text, str) and len(text.splitlines()) <= 1


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def load_model(path: Path, device: torch.device) -> LoadedModel:
    """A model, ready to predict; BadInput where the file is broken, of another version or none of ours."""
    card = load_card(path)
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        if not all(value.isfinite().all() for value in tensors.values() if value.is_floating_point()):
            raise ValueError("numbers that are not finite")
        tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
        model = _model_of(tensors, card, device)
        affinity = tensors.get(AFFINITY)
        if affinity is not None:
            _check_shape(AFFINITY, affinity, (len(card.category.keypoints), len(model.shape.places)))
            _check_weights(AFFINITY, affinity)
    except KeyError as error:
        raise _broken(path, f"without {error.args[0]}") from None
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise _broken(path, _in_a_line(error)) from None
    return LoadedModel(model.eval(), None if affinity is None else affinity.to(device), card)


def _broken(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path}: does not hold the model that it says it does ({reason}); needs one that `train` wrote")


def _model_of(tensors: Mapping[str, Tensor], card: ModelCard, device: torch.device) -> CategoryModel:
    bases, positions, weights = tensors[BASES], tensors[PLACES], tensors["shape.weights"]
    twin = tensors["shape.twin"]
    ball = spheres.icosphere(level_of(positions.numel() // 3))
    _check_shape(PLACES, positions, ball.vertices.shape)
    _check_shape(BASES, bases, (max(1, bases.numel() // positions.numel()), *positions.shape))
    _check_shape("shape.weights", weights, (len(positions), twin.numel()))
    _check_shape("shape.twin", twin, (twin.numel(),))
    _check_weights("shape.weights", weights)
    landmarks = tensors[LANDMARKS]
    _check_shape(LANDMARKS, landmarks, (min(landmarks.numel(), len(positions)),))
    for name, index, count in (("shape.twin", twin, len(twin)), (LANDMARKS, landmarks, len(positions))):
        if index.is_floating_point() or not ((index >= 0) & (index < count)).all():
            raise ValueError(f"{name} that point elsewhere")
    sphere = spheres.Sphere(_on_sphere(positions, ball), ball.faces, ball.mirror)
    shape = CategoryShape(bases.to(device), sphere, Handles(weights, twin.long()), STRENGTH)
    model = CategoryModel(shape, card.architecture, landmarks.long()).to(device)
    own = {name: value for name, value in model.state_dict().items() if name not in DERIVED}
    if more := sorted(set(tensors) - set(own) - {BASES, AFFINITY}):
        raise ValueError(f"with {more[0]}")
    for name, value in own.items():
        _check_shape(name, tensors[name], value.shape)
    model.load_state_dict({name: tensors[name] for name in own if name != PLACES}, strict=False)
    return model


def _on_sphere(positions: Tensor, ball: spheres.Sphere) -> np.ndarray:
    """Positions (V, 3) float64 on the sphere, the poles exactly at theirs; ValueError where there is none."""
    found = torch.nn.functional.normalize(positions.double(), dim=1).numpy()
    at_pole = abs(ball.vertices[:, 2]) > 1 - 1e-9
    found[at_pole] = ball.vertices[at_pole]
    if (np.linalg.det(found[ball.faces]) > 0).mean() < 0.9:  # A sphere that was spread evenly may hold some folds.
        raise ValueError("shape.places that make no sphere")
    return found


def _check_shape(name: str, value: Tensor, needed: Sequence[int]) -> None:
    if tuple(value.shape) != tuple(needed):
        raise ValueError(f"{name} of shape {tuple(value.shape)}, needs {tuple(needed)}")


def _check_weights(name: str, value: Tensor) -> None:
    if (value < 0).any() or ((value.sum(1) - 1).abs() > 0.01).any():
        raise ValueError(f"{name} whose rows are no weights")


def level_of(vertices: int) -> int:
    """Subdivisions of the icosphere with so many vertices; ValueError where there is none."""
    for level in range(2, 7):
        if 10 * 4**level + 2 == vertices:
            return level
    raise ValueError(f"{vertices} vertices, which no sphere has")
