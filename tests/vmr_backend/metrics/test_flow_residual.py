"""The flow residual against homographies: the flow of a plane that moves is known in closed form."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vmr_backend.metrics.flow import flow_residuals
from vmr_backend.reconstruction import Reconstruction
from vmr_backend.texture.selection import weighted_median
from vmr_backend.video.footage import Footage

SIDE = 48
INTRINSICS = np.array([[260.0, 0, 82], [0, 240, 58], [0, 0, 1]])
CENTRES, HALVES = np.array([[80.0, 60], [86, 57], [90, 63]]), np.array([50.0, 56, 47])
TILT, DISTANCE = Rotation.from_euler("xy", [25, -30], degrees=True).as_matrix(), np.array([0.05, 0.02, 3.0])
STEPS = [(np.eye(3), np.zeros(3)),
         (Rotation.from_euler("xyz", [4, 7, 9], degrees=True).as_matrix(), np.array([0.09, -0.04, 0.3])),
         (Rotation.from_euler("xyz", [-5, 9, 3], degrees=True).as_matrix(), np.array([0.15, 0.08, -0.2]))]
"""Rotation and shift of the plane in camera space, about the camera, from frame 0 to each frame."""


def moving_plane() -> Reconstruction:
    """A tilted square in two faces that moves before a camera at rest. Where it is, half of the motion is the camera's
    and half the mesh's, so that either alone would be wrong."""
    square = 0.5 * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    rotations, vertices, shifts = [], [], []
    for turn, shift in STEPS:
        bend = Rotation.from_rotvec(0.5 * Rotation.from_matrix(turn @ TILT).as_rotvec()).as_matrix()
        rotations.append(turn @ TILT @ bend.T)
        vertices.append(square @ bend.T + [0.1, 0, 0.05])
        shifts.append(turn @ DISTANCE + shift - rotations[-1] @ [0.1, 0, 0.05])
    focal = [INTRINSICS[0, 0], INTRINSICS[1, 1], *INTRINSICS[:2, 2]]
    return Reconstruction(
        np.arange(3, dtype=np.int32), np.float32(vertices), np.float32(square), np.int32([[0, 2, 1], [0, 3, 2]]),
        np.zeros((2, 3, 2), np.float32), np.float32(rotations), np.float32(shifts), np.tile(np.float32(focal), (3, 1)),
        np.int32([160, 120]))


def homography(a, b):
    """Where the plane's pixels of frame a are in frame b."""
    (turn_a, shift_a), (turn_b, shift_b) = STEPS[a], STEPS[b]
    turn = turn_b @ turn_a.T
    shift = shift_b - turn @ shift_a
    normal = turn_a @ TILT @ [0, 0, 1]
    distance = normal @ (turn_a @ DISTANCE + shift_a)
    return INTRINSICS @ (turn + np.outer(shift, normal) / distance) @ np.linalg.inv(INTRINSICS)


def crop_flow(a, b):
    """(S, S, 2) what a Footage holds for the plane: a pixel's place in crop b minus its place in crop a."""
    line = (2 * np.arange(SIDE) + 1) / SIDE - 1
    here = np.stack(np.meshgrid(line, line), -1)
    pixels = CENTRES[a] + HALVES[a] * here
    there = np.concatenate([pixels, np.ones((SIDE, SIDE, 1))], -1) @ homography(a, b).T
    return (there[..., :2] / there[..., 2:] - CENTRES[b]) / HALVES[b] - here


def filmed_plane() -> Footage:
    flat = np.ones((3, SIDE, SIDE), np.float32)
    counts = {
        "numbers": np.arange(3, dtype=np.int32), "image_size": (160, 120), "masks": flat, "inside": flat > 0,
        "images": np.zeros((3, SIDE, SIDE, 3), np.uint8), "crop_centre": np.float32(CENTRES),
        "crop_half": np.float32(HALVES), "flow_forward": np.float32([crop_flow(0, 1), crop_flow(1, 2)]),
        "flow_backward": np.float32([crop_flow(1, 0), crop_flow(2, 1)]),
        "flow_forward_weight": flat[:2], "flow_backward_weight": flat[:2]}
    others = {field.name: flat for field in fields(Footage) if field.name not in counts}
    return Footage(**counts, **others)


def subject_size(frame):
    """Pixels: the masks fill the crops."""
    return 2 * HALVES[frame]


def test_a_surface_that_moves_as_the_flow_says_leaves_nothing():
    assert flow_residuals(moving_plane(), filmed_plane()) == pytest.approx([0, 0, 0], abs=2e-6)


def test_a_flow_that_leads_elsewhere_is_measured_in_shares_of_the_subject():
    footage = filmed_plane()
    shifted = footage.flow_forward.copy()
    shifted[0] += np.float32([0.03, -0.04])     # of the half side of the crop that it leads to
    found = flow_residuals(moving_plane(), replace(footage, flow_forward=shifted))
    assert found == pytest.approx([0.05 * HALVES[1] / subject_size(0), 0, 0], abs=2e-6)


def test_a_frame_has_the_worse_of_its_two_directions():
    footage = filmed_plane()
    shifted = footage.flow_backward.copy()
    shifted[0] += np.float32([0.06, 0.08])
    found = flow_residuals(moving_plane(), replace(footage, flow_backward=shifted))
    assert found == pytest.approx([0, 0.1 * HALVES[0] / subject_size(1), 0], abs=2e-6)


def test_a_third_of_wild_flow_does_not_matter_nor_does_flow_without_weight():
    footage = filmed_plane()
    wild, weight = footage.flow_forward.copy(), footage.flow_forward_weight.copy()
    wild[:, ::3] += 0.7
    assert flow_residuals(moving_plane(), replace(footage, flow_forward=wild)).max() < 2e-6
    wild[:, 1::6] += 0.7
    assert flow_residuals(moving_plane(), replace(footage, flow_forward=wild)).max() > 0.1
    weight[:, 1::6] = 0
    weighted = replace(footage, flow_forward=wild, flow_forward_weight=weight)
    assert flow_residuals(moving_plane(), weighted).max() < 2e-6


@pytest.mark.parametrize("share, is_said", [(0.5, True), (0.3, False)])
def test_flow_that_agrees_on_little_of_the_subject_says_nothing(share, is_said):
    footage = filmed_plane()
    weight, nothing = footage.flow_forward_weight.copy(), np.zeros_like(footage.flow_forward_weight)
    weight[0, round(share * SIDE):] = 0     # forward from frame 0, which has no other neighbour
    found = flow_residuals(moving_plane(), replace(footage, flow_forward_weight=weight, flow_backward_weight=nothing))
    assert np.isfinite(found).tolist() == [is_said, True, False]


def test_a_mesh_that_stands_still_strays_by_the_motion():
    still, footage = moving_plane(), filmed_plane()
    first = {name: getattr(still, name)[[0, 0, 0]] for name in ("vertices", "camera_rotation", "camera_translation")}
    found = flow_residuals(replace(still, **first), footage)
    middle = INTRINSICS @ DISTANCE      # of the square
    moved = homography(0, 1) @ (middle / middle[2])
    distance = np.linalg.norm(moved[:2] / moved[2] - middle[:2] / middle[2])
    assert found[0] == pytest.approx(distance / subject_size(0), rel=0.1)


def test_without_flow_nothing_is_said():
    footage = filmed_plane()
    nothing = np.zeros_like(footage.flow_forward_weight)
    forward_only = flow_residuals(moving_plane(), replace(footage, flow_backward_weight=nothing))
    assert np.isfinite(forward_only).tolist() == [True, True, False]
    neither = replace(footage, flow_backward_weight=nothing, flow_forward_weight=nothing)
    assert np.isnan(flow_residuals(moving_plane(), neither)).all()


def test_crops_of_more_pixels_give_the_same():
    found = flow_residuals(moving_plane(), filmed_plane(), size=16)     # averages the flow over 3 x 3 pixels
    assert found == pytest.approx([0, 0, 0], abs=1e-3)


def test_the_weighted_median_is_that_of_repeated_values():
    random = np.random.default_rng(0)
    values, weights = random.normal(size=31), random.integers(0, 5, 31)
    repeated = np.sort(np.repeat(values, weights))
    found = weighted_median(values[:, None], weights[:, None].astype(float))
    assert found.tolist() == [repeated[(len(repeated) - 1) // 2]]
