"""Moments of films that never were, what is made of them to learn from, and that it can be learnt."""

import numpy as np
import pytest
import torch

from samples.scenes import OFFSETS, SIZE, moment
from samples.segmenter import NOW, disagreement, gone_wrong, learn, lesson, main, misled, prepare, read
from vmr_backend.video.cues import CHANNELS, lab_of
from vmr_backend.video.mask_network import SIDE, MaskNetwork


@pytest.fixture(scope="module")
def shown():
    return moment(7, 0)


def test_a_moment_is_the_same_each_time_and_shows_one_animal_that_moves(shown):
    again = moment(7, 0)
    assert np.array_equal(again.frames, shown.frames) and np.array_equal(again.masks, shown.masks)
    assert shown.frames.shape == (len(OFFSETS), SIZE, SIZE, 3) and shown.masks.shape == shown.frames.shape[:3]
    assert 0 <= shown.masks.min() and shown.masks.max() <= 1
    share = (shown.masks > 0.5).mean((1, 2))
    assert (share > 0.01).all() and (share < 0.5).all()
    assert (np.abs(np.diff(shown.masks, axis=0)).max((1, 2)) > 0.5).all()


def test_backgrounds_lie_upon_one_another_where_the_cameras_say(shown):
    import cv2

    aside = (shown.masks[NOW] < 0.01) & (shown.masks[-1] < 0.01)
    way = np.linalg.inv(shown.cameras[-1]) @ shown.cameras[NOW]
    moved = cv2.warpPerspective(shown.frames[-1], way, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    seen = cv2.warpPerspective(np.ones((SIZE, SIZE), np.uint8), way, (SIZE, SIZE),
                               flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    apart = np.abs(moved.astype(float) - shown.frames[NOW]).mean(2)
    plain = np.abs(shown.frames[-1].astype(float) - shown.frames[NOW]).mean(2)
    assert np.median(apart[aside & seen]) < max(0.7 * np.median(plain[aside & seen]), 8)


@pytest.mark.parametrize("from_box", [True, False])
def test_a_lesson_has_all_cues_around_the_subject(shown, from_box):
    cues, mask = lesson(shown, np.random.default_rng(0), from_box)
    assert cues.shape == (CHANNELS, SIDE, SIDE) and mask.shape == (SIDE, SIDE) and cues.dtype == mask.dtype == np.uint8
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert (mask > 127).mean() > 0.02 and (rim > 127).mean() < 0.05
    assert cues[3].max() in range(120, 136) if from_box else cues[3].max() > 200


def test_masks_go_wrong_in_another_way_each_time_but_not_altogether(shown):
    true = shown.masks[NOW] > 0.5
    overlaps = []
    for seed in range(30):
        wrong = gone_wrong(shown.masks[NOW], lab_of(shown.frames[NOW]), np.random.default_rng(seed)) > 0.5
        overlaps.append((wrong & true).sum() / (wrong | true).sum())
    assert 0.5 < np.median(overlaps) < 0.99 and np.std(overlaps) > 0.02


def test_masks_so_far_are_misled_at_times_but_boxes_never_are():
    torch.manual_seed(0)
    masks = torch.zeros(40, 1, 96, 96)
    masks[:, :, 30:60, 20:70] = 1
    masks[::4] /= 2
    found = misled(masks)
    same = (found == masks).all((1, 2, 3))
    assert same[::4].all() and 0.2 < same[1::4].float().mean() < 0.8
    assert ((found > masks).any((1, 2, 3)) & ~same).any() and ((found < masks).any((1, 2, 3)) & ~same).any()


def test_disagreement_is_least_where_all_is_right():
    masks = (torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    right, wrong = disagreement(20 * (masks - 0.5), masks), disagreement(20 * (0.5 - masks), masks)
    assert right < 0.01 and wrong > 5


def test_lessons_are_made_once_and_learnt_from(tmp_path):
    prepare(tmp_path, 3, seed=1)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    prepare(tmp_path, 3, seed=1)
    assert file.stat().st_mtime_ns == before
    cues, masks = read(tmp_path, 3)
    assert len(cues) == len(masks) > 3
    torch.manual_seed(0)

    def mistakes(network):
        with torch.no_grad():
            return float(disagreement(network(cues.float() / 255)[:, 0], masks.float() / 255))

    untaught = mistakes(MaskNetwork().eval())
    assert mistakes(learn(cues, masks, 40, 0)) < 0.9 * untaught


def test_no_moments_are_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--moments", "0"]) == 2
    assert "--moments: found 0" in capsys.readouterr().err
