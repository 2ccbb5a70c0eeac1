"""Synthetic moments of films, the training examples made of them, and the training of the mask network."""

import shutil

import numpy as np
import pytest
import torch

from samples import segmenter
from samples.scenes import OFFSETS, SIZE, camera_over, footing, in_water, moment
from samples.segmenter import (
    NOW,
    Rollout,
    at_working_scale,
    corrupted,
    drifted,
    example,
    main,
    read,
    segmentation_loss,
    train,
    write_films,
    write_moments,
)
from vmr_backend.segmentation.cues import CHANNELS, lab_of
from vmr_backend.segmentation.marks import Mark
from vmr_backend.segmentation.mask_network import SIDE, MaskNetwork
from vmr_backend.segmentation.motion import FINER
from vmr_backend.segmentation.network_file import load
from vmr_backend.segmentation.propagation import tidied
from vmr_backend.segmentation.shots import shots_of
from vmr_backend.video.mask_facts import box_of


@pytest.fixture(scope="module")
def shown():
    return moment(7, 0)


def test_a_moment_is_the_same_each_time_and_shows_one_animal_that_moves(shown):
    again = moment(7, 0)
    assert np.array_equal(again.frames, shown.frames) and np.array_equal(again.masks, shown.masks)
    assert shown.frames.shape == (len(OFFSETS), SIZE, SIZE, 3) and shown.masks.shape == shown.frames.shape[:3]
    assert 0 <= shown.masks.min() and shown.masks.max() <= 1
    fraction = (shown.masks > 0.5).mean((1, 2))
    assert (fraction > 0.01).all() and (fraction < 0.5).all()
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


def test_what_is_worked_on_lies_where_the_moment_does(shown):
    small = at_working_scale(shown)
    assert small.masks.shape[1:] == (SIZE // FINER,) * 2 and small.frames.dtype == np.uint8
    # The middle of a pixel, in pixels of either.
    middle, larger = np.array([10.5, 20.5, 1]), np.array([10.5 * FINER, 20.5 * FINER, 1])
    half = np.array([0.5, 0.5, 0])
    for one, other in zip(small.cameras, shown.cameras, strict=True):
        np.testing.assert_allclose(one @ (middle - half), other @ (larger - half))


def test_who_walks_has_the_foot_that_is_down_at_one_position_on_the_ground():
    offsets, ahead = range(-3, 3), 4.0
    body = np.stack([[ahead * t, -50.0] for t in offsets])
    left, right = (np.stack([[ahead * t + swing * t, down] for t, down in zip(offsets, lowest, strict=True)])
                   for swing, lowest in ((-5, (0, 0, 0, -4, -4, -4)), (3, (-4, -4, -4, 0, 0, 0))))
    camera = camera_over(footing(np.stack([body, left, right], 1)), np.diag([1, 1, 1.0]), offsets)
    positions = [[camera(t) @ [*foot[n], 1] for n, t in enumerate(offsets)] for foot in (left, right)]
    assert np.array_equal(camera(0), np.eye(3))
    assert np.ptp(positions[0][:4], axis=0)[0] == np.ptp(positions[1][3:], axis=0)[0] == 0
    assert np.ptp(positions[0], axis=0)[0] > 5


def test_who_is_in_the_water_is_seen_above_it_only_and_the_water_goes_along():
    masks = np.zeros((3, SIZE, SIZE), np.float32)
    for n, mask in enumerate(masks):
        mask[200 + 10 * n:400 + 10 * n, 200:400] = 1
    seen = in_water(masks, np.array([[0.0, 0], [0, 10], [0, 20]]), 1, np.random.default_rng(0))
    lost = [(masks[n] - seen[n]) > 0.5 for n in range(3)]
    assert 2000 < lost[0].sum() < 20000 and not lost[0][:300].any()
    assert np.array_equal(lost[2][20:], lost[0][:-20])


@pytest.mark.parametrize("from_box", [True, False])
def test_an_example_has_all_cues_around_the_subject(shown, from_box):
    cues, mask = example(shown, np.random.default_rng(0), from_box)
    assert cues.shape == (CHANNELS, SIDE, SIDE) and mask.shape == (SIDE, SIDE) and cues.dtype == mask.dtype == np.uint8
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert (mask > 127).mean() > 0.02 and (rim > 127).mean() < 0.05
    assert cues[3].max() in range(120, 136) if from_box else cues[3].max() > 200


def test_masks_go_wrong_in_another_way_each_time_but_not_altogether(shown):
    small = at_working_scale(shown)
    true = small.masks[NOW] > 0.5
    overlaps = []
    for seed in range(30):
        wrong = corrupted(small.masks[NOW], lab_of(small.frames[NOW]), np.random.default_rng(seed)) > 0.5
        overlaps.append((wrong & true).sum() / (wrong | true).sum())
    assert 0.5 < np.median(overlaps) < 0.99 and np.std(overlaps) > 0.02


def test_masks_so_far_are_misled_at_times_but_boxes_never_are():
    torch.manual_seed(0)
    masks = torch.zeros(40, 1, 96, 96)
    masks[:, :, 30:60, 20:70] = 1
    masks[::4] /= 2
    found = drifted(masks)
    same = (found == masks).all((1, 2, 3))
    assert same[::4].all() and 0.2 < same[1::4].float().mean() < 0.8
    assert ((found > masks).any((1, 2, 3)) & ~same).any() and ((found < masks).any((1, 2, 3)) & ~same).any()


def test_disagreement_is_least_where_all_is_right():
    masks = (torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    right, wrong = segmentation_loss(20 * (masks - 0.5), masks), segmentation_loss(20 * (0.5 - masks), masks)
    assert right < 0.01 and wrong > 5


@pytest.fixture(scope="module")
def moments(tmp_path_factory):
    """A folder of examples made of two moments."""
    folder = tmp_path_factory.mktemp("moments")
    write_moments(folder, 2, seed=1)
    return folder


def test_examples_are_made_once_and_trained_on(moments, monkeypatch):
    monkeypatch.setattr(segmenter, "BATCH", 4)
    (file,) = moments.iterdir()
    before = file.stat().st_mtime_ns
    write_moments(moments, 2, seed=1)
    assert file.stat().st_mtime_ns == before
    cues, masks = read(moments)
    assert len(cues) == len(masks) > 3
    cues, masks = cues[..., ::2, ::2], masks[..., ::2, ::2]  # A quarter of the pixels show it, too.
    torch.manual_seed(0)

    def mistakes(network):
        with torch.no_grad():
            return float(segmentation_loss(network(cues.float() / 255)[:, 0], masks.float() / 255))

    network = MaskNetwork().eval()
    untrained = mistakes(network)
    assert mistakes(train(network, cues, masks, 14, 0)) < 0.9 * untrained


def test_a_network_is_trained_further_on_its_own_inputs_in_films(tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "FILM", 6)
    write_films(tmp_path, 1, MaskNetwork.shipped(), seed=1)
    cues, masks = read(tmp_path, "films")
    boxes, on_the_way = (cues[:, 3].amax((1, 2)) < 140), cues[:, 3].amax((1, 2)) > 140
    assert boxes.sum() >= 1 and on_the_way.sum() >= 5
    so_far, true = cues[on_the_way, 3] > 127, masks[on_the_way] > 127
    overlaps = (so_far & true).sum((1, 2)) / (so_far | true).sum((1, 2))
    assert 0.5 < overlaps.min() and overlaps.max() < 1


def test_a_prediction_that_diverges_is_replaced_but_its_input_is_kept_as_an_example():
    class Blank(MaskNetwork):
        def forward(self, cues):
            return torch.where(cues[:, 3:4] > 0.4, 4.0, -4.0) * (cues[:, 3:4].amax() < 0.6)

    shown = moment(7, 0, range(-3, 3))
    masks = at_working_scale(shown).masks
    rollout = Rollout(shots_of(shown.frames, 1 / FINER), Blank(), masks)
    left, top, right, bottom = map(float, box_of(shown.masks[0] > 0.5))
    found = rollout.find([Mark(0, (left, top, right - left, bottom - top))], [0])
    right = [tidied(mask).astype(np.float16) for mask in masks[1:]]
    assert np.array_equal(found[1:], right)


def test_all_rounds_are_trained_from_scratch(moments, tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "FILM", 4)
    monkeypatch.setattr(segmenter, "BATCH", 2)
    shutil.copytree(moments, tmp_path / "examples")
    out = tmp_path / "network.safetensors"
    words = [str(tmp_path / "examples"), "--moments", "2", "--films", "1", "--steps", "2", "--out", str(out)]
    assert main(words) == 0
    load(MaskNetwork(), out)


def test_no_moments_are_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--moments", "0"]) == 2
    assert "--moments: found 0" in capsys.readouterr().err
