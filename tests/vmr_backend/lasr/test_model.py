"""The model: where it starts, what stays when its structure changes, and how bones move it."""

import math

import numpy as np
import pytest
import torch
from spheres import sphere_seen_by, unknown
from torch import nn

from vmr_backend.bodies.sphere_bones import (
    MIRRORED,
    SHIFT_REACH,
    SPHERE_RADIUS,
    TURNED,
    RestMesh,
    Skeleton,
)
from vmr_backend.fitting.view import View
from vmr_backend.geometry.body import spread_out
from vmr_backend.geometry.cameras import LEVEL_CAMERA, project
from vmr_backend.geometry.resampling import spread_evenly
from vmr_backend.geometry.rotations import from_axis_angle, to_axis_angle
from vmr_backend.geometry.sphere import icosphere, subdivided
from vmr_backend.geometry.topology import edges_of, winding_numbers

FRAMES = 9
CENTRE = torch.stack([torch.linspace(60, 140, FRAMES), torch.linspace(90, 40, FRAMES)], 1)
VIEW = View(torch.arange(FRAMES), torch.tensor([400.0, 400, 100, 60]).expand(FRAMES, 4), CENTRE,
            torch.linspace(30, 50, FRAMES))
EVERY = torch.arange(FRAMES)


def stirred(module: nn.Module, amount=0.1, seed=0) -> nn.Module:
    """With noise on every parameter, as after some fitting."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += amount * torch.randn_like(parameter)
    return module


def start(count=1) -> Model:
    return sphere_seen_by(VIEW, unknown(count, VIEW))


def with_bones(bones=7, amount=0.1) -> Model:
    model = stirred(start(), 0.05)
    model.grow_skeleton(bones)
    stirred(model.skeleton, amount)
    return model


def seen(model: Model, freedom=1.0) -> torch.Tensor:
    """(H, T, V, 3) in crop coordinates."""
    vertices = model.vertices(model.mesh(), None, EVERY)
    return project(vertices, model.cameras(*model.camera(freedom), EVERY))


def test_the_sphere_at_the_start_is_as_large_in_every_crop_and_in_its_middle():
    places = seen(start(4))[..., :2]
    middle, extent = (places.amax(2) + places.amin(2)) / 2, (places.amax(2) - places.amin(2)) / 2
    assert middle.abs().max() < 0.02
    assert torch.allclose(extent, extent.mean().expand_as(extent), rtol=0.03)
    assert 0.2 < extent.mean() < 0.6, "about half of the crop, so that it neither fills it nor is lost in it"


def test_cameras_start_with_the_turns_of_their_hypotheses():
    found, _ = start(6).camera(1.0)
    flat = found @ torch.tensor([0.0, 0, 1])
    assert torch.allclose(flat, flat[:1, :1].expand_as(flat), atol=1e-6), "all look down alike"
    expected = torch.from_numpy(unknown(6, VIEW).turn).float()
    relative = found[:, 1:].mT @ found[:, :-1]
    angle = torch.atan2(relative[..., 0, 1], relative[..., 0, 0])
    assert torch.allclose(angle, expected[:, 1:] - expected[:, :-1], atol=1e-5)


def test_the_level_camera_looks_from_the_front_with_the_head_up():
    assert torch.linalg.det(LEVEL_CAMERA) == 1
    towards_camera, up = LEVEL_CAMERA @ torch.tensor([0.0, -1, 0]), LEVEL_CAMERA @ torch.tensor([0.0, 0, 1])
    assert towards_camera.tolist() == [0, 0, -1] and up.tolist() == [0, -1, 0]


def test_a_camera_without_freedom_stays_upright():
    model = stirred(start(3), 0.5)
    assert (model.camera(0.0)[0] @ torch.tensor([0.0, 0, 1]))[..., 0].abs().max() < 1e-5
    assert (model.camera(1.0)[0] @ torch.tensor([0.0, 0, 1]))[..., 0].abs().max() > 0.01
    rotation, _ = model.camera(1.0)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5)


def zoomed_by(model: Model, *factors) -> Model:
    with torch.no_grad():
        model.camera.log_zoom.copy_(torch.tensor(factors).log().unsqueeze(1))
    return model


def test_a_zoom_changes_nothing_of_what_is_as_far_away_as_the_subject_and_the_perspective_of_all_else():
    plain, factors = zoomed_by(stirred(start(3), 0.05), 1.0, 1.0, 1.0), (0.5, 1.0, 2.5)
    rotation, translation = plain.camera(1.0)
    points = 0.4 * torch.randn(3, FRAMES, 20, 3)
    flat = (points * torch.tensor([1.0, 1, 0])) @ rotation  # in the plane through the subject, across the line of sight
    before = project(flat, plain.cameras(rotation, translation, EVERY))
    model = zoomed_by(plain, *factors)
    rotation, translation = model.camera(1.0)
    camera = model.cameras(rotation, translation, EVERY)
    assert torch.allclose(project(flat, camera)[..., :2], before[..., :2], atol=1e-4)
    zoom = torch.tensor(factors)[:, None, None]
    depth, nearer = zoom * before[..., 2], points[..., 2]
    ahead = project(flat + nearer.unsqueeze(-1) * rotation[..., None, 2, :], camera)
    principal = VIEW.in_crop[:, None, 2:]
    expected = principal + (before[..., :2] - principal) * (depth / (depth + nearer)).unsqueeze(-1)
    assert torch.allclose(ahead[..., :2], expected, atol=1e-4)


@pytest.mark.parametrize("true", [0.6, 1.0, 1.8])
def test_the_perspective_of_a_known_shape_tells_the_zoom(true):
    target = seen(zoomed_by(start(), true)).detach()[..., :2]
    model = start()
    parameters = [model.camera.log_zoom, *model.camera.fast.parameters()]
    optimiser = torch.optim.LBFGS(parameters, max_iter=300, tolerance_change=0, line_search_fn="strong_wolfe")

    def error() -> torch.Tensor:
        optimiser.zero_grad()
        loss = 1e4 * (seen(model)[..., :2] - target).square().mean()
        loss.backward()
        return loss

    optimiser.step(error)
    assert model.camera.zoom().item() == pytest.approx(true, rel=0.02)


@pytest.mark.parametrize("strength", [0.0, 1.0, 30.0])
def test_a_mesh_is_the_shape_it_was_made_from_however_smoothing_it_is(strength):
    shape = torch.from_numpy(icosphere(2).vertices).float()[None] + 0.1 * torch.randn(1, 162, 3)
    assert torch.allclose(RestMesh(shape, icosphere(2), strength)(), shape, atol=1e-4)


def test_a_step_on_one_vertex_moves_its_neighbourhood():
    mesh = RestMesh(torch.from_numpy(icosphere(2).vertices).float()[None], icosphere(2), 10.0)
    before = mesh().detach()
    with torch.no_grad():
        mesh.latent[0, 0, 2] += 1
    moved = (mesh().detach() - before)[0, :, 2]
    neighbours = [int(j if i == 0 else i) for i, j in edges_of(icosphere(2).faces) if 0 in (i, j)]
    assert moved.argmax() == 0 and moved.min() > 0
    assert all(0.1 * moved[0] < moved[n] for n in neighbours)
    assert moved.sum() == pytest.approx(1, abs=1e-3), "smoothing spreads a step and neither adds nor takes"


def test_symmetry_blends_a_shape_with_its_mirror_image():
    ball = icosphere(2)
    mesh = RestMesh(torch.from_numpy(ball.vertices).float()[None] + 0.1 * torch.randn(1, 162, 3), ball, 1.0)
    free, half, whole = (mesh(s).detach() for s in (0.0, 0.5, 1.0))
    flip = torch.tensor([-1.0, 1, 1])
    assert torch.allclose(whole[:, mesh.mirror] * flip, whole, atol=1e-6)
    assert torch.allclose(half, (free + whole) / 2, atol=1e-6)
    assert torch.allclose(whole, (free + free[:, mesh.mirror] * flip) / 2, atol=1e-6)


def test_refining_subdivides_and_spreads_shape_and_colours_alike():
    model = stirred(start())
    sphere = model.mesh.sphere
    values = torch.cat([model.mesh(), model.colours], -1)[0].detach().double().numpy()
    model.refine(4, 7.0)
    places, expected = spread_evenly(*subdivided(sphere, values))
    assert len(expected) == len(icosphere(4).vertices)
    assert np.allclose(model.mesh().detach()[0], expected[:, :3], atol=1e-4)
    assert np.allclose(model.colours.detach()[0], expected[:, 3:], atol=1e-6)
    assert np.allclose(model.mesh.sphere.vertices, places.vertices, atol=1e-6)
    assert {name for name, _ in model.mesh.named_parameters()} == {"latent"}


def test_what_is_kept_are_the_hypotheses_asked_for():
    model = stirred(start(5), 0.3)
    colours, places = model.colours.detach(), seen(model).detach()
    model.keep(torch.tensor([3, 1]))
    assert torch.equal(model.colours, colours[[3, 1]])
    assert torch.allclose(seen(model), places[[3, 1]], atol=1e-5)
    model.keep(torch.tensor([1]))
    assert torch.allclose(seen(model), places[[1]], atol=1e-5)
    seen(model).sum().backward()
    assert all(p.grad is not None for p in model.mesh.parameters()), "what is kept can be fitted on"


def test_the_skeleton_starts_at_rest():
    model = start()
    model.grow_skeleton(6)
    assert (model.skeleton.motion_parameters() == 0).all()
    rest = model.mesh()
    found = model.vertices(rest, model.skeleton.motion_parameters(), EVERY)[0]
    assert torch.allclose(found, rest.expand(FRAMES, -1, -1), atol=1e-6)


@pytest.mark.parametrize("bones", [7, 21])
def test_what_a_bone_and_its_mirror_image_do_alike_on_the_mean_is_zero(bones):
    skeleton = stirred(boned(bones).skeleton)
    mean, twin = skeleton.motion_parameters().detach().mean(0), skeleton.twin
    alike = mean + torch.cat([TURNED, MIRRORED]) * mean[twin]
    assert mean.abs().max() > 1e-3 and alike.abs().max() < 1e-6
    free = skeleton.motion().detach()[0].unflatten(-1, (len(twin), 6)).mean(0)
    unlike = free - torch.cat([TURNED, MIRRORED]) * free[twin]
    assert torch.allclose(mean, unlike / 2, atol=1e-6), "what they do unlike stays"


@pytest.mark.parametrize("bones", [1, 3, 6, 40])
def test_at_most_four_bones_share_a_vertex_out(bones):
    for model in (start(), stirred(start(), 0.05)):
        model.grow_skeleton(bones)
        weights = model.skeleton.skin_weights(model.mesh()[0], model.mesh.places)
        assert weights.shape[0] == 642 and weights.shape[1] in (bones, bones + 1) and weights.min() >= 0
        assert torch.allclose(weights.sum(1), torch.ones(642), atol=1e-5)
        assert (weights > 0).sum(1).max() <= 4


SIX = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])


def test_a_vertex_as_near_to_six_bones_as_to_four_is_held_by_four():
    skeleton = Skeleton(VIEW, SIX, torch.zeros(6, 2, 3), torch.tensor([1, 0, 2, 3, 4, 5]), 0.5)
    weights = skeleton.skin_weights(torch.zeros(1, 3), torch.zeros(1, 3))
    assert weights[weights > 0].tolist() == pytest.approx([0.25] * 4)


def test_of_bones_equally_near_in_space_the_one_near_on_the_sphere_holds():
    anchors = torch.stack([SIX[:2], torch.stack([SIX[2], SIX[3]])])  # one at either end of x, one at either end of y
    skeleton = Skeleton(VIEW, torch.zeros(2, 3), anchors, torch.arange(2), 0.5)
    weights = skeleton.skin_weights(torch.zeros(3, 3), torch.nn.functional.normalize(SIX[[1, 3, 0]] + 0.2 * SIX[4]))
    off = (torch.cdist(torch.nn.functional.normalize(SIX[:1] + 0.2 * SIX[4]), SIX).square() / SPHERE_RADIUS**2)[0]
    near = torch.sigmoid(off[2] - off[0]).item()
    assert weights[:, 0].tolist() == pytest.approx([near, 1 - near, near], abs=1e-5) and near > 0.99


def hung(parents) -> Skeleton:
    """Bones with joints anywhere that hang on these parents."""
    torch.manual_seed(0)
    skeleton = Skeleton.empty(VIEW, len(parents))
    skeleton.parents.copy_(torch.as_tensor(parents))
    skeleton.joints.copy_(torch.randn(len(parents), 3))
    return skeleton


def test_bones_turn_about_their_joints_and_shift():
    skeleton, motion = hung([-1, 0, 1]), torch.zeros(FRAMES, 3, 6)
    motion[3, 0, 2], motion[3, 1, 3] = math.pi / 2, 1.0
    rotations, translations = skeleton.transforms(motion)
    moved = (rotations @ skeleton.joints.unsqueeze(-1)).squeeze(-1) + translations
    assert torch.allclose(moved[:, 0], skeleton.joints[0].expand(FRAMES, 3), atol=1e-6)
    assert torch.allclose(rotations[3, 0], torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), atol=1e-6)
    assert torch.allclose(moved[3, 1] - skeleton.joints[1], torch.tensor([SHIFT_REACH, 0, 0]), atol=1e-6)
    assert torch.allclose(rotations[3, 1:], torch.eye(3)) and (translations[[0, 8]] == 0).all()


TREES = {"one": [-1], "chain": [1, 2, -1], "star": [3, 3, 3, -1, 3], "tree": [4, 0, 0, 7, -1, 4, 3, 5, 6, 8, 9, 2],
         "two roots": [4, 0, 0, 7, -1, -1, 3, 5, 6, 8, 9, 2]}
every_tree = pytest.mark.parametrize("parents", TREES.values(), ids=TREES)


@every_tree
@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_a_gap_is_how_far_a_bone_has_its_joint_from_where_its_parent_has_it(parents, lead):
    skeleton, motion = hung(parents), torch.randn(*lead, len(parents), 6)
    turn, joints = from_axis_angle(motion[..., :3].double()), skeleton.joints.double()
    shifted = joints + SHIFT_REACH * motion[..., 3:].double()
    found = skeleton.gaps(motion)
    for bone, parent in enumerate(parents):
        led = turn[..., parent, :, :] @ (joints[bone] - joints[parent]) + shifted[..., parent, :]
        expected = torch.zeros(*lead, 3).double() if parent < 0 else shifted[..., bone, :] - led
        assert torch.allclose(found[..., bone, :].double(), expected, atol=1e-5)


@every_tree
def test_bones_that_move_as_one_body_have_no_gaps(parents):
    skeleton, motion = hung(parents), torch.randn(FRAMES, 1, 6).repeat(1, len(parents), 1)
    turn = from_axis_angle(motion[..., :3])
    motion[..., 3:] += ((turn - torch.eye(3)) @ skeleton.joints.unsqueeze(-1)).squeeze(-1) / SHIFT_REACH
    assert skeleton.gaps(motion).abs().max() < 1e-5
    motion[..., 3:] += torch.randn(len(parents), 3)
    assert len(parents) == 1 or skeleton.gaps(motion).abs().max() > 0.1


def test_vertices_are_the_blend_of_their_bones():
    model = with_bones()
    rest, motion = model.mesh(), model.skeleton.motion_parameters()
    frames = torch.tensor([4, 1])
    found = model.vertices(rest, motion, frames)
    rotations, translations = model.skeleton.transforms(motion[frames])
    weights = model.skeleton.skin_weights(rest[0], model.mesh.places)
    expected = sum(weights[:, b, None] * (rest @ rotations[:, b].mT + translations[:, b, None])
                   for b in range(weights.shape[1]))
    assert found.shape == (1, 2, 642, 3) and torch.allclose(found[0], expected, atol=1e-5)


def test_spread_points_begin_at_the_end_furthest_from_the_middle_and_are_never_twice_the_same():
    line = torch.stack([torch.tensor([0.0, 5, 1, 9, 2, 3, 3]), torch.zeros(7), torch.zeros(7)], 1)
    assert spread_out(line, torch.ones(7, dtype=torch.bool), torch.arange(7), 3).tolist() == [3, 0, 1]
    ball = icosphere(3)
    points = torch.from_numpy(ball.vertices).float()
    chosen = spread_out(points, torch.ones(642, dtype=torch.bool), torch.arange(642), 40)
    assert len(chosen) == len(chosen.unique()) == 40
    assert torch.pdist(points[chosen]).min() > 0.35


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_points_of_two_sides_are_spread_in_mirrored_pairs(count):
    ball = icosphere(3)
    points, mirror = torch.from_numpy(ball.vertices).float(), torch.from_numpy(ball.mirror)
    chosen = spread_out(points, torch.zeros(642, dtype=torch.bool), mirror, count)
    assert len(chosen.unique()) == len(chosen) and count <= len(chosen) <= count + 1
    assert set(mirror[chosen].tolist()) == set(chosen.tolist())


def animal(level=3) -> torch.Tensor:
    """(V, 3) a sphere drawn out to a body along y with four legs that hang down from it, two by two side by side."""
    places = icosphere(level).vertices
    body = places * [0.25, 0.5, 0.22]
    for side in (1, -1):
        for along, thick in ((0.7, 0.1), (-0.6, 0.08)):
            toe = np.array([0.6 * side, along, -0.45])
            near = np.exp(-np.sum((places - toe / np.linalg.norm(toe)) ** 2, 1) / thick)
            body = body + near[:, None] * [0.05 * side, 0.0, -0.6]
    return torch.from_numpy(body + 0.1 * places[:, 1:2] ** 2 * [0, 1, 0.3]).float()


def boned(bones, shape=None) -> Model:
    model = start()
    shape = animal() if shape is None else shape
    model.mesh = RestMesh(shape[None], icosphere(3), 10.0)
    model.grow_skeleton(bones)
    return model


def central(skeleton: Skeleton) -> torch.Tensor:
    """(B,) whether a bone is of both sides."""
    return skeleton.twin == torch.arange(len(skeleton.twin))


@pytest.mark.parametrize("bones", [9, 21, 36])
def test_bones_of_a_body_with_legs_are_pairs_or_in_the_middle(bones):
    skeleton = boned(bones).skeleton
    anchors, twin, both_sides = skeleton.anchors, skeleton.twin, central(skeleton)
    assert bones <= len(twin) <= bones + 1
    assert torch.equal(twin[twin], torch.arange(len(twin)))
    assert both_sides.any() and not both_sides.all()
    assert torch.equal(anchors[~both_sides, 0], anchors[~both_sides, 1])
    assert skeleton.centres[both_sides, 0].abs().max() < 5e-3
    assert torch.allclose(anchors[twin] * MIRRORED, anchors.flip(1), atol=1e-5)


@pytest.mark.parametrize("bones", [13, 21, 36])
def test_bones_of_both_sides_lie_inside_and_hold_both_walls_alike(bones):
    model = boned(bones)
    skeleton, rest = model.skeleton, model.mesh().detach()[0]
    both_sides = central(skeleton)
    inside = winding_numbers(skeleton.centres[both_sides].detach(), rest, model.mesh.faces) > 0.5
    assert inside.double().mean() >= 0.8, "one that holds the chest may lie between the legs"
    weights = skeleton.skin_weights(rest, model.mesh.places).detach()[:, both_sides]
    assert torch.allclose(weights, weights[model.mesh.mirror], atol=1e-4)
    assert (weights.sum(0) > 1).all()


@pytest.mark.parametrize("bones", [9, 21, 36])
def test_skin_weights_of_twins_mirror_each_other_whatever_has_been_fitted(bones):
    model = boned(bones)
    stirred(model.skeleton)
    rest = model.mesh(1.0).detach()[0]
    weights = model.skeleton.skin_weights(rest, model.mesh.places).detach()
    image = weights[model.mesh.mirror][:, model.skeleton.twin]
    # On the mirror plane both of a pair are equally near, though only one may be a vertex's fourth.
    sided = model.mesh.side != 0
    assert torch.allclose(image[sided], weights[sided], atol=1e-4) and torch.allclose(image, weights, atol=0.2)


def same_tree(a: Skeleton, b: Skeleton) -> bool:
    return torch.equal(a.parents, b.parents) and torch.equal(a.joints, b.joints)


@pytest.mark.parametrize("bones", [9, 21, 36])
def test_bones_hang_in_one_tree_alike_on_both_sides_with_joints_inside_the_body(bones):
    model = boned(bones)
    skeleton, rest = model.skeleton, model.mesh().detach()[0]
    parents, twin = skeleton.parents, skeleton.twin
    (root,) = (parents < 0).nonzero()[:, 0]
    assert twin[root] == root
    for bone in range(len(parents)):
        steps, above = 0, bone
        while above != root:
            above, steps = int(parents[above]), steps + 1
            assert steps < len(parents), "no bone hangs on itself"
        if twin[bone] != bone:
            assert parents[twin[bone]] == twin[parents[bone]]
    assert torch.equal(skeleton.joints[twin] * MIRRORED, skeleton.joints)
    inside = winding_numbers(skeleton.joints, rest, model.mesh.faces) > 0.5
    assert inside[~central(skeleton)].all() and inside.double().mean() > 0.9


def swaying(skeleton: Skeleton) -> torch.Tensor:
    """(T, B, 6) one wave through which every bone bends against its parent, without leaving their joint."""
    bend = from_axis_angle(wave()[:, 0] * torch.tensor([0.15, 0.045, 0.03]))
    motion = torch.zeros(FRAMES, len(skeleton.parents), 6)
    done: dict[int, tuple] = {-1: (torch.eye(3).expand(FRAMES, 3, 3), torch.zeros(FRAMES, 3))}
    while len(done) <= len(skeleton.parents):
        for bone, parent in enumerate(skeleton.parents.tolist()):
            if bone not in done and parent in done:
                (lead, along), joint = done[parent], skeleton.joints[bone]
                turn, place = lead @ bend, lead @ joint + along
                done[bone] = turn, place - turn @ joint
                motion[:, bone] = torch.cat([to_axis_angle(turn), (place - joint) / SHIFT_REACH], -1)
    assert skeleton.gaps(motion).abs().max() < 1e-5
    return motion


def wave() -> torch.Tensor:
    """(T, 1, 1)."""
    return torch.sin(2 * math.pi * torch.arange(FRAMES) / FRAMES)[:, None, None]


@torch.no_grad()
def moved_by(model: Model, motion=None) -> torch.Tensor:
    """(T, V, 3) of the symmetric rest mesh, which the bones grow on."""
    motion = model.skeleton.motion_parameters() if motion is None else motion
    return model.vertices(model.mesh(1.0), motion, EVERY)[0]


def mean_distance(a, b) -> float:
    return (a - b).norm(dim=-1).mean().item()


def test_bones_follow_a_body_that_moved_as_one_exactly(monkeypatch):
    monkeypatch.setattr("vmr_backend.lasr.model.LEAN", 0.0)  # what speaks against turns apart
    model = boned(9)
    turn, shift = from_axis_angle(wave() * torch.tensor([0.4, 0.3, 0.2])), wave() * torch.tensor([0.1, 0.2, 0.3])
    rest = model.mesh(1.0).detach()[0]
    target = (turn @ rest.unsqueeze(-1)).squeeze(-1) + shift
    model.skeleton.follow(rest, model.mesh.places, target)
    assert (moved_by(model) - target).norm(dim=-1).max() < 5e-3
    assert model.skeleton.gaps(model.skeleton.motion_parameters()).abs().max() < 5e-3


@pytest.mark.parametrize("bones", [9, 21])
def test_bones_follow_what_bones_of_the_same_tree_did(bones):
    model = boned(bones)
    motion, rest = swaying(model.skeleton), model.mesh(1.0).detach()[0]
    target = moved_by(model, motion)
    model.skeleton.follow(rest, model.mesh.places, target)
    assert mean_distance(moved_by(model), target) < 0.1 * mean_distance(target, rest)
    assert (model.skeleton.motion_parameters() - motion).abs().max() < 0.5, "thin limbs are not twisted"


@pytest.mark.parametrize(("before", "after"), [(21, 21), (9, 21), (21, 13)])
def test_bones_grown_again_go_on_with_the_motion(before, after):
    model = boned(before)
    skeleton, rest = model.skeleton, model.mesh(1.0).detach()[0]
    skeleton.motion.approach(swaying(skeleton).flatten(1)[None])
    target = moved_by(model)
    model.grow_skeleton(after)
    assert model.skeleton is not skeleton and after <= len(model.skeleton.twin) <= after + 1
    assert mean_distance(moved_by(model), target) < 0.25 * mean_distance(target, rest)


def test_a_grown_skeleton_is_read_from_what_was_saved_of_it():
    model = boned(9)
    stirred(model.skeleton)
    found = Skeleton.empty(VIEW, len(model.skeleton.twin))
    found.load_state_dict(model.skeleton.state_dict())
    motion, rest, places = found.motion_parameters(), model.mesh()[0], model.mesh.places
    assert torch.equal(motion, model.skeleton.motion_parameters()) and same_tree(found, model.skeleton)
    for a, b in zip(found.transforms(motion), model.skeleton.transforms(motion), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(found.skin_weights(rest, places), model.skeleton.skin_weights(rest, places))


@pytest.mark.parametrize("bones", [13, 21, 36])
def test_a_bone_of_the_left_leg_holds_nothing_of_the_right_one(bones):
    model = boned(bones)
    rest = model.mesh().detach()[0]
    weights = model.skeleton.skin_weights(rest, model.mesh.places).detach()
    assert (weights > 0).sum(1).max() <= 4
    legs = [(rest[:, 2] < -0.4) & (rest[:, 0] * side > 0) for side in (1, -1)]
    assert all(leg.sum() > 15 for leg in legs)
    centres = model.skeleton.centres[:, 0].detach()
    for side, other in ((1, legs[1]), (-1, legs[0])):
        assert weights[other][:, centres * side > 0.05].max() < 0.02
    assert weights[legs[0]][:, centres > 0.05].sum(1).min() > 0.5


def test_a_flat_body_without_an_inside_at_the_middle_still_gets_bones():
    """Left and right half have passed through each other: nothing of the mirror plane is inside."""
    model = boned(8, animal() * torch.tensor([-1.0, 1, 1]))
    weights = model.skeleton.skin_weights(model.mesh()[0], model.mesh.places)
    assert torch.isfinite(weights).all() and torch.isfinite(model.skeleton.centres).all()
