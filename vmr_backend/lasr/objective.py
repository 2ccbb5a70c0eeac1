"""What a frame's mesh should look like: every term of the fit for a batch of frame pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import losses
from ..geometry.arap import arap_energy
from ..geometry.cameras import project
from ..geometry.topology import cotangent_weights, edges_of, neighbouring_faces
from ..rendering import Renderer
from ..settings import Settings
from .model import ELEVATION, Model
from .observations import Observations, look_up

EDGE_SOFTNESS = 0.2
"""Of the rendered silhouette, in pixels: the square root of SoftRas's sigma."""


@dataclass(frozen=True)
class Regularity:
    """Constants of one mesh that the regularising terms need."""

    edges: Tensor
    neighbours: Tensor

    @staticmethod
    def of(model: Model) -> Regularity:
        faces, device = model.mesh.sphere.faces, model.mesh.latent.device
        return Regularity(torch.from_numpy(edges_of(faces)).to(device),
                          torch.from_numpy(neighbouring_faces(faces)).to(device))


def weights_of(settings: Settings) -> dict[str, float]:
    """Weight of each term."""
    return {name.removeprefix("weight_"): value for name, value in settings.items() if name.startswith("weight_")}


def terms(model: Model, seen: Observations, starts: Tensor, renderer: Renderer, regularity: Regularity,
          symmetry: float, freedom: float) -> dict[str, Tensor]:
    """Every term, unweighted, one value per hypothesis (H,), for the pairs of frames `starts` and `starts` + 1.

    symmetry  0..1, how far the rest mesh is forced onto its mirror image
    freedom   0..1, how far the camera may leave an upright turn
    """
    frames = torch.cat([starts, starts + 1])
    rest = model.mesh(symmetry)
    motion = model.skeleton.motion_parameters() if model.skeleton else None
    rotation, translation = model.camera(freedom)
    vertices = model.vertices(rest, motion, frames)
    points = project(vertices, model.cameras(rotation, translation, frames))
    faces = model.mesh.faces

    sigma = (2 * EDGE_SOFTNESS / seen.size) ** 2
    flat = points.flatten(0, 1)
    alpha = renderer.silhouette(flat, faces, seen.size, sigma).unflatten(0, points.shape[:2])
    found = {
        "mask": losses.silhouette_loss(alpha, seen.masks[frames], seen.weights[frames]).mean(1),
        "contour": losses.contour_loss(points[..., :2], seen.places[frames]).mean(1),
    }
    found |= _surface_terms(model, seen, frames, points, renderer)

    found["laplacian"] = losses.laplacian_loss(rest, regularity.edges)
    found["flatten"] = losses.flatten_loss(rest, faces, regularity.neighbours)
    found["symmetry"] = losses.symmetry_loss(rest, model.mesh.mirror)
    found["side"] = losses.side_loss(rest, model.mesh.side)
    found["steadiness"] = losses.unsteadiness_loss(rotation)
    found["elevation"] = (model.camera.elevation[:, 0] - ELEVATION).square()
    if model.skeleton is not None:
        weights = cotangent_weights(rest[0].detach(), faces, regularity.edges)
        few = torch.randperm(len(frames), device=frames.device)[:2]
        found["arap"] = arap_energy(rest[:, None], vertices[:, few], regularity.edges, weights).mean(1)
        found["motion"] = motion.square().sum(-1).mean()[None]
        found["temporal"] = losses.acceleration_loss(motion.flatten(1))[None] / motion.shape[1]
    return found


def _surface_terms(model: Model, seen: Observations, frames: Tensor, points: Tensor,
                   renderer: Renderer) -> dict[str, Tensor]:
    """Flow and colour at the sampled pixels that the mesh covers."""
    hypotheses, count = points.shape[:2]
    visible = renderer.visibility(points.detach().flatten(0, 1), model.mesh.faces, seen.size)
    columns, rows = seen.pixels[frames].unbind(-1)
    image = torch.arange(count, device=frames.device)[:, None]
    index = visible.face_index.unflatten(0, (hypotheses, count))[:, image, rows, columns].long()
    shares = visible.barycentrics.unflatten(0, (hypotheses, count))[:, image, rows, columns]
    corners = model.mesh.faces[index.clamp_min(0)]
    hit = (index >= 0).float() * seen.frame_weight[frames][:, None]

    def on_surface(values: Tensor) -> Tensor:
        """Values (H, N, V, C) at the samples' surface points: (H, N, P, C)."""
        gathered = values.gather(2, corners.flatten(2).unsqueeze(-1).expand(-1, -1, -1, values.shape[-1]))
        return (gathered.unflatten(2, (-1, 3)) * shares.unsqueeze(-1)).sum(-2)

    half = count // 2
    partner = torch.cat([torch.arange(half, count), torch.arange(half)]).to(frames.device)
    before, after = frames[:half], frames[half:]
    observed = torch.cat([seen.flow_forward[before], seen.flow_backward[after]])
    trust = torch.cat([seen.flow_forward_weight[before], seen.flow_backward_weight[after]])
    screen = points[..., :2]
    moved = on_surface(screen[:, partner]) - seen.places[frames]
    flow = losses.flow_loss(moved, observed, trust * hit)

    picture = look_up(seen.images[frames], on_surface(screen))
    believed = on_surface(model.colours[:, None].expand(-1, count, -1, -1))
    return {"flow": flow.mean(1), "colour": losses.colour_loss(picture, believed, hit).mean(1)}
