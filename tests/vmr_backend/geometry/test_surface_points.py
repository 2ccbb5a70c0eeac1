"""Points of large faces: none on a fine mesh, evenly spread over a coarse one, and carried along by its corners."""

import numpy as np
import pytest
import torch

from vmr_backend.geometry.sphere import icosphere
from vmr_backend.geometry.surface_points import FINE, points_between


@pytest.mark.parametrize("level", [3, 4])
def test_a_fine_mesh_has_none(level):
    sphere = icosphere(level)
    assert points_between(sphere.vertices, sphere.faces) is None


def test_those_of_a_coarse_mesh_lie_in_its_faces_as_close_as_a_fine_mesh_has_vertices():
    sphere = icosphere(1)
    found = points_between(sphere.vertices, sphere.faces)
    assert found.barycentrics.min() >= 0 and len(found.corners) == FINE / 2
    np.testing.assert_allclose(found.barycentrics.sum(1), 1, atol=1e-6)
    points = found.of_vertices(torch.from_numpy(sphere.vertices).float())
    every = torch.cat([points, torch.from_numpy(sphere.vertices).float()])
    fine = torch.from_numpy(icosphere(4).vertices).float()
    assert torch.cdist(fine, every).amin(1).max() < 0.25  # the coarse one's vertices alone leave gaps of 0.4
    assert torch.cdist(points, points).add(10 * torch.eye(len(points))).amin(1).median() > 0.05


def test_only_large_faces_have_points_and_there_are_not_endless_ones():
    sphere = icosphere(3)
    vertices = np.concatenate([sphere.vertices, [[100.0, 0, 0], [100, 1, 0], [101, 0, 0], [0, 0, 1e-9]]])
    faces = np.concatenate([sphere.faces, [[642, 643, 644], [0, 1, 645]]])
    found = points_between(vertices, faces)
    assert set(found.corners.flatten().tolist()) >= {642, 643, 644}
    assert len(found.corners) <= FINE / 2


def test_they_move_with_their_corners():
    vertices, faces = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]]), np.array([[0, 1, 2]])
    found = points_between(vertices, faces)
    moved = torch.from_numpy(vertices).float().requires_grad_()
    there = found.of_vertices(torch.stack([moved, moved + 1]))
    assert torch.allclose(there[1], there[0] + 1, atol=1e-6)
    there[0].sum().backward()
    assert torch.allclose(moved.grad.sum(0), torch.full((3,), float(len(found.corners))))


def test_a_mesh_without_area_has_none():
    assert points_between(np.zeros((3, 3)), np.array([[0, 1, 2]])) is None
