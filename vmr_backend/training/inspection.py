"""Facts in model files, scores of the models on a collection, and a sheet of their predictions to look at."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ..devices import device_of
from ..geometry.arap import arap_energy
from ..geometry.rotations import angle_between
from ..job import BadInput, write_whole
from ..outputs.picture import draw, outline, paste
from ..outputs.preview import BOARD
from ..rendering import Renderer, get_renderer
from ..vmr.encoders import at_size
from ..vmr.model import Prediction
from ..vmr.model_file import SHIPPED, LoadedModel, find_model, load_card, load_model
from .collection import open_collection
from .crops import Crops, load_crops
from .pictures import Collection
from .scores import pictures_of, score
from .train import FINER

TRUTH_NAME = "truth.npz"
"""Beside the annotations of rendered pictures."""
CELL, COLUMNS = 128, 4
"""Pixels across each picture of a sheet, and predictions side by side."""
FAR = 1000.0
"""Distance of the camera that stands for a weak perspective one."""
FROM_ABOVE = np.array([[1.0, 0, 0], [0, 0.0, 1.0], [0, -1.0, 0.0]])
"""Rotates a mesh in the camera's axes so that it is seen from above."""


def inspect(arguments: argparse.Namespace) -> None:
    """Print a line for each model of the command's arguments. BadInput where something cannot be used."""
    names = arguments.models or sorted(str(path) for path in SHIPPED.glob("*.safetensors"))
    if not names:
        raise BadInput("models: found none that are shipped, needs MODEL")
    device = device_of(arguments.device)
    for name in names:
        path = find_model(name)
        card = load_card(path)
        scores = ", ".join(f"{name} {value:.3f}" for name, value in card.scores.items()) or "not scored"
        print(f"{path.stem}: {card.category.name}, {card.training}, {card.pictures} pictures, {card.steps} steps, "
              f"licence {card.licence}; {scores}")
        if arguments.on:
            _inspect(path, arguments, device)


@dataclass(frozen=True)
class ModelEvaluation:
    """Of a model on held-out pictures of a collection; NaN where the collection lacks the truth."""

    iou: float
    pck: float
    turn: float
    """Median angle between predicted and true cameras, degrees."""
    keypoints: float
    """Mean distance of predicted from true keypoints in space, over the true ones' extent, both in their camera's axes,
    once size and position agree."""
    stretch: float
    """ARAP's energy of the meshes against their base shapes (VMR Eq. 3), object units."""


def evaluate_model(path: Path, on: Path, category: str | None = None,
                   device: torch.device | None = None) -> ModelEvaluation:
    """Of a model file on a collection's held-out pictures; collections that were rendered hold the truth, too."""
    device = device or torch.device("cpu")
    loaded, renderer = load_model(path, device), get_renderer("warp", device)
    collection = open_collection(on, category)
    held_out, crops = _held_out(loaded, collection)
    same_keypoints = held_out.category.keypoints == loaded.card.category.keypoints
    affinity = loaded.affinity if same_keypoints else None
    scores = score(loaded.model, affinity, crops, renderer)
    prediction = _predicted(loaded, crops.images, crops.masks, renderer)
    turn, keypoints = _off_truth(on / TRUTH_NAME, collection, held_out, crops, prediction, affinity)
    shape = loaded.model.shape
    stretch = arap_energy(prediction.base, prediction.vertices, shape.edges, shape.cotangents(prediction.base))
    return ModelEvaluation(scores.iou, np.nan if scores.pck is None else scores.pck, turn, keypoints,
                           float(stretch.mean()))


def _held_out(loaded: LoadedModel, collection: Collection) -> tuple[Collection, Crops]:
    held_out = collection.split()[1]
    return held_out, load_crops(held_out, FINER * loaded.model.architecture.image_size)


@torch.no_grad()
def _predicted(loaded: LoadedModel, images: np.ndarray, masks: np.ndarray, renderer: Renderer) -> Prediction:
    pictures = pictures_of(images, masks, loaded.model.anchors.device)
    return loaded.model(*at_size(*pictures, loaded.model.architecture.image_size), renderer)[0]


def _off_truth(path: Path, collection: Collection, held_out: Collection, crops: Crops, prediction: Prediction,
               affinity: torch.Tensor | None) -> tuple[float, float]:
    """`turn` and `keypoints` of a `ModelEvaluation`."""
    if not path.is_file():
        return np.nan, np.nan
    row = {picture.name: index for index, picture in enumerate(collection.pictures)}
    rows = [row[held_out.pictures[kept].name] for kept in crops.kept]
    with np.load(path, allow_pickle=False) as truth:
        # Blender's renderer names those of the picture apart from those in space.
        points = truth["keypoints_3d" if "keypoints_3d" in truth else "keypoints"][rows]
        rotations = truth["rotation"][rows]
    found = prediction.camera.rotation.cpu()
    turn = angle_between(found, torch.from_numpy(rotations).float())
    if affinity is None:
        return float(turn.rad2deg().median()), np.nan
    own = (affinity @ prediction.vertices).cpu() @ found.mT
    true = torch.from_numpy(np.einsum("nij,nkj->nki", rotations, points)).float()
    own, true = own - own.mean(1, keepdim=True), true - true.mean(1, keepdim=True)
    own = own * ((own * true).sum((1, 2)) / own.square().sum((1, 2)))[:, None, None]
    extent = (true.amax(1) - true.amin(1)).amax(1)
    return float(turn.rad2deg().median()), float(((own - true).norm(dim=-1).mean(1) / extent).mean())


def _inspect(path: Path, arguments: argparse.Namespace, device: torch.device) -> None:
    """Score a model on held-out pictures of a collection, and draw some of them."""
    found = evaluate_model(path, arguments.on, arguments.category, device)
    text = ", ".join(f"{name} {value:.3f}" for name, value in asdict(found).items() if np.isfinite(value))
    print(f"  on held-out pictures of {arguments.on}: {text}")
    if arguments.sheet:
        loaded, renderer = load_model(path, device), get_renderer("warp", device)
        crops = _held_out(loaded, open_collection(arguments.on, arguments.category))[1]
        sheet = sheet_of(loaded, crops, renderer)
        write_whole(arguments.sheet, cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())


def sheet_of(loaded: LoadedModel, crops: Crops, renderer: Renderer, most: int = 24) -> np.ndarray:
    """(h, w, 3) uint8 RGB: for each of some crops the picture with the mesh's outline, the mesh, and it from above."""
    some = np.unique(np.linspace(0, len(crops.images) - 1, most).round().astype(int))
    prediction = _predicted(loaded, crops.images[some], crops.masks[some], renderer)
    faces = loaded.model.shape.faces.cpu().numpy()
    cells = [_cells(crops.images[index], prediction, row, faces) for row, index in enumerate(some)]
    cells += [np.full_like(cells[0], BOARD)] * (-len(cells) % COLUMNS)
    return np.vstack([np.hstack(cells[row:row + COLUMNS]) for row in range(0, len(cells), COLUMNS)])


def _cells(image: np.ndarray, prediction: Prediction, row: int, faces: np.ndarray) -> np.ndarray:
    """(CELL, 3 CELL, 3) of one prediction."""
    points = prediction.camera[row:row + 1].project(prediction.vertices[row:row + 1])[0].cpu().numpy()
    picture = cv2.resize(image, (CELL, CELL), interpolation=cv2.INTER_AREA)
    board = np.full((CELL, CELL, 3), BOARD, np.uint8)
    middle = points.mean(0)
    above = (points - middle) @ FROM_ABOVE.T
    return np.hstack([outline(_drawn(points, faces), picture, 1), paste(_drawn(points, faces), board),
                      paste(_drawn(above, faces), board)])


def _drawn(points: np.ndarray, faces: np.ndarray):
    """A mesh as parallel rays show it, from points in crop coordinates with their depth."""
    seen = (points + [0, 0, FAR]).astype(np.float32)
    intrinsics = np.array([FAR * CELL / 2, FAR * CELL / 2, CELL / 2, CELL / 2], np.float32)
    return draw(seen, faces, intrinsics, (CELL, CELL), mark_inside=True)
