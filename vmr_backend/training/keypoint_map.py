"""The canonical keypoint UV map: where on the surface each keypoint of a category lies (VMR 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..rendering import Renderer
from ..vmr.model import CategoryModel
from ..vmr.texture import projected_texels
from .augmentation import Examples

HEAT = 3 / 128
"""Standard deviation of a keypoint's heat in the picture, crop units: 3 pixels of 256 (UMR)."""
PEAK = 8.0
"""Power of the heat whose mean is the keypoint: the argmax, but for keypoints inside limbs, which lie between the peaks
of several sides."""
MOST, BATCH = 512, 32
"""Pictures that the map is summed over, and at a time."""


@torch.no_grad()
def keypoint_map(model: CategoryModel, examples: Examples, renderer: Renderer) -> Tensor:
    """(K, ROWS, COLUMNS) heat of each keypoint on the UV map, the mean over pictures.

    Each annotated keypoint is a spot of heat in its picture, which texture flow samples onto the map where the surface
    is visible: what is hidden takes the colours of its mirror image, but not its keypoints. Summed over pictures, those
    whose flow is wrong do not agree, and fade.
    """
    size = examples.masks.shape[-1]
    device = model.anchors.device
    heat = counted = torch.zeros((), device=device)
    for start in range(0, min(MOST, len(examples.images)), BATCH):
        some = examples[torch.arange(start, min(start + BATCH, len(examples.images)))]
        prediction, initial = model(some.images.to(device), some.masks.to(device), renderer)
        flow = model.texture_flow(initial.encoding.code, prediction, renderer, size)
        _, hidden = projected_texels(model.shape, model.texels, prediction.vertices, prediction.camera, renderer, size)
        apart = (flow.unsqueeze(1) - some.keypoints.to(device)[:, :, None, None]).square().sum(-1)
        annotated = some.annotated.to(device)[:, :, None, None]
        heat = heat + (annotated * ~hidden.unsqueeze(1) * torch.exp(-apart / (2 * HEAT**2))).sum(0)
        counted = counted + annotated.sum(0)
    return heat / counted.clamp_min(1)


def held_by_vertices(heat: Tensor, model: CategoryModel) -> Tensor:
    """Weights (K, V) of vertices in keypoints at the peaks of a map (K, ROWS, COLUMNS); rows sum to 1."""
    faces, texels = model.shape.faces, model.texels
    peaks = (heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)).pow(PEAK)
    weights = peaks.new_zeros(len(heat), len(model.shape.places))
    corners = faces[texels.face].flatten(0, 1)
    for corner in range(3):
        weights.index_add_(1, corners[:, corner], (peaks * texels.barycentrics[..., corner]).flatten(1))
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-12)


@torch.no_grad()
def distance_from(affinity: Tensor, model: CategoryModel, examples: Examples, renderer: Renderer) -> float:
    """Mean distance of projected keypoints from annotated ones, crop units, over as many pictures as the map's."""
    device = model.anchors.device
    total = counted = 0.0
    for start in range(0, min(MOST, len(examples.images)), BATCH):
        some = examples[torch.arange(start, min(start + BATCH, len(examples.images)))]
        prediction, _ = model(some.images.to(device), some.masks.to(device), renderer)
        points = prediction.camera.project(affinity @ prediction.vertices)[..., :2]
        annotated = some.annotated.to(device)
        total += float(((points - some.keypoints.to(device)).norm(dim=-1) * annotated).sum())
        counted += float(annotated.sum())
    return total / max(counted, 1.0)
