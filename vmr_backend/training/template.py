"""A first shape for a category: a sphere drawn over tubes around the skeleton of its keypoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from .. import losses
from ..fitting.data_terms import mask_term
from ..fitting.optimise import UniformAdam, descend
from ..geometry.cameras import LEVEL_CAMERA, WeakCamera
from ..geometry.resampling import spread_evenly
from ..geometry.rotations import about_x, about_z
from ..geometry.smoothing import Preconditioner
from ..geometry.sphere import Sphere, icosphere, mirror_image
from ..geometry.topology import edges_of
from ..job import BadInput
from ..rendering import Renderer
from ..rendering.surface import facing_everywhere
from ..vmr.model_file import STRENGTH
from ..vmr.objective import INSIDE, samples_inside
from .structure_from_motion.model import Structure

LEGS, STEPS, VIEWS, SIZE = 3, 250, 12, 64
"""Legs of descent with vertices spread evenly in between, steps of each, views of a step and pixels across them."""
RATE = 0.3
"""Of `UniformAdam`."""
FILL = 0.85
"""Of a view, from its middle, that the tubes reach to."""
FIRST_SIZE = 0.5
"""Of the tubes' half extents, of the ellipsoid that they are drawn from."""
WEIGHTS = {"mask": 1.0, "contour": 6.0, "facing": 5.0, "laplacian": 30.0, "surface": 10.0, "outward": 1.0}
"""Of the terms, as in the fit of a clip; the smoothness less, since nothing here is noisy. A solid body
has the silhouettes of one with a groove along its back and belly, and of one with a leg inside out: vertices are held
to the tubes' surface, and normals to point away from their middle lines."""
THIN_QUANTILE = 0.3
"""Of a part's thickness over pictures: before the body, a part appears thicker than it is."""
SMALLEST_RADIUS, LARGEST_RADIUS = 0.015, 0.2
"""Object units."""
ALONG = np.linspace(0.25, 0.75, 5)
"""Fractions of a part's length at which its thickness is measured."""


def radii_of(structure: Structure, skeleton: Sequence[tuple[int, int]], keypoints: np.ndarray, seen: np.ndarray,
             masks: np.ndarray) -> np.ndarray:
    """Radii (P,) in object units of the parts that run between pairs of keypoints.

    keypoints (N, K, 2) crop coordinates, seen (N, K), masks (N, S, S) uint8. A part is as thick as the mask is around
    the line between its keypoints.
    """
    size = masks.shape[-1]
    inside = np.stack([cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 5) for mask in masks])
    radii = np.full(len(skeleton), SMALLEST_RADIUS)
    usable = np.isfinite(structure.errors)
    for index, (a, b) in enumerate(skeleton):
        both = np.flatnonzero((seen[:, a] > 0) & (seen[:, b] > 0) & usable)
        if not len(both):
            continue
        samples = keypoints[both, a, None] + ALONG[:, None] * (keypoints[both, b] - keypoints[both, a])[:, None]
        column, row = ((samples + 1) * size / 2).astype(int).clip(0, size - 1).transpose(2, 0, 1)
        thickness = np.median(inside[both[:, None], row, column], 1) * 2 / size / structure.scales[both]
        radii[index] = np.quantile(thickness, THIN_QUANTILE)
    return radii.clip(SMALLEST_RADIUS, LARGEST_RADIUS)


def template_of(keypoints: np.ndarray, skeleton: Sequence[tuple[int, int]], mirror: np.ndarray, radii: np.ndarray,
                sphere: Sphere, renderer: Renderer, seed: int) -> tuple[np.ndarray, Sphere]:
    """Vertices (V, 3) of a shape made from the sphere, symmetric in x = 0, and the sphere with their positions.

    keypoints (K, 3) object space, mirror (K,), radii (P,) of the skeleton's parts. Where there is no skeleton, the
    shape is the convex hull of the keypoints (CMR).
    """
    keypoints = (keypoints + keypoints[mirror] * [-1, 1, 1]) / 2
    if not len(skeleton):
        return hull_of(keypoints, sphere), sphere
    parts = _both_sides(skeleton, mirror, radii)
    return drawn_over(*tubes_of(keypoints, parts), away_from(keypoints, parts), sphere, renderer, seed)


def _both_sides(skeleton: Sequence[tuple[int, int]], mirror: np.ndarray, radii: np.ndarray) -> dict[tuple, float]:
    """Mean radius of each part and its mirror image, by their pairs of keypoints."""
    found: dict[tuple, list[float]] = {}
    for (a, b), radius in zip(skeleton, radii, strict=True):
        for pair in {tuple(sorted((a, b))), tuple(sorted((int(mirror[a]), int(mirror[b]))))}:
            found.setdefault(pair, []).append(float(radius))
    return {pair: float(np.mean(values)) for pair, values in found.items()}


def tubes_of(keypoints: np.ndarray, parts: dict[tuple, float]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3) and faces of capsules around pairs of keypoints (K, 3), which may cross each other."""
    ball = icosphere(2)
    vertices, faces = [], []
    for number, ((a, b), radius) in enumerate(parts.items()):
        along = keypoints[b] - keypoints[a]
        ahead = ball.vertices @ along > 0
        vertices.append(keypoints[a] + radius * ball.vertices + ahead[:, None] * along)
        faces.append(ball.faces + number * len(ball.vertices))
    return np.concatenate(vertices), np.concatenate(faces)


Away = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of points (..., V, 3) the distance (..., V) from a body's surface, below zero inside, and the way out (..., V, 3)."""


def away_from(keypoints: np.ndarray, parts: dict[tuple, float]) -> Away:
    """For the body of the capsules of `tubes_of`."""
    ends = torch.from_numpy(keypoints[np.array(list(parts))]).float()
    start, along, radii = ends[:, 0], ends[:, 1] - ends[:, 0], torch.tensor(list(parts.values()))

    def away(points: Tensor) -> tuple[Tensor, Tensor]:
        from_start = points.unsqueeze(-2) - start
        fraction = (from_start * along).sum(-1) / along.square().sum(-1).clamp_min(1e-12)
        off = from_start - fraction.clamp(0, 1).unsqueeze(-1) * along
        distance, nearest = ((off.square().sum(-1) + 1e-12).sqrt() - radii).min(-1)
        off = off.take_along_dim(nearest[..., None, None], -2).squeeze(-2)
        return distance, torch.nn.functional.normalize(off, dim=-1)

    return away


def hull_of(points: np.ndarray, sphere: Sphere) -> np.ndarray:
    """Vertices (V, 3) of the sphere moved along their rays onto the convex hull of points (K, 3); BadInput where these
    lie in a plane."""
    centre = points.mean(0)
    try:
        planes = ConvexHull(points - centre).equations
    except QhullError:
        raise BadInput("keypoints: found their mean positions in one plane, needs some that stand out of it") from None
    towards = np.maximum(sphere.vertices @ planes[:, :3].T, 1e-9)
    return centre + sphere.vertices * (-planes[:, 3] / towards).min(1, keepdims=True)


def drawn_over(points: np.ndarray, faces: np.ndarray, away: Away, sphere: Sphere, renderer: Renderer,
               seed: int) -> tuple[np.ndarray, Sphere]:
    """The sphere fitted to a body, points (N, 3) and faces, that is symmetric in x = 0, by its silhouettes from all
    round and by the distance from its surface.

    Returns vertices (V, 3) and the sphere with their positions, spread evenly over the shape.
    """
    random = torch.Generator().manual_seed(seed)
    body, body_faces = torch.from_numpy(points).float(), torch.from_numpy(faces)
    low, high = body.amin(0), body.amax(0)
    centre = (low + high) / 2 * torch.tensor([0.0, 1, 1])
    scale = FILL / (body - centre).norm(dim=1).max()
    vertices = torch.from_numpy(sphere.vertices).float() * FIRST_SIZE * (high - low) / 2 + centre
    for leg in range(LEGS):
        vertices = _descended(vertices, sphere, body, body_faces, away, centre, scale, renderer, random)
        if leg + 1 < LEGS:
            sphere, spread = spread_evenly(sphere, vertices.double().numpy())
            vertices = torch.from_numpy(spread).float()
    return vertices.double().numpy(), sphere


def _descended(vertices: Tensor, sphere: Sphere, body: Tensor, body_faces: Tensor, away: Away, centre: Tensor,
               scale: Tensor, renderer: Renderer, random: torch.Generator) -> Tensor:
    """One leg of the descent of vertices (V, 3)."""
    faces, mirror = torch.from_numpy(sphere.faces), torch.from_numpy(sphere.mirror)
    edges = torch.from_numpy(edges_of(sphere.faces))
    preconditioner = Preconditioner(sphere.faces, len(vertices), STRENGTH, vertices.device)
    latent = preconditioner.latent(vertices[None]).requires_grad_()
    shape = latent

    def evaluate(_: int) -> dict[str, Tensor]:
        nonlocal shape
        free = preconditioner.vertices(latent)
        shape = (free + mirror_image(free, mirror)) / 2
        camera, chance = _random_view(random, scale), torch.rand(VIEWS, INSIDE, generator=random)
        with torch.no_grad():
            seen = renderer.visibility(camera.project((body - centre).expand(VIEWS, -1, -1)), body_faces, SIZE)
            mask = (seen.face_index >= 0).float()
        points = camera.project((shape - centre).expand(VIEWS, -1, -1))
        found = {"mask": mask_term(points, faces, mask, renderer),
                 "contour": losses.contour_loss(points[..., :2], samples_inside(mask, chance)),
                 "facing": facing_everywhere(points, faces, SIZE, renderer),
                 "laplacian": losses.laplacian_loss(shape, edges),
                 "surface": losses.charbonnier(away(shape)[0].square(), 0.02).mean(-1),
                 "outward": _turned_inwards(shape, faces, away)}
        return {name: value.mean() for name, value in found.items()}

    descend([{"params": [latent], "lr": RATE, "optimiser": UniformAdam}], evaluate, lambda step: WEIGHTS, STEPS)
    return shape[0].detach()


def _turned_inwards(vertices: Tensor, faces: Tensor, away: Away) -> Tensor:
    """The fraction (N,) of a mesh's area whose outside turns inwards, projected along the way out of the body."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    normals = torch.linalg.cross(b - a, c - a)
    out = away(((a + b + c) / 3).detach())[1]
    return torch.relu(-(normals * out).sum(-1)).sum(-1) / normals.norm(dim=-1).sum(-1)


def _random_view(random: torch.Generator, scale: Tensor) -> WeakCamera:
    """Level cameras from all round, and from somewhat below to well above."""
    heading = 2 * torch.pi * torch.rand(VIEWS, generator=random)
    elevation = 1.6 * (torch.rand(VIEWS, generator=random) - 0.3)
    rotation = about_x(elevation) @ LEVEL_CAMERA @ about_z(heading)
    return WeakCamera(rotation, scale.expand(VIEWS), torch.zeros(VIEWS, 2))
