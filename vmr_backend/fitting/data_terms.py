"""What a posed mesh is compared with, once for all bodies: masks, contour, optical flow, colours, and back faces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .. import losses
from ..geometry.surface_points import SurfacePoints
from ..rendering import Renderer
from ..rendering.surface import HIDDEN_DEPTH, Surface, facing_of, hidden_vertices
from .batch import FrameBatch
from .observations import Observations, look_up

EDGE_SOFTNESS = 0.2
"""Of the rendered silhouette, in pixels: the square root of SoftRas's sigma."""


def softness(size: int) -> float:
    """SoftRas's sigma for pictures of so many pixels across, crop units."""
    return (2 * EDGE_SOFTNESS / size) ** 2


def mask_term(points: Tensor, faces: Tensor, masks: Tensor, renderer: Renderer) -> Tensor:
    """`silhouette_loss` (N,) of meshes on the screen (N, V, 3) against masks (N, S, S) in 0..1."""
    size = masks.shape[-1]
    alpha = renderer.silhouette(points, faces, size, softness(size))
    return losses.silhouette_loss(alpha, masks, torch.ones_like(alpha))


def data_terms(points: Tensor, faces: Tensor, observations: Observations, batch: FrameBatch, renderer: Renderer,
               colours: Tensor | None = None, free_hidden: bool = False,
               between: SurfacePoints | None = None) -> dict[str, Tensor]:
    """What sets meshes apart from the batch's frames, unweighted, one value per hypothesis (H,).

    points       (H, B, V, 3) of the meshes on the screen, crop units; depth in object units
    colours      (H, V, 3) of the surface; None to compare each frame's with another frame's ("texture_swap" in place of
                 "colour")
    free_hidden  a pixel that the mesh leaves open draws a vertex that the mesh hides (see `losses.contour_loss`)
    between      points of large faces, which pixels draw as they do vertices: a coarse mesh has no others along a limb
    """
    frames, screen = batch.frames, points[..., :2]
    alpha = renderer.silhouette(points.flatten(0, 1), faces, observations.size, softness(observations.size))
    alpha = alpha.unflatten(0, points.shape[:2])
    front, nearest = Surface.front_and_nearest(points, faces, observations.pixels[frames], observations.size, renderer)
    hit = front.covered * observations.frame_weight[frames][:, None]
    samples = observations.samples[frames]
    contour = losses.contour_loss(_with_points(screen, between), samples, *(
        (_hidden(points.detach(), faces, nearest, between), ~nearest.covered) if free_hidden else ()))
    flow = sum(losses.flow_loss(front.of_vertices(screen[:, pair.partner]) - samples, pair.displacement,
                                pair.weight * hit) for pair in batch.flows)
    picture = look_up(observations.images[frames], front.of_vertices(screen))
    found = {"mask": losses.silhouette_loss(alpha, observations.masks[frames], observations.weights[frames]),
             "facing": facing_of(front, nearest, points[..., 2:]), "contour": contour, "flow": flow}
    if colours is not None:
        predicted = front.of_vertices(colours[:, None].expand(-1, len(frames), -1, -1))
        found["colour"] = losses.colour_loss(picture, predicted, hit * observations.colour_weight[frames][:, None])
    else:
        found["texture_swap"] = _swapped_colour(picture, points, front, nearest, hit, observations, frames)
    return {name: value.mean(1) for name, value in found.items()}


def _with_points(values: Tensor, between: SurfacePoints | None) -> Tensor:
    """Values (..., V, C) of the vertices, and after them those of the points between."""
    return values if between is None else torch.cat([values, between.of_vertices(values)], -2)


def _hidden(points: Tensor, faces: Tensor, nearest: Surface, between: SurfacePoints | None) -> Tensor:
    """Which vertices (H, B, V), and after them which points between, the mesh hides: those in faces that it hides."""
    hidden = hidden_vertices(points, faces, nearest)
    return hidden if between is None else torch.cat([hidden, hidden[..., between.corners].all(-1)], -1)


def _swapped_colour(picture: Tensor, points: Tensor, front: Surface, nearest: Surface, hit: Tensor,
                    observations: Observations, frames: Tensor) -> Tensor:
    """How far the colours (H, B, P, 3) that samples of the surface have in their own frame are from those that they
    have in another frame of the batch, where that shows them (VMR Eq. 5): (H, B)."""
    other = torch.arange(len(frames), device=points.device).roll(len(frames) // 2)
    there = front.of_vertices(points[:, other])
    depth = functional.grid_sample(nearest.depth[:, other].flatten(0, 1).unsqueeze(1),
                                   there[..., :2].detach().flatten(0, 1).unsqueeze(2), mode="nearest",
                                   align_corners=False)[:, 0, :, 0].unflatten(0, there.shape[:2])
    visible = hit * ((depth > 0) & (there[..., 2] < depth + 2 * HIDDEN_DEPTH))
    visible = visible * (observations.colour_weight[frames] * observations.colour_weight[frames[other]])[:, None]
    return losses.colour_loss(picture, look_up(observations.images[frames[other]], there[..., :2]), visible)
