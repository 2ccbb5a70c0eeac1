"""Edges, Laplacians and winding numbers of all sorts of meshes: counted by hand, by angles, closed forms and rays."""

import numpy as np
import pytest
import torch
from odd_meshes import ODD_MESHES, cylinder, grid, with_lonely

from vmr_backend.geometry import topology
from vmr_backend.geometry.sphere import icosphere

EVERY_MESH = {"a ball": (icosphere(1).vertices, icosphere(1).faces), **ODD_MESHES}
every_mesh = pytest.mark.parametrize("vertices, faces", EVERY_MESH.values(), ids=EVERY_MESH)


def uneven_ball(level=1, seed=0):
    ball = icosphere(level)
    return ball.vertices + 0.15 * np.random.default_rng(seed).normal(size=ball.vertices.shape), ball.faces


def weights_of(vertices, faces) -> torch.Tensor:
    edges = topology.edges_of(faces)
    opposite = torch.from_numpy(topology.opposite_edges(faces, edges))
    return topology.cotangent_weights(torch.as_tensor(vertices), torch.from_numpy(faces), opposite, len(edges))


def sides_of(face) -> list[tuple[int, int]]:
    """Of a face: its corners from one to the next."""
    return [(int(face[k]), int(face[(k + 1) % 3])) for k in range(3)]


@pytest.mark.parametrize("name, characteristic", [("a ball", 2), ("a grid", 1), ("a tube", 0), ("a Moebius strip", 0),
                                                  ("two balls", 4), ("a book", 1), ("lonely vertices", 1)])
def test_every_edge_is_found_once(name, characteristic):
    faces = EVERY_MESH[name][1]
    edges = topology.edges_of(faces)
    assert {tuple(edge) for edge in edges} == {tuple(sorted(side)) for face in faces for side in sides_of(face)}
    assert len(np.unique(faces)) - len(edges) + len(faces) == characteristic, "Euler's formula"


@every_mesh
def test_neighbouring_faces_are_all_pairs_with_a_common_edge(vertices, faces):
    expected = set()
    for f, face in enumerate(faces):
        for g, other in enumerate(faces[:f]):
            if len({*face} & {*other}) == 2:
                expected.add((g, f, -1 if {*sides_of(face)} & {*sides_of(other)} else 1))
    found = topology.neighbouring_faces(faces)
    assert len(found) == len(expected)
    assert {(*sorted((int(a), int(b))), int(alike)) for a, b, alike in found} == expected


def test_a_strip_of_half_a_turn_changes_sides_once_and_of_three_leaves_two_go_with_the_third():
    for name, turned in (("a Moebius strip", 2), ("a book", 1), ("a tube", 0)):
        assert (topology.neighbouring_faces(EVERY_MESH[name][1])[:, 2] < 0).sum() == turned


def test_a_face_alone_has_no_neighbour():
    assert topology.neighbouring_faces(np.array([[4, 2, 7]])).shape == (0, 3)


@every_mesh
def test_the_combinatorial_laplacian_counts_neighbours(vertices, faces):
    count = len(vertices)
    expected = np.zeros((count, count))
    for i, j in {tuple(sorted(side)) for face in faces for side in sides_of(face)}:
        expected[i, j] = expected[j, i] = -1
        expected[i, i] += 1
        expected[j, j] += 1
    found = topology.combinatorial_laplacian(faces, count)
    assert found.nnz == (expected != 0).sum(), "kept sparse"
    np.testing.assert_array_equal(found.toarray(), expected)


def test_a_vertex_without_faces_has_an_empty_row():
    found = topology.combinatorial_laplacian(np.array([[0, 1, 3]]), 5).toarray()
    assert not found[[2, 4]].any() and not found[:, [2, 4]].any() and found.trace() == 6


@every_mesh
def test_the_edge_opposite_a_corner_has_the_other_two(vertices, faces):
    edges = topology.edges_of(faces)
    found = topology.opposite_edges(faces, edges)
    assert found.shape == faces.shape
    for corner in range(3):
        others = np.sort(np.delete(faces, corner, 1), 1)
        np.testing.assert_array_equal(edges[found[:, corner]], others)


@every_mesh
def test_cotangent_weights_are_half_the_cotangents_of_the_angles_across(vertices, faces):
    vertices = vertices + 0.15 * np.random.default_rng(0).normal(size=vertices.shape)
    expected = {}
    for face in faces:
        for k in range(3):
            apex, left, right = face[k], face[(k + 1) % 3], face[(k + 2) % 3]
            a, b = vertices[left] - vertices[apex], vertices[right] - vertices[apex]
            angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            edge = tuple(sorted((left, right)))
            expected[edge] = expected.get(edge, 0) + 0.5 / np.tan(angle)
    each = np.array([expected[tuple(edge)] for edge in topology.edges_of(faces)])
    assert (each < 0).any() or len(faces) < 4, "some angles are obtuse"
    np.testing.assert_allclose(weights_of(vertices, faces), np.maximum(each, 0), atol=1e-9)


def test_cotangent_weights_of_several_shapes_are_those_of_each():
    (first, faces), (second, _) = uneven_ball(seed=1), uneven_ball(seed=2)
    found = weights_of(np.stack([[first], [second]]), faces)
    assert found.shape[:2] == (2, 1)
    torch.testing.assert_close(found[:, 0], torch.stack([weights_of(first, faces), weights_of(second, faces)]))


def test_cotangent_weights_of_an_equilateral_mesh():
    ball = icosphere(0)
    weights = weights_of(ball.vertices, ball.faces)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3**0.5))


def test_cotangent_weights_of_unit_squares_are_one_within_half_at_the_border_and_none_on_diagonals():
    vertices, faces = with_lonely(grid())
    i, j = topology.edges_of(faces).T
    middle = (vertices[i] + vertices[j])[:, :2] / 2
    at_border = ((middle == 0) | (middle == [5, 4])).any(1)
    diagonal = (np.abs(vertices[i] - vertices[j]) > 0).sum(1) == 2
    np.testing.assert_allclose(weights_of(vertices, faces), np.select([diagonal, at_border], [0, 0.5], 1), atol=1e-12)


@pytest.mark.parametrize("mesh", [grid(), cylinder(), with_lonely(cylinder(6, 1))], ids=["grid", "tube", "hexagon"])
def test_cotangent_weights_times_squared_edges_are_twice_the_area(mesh):
    """The Dirichlet energy of the coordinates (Pinkall and Polthier 1993)."""
    edges = topology.edges_of(mesh.faces)
    square = ((mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]]) ** 2).sum(1)
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert (weights_of(*mesh).numpy() * square).sum() == pytest.approx(2 * area)


def test_cotangent_weights_of_a_face_without_area_are_finite():
    vertices, faces = uneven_ball()
    vertices[faces[0, 1]] = vertices[faces[0, 0]]
    assert torch.isfinite(weights_of(vertices, faces)).all()


def winding(points, vertices, faces) -> np.ndarray:
    return topology.winding_numbers(torch.as_tensor(points), torch.as_tensor(vertices), torch.as_tensor(faces)).numpy()


def crossings(points, vertices, faces) -> np.ndarray:
    """Signed crossings (P,) of a ray from each point with the faces, each solved as a linear system."""
    way = np.array([0.36, -0.48, 0.8])
    total = np.zeros(len(points))
    for a, b, c in vertices[faces]:
        system = np.stack([b - a, c - a, -way], 1)
        u, v, t = np.linalg.solve(system, (points - a).T)
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        total += hit * np.sign(np.cross(b - a, c - a) @ way)
    return total


def test_a_mesh_goes_once_round_what_is_inside_and_not_round_what_is_outside():
    ball, points = icosphere(2), np.random.default_rng(0).normal(size=(200, 3))
    radius = np.linalg.norm(points, axis=1)
    found = winding(points, ball.vertices, ball.faces)
    np.testing.assert_allclose(found[radius < 0.95], 1, atol=1e-9)
    np.testing.assert_allclose(found[radius > 1], 0, atol=1e-9)
    np.testing.assert_allclose(winding(points, ball.vertices, np.flip(ball.faces, 1).copy()), -found, atol=1e-9)


def test_an_octant_is_an_eighth_and_a_box_without_a_lid_five_sixths():
    octant = np.eye(3)
    np.testing.assert_allclose(winding(np.zeros((1, 3)), octant, np.array([[0, 1, 2]])), 1 / 8)
    corners = np.array([(x, y, z) for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([f for a, b, c, d in sides for f in ((a, b, c), (a, c, d))])
    np.testing.assert_allclose(winding(np.zeros((1, 3)), corners, faces), 1)
    np.testing.assert_allclose(winding(np.zeros((1, 3)), corners, faces[:-2]), 5 / 6)


def test_a_sphere_folded_flat_onto_itself_goes_round_nothing():
    ball = icosphere(2)
    points = np.random.default_rng(1).uniform(-0.9, 0.9, (50, 3))
    np.testing.assert_allclose(winding(points, np.abs(ball.vertices * [0, 0, 1]) + ball.vertices * [1, 1, 0],
                                       ball.faces), 0, atol=1e-9)


def test_a_mesh_within_a_mesh_counts_twice():
    ball = icosphere(2)
    vertices = np.concatenate([ball.vertices, 0.5 * ball.vertices])
    faces = np.concatenate([ball.faces, ball.faces + len(ball.vertices)])
    found = winding(np.array([[0.1, 0.2, 0.1], [0.7, 0.1, 0], [0, 0, 2]]), vertices, faces)
    np.testing.assert_allclose(found, [2, 1, 0], atol=1e-9)


@pytest.mark.parametrize("seed", range(2))
def test_folds_and_crossings_count_as_a_ray_counts_them(seed):
    """A cap is pushed through the body's other side, and all of it is crumpled."""
    ball = icosphere(2)
    vertices = ball.vertices - [0, 0, 2.3] * (ball.vertices[:, 2:] > 0.5)
    vertices += 0.1 * np.random.default_rng(seed).normal(size=vertices.shape)
    points = np.random.default_rng([seed, 1]).uniform([-1, -1, -2], 1, (300, 3))
    found = winding(points, vertices, ball.faces)
    expected = crossings(points, vertices, ball.faces)
    assert {-1, 0, 1} <= set(expected)
    np.testing.assert_allclose(found, expected, atol=1e-8)
