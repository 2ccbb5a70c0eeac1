"""How good a category model is on pictures that it was not trained on: mask IoU and PCK (after CMR)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from ..annotations import VISIBLE
from ..rendering import Renderer
from ..vmr.encoders import at_size
from ..vmr.model import CategoryModel, Prediction
from .crops import Crops

BATCH = 64
PCK_THRESHOLD = 0.1
"""Of the longer side of the subject's box (CMR)."""


@dataclass(frozen=True)
class ModelScores:
    """Means over pictures."""

    iou: float
    """Intersection over union of mesh and mask, both drawn without soft edges."""
    pck: float | None
    """Fraction of visible keypoints nearer than PCK_THRESHOLD of the box's longer side, the mean over their kinds; None
    where there are none."""

    def __str__(self) -> str:
        return f"mask IoU {self.iou:.3f}" + (f", PCK@{PCK_THRESHOLD:g} {self.pck:.3f}" if self.pck is not None else "")

    def as_facts(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items() if value is not None}


@torch.no_grad()
def score(model: CategoryModel, affinity: Tensor | None, crops: Crops, renderer: Renderer) -> ModelScores:
    """Of a model on held-out crops, which may be finer than the pictures it takes.

    affinity  (K, V) weights of vertices in keypoints; None without keypoints
    """
    size, device = model.architecture.image_size, model.anchors.device
    overlaps, right, counted = [], np.zeros(crops.keypoints.shape[1]), np.zeros(crops.keypoints.shape[1])
    was_training = model.training
    model.eval()
    for start in range(0, len(crops.images), BATCH):
        some = slice(start, start + BATCH)
        images, masks = pictures_of(crops.images[some], crops.masks[some], device)
        prediction = model(*at_size(images, masks, size), renderer)[0]
        overlaps.append(_overlap(model, prediction, masks > 0.5, renderer))
        if affinity is not None:
            points = prediction.camera.project(affinity @ prediction.vertices)[..., :2].cpu().numpy()
            near = np.linalg.norm(points - crops.keypoints[some], axis=-1) < PCK_THRESHOLD * _longer_sides(crops, some)
            seen = crops.seen[some] == VISIBLE
            right += (near & seen).sum(0)
            counted += seen.sum(0)
    model.train(was_training)
    kinds = counted > 0
    pck = float((right[kinds] / counted[kinds]).mean()) if affinity is not None and kinds.any() else None
    return ModelScores(float(torch.cat(overlaps).mean()), pck)


def pictures_of(images: np.ndarray, masks: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Crops' images (N, S, S, 3) and masks (N, S, S) uint8 as a network takes them: (N, 3, S, S), (N, S, S) in 0..1."""
    return (torch.from_numpy(images).to(device).movedim(-1, 1).float() / 255,
            torch.from_numpy(masks).to(device).float() / 255)


def _overlap(model: CategoryModel, prediction: Prediction, masks: Tensor, renderer: Renderer) -> Tensor:
    points = prediction.camera.project(prediction.vertices)
    drawn = renderer.visibility(points, model.shape.faces, masks.shape[-1]).face_index >= 0
    return (drawn & masks).sum((1, 2)) / (drawn | masks).sum((1, 2)).clamp_min(1)


def _longer_sides(crops: Crops, some: slice) -> np.ndarray:
    """(N, 1) of the masks' boxes, crop units."""
    masks = crops.masks[some] > 127
    extents = []
    for line in (masks.any(1), masks.any(2)):
        first, last = line.argmax(1), line.shape[1] - 1 - line[:, ::-1].argmax(1)
        extents.append(last - first + 1)
    return (np.maximum(*extents) * 2 / masks.shape[1])[:, None]
