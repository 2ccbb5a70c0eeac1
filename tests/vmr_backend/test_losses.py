"""Loss terms against plain NumPy, against what is known of them in closed form, and against finite differences."""

import itertools

import numpy as np
import pytest
import torch
from odd_meshes import ODD_MESHES, cylinder, grid, moebius, with_lonely
from scipy.spatial.transform import Rotation

from vmr_backend import losses
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.geometry.topology import edges_of, neighbouring_faces

BALL = icosphere(1)
COUNT = len(BALL.vertices)
FACES, MIRROR = torch.from_numpy(BALL.faces), torch.from_numpy(BALL.mirror)
EDGES, NEIGHBOURS = (torch.from_numpy(pairs(BALL.faces)) for pairs in (edges_of, neighbouring_faces))


def numbers(*shape, seed=0, low=-1.0, high=1.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).uniform(low, high, shape))


def uneven_balls(*lead) -> torch.Tensor:
    return torch.from_numpy(BALL.vertices) + 0.1 * numbers(*lead, COUNT, 3)


def charbonnier(square, knee):
    return np.sqrt(square + knee**2) - knee


def silhouette(alpha, mask, weight):
    total = error = both = either = 0.0
    for a, m, w in zip(alpha.flat, mask.flat, weight.flat, strict=True):
        total, error = total + 1, error + w * (a - m) ** 2
        both, either = both + w * a * m, either + w * (a + m - a * m)
    return error / total + 1 - both / either


def contour(points, pixels):
    return np.mean([charbonnier(min(((point - pixel) ** 2).sum() for point in points), 0.02) for pixel in pixels])


def contour_of_hidden(points, pixels, hidden, missed):
    def cost(pixel, left_open):
        square = ((points - pixel) ** 2).sum(1)
        behind = square[hidden].min(initial=np.inf)
        reach = losses.HIDDEN_REACH * np.sqrt(square.min()) + losses.HIDDEN_SLACK
        return charbonnier(behind if left_open and np.sqrt(behind) < reach else square.min(), 0.02)

    return np.mean([cost(*each) for each in zip(pixels, missed, strict=True)])


def weighted(knee):
    def reference(a, b, weight):
        found = [w * charbonnier(((p - q) ** 2).sum(), knee) for p, q, w in zip(a, b, weight, strict=True)]
        return sum(found) / max(weight.sum(), 1)

    return reference


def laplacian(vertices):
    neighbours = [np.concatenate([EDGES[EDGES[:, 0] == v, 1], EDGES[EDGES[:, 1] == v, 0]]) for v in range(COUNT)]
    return np.mean([((vertices[v] - vertices[near].mean(0)) ** 2).sum() for v, near in enumerate(neighbours)])


def flatten(vertices):
    def normal(face):
        a, b, c = vertices[BALL.faces[face]]
        n = np.cross(b - a, c - a)
        return n / np.linalg.norm(n)

    pairs = [(f, g) for f in range(len(FACES)) for g in range(f) if len({*BALL.faces[f]} & {*BALL.faces[g]}) == 2]
    return np.mean([(1 - normal(f) @ normal(g)) ** 2 for f, g in pairs])


def symmetry(vertices):
    image = vertices[BALL.mirror] * [-1, 1, 1]
    return ((vertices - image) ** 2).sum(1).mean()


def acceleration(path):
    return np.mean([((path[t + 1] - 2 * path[t] + path[t - 1]) ** 2).sum() for t in range(1, len(path) - 1)])


def facing(front, nearest, turned):
    return sum(t * (f - n) for f, n, t in zip(front, nearest, turned, strict=True)) / len(front)


def hint(found, hints):
    degrees = [np.degrees((Rotation.from_matrix(a).inv() * Rotation.from_matrix(b)).magnitude())
               for a, b in zip(found, hints, strict=True)]
    return np.mean([np.radians(max(0, each - 20)) ** 2 for each in degrees])


def turns(*lead, seed=0):
    count = int(np.prod(lead))
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix().reshape(*lead, 3, 3))


SHARES = {"low": 0.02, "high": 0.98}
TERMS = {
    "silhouette": (losses.silhouette_loss, silhouette, lambda *lead: [
        numbers(*lead, 5, 6, seed=s, **SHARES) for s in range(3)]),
    "contour": (losses.contour_loss, contour, lambda *lead: [numbers(*lead, 9, 2), numbers(*lead, 12, 2)]),
    "contour of what is hidden": (losses.contour_loss, contour_of_hidden, lambda *lead: [
        numbers(*lead, 9, 2), numbers(*lead, 24, 2), numbers(*lead, 9, seed=1) > 0, numbers(*lead, 24, seed=1) > 0]),
    "flow": (losses.flow_loss, weighted(0.005), lambda *lead: [
        numbers(*lead, 8, 2), numbers(*lead, 8, 2, seed=1), numbers(*lead, 8, **SHARES)]),
    "colour": (losses.colour_loss, weighted(0.05), lambda *lead: [
        numbers(*lead, 8, 3, **SHARES), numbers(*lead, 8, 3, seed=1, **SHARES), numbers(*lead, 8, **SHARES)]),
    "facing": (losses.facing_loss, facing, lambda *lead: [
        numbers(*lead, 8), numbers(*lead, 8, seed=1), (numbers(*lead, 8, seed=2) > 0).double()]),
    "laplacian": (lambda v: losses.laplacian_loss(v, EDGES), laplacian, lambda *lead: [uneven_balls(*lead)]),
    "flatten": (lambda v: losses.flatten_loss(v, FACES, NEIGHBOURS), flatten, lambda *lead: [uneven_balls(*lead)]),
    "symmetry": (lambda v: losses.symmetry_loss(v, MIRROR), symmetry, lambda *lead: [uneven_balls(*lead)]),
    "hint": (losses.hint_loss, hint, lambda *lead: [turns(*lead, 5), turns(*lead, 5, seed=1)]),
    "acceleration": (losses.acceleration_loss, acceleration, lambda *lead: [numbers(*lead, 6, 4)]),
}
every_term = pytest.mark.parametrize(("term", "reference", "inputs"), TERMS.values(), ids=TERMS)


@every_term
def test_a_term_is_what_its_definition_says(term, reference, inputs):
    given = inputs()
    assert term(*given).item() == pytest.approx(reference(*(x.numpy() for x in given)), rel=1e-9)


@every_term
def test_hypotheses_and_frames_together_are_the_same_as_one_by_one(term, reference, inputs):
    given = inputs(2, 3)
    together = term(*given)
    assert together.shape == (2, 3)
    for place in np.ndindex(2, 3):
        assert together[place].item() == pytest.approx(term(*(x[place] for x in given)).item(), rel=1e-9)


@pytest.mark.parametrize("name", ["silhouette", "contour", "flow", "colour", "hint"])
def test_hypotheses_share_what_was_observed(name):
    term, _, inputs = TERMS[name]
    fitted, observed = inputs(2, 3)[0], inputs(3)[1:]
    assert torch.allclose(term(fitted, *observed), torch.stack([term(each, *observed) for each in fitted]))


@every_term
def test_gradients_are_those_of_finite_differences(term, reference, inputs):
    first, *others = inputs()
    assert torch.autograd.gradcheck(lambda x: term(x, *others), first.requires_grad_())


@every_term
def test_gradients_stay_finite_where_nothing_is_left_to_improve(term, reference, inputs):
    first, *others = inputs()
    if len(others) == 2:
        others[0] = first.clone()
    first.requires_grad_()
    term(first, *others).sum().backward()
    assert torch.isfinite(first.grad).all()


def test_the_silhouette_of_the_mask_itself_costs_nothing_and_an_empty_one_the_most():
    mask = torch.zeros(8, 8)
    mask[2:6, 3:7] = 1
    everywhere = torch.ones(8, 8)
    assert losses.silhouette_loss(mask, mask, everywhere) == 0
    assert losses.silhouette_loss(torch.zeros(8, 8), mask, everywhere) == pytest.approx(1 + 16 / 64)
    assert torch.isfinite(losses.silhouette_loss(torch.zeros(8, 8), torch.zeros(8, 8), everywhere))


def test_pixels_without_weight_do_not_matter_to_the_silhouette():
    alpha, mask = numbers(8, 8, **SHARES), numbers(8, 8, seed=1, **SHARES)
    weight = torch.ones_like(mask)
    weight[:, 4:] = 0
    changed = torch.where(weight > 0, alpha, 1 - alpha)
    assert losses.silhouette_loss(alpha, mask, weight) == losses.silhouette_loss(changed, mask, weight)


def test_contour_pulls_the_nearest_vertex_towards_a_thin_part():
    points = torch.tensor([[0.0, 0.0], [0.5, 0.0]], requires_grad=True)
    losses.contour_loss(points, torch.tensor([[0.5, 0.4]])).backward()
    assert points.grad[0].abs().max() == 0
    assert points.grad[1, 1] < 0 and points.grad[1, 0] == 0


def test_contour_does_not_mind_vertices_within_the_mask_beyond_its_pixels():
    pixels = numbers(20, 2)
    assert losses.contour_loss(pixels, pixels) == 0
    assert losses.contour_loss(torch.cat([pixels, numbers(9, 2, seed=3)]), pixels) == 0


NEAR, BEHIND = [0.5, 0.0], [0.2, 0.0]
"""Places of a vertex and of a hidden one; the pixel at (0.5, 0.4) lies 0.4 from the first and 0.5 from the other."""


@pytest.mark.parametrize(("behind", "missed", "drawn"), [
    (BEHIND, True, 1), (BEHIND, False, 0), ([-0.5, 0.0], True, 0), ([0.5, 0.3], True, 1), ([0.5, 0.3], False, 1),
], ids=["missed", "covered", "out of reach", "nearest and missed", "nearest and covered"])
def test_a_missed_pixel_draws_a_hidden_vertex_within_reach_and_any_other_pixel_the_nearest(behind, missed, drawn):
    points = torch.tensor([NEAR, behind], requires_grad=True)
    pixel = torch.tensor([[0.5, 0.4]])
    losses.contour_loss(points, pixel, torch.tensor([False, True]), torch.tensor([missed])).backward()
    assert points.grad[1 - drawn].abs().max() == 0
    pull, way = -points.grad[drawn], (pixel[0] - points[drawn]).detach()
    assert pull @ way > 0 and torch.allclose(pull / pull.norm(), way / way.norm(), atol=1e-5)


@pytest.mark.parametrize(("reach", "drawn"), [(0.99, 1), (1.01, 0)])
def test_a_hidden_vertex_may_be_twice_as_far_as_the_nearest_and_a_little_more(reach, drawn):
    furthest = losses.HIDDEN_REACH * 0.1 + losses.HIDDEN_SLACK
    points = torch.tensor([[0.1, 0.0], [0.0, reach * furthest]], requires_grad=True)
    losses.contour_loss(points, torch.zeros(1, 2), torch.tensor([False, True]), torch.tensor([True])).backward()
    assert points.grad[drawn].any() and not points.grad[1 - drawn].any()


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("missed", [False, True])
def test_where_nothing_is_missed_or_none_or_all_are_hidden_the_contour_is_the_plain_one(hidden, missed):
    points, pixels = numbers(2, 9, 2).requires_grad_(), numbers(2, 12, 2)
    some = torch.full((2, 9), hidden), torch.full((2, 12), missed)
    found = losses.contour_loss(points, pixels, *some)
    assert torch.equal(found, losses.contour_loss(points, pixels))
    found.sum().backward()
    assert torch.isfinite(points.grad).all()
    mixed = numbers(2, 9) > 0
    assert torch.equal(losses.contour_loss(points, pixels, mixed, torch.zeros(2, 12).bool()), found)


@pytest.mark.parametrize(("lead", "shared"), [((), False), ((4,), False), ((2, 3), False), ((2, 3), True)])
def test_the_nearest_point_is_the_one_found_by_trying_all(lead, shared):
    points, places = numbers(*lead, 40, 2), numbers(*(lead[1:] if shared else lead), 25, 2, seed=1)
    found = losses.nearest_points(points, places)
    everywhere = places.expand(*lead, 25, 2)
    assert found.shape == (*lead, 25)
    for place in np.ndindex(lead):
        for p, index in zip(everywhere[place], found[place], strict=True):
            assert index == min(range(40), key=lambda v: ((points[place][v] - p) ** 2).sum())


def test_the_nearest_of_some_points_is_the_one_found_by_trying_these():
    points, places, among = numbers(3, 40, 2), numbers(25, 2, seed=1), numbers(3, 40, seed=2) > 0.5
    among[2] = False
    found = losses.nearest_points(points, places, among)
    for i in range(2):
        allowed = among[i].nonzero()[:, 0].tolist()
        for p, index in zip(places, found[i], strict=True):
            assert index == min(allowed, key=lambda v: ((points[i][v] - p) ** 2).sum())
    assert ((found >= 0) & (found < 40)).all(), "where there is no point, an index that can be looked up"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: its search for the nearest point is another")
def test_a_gpu_finds_the_same_nearest_points():
    points, places = numbers(2, 3, 40, 2).float(), numbers(3, 25, 2, seed=1).float()
    for among in (None, numbers(2, 3, 40, seed=2) > 0):
        found = losses.nearest_points(points.cuda(), places.cuda(), None if among is None else among.cuda())
        assert torch.equal(found.cpu(), losses.nearest_points(points, places, among))


def test_a_wall_that_stands_inside_out_before_another_is_pushed_behind_it():
    front, nearest = (torch.tensor(depth, requires_grad=True) for depth in ([3.0, 2.5, 2.0], [2.6, 2.5, 2.0]))
    loss = losses.facing_loss(front, nearest, torch.tensor([1.0, 0, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.4 / 3)
    assert front.grad.tolist() == pytest.approx([1 / 3, 0, 0]), "descent brings the outside nearer"
    assert nearest.grad.tolist() == pytest.approx([-1 / 3, 0, 0]), "and the inside further away"


@pytest.mark.parametrize("term", [losses.flow_loss, losses.colour_loss])
def test_outliers_count_like_a_line_and_what_is_not_trusted_does_not_count(term):
    truth = torch.zeros(4, 3, dtype=torch.float64)
    off = truth.clone()
    off[0, 0] = 0.5
    far = 2 * off
    trust = torch.ones(4, dtype=torch.float64)
    assert term(far, truth, trust) / term(off, truth, trust) == pytest.approx(2, rel=0.12)
    trust[0] = 0
    assert term(far, truth, trust) == 0


@pytest.mark.parametrize("term", [losses.flow_loss, losses.colour_loss])
def test_hardly_any_trust_gives_hardly_any_loss(term):
    """Not a mean over one pixel that happens to be there."""
    a, b = numbers(8, 3), numbers(8, 3, seed=1)
    assert term(a, b, torch.full((8,), 1e-3)) < 0.02 * term(a, b, torch.ones(8))
    assert term(a, b, torch.zeros(8)) == 0


@pytest.mark.parametrize("name", ["laplacian", "flatten"])
def test_smoothness_does_not_depend_on_where_the_shape_is_and_how_it_is_turned(name):
    term = TERMS[name][0]
    shape = uneven_balls()
    turn = torch.from_numpy(Rotation.from_rotvec([0.3, -1, 0.5]).as_matrix())
    assert term(shape @ turn.T + 2).item() == pytest.approx(term(shape).item())
    assert term(shape) > term(torch.from_numpy(BALL.vertices))


@pytest.mark.parametrize("mesh", ODD_MESHES.values(), ids=ODD_MESHES)
def test_smoothness_of_any_mesh_is_what_its_definition_says(mesh):
    vertices = mesh.vertices + 0.1 * np.random.default_rng(0).normal(size=mesh.vertices.shape)
    apart, folds = [], []
    for v in range(len(vertices)):
        near = [w for w in {*mesh.faces[(mesh.faces == v).any(1)].ravel()} if w != v]
        apart.append(((vertices[v] - vertices[near].mean(0)) ** 2).sum() if near else 0)
    for f, g in itertools.combinations(mesh.faces, 2):
        if len(common := {*f} & {*g}) == 2:
            # Ways from the edge into either face, square to it: opposite to each other where the two lie flat.
            a, b = vertices[[*common]]
            along = (b - a) / np.linalg.norm(b - a)
            ways = [vertices[({*face} - common).pop()] - a for face in (f, g)]
            u, v = (way - way @ along * along for way in ways)
            folds.append((1 + u @ v / np.linalg.norm(u) / np.linalg.norm(v)) ** 2)
    assert smoothness(vertices, mesh.faces) == pytest.approx([np.mean(apart), np.mean(folds)])


def smoothness(vertices, faces) -> list[float]:
    """Laplacian and flatten loss."""
    edges, neighbours = (torch.from_numpy(pairs(faces)) for pairs in (edges_of, neighbouring_faces))
    vertices = torch.from_numpy(vertices)
    return [losses.laplacian_loss(vertices, edges).item(),
            losses.flatten_loss(vertices, torch.from_numpy(faces), neighbours).item()]


def test_sheets_are_flat_and_a_tube_bends_at_its_sides_only():
    assert smoothness(*grid())[1] < 1e-20 and smoothness(*with_lonely(grid()))[1] < 1e-20
    sides, rows = 12, 3
    bends = sides * rows * (1 - np.cos(2 * np.pi / sides)) ** 2
    assert smoothness(*cylinder(sides, rows))[1] == pytest.approx(bends / (2 * sides * rows + sides * (rows - 1)))
    assert smoothness(*moebius(60))[1] < 0.001, "no fold where it changes sides"
    assert smoothness(np.eye(3), np.array([[0, 1, 2]]))[1] == 0, "a face alone"


def test_without_a_mirror_plane_no_vertex_is_on_a_wrong_side():
    shape = torch.from_numpy(grid().vertices)
    assert losses.side_loss(shape, torch.zeros(len(shape))) == 0


def test_a_symmetric_shape_costs_nothing_and_a_shift_by_d_costs_four_d_squared():
    ball = torch.from_numpy(BALL.vertices)
    assert losses.symmetry_loss(ball, MIRROR) < 1e-20
    assert losses.symmetry_loss(ball * torch.tensor([1, 2, 0.5]), MIRROR) < 1e-20
    assert losses.symmetry_loss(ball + torch.tensor([0.1, 5, -3]), MIRROR).item() == pytest.approx(4 * 0.1**2)


def test_even_motion_costs_nothing_and_two_frames_never_do():
    time = torch.arange(7.0, dtype=torch.float64)[:, None]
    assert losses.acceleration_loss(3 + 2 * time.expand(7, 4)) == 0
    assert losses.acceleration_loss(time.square()).item() == pytest.approx(4)
    assert torch.equal(losses.acceleration_loss(numbers(5, 2, 4)), torch.zeros(5))


def test_walls_on_their_own_side_cost_nothing_and_those_that_crossed_the_square_of_how_far():
    vertices = torch.tensor([[0.3, 1, 2], [-0.2, 0, 1], [0.0, 5, 5]], dtype=torch.float64)
    side = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    assert losses.side_loss(vertices, side, 0.01) == 0
    crossed = vertices * torch.tensor([-1.0, 1, 1])
    assert losses.side_loss(crossed, side, 0.01).item() == pytest.approx((0.31**2 + 0.21**2) / 2)
    assert torch.allclose(losses.side_loss(torch.stack([vertices, crossed]), side, 0.01)[1],
                          losses.side_loss(crossed, side, 0.01))


@pytest.mark.parametrize("rate", [0.01, 0.5])
def test_steady_turning_costs_nothing_however_fast_and_a_change_of_its_rate_does(rate):
    axis, first = np.array([0.48, -0.6, 0.64]), Rotation.from_rotvec([1, 2, 3])

    def turning(angles):
        return torch.from_numpy(np.stack([(Rotation.from_rotvec(a * axis) * first).as_matrix() for a in angles]))

    assert losses.unsteadiness_loss(turning(rate * np.arange(6))) < 1e-20
    # One step is larger by d: the turn changes by d and back again, |change|^2 = 2 * 2 * (1 - cos d).
    changed = losses.unsteadiness_loss(turning([0, rate, 2 * rate + 0.1, 3 * rate + 0.1]))
    assert changed.item() == pytest.approx(4 * (1 - np.cos(0.1)))
    assert torch.equal(losses.unsteadiness_loss(turning([0, rate])), torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("degrees", [0, 19.9, 20.1, 90, 179])
def test_a_camera_within_20_degrees_of_a_hint_costs_nothing_and_further_off_is_drawn_back(degrees):
    hints, axis = turns(1), np.array([0.6, 0.0, 0.8])
    off = torch.from_numpy(Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix())
    found = (off @ hints).requires_grad_()
    loss = losses.hint_loss(found, hints)
    assert loss.item() == pytest.approx(np.radians(max(0, degrees - 20)) ** 2, abs=1e-9)
    loss.backward()
    assert torch.isfinite(found.grad).all() and found.grad.any() == (degrees > 20)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_hints_cost_the_same_on_a_gpu():
    found, hints = turns(2, 5).float(), turns(5, seed=1).float()
    assert torch.allclose(losses.hint_loss(found.cuda(), hints.cuda()).cpu(), losses.hint_loss(found, hints))


def test_the_robust_distance_is_a_square_below_its_knee_and_a_line_above():
    small, large = torch.tensor([1e-4, 2e-4], dtype=torch.float64), torch.tensor([10.0, 20.0], dtype=torch.float64)
    below, above = (losses.charbonnier(x.square(), 0.1) for x in (small, large))
    assert below[1] / below[0] == pytest.approx(4, rel=1e-3)
    assert above[1] / above[0] == pytest.approx(2, rel=0.01)
    assert losses.charbonnier(torch.zeros(()), 0.1) == 0
