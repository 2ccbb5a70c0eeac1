"""What self-supervised training of a category starts from: a symmetric template and a camera for each mask.

Nothing but masks is known. From an ellipsoid on, two steps take turns on some of the pictures (expectation and
maximisation; UMR, UCMR): each picture is compared with the template seen from all round and keeps what explains it
best; then the template and the kept cameras descend together. At last every picture gets its camera.

Under weak perspective a symmetric body has one outline from the front left, seen from above, and from the hind left,
seen from below: animals are expected to be looked down on a little, which decides between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from .. import losses
from ..fitting.data_terms import mask_term, softness
from ..fitting.optimise import RowAdam, UniformAdam, descend, rows_of
from ..geometry.cameras import LEVEL_CAMERA, WeakCamera
from ..geometry.resampling import spread_evenly
from ..geometry.rotations import about_x, about_z, from_axis_angle
from ..geometry.smoothing import Preconditioner
from ..geometry.sphere import Sphere, icosphere, mirror_image, subdivided
from ..geometry.topology import edges_of
from ..job import BadInput
from ..rendering import Renderer
from ..rendering.surface import facing_everywhere
from ..rows import Rows
from ..vmr.objective import samples_inside

FEWEST = 8
"""Masks; fewer show too little of a body."""
INSIDE = 128
"""Samples inside each mask, for the contour term."""
FITTED = 256
"""Pictures that the template is fitted to."""
SIZE = 48
"""Pixels, of masks that are compared."""
HEADINGS = 24
ELEVATIONS, ROLLS, GIRTHS = np.radians([-12.0, 8, 28]), np.radians([-15.0, 0, 15]), np.log([0.7, 1, 1.43])
"""Radians, and logarithms of factors; of the views that each picture is compared with."""
USUAL_ELEVATION, ELEVATION_SPREAD, ROLL_SPREAD, GIRTH_SPREAD = math.radians(8), math.radians(18), math.radians(15), 0.4
PRIOR = 0.02
"""What an elevation, roll or girth one spread away from the usual costs, beside 1 - IoU."""
KEPT = 3
"""Hypotheses of each picture that are refined."""
FRAME, ROOM = 32, 1.6
"""Pixels of a mask brought to the middle and to one area, and half that frame over the root of the area."""
STRENGTHS = (30.0, 30.0, 20.0, 20.0, 12.0, 12.0, 8.0, 8.0)
"""Of the preconditioner in each round: detail grows."""
FINER_AFTER, SPREAD_AFTER = 4, (2, 4, 5)
"""Rounds after which the template's faces are divided, and after which its vertices are spread evenly."""
BATCHES, REPEATS, BATCH = 42, 16, 32
"""Batches that the template is fitted to in each round, how often a picture is in them at most, and the pictures in
one."""
STEPS, LAST_STEPS = 5, 12
"""Of a hypothesis' descent, between the rounds and after them."""
RATES, SHAPE_RATE = (0.03, 0.02, 0.05), 0.3
"""Radians; crop units, also of the scale's logarithm; of the girth; and the rate of `UniformAdam`."""
WEIGHTS = {"contour": 2.0, "facing": 5.0, "laplacian": 30.0, "roundness": 0.1, "ridge": 30.0}
"""Of the terms beside the outlines'."""
ROUNDNESS = 0.8
"""Width over height, on the average along a body: outlines leave hollows where no picture looks along the surface, and
few pictures show how wide a body is."""
SLOPE = 0.5
"""Of the roof under which flanks stay."""
TRUSTED = 0.8
"""Fraction of the pictures, those explained best, that the template follows: no rigid shape explains the rest."""


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


@dataclass(frozen=True)
class _Pictures(Rows):
    """N masks as they are compared."""

    masks: Tensor
    """(N, SIZE, SIZE) in 0..1."""
    inside: Tensor
    """(N, P, 2) samples inside, crop coordinates."""
    frames: _Frames


@dataclass(frozen=True)
class _Frames(Rows):
    """Masks brought to the middle and to one area, and where they were: placed = centre + half * framed."""

    masks: Tensor
    """(N, FRAME ** 2)"""
    centre: Tensor
    """(N, 2) crop units."""
    half: Tensor
    """(N,) crop units."""


class _Ridge:
    """The upper half of a shape's line in the mirror plane, and what lies beside it."""

    def __init__(self, sphere: Sphere):
        x, y, z = sphere.vertices.T
        line = np.flatnonzero((np.abs(x) < 1e-9) & (z > -1e-9))
        line = line[np.argsort(y[line])]
        beside = np.flatnonzero((np.abs(x) > 1e-9) & (z > 0))
        after = np.searchsorted(y[line], y[beside]).clip(1, len(line) - 1)
        before, after = line[after - 1], line[after]
        fraction = ((y[beside] - y[before]) / (y[after] - y[before])).clip(0, 1)
        self._beside, self._before, self._after = (torch.from_numpy(a) for a in (beside, before, after))
        self._fraction = torch.from_numpy(fraction).float()

    def sunk(self, vertices: Tensor) -> Tensor:
        """Mean square of how far the flanks of a body (V, 3) stand above a roof whose ridge is its back.

        Seen from a side, flanks that stand up like the walls of a boat hide the back, and no outline would ever tell.
        """
        z = vertices[:, 2]
        ridge = torch.lerp(z[self._before], z[self._after], self._fraction)
        roof = ridge - SLOPE * vertices[self._beside, 0].abs().detach()
        return torch.relu(z[self._beside] - roof).square().mean()


class _Template:
    """A symmetric shape on a sphere, as it is optimised."""

    def __init__(self, sphere: Sphere, vertices: Tensor, strength: float):
        self.sphere = sphere
        self.faces, self.mirror, self.edges = (
            torch.from_numpy(array) for array in (sphere.faces, sphere.mirror, edges_of(sphere.faces)))
        self.ridge = _Ridge(sphere)
        self._preconditioner = Preconditioner(sphere.faces, len(vertices), strength, vertices.device)
        self.latent = self._preconditioner.latent(vertices[None]).requires_grad_()

    def vertices(self) -> Tensor:
        """(V, 3)"""
        vertices = self._preconditioner.vertices(self.latent)[0]
        return (vertices + mirror_image(vertices, self.mirror)) / 2


def views_of(masks: np.ndarray, renderer: Renderer, seed: int, progress: Callable[[int, int], None]) -> Views:
    """The template of N masks (N, S, S) uint8, crops of one category, and a camera for each; renderer of the CPU.

    progress  called with (steps done, steps)

    BadInput where masks show nothing, or are too few.
    """
    random = np.random.default_rng(seed)
    pictures = _pictures(masks, random)
    fitted = pictures[torch.from_numpy(np.sort(random.permutation(len(pictures))[:FITTED]))]
    steps = len(STRENGTHS) + math.ceil(len(pictures) / FITTED)
    template, poses, trusted = _side_views(fitted, random)
    for round_, strength in enumerate(STRENGTHS):
        template = _Template(template.sphere, template.vertices().detach(), strength)
        if round_:
            tried, scores = _explained(template, fitted, renderer, STEPS)
            poses = tried[torch.arange(0, len(scores) * KEPT, KEPT)]
            trusted = scores[:, 0].argsort(stable=True)[: round(TRUSTED * len(fitted))]
        _improve(template, poses[trusted], fitted[trusted], renderer, random)
        template = _normalised(template, round_)
        progress(round_ + 1, steps)
    cameras: list[WeakCamera] = []
    for some in torch.arange(len(pictures)).split(FITTED):
        tried, _ = _explained(template, pictures[some], renderer, LAST_STEPS)
        cameras.append(tried.rigid_camera[::KEPT])
        progress(len(STRENGTHS) + len(cameras), steps)
    return Views(template.vertices().detach().double().numpy(), template.sphere, WeakCamera.joined(cameras))


def _pictures(masks: np.ndarray, random: np.random.Generator) -> _Pictures:
    empty = np.flatnonzero(~(masks > 127).any((1, 2)))
    if len(empty):
        raise BadInput(f"masks: found nothing in number {empty[0]}, needs a subject in each")
    if len(masks) < FEWEST:
        raise BadInput(f"masks: found {len(masks)}, needs at least {FEWEST} to learn a shape from")
    small = interpolate(torch.from_numpy(masks).float()[:, None] / 255, (SIZE, SIZE), mode="area")[:, 0]
    chance = torch.from_numpy(random.random((len(small), INSIDE), np.float32))
    return _Pictures(small, samples_inside(small, chance), _framed(small))


def _framed(masks: Tensor) -> _Frames:
    """Masks (N, S, S) in the middle and at one area."""
    size = masks.shape[-1]
    line = (torch.arange(size) * 2 + 1) / size - 1
    total = masks.sum((1, 2)).clamp_min(1e-6)
    centre = torch.stack([(masks.sum(1) * line).sum(1), (masks.sum(2) * line).sum(1)], 1) / total[:, None]
    half = ROOM * total.sqrt() * 2 / size
    to_crop = torch.cat([half[:, None, None] * torch.eye(2), centre[:, :, None]], 2)
    grid = affine_grid(to_crop, [len(masks), 1, FRAME, FRAME], align_corners=False)
    return _Frames(grid_sample(masks[:, None], grid, align_corners=False).flatten(1), centre, half)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (N, M) of framed masks (N, P) and (M, P)."""
    both = a @ b.T
    return both / (a.square().sum(1)[:, None] + b.square().sum(1) - both)


def _side_views(pictures: _Pictures, random: np.random.Generator) -> tuple[_Template, _Poses, Tensor]:
    """An ellipsoid of the pictures' proportions, poses that show the wide ones from a side, and which are wide.

    Those that seem turned round, compared with the mean of the others, are seen from the other side.
    """
    wide, height, width = _proportions(pictures)
    sphere = icosphere(2)
    ellipsoid = torch.from_numpy(sphere.vertices * [width / 2, 0.5, height / 2]).float()
    side = torch.zeros(len(pictures))
    side[wide] = torch.from_numpy(np.where(_turned_round(pictures.frames.masks[wide], random), -1.0, 1.0)).float()
    scale = pictures.frames.half / (ROOM * math.sqrt(math.pi / 4 * height))
    poses = _Poses(LEVEL_CAMERA @ about_z(side * math.pi / 2),
                   torch.cat([pictures.frames.centre, scale.log()[:, None]], 1), torch.zeros(len(pictures), 1))
    return _Template(sphere, ellipsoid, STRENGTHS[0]), poses, wide


def _proportions(pictures: _Pictures) -> tuple[Tensor, float, float]:
    """Indices of the wide half of the pictures, their height and the narrow ones' width over the wide ones' length."""
    framed = pictures.frames.masks.view(-1, FRAME, FRAME)
    line = (torch.arange(FRAME) * 2 + 1) / FRAME - 1
    weight = framed / framed.sum((1, 2), keepdim=True)
    across = (weight.sum(1) * line.square()).sum(1).sqrt()
    down = (weight.sum(2) * line.square()).sum(1).sqrt()
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


def _all_round() -> tuple[Tensor, Tensor]:
    """The views that each picture is compared with: rotations (HEADINGS, B, 3, 3) and girths (B,)."""
    heading = torch.arange(HEADINGS) * (2 * math.pi / HEADINGS)
    elevation, roll, girth = (torch.from_numpy(a.ravel()).float() for a in np.meshgrid(ELEVATIONS, ROLLS, GIRTHS))
    tilt = about_z(roll) @ about_x(elevation) @ LEVEL_CAMERA
    return tilt @ about_z(heading)[:, None], girth


def _unlikeliness(rotation: Tensor, girth: Tensor) -> Tensor:
    """Cost (...) of rotations (..., 3, 3) of which the subject stands askew, or is not seen from about level, and
    of unusual girths (...)."""
    elevation = torch.asin((-rotation[..., 2, 2]).clamp(-0.999, 0.999))
    roll = torch.atan2(rotation[..., 0, 2], -rotation[..., 1, 2])
    away = [(elevation - USUAL_ELEVATION) / ELEVATION_SPREAD, roll / ROLL_SPREAD, girth / GIRTH_SPREAD]
    return PRIOR * torch.stack(away).square().sum(0)


@dataclass(frozen=True)
class _Poses(Rows):
    """How P pictures see the template."""

    rotation: Tensor
    """(P, 3, 3) object to camera."""
    placement: Tensor
    """(P, 3) shift in crop units and the scale's logarithm."""
    girth: Tensor
    """(P, 1) logarithm of what x and z are multiplied by: a stout animal seen from its side is not a slim one that
    turns away."""

    @property
    def camera(self) -> WeakCamera:
        return WeakCamera(self.rotation, self.placement[:, 2].exp(), self.placement[:, :2])

    @property
    def rigid_camera(self) -> WeakCamera:
        """The one that shows the template itself at about the area of its stouter or slimmer likeness."""
        return _Poses(self.rotation, self.placement + torch.tensor([0, 0, 0.5]) * self.girth, self.girth).camera

    def moved(self, turn: Tensor, placement: Tensor, girth: Tensor) -> _Poses:
        """After a turn (P, 3), axis-angle in the camera's axes."""
        return _Poses(from_axis_angle(turn) @ self.rotation, placement, girth)

    def tables(self) -> list[Tensor]:
        """What `moved` takes, to be optimised."""
        tables = torch.zeros_like(self.placement), self.placement.clone(), self.girth.clone()
        return [table.requires_grad_() for table in tables]

    def points(self, vertices: Tensor) -> Tensor:
        """(P, V, 3) of the template (V, 3), as `WeakCamera.project`."""
        factor = torch.cat([self.girth, torch.zeros_like(self.girth), self.girth], 1).exp()
        return self.camera.project(vertices * factor[:, None])

    def unlikeliness(self) -> Tensor:
        """(P,)"""
        return _unlikeliness(self.rotation, self.girth[:, 0])


def _explained(template: _Template, pictures: _Pictures, renderer: Renderer, steps: int) -> tuple[_Poses, Tensor]:
    """Poses (N * KEPT) of each picture after some steps of descent, the best first, and their losses (N, KEPT)."""
    hypotheses = _hypotheses(template, pictures.frames, renderer)
    first = torch.arange(len(pictures))[:, None] * KEPT
    refined, loss = _refined(template, hypotheses, pictures[torch.arange(len(pictures)).repeat_interleave(KEPT)],
                             renderer, steps)
    loss, order = loss.view(-1, KEPT).sort(dim=1, stable=True)
    return refined[(first + order).flatten()], loss


def _hypotheses(template: _Template, frames: _Frames, renderer: Renderer) -> _Poses:
    """KEPT poses of each picture (N * KEPT), of the headings that explain it better than those beside them."""
    rotation, girth = _all_round()
    bodies = len(girth)
    girth = girth.repeat(HEADINGS)[:, None]
    drawn = _Poses(rotation.flatten(0, 1), torch.tensor([0.0, 0, math.log(1.4)]).expand(len(girth), -1), girth)
    points = drawn.points(template.vertices().detach())
    seen = _framed(renderer.silhouette(points, template.faces, SIZE, softness(SIZE)))
    cost = 1 - _overlap(frames.masks, seen.masks) + drawn.unlikeliness()
    cost, body = cost.view(-1, HEADINGS, bodies).min(2)
    lowest = (cost <= cost.roll(1, 1)) & (cost <= cost.roll(-1, 1))
    heading = (cost + 10.0 * ~lowest).topk(KEPT, 1, largest=False).indices
    view = (heading * bodies + body.gather(1, heading)).flatten()
    row = torch.arange(len(cost)).repeat_interleave(KEPT)
    zoom = (frames.half[row] / seen.half[view])[:, None]
    placement = torch.cat([frames.centre[row] - zoom * seen.centre[view], drawn.placement[view, 2:] + zoom.log()], 1)
    return _Poses(drawn.rotation[view], placement, girth[view])


def _refined(template: _Template, poses: _Poses, pictures: _Pictures, renderer: Renderer,
             steps: int) -> tuple[_Poses, Tensor]:
    """Poses after a short descent, and their losses (P,)."""
    vertices = template.vertices().detach()
    tables = poses.tables()
    found = torch.zeros(len(pictures))
    for some in torch.arange(len(pictures)).split(BATCH):

        def evaluate(_: int, some: Tensor = some) -> dict[str, Tensor]:
            seen = poses[some].moved(*(rows_of(table, some) for table in tables))
            misfit = mask_term(seen.points(vertices), template.faces, pictures.masks[some], renderer)
            return {"misfit": misfit + seen.unlikeliness()}

        descend(_groups(tables), evaluate, lambda step: {"misfit": 1.0}, steps)
        with torch.no_grad():
            found[some] = evaluate(steps)["misfit"]
    return poses.moved(*(table.detach() for table in tables)), found


def _improve(template: _Template, poses: _Poses, pictures: _Pictures, renderer: Renderer,
           random: np.random.Generator) -> None:
    """Descend the template, and the poses with it."""
    tables = poses.tables()
    order = torch.from_numpy(np.concatenate([random.permutation(len(pictures)) for _ in range(REPEATS)]))
    batches = [batch.unique() for batch in order.split(min(BATCH, len(pictures)))[:BATCHES]]

    def evaluate(step: int) -> dict[str, Tensor]:
        batch = batches[step]
        moved = poses[batch].moved(*(rows_of(table, batch) for table in tables))
        return {"misfit": len(batch) * _misfit(template, moved, pictures[batch], renderer)}

    groups = [{"params": [template.latent], "lr": SHAPE_RATE, "optimiser": UniformAdam}, *_groups(tables)]
    descend(groups, evaluate, lambda step: {"misfit": 1.0}, len(batches))


def _groups(tables: list[Tensor]) -> list[dict]:
    return [{"params": [table], "lr": rate, "optimiser": RowAdam} for table, rate in zip(tables, RATES, strict=True)]


def _misfit(template: _Template, poses: _Poses, pictures: _Pictures, renderer: Renderer) -> Tensor:
    """What the template and the poses of a batch of pictures descend: a number."""
    vertices = template.vertices()
    points = poses.points(vertices)
    each = (mask_term(points, template.faces, pictures.masks, renderer)
            + WEIGHTS["contour"] * losses.contour_loss(points[..., :2], pictures.inside)
            + WEIGHTS["facing"] * facing_everywhere(points, template.faces, SIZE, renderer) + poses.unlikeliness())
    return (each.mean() + WEIGHTS["laplacian"] * losses.laplacian_loss(vertices, template.edges)
            + WEIGHTS["roundness"] * _unroundness(vertices, template.faces)
            + WEIGHTS["ridge"] * template.ridge.sunk(vertices))


def _unroundness(vertices: Tensor, faces: Tensor) -> Tensor:
    """How far the volume of a body is from that of one as wide as ROUNDNESS times its height: squared logarithm."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volume = (torch.linalg.cross(a, b) * c).sum() / 6
    from_side = torch.linalg.cross(b - a, c - a)[:, 0].abs().sum() / 4
    length = vertices[:, 1].max() - vertices[:, 1].min()
    meant = math.pi / 4 * ROUNDNESS * (from_side.square() / length).detach()
    return (volume / meant).clamp_min(0.05).log().square()


def _normalised(template: _Template, round_: int) -> _Template:
    """The template at the origin and 1 long; finer or with its vertices spread evenly where this round ends so."""
    sphere, vertices = template.sphere, template.vertices().detach().double().numpy()
    if round_ == FINER_AFTER:
        sphere, vertices = subdivided(sphere, vertices)
    if round_ in SPREAD_AFTER:
        sphere, vertices = spread_evenly(sphere, vertices)
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2 * [0, 1, 1]) / (high - low).max()
    return _Template(sphere, torch.from_numpy(vertices).float(), STRENGTHS[round_])
