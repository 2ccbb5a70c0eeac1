"""What a frame's mesh should look like: every term of the fit for a batch of frame pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .. import losses
from ..geometry.arap import arap_energy
from ..geometry.cameras import project
from ..geometry.topology import cotangent_weights, edges_of, neighbouring_faces, opposite_edges
from ..rendering import Renderer, Visibility
from ..settings import Settings
from .model import ELEVATION, Model
from .observations import Link, Observations, look_up

POSES = 2
"""Of an iteration's frames, at how many the mesh is compared with its rest shape and seen from a random side."""

SIDE_SIZE, SIDE_SAMPLES = 64, 1024
"""Pixels along a view from a random side, and how many are sampled."""

HIDDEN_DEPTH = 0.02
"""Object units behind the nearest surface from which on a vertex counts as hidden."""

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


def weights_of(settings: Settings) -> dict[str, float]:
    """Weight of each term."""
    return {name.removeprefix("weight_"): value for name, value in settings.items() if name.startswith("weight_")}


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
        weights = cotangent_weights(rest[0].detach(), faces, regularity.opposite)
        some = vertices[:, torch.randperm(len(frames), device=frames.device)[:POSES]]
        found["arap"] = arap_energy(rest[:, None], some, regularity.edges, weights).mean(1)
        found["facing"] = found["facing"] + _facing_all_round(some, faces, renderer)
        found["joint"] = model.skeleton.gaps(motion).square().sum(-1).mean()[None]
        found["motion"] = motion.square().sum(-1).mean()[None]
        found["temporal"] = losses.acceleration_loss(motion.flatten(1))[None] / motion.shape[1]
    return found


@dataclass(frozen=True)
class Surface:
    """What a mesh shows at sampled pixels: H hypotheses, N frames, P samples."""

    corners: Tensor
    """(H, N, 3 P) vertices of the face at each sample."""
    shares: Tensor
    """(H, N, P, 3) of these vertices."""
    covered: Tensor
    """(H, N, P) bool."""
    index: Tensor
    """(H, N, P) the face, -1 where there is none."""
    depth: Tensor
    """(H, N, S, S) of the surface in every pixel, 0 where there is none."""

    @staticmethod
    def front_and_nearest(points: Tensor, faces: Tensor, pixels: Tensor, size: int,
                          renderer: Renderer) -> tuple[Surface, Surface]:
        """The nearest surface that turns its outside to the camera, and the nearest at all: points (H, N, V, 3) on the
        screen, pixels (N, P, 2)."""
        front, nearest = renderer.front_and_nearest(points.detach().flatten(0, 1), faces, size)
        lead = points.shape[:2]
        return Surface._at(pixels, faces, front, lead), Surface._at(pixels, faces, nearest, lead)

    @staticmethod
    def _at(pixels: Tensor, faces: Tensor, visible: Visibility, lead: tuple[int, ...]) -> Surface:
        columns, rows = pixels.unbind(-1)
        image = torch.arange(len(pixels), device=pixels.device)[:, None]
        index = visible.face_index.unflatten(0, lead)[:, image, rows, columns].long()
        shares = visible.barycentrics.unflatten(0, lead)[:, image, rows, columns]
        depth = visible.depth.unflatten(0, lead)
        return Surface(faces[index.clamp_min(0)].flatten(2), shares, index >= 0, index, depth)

    def of_vertices(self, values: Tensor) -> Tensor:
        """Values (H, N, V, C) at the samples' places on the surface: (H, N, P, C)."""
        gathered = values.gather(2, self.corners.unsqueeze(-1).expand(-1, -1, -1, values.shape[-1]))
        return (gathered.unflatten(2, (-1, 3)) * self.shares.unsqueeze(-1)).sum(-2)


def _hidden(points: Tensor, faces: Tensor, nearest: Surface) -> Tensor:
    """Which vertices (H, N, V) of points (H, N, V, 3) turn their outside to the camera behind a nearer surface."""
    a, b, c = (points[..., faces[:, k], :2] for k in range(3))
    (x1, y1), (x2, y2) = (b - a).unbind(-1), (c - a).unbind(-1)
    away = x1 * y2 - y1 * x2
    turned = points.new_zeros(points.shape[:-1])
    for k in range(3):
        turned = turned.index_add(-1, faces[:, k], away)
    size = nearest.depth.shape[-1]
    column, row = ((points[..., :2] + 1) * (size / 2)).long().clamp(0, size - 1).unbind(-1)
    # The furthest of a pixel and its neighbours: the rim of a surface, steep as it is, does not hide itself.
    depth = nearest.depth.masked_fill(nearest.depth <= 0, torch.inf)
    ahead = _furthest_around(depth).flatten(-2).gather(-1, row * size + column)
    return (turned < 0) & (points[..., 2] > ahead + HIDDEN_DEPTH)


def _furthest_around(depth: Tensor) -> Tensor:
    """The greatest depth (..., S, S) of each pixel and its eight neighbours.

    By columns, then by rows: max_pool2d, which finds places too, takes ten times as long on a CPU.
    """
    greatest = functional.pad(depth, (1, 1, 1, 1))
    for dim in (-1, -2):
        before, at, after = (greatest.narrow(dim, k, depth.shape[dim]) for k in range(3))
        greatest = torch.maximum(torch.maximum(before, at), after)
    return greatest


def _facing_all_round(vertices: Tensor, faces: Tensor, renderer: Renderer) -> Tensor:
    """The facing loss (H,) of poses (H, N, V, 3), each from a random side, since the clip does not show them all."""
    turns = torch.linalg.qr(torch.randn(vertices.shape[1], 3, 3, device=vertices.device))[0]
    turns = turns * turns.det().sign()[:, None, None]  # a mirrored view would see every face turned
    centred = vertices - vertices.detach().mean(2, keepdim=True)
    reach = centred.detach().norm(dim=-1).amax((1, 2))[:, None, None, None]
    across, deep = (centred @ turns.mT / (2 * reach)).split([2, 1], -1)
    points = torch.cat([across, deep + 2], -1)
    pixels = torch.randint(SIDE_SIZE, (len(turns), SIDE_SAMPLES, 2), device=vertices.device)
    front, nearest = Surface.front_and_nearest(points, faces, pixels, SIDE_SIZE, renderer)
    facing = _facing(front, nearest, 2 * reach * points[..., 2:])
    return facing.sum(1) / front.covered.float().mean(-1).sum(1).clamp_min(1e-3)


def _facing(front: Surface, nearest: Surface, depth: Tensor) -> Tensor:
    """The facing loss (H, N) of the culled and the nearest surface; depth (H, N, V, 1) of the vertices."""
    turned = front.covered & (front.index != nearest.index)
    ahead, near = (surface.of_vertices(depth)[..., 0] for surface in (front, nearest))
    return losses.facing_loss(ahead, near, turned.float())


def _surface_terms(model: Model, seen: Observations, link: Link, frames: Tensor, points: Tensor, renderer: Renderer,
                   symmetry: float) -> dict[str, Tensor]:
    """Contour, flow and colour at the sampled pixels, and which way the surface faces there."""
    view = points, model.mesh.faces, seen.pixels[frames], seen.size, renderer
    front, nearest = Surface.front_and_nearest(*view)
    hit = front.covered * seen.frame_weight[frames][:, None]
    facing = _facing(front, nearest, points[..., 2:])
    places = points[..., :2], seen.places[frames]
    if model.skeleton is None:
        contour = losses.contour_loss(*places)
    else:
        contour = losses.contour_loss(*places, _hidden(points.detach(), model.mesh.faces, nearest), ~nearest.covered)

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
