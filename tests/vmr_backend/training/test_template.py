"""The first shape of a category: symmetric, closed, outside out, with limbs where the skeleton has them."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from vmr_backend.annotations import VISIBLE, Category
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.geometry.topology import winding_numbers
from vmr_backend.training.structure import Structure
from vmr_backend.training.template import radii_of, template_of

QUADRUPED = ({"nose": (0, -0.5, 0.2), "neck": (0, -0.25, 0.1), "hip": (0, 0.25, 0.1), "tail": (0, 0.5, 0.1)}
             | {f"{side}_{end}": (x, y, z) for side, x in (("left", 0.12), ("right", -0.12))
                for end, y, z in (("fore", -0.25, -0.35), ("hind", 0.25, -0.35))},
             {("neck", "hip"): 0.13, ("nose", "neck"): 0.06, ("hip", "tail"): 0.04}
             | {(top, f"{side}_{end}"): 0.05 for side in ("left", "right")
                for top, end in (("neck", "fore"), ("hip", "hind"))})
BIRD = ({"beak": (0, -0.45, 0.1), "back": (0, 0.05, 0.12), "tail": (0, 0.45, 0), "breast": (0, -0.15, 0.05),
         "belly": (0, 0.05, -0.1), "left_tip": (0.5, 0, 0.1), "right_tip": (-0.5, 0, 0.1)},
        {("beak", "breast"): 0.05, ("breast", "back"): 0.04, ("back", "tail"): 0.04, ("breast", "belly"): 0.04,
         ("belly", "tail"): 0.04, ("breast", "left_tip"): 0.04, ("breast", "right_tip"): 0.04})
ANIMALS = {"quadruped": (QUADRUPED, icosphere(3)), "bird": (BIRD, icosphere(2))}
"""Places of keypoints, and radii of the parts between them; the trunk of the bird is a loop."""


@cache
def grown(name):
    """Vertices, keypoints, pairs and the sphere of an animal."""
    (places, parts), sphere = ANIMALS[name]
    names = list(places)
    keypoints = np.array(list(places.values()), float)
    pairs = [(names.index(a), names.index(b)) for a, b in parts]
    mirror = Category("animal", tuple(names)).mirror
    return template_of(keypoints, pairs, mirror, np.array(list(parts.values())), sphere), keypoints, pairs, sphere


@pytest.fixture(params=ANIMALS)
def animal(request):
    return grown(request.param)


def inside(points, vertices, sphere):
    return winding_numbers(torch.from_numpy(points), torch.from_numpy(vertices), torch.from_numpy(sphere.faces))


def test_a_template_is_symmetric_and_outside_out(animal):
    vertices, _, _, sphere = animal
    assert np.allclose(vertices[sphere.mirror] * [-1, 1, 1], vertices, atol=1e-12)
    corners = vertices[sphere.faces]
    assert np.einsum("fk,fk->f", np.cross(corners[:, 0], corners[:, 1]), corners[:, 2]).sum() > 0


def test_the_middles_of_all_parts_are_inside(animal):
    vertices, keypoints, pairs, sphere = animal
    middles = np.array([keypoints[list(pair)].mean(0) for pair in pairs])
    assert (inside(middles, vertices, sphere).numpy() > 0.5).mean() > 0.85


def test_limbs_reach_their_ends(animal):
    vertices, keypoints, pairs, _ = animal
    counts = np.bincount(np.ravel(pairs), minlength=len(keypoints))
    ends = keypoints[counts == 1]
    assert np.linalg.norm(vertices[:, None] - ends, axis=2).min(0).max() < 0.07


def test_vertices_lie_near_the_parts():
    vertices, keypoints, pairs, _ = grown("quadruped")
    distance = []
    for (a, b), radius in zip(pairs, QUADRUPED[1].values(), strict=True):
        along = keypoints[b] - keypoints[a]
        share = np.clip((vertices - keypoints[a]) @ along / (along @ along), 0, 1)
        distance.append(np.linalg.norm(vertices - keypoints[a] - share[:, None] * along, axis=1) - radius)
    away = np.abs(np.min(distance, axis=0))
    assert np.median(away) < 0.02 and np.percentile(away, 95) < 0.06


def test_what_a_skeleton_runs_around_is_filled():
    vertices, _, _, sphere = grown("bird")
    trunk = np.array([[0.0, 0.05, 0.02], [0.03, 0.05, 0.02]])
    assert inside(trunk, vertices, sphere) == pytest.approx([1, 1], abs=1e-6)


def test_without_a_skeleton_the_template_is_the_hull_of_the_keypoints():
    keypoints = np.random.default_rng(0).uniform(-0.5, 0.5, (30, 3))
    keypoints = np.concatenate([keypoints, keypoints * [-1, 1, 1]])
    mirror, sphere = np.roll(np.arange(60), 30), icosphere(2)
    vertices = template_of(keypoints, [], mirror, np.zeros(0), sphere)
    hull = ConvexHull(keypoints)
    outside = (vertices @ hull.equations[:, :3].T + hull.equations[:, 3]).max(1)
    assert np.abs(outside).max() < 0.02
    assert np.allclose(vertices[sphere.mirror] * [-1, 1, 1], vertices, atol=1e-12)


def test_radii_are_those_of_the_stripes_in_the_masks():
    size, radius, scale = 128, 0.08, 1.5
    ends = np.array([[-0.5, -0.3], [0.5, 0.3]])
    grid = np.stack(np.meshgrid(*2 * [(np.arange(size) + 0.5) * 2 / size - 1]), -1)
    along = ends[1] - ends[0]
    share = np.clip((grid - ends[0]) @ along / (along @ along), 0, 1)
    mask = np.linalg.norm(grid - ends[0] - share[..., None] * along, axis=2) < radius * scale
    structure = Structure(np.zeros((2, 3)), Rotation.identity(3).as_matrix(), np.full(3, scale), np.zeros((3, 2)),
                          np.zeros(3), np.eye(2))
    found = radii_of(structure, [(0, 1)], np.tile(ends, (3, 1, 1)), np.full((3, 2), VISIBLE, np.uint8),
                     np.tile(mask.astype(np.uint8), (3, 1, 1)))
    assert found == pytest.approx([radius], abs=0.01)
