"""The command segment on the sample's clip, whose true masks come with it, on a clip that is cut, and on plain grey."""

import json
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_clips import walk, write_images

from vmr_backend.cli import main
from vmr_backend.segmentation.doubts import met_on_the_way
from vmr_backend.segmentation.marks import Mark, MaskReport
from vmr_backend.segmentation.mask_network import MaskNetwork
from vmr_backend.segmentation.propagation import Propagation
from vmr_backend.segmentation.shots import shots_of, working_scale
from vmr_backend.video.clip import as_rgb, open_clip, read_frames

SAMPLE = Path(__file__).parents[3] / "samples" / "painted_dog"
COUNT = 8


def true_mask(number: int) -> np.ndarray:
    return cv2.imread(str(SAMPLE / "masks" / f"{number:04d}.png"), cv2.IMREAD_GRAYSCALE) > 127


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1 - columns[0]), float(rows[-1] + 1 - rows[0])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def found_in(folder: Path, number: int) -> np.ndarray:
    return cv2.imread(str(folder / "masks" / f"{number:06d}.png"), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found")
    box = ",".join(f"{side:g}" for side in box_of(true_mask(0)))
    assert main(["segment", str(SAMPLE / "clip.mp4"), "--out", str(folder), "--box", box,
                 "--frames", f"0:{COUNT - 1}"]) == 0
    return folder


def test_masks_of_all_frames_come_from_a_box_on_the_first(found):
    masks = [found_in(found, number) for number in range(COUNT)]
    assert all(mask.shape == (288, 384) and set(np.unique(mask)) == {0, 255} for mask in masks)
    overlaps = [overlap(mask > 0, true_mask(number)) for number, mask in enumerate(masks)]
    assert np.mean(overlaps) > 0.85 and min(overlaps) > 0.75, overlaps
    assert len(list((found / "masks").iterdir())) == COUNT


def test_a_box_may_begin_left_of_the_frame(tmp_path):
    left, top, width, height = box_of(true_mask(0))
    box = f"-9,{top:g},{left + width + 9:g},{height:g}"
    assert main(["segment", str(SAMPLE / "clip.mp4"), "--out", str(tmp_path), "--box", box, "--frames", "0:1"]) == 0
    assert MaskReport.load(tmp_path).marked == (0,)


def test_the_report_tells_of_each_frame_and_outlines_draw_the_masks(found):
    report = MaskReport.load(found)
    assert list(report.confidence) == list(range(COUNT)) and report.marked == (0,)
    assert all(0 < value <= 1 for value in report.confidence.values())
    outlines = json.loads((found / "outlines.json").read_text())
    for number in (0, COUNT - 1):
        drawn = np.zeros((288, 384), np.uint8)
        cv2.fillPoly(drawn, [np.round(np.reshape(loop, (-1, 2)) - 0.5).astype(np.int32)
                             for loop in outlines[str(number)]], 255)
        assert overlap(drawn > 0, found_in(found, number) > 0) > 0.97


def test_the_same_marks_find_the_same_masks(found, tmp_path):
    (tmp_path / "segment.json").write_bytes((found / "segment.json").read_bytes())
    assert main(["segment", "--job", str(tmp_path)]) == 0
    assert all(np.array_equal(found_in(tmp_path, number), found_in(found, number)) for number in range(COUNT))


def test_a_mask_that_leaves_a_side_of_its_box_empty_is_doubted_unless_points_say_more(frames, found, tmp_path):
    assert 0 not in MaskReport.load(found).doubts
    clip = write_frames(tmp_path / "frames", frames[:2])
    left, top, width, height = box_of(true_mask(0))
    wide = f"{left:g},{top:g},{1.6 * width:g},{height:g}"
    middle = f"{left + width / 2:g},{top + height / 3:g}"
    for name, words in (("box", ()), ("point", ("--inside", middle))):
        assert main(["segment", str(clip), "--out", str(tmp_path / name), "--box", wide, *words]) == 0
    (why,) = MaskReport.load(tmp_path / "box").doubts[0]
    assert why.startswith("the mask fills 6") and why.endswith("of the box: part of the subject may be missing")
    assert 0 not in MaskReport.load(tmp_path / "point").doubts


@pytest.fixture(scope="module")
def frames():
    clip = open_clip(SAMPLE / "clip.mp4")
    return [as_rgb(image) for _, image in read_frames(clip, np.arange(7))]


def masks_from(frames, marks, places):
    shots = shots_of(frames, working_scale(213, (384, 288)))
    return Propagation(shots, MaskNetwork.shipped()).find(marks, places)


def test_points_on_a_frame_change_it_and_nothing_beyond_the_next_marked_ones(frames):
    boxes = [Mark(0, box=box_of(true_mask(0))), Mark(3, box=box_of(true_mask(3)))]
    before = masks_from(frames, boxes, [0, 3])
    x, y = 20.0, 20.0
    after = masks_from(frames, [*boxes, Mark(5, inside=((x, y),))], [0, 3, 5])
    at = int(y * after.shape[1] / 288), int(x * after.shape[2] / 384)
    assert before[5][at] < 0.5 < after[5][at]
    assert np.array_equal(before[:4], after[:4]) and not np.array_equal(before[4], after[4])


def test_a_point_that_is_not_on_the_subject_takes_away_what_was_taken_for_it(frames):
    painted = true_mask(0)
    painted[250:280, 10:60] = True
    shots = shots_of(frames[:3], working_scale(213, (384, 288)))
    marks = [Mark(0, mask="painted"), Mark(1, outside=((35.0, 265.0),))]
    found = Propagation(shots, MaskNetwork.shipped(), {0: painted}).find(marks, [0, 1])
    at = int(265 * found.shape[1] / 288), int(35 * found.shape[2] / 384)
    assert found[0][at] > 0.5 > found[1][at]


def test_what_points_tell_goes_along_with_what_they_are_on(frames):
    """Here a piece of the meadow above the dog, which moves to the right: for some frames the user counts."""
    box, point = Mark(0, box=box_of(true_mask(0))), Mark(3, inside=((20.0, 20.0),))
    told = (masks_from(frames, [box, point], [0, 3]) > 0.5) & ~(masks_from(frames, [box], [0]) > 0.5)
    areas, middles = told.sum((1, 2)), [np.argwhere(one)[:, 1].mean() for one in told[3:7]]
    assert areas[3] > 600 and (areas[4:7] > 0.7 * areas[3]).all() and (np.diff(middles) > 15).all()


def write_frames(folder: Path, frames) -> Path:
    folder.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:04d}.png"), frame[..., ::-1])
    return folder


def two_that_cross(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames in which the sample's dog walks behind another one that comes the other way, and its true masks."""
    clip = open_clip(SAMPLE / "clip.mp4")
    dogs = [(as_rgb(image), true_mask(number)) for number, image in read_frames(clip, np.arange(count))]
    rough = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (320, 900, 3)), (0, 0), 3)
    ground = np.clip(110 + 25 * rough / rough.std(), 0, 255).astype(np.uint8)
    frames, masks = [], []
    for t, dog in enumerate(dogs):
        frame, mask = ground[:, 3 * t:3 * t + 700].copy(), np.zeros((320, 700), bool)
        way = 316 * t / (count - 1)
        for (picture, cover), shift in ((dog, way), ([side[:, ::-1] for side in dogs[-1 - t]], 316 - way)):
            window = (slice(16, 304), slice(round(shift), round(shift) + 384))
            mask[window] &= ~cover
            frame[window][cover] = picture[cover]
            if cover is dog[1]:
                mask[window] |= cover
        frames.append(frame)
        masks.append(mask)
    return frames, masks


def test_one_that_comes_near_and_looks_the_same_is_told_of(tmp_path):
    frames, masks = two_that_cross(20)
    box = ",".join(f"{side:g}" for side in box_of(masks[0]))
    assert main(["segment", str(write_frames(tmp_path / "two", frames)), "--out", str(tmp_path), "--box", box]) == 0
    doubts = MaskReport.load(tmp_path).doubts
    overlaps = [overlap(found_in(tmp_path, t) > 0, mask) for t, mask in enumerate(masks)]
    assert min(overlaps[:2]) > 0.9 and not {0, 1} & set(doubts)
    wrong = [t for t, share in enumerate(overlaps) if share < 0.8]
    assert wrong and set(wrong) <= set(doubts), "no mask is wrong without being doubted"
    assert "beside it looks like the subject" in doubts[wrong[0]][0]


def test_a_rival_is_remembered_away_from_the_marks_only():
    rival = np.zeros(20)
    rival[[3, 8, 14]] = 0.5
    assert [met_on_the_way(rival, [5, 11], t) for t in (1, 2, 3, 4, 9, 12, 14, 15, 19)] == [
        3, 3, None, None, None, None, None, 14, 14]


def test_behind_a_cut_nothing_is_found_and_the_report_says_why(frames, tmp_path):
    other = np.clip(np.random.default_rng(0).normal((30, 60, 190), 20, frames[0].shape), 0, 255).astype(np.uint8)
    clip = write_frames(tmp_path / "cut", [*frames[:4], other, other])
    box = ",".join(f"{side:g}" for side in box_of(true_mask(0)))
    assert main(["segment", str(clip), "--out", str(tmp_path / "out"), "--box", box]) == 0
    report = MaskReport.load(tmp_path / "out")
    assert {number: why for number, why in report.doubts.items() if number > 3} == dict.fromkeys(
        (4, 5), ["the clip is cut: mark the subject after it"])
    assert found_in(tmp_path / "out", 3).any() and not found_in(tmp_path / "out", 4).any()


def test_a_box_with_nothing_left_in_it_is_refused_and_earlier_masks_stay(tmp_path, capsys):
    plain = np.full((120, 160, 3), 90, np.uint8)
    clip = write_frames(tmp_path / "plain", [plain] * 3)
    earlier = tmp_path / "out" / "masks" / "000000.png"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"earlier")
    MaskReport({0: 0.9}).save(tmp_path / "out")
    assert main(["segment", str(clip), "--out", str(tmp_path / "out"), "--box", "60,50,9,9",
                 "--outside", "64,54"]) == 2
    assert "frame 0: found nothing that stands out" in capsys.readouterr().err
    assert earlier.read_bytes() == b"earlier"


def test_masks_that_somebody_made_or_edited_are_kept(tmp_path, capsys):
    clip = write_images(tmp_path / "clip", walk(3).frames)
    out, command = tmp_path / "out", ["segment", str(clip), "--out", str(tmp_path / "out"), "--box", "20,28,60,40"]
    mine = write_images(out / "masks", walk(1).masks)
    assert main(command) == 2
    assert f"{mine}: found masks that no search made here" in capsys.readouterr().err
    mine.rename(tmp_path / "mine")
    assert main(command) == 0
    edited = mine / "000001.png"
    edited.write_bytes(b"edited")
    os.utime(edited, (time.time() + 60, time.time() + 60))
    assert main(command) == 0
    assert (out / "masks edited" / "000001.png").read_bytes() == b"edited" and len(list(mine.iterdir())) == 3
