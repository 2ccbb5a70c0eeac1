"""Surface distance and alignment against closed forms and against an independent implementation."""

import numpy as np
import oracle
import pytest
from scipy.spatial.transform import Rotation

from vmr_backend.geometry.sphere import icosphere
from vmr_backend.metrics.chamfer import align, best_similarity, chamfer_distance, sample_surface


def test_samples_lie_evenly_on_the_surface():
    square = np.array([[0.0, 0, 2], [4, 0, 2], [4, 1, 2], [0, 1, 2]])
    points = sample_surface(square, np.array([[0, 1, 2], [0, 2, 3]]), 4000)
    assert points.min(0) == pytest.approx([0, 0, 2], abs=0.01) and points.max(0) == pytest.approx([4, 1, 2], abs=0.01)
    assert points.mean(0) == pytest.approx([2, 0.5, 2], abs=0.1)


def test_a_similarity_is_found_again():
    points = np.random.default_rng(0).normal(size=(50, 3))
    rotation = Rotation.from_rotvec([0.3, -0.8, 1.1]).as_matrix()
    found = best_similarity(points, 2.5 * points @ rotation + [1, 2, 3])
    assert found.scale == pytest.approx(2.5) and np.allclose(found.rotation, rotation)
    assert np.allclose(found(points), 2.5 * points @ rotation + [1, 2, 3])


def test_alignment_removes_a_similarity_but_not_a_difference_of_shape():
    sphere = icosphere(2)
    egg = sample_surface(sphere.vertices * [1, 2, 1.5], sphere.faces, 1500)
    ball = sample_surface(sphere.vertices, sphere.faces, 1500)
    turned = 0.4 * sample_surface(sphere.vertices * [1, 2, 1.5], sphere.faces, 1500, 1)
    turned = turned @ Rotation.from_rotvec([0.1, 0.1, -0.15]).as_matrix() + 5
    noise = chamfer_distance(egg, sample_surface(sphere.vertices * [1, 2, 1.5], sphere.faces, 1500, 2))
    assert chamfer_distance(align(turned, egg)(turned), egg) < 1.3 * noise
    assert chamfer_distance(align(ball, egg)(ball), egg) > 3 * noise


def test_chamfer_distance_of_shifted_points():
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3)
    assert chamfer_distance(grid, grid + [0.25, 0, 0]) == pytest.approx(0.25)
    assert chamfer_distance(grid[:1], grid[:1] + [3, 4, 0]) == 5


def test_chamfer_equals_the_independent_one():
    sphere = icosphere(2)
    a = sample_surface(sphere.vertices, sphere.faces, 300)
    b = sample_surface(sphere.vertices * [1, 2, 1], sphere.faces, 300, 1)
    b = b @ Rotation.from_rotvec([0, 0.3, 0]).as_matrix()
    moved = align(a, b)(a)
    assert np.allclose(moved, oracle.iterated_closest_points(a, b)(a))
    assert chamfer_distance(moved, b) == pytest.approx(oracle.chamfer(moved, b))
