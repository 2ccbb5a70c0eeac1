"""Finding masks: its parts on pictures whose truth is known, and the whole on moments made by the project."""

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from vmr_backend.job import BadInput
from vmr_backend.segmentation.cues import CHANNELS
from vmr_backend.segmentation.doubts import confidence_of
from vmr_backend.segmentation.marks import Mark
from vmr_backend.segmentation.mask_network import MARGIN, SIDE, InputWindow, MaskNetwork
from vmr_backend.segmentation.points import region_of_point
from vmr_backend.segmentation.propagation import RECENT, Propagation, tidied
from vmr_backend.segmentation.segment import check_mark
from vmr_backend.segmentation.shots import Shots, shots_of, working_scale


def disc(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(columns - centre[0], rows - centre[1]) <= radius


def test_the_network_takes_a_square_around_the_box_and_puts_it_back_where_it_was():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((240, 320)), 6).astype(np.float32)
    look = InputWindow.at((100, 60, 200, 160))
    assert look.scale == pytest.approx(100 * MARGIN / SIDE)
    seen = look.cut(smooth)
    assert seen.shape == (SIDE, SIDE)
    centre = (SIDE - 1) / 2
    assert seen[95:97, 95:97].mean() == pytest.approx(smooth[109:111, 149:151].mean(), abs=1e-3), centre
    back = look.put_back(seen, smooth.shape, -1.0)
    assert np.abs(back - smooth)[60:160, 100:200].max() < 2e-3
    assert back[0, 0] == -1 and back[110, 20] == -1


def test_the_network_takes_any_multiple_of_sixteen_and_starts_undecided():
    torch.manual_seed(0)
    odds = MaskNetwork().eval()(torch.rand(2, CHANNELS, 48, 64))
    assert odds.shape == (2, 1, 48, 64) and odds.abs().mean() < 1


def test_confidence_is_the_overlap_that_the_probabilities_foretell():
    rng = np.random.default_rng(0)
    found = rng.random((40, 40)).astype(np.float32) ** 3
    mask = found > 0.5
    overlaps = []
    for _ in range(400):
        true = rng.random(found.shape) < found
        overlaps.append((mask & true).sum() / (mask | true).sum())
    assert confidence_of(found) == pytest.approx(np.mean(overlaps), abs=0.01)
    assert confidence_of(np.zeros((4, 4))) == 0


@pytest.mark.parametrize("inside", [True, False])
def test_a_point_stands_for_what_looks_alike_around_it_up_to_its_edge(inside):
    rng = np.random.default_rng(0)
    body, patch = disc(160, (70, 80), 40), disc(160, (112, 80), 14)
    body &= ~patch
    picture = np.where(body[..., None], (120, 60, 30), (60, 140, 60)) + rng.normal(0, 6, (160, 160, 3))
    picture[patch] = (220, 220, 210) + rng.normal(0, 6, (patch.sum(), 3))
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    found = np.where(body if inside else body | patch, 0.9, 0.05).astype(np.float32)
    told = region_of_point(picture, found, (112, 80), inside, 7.6)
    corrected = (found > 0.5) | told if inside else (found > 0.5) & ~told
    truth = body | patch if inside else body
    assert (corrected & truth).sum() / (corrected | truth).sum() > 0.98
    assert told[80, 112] and not told[:, :70].any()


def test_stray_patches_and_pinholes_go_unless_a_point_lies_on_them():
    found = np.where(disc(80, (30, 40), 20), 0.9, 0.05)
    found[40, 30] = 0.1
    found[10:12, 70:72] = 0.9
    clean = tidied(found) > 0.5
    assert np.array_equal(clean, disc(80, (30, 40), 20))
    assert (tidied(found, [(71, 11)]) > 0.5)[10:12, 70:72].all()
    assert not (tidied(np.zeros((9, 9))) > 0.5).any()


def test_another_take_begins_where_most_colours_change():
    rng = np.random.default_rng(0)
    one, other = (np.clip(base + rng.normal(0, 12, (60, 80, 3)), 0, 255).astype(np.uint8)
                  for base in ([120, 140, 60], [40, 60, 150]))
    shots = shots_of([one, np.roll(one, 3, 1), one[:, ::-1], other, other], 1.0)
    assert shots.cuts == {3}
    assert shots.flow(2, 3) is None and shots.flow(3, 2) is None and shots.flow(4, 5) is None
    assert shots.flow(0, 1).shape == (60, 80, 2)


def test_homographies_chain_both_ways_and_end_at_a_cut():
    shots = Shots([np.zeros((8, 8, 3), np.uint8)] * 5, 1.0, frozenset({4}))
    rng = np.random.default_rng(1)
    steps = shots.homographies = {t: np.eye(3) + rng.normal(0, 0.01, (3, 3)) for t in range(4)}
    point = np.array([3.0, 4.0, 1.0])
    assert shots.homography(0, 3) @ point == pytest.approx(steps[2] @ (steps[1] @ (steps[0] @ point)))
    assert shots.homography(3, 1) @ shots.homography(1, 3) == pytest.approx(np.eye(3))
    assert shots.homography(2, 2) == pytest.approx(np.eye(3))
    assert shots.homography(3, 4) is None and shots.homography(4, 0) is None


def test_a_point_corrects_a_painted_mask():
    picture = np.full((80, 120, 3), 128, np.uint8)
    cv2.circle(picture, (40, 40), 20, (200, 40, 40), -1)
    picture[60:70, 90:100] = (40, 60, 200)
    painted = (picture != 128).any(2).astype(np.float32)
    shots = shots_of([picture, picture], 1.0)
    mark = Mark(0, mask="painted.png", outside=((95, 65),))
    found = Propagation(shots, MaskNetwork.shipped(), {0: painted}).find([mark], [0])
    assert found[0, 40, 40] > 0.9 and found[0, 60:70, 90:100].max() < 0.1
    assert ((found[0] > 0.5) == (painted > 0.5))[:, :80].all()


def test_the_memory_of_the_subject_is_made_anew_on_the_way():
    """Of a subject that never changes, in another frame than the marked one, once it was found there."""
    rng = np.random.default_rng(0)
    pictures = [np.clip(rng.normal(110, 25, (96, 96, 3)), 0, 255).astype(np.uint8) for _ in range(RECENT + 3)]
    for picture in pictures:
        picture[30:60, 30:70] = (200, 60, 40)
    seen = []

    class Noted(Propagation):
        def _cues(self, place, mask, known):
            seen.append((place, known, super()._cues(place, mask, known)))
            return seen[-1][-1]

    Noted(shots_of(pictures, 1.0), MaskNetwork.shipped()).find([Mark(0, box=(30, 30, 40, 30))], [0])
    marked = [known is None for _, known, _ in seen]
    assert all((cues[..., 9:] == 0.5).all() for _, known, cues in seen if known is None) and any(marked)
    alike = {place: np.array_equal(cues[..., 9], cues[..., 10]) for place, known, cues in seen if known}
    assert alike == {place: place <= RECENT for place in range(1, len(pictures))}


def test_frames_are_worked_on_small_but_never_enlarged():
    assert working_scale(380, (854, 480)) == pytest.approx(0.5)
    assert working_scale(60, (200, 100)) == 1
    assert working_scale(100, (3840, 2160)) == pytest.approx(0.25)


@pytest.mark.parametrize(("mark", "words"), [
    (Mark(50, box=(0, 0, 5, 5)), ("frame 50", "10 to 13")),
    (Mark(11, box=(200, 0, 5, 5)), ("box 200,0,5,5", "100x80")),
    (Mark(11, box=(-9, 0, 5, 5)), ("box", "outside the frame")),
    (Mark(11, inside=((3, 80),)), ("point 3,80", "100x80")),
])
def test_marks_beside_the_clip_are_refused(mark, words):
    with pytest.raises(BadInput) as refused:
        check_mark(mark, (100, 80), np.arange(10, 14))
    assert all(word in str(refused.value) for word in words)


def test_a_mark_is_at_the_place_of_its_frame():
    assert check_mark(Mark(12, box=(-5, -5, 20, 20)), (100, 80), np.arange(10, 14)) == 2
