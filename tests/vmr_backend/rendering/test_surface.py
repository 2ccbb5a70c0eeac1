"""Which vertices are visible and which a mesh hides itself, on balls in a row, on sheets and on a tube."""

import numpy as np
import pytest
import torch
from odd_meshes import Mesh, cylinder, grid, with_lonely
from scipy.spatial.transform import Rotation

from vmr_backend.geometry.sphere import icosphere
from vmr_backend.rendering import get_renderer
from vmr_backend.rendering.surface import (
    HIDDEN_DEPTH,
    Surface,
    _furthest_around,
    facing_all_round,
    hidden_vertices,
    visible_vertices,
)

SIZE = 48
CPU = torch.device("cpu")
BALL = torch.from_numpy(icosphere(3).vertices).float()


def in_a_row(gap, shift=0.0, flip=False) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (1, 1, 2V, 3) in the crop of a ball and of a smaller one `gap` behind it, and their faces."""
    small = 0.8 * BALL * (BALL.new_tensor([-1, 1, 1]) if flip else 1)
    points = torch.cat([BALL, small + torch.tensor([0, 0, 1.8 + gap])])
    points[len(BALL):, 0] += shift
    faces = torch.from_numpy(icosphere(3).faces)
    return 0.4 * points[None, None] + torch.tensor([0, 0, 2.0]), torch.cat([faces, faces + len(BALL)])


def hidden_in(points, faces, size=SIZE) -> torch.Tensor:
    pixels = torch.zeros(points.shape[1], 1, 2, dtype=torch.long)
    _, nearest = Surface.front_and_nearest(points, faces, pixels, size, get_renderer("warp", CPU))
    return hidden_vertices(points, faces, nearest)


def off_the_rim(size) -> torch.Tensor:
    """(V,) whether the near ball's surface is nearly as deep in a pixel's middle as at a vertex in that pixel."""
    return 0.4 * (1 - BALL[:, :2].norm(dim=1)) > 1.5 * 2 / size


@pytest.mark.parametrize("size", [48, 96])
def test_of_two_balls_in_a_row_the_far_ones_face_is_hidden_and_nothing_else(size):
    found = hidden_in(*in_a_row(0.3), size)
    assert found.shape == (1, 1, 2 * len(BALL)) and found.dtype == torch.bool
    near, far = found[0, 0].split(len(BALL))
    assert not near[off_the_rim(size)].any() and not near[BALL[:, 2] > 0].any(), "neither its face nor its back"
    assert far[BALL[:, 2] < -0.1].all() and not far[BALL[:, 2] > 0.1].any()


def test_the_furthest_around_a_pixel_is_the_greatest_of_it_and_its_neighbours():
    depth = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(0))
    depth[1, 2, 3] = torch.inf
    expected = torch.stack([depth[:, max(r - 1, 0):r + 2, max(c - 1, 0):c + 2].amax((1, 2))
                            for r in range(6) for c in range(5)], 1).view(2, 6, 5)
    assert torch.equal(_furthest_around(depth), expected)


def test_beside_the_near_ball_the_far_one_is_not_hidden():
    near, far = hidden_in(*in_a_row(0.3, shift=1.0))[0, 0].split(len(BALL))
    behind, beside = (0.8 * BALL[:, 0] + 1 < 0.4), (0.8 * BALL[:, 0] + 1 > 1.1)
    assert not near[off_the_rim(SIZE)].any() and not far[beside & (BALL[:, 2] < -0.85)].any()
    assert far[behind & (BALL[:, 2] < -0.1)].all() and (behind & (BALL[:, 2] < -0.1)).any()


def test_a_ball_turned_inside_out_hides_its_outside_that_faces_the_camera():
    points, faces = in_a_row(0.3, flip=True)
    near, far = hidden_in(points, faces)[0, 0].split(len(BALL))
    assert not near[off_the_rim(SIZE)].any() and far[BALL[:, 2] > 0.1].all() and not far[BALL[:, 2] < -0.1].any()


def test_nothing_is_hidden_outside_of_the_picture_nor_just_behind_the_surface():
    points, faces = in_a_row(0.3)
    assert not hidden_in(points + torch.tensor([3.0, 0, 0]), faces).any()
    wall = torch.tensor([[-4.0, -4, 2], [0, 8, 2], [4, -4, 2]])
    for gap in (0.9 * HIDDEN_DEPTH, 1.1 * HIDDEN_DEPTH):
        behind = torch.cat([wall, wall * torch.tensor([0.1, 0.1, 1]) + torch.tensor([0, 0, gap])])[None, None]
        found = hidden_in(behind, torch.arange(6).view(2, 3))[0, 0]
        assert found.tolist() == [False] * 3 + [gap > HIDDEN_DEPTH] * 3


def sheets_in_a_row() -> Mesh:
    """A sheet that covers the picture's left half, a larger one behind it, and vertices without faces."""
    vertices, faces = with_lonely(grid(5, 5))
    ahead, behind = vertices / 5 - [0.95, 0.5, 0], vertices / 2.6 - [0.96, 0.96, 0]
    vertices = np.concatenate([ahead + [0, 0, 2], behind + [0, 0, 2.5]])
    return Mesh(vertices, np.concatenate([faces, faces + len(ahead)])[:, ::-1].copy())


def test_a_sheet_hides_what_is_behind_it_and_its_back_hides_nothing_of_its_own():
    mesh = sheets_in_a_row()
    points, count = torch.from_numpy(mesh.vertices).float(), len(mesh.vertices) // 2
    faces = torch.from_numpy(mesh.faces)
    low, high = points[1:count][points[1:count, 2] == 2].aminmax(dim=0)
    covered = ((points[:, :2] > low[:2]) & (points[:, :2] < high[:2])).all(1)
    expected = covered & (torch.arange(2 * count) >= count) & (points[:, 2] == 2.5)
    assert 3 < expected.sum() < 20
    assert torch.equal(hidden_in(points[None, None], faces)[0, 0], expected)
    assert not hidden_in(points[None, None], faces.flip(1)).any(), "they turn their insides to the camera"
    seen = visible_vertices(points[None], faces, SIZE, get_renderer("warp", CPU))[0]
    assert seen[:count][points[:count, 2] == 2].all() and not seen[~torch.isin(torch.arange(2 * count), faces)].any()


def test_through_an_open_tube_its_inside_is_seen_and_not_hidden():
    mesh = cylinder(16, 3)
    points = torch.from_numpy(mesh.vertices).float() * torch.tensor([0.9, 0.9, 1]) + torch.tensor([0, 0, 3])
    points[:, :2] *= 3 / points[:, 2:]
    faces, renderer = torch.from_numpy(mesh.faces), get_renderer("warp", CPU)
    assert visible_vertices(points[None], faces, SIZE, renderer).all()
    assert not hidden_in(points[None, None], faces).any()
    assert facing_all_round(points[None, None], faces, renderer).isfinite().all()


def test_every_frame_and_hypothesis_hides_its_own():
    (a, faces), (b, _) = in_a_row(0.3), in_a_row(0.3, shift=1.0)
    together = hidden_in(torch.cat([torch.cat([a, b], 1), torch.cat([b, a], 1)]), faces)
    alone = [hidden_in(points, faces)[0, 0] for points in (a, b)]
    assert torch.equal(together, torch.stack([torch.stack(alone), torch.stack(alone[::-1])]))


def posed() -> torch.Tensor:
    """(1, 3, V, 3) a ball that is stretched, turned and far from the middle."""
    turn = torch.from_numpy(Rotation.random(3, random_state=0).as_matrix()).float()
    shift = torch.tensor([[0.0, 0, 0], [3, -1, 2], [-5, 0, 0]])[:, None]
    return (BALL * torch.tensor([0.3, 0.6, 0.4]) @ turn.mT + shift)[None]


@pytest.mark.parametrize("seed", range(3))
def test_no_pose_of_a_ball_faces_the_wrong_way_and_one_inside_out_does_from_every_side(seed):
    faces, renderer = torch.from_numpy(icosphere(3).faces), get_renderer("warp", CPU)
    torch.manual_seed(seed)
    assert facing_all_round(posed(), faces, renderer).tolist() == [0]
    turned = (posed() * torch.tensor([-1.0, 1, 1])).requires_grad_()
    one = facing_all_round(turned, faces, renderer)
    assert one.shape == (1,) and one.item() > 0.02
    one.sum().backward()
    assert torch.isfinite(turned.grad).all() and turned.grad.flatten(2).any(2).all(), "all poses count"
    mixed = torch.cat([posed(), turned.detach()])
    assert (facing_all_round(mixed, faces, renderer) > 0.02).tolist() == [False, True]
