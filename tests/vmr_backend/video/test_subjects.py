"""Several subjects in the masks: one is chosen by label or by box, and the others' pixels say nothing of it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from tiny_clips import HEIGHT, WIDTH, film, pose, texture, walk, write_clip, write_images, write_video

from vmr_backend.job import BadInput
from vmr_backend.video.crops import pixel_centres
from vmr_backend.video.footage import Footage, downsample, load_footage
from vmr_backend.video.subjects import Choice

DAVIS = np.uint8([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]])
"""The first colours of the palette of DAVIS 2017, RGB."""


def write_palette_image(path, labels, palette=DAVIS):
    """A PNG of 8 bit indices, as DAVIS 2017 has them."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = labels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in labels)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
                     + chunk(b"tEXt", b"Comment\0labels") + chunk(b"PLTE", palette.tobytes())
                     + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_labels(folder, labels, kind):
    """Label images (H, W) uint8 in a folder, in colours or in grey."""
    if kind == "palette":
        for number, image in enumerate(labels):
            write_palette_image(folder / f"{number:05d}.png", image)
        return folder
    factor = {"grey": 1, "far apart": 100, "grey palette": 1}[kind]
    if kind == "grey palette":
        ramp = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
        for number, image in enumerate(labels):
            write_palette_image(folder / f"{number:05d}.png", image, ramp)
        return folder
    return write_images(folder, [image * np.uint8(factor) for image in labels])


def two(front, behind, count=6, radii=(18, 12)):
    """Masks of two subjects by their places (x, y) at each frame, the first hiding the second: two lists of (H, W)."""
    a = film([pose(*front(t)) for t in range(count)], radii)
    b = film([pose(*behind(t)) for t in range(count)], radii)
    front_masks = [mask > 0 for mask in a.masks]
    return front_masks, [(mask > 0) & ~hidden for mask, hidden in zip(b.masks, front_masks, strict=True)]


def apart():
    """Two that walk side by side."""
    return two(lambda t: (30 + 2 * t, 30), lambda t: (80 - 2 * t, 66))


def labels_of(first, second):
    return [np.where(a, np.uint8(1), np.where(b, np.uint8(2), np.uint8(0)))
            for a, b in zip(first, second, strict=True)]


def white(*subjects):
    return [np.any(masks, 0) * np.uint8(255) for masks in zip(*subjects, strict=True)]


def frames_in(folder, count=6):
    background = texture(2)[:HEIGHT, :WIDTH]
    return write_images(folder / "frames", [background] * count)


def load(folder, masks, size=64, **options) -> Footage:
    return load_footage(frames_in(folder, len(list(masks.iterdir()))), masks, crop_size=size, **options)


def covers(footage: Footage, subject, within=0.5) -> np.ndarray:
    """For each frame the share (J) in which the footage's mask and a subject's masks (H, W) bool agree."""
    shares = []
    for t, number in enumerate(footage.numbers):
        px = footage.crop_centre[t] + footage.crop_half[t] * pixel_centres(footage.masks.shape[1])
        index = (px - 0.5).astype(np.float32)
        true = cv2.remap(subject[number].astype(np.float32), index[..., 0], index[..., 1], cv2.INTER_LINEAR) > 0.5
        found = footage.masks[t] > within
        shares.append((true & found).sum() / (true | found).sum())
    return np.array(shares)


def refused(call) -> str:
    with pytest.raises(BadInput) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["palette", "grey", "far apart", "grey palette"])
@pytest.mark.parametrize("label", [1, 2])
def test_a_label_chooses_its_subject(tmp_path, kind, label):
    subjects = apart()
    masks = write_labels(tmp_path / "m", labels_of(*subjects), kind)
    footage = load(tmp_path, masks, choice=Choice(label * (100 if kind == "far apart" else 1)))
    assert (covers(footage, subjects[label - 1]) > 0.95).all()


@pytest.mark.parametrize("kind", ["palette", "grey", "grey palette"])
def test_several_labels_without_a_choice_are_listed(tmp_path, kind):
    masks = write_labels(tmp_path / "m", labels_of(*apart()), kind)
    line = refused(lambda: load(tmp_path, masks))
    assert line.startswith(f"{masks}: found several subjects, with the labels 1, 2; needs") and "--subject" in line


def test_labels_that_come_in_later_are_listed_too(tmp_path):
    first, second = apart()
    later = labels_of(first, [mask & (t > 3) for t, mask in enumerate(second)])
    assert "1, 2" in refused(lambda: load(tmp_path, write_labels(tmp_path / "m", later, "palette")))


def test_a_label_that_is_not_there_is_told_with_those_that_are(tmp_path):
    masks = write_labels(tmp_path / "m", labels_of(*apart()), "palette")
    assert f"{masks}: found no subject 3; the labels are 1, 2" in refused(
        lambda: load(tmp_path, masks, choice=Choice(3)))


def test_masks_of_one_subject_are_what_they_were(tmp_path):
    clip = walk(4)
    plain = load_footage(*write_clip(tmp_path, clip), crop_size=64)
    coloured = write_labels(tmp_path / "one", [(m > 0).astype(np.uint8) for m in clip.masks], "palette")
    of_palette = load_footage(tmp_path / "frames", coloured, crop_size=64)
    soft = write_images(tmp_path / "soft", [cv2.GaussianBlur(m, (0, 0), 1.5) for m in clip.masks])
    of_soft = load_footage(tmp_path / "frames", soft, crop_size=64)
    np.testing.assert_array_equal(of_palette.masks, plain.masks)
    np.testing.assert_allclose(of_soft.masks.mean((1, 2)), plain.masks.mean((1, 2)), rtol=0.02)


def test_a_subject_that_is_away_for_some_frames_is_left_out_there(tmp_path):
    first, second = apart()
    gone = [mask & (t not in (2, 3)) for t, mask in enumerate(second)]
    footage = load(tmp_path, write_labels(tmp_path / "m", labels_of(first, gone), "palette"), choice=Choice(2))
    assert footage.numbers.tolist() == [0, 1, 4, 5]
    assert footage.left_out == [(2, "the mask is empty"), (3, "the mask is empty")]


@pytest.mark.parametrize("size", [64, 32])
def test_pixels_of_another_subject_count_neither_as_subject_nor_as_background(tmp_path, size):
    front, behind = two(lambda t: (50 + 4 * t, 42), lambda t: (66, 50))
    masks = write_labels(tmp_path / "m", labels_of(front, behind), "palette")
    footage = downsample(load(tmp_path, masks, choice=Choice(2)), size)
    for t, mask in enumerate(front):
        px = footage.crop_centre[t] + footage.crop_half[t] * pixel_centres(size)
        index = (px - 0.5).astype(np.float32)
        hidden = cv2.remap(mask.astype(np.float32), index[..., 0], index[..., 1], cv2.INTER_LINEAR)
        assert not footage.inside[t][hidden > 0.9].any()
        assert footage.inside[t][hidden < 0.1].all()
    assert (footage.masks[~footage.inside] == 0).all() and (footage.images[~footage.inside] == 0).all()
    assert all("touched by another subject" in doubts for doubts in footage.doubts)


def test_subjects_that_keep_apart_are_not_doubted(tmp_path):
    masks = write_labels(tmp_path / "m", labels_of(*apart()), "palette")
    assert load(tmp_path, masks, choice=Choice(1)).doubts == [[]] * 6


@pytest.mark.parametrize("at", [None, 0, 3, 5])
@pytest.mark.parametrize("which", [0, 1])
def test_a_box_chooses_a_patch_and_follows_it_both_ways(tmp_path, at, which):
    subjects = apart()
    rows, columns = np.nonzero(subjects[which][at or 0])
    box = (columns.min() - 5, rows.min() - 5, np.ptp(columns) + 8, np.ptp(rows) + 8)
    footage = load(tmp_path, write_images(tmp_path / "m", white(*subjects)), choice=Choice(box=box, at=at))
    assert (covers(footage, subjects[which]) > 0.95).all()


def test_a_box_takes_the_one_of_which_most_is_in_it(tmp_path):
    subjects = apart()
    masks = write_images(tmp_path / "m", white(*subjects))
    footage = load(tmp_path, masks, choice=Choice(box=(0, 0, WIDTH, 60)))
    assert (covers(footage, subjects[0]) > 0.95).all()


def test_a_box_chooses_among_labels(tmp_path):
    subjects = two(lambda t: (50 + 4 * t, 42), lambda t: (66, 50))
    masks = write_labels(tmp_path / "m", labels_of(*subjects), "palette")
    footage = load(tmp_path, masks, choice=Choice(box=(74, 40, 20, 20)))
    assert (covers(footage, subjects[1])[footage.masks.sum((1, 2)) > 100] > 0.9).all()


@pytest.mark.parametrize("which", [0, 1])
def test_subjects_that_meet_and_part_are_told_apart(tmp_path, which):
    """They touch end to end for three frames and turn back."""
    def near(t):
        return 17.5 + 5 * max(abs(t - 5) - 1, 0)

    subjects = two(lambda t: (64 - near(t), 48), lambda t: (64 + near(t), 48), count=11)
    masks = white(*subjects)
    assert cv2.connectedComponents(masks[5])[0] == 2 and cv2.connectedComponents(masks[0])[0] == 3
    rows, columns = np.nonzero(subjects[which][0])
    box = (columns.min(), rows.min(), np.ptp(columns), np.ptp(rows))
    footage = load(tmp_path, write_images(tmp_path / "m", masks), choice=Choice(box=box))
    assert len(footage.numbers) == 11
    assert (covers(footage, subjects[which]) > 0.9).all()
    doubted = [t for t, doubts in enumerate(footage.doubts) if "touched by another subject" in doubts]
    assert doubted and set(doubted) <= {4, 5, 6}


def test_a_subject_is_found_again_after_a_gap_and_after_a_leap(tmp_path):
    def place(t):
        return (25 + 2 * t + 30 * (t > 4), 30)

    subject, other = two(place, lambda t: (90, 70), count=8, radii=(12, 9))
    subject[2][:] = False
    masks = write_images(tmp_path / "m", white(subject, other))
    footage = load(tmp_path, masks, choice=Choice(box=(15, 20, 25, 20)))
    assert footage.numbers.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert (covers(footage, subject) > 0.95).all()


def test_fragments_go_with_the_subject(tmp_path):
    subject, other = apart()
    for mask in subject:
        middle = np.nonzero(mask.any(0))[0].mean()
        mask[:, round(middle + 13):round(middle + 15)] = False
    masks = write_images(tmp_path / "m", white(subject, other))
    footage = load(tmp_path, masks, choice=Choice(box=(10, 15, 42, 30)))
    assert (covers(footage, subject) > 0.95).all()


@pytest.mark.parametrize(("choice", "words"), [
    (Choice(box=(0, 0, 5, 5)), "found no subject in the box 0,0,5,5 of frame 0"),
    (Choice(box=(500, 500, 9, 9), at=2), "found no subject in the box 500,500,9,9 of frame 2"),
    (Choice(box=(-20, -20, 9, 9)), "found no subject in the box -20,-20,9,9"),
    (Choice(box=(0, 0, 99, 99), at=40), "--at: found frame 40, which has no mask"),
])
@pytest.mark.parametrize("kind", ["white", "palette"])
def test_a_box_without_a_subject_is_told(tmp_path, choice, words, kind):
    subjects = apart()
    masks = (write_images(tmp_path / "m", white(*subjects)) if kind == "white"
             else write_labels(tmp_path / "m", labels_of(*subjects), kind))
    assert words in refused(lambda: load(tmp_path, masks, choice=choice))


def test_a_box_chooses_in_a_video_and_in_an_alpha_channel_too_and_a_label_does_not(tmp_path):
    subjects = apart()
    masks = white(*subjects)
    box = Choice(box=(5, 10, 50, 40))
    video = write_video(tmp_path / "m.avi", masks, codec="FFV1")
    frames = frames_in(tmp_path)
    assert (covers(load_footage(frames, video, crop_size=64, choice=box), subjects[0]) > 0.95).all()
    background = texture(2)[:HEIGHT, :WIDTH]
    rgba = write_images(tmp_path / "rgba", [np.dstack([background, mask]) for mask in masks])
    assert (covers(load_footage(rgba, None, crop_size=64, choice=box), subjects[0]) > 0.95).all()
    assert "found one colour, which holds no labels" in refused(
        lambda: load_footage(frames, video, choice=Choice(1)))
    assert "found an alpha channel, which holds no labels" in refused(
        lambda: load_footage(rgba, None, choice=Choice(1)))


@pytest.mark.parametrize("choice", [None, Choice(1)])
def test_pictures_are_no_masks(tmp_path, choice):
    masks = write_images(tmp_path / "m", [texture(3)[:HEIGHT, :WIDTH]] * 6)
    assert f"{masks}: found pictures in which nothing tells the subject" in refused(
        lambda: load(tmp_path, masks, choice=choice))


def test_labels_that_are_colours_in_one_image_are_refused(tmp_path):
    masks = write_labels(tmp_path / "m", labels_of(*two(lambda t: (30 + t, 30), lambda t: (80 - t, 66), 40)), "palette")
    write_images(masks, [texture(3)[:HEIGHT, :WIDTH]], numbers=[1])
    assert "00001.png: found no labels, but colours" in refused(lambda: load(tmp_path, masks, choice=Choice(1)))
