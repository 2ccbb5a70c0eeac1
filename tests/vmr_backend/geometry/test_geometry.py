"""Geometry against closed forms, SciPy and finite differences."""

import math

import numpy as np
import pytest
import torch
from odd_meshes import ODD_MESHES, grid, two_balls, with_lonely
from scipy.spatial.transform import Rotation

from vmr_backend.geometry import arap, cameras, rotations, skinning, sphere, topology


def random_rotation(seed=0, count=()):
    matrices = Rotation.random(int(np.prod(count)), random_state=seed).as_matrix()
    return torch.from_numpy(matrices).reshape(*count, 3, 3)


def normals(*shape, seed=0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("level", range(4))
def test_icosphere_is_a_closed_symmetric_sphere(level):
    ball = sphere.icosphere(level)
    assert len(ball.vertices) == 10 * 4**level + 2 and len(ball.faces) == 20 * 4**level
    assert np.allclose(np.linalg.norm(ball.vertices, axis=1), 1)
    assert len(ball.vertices) - len(topology.edges_of(ball.faces)) + len(ball.faces) == 2
    assert np.allclose(ball.vertices[ball.mirror], ball.vertices * [-1, 1, 1])
    corners = ball.vertices[ball.faces]
    assert (np.linalg.det(corners) > 0).all(), "faces look outward"


def test_a_mirror_image_takes_the_place_of_the_other_side():
    ball = sphere.icosphere(1)
    shape = torch.from_numpy(ball.vertices) * torch.tensor([1.0, 2, 3]) + torch.tensor([0.5, 0, 0])
    found = sphere.mirror_image(shape.expand(2, -1, -1), torch.from_numpy(ball.mirror))
    assert torch.allclose(found, (shape - torch.tensor([1.0, 0, 0])).expand(2, -1, -1))


def test_subdivision_keeps_the_coarse_vertices_first_and_places_midpoints():
    ball = sphere.icosphere(1)
    fine, faces, edges = sphere.subdivide(ball.vertices, ball.faces)
    assert np.array_equal(fine[: len(ball.vertices)], ball.vertices)
    assert np.allclose(fine[len(ball.vertices):], ball.vertices[edges].mean(1))
    assert len(faces) == 4 * len(ball.faces)


@pytest.mark.parametrize("level", [2, 4])
def test_uv_map_stays_inside_and_covers_without_overlap(level):
    ball = sphere.icosphere(level)
    uv = sphere.spherical_uv(ball)
    assert uv.min() >= 0 and uv.max() <= 1
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    assert (area > 0).all(), "no face is turned over"
    assert 0.9 < area.sum() * (1 + 2 * sphere.U_MARGIN) < 1.01


def test_uv_map_does_not_depend_on_the_level():
    coarse, fine = sphere.icosphere(2), sphere.icosphere(3)
    inner = np.abs(coarse.vertices[coarse.faces[:, 0]][:, 2]) < 0.9
    where = {tuple(v.round(6)): i for i, v in enumerate(fine.vertices)}
    uv_of = {}
    for face, uv in zip(fine.faces, sphere.spherical_uv(fine), strict=True):
        for vertex, corner in zip(face, uv, strict=True):
            uv_of.setdefault(vertex, []).append(corner)
    for face, uv in zip(coarse.faces[inner], sphere.spherical_uv(coarse)[inner], strict=True):
        corner = uv_of[where[tuple(coarse.vertices[face[0]].round(6))]]
        step = 1 / (1 + 2 * sphere.U_MARGIN)
        gap = np.abs(np.array(corner) - uv[0])
        assert (np.minimum(gap[:, 0], np.abs(gap[:, 0] - step)).min() < 1e-6) and gap[:, 1].min() < 1e-6


def test_axis_angle_agrees_with_scipy_and_has_gradients_at_zero():
    vectors = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors[0] = 0
    vectors[1] *= 1e-5
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    assert np.allclose(rotations.from_axis_angle(vectors).numpy(), expected, atol=1e-9)
    vectors = vectors[2:6].clone().requires_grad_()
    assert torch.autograd.gradcheck(rotations.from_axis_angle, vectors)
    zero = torch.zeros(1, 3, requires_grad=True)
    rotations.from_axis_angle(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_angle_between_rotations():
    a = random_rotation(1)
    turn = rotations.from_axis_angle(torch.tensor([0.3, -0.4, 0.5], dtype=torch.float64))
    assert torch.isclose(rotations.angle_between(a, turn @ a), torch.tensor(0.5**0.5, dtype=torch.float64)).all()


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 20.0, 90.0, 179.999, 180.0])
def test_the_angle_between_rotations_is_scipys_and_its_gradient_is_finite_everywhere(degrees):
    a, axis = random_rotation(1).reshape(3, 3), torch.nn.functional.normalize(normals(3), dim=0)
    b = (rotations.from_axis_angle(math.radians(degrees) * axis) @ a).requires_grad_()
    found = rotations.angle_between(a, b)
    expected = Rotation.from_matrix((b.detach() @ a.T).numpy()).magnitude()
    assert found.item() == pytest.approx(expected, abs=1e-7)
    found.backward()
    assert torch.isfinite(b.grad).all()
    if 1 < degrees < 179:
        assert torch.autograd.gradcheck(lambda b: rotations.angle_between(a, b), b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_axis_angles_of_rotations_are_those_they_were_made_from_and_scipys(dtype):
    lengths = torch.tensor([0.0, 1e-7, 1e-4, 0.5, 2.0, 3.1, np.pi - 1e-4], dtype=dtype)
    axes = torch.nn.functional.normalize(normals(5, 1, 3), dim=-1).to(dtype)
    vectors = axes * lengths[:, None]
    found = rotations.to_axis_angle(rotations.from_axis_angle(vectors))
    assert found.shape == (5, 7, 3) and found.dtype == dtype and not found.requires_grad
    assert torch.allclose(found, vectors, atol=2e-3 if dtype == torch.float32 else 1e-6)
    turn = random_rotation(2, (2, 4)).to(dtype)
    expected = Rotation.from_matrix(turn.flatten(0, 1).double().numpy()).as_rotvec().reshape(2, 4, 3)
    assert np.allclose(rotations.to_axis_angle(turn).numpy(), expected, atol=1e-6)


def test_a_half_turn_has_one_of_its_two_axis_angles():
    vectors = torch.from_numpy(np.pi * np.eye(3))
    found = rotations.to_axis_angle(rotations.from_axis_angle(vectors))
    assert torch.allclose(found.norm(dim=1), torch.full((3,), np.pi, dtype=torch.float64))
    assert torch.allclose(rotations.from_axis_angle(found), rotations.from_axis_angle(vectors), atol=1e-6)


def weighted_edges(rest, ball):
    edges = topology.edges_of(ball.faces)
    opposite = torch.from_numpy(topology.opposite_edges(ball.faces, edges))
    return torch.from_numpy(edges), topology.cotangent_weights(rest, torch.from_numpy(ball.faces), opposite, len(edges))


def arap_of(posed, rest, ball):
    return arap.arap_energy(rest, posed, *weighted_edges(rest, ball))


def test_arap_energy_is_zero_for_rigid_motion_and_equals_the_stretch_of_a_scaling():
    ball = sphere.icosphere(1)
    rest = torch.from_numpy(ball.vertices)
    moved = rest @ random_rotation(3).T + torch.tensor([1.0, 2.0, 3.0])
    assert arap_of(moved, rest, ball) < 1e-8
    edges, weights = weighted_edges(rest, ball)
    length = (rest[edges[:, 0]] - rest[edges[:, 1]]).norm(dim=1)
    assert torch.isclose(arap_of(1.1 * rest, rest, ball), 0.1 * (weights * length).sum() / weights.sum(), rtol=1e-4)


def rotations_by_decomposition(covariance):
    """Rotations that maximise trace(R @ covariance), from singular values (Kabsch 1976)."""
    u, _, vh = torch.linalg.svd(covariance)
    proper = torch.ones_like(covariance[..., 0])
    proper[..., 2] = torch.linalg.det(u @ vh)
    return (vh.mT * proper.unsqueeze(-2)) @ u.mT


@pytest.mark.parametrize("rank", [3, 2])
def test_best_rotations_are_those_of_a_singular_value_decomposition(rank):
    covariance = normals(2000, 3, rank) @ normals(2000, rank, 3, seed=1)
    found, expected = arap.best_rotations(covariance), rotations_by_decomposition(covariance)
    assert torch.allclose(found, expected, atol=1e-8)
    assert torch.allclose(arap.best_rotations(1e-6 * covariance.float()), expected.float(), atol=1e-3)


def test_best_rotations_of_what_fell_on_a_line_turn_it_right_and_stay_finite():
    start, end = torch.nn.functional.normalize(normals(2, 500, 3), dim=-1)
    found = arap.best_rotations(start.unsqueeze(-1) * end.unsqueeze(-2))
    assert torch.allclose((found @ start.unsqueeze(-1)).squeeze(-1), end, atol=1e-4)
    for undecided in (torch.zeros(3, 3), -torch.eye(3)):
        assert torch.linalg.matrix_norm(arap.best_rotations(undecided)) < 2


@pytest.mark.parametrize("ball", [sphere.icosphere(1), *ODD_MESHES.values()], ids=["a ball", *ODD_MESHES])
def test_arap_energy_is_the_mean_over_neighbourhoods_seen_from_both_ends(ball):
    rest = torch.from_numpy(ball.vertices)
    posed = rest + 0.1 * normals(*rest.shape)
    edges, weights = weighted_edges(rest, ball)
    ends = [(int(i), int(j), float(w)) for (i, j), w in zip(edges, weights, strict=True)]
    total = 0.0
    for v in range(len(rest)):
        around = [(j if i == v else i, w) for i, j, w in ends if v in (i, j)]
        if not around:
            continue
        turn = rotations_by_decomposition(sum(w * torch.outer(rest[v] - rest[k], posed[v] - posed[k])
                                              for k, w in around))
        total += sum(w * (posed[v] - posed[k] - turn @ (rest[v] - rest[k])).norm() for k, w in around)
    assert torch.isclose(arap_of(posed, rest, ball), total / (2 * weights.sum()), rtol=1e-4)


def test_parts_may_move_rigidly_each_by_itself():
    mesh = two_balls()
    rest, half = torch.from_numpy(mesh.vertices), len(mesh.vertices) // 2
    moved = torch.cat([rest[:half] @ random_rotation(3).T, rest[half:] @ random_rotation(4).T + 2])
    assert arap_of(moved, rest, mesh) < 1e-8


def test_a_sheet_costs_what_it_is_stretched_by_and_lonely_vertices_cost_nothing():
    for mesh in (grid(), with_lonely(grid())):
        rest = torch.from_numpy(mesh.vertices)
        stretched = (rest @ random_rotation(5).T * 1.2).requires_grad_()
        energy = arap_of(stretched, rest, mesh)
        assert energy.item() == pytest.approx(0.2, rel=1e-4), "edges of length 1 have all the weight"
        energy.backward()
        lonely = ~np.isin(np.arange(len(rest)), mesh.faces)
        assert torch.isfinite(stretched.grad).all() and not stretched.grad[lonely].any()


def test_arap_energy_descends_to_the_rest_shape():
    ball = sphere.icosphere(1)
    rest = torch.from_numpy(ball.vertices)
    noise = 0.1 * torch.randn(rest.shape, dtype=rest.dtype, generator=torch.Generator().manual_seed(0))
    posed = (rest + noise).requires_grad_()
    start = arap_of(posed, rest, ball).item()
    optimiser = torch.optim.Adam([posed], 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        arap_of(posed, rest, ball).backward()
        optimiser.step()
    assert arap_of(posed, rest, ball) < start / 5


def test_projection_of_the_full_frame_and_of_a_crop_agree():
    camera = cameras.Camera(random_rotation(4), torch.tensor([0.1, -0.2, 4.0], dtype=torch.float64),
                            torch.tensor([300.0, 310, 160, 120], dtype=torch.float64))
    points = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    pixels = cameras.project(points, camera)
    homogeneous = (points @ camera.rotation.T + camera.translation) @ torch.tensor(
        [[300.0, 0, 160], [0, 310, 120], [0, 0, 1]], dtype=torch.float64).T
    assert torch.allclose(pixels[:, :2], homogeneous[:, :2] / homogeneous[:, 2:])
    centre, half = torch.tensor([150.0, 100.0], dtype=torch.float64), torch.tensor(80.0, dtype=torch.float64)
    crop = cameras.Camera(camera.rotation, camera.translation,
                          cameras.crop_intrinsics(camera.intrinsics, centre, half))
    assert torch.allclose(cameras.project(points, crop)[:, :2] * half + centre, pixels[:, :2])
    factor = torch.tensor([0.5, 2.0], dtype=torch.float64)
    whole = cameras.zoomed(camera.intrinsics, factor)
    assert whole.tolist() == [[150, 155, 160, 120], [600, 620, 160, 120]]
    assert torch.allclose(cameras.zoomed(crop.intrinsics, factor), cameras.crop_intrinsics(whole, centre, half))


def test_skinning_follows_a_single_bone_and_blends_two():
    rest = torch.randn(30, 3, generator=torch.Generator().manual_seed(8))
    turn = random_rotation(9, (2, 6)).float()
    shift = torch.randn(2, 6, 3)
    centres = torch.randn(6, 3, generator=torch.Generator().manual_seed(10))
    weights = skinning.gaussian_skin_weights(rest, centres, torch.eye(3).expand(6, 3, 3))
    assert torch.allclose(weights.sum(1), torch.ones(30)) and ((weights > 0).sum(1) <= 4).all()
    moved = skinning.blend_skinning(rest, weights, turn, shift)
    expected = sum(weights[:, b, None] * (rest @ turn[:, b].mT + shift[:, b, None]) for b in range(6))
    assert torch.allclose(moved, expected, atol=1e-5)
    alone = skinning.blend_skinning(rest, torch.ones(30, 1), turn[:, :1], shift[:, :1])
    assert torch.allclose(alone, rest @ turn[:, 0].mT + shift[:, :1], atol=1e-5)


@pytest.mark.parametrize("apart", [False, True], ids=["near in space", "apart on the sphere"])
@pytest.mark.parametrize("bones", [1, 3, 9])
def test_skin_weights_are_the_softmax_of_the_four_least_distances(bones, apart):
    random = np.random.default_rng(bones)
    points, centres = random.normal(size=(40, 3)), random.normal(size=(bones, 3))
    precisions, added = random.normal(size=(bones, 3, 3)), apart * random.uniform(0, 9, (40, bones))
    expected = np.zeros((40, bones))
    for v in range(40):
        square = [np.sum((precisions[b] @ (points[v] - centres[b])) ** 2) + added[v, b] for b in range(bones)]
        nearest = np.argsort(square)[:4]
        share = np.exp(min(square) - np.array(square)[nearest])
        expected[v, nearest] = share / share.sum()
    given = (torch.from_numpy(x) for x in (points, centres, precisions))
    found = skinning.gaussian_skin_weights(*given, *([torch.from_numpy(added)] if apart else []))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_bone_lets_go_of_what_lies_apart_from_it():
    points, centres = torch.zeros(2, 3), torch.tensor([[0.1, 0, 0], [-0.1, 0, 0]])
    apart = torch.tensor([[0.0, 30], [30, 0]])
    weights = skinning.gaussian_skin_weights(points, centres, torch.eye(3).expand(2, 3, 3), apart)
    assert torch.allclose(weights, torch.eye(2), atol=1e-6)


def test_skin_weights_and_skinning_have_the_gradients_of_finite_differences():
    random = np.random.default_rng(0)
    rest, centres, precisions, shift = (torch.from_numpy(random.normal(size=shape)).requires_grad_()
                                        for shape in ((6, 3), (5, 3), (5, 3, 3), (2, 5, 3)))
    turn = random_rotation(1, (2, 5))

    def skinned(rest, centres, precisions, shift):
        weights = skinning.gaussian_skin_weights(rest, centres, precisions, bones_per_vertex=5)
        return skinning.blend_skinning(rest, weights, turn, shift)

    assert torch.autograd.gradcheck(skinned, (rest, centres, 0.5 * precisions, shift))


def test_the_rigid_motion_of_one_bone_is_scipys_best_alignment():
    rest, weights = normals(40, 3), normals(40, 1, seed=1).abs()
    moved = rest @ random_rotation(5, (4,)).mT + normals(4, 1, 3, seed=2) + 0.2 * normals(4, 40, 3, seed=3)
    turn, shift = skinning.rigid_motions(rest, moved, weights)
    share = weights[:, 0].numpy()
    start = np.average(rest.numpy(), axis=0, weights=share)
    for t in range(4):
        end = np.average(moved[t].numpy(), axis=0, weights=share)
        expected, _ = Rotation.align_vectors(moved[t].numpy() - end, rest.numpy() - start, weights=share)
        assert np.allclose(turn[t, 0], expected.as_matrix(), atol=1e-5)
        assert np.allclose(turn[t, 0].numpy() @ start + shift[t, 0].numpy(), end)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parts_that_moved_rigidly_give_their_motions_back(dtype):
    rest, part = normals(90, 3).to(dtype), torch.arange(90) % 3
    weights = torch.nn.functional.one_hot(part).to(dtype)
    turn, shift = random_rotation(6, (5, 3)).to(dtype), normals(5, 3, 3, seed=1).to(dtype)
    moved = skinning.blend_skinning(rest, weights, turn, shift)
    found = skinning.rigid_motions(rest, moved, weights)
    for a, b in zip(found, (turn, shift), strict=True):
        assert a.dtype == dtype and torch.allclose(a, b, atol=2e-5)


def test_a_flat_part_turns_as_it_did():
    """In space the third direction is left open by more than the sign of the determinant."""
    rest = normals(30, 3) * torch.tensor([0.3, 0.2, 0.0])
    turn, shift = random_rotation(7, (6, 1)), normals(6, 1, 3)
    moved = skinning.blend_skinning(rest, torch.ones(30, 1).double(), turn, shift)
    assert torch.allclose(skinning.rigid_motions(rest, moved, torch.ones(30, 1).double())[0], turn, atol=1e-3)


def test_a_rigid_motion_is_never_a_reflection():
    rest, weights = normals(30, 3), normals(30, 4, seed=1).abs()
    mirrored = torch.stack([rest * torch.tensor(signs) for signs in ([-1.0, 1, 1], [1, 1, -1], [-1, -1, -1])])
    turn, _ = skinning.rigid_motions(rest, torch.cat([mirrored, normals(5, 30, 3, seed=2)]), weights)
    assert torch.allclose(torch.linalg.det(turn), torch.ones(8, 4).double())
    assert torch.allclose(turn @ turn.mT, torch.eye(3).double().expand(8, 4, 3, 3))


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_bone_that_holds_next_to_nothing_has_a_finite_rigid_motion(held):
    rest = normals(30, 3).float()
    moved = (rest + torch.tensor([0.0, 2, 0]))[None]
    weights = torch.ones(30, 2)
    weights[held:, 1] = 0
    turn, shift = skinning.rigid_motions(rest, moved, weights)
    assert torch.isfinite(turn).all() and torch.isfinite(shift).all()
    assert torch.allclose(turn, torch.eye(3).expand(1, 2, 3, 3), atol=1e-3), "nothing has turned"
    assert torch.allclose(shift[0, : 1 + (held > 0)], torch.tensor([0.0, 2, 0]), atol=1e-2)
