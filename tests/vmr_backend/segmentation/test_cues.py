"""What tells a subject from its background: on a square that moves over a background whose motion is known."""

import cv2
import numpy as np
import pytest
import torch

from vmr_backend.segmentation.cues import (
    COMPARED,
    DECIDED,
    ELSEWHERE,
    LIKEST,
    FeatureMemory,
    Palette,
    cues_of,
    features_of,
    grown,
    lab_of,
    motion_cue,
    surroundings,
    uncovered,
    uncovering_cue,
)
from vmr_backend.segmentation.features import Features
from vmr_backend.segmentation.motion import background_homography, flow_from_to

SIZE, SQUARE = 96, 24
CAMERA = np.array([[1.01, 0.004, 2.3], [-0.003, 1.0, -1.2], [2e-5, 0, 1.0]])
"""From the pixels of a frame to those of the next."""


def textured(seed: int, size: int) -> np.ndarray:
    """(S, S, 3) float32, 0 to 255, with detail that flow can follow."""
    noise = np.random.default_rng(seed).normal(0, 1, (size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255)


def film(steps: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames and masks: the camera moves by CAMERA a frame, the square by 6 pixels to the right."""
    wide, subject = textured(0, 3 * SIZE), textured(1, SQUARE)
    middle = np.array([[1, 0, SIZE], [0, 1, SIZE], [0, 0, 1.0]])
    frames, masks = [], []
    for t in range(steps):
        way = middle @ np.linalg.inv(np.linalg.matrix_power(CAMERA, t))
        frame = cv2.warpPerspective(wide, way, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        mask = np.zeros((SIZE, SIZE), np.float32)
        at = slice(30, 30 + SQUARE), slice(20 + 6 * t, 20 + 6 * t + SQUARE)
        frame[at], mask[at] = subject, 1
        frames.append(frame.astype(np.uint8))
        masks.append(mask)
    return frames, masks


@pytest.fixture(scope="module")
def moving():
    return film(5)


def test_the_backgrounds_motion_is_that_of_the_camera_whatever_the_subject_does(moving):
    frames, masks = moving
    found = background_homography(flow_from_to(frames[0], frames[1], (SIZE, SIZE)), grown(masks[0] > 0, 6))
    corners = np.array([[[0, 0], [SIZE, 0], [0, SIZE], [SIZE, SIZE]]], np.float32)
    off = cv2.perspectiveTransform(corners, found) - cv2.perspectiveTransform(corners, CAMERA)
    assert np.abs(off).max() < 0.5


def test_where_next_to_nothing_is_outside_the_subject_the_background_moves_by_the_median_of_that():
    flow = np.broadcast_to(np.float32([3, -2]), (40, 40, 2)).copy()
    outside = np.zeros((40, 40), bool)
    outside[3, 3] = True
    assert background_homography(flow, ~outside) == pytest.approx(np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1]]))
    assert background_homography(flow, np.ones((40, 40), bool)) == pytest.approx(np.eye(3))


def test_what_moves_against_the_background_stands_out(moving):
    frames, masks = moving
    subject, near = surroundings(masks[1])
    for beside in (0, 2):
        flow = flow_from_to(frames[1], frames[beside], (SIZE, SIZE))
        cue = motion_cue(flow, background_homography(flow, subject), near)
        inside = cv2.erode(masks[1], np.ones((5, 5))) > 0
        assert np.median(cue[inside]) > 0.8 and np.median(cue[near]) < 0.5


def test_a_thin_limb_is_seen_to_move_in_larger_pictures():
    """Four pixels wide where it is worked on, over grass that stands still."""
    rng = np.random.default_rng(0)
    grass, skin = (np.repeat(cv2.GaussianBlur(rng.uniform(low, low + 120, (240, 240)), (0, 0), 1.2).astype(np.uint8)
                             [..., None], 3, 2) for low in (20, 110))
    frames = []
    for step in (0, 6):
        frame = grass.copy()
        frame[40:200, 100 + step:108 + step] = skin[40:200, 100:108]
        frames.append(frame)
    small = [cv2.resize(frame, (120, 120), interpolation=cv2.INTER_AREA) for frame in frames]
    off = [np.abs(flow_from_to(*pair, (120, 120))[25:95, 50:54] - [3, 0]).mean() for pair in (frames, small)]
    assert off[0] < 0.5 and off[0] < 0.5 * off[1]


def test_without_frames_beside_it_motion_tells_nothing(moving):
    frame, mask = moving[0][0], moving[1][0].astype(np.float32)
    lab = lab_of(frame)
    palette = Palette.of(lab, mask, np.zeros(mask.shape, bool))
    cues = cues_of(frame, lab, mask, (None, None), uncovered(lab, []), palette, palette, [np.full(mask.shape, 0.5)] * 2)
    assert (cues[..., 4:7] == 0.5).all()


def test_what_other_frames_show_uncovered_is_no_subject(moving):
    frames, masks = moving
    labs = [lab_of(frame) for frame in frames]
    others = [(labs[t], np.linalg.matrix_power(CAMERA, t)) for t in (3, 4)]
    _, near = surroundings(masks[0])
    cue = uncovering_cue(uncovered(labs[0], others), near)
    trailing = np.zeros_like(masks[0], bool)
    trailing[32:28 + SQUARE, 21:36] = True
    assert np.median(cue[trailing]) > 0.6 and np.median(cue[near]) < 0.4
    assert (uncovering_cue(uncovered(labs[0], []), near) == 0.5).all()
    away = [(labs[3], np.array([[1, 0, 500], [0, 1, 0], [0, 0, 1.0]]))]
    assert (uncovering_cue(uncovered(labs[0], away), near) == 0.5).all(), "frames that show another place tell nothing"


def test_colours_are_likely_where_they_are_frequent():
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[:, :10], picture[:, 10:], picture[:4] = (200, 40, 40), (40, 90, 200), (90, 200, 90)
    mask = np.zeros((20, 20), np.float32)
    mask[4:, :10] = 1
    lab = lab_of(picture)
    palette = Palette.of(lab, mask, np.zeros((20, 20), bool))
    assert palette.subject.sum() == pytest.approx(1) and palette.around.sum() == pytest.approx(1)
    likeness = palette.likeness(lab)
    assert likeness[10, 5] > 0.99 and likeness[10, 15] < 0.01 and likeness[0, 0] < 0.01
    grey = lab_of(np.full((1, 1, 3), 250, np.uint8))
    assert palette.likeness(grey)[0, 0] == pytest.approx(0.5, abs=0.01), "an unseen colour tells nothing"
    unsure = Palette.of(lab, mask, np.arange(20)[None] + np.zeros((20, 1)) >= 10)
    assert unsure.likeness(lab)[0, 0] < 0.01 and unsure.likeness(lab)[10, 15] == pytest.approx(0.5, abs=0.01)


def test_features_are_like_the_subject_or_like_what_is_around_it():
    """Features of two kinds of places; of a third kind neither is nearer than where it lies says."""
    mask = np.zeros((64, 96), np.float32)
    mask[16:48, 24:64] = 1
    kinds = torch.zeros(3, 16, 24)
    kinds[1] = 1
    kinds[0, 4:12, 6:16], kinds[1, 4:12, 6:16] = 1, 0
    memory = FeatureMemory.of(kinds, mask)
    assert memory.subject.shape[1] == 80 and memory.around.shape[1] > 50
    assert (memory.subject[0] == 1).all() and (memory.around[1] == 1).all()
    other = torch.zeros(3, 16, 24)
    other[0, :, :8], other[1, :, 8:16], other[2, :, 16:] = 1, 1, 1
    likeness = memory.likeness(other, mask)
    assert likeness[:, 15:24].min() > 0.99 and likeness[:, 40:56].max() < 0.01
    alike = memory.likeness(torch.ones(3, 16, 24), mask)
    assert alike[24:40, 32:56].min() > 0.5 > alike[:, 68:72].max()
    assert (alike[:, 80:] == 0.5).all() and (alike[:, :8] == 0.5).all(), "beyond what is compared"
    moved = memory.likeness(torch.ones(3, 16, 24), np.roll(mask, 24, 1))
    assert moved[:, 36:84] == pytest.approx(alike[:, 12:60], abs=1e-3), "places are those in the subject's box"
    empty = FeatureMemory.of(kinds, np.zeros_like(mask))
    assert (empty.likeness(other, mask) == 0.5).all(), "an empty mask says nothing"


def test_likeness_is_cosines_less_the_square_of_how_far_away_it_is():
    """Against the plain formula in double precision, at places of the features' own grid."""
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 96), np.float32)
    mask[16:48, 24:64] = 1
    known, here = (torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((5, 16, 24)).astype(np.float32)),
                                                 dim=0) for _ in range(2))
    rows, columns = np.mgrid[:16, :24] * 4 + 2.0
    places = np.stack([columns - 44, rows - 32]) / 40
    inside = (np.abs(places) * 40 < [[[20]], [[16]]]).all(0)
    sides = []
    for side in (FeatureMemory.of(known, mask).subject[:5].T, FeatureMemory.of(known, mask).around[:5].T):
        index = [int(np.argmax((known.flatten(1).T == one).all(1))) for one in side]
        apart = ((places.reshape(2, -1)[:, :, None] - places.reshape(2, -1)[:, None, index]) ** 2).sum(0)
        product = here.flatten(1).T.double().numpy() @ side.T.double().numpy() - ELSEWHERE * apart
        sides.append(np.sort(product, 1)[:, -LIKEST:].mean(1))
        assert inside.ravel()[index].all() if len(sides) == 1 else not inside.ravel()[index].any()
    wanted = 1 / (1 + np.exp((sides[1] - sides[0]) / DECIDED))
    wanted = np.where((np.abs(places) < COMPARED).all(0), wanted.reshape(16, 24), 0.5)
    wanted = cv2.resize(wanted.astype(np.float32), (96, 64), interpolation=cv2.INTER_LINEAR)
    assert FeatureMemory.of(known, mask).likeness(here, mask) == pytest.approx(wanted, abs=1e-4)


def test_features_are_found_for_pictures_of_any_size():
    found = features_of(np.random.default_rng(0).integers(0, 255, (50, 71, 3), np.uint8),
                        Features.shipped(torch.device("cpu")))
    assert found.shape[1:] == (12, 17)
    assert found.norm(dim=0).numpy() == pytest.approx(1, abs=1e-5)


def test_surroundings_are_a_rim_and_a_ring():
    mask = np.zeros((100, 100), np.float32)
    mask[40:60, 30:70] = 1
    subject, near = surroundings(mask)
    columns = np.flatnonzero(subject.any(0))
    assert (columns[0], columns[-1]) == (28, 71) and not (subject & near).any()
    assert np.flatnonzero(near.any(0))[0] == 12
    nothing, around = surroundings(np.zeros((8, 8), np.float32))
    assert nothing.all() and not around.any()
