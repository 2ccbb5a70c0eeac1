"""The terms of a fit on a ball that stands still: flow, colour and facing have closed forms there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from spheres import screen, sphere_seen_by

from vmr_backend.bodies.sphere_bones import RestMesh
from vmr_backend.fitting.batch import BatchFlow, FrameBatch
from vmr_backend.fitting.body import Constraints
from vmr_backend.fitting.camera import ELEVATION, INITIAL_COVER
from vmr_backend.fitting.data_terms import data_terms
from vmr_backend.fitting.fitter import Solution
from vmr_backend.fitting.observations import SAMPLES, Link, Observations
from vmr_backend.fitting.search import Hypothesis, Starts
from vmr_backend.fitting.view import Hints, View
from vmr_backend.geometry.body import BODY_RADIUS
from vmr_backend.geometry.cameras import LEVEL_CAMERA
from vmr_backend.geometry.rotations import about_x, about_z
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.geometry.surface_points import points_between
from vmr_backend.rendering import get_renderer
from vmr_backend.rendering.surface import Surface
from vmr_backend.settings import Settings

FRAMES, SIZE, GAP = 5, 48, 2
RENDERER = get_renderer("warp", torch.device("cpu"))
VIEW = View(torch.arange(float(FRAMES)), torch.tensor([4000.0, 4000, 100, 60]).expand(FRAMES, 4),
            torch.tensor([100.0, 60]).expand(FRAMES, 2), torch.full((FRAMES,), 40.0))
"""A long lens in the crop's middle: rays are parallel, the ball's disc is as large as the ball."""
SHIFT = torch.tensor([0.03, -0.02])


def resting_ball(hypotheses=2) -> Solution:
    starts = Starts([Hypothesis(0.0, 0.0)] * hypotheses, np.zeros((hypotheses, FRAMES)),
                    np.broadcast_to(np.eye(3), (hypotheses, FRAMES, 3, 3)).copy())
    return sphere_seen_by(VIEW, starts)


def observations(colour=0.5, reach=0.8 * INITIAL_COVER) -> Observations:
    """Of a picture in one colour, with samples within `reach` of the middle, all of them trusted."""
    random = np.random.default_rng(0)
    grid = (2 * np.arange(SIZE) + 1) / SIZE - 1
    rows, columns = np.nonzero(np.hypot(grid[:, None], grid) < reach)
    pick = random.integers(len(rows), size=(FRAMES, SAMPLES))
    pixels = torch.from_numpy(np.stack([columns[pick], rows[pick]], -1))
    ones = torch.ones(FRAMES)
    return Observations(SIZE, torch.full((FRAMES, 3, SIZE, SIZE), colour), torch.zeros(FRAMES, SIZE, SIZE),
                        torch.ones(FRAMES, SIZE, SIZE), pixels, (2 * pixels.float() + 1) / SIZE - 1,
                        [link_of(torch.zeros(2))], ones, ones)


def link_of(displacement) -> Link:
    ones = torch.ones(FRAMES, SAMPLES)
    moved = displacement.expand(FRAMES, SAMPLES, 2)
    return Link(GAP, moved, ones, -moved, ones)


def batch_of(link: Link) -> FrameBatch:
    """Of the pairs that begin in the first and in the third frame."""
    first, partner = torch.tensor([0, 2]), torch.tensor([2, 3, 0, 1])
    second = first + GAP
    flow, weight = (torch.cat([ahead[first], back[second]]) for ahead, back in (
        (link.forward, link.backward), (link.forward_weight, link.backward_weight)))
    return FrameBatch(torch.cat([first, second]), (BatchFlow(partner, flow, weight),))


def terms_of(solution: Solution, seen: Observations, link=None) -> dict[str, torch.Tensor]:
    return solution.terms(seen, batch_of(link or seen.links[0]), RENDERER, Constraints())


def robust(square, knee):
    return (square + knee**2) ** 0.5 - knee


def test_every_weight_has_its_term_and_every_term_its_weight():
    solution, seen = resting_ball(1), observations()
    others = {setting.name.removeprefix("weight_") for setting in Settings.describe() if not setting.is_read_by("lasr")}
    weights = set(Settings().weights()) - others
    assert weights - set(terms_of(solution, seen)) == {"hints", "arap", "joint", "motion", "temporal"}
    solution.cameras.view = hinted(0)
    solution.body.grow_skeleton(6)
    found = terms_of(solution, seen)
    assert set(found) == weights
    assert all(value.shape == (1,) and torch.isfinite(value).all() for value in found.values())


def hinted(*degrees) -> View:
    """VIEW with hints in the first frames that the subject's yaw is so many degrees, before a camera at ELEVATION."""
    yaw = torch.tensor(degrees).float().deg2rad()
    rotations = about_x(torch.tensor(ELEVATION)) @ LEVEL_CAMERA @ about_z(yaw)
    return replace(VIEW, hints=Hints(torch.arange(len(degrees)), rotations))


def test_hints_cost_each_hypothesis_what_it_is_off_them_beyond_20_degrees_upright_or_free():
    solution, seen = resting_ball(3), observations()
    solution.cameras.view = hinted(0, 15, 50)
    with torch.no_grad():
        solution.cameras.heading.copy_(torch.tensor([[0.0], [10], [90]]).deg2rad())
    off = np.array([[0, 0, 30], [0, 0, 20], [70, 55, 20]])
    for freedom in (0.0, 1.0):
        found = solution.terms(seen, batch_of(seen.links[0]), RENDERER, Constraints(freedom=freedom))["hints"]
        assert found.tolist() == pytest.approx((np.radians(off) ** 2).mean(1), abs=1e-5)


def test_gradients_of_all_terms_reach_all_parameters_and_are_finite():
    solution, seen = resting_ball(1), observations(0.8)
    solution.body.grow_skeleton(6)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in solution.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    sum(value.sum() for value in terms_of(solution, seen, link_of(SHIFT)).values()).backward()
    for name, parameter in solution.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("times", [0, 1, 3])
def test_flow_costs_the_robust_length_of_what_the_surface_does_not_do(times):
    displacement = times * SHIFT
    found = terms_of(resting_ball(), observations(), link_of(displacement))["flow"]
    expected = robust(displacement.square().sum().item(), 0.005)
    assert found.tolist() == pytest.approx([expected] * 2, abs=2e-4)


def test_flow_backwards_is_of_the_later_frame():
    link = link_of(SHIFT)
    found = terms_of(resting_ball(), observations(), replace(link, backward_weight=0 * link.backward_weight))["flow"]
    assert found.tolist() == pytest.approx([robust(SHIFT.square().sum().item(), 0.005) / 2] * 2, abs=2e-4)
    early = replace(link, forward=0 * link.forward, backward=torch.where(torch.arange(FRAMES)[:, None, None] < GAP,
                                                                          link.backward, 0))
    assert terms_of(resting_ball(), observations(), early)["flow"].max() < 2e-4, "the first frames have no earlier one"


def test_flow_beside_the_mesh_or_in_a_frame_without_weight_does_not_count():
    seen = observations()
    beside = replace(seen, samples=seen.samples, pixels=torch.zeros_like(seen.pixels))
    assert (terms_of(resting_ball(), beside, link_of(SHIFT))["flow"] == 0).all()
    unseen = replace(seen, frame_weight=torch.zeros(FRAMES))
    assert (terms_of(resting_ball(), unseen, link_of(SHIFT))["flow"] == 0).all()


@pytest.mark.parametrize("colour", [0.5, 0.7])
def test_colour_costs_its_robust_distance(colour):
    found = terms_of(resting_ball(), observations(colour))["colour"]
    assert found.tolist() == pytest.approx([robust(3 * (colour - 0.5) ** 2, 0.05)] * 2, abs=1e-5)
    blurred = replace(observations(colour), colour_weight=torch.zeros(FRAMES))
    assert (terms_of(resting_ball(), blurred)["colour"] == 0).all()


def inside_out(solution: Solution) -> Solution:
    """Left and right half have passed through each other."""
    with torch.no_grad():
        mesh = solution.body.mesh
        solution.body.mesh = RestMesh(mesh() * torch.tensor([-1.0, 1, 1]), mesh.sphere, 10.0)
    return solution


def test_a_ball_costs_nothing_and_one_turned_inside_out_its_mean_depth():
    seen = observations()
    assert terms_of(resting_ball(), seen)["facing"].abs().max() == 0
    solution, batch = inside_out(resting_ball()), batch_of(seen.links[0])
    found = data_terms(screen(solution, batch.frames), solution.body.faces, seen, batch, RENDERER)["facing"]
    off_axis = seen.samples[batch.frames].norm(dim=-1) * BODY_RADIUS / INITIAL_COVER
    chord = 2 * (BODY_RADIUS**2 - off_axis**2).sqrt()
    assert found.tolist() == pytest.approx([chord.mean().item()] * 2, rel=0.03)
    assert (terms_of(solution, seen)["facing"] >= found - 1e-6).all()


def test_descent_on_facing_brings_the_outside_before_the_inside():
    solution, seen = inside_out(resting_ball(1)), observations()
    terms_of(solution, seen)["facing"].sum().backward()
    depth = (solution.cameras(1.0)[0][0, 0] @ solution.body.mesh().detach()[0].T)[2]
    shape = solution.body.mesh().detach().requires_grad_()
    with torch.no_grad():
        solution.body.mesh.latent -= 0.2 * solution.body.mesh.latent.grad / solution.body.mesh.latent.grad.abs().max()
        change = (solution.cameras(1.0)[0][0, 0] @ (solution.body.mesh() - shape)[0].T)[2]
    far, near = depth > 0.2, depth < -0.2
    assert change[far].mean() < 0 < change[near].mean(), "the far wall, which is the outside now, comes nearer"


def test_the_culled_surface_of_a_mesh_inside_out_is_its_far_wall():
    solution, seen = inside_out(resting_ball(1)), observations()
    points = screen(solution, torch.arange(FRAMES))
    view = points, solution.body.mesh.faces, seen.pixels, SIZE, RENDERER
    front, nearest = Surface.front_and_nearest(*view)
    assert front.covered.all() and nearest.covered.all() and (front.index != nearest.index).all()
    depth = [surface.of_vertices(points[..., 2:])[..., 0] for surface in (front, nearest)]
    assert (depth[0] > depth[1]).all()
    for surface in (front, nearest):
        place = surface.of_vertices(points[..., :2])
        assert (place - seen.samples).abs().max() < 2e-3, "the surface at a sample lies at the sample"


BALL = torch.from_numpy(icosphere(3).vertices).float()


def test_pixels_draw_points_of_large_faces_as_they_draw_vertices():
    triangle = torch.tensor([[-0.8, -0.8, 2.0], [0.8, -0.8, 2], [0, 0.8, 2]])
    faces, seen = torch.tensor([[0, 1, 2]]), observations()
    batch = batch_of(seen.links[0])
    points = triangle.expand(1, len(batch.frames), 3, 3).contiguous().requires_grad_()
    between = points_between(triangle.numpy(), faces.numpy())
    alone, drawn = (data_terms(points, faces, seen, batch, RENDERER, free_hidden=hidden, between=more)["contour"]
                    for hidden, more in ((False, None), (True, between)))
    nearest = torch.cdist(seen.samples[batch.frames], between.of_vertices(triangle)[:, :2]).amin(-1)
    assert drawn.item() < 0.1 * alone.item()
    assert drawn.item() == pytest.approx(robust(nearest.square(), 0.02).mean().item(), rel=0.1)
    drawn.sum().backward()
    assert points.grad.abs().sum(-1).gt(0).any()
