"""A body with bones: where it starts, what stays when its structure changes, and how bones move it."""

import math

import numpy as np
import pytest
import torch
from spheres import EVERY, FRAMES, VIEW, sphere_seen_by, stirred, unknown

from vmr_backend.bodies.sphere_bones import (
    MIRRORED,
    SHIFT_REACH,
    SPHERE_RADIUS,
    TURNED,
    RestMesh,
    Skeleton,
    SphereBones,
)
from vmr_backend.fitting.body import Constraints
from vmr_backend.geometry.body import spread_out
from vmr_backend.geometry.resampling import spread_evenly
from vmr_backend.geometry.rotations import from_axis_angle, to_axis_angle
from vmr_backend.geometry.skinning import blend_skinning
from vmr_backend.geometry.sphere import icosphere, subdivided
from vmr_backend.geometry.topology import edges_of, winding_numbers


def start() -> SphereBones:
    return sphere_seen_by(VIEW, unknown(1, VIEW)).body


def with_bones(bones=7, amount=0.1) -> SphereBones:
    body = stirred(start(), 0.05)
    body.grow_skeleton(bones)
    stirred(body.skeleton, amount)
    return body


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
    body = stirred(start())
    sphere = body.mesh.sphere
    values = torch.cat([body.mesh(), body.vertex_colours], -1)[0].detach().double().numpy()
    body.refine(4, 7.0)
    positions, expected = spread_evenly(*subdivided(sphere, values))
    assert len(expected) == len(icosphere(4).vertices)
    assert np.allclose(body.mesh().detach()[0], expected[:, :3], atol=1e-4)
    assert np.allclose(body.vertex_colours.detach()[0], expected[:, 3:], atol=1e-6)
    assert np.allclose(body.mesh.sphere.vertices, positions.vertices, atol=1e-6)
    assert {name for name, _ in body.mesh.named_parameters()} == {"latent"}


def test_the_skeleton_starts_at_rest():
    body = start()
    body.grow_skeleton(6)
    assert (body.skeleton.motion_parameters() == 0).all()
    rest = body.mesh()
    found = body.posed(EVERY, Constraints()).vertices[0]
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
    for body in (start(), stirred(start(), 0.05)):
        body.grow_skeleton(bones)
        weights = body.skeleton.skin_weights(body.mesh()[0], body.mesh.positions)
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
    body = with_bones()
    rest, motion = body.mesh(), body.skeleton.motion_parameters()
    frames = torch.tensor([4, 1])
    found = body.posed(frames, Constraints()).vertices
    rotations, translations = body.skeleton.transforms(motion[frames])
    weights = body.skeleton.skin_weights(rest[0], body.mesh.positions)
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
    positions = icosphere(level).vertices
    shape = positions * [0.25, 0.5, 0.22]
    for side in (1, -1):
        for along, thick in ((0.7, 0.1), (-0.6, 0.08)):
            toe = np.array([0.6 * side, along, -0.45])
            near = np.exp(-np.sum((positions - toe / np.linalg.norm(toe)) ** 2, 1) / thick)
            shape = shape + near[:, None] * [0.05 * side, 0.0, -0.6]
    return torch.from_numpy(shape + 0.1 * positions[:, 1:2] ** 2 * [0, 1, 0.3]).float()


def boned(bones, shape=None) -> SphereBones:
    body = start()
    shape = animal() if shape is None else shape
    body.mesh = RestMesh(shape[None], icosphere(3), 10.0)
    body.grow_skeleton(bones)
    return body


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
    body = boned(bones)
    skeleton, rest = body.skeleton, body.mesh().detach()[0]
    both_sides = central(skeleton)
    inside = winding_numbers(skeleton.centres[both_sides].detach(), rest, body.mesh.faces) > 0.5
    assert inside.double().mean() >= 0.8, "one that holds the chest may lie between the legs"
    weights = skeleton.skin_weights(rest, body.mesh.positions).detach()[:, both_sides]
    assert torch.allclose(weights, weights[body.mesh.mirror], atol=1e-4)
    assert (weights.sum(0) > 1).all()


@pytest.mark.parametrize("bones", [9, 21, 36])
def test_skin_weights_of_twins_mirror_each_other_whatever_has_been_fitted(bones):
    body = boned(bones)
    stirred(body.skeleton)
    rest = body.mesh(1.0).detach()[0]
    weights = body.skeleton.skin_weights(rest, body.mesh.positions).detach()
    image = weights[body.mesh.mirror][:, body.skeleton.twin]
    # On the mirror plane both of a pair are equally near, though only one may be a vertex's fourth.
    sided = body.mesh.side != 0
    assert torch.allclose(image[sided], weights[sided], atol=1e-4) and torch.allclose(image, weights, atol=0.2)


def same_tree(a: Skeleton, b: Skeleton) -> bool:
    return torch.equal(a.parents, b.parents) and torch.equal(a.joints, b.joints)


@pytest.mark.parametrize("bones", [9, 21, 36])
def test_bones_hang_in_one_tree_alike_on_both_sides_with_joints_inside_the_body(bones):
    body = boned(bones)
    skeleton, rest = body.skeleton, body.mesh().detach()[0]
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
    inside = winding_numbers(skeleton.joints, rest, body.mesh.faces) > 0.5
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
def moved_by(body: SphereBones, motion=None) -> torch.Tensor:
    """(T, V, 3) of the symmetric rest mesh, which the bones grow on."""
    if motion is None:
        return body.posed(EVERY, Constraints(symmetry=1.0)).vertices[0]
    rest, skeleton = body.mesh(1.0)[0], body.skeleton
    return blend_skinning(rest, skeleton.skin_weights(rest, body.mesh.positions), *skeleton.transforms(motion))


def mean_distance(a, b) -> float:
    return (a - b).norm(dim=-1).mean().item()


def test_bones_follow_a_body_that_moved_as_one_exactly(monkeypatch):
    monkeypatch.setattr("vmr_backend.bodies.sphere_bones.KABSCH_DAMPING", 0.0)  # of twists apart
    body = boned(9)
    turn, shift = from_axis_angle(wave() * torch.tensor([0.4, 0.3, 0.2])), wave() * torch.tensor([0.1, 0.2, 0.3])
    rest = body.mesh(1.0).detach()[0]
    target = (turn @ rest.unsqueeze(-1)).squeeze(-1) + shift
    body.skeleton.follow(rest, body.mesh.positions, target)
    assert (moved_by(body) - target).norm(dim=-1).max() < 5e-3
    assert body.skeleton.gaps(body.skeleton.motion_parameters()).abs().max() < 5e-3


@pytest.mark.parametrize("bones", [9, 21])
def test_bones_follow_what_bones_of_the_same_tree_did(bones):
    body = boned(bones)
    motion, rest = swaying(body.skeleton), body.mesh(1.0).detach()[0]
    target = moved_by(body, motion)
    body.skeleton.follow(rest, body.mesh.positions, target)
    assert mean_distance(moved_by(body), target) < 0.1 * mean_distance(target, rest)
    assert (body.skeleton.motion_parameters() - motion).abs().max() < 0.5, "thin limbs are not twisted"


@pytest.mark.parametrize(("before", "after"), [(21, 21), (9, 21), (21, 13)])
def test_bones_grown_again_go_on_with_the_motion(before, after):
    body = boned(before)
    skeleton, rest = body.skeleton, body.mesh(1.0).detach()[0]
    skeleton.motion.approach(swaying(skeleton).flatten(1)[None])
    target = moved_by(body)
    body.grow_skeleton(after)
    assert body.skeleton is not skeleton and after <= len(body.skeleton.twin) <= after + 1
    assert mean_distance(moved_by(body), target) < 0.25 * mean_distance(target, rest)


def test_a_grown_skeleton_is_read_from_what_was_saved_of_it():
    body = boned(9)
    stirred(body.skeleton)
    found = Skeleton.empty(VIEW, len(body.skeleton.twin))
    found.load_state_dict(body.skeleton.state_dict())
    motion, rest, positions = found.motion_parameters(), body.mesh()[0], body.mesh.positions
    assert torch.equal(motion, body.skeleton.motion_parameters()) and same_tree(found, body.skeleton)
    for a, b in zip(found.transforms(motion), body.skeleton.transforms(motion), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(found.skin_weights(rest, positions), body.skeleton.skin_weights(rest, positions))


@pytest.mark.parametrize("bones", [13, 21, 36])
def test_a_bone_of_the_left_leg_holds_nothing_of_the_right_one(bones):
    body = boned(bones)
    rest = body.mesh().detach()[0]
    weights = body.skeleton.skin_weights(rest, body.mesh.positions).detach()
    assert (weights > 0).sum(1).max() <= 4
    legs = [(rest[:, 2] < -0.4) & (rest[:, 0] * side > 0) for side in (1, -1)]
    assert all(leg.sum() > 15 for leg in legs)
    centres = body.skeleton.centres[:, 0].detach()
    for side, other in ((1, legs[1]), (-1, legs[0])):
        assert weights[other][:, centres * side > 0.05].max() < 0.02
    assert weights[legs[0]][:, centres > 0.05].sum(1).min() > 0.5


def test_a_flat_body_without_an_inside_at_the_middle_still_gets_bones():
    """Left and right half have passed through each other: nothing of the mirror plane is inside."""
    body = boned(8, animal() * torch.tensor([-1.0, 1, 1]))
    weights = body.skeleton.skin_weights(body.mesh()[0], body.mesh.positions)
    assert torch.isfinite(weights).all() and torch.isfinite(body.skeleton.centres).all()
