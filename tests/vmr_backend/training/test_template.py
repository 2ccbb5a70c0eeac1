"""The first shape of a category: as thick as in the masks, symmetric, right side out, seen as its tubes."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from tiny_trainings import RENDERER

from vmr_backend.geometry.cameras import LEVEL_CAMERA, WeakCamera
from vmr_backend.geometry.rotations import about_x, about_z
from vmr_backend.geometry.sphere import icosphere, mirror_image
from vmr_backend.geometry.topology import winding_numbers
from vmr_backend.job import BadInput
from vmr_backend.training import template
from vmr_backend.training.starts import affinity_of
from vmr_backend.training.structure_from_motion.model import Structure
from vmr_backend.training.template import away_from, hull_of, radii_of, template_of, tubes_of

SPHERE = icosphere(3)
FOUR_LEGGED = np.array([[0, -0.5, 0.3], [0, -0.3, 0.1], [0, 0.3, 0.1], *(
    [x, y, z] for y in (-0.25, 0.25) for x in (0.12, -0.12) for z in (0.0, -0.35))])
"""Head, shoulders and rump on the plane, then hip and foot of each leg, left before right."""
SKELETON = ((0, 1), (1, 2), *((3 + 2 * leg, 4 + 2 * leg) for leg in range(4)))
MIRROR = np.array([0, 1, 2, 5, 6, 3, 4, 9, 10, 7, 8])
RADII = np.array([0.07, 0.13, 0.05, 0.05, 0.05, 0.05])


@pytest.fixture(scope="module")
def drawn():
    """Vertices and sphere of the four-legged shape, in a third of the usual time."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"STEPS": 130, "VIEWS": 5, "SIZE": 48}.items():
            patch.setattr(template, name, value)
        return template_of(FOUR_LEGGED, SKELETON, MIRROR, RADII, SPHERE, RENDERER, 0)


def distances(points: np.ndarray) -> np.ndarray:
    """(N,) from the surface of the tubes, below zero inside."""
    found = []
    for (a, b), radius in zip(SKELETON, RADII, strict=True):
        along = FOUR_LEGGED[b] - FOUR_LEGGED[a]
        share = np.clip((points - FOUR_LEGGED[a]) @ along / (along @ along), 0, 1)
        found.append(np.linalg.norm(points - FOUR_LEGGED[a] - share[:, None] * along, axis=1) - radius)
    return np.min(found, 0)


def silhouette(vertices, faces, azimuth: float, elevation: float = 0.2) -> np.ndarray:
    rotation = about_x(torch.tensor(elevation)) @ LEVEL_CAMERA @ about_z(torch.tensor(azimuth))
    camera = WeakCamera(rotation[None], torch.tensor([1.2]), torch.zeros(1, 2))
    points = camera.project(torch.from_numpy(vertices).float()[None])
    return RENDERER.visibility(points, torch.from_numpy(faces), 96).face_index[0].numpy() >= 0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_the_shape_is_its_own_mirror_image(drawn):
    vertices, sphere = drawn
    mirrored = mirror_image(torch.from_numpy(vertices), torch.from_numpy(sphere.mirror)).numpy()
    assert np.abs(vertices - mirrored).max() < 1e-6
    assert np.abs(sphere.vertices * [-1, 1, 1] - sphere.vertices[sphere.mirror]).max() < 1e-6


@pytest.mark.parametrize("azimuth", [0.0, 0.8, 1.57, 2.6])
def test_it_looks_like_its_tubes_from_all_round(drawn, azimuth):
    tubes = tubes_of(FOUR_LEGGED, dict(zip(SKELETON, RADII, strict=True)))
    # In the usual time 0.87 to 0.92.
    assert overlap(silhouette(*tubes, azimuth), silhouette(drawn[0], drawn[1].faces, azimuth)) > 0.7


def test_it_is_solid_and_its_outside_is_out(drawn):
    """A silhouette does not show a groove along the back, or of walls that have passed through each other."""
    grid = np.meshgrid(np.linspace(-0.3, 0.3, 11), np.linspace(-0.6, 0.6, 21), np.linspace(-0.5, 0.4, 15))
    points = np.stack(grid, -1).reshape(-1, 3)
    rounds = winding_numbers(torch.from_numpy(points), torch.from_numpy(drawn[0]), torch.from_numpy(drawn[1].faces))
    off = distances(points)
    deep, outside = rounds[off < -0.03].numpy(), rounds[off > 0.06].numpy()
    assert len(deep) > 50 and (np.abs(deep - 1) > 0.01).mean() < 0.03
    assert (np.abs(outside) > 0.01).mean() < 0.01, "but for a web between legs that more steps would remove"
    assert np.abs(distances(drawn[0])).mean() < 0.02


def test_distances_are_those_from_capsules_and_grow_on_the_way_out():
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (200, 3))
    found, out = away_from(FOUR_LEGGED, dict(zip(SKELETON, RADII, strict=True)))(torch.from_numpy(points).float())
    assert np.allclose(found, distances(points), atol=1e-5)
    assert np.allclose(distances(points + 1e-3 * out.numpy()) - found.numpy(), 1e-3, atol=2e-4)


def test_keypoints_inside_the_shape_are_means_of_vertices_around_them(drawn):
    weights = affinity_of(drawn[0], FOUR_LEGGED)
    assert (weights >= 0).all() and np.allclose(weights.sum(1), 1)
    assert np.linalg.norm(weights @ drawn[0] - FOUR_LEGGED, axis=1).max() < min(RADII)
    mirrored = weights[MIRROR][:, drawn[1].mirror]
    assert np.abs((mirrored - weights) @ drawn[0]).max() < 1e-3


def capsules_seen_by(structure: Structure, radii, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) and masks (N, size, size) of limbs drawn with round ends."""
    points = structure.scales[:, None, None] * np.einsum("nij,kj->nki", structure.rotations, structure.keypoints)
    points = points[..., :2] + structure.shifts[:, None]
    masks = np.zeros((len(points), size, size), np.uint8)
    for mask, seen, scale in zip(masks, points, structure.scales, strict=True):
        for (a, b), radius in zip(SKELETON, radii, strict=True):
            ends = [tuple(np.round(((seen[k] + 1) * size / 2 - 0.5) * 16).astype(int).tolist()) for k in (a, b)]
            along = np.linspace(ends[0], ends[1], 60).astype(int)
            for place in along:
                cv2.circle(mask, tuple(place.tolist()), int(radius * scale * size / 2 * 16), 255, -1, shift=4)
    return points, masks


def structure_seen_from(azimuths) -> Structure:
    rotations = np.stack([(about_x(torch.tensor(0.3)) @ LEVEL_CAMERA @ about_z(torch.tensor(a))).numpy()
                          for a in azimuths])
    count = len(azimuths)
    return Structure(FOUR_LEGGED, rotations, np.linspace(1.0, 1.4, count), np.zeros((count, 2)), np.zeros(count),
                     0.01 * np.eye(len(FOUR_LEGGED)))


def test_radii_of_drawn_limbs_are_found():
    structure, size = structure_seen_from(np.linspace(0.2, 6.0, 16).tolist()), 128
    keypoints, masks = capsules_seen_by(structure, RADII, size)
    found = radii_of(structure, SKELETON, keypoints, np.full(keypoints.shape[:2], 2), masks)
    pixel = 2 / size
    assert np.abs(found - RADII).max() < 1.2 * pixel


def test_parts_that_are_never_seen_and_pictures_without_a_camera_do_not_count():
    structure = structure_seen_from([1.4, 1.7, 4.5])
    keypoints, masks = capsules_seen_by(structure, RADII, 96)
    seen = np.full(keypoints.shape[:2], 2)
    seen[:, 4] = 0
    masks[2] = 255
    structure.errors[2] = np.inf
    found = radii_of(structure, SKELETON, keypoints, seen, masks)
    assert found[2] == template.SMALLEST_RADIUS
    assert np.abs(found[1] - RADII[1]) < 0.03
    assert (found <= template.LARGEST_RADIUS).all()


def test_capsules_go_from_end_to_end():
    points, faces = tubes_of(FOUR_LEGGED, {(1, 2): 0.1})
    assert np.allclose([points[:, 1].min(), points[:, 1].max()], [-0.4, 0.4], atol=0.01)
    along = np.clip(points[:, 1], -0.3, 0.3)
    off = points - np.stack([0 * along, along, 0 * along + 0.1], 1)
    assert np.allclose(np.linalg.norm(off, axis=1), 0.1, atol=1e-6)
    number = winding_numbers(torch.tensor([[0, 0, 0.1], [0, 0, 0.25]]).double(), torch.from_numpy(points),
                             torch.from_numpy(faces))
    assert torch.allclose(number, torch.tensor([1.0, 0]).double(), atol=1e-6)


def test_without_a_skeleton_it_is_the_convex_hull():
    vertices, sphere = template_of(FOUR_LEGGED, (), MIRROR, np.zeros(0), SPHERE, RENDERER, 0)
    assert sphere is SPHERE
    hull = ConvexHull(FOUR_LEGGED)
    assert (vertices @ hull.equations[:, :3].T + hull.equations[:, 3]).max() < 1e-6
    on_it = np.abs(vertices @ hull.equations[:, :3].T + hull.equations[:, 3]).min(1)
    assert on_it.max() < 1e-6
    mirrored = mirror_image(torch.from_numpy(vertices), torch.from_numpy(sphere.mirror)).numpy()
    assert np.abs(vertices - mirrored).max() < 1e-6


@pytest.mark.parametrize("points", [FOUR_LEGGED * [0, 1, 1], FOUR_LEGGED * [1, 1, 0], FOUR_LEGGED[:3]])
def test_flat_keypoints_have_no_hull(points):
    with pytest.raises(BadInput, match="keypoints.*plane.*needs"):
        hull_of(points, SPHERE)


def test_keypoints_and_radii_of_both_sides_are_made_alike(monkeypatch):
    uneven = FOUR_LEGGED + np.random.default_rng(0).normal(0, 0.02, FOUR_LEGGED.shape)
    given = {}
    monkeypatch.setattr(template, "drawn_over", lambda points, *_: given.update(points=points))
    template_of(uneven, SKELETON, MIRROR, RADII + [0, 0, 0.02, 0, 0, 0], SPHERE, RENDERER, 0)
    mirrored = given["points"] * [-1, 1, 1]
    nearest = np.linalg.norm(given["points"][:, None] - mirrored, axis=2).min(1)
    assert nearest.max() < 0.02, "up to the ball's own facets"
