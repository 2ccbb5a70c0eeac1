"""The reference itself: its gradients are those of finite differences, and simple scenes come out as they must."""

import pytest
import torch
from renderer_meshes import scattered_faces, sheet


def points_of(faces=3):
    points, faces = scattered_faces(images=1, faces=faces)
    return points.double().requires_grad_(), faces


def test_silhouette_gradients_are_those_of_finite_differences(reference):
    points, faces = points_of()
    assert torch.autograd.gradcheck(lambda p: reference.silhouette(p, faces, (5, 6), 0.05), points)


def test_alpha_is_one_half_on_the_edge_of_a_lone_face(reference):
    points = torch.tensor([[[0.0, -9.0, 1.0], [0.0, 9.0, 1.0], [-9.0, 0.0, 1.0]]], dtype=torch.float64)
    alpha = reference.silhouette(points, torch.tensor([[0, 1, 2]]), (1, 3), 1e-3)
    assert torch.allclose(alpha[0, 0], torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64), atol=1e-3)


def test_a_pixel_far_inside_is_opaque_and_far_outside_is_clear(reference):
    points, faces = sheet()
    alpha = reference.silhouette(points, faces, 31, 1e-5)[0]
    assert alpha[10:20, 10:20].min() > 0.7 and alpha[0, 0] == 0.0


@pytest.mark.parametrize("images,faces", [(2, 0), (0, 4)])
def test_no_faces_or_no_images(reference, images, faces):
    points = torch.ones(images, 12, 3)
    faces = torch.arange(12).view(4, 3)[:faces]
    assert reference.silhouette(points, faces, 8, 1e-3).shape == (images, 8, 8)
    assert (reference.visibility(points, faces, 8).face_index == -1).all()
