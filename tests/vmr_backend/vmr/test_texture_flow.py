"""Texture flow: it points where the surface is seen, paints what the picture shows, and is judged by what it paints."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter
from tiny_models import EGGS, RENDERER, level_camera

from vmr_backend.bodies.category import CategoryShape, Handles
from vmr_backend.geometry.sphere import U_MARGIN, icosphere
from vmr_backend.vmr.texture import (
    COLUMNS,
    ROWS,
    FlowCorrection,
    Painted,
    Texels,
    barriers,
    distance_loss,
    painted,
    sampled,
    structure_loss,
    surface_flow,
)

SIZE, SCALE, SHIFT = 96, 0.7, (0.1, -0.05)
SPHERE = icosphere(3)
BALL = torch.from_numpy(SPHERE.vertices).float()
SHAPE, TEXELS = CategoryShape(BALL[None], SPHERE, Handles.spread_over(BALL, SPHERE, 4), 8.0), Texels(SPHERE)
FLATNESS = 0.03
"""By which points of flat faces, and of the map's straight lines, are off the sphere's at moderate latitudes."""


def places() -> torch.Tensor:
    """(ROWS, COLUMNS, 3): where on the unit sphere each texel lies, by longitude and latitude."""
    u = ((torch.arange(COLUMNS) + 0.5) / COLUMNS) * (1 + 2 * U_MARGIN) - U_MARGIN
    longitude, latitude = (u - 0.5) * 2 * torch.pi, (0.5 - (torch.arange(ROWS) + 0.5) / ROWS) * torch.pi
    level, up = latitude.cos()[:, None], latitude.sin()[:, None]
    return torch.stack([level * longitude.sin(), -level * longitude.cos(), up.expand(ROWS, COLUMNS)], -1)


def inside_the_map() -> torch.Tensor:
    """(ROWS, COLUMNS) bool: away from the poles, and not in the margin behind the seam."""
    at = places()
    u = ((torch.arange(COLUMNS) + 0.5) / COLUMNS) * (1 + 2 * U_MARGIN) - U_MARGIN
    return (at[..., 2].abs() < 0.85) & (u > 0.01) & (u < 0.99)


def seen_at(at: torch.Tensor, camera) -> torch.Tensor:
    """(ROWS, COLUMNS, 2) of points of the sphere, by hand."""
    return SCALE * (at @ camera.rotation[0].T)[..., :2] + camera.shift[0]


def flow_of(camera) -> torch.Tensor:
    return surface_flow(SHAPE, TEXELS, BALL[None], camera, RENDERER, SIZE)[0]


def texture() -> torch.Tensor:
    """(1, 3, ROWS, COLUMNS), smooth, alike on both sides of the plane only where x is zero."""
    x, y, z = places().unbind(-1)
    colours = torch.sin(3 * x + z), z, torch.cos(2 * x - 2 * z + y)
    return 0.5 + 0.4 * torch.stack(colours)[None]


FRONT = level_camera(1, 0.0, SCALE, SHIFT)


def test_texels_of_the_front_find_their_colours_where_they_are_seen():
    at = places()
    front = (at[..., 1] < -0.3) & inside_the_map()
    expected = SCALE * torch.stack([at[..., 0], -at[..., 2]], -1) + torch.tensor(SHIFT)
    assert (flow_of(FRONT) - expected)[front].norm(dim=-1).max() < FLATNESS


def test_hidden_texels_take_their_mirror_images_places():
    camera, at = level_camera(1, 0.8, SCALE, SHIFT), places()
    mirrored = at * torch.tensor([-1.0, 1, 1])
    depth, depth_of_twin = ((points @ camera.rotation[0].T)[..., 2] for points in (at, mirrored))
    hidden = (depth > 0.15) & (depth_of_twin < -0.15) & inside_the_map()
    assert hidden.sum() > 500
    flow = flow_of(camera)
    assert (flow - seen_at(mirrored, camera))[hidden].norm(dim=-1).max() < FLATNESS
    assert (flow - seen_at(at, camera))[hidden].norm(dim=-1).mean() > 0.3, "not through the body"


def test_what_neither_side_shows_is_looked_for_through_the_body():
    at = places()
    back = (at[..., 1] > 0.2) & inside_the_map()
    assert (flow_of(FRONT) - seen_at(at, FRONT))[back].norm(dim=-1).max() < FLATNESS


def test_a_painted_texture_is_read_back_by_the_flow():
    camera = level_camera(1, 0.4, SCALE, SHIFT)
    painting = painted(SHAPE, TEXELS, BALL[None], camera, texture(), RENDERER, SIZE)
    read = sampled(painting.images, flow_of(camera)[None])
    depth = (places() @ camera.rotation[0].T)[..., 2]
    plainly_seen = (depth < -0.4) & inside_the_map()
    assert (read - texture())[0][:, plainly_seen].abs().max() < 0.08
    again = painted(SHAPE, TEXELS, BALL[None], camera, read, RENDERER, SIZE)
    assert torch.equal(again.covered, painting.covered)
    assert (again.images - painting.images).abs().mean() < 0.02


def test_only_the_mesh_is_painted():
    painting = painted(SHAPE, TEXELS, BALL[None], FRONT, torch.ones(1, 3, ROWS, COLUMNS), RENDERER, SIZE)
    grid = (2 * torch.arange(SIZE) + 1) / SIZE - 1
    radius = ((grid - SHIFT[0]).square() + (grid[:, None] - SHIFT[1]).square()).sqrt()
    assert painting.covered[0][radius < 0.95 * SCALE].all() and not painting.covered[0][radius > SCALE].any()
    assert torch.allclose(painting.images[0, 0], painting.covered[0].float())


def test_textures_are_learnt_and_meshes_left_alone():
    vertices = BALL[None].clone().requires_grad_()
    textures = texture().requires_grad_()
    painted(SHAPE, TEXELS, vertices, level_camera(1, 0.0, SCALE), textures, RENDERER, SIZE).images.sum().backward()
    assert vertices.grad is None and textures.grad.any()


def test_texels_lie_on_the_surface_of_any_shape():
    radii = torch.tensor(EGGS[0])
    found = TEXELS.of_vertices(BALL[None] * radii, SHAPE.faces)[0]
    assert (found - places() * radii)[inside_the_map()].norm(dim=-1).max() < FLATNESS


def test_no_correction_until_it_is_learnt_and_never_a_far_one():
    network = FlowCorrection(16)
    code = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(code), torch.zeros(2, ROWS, COLUMNS, 2))
    torch.nn.init.normal_(network.flow.weight, std=100)
    corrected = network(code)
    assert corrected.any() and corrected.abs().max() <= 0.25


def noise() -> torch.Tensor:
    picture = np.random.default_rng(0).random((1, 3, 64, 64))
    return torch.from_numpy(gaussian_filter(picture, (0, 0, 1, 1)) * 3 - 1).float()


def disc() -> torch.Tensor:
    grid = (2 * torch.arange(64) + 1) / 64 - 1
    return ((grid.square() + grid[:, None].square()) < 0.6).float()[None]


def test_a_painting_costs_nothing_if_true_and_more_the_more_blurred():
    image, mask = noise(), disc()
    costs = [float(structure_loss(Painted(torch.from_numpy(gaussian_filter(image.numpy(), (0, 0, blur, blur))),
                                          mask > 0), image, mask)) for blur in (0, 0.5, 1, 2, 4)]
    assert costs[0] == 0 and (np.diff(costs) > 0).all()


def test_what_is_painted_outside_the_mask_does_not_count():
    image, mask = noise(), disc()
    other = torch.where(mask[:, None] > 0, image, 1 - image)
    assert structure_loss(Painted(other, mask >= 0), image, mask) == 0
    assert structure_loss(Painted(1 - image, mask < 0), image, mask) == 0, "nothing is painted"


def test_barriers_follow_the_distance_to_the_outline():
    masks = torch.stack([disc()[0], torch.zeros(64, 64)])
    masks[1, 20:50, 5:30] = 1
    found = barriers(masks)
    for mask, barrier in zip(masks.numpy(), found.numpy(), strict=True):
        signed = distance_transform_edt(mask == 0) - distance_transform_edt(mask > 0)
        # OpenCV's distances are a few hundredths off Euclid's.
        assert np.abs(barrier - 1 / (1 + np.exp(-50 * signed / 64))).max() < 0.03
    assert (found[masks > 0] < 0.5).all() and (found[masks == 0] > 0.5).all()


@pytest.mark.parametrize("mask", [torch.zeros(1, 64, 64), torch.ones(1, 64, 64)])
def test_barriers_without_an_outline_are_flat(mask):
    assert torch.allclose(barriers(mask), 1 - mask)


def test_flow_that_leaves_the_mask_costs():
    barrier = barriers(disc())
    costs = [float(distance_loss(torch.full((1, ROWS, COLUMNS, 2), place), barrier)) for place in (0.0, 0.4, 0.6, 0.95)]
    assert costs[0] < 0.01 and costs[-1] > 0.99 and (np.diff(costs) > 0).all()
    flow = torch.full((1, ROWS, COLUMNS, 2), 0.56, requires_grad=True)
    distance_loss(flow, barrier).backward()
    assert (flow.grad > 0).all(), "downhill is inwards"
