"""Soft silhouettes: values and gradients are those of the reference, whatever the mesh and the size."""

import pytest
import torch
from renderer_comparison import assert_matches
from renderer_meshes import scattered_faces, sheet

SIGMA = 1e-3


def check(warp, reference, points, faces, size, sigma=SIGMA, **tolerances):
    def arguments(points):
        return points, faces.to(points.device), size, sigma

    assert_matches(warp, reference, "silhouette", [points], arguments, **tolerances)


@pytest.mark.parametrize("size", [16, 33, (7, 50), (41, 3), 1])
@pytest.mark.parametrize("images", [1, 2, 5])
def test_equals_the_reference_on_scattered_faces(warp, reference, size, images):
    check(warp, reference, *scattered_faces(images=images, faces=6), size)


@pytest.mark.parametrize("sigma", [1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
def test_equals_the_reference_at_any_softness(warp, reference, sigma):
    check(warp, reference, *sheet(images=2), 32, sigma)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference_where_many_faces_overlap(warp, reference, seed):
    check(warp, reference, *scattered_faces(seed=seed, faces=40), 24)


def test_does_not_depend_on_orientation(warp):
    points, faces = (x.to(warp.device) for x in sheet())
    alpha = warp.silhouette(points, faces, 32, SIGMA)
    assert torch.allclose(warp.silhouette(points, faces.flip(1), 32, SIGMA), alpha, atol=1e-6)


def test_takes_any_integer_type_of_faces(warp):
    points, faces = (x.to(warp.device) for x in sheet())
    alpha = warp.silhouette(points, faces.long(), 16, SIGMA)
    assert torch.equal(warp.silhouette(points, faces.int(), 16, SIGMA), alpha)


def test_faces_without_area_are_not_drawn(warp, reference):
    points, faces = scattered_faces(faces=8)
    points[:, 3:6] = points[:, 3:4]  # all corners of face 1 in one place
    points[:, 8] = points[:, 7]  # two corners of face 2 in one place
    check(warp, reference, points, faces, 20)
    check(warp, reference, points[:, 3:9], faces[:2], 20)


def test_faces_at_and_behind_the_camera_are_not_drawn(warp, reference):
    points, faces = scattered_faces(faces=8)
    points[:, 0, 2] = -1.0
    points[:, 3:6, 2] = 0.0
    points[:, 8, 2] = float("nan")
    check(warp, reference, points, faces, 20)


def test_faces_beyond_the_border_are_cut_or_left_out(warp, reference):
    points, faces = scattered_faces(faces=12, spread=1.6)
    points[:, 0:3, 0] += 5.0
    points[:, 3:6, 1] -= 1e4
    points[:, 6:8] *= torch.tensor([50.0, -50.0, 1.0])
    check(warp, reference, points, faces, 20)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_faces_with_a_corner_at_no_place_are_not_drawn(warp, value):
    points, faces = scattered_faces(images=1, faces=6)
    lost = points.clone()
    lost[0, 0, 0], lost[0, 4, 1] = value, value
    lost.requires_grad_()
    alpha = warp.silhouette(lost.to(warp.device), faces.to(warp.device), 16, SIGMA)
    alpha.sum().backward()
    assert torch.equal(alpha.cpu(), warp.silhouette(points.to(warp.device), faces[2:].to(warp.device), 16, SIGMA).cpu())
    assert torch.isfinite(lost.grad).all()


def test_an_empty_image_is_empty_and_has_no_gradient(warp):
    points, faces = (x.to(warp.device) for x in sheet())
    points = (points + points.new_tensor([9.0, 0.0, 0.0])).requires_grad_()
    alpha = warp.silhouette(points, faces, (5, 9), SIGMA)
    alpha.sum().backward()
    assert alpha.shape == (1, 5, 9)
    assert not alpha.any() and not points.grad.any()


@pytest.mark.parametrize("images,faces", [(2, 0), (0, 4), (0, 0)])
def test_a_batch_without_faces_or_images_is_drawn(warp, images, faces):
    points = torch.ones(images, 12, 3, device=warp.device, requires_grad=True)
    alpha = warp.silhouette(points, torch.arange(12, device=warp.device).view(4, 3)[:faces], 8, SIGMA)
    alpha.sum().backward()
    assert alpha.shape == (images, 8, 8)
    assert not alpha.any() and not points.grad.any()


def test_the_same_input_gives_the_same_bits(warp):
    if warp.device.type == "cuda":
        pytest.skip("atomic additions on CUDA come in any order")
    points, faces = scattered_faces(images=6, faces=200)
    results = []
    for _ in range(3):
        moved = points.clone().requires_grad_()
        alpha = warp.silhouette(moved, faces, 48, SIGMA)
        alpha.square().sum().backward()
        results.append((alpha.detach(), moved.grad))
    assert all(torch.equal(a, results[0][0]) and torch.equal(g, results[0][1]) for a, g in results)


def test_an_image_does_not_depend_on_its_batch(warp):
    points, faces = (x.to(warp.device) for x in scattered_faces(images=5))
    batch = warp.silhouette(points, faces, 32, SIGMA)
    for n in range(5):
        assert torch.allclose(warp.silhouette(points[n : n + 1], faces, 32, SIGMA)[0], batch[n], atol=1e-6)


def test_wrong_shapes_and_indices_are_refused(warp):
    points, faces = (x.to(warp.device) for x in sheet())
    with pytest.raises(ValueError, match="points have shape"):
        warp.silhouette(points[0], faces, 8, SIGMA)
    with pytest.raises(ValueError, match="faces have shape"):
        warp.silhouette(points, faces[:, :2], 8, SIGMA)
    with pytest.raises(ValueError, match="vertices"):
        warp.silhouette(points, faces + 20, 8, SIGMA)


def test_faces_that_were_drawn_are_refused_once_they_or_the_points_have_changed(warp):
    points, faces = (x.to(warp.device) for x in sheet())
    warp.silhouette(points, faces, 8, SIGMA)
    with pytest.raises(ValueError, match="vertices"):
        warp.silhouette(points[:, :-1], faces, 8, SIGMA)
    with pytest.raises(ValueError, match="points have shape"):
        warp.silhouette(points[0], faces, 8, SIGMA)
    warp.silhouette(points, faces, 8, SIGMA)
    faces += 20
    with pytest.raises(ValueError, match="vertices"):
        warp.silhouette(points, faces, 8, SIGMA)
