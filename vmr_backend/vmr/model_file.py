"""A category model as one file: tensors and facts in safetensors' format, which cannot run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..annotations import Category
from ..geometry import sphere as spheres
from ..job import BadInput, write_whole
from .encoders import ENCODERS
from .model import Architecture, CategoryModel
from .shape import CategoryShape, Handles

FORMAT_VERSION = 1
CATEGORY, SCORES, CARD = "category", "scores", "card"
"""Entries of the file's metadata: the category's name, and in JSON the scores and everything else. The first two are
what lists of models show."""
LARGEST = 2**30
"""Bytes; ResNet-18 in single precision is a tenth of it."""
STRENGTH = 8.0
"""Of the preconditioner that keeps shapes smooth."""
BASES, AFFINITY = "bases", "affinity"
DERIVED = ("shape.latent", "anchors")
"""Tensors of a model that follow from the rest."""


@dataclass(frozen=True)
class ModelCard:
    """What a model file says of its model."""

    category: Category
    training: str
    """weak or self."""
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
    """A model and what its file says of it."""

    model: CategoryModel
    affinity: Tensor | None
    """(K, V) shares of vertices in keypoints, rows sum to 1; None without keypoints."""
    card: ModelCard


def save_model(path: Path, model: CategoryModel, affinity: Tensor | None, card: ModelCard) -> None:
    """Write a model in half precision, whole or not at all."""
    tensors = {name: value for name, value in model.state_dict().items() if name not in DERIVED}
    tensors[BASES] = model.shape.bases()
    if affinity is not None:
        tensors[AFFINITY] = affinity
    half = {name: _halved(value.detach().cpu()) for name, value in tensors.items()}
    facts = asdict(card)
    category, scores = facts.pop("category"), facts.pop("scores")
    facts |= {"version": FORMAT_VERSION, "keypoints": category["keypoints"], "skeleton": category["skeleton"]}
    metadata = {CATEGORY: card.category.name, SCORES: json.dumps(scores), CARD: json.dumps(facts)}
    write_whole(path, safetensors.torch.save(half, metadata))


def _halved(value: Tensor) -> Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous()


SHIPPED = Path(__file__).parents[2] / "models"
"""Models that come with the program."""


def find_model(name: str) -> Path:
    """The file of a shipped category or of a path; BadInput says what there is."""
    path = Path(name)
    if path.is_file():
        return path
    if (shipped := SHIPPED / f"{name}.safetensors").is_file():
        return shipped
    names = sorted(file.stem for file in SHIPPED.glob("*.safetensors"))
    raise BadInput(f"model: found no file or category {name!r}; needs a model file"
                   + (f" or one of {', '.join(names)}" if names else ""))


def load_card(path: Path) -> ModelCard:
    """What a model file says of its model; BadInput where it is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(f"{path}: found {path.stat().st_size} bytes, needs a model file below {LARGEST}")
        with safetensors.safe_open(path, "pt") as file:
            return _card_of(path, file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path}: is no whole model file ({error}); needs one that `train` wrote") from None


def _card_of(path: Path, metadata: Mapping[str, str]) -> ModelCard:
    try:
        facts = json.loads(metadata[CARD])
        if (version := facts.pop("version")) != FORMAT_VERSION:
            raise BadInput(f"{path}: found a model of format {version}, needs format {FORMAT_VERSION}; train it anew")
        category = Category(metadata[CATEGORY], tuple(map(str, facts.pop("keypoints"))),
                            tuple((int(a), int(b)) for a, b in facts.pop("skeleton")))
        architecture = Architecture(**facts.pop("architecture"))
        scores = {str(name): float(value) for name, value in json.loads(metadata[SCORES]).items()}
        if architecture.encoder not in ENCODERS or not all(
                type(value) is int and 0 <= value <= 4096
                for name, value in asdict(architecture).items() if name != "encoder"):
            raise ValueError(architecture)
        return ModelCard(category, architecture=architecture, scores=scores, **facts)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise BadInput(f"{path}: is no category model of this program; needs one that `train` wrote") from None


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
        if affinity is not None and affinity.shape != (len(card.category.keypoints), len(model.shape.places)):
            raise ValueError(f"keypoints of shape {tuple(affinity.shape)}")
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path}: does not hold the model that it says it does ({reason}); train it anew") from None
    return LoadedModel(model.eval(), None if affinity is None else affinity.to(device), card)


def _model_of(tensors: Mapping[str, Tensor], card: ModelCard, device: torch.device) -> CategoryModel:
    bases, places, weights = tensors[BASES], tensors["shape.places"], tensors["shape.weights"]
    twin = tensors["shape.twin"].long()
    ball = spheres.icosphere(level_of(len(places)))
    if places.shape != (len(ball.vertices), 3) or bases.shape[1:] != places.shape or len(weights) != len(places) \
            or twin.shape != weights.shape[1:] or not ((twin >= 0) & (twin < len(twin))).all():
        raise ValueError("shapes that do not fit each other")
    # Half precision moves places off the sphere, and those of the poles off them.
    places = torch.nn.functional.normalize(places.double(), dim=1).numpy()
    places[(abs(ball.vertices[:, 2]) > 1 - 1e-9)] = ball.vertices[abs(ball.vertices[:, 2]) > 1 - 1e-9]
    sphere = spheres.Sphere(places, ball.faces, ball.mirror)
    shape = CategoryShape(bases.to(device), sphere, Handles(weights, twin), STRENGTH)
    model = CategoryModel(shape, card.architecture).to(device)
    own = set(model.state_dict()) - set(DERIVED)
    kept = {name: tensors[name] for name in own - {"shape.places"}}
    model.load_state_dict(kept, strict=False)
    return model


def level_of(vertices: int) -> int:
    """Subdivisions of the icosphere with so many vertices; ValueError where there is none."""
    for level in range(2, 7):
        if 10 * 4**level + 2 == vertices:
            return level
    raise ValueError(f"{vertices} vertices, which no sphere has")
