"""PyTorch3D and Warp draw the same: two independent rasterisers behind one interface."""

import pytest
import torch
from renderer_comparison import assert_matches
from renderer_meshes import scattered_faces, sheet

from vmr_backend.rendering import get_renderer

pytest.importorskip("pytorch3d", reason="PyTorch3D is not installed: the second renderer cannot be compared with Warp")

SIGMA = 1e-3


@pytest.fixture
def pytorch3d(device):
    return get_renderer("pytorch3d", device)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("mesh", [scattered_faces, sheet])
def test_silhouettes_agree(pytorch3d, warp, images, mesh):
    points, faces = mesh(images=images)
    assert_matches(pytorch3d, warp, "silhouette", [points], lambda p: (p, faces.to(p.device), 24, SIGMA))


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("size", [16, (7, 50), (41, 3)])
def test_visibility_agrees(pytorch3d, warp, size, cull):
    points, faces = (x.to(warp.device) for x in scattered_faces(images=2, faces=10))
    found, expected = (one.visibility(points, faces, size, cull) for one in (pytorch3d, warp))
    assert torch.equal(found.face_index, expected.face_index)
    assert torch.allclose(found.barycentrics, expected.barycentrics, atol=1e-3)
    assert torch.allclose(found.depth, expected.depth, atol=1e-3)


def test_faces_that_are_not_drawn_agree(pytorch3d, warp):
    points, faces = scattered_faces(faces=8)
    points[:, 0, 2] = -1.0
    points[0, 3:6] = points[0, 3:4]
    points[1, 6:9, 0] += 5.0
    assert_matches(pytorch3d, warp, "silhouette", [points], lambda p: (p, faces.to(p.device), 24, SIGMA))


def test_an_empty_image_is_empty_and_has_no_gradient(pytorch3d):
    points = torch.ones(2, 3, 3, device=pytorch3d.device, requires_grad=True)
    alpha = pytorch3d.silhouette(points, torch.zeros(0, 3, dtype=torch.int64, device=pytorch3d.device), 8, SIGMA)
    alpha.sum().backward()
    assert alpha.shape == (2, 8, 8) and not alpha.any() and not points.grad.any()


def test_silhouettes_that_are_not_square_are_refused(pytorch3d):
    points, faces = (x.to(pytorch3d.device) for x in sheet())
    with pytest.raises(ValueError, match="must be square"):
        pytorch3d.silhouette(points, faces, (8, 9), SIGMA)
