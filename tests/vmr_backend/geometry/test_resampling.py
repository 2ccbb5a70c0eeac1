"""Vertices spread evenly over a shape: more where it is drawn out, the surface and its symmetry as they were."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from vmr_backend.geometry.resampling import spread_evenly
from vmr_backend.geometry.sphere import icosphere, spherical_uv, subdivided
from vmr_backend.geometry.topology import edges_of

SPHERE = icosphere(3)


def with_limbs(places: np.ndarray) -> np.ndarray:
    """A ball with a leg on each side: places near two directions are drawn out to three times the radius."""
    shape = places.copy()
    for side in (-1, 1):
        way = np.array([side * 0.6, 0.0, -0.8])
        near = np.exp(-((np.arccos(np.clip(places @ way, -1, 1)) / 0.25) ** 2))
        shape += 2 * near[:, None] * way
    return shape


def lengths(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    i, j = edges_of(faces).T
    return np.linalg.norm(points[i] - points[j], axis=1)


@pytest.fixture(scope="module")
def limbs():
    return with_limbs(SPHERE.vertices)


@pytest.fixture(scope="module")
def spread(limbs):
    return spread_evenly(SPHERE, limbs)


def test_long_edges_become_shorter_and_limbs_get_vertices(limbs, spread):
    sphere, points = spread
    before, after = lengths(limbs, SPHERE.faces), lengths(points, sphere.faces)
    assert after.max() < 0.7 * before.max() and after.std() < 0.7 * before.std()
    assert (points[:, 2] < -1.2).sum() > 1.3 * (limbs[:, 2] < -1.2).sum()


def test_vertices_stay_on_the_surface(limbs, spread):
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.ones(3), (len(SPHERE.faces), 400))
    dense = np.einsum("fsk,fkc->fsc", weights, limbs[SPHERE.faces]).reshape(-1, 3)
    assert cKDTree(dense).query(spread[1])[0].max() < 0.03


def test_a_symmetric_shape_stays_symmetric(spread):
    sphere, points = spread
    flip = np.array([-1.0, 1, 1])
    assert np.allclose(sphere.vertices[sphere.mirror] * flip, sphere.vertices, atol=1e-9)
    assert np.allclose(points[sphere.mirror] * flip, points, atol=1e-6)


def test_the_sphere_stays_one_and_keeps_its_uv_map(spread):
    sphere, _ = spread
    a, b, c = (sphere.vertices[sphere.faces[:, k]] for k in range(3))
    assert (np.einsum("fk,fk->f", np.cross(a, b), c) > 0).all(), "no face turns over"
    assert np.allclose(np.linalg.norm(sphere.vertices, axis=1), 1)
    poles = np.abs(SPHERE.vertices[:, 2]) == 1
    assert poles.sum() == 2 and (sphere.vertices[poles] == SPHERE.vertices[poles]).all()
    uv = spherical_uv(sphere)
    assert uv.min() >= 0 and uv.max() <= 1 and np.ptp(uv[..., 0], axis=1).max() < 0.5


def test_a_function_of_the_place_is_found_again():
    """Values ride along: what is linear on the faces at a place is looked up there, by nothing but its definition."""
    values = np.concatenate([with_limbs(SPHERE.vertices), SPHERE.vertices], 1)
    sphere, found = spread_evenly(SPHERE, values)
    ways = found[:, 3:] / np.linalg.norm(found[:, 3:], axis=1, keepdims=True)
    assert np.abs(ways - sphere.vertices).max() < 1e-9, "a flat face at a place lies in the direction of the place"


def test_an_even_shape_hardly_changes():
    sphere, points = spread_evenly(SPHERE, SPHERE.vertices.copy())
    assert np.abs(sphere.vertices - SPHERE.vertices).max() < 0.06
    assert lengths(points, sphere.faces).std() <= lengths(SPHERE.vertices, SPHERE.faces).std()


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_subdivided_sphere_is_the_next_icosphere(level):
    sphere = icosphere(level)
    finer, values = subdivided(sphere, sphere.vertices * [1, 2, 3])
    expected = icosphere(level + 1)
    assert np.array_equal(finer.vertices, expected.vertices) and np.array_equal(finer.faces, expected.faces)
    assert np.array_equal(finer.mirror, expected.mirror)
    assert np.allclose(values[: len(sphere.vertices)], sphere.vertices * [1, 2, 3])
