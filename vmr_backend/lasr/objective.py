"""What a frame's mesh should look like: every term of the fit for a batch of frame pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import losses
from ..geometry.arap import arap_energy
from ..geometry.cameras import project
from ..geometry.topology import cotangent_weights, edges_of, neighbouring_faces, opposite_edges
from ..rendering import Renderer
from ..rendering.surface import Surface, facing_all_round, facing_of, hidden_vertices
from ..video.observations import Link, Observations, look_up
from .model import ELEVATION, Model

POSES = 2
"""Of an iteration's frames, at how many the mesh is compared with its rest shape and seen from a random side."""

EDGE_SOFTNESS = 0.2
"""Of the rendered silhouette, in pixels: the square root of SoftRas's sigma."""


@dataclass(frozen=True)
class Regularity:
    """Constants of one mesh that the regularising terms need."""

    edges: Tensor
    opposite: Tensor
    neighbours: Tensor

    @staticmethod
    def of(model: Model) -> Regularity:
        faces, device = model.mesh.sphere.faces, model.mesh.latent.device
        edges = edges_of(faces)
        constants = edges, opposite_edges(faces, edges), neighbouring_faces(faces)
        return Regularity(*(torch.from_numpy(array).to(device) for array in constants))


def terms(model: Model, seen: Observations, link: Link, starts: Tensor, renderer: Renderer, regularity: Regularity,
          symmetry: float, freedom: float, shortest: float) -> dict[str, Tensor]:
    """Every term, unweighted, one value per hypothesis (H,), for the linked frames `starts` and `starts` + gap.

    symmetry  0..1, how far the rest mesh is forced onto its mirror image
    freedom   0..1, how far the camera may leave an upright turn
    shortest  frames that bones take at the least to move to and fro
    """
    frames = torch.cat([starts, starts + link.gap])
    rest = model.mesh(symmetry)
    motion = model.skeleton.motion_parameters(shortest) if model.skeleton else None
    rotation, translation = model.camera(freedom)
    vertices = model.vertices(rest, motion, frames)
    points = project(vertices, model.cameras(rotation, translation, frames))
    faces = model.mesh.faces

    sigma = (2 * EDGE_SOFTNESS / seen.size) ** 2
    flat = points.flatten(0, 1)
    alpha = renderer.silhouette(flat, faces, seen.size, sigma).unflatten(0, points.shape[:2])
    found = {
        "mask": losses.silhouette_loss(alpha, seen.masks[frames], seen.weights[frames]).mean(1),
    }
    found |= _surface_terms(model, seen, link, frames, points, renderer, symmetry)

    found["laplacian"] = losses.laplacian_loss(rest, regularity.edges)
    found["flatten"] = losses.flatten_loss(rest, faces, regularity.neighbours)
    found["symmetry"] = losses.symmetry_loss(rest, model.mesh.mirror)
    found["side"] = losses.side_loss(rest, model.mesh.side)
    found["steadiness"] = losses.unsteadiness_loss(rotation)
    found["elevation"] = (model.camera.elevation[:, 0] - ELEVATION).square()
    found["lens"] = model.camera.log_zoom[:, 0].square()
    if (hints := model.view.hints) is not None:
        found["hints"] = losses.hint_loss(rotation[:, hints.frames], hints.rotations)
    if model.skeleton is not None:
        weights = cotangent_weights(rest[0].detach(), faces, regularity.opposite, len(regularity.edges))
        some = vertices[:, torch.randperm(len(frames), device=frames.device)[:POSES]]
        found["arap"] = arap_energy(rest[:, None], some, regularity.edges, weights).mean(1)
        found["facing"] = found["facing"] + facing_all_round(some, faces, renderer)
        found["joint"] = model.skeleton.gaps(motion).square().sum(-1).mean()[None]
        found["motion"] = motion.square().sum(-1).mean()[None]
        found["temporal"] = losses.acceleration_loss(motion.flatten(1))[None] / motion.shape[1]
    return found


def _surface_terms(model: Model, seen: Observations, link: Link, frames: Tensor, points: Tensor, renderer: Renderer,
                   symmetry: float) -> dict[str, Tensor]:
    """Contour, flow and colour at the sampled pixels, and which way the surface faces there."""
    view = points, model.mesh.faces, seen.pixels[frames], seen.size, renderer
    front, nearest = Surface.front_and_nearest(*view)
    hit = front.covered * seen.frame_weight[frames][:, None]
    facing = facing_of(front, nearest, points[..., 2:])
    places = points[..., :2], seen.places[frames]
    if model.skeleton is None:
        contour = losses.contour_loss(*places)
    else:
        hidden = hidden_vertices(points.detach(), model.mesh.faces, nearest)
        contour = losses.contour_loss(*places, hidden, ~nearest.covered)

    half, count = len(frames) // 2, len(frames)
    partner = torch.arange(count, device=frames.device).roll(half)
    first, second = frames[:half], frames[half:]
    observed = torch.cat([link.forward[first], link.backward[second]])
    trust = torch.cat([link.forward_weight[first], link.backward_weight[second]])
    screen = points[..., :2]
    moved = front.of_vertices(screen[:, partner]) - seen.places[frames]
    flow = losses.flow_loss(moved, observed, trust * hit)

    picture = look_up(seen.images[frames], front.of_vertices(screen))
    colours = model.colours + symmetry / 2 * (model.colours[:, model.mesh.mirror] - model.colours)
    believed = front.of_vertices(colours[:, None].expand(-1, count, -1, -1))
    return {"facing": facing.mean(1), "contour": contour.mean(1), "flow": flow.mean(1),
            "colour": losses.colour_loss(picture, believed, hit * seen.colour_weight[frames][:, None]).mean(1)}
