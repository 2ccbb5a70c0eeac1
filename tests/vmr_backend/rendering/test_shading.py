"""Soft attributes and textured colour: values and gradients are those of the reference."""

import pytest
import torch
from renderer_comparison import assert_matches
from renderer_meshes import scattered_faces, sheet

SIGMA, GAMMA = 1e-3, 1e-2


def colours(points, channels=3, shared=False, seed=1):
    random = torch.Generator().manual_seed(seed)
    shape = (points.shape[1], channels) if shared else (*points.shape[:2], channels)
    return torch.rand(shape, generator=random)


def check_attributes(warp, reference, points, faces, values, size, sigma=SIGMA, gamma=GAMMA, **tolerances):
    def arguments(points, values):
        return points, faces.to(points.device), values, size, sigma, gamma

    assert_matches(warp, reference, "attributes", [points, values], arguments, **tolerances)


def check_textured(warp, reference, points, faces, uv, texture, size, sigma=SIGMA, gamma=GAMMA, **tolerances):
    def arguments(points, texture):
        return points, faces.to(points.device), uv.to(points.device), texture, size, sigma, gamma

    assert_matches(warp, reference, "textured", [points, texture], arguments, **tolerances)


def texture_of(size=(9, 14), images=None, seed=2):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(*([] if images is None else [images]), *size, 3, generator=random)


def corner_uv(faces, seed=3):
    """Places in the texture and a little beyond its border."""
    return 1.2 * torch.rand(len(faces), 3, 2, generator=torch.Generator().manual_seed(seed)) - 0.1


@pytest.mark.parametrize("size", [16, 33, (7, 50), 1])
@pytest.mark.parametrize("images", [1, 3])
def test_attributes_equal_the_reference_on_scattered_faces(warp, reference, size, images):
    points, faces = scattered_faces(images=images, faces=8)
    check_attributes(warp, reference, points, faces, colours(points), size)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("shared", [True, False])
def test_attributes_of_any_number_of_channels(warp, reference, channels, shared):
    points, faces = sheet(images=2)
    check_attributes(warp, reference, points, faces, colours(points, channels, shared), 20)


@pytest.mark.parametrize("sigma", [1e-5, 1e-4, 1e-2])
@pytest.mark.parametrize("gamma", [1e-3, 1e-2, 1e-1])
def test_attributes_at_any_softness(warp, reference, sigma, gamma):
    points, faces = sheet(images=2)
    check_attributes(warp, reference, points, faces, colours(points), 24, sigma, gamma, value=1e-3, gradient=3e-3)


@pytest.mark.parametrize("size", [16, (7, 50), 1])
@pytest.mark.parametrize("images", [1, 3, 20])
def test_texture_equals_the_reference(warp, reference, size, images):
    points, faces = scattered_faces(images=images, faces=8)
    check_textured(warp, reference, points, faces, corner_uv(faces), texture_of(), size)


def test_a_texture_per_image(warp, reference):
    points, faces = scattered_faces(images=3, faces=8)
    check_textured(warp, reference, points, faces, corner_uv(faces), texture_of(images=3), 16)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 1), (2, 2)])
def test_tiny_textures(warp, reference, size):
    points, faces = scattered_faces(faces=6)
    check_textured(warp, reference, points, faces, corner_uv(faces), texture_of(size), 16)


def test_faces_that_are_not_drawn_have_no_colour_and_no_gradient(warp, reference):
    points, faces = scattered_faces(faces=8)
    points[:, 0, 2] = -1.0
    points[:, 3:6] = points[:, 3:4]
    points[:, 6:9, 0] += 5.0
    check_attributes(warp, reference, points, faces, colours(points), 20)
    check_textured(warp, reference, points, faces, corner_uv(faces), texture_of(), 20)


@pytest.mark.parametrize("images,faces", [(2, 0), (0, 4), (2, 4)])
def test_an_empty_image_is_black_and_has_no_gradient(warp, images, faces):
    points = torch.full((images, 12, 3), 9.0, device=warp.device, requires_grad=True)
    triangles = torch.arange(12, device=warp.device).view(4, 3)[:faces]
    texture = torch.rand(4, 4, 3, device=warp.device, requires_grad=True)
    image, alpha = warp.textured(points, triangles, corner_uv(triangles).to(warp.device), texture, 8, SIGMA, GAMMA)
    values = torch.rand(12, 2, device=warp.device, requires_grad=True)
    other, _ = warp.attributes(points, triangles, values, 8, SIGMA, GAMMA)
    (image.sum() + alpha.sum() + other.sum()).backward()
    assert image.shape == (images, 8, 8, 3) and other.shape == (images, 8, 8, 2)
    for tensor in (image, alpha, other, points.grad, texture.grad, values.grad):
        assert not tensor.any()


def test_the_upper_row_of_a_texture_is_at_v_one(warp):
    points = torch.tensor([[[-1.0, -1.0, 2.0], [1.0, -1.0, 2.0], [-1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]])
    faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
    uv = torch.stack([(points[0, :, 0] + 1) / 2, (1 - points[0, :, 1]) / 2], -1)[faces]
    texture = texture_of((8, 8))
    points, faces, uv = (x.to(warp.device) for x in (points, faces, uv))
    image, _ = warp.textured(points, faces, uv, texture.to(warp.device), 8, 1e-6, 1e-3)
    assert torch.allclose(image[0].cpu(), texture, atol=1e-3)


def test_the_nearer_face_hides_the_other(warp):
    points, faces = scattered_faces(images=1, faces=2)
    points = points[:, :3].repeat(1, 2, 1)
    points[:, :3, 2], points[:, 3:, 2] = 3.0, 2.0
    colour = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    image, alpha = warp.attributes(*(x.to(warp.device) for x in (points, faces, colour)), 32, 1e-5, 1e-3)
    inside = alpha > 0.999
    assert inside.any()
    assert torch.allclose(image[inside].cpu(), torch.tensor([0.0, 1.0]), atol=1e-4)


def test_alpha_is_that_of_the_silhouette(warp):
    points, faces = (x.to(warp.device) for x in scattered_faces())
    _, alpha = warp.attributes(points, faces, colours(points).to(warp.device), 32, SIGMA, GAMMA)
    assert torch.allclose(alpha, warp.silhouette(points, faces, 32, SIGMA), atol=1e-6)


def test_the_same_input_gives_the_same_bits(warp):
    if warp.device.type == "cuda":
        pytest.skip("atomic additions on CUDA come in any order")
    points, faces = scattered_faces(images=20, faces=60)
    results = []
    for _ in range(3):
        moved, texture = points.clone().requires_grad_(), texture_of().requires_grad_()
        image, alpha = warp.textured(moved, faces, corner_uv(faces), texture, 32, SIGMA, GAMMA)
        (image.square().sum() + alpha.sum()).backward()
        results.append((image.detach(), moved.grad, texture.grad))
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, results[0], strict=True))


def test_wrong_shapes_are_refused(warp):
    points, faces = (x.to(warp.device) for x in sheet())
    with pytest.raises(ValueError, match="attributes of 3 vertices"):
        warp.attributes(points, faces, torch.zeros(3, 2, device=warp.device), 8, SIGMA, GAMMA)
    with pytest.raises(ValueError, match="uv have shape"):
        warp.textured(points, faces, torch.zeros(2, 3, 2), torch.zeros(4, 4, 3), 8, SIGMA, GAMMA)
    with pytest.raises(ValueError, match="texture has shape"):
        warp.textured(points, faces, torch.zeros(len(faces), 3, 2), torch.zeros(4, 4, 1), 8, SIGMA, GAMMA)
