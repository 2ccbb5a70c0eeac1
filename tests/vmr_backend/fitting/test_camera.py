"""Cameras that are fitted: where paths and the cameras of single frames start, and what a zoom changes."""

from dataclasses import replace

import pytest
import torch
from spheres import EVERY, FRAMES, VIEW, camera_from, screen, sphere_seen_by, stirred, unknown

from vmr_backend.fitting.body import Constraints
from vmr_backend.fitting.camera import CameraPath, FrameCameras, _towards
from vmr_backend.fitting.fitter import Solution
from vmr_backend.geometry.cameras import LEVEL_CAMERA, WeakCamera, project
from vmr_backend.geometry.rotations import angle_between

FREE = Constraints()


def start(count=1) -> CameraPath:
    torch.manual_seed(0)
    return camera_from(VIEW, unknown(count, VIEW))


def ball(count=1) -> Solution:
    return sphere_seen_by(VIEW, unknown(count, VIEW))


def test_the_sphere_at_the_start_is_as_large_in_every_crop_and_in_its_middle():
    points = screen(ball(4))[..., :2]
    middle, extent = (points.amax(2) + points.amin(2)) / 2, (points.amax(2) - points.amin(2)) / 2
    assert middle.abs().max() < 0.02
    assert torch.allclose(extent, extent.mean().expand_as(extent), rtol=0.03)
    assert 0.2 < extent.mean() < 0.6, "about half of the crop, so that it neither fills it nor is lost in it"


def test_cameras_start_with_the_turns_of_their_hypotheses():
    found, _ = start(6)(1.0)
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
    camera = stirred(start(3), 0.5)
    assert (camera(0.0)[0] @ torch.tensor([0.0, 0, 1]))[..., 0].abs().max() < 1e-5
    assert (camera(1.0)[0] @ torch.tensor([0.0, 0, 1]))[..., 0].abs().max() > 0.01
    rotation, _ = camera(1.0)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5)


def zoomed_by(camera: CameraPath, *factors) -> CameraPath:
    with torch.no_grad():
        camera.log_zoom.copy_(torch.tensor(factors).log().unsqueeze(1))
    return camera


def test_a_zoom_changes_nothing_of_what_is_as_far_away_as_the_subject_and_the_perspective_of_all_else():
    plain, factors = zoomed_by(stirred(start(3), 0.05), 1.0, 1.0, 1.0), (0.5, 1.0, 2.5)
    rotation, _ = plain(1.0)
    points = 0.4 * torch.randn(3, FRAMES, 20, 3)
    flat = (points * torch.tensor([1.0, 1, 0])) @ rotation  # in the plane through the subject, across the line of sight
    before = project(flat, plain.at(EVERY, FREE))
    camera = zoomed_by(plain, *factors).at(EVERY, FREE)
    rotation = camera.rotation
    assert torch.allclose(project(flat, camera)[..., :2], before[..., :2], atol=1e-4)
    zoom = torch.tensor(factors)[:, None, None]
    depth, nearer = zoom * before[..., 2], points[..., 2]
    ahead = project(flat + nearer.unsqueeze(-1) * rotation[..., None, 2, :], camera)
    principal = VIEW.in_crop[:, None, 2:]
    expected = principal + (before[..., :2] - principal) * (depth / (depth + nearer)).unsqueeze(-1)
    assert torch.allclose(ahead[..., :2], expected, atol=1e-4)


@pytest.mark.parametrize("true", [0.6, 1.0, 1.8])
def test_the_perspective_of_a_known_shape_tells_the_zoom(true):
    zoomed, solution = ball(), ball()
    zoomed_by(zoomed.cameras, true)
    target = screen(zoomed).detach()[..., :2]
    parameters = [solution.cameras.log_zoom, *solution.cameras.fast.parameters()]
    optimiser = torch.optim.LBFGS(parameters, max_iter=300, tolerance_change=0, line_search_fn="strong_wolfe")

    def error() -> torch.Tensor:
        optimiser.zero_grad()
        loss = 1e4 * (screen(solution)[..., :2] - target).square().mean()
        loss.backward()
        return loss

    optimiser.step(error)
    assert solution.cameras.zoom().item() == pytest.approx(true, rel=0.02)


def single_frames(view=VIEW) -> tuple[FrameCameras, WeakCamera]:
    """Cameras of frames on their own, and the weak perspective ones that show as much: the subject stands where VIEW
    has it, whatever the crops of `view` are."""
    random = torch.Generator().manual_seed(0)
    columns = torch.linalg.qr(torch.randn(FRAMES, 3, 3, generator=random))[0]
    rotation = columns * torch.linalg.det(columns)[:, None, None]
    pixel = VIEW.crop_centre + VIEW.crop_half[:, None] * (torch.rand(FRAMES, 2, generator=random) - 0.5)
    size = VIEW.crop_half * (0.5 + torch.rand(FRAMES, generator=random))
    weak = WeakCamera(rotation, size / view.crop_half, (pixel - view.crop_centre) / view.crop_half[:, None])
    return FrameCameras(view, weak), weak


def test_the_cameras_of_frames_start_where_weak_perspective_ones_show_the_subject():
    cameras, weak = single_frames()
    camera = cameras.at(EVERY, FREE)
    middle = project(torch.zeros(1, FRAMES, 1, 3), camera)[0]
    torch.testing.assert_close(middle[:, 0, :2], weak.shift, rtol=0, atol=1e-5)
    off = 0.001 * torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(1))
    found = project(off.expand(FRAMES, -1, -1)[None], camera)[0, ..., :2]
    expected = weak.project(off)[..., :2] - weak.shift[:, None]
    # A small thing near the middle of the lens looks alike under both.
    torch.testing.assert_close(found - middle[..., :2], expected, rtol=0, atol=1e-4)


def test_the_axis_is_carried_to_the_ray_by_the_shortest_turn():
    rays = torch.tensor([[0.0, 0, 1], [0.5, 0, 1], [-0.2, 0.7, 1]])
    turns = _towards(rays)
    torch.testing.assert_close(turns[..., 2], rays / rays.norm(dim=1, keepdim=True))
    angle = torch.atan2(rays[:, :2].norm(dim=1), rays[:, 2])
    torch.testing.assert_close(angle_between(turns, torch.eye(3).expand(3, 3, 3)), angle, rtol=0, atol=1e-5)


def test_positions_do_not_depend_on_how_a_frame_is_cropped():
    other = replace(VIEW, crop_centre=VIEW.crop_centre + torch.linspace(-5, 5, FRAMES)[:, None],
                    crop_half=VIEW.crop_half.flip(0))
    (one, positions), (moved, again) = (single_frames(view)[0]._at(EVERY) for view in (VIEW, other))
    torch.testing.assert_close(positions, again, rtol=0, atol=1e-4)
    torch.testing.assert_close(one.translation, moved.translation, rtol=0, atol=1e-3)


def test_a_result_has_the_cameras_of_all_frames_in_pixels_of_the_full_frame():
    cameras, _ = single_frames()
    torch.manual_seed(0)
    stirred(cameras, 0.05)
    points = 0.3 * torch.randn(1, FRAMES, 20, 3)
    in_crop = project(points, cameras.at(EVERY, FREE))[0, ..., :2]
    in_frame = project(points[0], cameras.in_footage())[..., :2]
    expected = VIEW.crop_centre[:, None] + VIEW.crop_half[:, None, None] * in_crop
    torch.testing.assert_close(in_frame, expected, rtol=0, atol=1e-3)
