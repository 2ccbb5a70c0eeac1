"""What self-supervised training of a category starts from: a symmetric template and a camera for each mask.

Nothing but masks is known. From an ellipsoid on, two steps take turns on some of the pictures (expectation and
maximisation; UMR, UCMR): each picture is compared with the template seen from all round and keeps what explains it
best; then the template and the kept cameras descend together. At last every picture gets its camera.

Under weak perspective a symmetric body has one outline from the front left, seen from above, and from the hind left,
seen from below: animals are expected to be looked down on a little, which decides where it can be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from .. import losses
from ..geometry.cameras import LEVEL_CAMERA
from ..geometry.resampling import spread_evenly
from ..geometry.rotations import about_x, about_z, from_axis_angle
from ..geometry.smoothing import Preconditioner, UniformAdam
from ..geometry.sphere import Sphere, icosphere, mirror_image
from ..geometry.topology import edges_of
from ..job import BadInput
from ..rendering import Renderer
from ..vmr.objective import EDGE_SOFTNESS, WeakCamera
from .instances import RowAdam

FEWEST = 8
"""Masks; fewer show too little of a body."""
STUDIED = 256
"""Pictures that the template is learnt from."""
SIZE = 48
"""Pixels, of masks that are compared."""
HEADINGS = 24
ELEVATIONS, ROLLS = np.radians([-12.0, 8, 28]), np.radians([-12.0, 0, 12])
"""Radians; of the views that each picture is compared with."""
USUAL_ELEVATION, ELEVATION_SPREAD, ROLL_SPREAD = math.radians(8), math.radians(18), math.radians(10)
PRIOR = 0.02
"""What an elevation or roll one spread away from the usual costs, beside 1 - IoU."""
KEPT = 3
"""Hypotheses of each picture that are refined."""
FRAME, ROOM = 32, 1.6
"""Pixels of a mask brought to the middle and to one area, and half that frame over the root of the area."""
STRENGTHS = (30.0, 30.0, 20.0, 20.0, 12.0, 12.0, 8.0, 8.0)
"""Of the preconditioner in each round: detail grows."""
SPREAD_AFTER = (3, 5)
"""Rounds after which the template's vertices are spread evenly."""
EPOCHS, BATCH, REFINING = 6, 32, 12
TURN_RATE, PLACE_RATE, SHAPE_RATE = 0.03, 0.02, 0.3
"""Radians, crop units (also of the scale's logarithm), and the rate of `UniformAdam`."""
WEIGHTS = {"contour": 2.0, "facing": 5.0, "laplacian": 30.0}
TRUSTED = 0.8
"""Share of the pictures, those explained best, that the template follows: no rigid shape explains the rest."""


@dataclass(frozen=True)
class Views:
    """A category as one rigid body, and how each picture sees it."""

    template: np.ndarray
    """(V, 3) float64, symmetric at x = 0, object space: z up, one end at -y, longest extent 1. Which end is the front
    silhouettes cannot tell, but it is the same one for all pictures."""
    sphere: Sphere
    """Level 3, with the template's vertices where they are spread evenly."""
    camera: WeakCamera
    """Of all N pictures."""
    scores: np.ndarray
    """(N, C) losses of the hypotheses tried last, the lowest first: the camera's."""


@dataclass(frozen=True)
class _Pictures:
    """N masks as they are compared."""

    masks: Tensor
    """(N, SIZE, SIZE) in 0..1."""
    inside: Tensor
    """(N, P, 2) places inside, crop coordinates."""
    frames: _Frames

    def __getitem__(self, chosen: Tensor) -> _Pictures:
        return _Pictures(self.masks[chosen], self.inside[chosen], self.frames[chosen])

    def __len__(self) -> int:
        return len(self.masks)


@dataclass(frozen=True)
class _Frames:
    """Masks brought to the middle and to one area, and where they were: placed = centre + half * framed."""

    masks: Tensor
    """(N, FRAME ** 2)"""
    centre: Tensor
    """(N, 2) crop units."""
    half: Tensor
    """(N,) crop units."""

    def __getitem__(self, chosen: Tensor) -> _Frames:
        return _Frames(self.masks[chosen], self.centre[chosen], self.half[chosen])


class _Template:
    """A symmetric shape on a sphere and what descends it."""

    def __init__(self, sphere: Sphere, vertices: Tensor, strength: float):
        self.sphere = sphere
        self.faces, self.mirror, self.edges = (
            torch.from_numpy(array) for array in (sphere.faces, sphere.mirror, edges_of(sphere.faces)))
        self._preconditioner = Preconditioner(sphere.faces, len(vertices), strength, vertices.device)
        self._latent = self._preconditioner.latent(vertices[None]).requires_grad_()
        self.optimiser = UniformAdam([{"params": [self._latent], "lr": SHAPE_RATE}])

    def vertices(self) -> Tensor:
        """(V, 3)"""
        vertices = self._preconditioner.vertices(self._latent)[0]
        return (vertices + mirror_image(vertices, self.mirror)) / 2


def views_of(masks: np.ndarray, renderer: Renderer, seed: int, progress: Callable[[int, int], None]) -> Views:
    """The template of N masks (N, S, S) uint8, crops of one category, and a camera for each; renderer of the CPU.

    progress  called with (steps done, steps)

    BadInput where masks show nothing, or are too few.
    """
    random = np.random.default_rng(seed)
    pictures = _pictures(masks, random)
    studied = pictures[torch.from_numpy(np.sort(random.permutation(len(pictures))[:STUDIED]))]
    steps = len(STRENGTHS) + math.ceil(len(pictures) / STUDIED)
    template, camera, trusted = _side_views(studied, random)
    for round_, strength in enumerate(STRENGTHS):
        template = _Template(template.sphere, template.vertices().detach(), strength)
        if round_:
            camera, scores = _explained(template, studied, renderer)
            trusted = torch.from_numpy(np.argsort(scores[:, 0], kind="stable")[: round(TRUSTED * len(studied))])
        _learn(template, camera[trusted], studied[trusted], renderer, random)
        template = _normalised(template, round_ in SPREAD_AFTER)
        progress(round_ + 1, steps)
    cameras, scores = [], []
    for some in torch.arange(len(pictures)).split(STUDIED):
        camera, score = _explained(template, pictures[some], renderer)
        cameras.append(camera)
        scores.append(score)
        progress(len(STRENGTHS) + len(scores), steps)
    return Views(template.vertices().detach().double().numpy(), template.sphere, _joined(cameras),
                 np.concatenate(scores))


def _pictures(masks: np.ndarray, random: np.random.Generator) -> _Pictures:
    empty = np.flatnonzero(~(masks > 127).any((1, 2)))
    if len(empty):
        raise BadInput(f"masks: found nothing in number {empty[0]}, needs a subject in each")
    if len(masks) < FEWEST:
        raise BadInput(f"masks: found {len(masks)}, needs at least {FEWEST} to learn a shape from")
    small = interpolate(torch.from_numpy(masks).float()[:, None] / 255, (SIZE, SIZE), mode="area")[:, 0]
    inside = np.stack([_places_inside(mask, 128, random) for mask in small.numpy()])
    return _Pictures(small, torch.from_numpy(inside), _framed(small))


def _places_inside(mask: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Random pixel centres (count, 2) of a mask (S, S), crop coordinates."""
    share = mask.ravel().astype(float)
    pixel = random.choice(mask.size, count, p=share / share.sum())
    size = mask.shape[1]
    return (np.stack([pixel % size, pixel // size], -1) * (2 / size) + (1 / size - 1)).astype(np.float32)


def _framed(masks: Tensor) -> _Frames:
    """Masks (N, S, S) in the middle and at one area."""
    size = masks.shape[-1]
    place = (torch.arange(size) * 2 + 1) / size - 1
    total = masks.sum((1, 2)).clamp_min(1e-6)
    centre = torch.stack([(masks.sum(1) * place).sum(1), (masks.sum(2) * place).sum(1)], 1) / total[:, None]
    half = ROOM * total.sqrt() * 2 / size
    to_place = torch.cat([half[:, None, None] * torch.eye(2), centre[:, :, None]], 2)
    grid = affine_grid(to_place, [len(masks), 1, FRAME, FRAME], align_corners=False)
    return _Frames(grid_sample(masks[:, None], grid, align_corners=False).flatten(1), centre, half)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (N, M) of framed masks (N, P) and (M, P)."""
    both = a @ b.T
    return both / (a.square().sum(1)[:, None] + b.square().sum(1) - both)


def _side_views(pictures: _Pictures, random: np.random.Generator) -> tuple[_Template, WeakCamera, Tensor]:
    """An ellipsoid of the pictures' proportions, and cameras that see the wide ones from a side.

    Those that seem turned round, compared with the mean of the others, are seen from the other side.
    """
    wide, height, width = _proportions(pictures)
    sphere = icosphere(3)
    ellipsoid = torch.from_numpy(sphere.vertices * [width / 2, 0.5, height / 2]).float()
    side = torch.from_numpy(np.where(_turned_round(pictures.frames.masks[wide], random), -1.0, 1.0)).float()
    rotation = LEVEL_CAMERA @ about_z(side * math.pi / 2)
    sign = torch.zeros(len(pictures))
    sign[wide] = side
    rotation = LEVEL_CAMERA @ about_z(sign * math.pi / 2)
    area = math.pi / 4 * height
    camera = WeakCamera(rotation, pictures.frames.half / (ROOM * math.sqrt(area)), pictures.frames.centre)
    return _Template(sphere, ellipsoid, STRENGTHS[0]), camera, wide


def _proportions(pictures: _Pictures) -> tuple[Tensor, float, float]:
    """Indices of the wide half of the pictures, their height and the narrow ones' width over the wide ones' length."""
    framed = pictures.frames.masks.view(-1, FRAME, FRAME)
    place = (torch.arange(FRAME) * 2 + 1) / FRAME - 1
    share = framed / framed.sum((1, 2), keepdim=True)
    across = (share.sum(1) * place.square()).sum(1).sqrt()
    down = (share.sum(2) * place.square()).sum(1).sqrt()
    aspect = across / down
    wide = (aspect >= aspect.median()).nonzero()[:, 0]
    height = float((1 / aspect[wide]).median())
    width = height * float(aspect.quantile(0.1))
    return wide, min(height, 1.0), min(max(width, 0.15), 0.8)


def _turned_round(framed: Tensor, random: np.random.Generator, starts: int = 12, rounds: int = 20) -> np.ndarray:
    """Which of masks (N, FRAME ** 2) are alike when mirrored, as bool (N,)."""
    mirrored = framed.view(-1, FRAME, FRAME).flip(2).flatten(1)
    best, found = -math.inf, np.zeros(len(framed), bool)
    for _ in range(starts):
        turned = torch.from_numpy(random.random(len(framed)) < 0.5)
        for _ in range(rounds):
            mean = torch.where(turned[:, None], mirrored, framed).mean(0)
            turned = mirrored @ mean > framed @ mean
        agreement = float(torch.where(turned[:, None], mirrored, framed).mean(0).square().sum())
        if agreement > best:
            best, found = agreement, turned.numpy()
    return found


def _all_round() -> Tensor:
    """Rotations (HEADINGS, E * R, 3, 3) of the views that each picture is compared with."""
    heading = torch.arange(HEADINGS) * (2 * math.pi / HEADINGS)
    elevation, roll = (torch.from_numpy(a.ravel()).float() for a in np.meshgrid(ELEVATIONS, ROLLS))
    tilt = about_z(roll) @ about_x(elevation) @ LEVEL_CAMERA
    return tilt @ about_z(heading)[:, None]


def _unlikeliness(rotation: Tensor) -> Tensor:
    """Cost (...) of rotations (..., 3, 3) of which the subject stands askew, or is not looked at from about level."""
    elevation = torch.asin((-rotation[..., 2, 2]).clamp(-0.999, 0.999))
    roll = torch.atan2(rotation[..., 0, 2], -rotation[..., 1, 2])
    return PRIOR * (((elevation - USUAL_ELEVATION) / ELEVATION_SPREAD).square() + (roll / ROLL_SPREAD).square())


def _explained(template: _Template, pictures: _Pictures, renderer: Renderer) -> tuple[WeakCamera, np.ndarray]:
    """The best camera of each picture, and the losses (N, KEPT) of its hypotheses, in ascending order."""
    hypotheses = _hypotheses(template, pictures.frames, renderer)
    rows = torch.arange(len(pictures)).repeat_interleave(KEPT)
    refined, loss = _refined(template, hypotheses, pictures[rows], renderer)
    loss, order = loss.view(-1, KEPT).sort(dim=1, stable=True)
    return refined[torch.arange(len(pictures)) * KEPT + order[:, 0]], loss.numpy()


def _hypotheses(template: _Template, frames: _Frames, renderer: Renderer) -> WeakCamera:
    """KEPT cameras of each picture (N * KEPT), of the headings that explain it better than those beside them."""
    rotation = _all_round()
    tilts = rotation.shape[1]
    drawn = WeakCamera(rotation.flatten(0, 1), torch.full((HEADINGS * tilts,), 1.4),
                       torch.zeros(HEADINGS * tilts, 2))
    vertices = template.vertices().detach()
    seen = _framed(_silhouettes(vertices, template.faces, drawn, renderer))
    cost = 1 - _overlap(frames.masks, seen.masks) + _unlikeliness(drawn.rotation)
    cost, tilt = cost.view(-1, HEADINGS, tilts).min(2)
    lowest = (cost <= cost.roll(1, 1)) & (cost <= cost.roll(-1, 1))
    heading = (cost + 10.0 * ~lowest).topk(KEPT, 1, largest=False).indices
    view = (heading * tilts + tilt.gather(1, heading)).flatten()
    row = torch.arange(len(cost)).repeat_interleave(KEPT)
    zoom = frames.half[row] / seen.half[view]
    return WeakCamera(drawn.rotation[view], drawn.scale[view] * zoom,
                      frames.centre[row] - zoom[:, None] * seen.centre[view])


def _silhouettes(vertices: Tensor, faces: Tensor, camera: WeakCamera, renderer: Renderer) -> Tensor:
    """Soft silhouettes (N, SIZE, SIZE) of one body (V, 3) seen by N cameras."""
    points = camera.project(vertices.expand(len(camera.scale), -1, -1))
    return renderer.silhouette(points, faces, SIZE, (2 * EDGE_SOFTNESS / SIZE) ** 2)


def _refined(template: _Template, camera: WeakCamera, pictures: _Pictures,
             renderer: Renderer) -> tuple[WeakCamera, Tensor]:
    """Cameras after a short descent, and their losses (N,)."""
    vertices = template.vertices().detach()
    cameras, found = [], []
    for some in torch.arange(len(pictures)).split(BATCH):
        poses = _Poses(camera[some])
        masks = pictures.masks[some]
        optimiser = torch.optim.Adam([{"params": [poses.turn], "lr": TURN_RATE},
                                      {"params": [poses.place], "lr": PLACE_RATE}])
        for step in range(REFINING + 1):
            seen = poses.camera()
            alpha = _silhouettes(vertices, template.faces, seen, renderer)
            loss = losses.silhouette_loss(alpha, masks, torch.ones_like(alpha)) + _unlikeliness(seen.rotation)
            if step == REFINING:
                break
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
        cameras.append(WeakCamera(seen.rotation.detach(), seen.scale.detach(), seen.shift.detach()))
        found.append(loss.detach())
    return _joined(cameras), torch.cat(found)


class _Poses:
    """Cameras as what is descended."""

    def __init__(self, camera: WeakCamera):
        self._rotation = camera.rotation
        self.turn = torch.zeros_like(camera.rotation[:, 0]).requires_grad_()
        self.place = torch.cat([camera.shift, camera.scale.log()[:, None]], 1).requires_grad_()

    def camera(self) -> WeakCamera:
        return WeakCamera(from_axis_angle(self.turn) @ self._rotation, self.place[:, 2].exp(), self.place[:, :2])


def _learn(template: _Template, camera: WeakCamera, pictures: _Pictures, renderer: Renderer,
           random: np.random.Generator) -> None:
    """Descend the template, and the cameras with it."""
    turn = torch.zeros(len(pictures), 3)
    place = torch.cat([camera.shift, camera.scale.log()[:, None]], 1)
    optimiser = RowAdam([(turn, torch.tensor(TURN_RATE)), (place, torch.tensor(PLACE_RATE))])
    for _ in range(EPOCHS):
        for batch in torch.from_numpy(random.permutation(len(pictures))).split(BATCH):
            leaves = [turn[batch].requires_grad_(), place[batch].requires_grad_()]
            seen = WeakCamera(from_axis_angle(leaves[0]) @ camera.rotation[batch], leaves[1][:, 2].exp(),
                              leaves[1][:, :2])
            loss = _misfit(template, seen, pictures[batch], renderer)
            template.optimiser.zero_grad()
            (len(batch) * loss).backward()
            optimiser.step(batch, [leaf.grad for leaf in leaves])
            template.optimiser.step()


def _misfit(template: _Template, camera: WeakCamera, pictures: _Pictures, renderer: Renderer) -> Tensor:
    """What the template and the cameras of a batch of pictures descend: a number."""
    vertices = template.vertices()
    points = camera.project(vertices.expand(len(pictures), -1, -1))
    alpha = renderer.silhouette(points, template.faces, SIZE, (2 * EDGE_SOFTNESS / SIZE) ** 2)
    front, nearest = renderer.front_and_nearest(points.detach(), template.faces, SIZE)
    turned = (front.face_index >= 0) & (front.face_index != nearest.face_index)
    each = (losses.silhouette_loss(alpha, pictures.masks, torch.ones_like(alpha))
            + WEIGHTS["contour"] * losses.contour_loss(points[..., :2], pictures.inside)
            + _unlikeliness(camera.rotation)
            + WEIGHTS["facing"] * losses.facing_loss(_depth(points, template.faces, front).flatten(1),
                                                     _depth(points, template.faces, nearest).flatten(1),
                                                     turned.flatten(1)))
    return each.mean() + WEIGHTS["laplacian"] * losses.laplacian_loss(vertices, template.edges)


def _depth(points: Tensor, faces: Tensor, seen) -> Tensor:
    """(N, H, W) of what is seen, differentiable."""
    corners = faces[seen.face_index.clamp_min(0).long()]
    rows = torch.arange(len(points))[:, None, None, None]
    return (points[rows, corners][..., 2] * seen.barycentrics).sum(-1)


def _normalised(template: _Template, spread: bool) -> _Template:
    """The template at the origin and 1 long, with its vertices spread evenly if told so."""
    sphere, vertices = template.sphere, template.vertices().detach().double().numpy()
    if spread:
        sphere, vertices = spread_evenly(sphere, vertices)
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2 * [0, 1, 1]) / (high - low).max()
    return _Template(sphere, torch.from_numpy(vertices).float(), STRENGTHS[-1])


def _joined(cameras: list[WeakCamera]) -> WeakCamera:
    return WeakCamera(*(torch.cat([getattr(one, name) for one in cameras]) for name in ("rotation", "scale", "shift")))
