"""Flow guided by a fit: nearer to the truth than the fit is, where a turn is far beyond what flow alone finds."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from spheres import sphere_seen_by

from vmr_backend.fitting.fitter import Solution
from vmr_backend.fitting.guided_flow import guided_flows, long_gaps
from vmr_backend.fitting.search import Hypothesis, Starts
from vmr_backend.fitting.view import View
from vmr_backend.geometry.cameras import Camera, project
from vmr_backend.rendering import get_renderer
from vmr_backend.video.crops import pixel_centres
from vmr_backend.video.flow import CropFlow
from vmr_backend.video.footage import Footage

FRAMES, SIZE, STEP = 10, 128, 10.0
"""Degrees that the ball turns from frame to frame: 40 across the gap that is looked at."""
GAP = 4
CPU = torch.device("cpu")
VIEW = View(torch.arange(float(FRAMES)), torch.tensor([400.0, 400, 100, 60]).expand(FRAMES, 4),
            torch.stack([torch.linspace(80, 120, FRAMES), torch.linspace(70, 50, FRAMES)], 1),
            torch.full((FRAMES,), 40.0))


def ball_that_turns(step_degrees: float) -> Solution:
    turn = np.radians(step_degrees) * np.arange(FRAMES)[None]
    return sphere_seen_by(VIEW, Starts([Hypothesis(0.0, 0.0)], turn, np.eye(3)[None, None].repeat(FRAMES, 1)))


@dataclass(frozen=True)
class Truth:
    """A painted ball on film, T frames of S x S pixels, and where its surface is."""

    footage: Footage
    faces: np.ndarray
    index: np.ndarray
    """(T, S, S) the face at each pixel, -1 for none."""
    shares: np.ndarray
    corners: np.ndarray
    """(V, 3) object units."""
    camera: Camera

    def displacement(self, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        """(S, S, 2) crop units from frame a to frame b of what a shows, and whether b shows it, too (S, S)."""
        triangles = self.corners[self.faces[self.index[a]]]
        surface = (triangles * self.shares[a][..., None]).sum(-2)
        view = Camera(self.camera.rotation[b], self.camera.translation[b], self.camera.intrinsics[b])
        place = project(torch.from_numpy(surface).float().view(-1, 3), view).numpy()[:, :2].reshape(SIZE, SIZE, 2)
        # The ball is convex: what turns its outside to the camera is seen.
        outward = np.cross(triangles[..., 1, :] - triangles[..., 0, :], triangles[..., 2, :] - triangles[..., 0, :])
        eye = -view.rotation.numpy().T @ view.translation.numpy()
        seen = (self.index[a] >= 0) & (((eye - surface) * outward).sum(-1) > 0)
        return place - pixel_centres(SIZE), seen


def painted(seed: int, grain: float) -> np.ndarray:
    """(256, 512, 3) uint8 smooth noise."""
    noise = np.random.default_rng(seed).uniform(0, 255, (256, 512, 3)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), grain), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture(scope="module")
def truth() -> Truth:
    solution = ball_that_turns(STEP)
    with torch.no_grad():
        frames = torch.arange(FRAMES)
        rotation, translation = solution.cameras(0.0)
        camera = Camera(rotation[0], translation[0], VIEW.in_crop)
        rest = solution.body.mesh()[0]
        points = project(rest.expand(FRAMES, -1, -1), camera)
        seen = get_renderer("warp", CPU).visibility(points, solution.body.faces, SIZE)
    faces, index, shares = solution.body.faces.numpy(), seen.face_index.numpy(), seen.barycentrics.numpy()
    x, y, z = np.moveaxis((solution.body.mesh.positions.numpy()[faces[index]] * shares[..., None]).sum(-2), -1, 0)
    longitude, latitude = np.arctan2(x, -y) / (2 * math.pi) + 0.5, np.arctan2(z, np.hypot(x, y)) / math.pi + 0.5
    place = np.float32(longitude * 512 - 0.5), np.float32(latitude * 256 - 0.5)
    images = np.stack([cv2.remap(painted(0, 4), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
                       for u, v in zip(*place, strict=True)])
    masks = (index >= 0).astype(np.float32)
    background = np.random.default_rng(1).integers(0, 255, images.shape).astype(np.uint8)
    nothing = np.zeros((FRAMES - 1, SIZE, SIZE), np.float16)
    footage = Footage(
        frames.numpy().astype(np.int32), (200, 120), None, np.where(masks[..., None] > 0, images, background), masks,
        masks >= 0, VIEW.crop_centre.numpy(), VIEW.crop_half.numpy(), nothing[..., None].repeat(2, -1),
        nothing[..., None].repeat(2, -1), nothing, nothing, np.ones(FRAMES, np.float32), [[] for _ in range(FRAMES)],
        np.ones(FRAMES, np.float32), np.ones(FRAMES, np.float32), [])
    return Truth(footage, faces, index, shares, rest.numpy().astype(float), camera)


def guided(solution: Solution, footage: Footage) -> CropFlow:
    found = guided_flows(solution.on_screen(0.0), solution.body.faces, footage, get_renderer("warp", CPU))
    return next(flow for flow in found if flow.gap == GAP)


@pytest.fixture(scope="module")
def misled(truth) -> CropFlow:
    """Flow guided by a ball that turns by 5 degrees too much across the gap."""
    return guided(ball_that_turns(STEP + 5 / GAP), truth.footage)


def both_ways(flow: CropFlow):
    """Frame a, frame b, displacement and weight of each pair."""
    for t in range(FRAMES - GAP):
        yield t, t + GAP, flow.forward[t].astype(float), flow.forward_weight[t].astype(float)
        yield t + GAP, t, flow.backward[t].astype(float), flow.backward_weight[t].astype(float)


def own_displacement(solution: Solution, truth: Truth, a: int, b: int) -> np.ndarray:
    """(S, S, 2) what the solution itself predicts of the pixels of frame a."""
    screen = solution.on_screen(0.0)
    seen = get_renderer("warp", CPU).visibility(screen[a:a + 1], solution.body.faces, SIZE)
    corners = screen[b][solution.body.faces[seen.face_index[0].clamp_min(0).long()]]
    return (corners * seen.barycentrics[0][..., None]).sum(-2).numpy()[..., :2] - pixel_centres(SIZE)


def test_guided_flow_is_nearer_to_the_truth_than_the_fit_that_guided_it(truth, misled):
    solution = ball_that_turns(STEP + 5 / GAP)
    for a, b, flow, weight in both_ways(misled):
        true, seen = truth.displacement(a, b)
        off, off_before = (np.linalg.norm(d - true, axis=-1)[seen & (weight > 0.3)] * SIZE / 2
                           for d in (flow, own_displacement(solution, truth, a, b)))
        assert np.median(off_before) > 1.5, "pixels: the fit is misled"
        assert np.median(off) < 0.6 and np.median(off) < 0.4 * np.median(off_before)
        assert np.quantile(off, 0.9) < np.median(off_before)


def test_guided_flow_counts_on_most_of_what_both_frames_show_and_hardly_elsewhere(truth, misled):
    for a, b, _, weight in both_ways(misled):
        _, seen = truth.displacement(a, b)
        assert seen.sum() > 0.3 * (truth.index[a] >= 0).sum()
        assert (weight[seen] > 0.3).mean() > 0.6
        assert (weight[truth.index[a] < 0] == 0).all(), "nothing outside the mask"
        hidden = (truth.index[a] >= 0) & ~seen
        assert weight[hidden].mean() < 0.25 and weight.max() <= 1


def test_a_fit_that_is_right_is_left_as_it_is(truth):
    for a, b, flow, weight in both_ways(guided(ball_that_turns(STEP), truth.footage)):
        true, seen = truth.displacement(a, b)
        off = np.linalg.norm(flow - true, axis=-1)[seen & (weight > 0.3)] * SIZE / 2
        assert np.median(off) < 0.3
        assert (weight[seen] > 0.3).mean() > 0.75


def test_where_pictures_have_nothing_in_common_far_less_counts(truth, misled):
    unlike = np.stack([painted(seed, 2)[:SIZE, :SIZE] for seed in range(FRAMES)])
    flow = guided(ball_that_turns(STEP + 5 / GAP), replace(truth.footage, images=unlike))
    counted, usually = ([weight[truth.displacement(a, b)[1]].mean() for a, b, _, weight in both_ways(one)]
                        for one in (flow, misled))
    assert np.mean(counted) < 0.5 * np.mean(usually)


@pytest.mark.parametrize("frames, gaps", [(2, []), (3, []), (4, [2]), (6, [3, 4]), (10, [2, 4, 5]), (40, [4, 10, 20])])
def test_gaps_are_short_a_quarter_and_half_of_the_clip(frames, gaps):
    assert long_gaps(frames) == gaps


def test_every_gap_has_flow_for_each_of_its_pairs(truth):
    cut = replace(truth.footage, **{name: getattr(truth.footage, name)[:6] for name in
                                    ("numbers", "images", "masks", "inside", "crop_centre", "crop_half")})
    solution = ball_that_turns(STEP)
    found = guided_flows(solution.on_screen(0.0), solution.body.faces, cut, get_renderer("warp", CPU))
    assert [(flow.gap, len(flow.forward), len(flow.backward_weight)) for flow in found] == [(3, 3, 3), (4, 2, 2)]
