"""A template as a body: posed as an independent forward kinematics has it, in proportions that joints hold together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tadpole import NAMES, PARENTS, tadpole

from vmr_backend.bodies.rig import USUAL_SCALE, RigBody
from vmr_backend.fitting.batch import FrameBatch
from vmr_backend.fitting.body import Constraints
from vmr_backend.fitting.view import LandmarkTracks, View

FRAMES = 5
EVERY = torch.arange(FRAMES)
VIEW = View(EVERY, torch.tensor([400.0, 400, 100, 60]).expand(FRAMES, 4), torch.zeros(FRAMES, 2), torch.ones(FRAMES))
FREE = Constraints()


def body_of(adapt=False, hypotheses=1, template=None) -> RigBody:
    torch.manual_seed(0)
    body = RigBody(VIEW, template or tadpole(), hypotheses, adapt)
    body.refine()
    body.articulate()
    return body


def moving(body: RigBody, seed=0) -> RigBody:
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        body.bend.copy_(0.4 * torch.randn(body.bend.shape, generator=random))
        body.motion.output.copy_(0.3 * torch.randn(body.motion.output.shape, generator=random))
    return body


def skinned(template, turns) -> np.ndarray:
    """Vertices (V, 3) of a template whose bones turn by axis-angles (B, 3) in their own axes, by matrices, bone by
    bone."""
    rest = template.bone_rest.astype(float)
    pose = np.zeros_like(rest)
    for bone, parent in enumerate(PARENTS):
        own = np.eye(4)
        own[:3, :3] = Rotation.from_rotvec(turns[bone]).as_matrix()
        local = rest[bone] if parent < 0 else np.linalg.inv(rest[parent]) @ rest[bone]
        pose[bone] = (np.eye(4) if parent < 0 else pose[parent]) @ local @ own
    points = np.concatenate([template.vertices, np.ones((len(template.vertices), 1))], 1)
    moved = np.einsum("bij,vj->bvi", pose @ np.linalg.inv(rest), points)[..., :3]
    return np.einsum("vb,bvi->vi", template.dense_weights, moved)


def test_bones_turn_about_their_joints_and_take_along_what_hangs_on_them():
    template, body = tadpole(), moving(body_of())
    rest, vertices = body.whole()
    turns = body.turns(FREE)[0].detach().double().numpy()
    for frame in range(FRAMES):
        expected = (skinned(template, turns[frame]) - body.origin) * body.scale
        np.testing.assert_allclose(vertices[frame], expected, atol=1e-5)
    np.testing.assert_allclose(rest, (template.vertices - body.origin) * body.scale, atol=1e-6)


def test_a_result_holds_bones_that_move_its_mesh():
    body = moving(body_of(adapt=True))
    with torch.no_grad():
        body.log_scale.copy_(0.2 * torch.randn(body.log_scale.shape))
    body.detail()
    with torch.no_grad():
        body.offset.copy_(0.01 * torch.randn(body.offset.shape))
    rest, vertices = body.whole()
    scale = torch.tensor(0.7)
    arrays = body.arrays(scale)
    moved = arrays["bone_pose"] @ torch.linalg.inv(arrays["bone_rest"])
    points = torch.cat([scale * rest, torch.ones(len(rest), 1)], 1).double()
    weights = torch.from_numpy(arrays["skin_weights"]).double()
    blended = torch.einsum("vb,tbij,vj->tvi", weights, moved, points)[..., :3]
    np.testing.assert_allclose(blended, scale * vertices, atol=1e-5)
    assert tuple(arrays["bone_names"]) == NAMES and (arrays["bone_lengths"] > 0).all()


def test_in_any_proportions_joints_stay_together_and_twins_are_alike():
    body = body_of(adapt=True)
    with torch.no_grad():
        body.log_scale.copy_(0.3 * torch.randn(body.log_scale.shape))
    stretched = body.proportions(body.surface)
    heads, tails = stretched.heads[0], stretched.tails[0]
    parents = torch.from_numpy(PARENTS).long()
    # The tail's tip sits where the tail ends, at rest and stretched.
    assert torch.allclose(heads[3], tails[2], atol=1e-6) and parents[3] == 2
    mirrored = heads[5] * torch.tensor([-1.0, 1, 1])
    assert torch.allclose(heads[4], mirrored, atol=1e-6)
    along = (tails - heads).norm(dim=1) / (body.tails - body.heads).norm(dim=1)
    scale = (body.log_scale + body.log_scale[:, body.twins])[0, :, 0].exp().sqrt()
    assert torch.allclose(along, scale, atol=1e-5)


def test_a_template_that_keeps_its_shape_has_no_proportions_to_fit():
    body = moving(body_of(adapt=False))
    body.detail()
    groups = [parameter for group in body.parameter_groups() for parameter in group["params"]]
    assert body.offset is None and not any(parameter is body.log_scale for parameter in groups)
    pose = body.posed(EVERY, FREE)
    assert {"shape", "offset"}.isdisjoint(body.regularisers(pose, pose.vertices, None, None))


@pytest.mark.parametrize("deviations, expected", [
    (0.0, 0.0), (0.1, 0.01), (1.0, 0.83), (10.0, 18.1), (20.0, 38.0)])
def test_small_departures_from_proportions_cost_their_square_and_large_ones_twice_their_size(deviations, expected):
    body = body_of(adapt=True)
    with torch.no_grad():
        body.log_scale.fill_(deviations * USUAL_SCALE)
    pose = body.posed(EVERY, FREE)
    assert body.regularisers(pose, pose.vertices, None, None)["shape"].item() == pytest.approx(expected, rel=0.01)


def test_each_hypothesis_is_posed_by_itself():
    body = moving(body_of(adapt=True, hypotheses=3))
    pose = body.posed(EVERY, FREE)
    assert pose.vertices.shape == (3, FRAMES, len(body.surface.vertices), 3)
    alone = body_of(adapt=True)
    with torch.no_grad():
        for (name, mine), (_, theirs) in zip(alone.named_parameters(), body.named_parameters(), strict=True):
            assert name == name and mine.copy_(theirs[1:2]) is mine
    assert torch.allclose(alone.posed(EVERY, FREE).vertices[0], pose.vertices[1], atol=1e-5)


def test_landmarks_cost_what_they_are_off_and_a_tenth_of_it_in_the_end():
    random = np.random.default_rng(3)
    template = tadpole()
    weights = np.zeros((3, len(template.vertices)), np.float32)
    picked = random.choice(len(template.vertices), (3, 4), replace=False)
    np.put_along_axis(weights, picked, np.float32(0.25), 1)
    card = replace(template.card, landmark_names=("nose", "tail", "ear"), category="tadpole")
    template = replace(template, card=card, landmark_weights=weights)
    points = torch.from_numpy(random.normal(size=(FRAMES, 3, 2))).float()
    view = replace(VIEW, landmarks=LandmarkTracks(("ear", "horn", "nose"), points))
    body = RigBody(view, template, 1, adapt=False)
    batch = FrameBatch(torch.tensor([3, 1]), ())
    off = []
    for _ in range(2):
        posed = body.posed(batch.frames, FREE)
        screen = posed.vertices * torch.tensor([1.0, -1.0, 1.0])
        there = screen[0, 0, picked, :2].mean(1) if len(body.faces) == len(template.faces) else None
        off.append(body.regularisers(posed, screen, None, batch)["landmark"].item())
        body.refine()
    assert there is not None
    away = torch.stack([there[[0, 2]] - points[frame][[2, 0]] for frame in (3, 1)]).norm(dim=-1)
    expected = ((away**2 + 0.05**2).sqrt() - 0.05).mean().item()
    assert off[1] == pytest.approx(0.1 * expected, rel=1e-3)
    assert off[0] == pytest.approx(expected, rel=0.05), "the coarse mesh has them nearly there"
    with pytest.raises(KeyError):
        body_of(template=template).regularisers(posed, screen, None, batch)["landmark"]


def test_turns_beyond_the_limits_cost_and_usual_ones_do_not():
    limits = np.tile(np.float32([[-0.2, 0.5]]), (6, 3, 1))
    covariance = 0.04 * np.eye(18)
    template = tadpole(joint_limits=limits, pose_mean=np.full((6, 3), 0.1), pose_covariance=covariance)
    body = body_of(template=template)
    for turn, beyond, apart in ((0.1, 0.0, 0.0), (0.5, 0.0, 4.0), (0.6, 0.03, 6.25), (-0.3, 0.03, 4.0)):
        with torch.no_grad():
            body.bend.fill_(turn)
        pose = body.posed(EVERY, FREE)
        found = body.regularisers(pose, pose.vertices, None, None)
        assert found["limit"].item() == pytest.approx(beyond, abs=1e-5)
        assert found["pose"].item() == pytest.approx(apart, abs=1e-3)


def test_components_of_shape_move_vertices_and_joints():
    template = tadpole()
    shapes = np.zeros((2, *template.vertices.shape))
    shapes[1] = template.vertices * [0, 0, 0.5]
    heads = np.zeros((2, 6, 3))
    heads[0, :, 2] = 0.1
    template = tadpole(shape_vertices=shapes, shape_heads=heads, shape_tails=heads)
    body = body_of(adapt=True, template=template)
    with torch.no_grad():
        body.shape.copy_(torch.tensor([[1.0, 2.0]]))
    found = body.proportions(body.surface)
    middle = (template.vertices[:, 2] - body.origin[2]) * body.scale
    expected = middle + 2 * 0.5 * template.vertices[:, 2] * body.scale
    np.testing.assert_allclose(found.vertices[0, :, 2].detach(), expected, atol=1e-5)
    np.testing.assert_allclose(found.heads[0, :, 2].detach(), body.heads[:, 2] + 0.1 * body.scale, atol=1e-6)
