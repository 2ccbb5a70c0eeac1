"""Crops of a collection look like those of a clip; what cannot be decoded is left out."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from tiny_collections import BACKGROUND, HEIGHT, SUBJECT, WIDTH, coco_of, ellipse, painted, save

from vmr_backend.job import BadInput, Cancelled
from vmr_backend.training.collection import open_collection
from vmr_backend.training.crops import dealt_in_turn, load_crops
from vmr_backend.training.pictures import MaskFile
from vmr_backend.video.crops import pixel_centres
from vmr_backend.video.footage import load_footage

SIZE = 32


@pytest.fixture
def collection(tmp_path):
    return open_collection(coco_of(tmp_path, 5).write())


def test_a_crop_shows_the_subject_in_the_middle_with_a_fifth_of_room(collection):
    crops = load_crops(collection, SIZE)
    assert crops.images.shape == (5, SIZE, SIZE, 3) and crops.images.dtype == crops.masks.dtype == np.uint8
    x, y = np.moveaxis(pixel_centres(SIZE), -1, 0)
    expected = (x * 1.2) ** 2 + (y * 1.2 * 12 / 8) ** 2 <= 1
    for image, mask in zip(crops.images, crops.masks, strict=True):
        assert np.abs(mask / 255.0 - expected).mean() < 0.03
        np.testing.assert_allclose(image[mask == 255].mean(0), SUBJECT, atol=8)
        np.testing.assert_allclose(image[mask == 0].mean(0), BACKGROUND, atol=8)


@pytest.mark.parametrize("readers", [2, 3])
def test_crops_that_several_read_are_those_that_one_reads(collection, readers):
    collection.pictures[3].image.write_text("no picture")
    parts = [load_crops(replace(collection, pictures=collection.pictures[reader::readers]), SIZE)
             for reader in range(readers)]
    whole, dealt = load_crops(collection, SIZE), dealt_in_turn(parts)
    for field in fields(whole):
        np.testing.assert_array_equal(getattr(whole, field.name), getattr(dealt, field.name))


def test_masks_keep_the_share_of_a_pixel_that_is_covered(tmp_path):
    mask = ellipse(300, 200, (180, 90), (600, 400))
    save(tmp_path / "images" / "a.png", painted(mask))
    save(tmp_path / "masks" / "a.png", mask * np.uint8(255))
    crop = load_crops(open_collection(tmp_path), SIZE).masks[0] / 255
    assert abs(crop.mean() - mask.sum() / (2 * 1.2 * 180) ** 2) < 0.002
    assert ((crop > 0.1) & (crop < 0.9)).sum() > 20


def test_keypoints_lie_on_what_they_mark(tmp_path):
    coco = coco_of(tmp_path)
    spot = coco.masks[0] & ellipse(25.5, 20.5, (2, 2))
    save(tmp_path / "images" / "0.png", np.where(spot[..., None], 255, painted(coco.masks[0])).astype(np.uint8))
    coco.content["annotations"][0]["keypoints"] = [0, 0, 0, 25.5, 20.5, 1]
    crops = load_crops(open_collection(coco.write()), 64)
    white = (crops.images[0] > 200).all(-1)
    np.testing.assert_allclose(crops.keypoints[0, 1], pixel_centres(64)[white].mean(0), atol=0.02)
    assert crops.seen[0].tolist() == [0, 1] and (crops.keypoints[0, 0] == 0).all()
    assert crops.keypoints.dtype == np.float32 and crops.seen.dtype == np.uint8


def test_beyond_the_picture_all_is_black_and_no_subject(tmp_path):
    mask = ellipse(4, 24, (14, 9))
    save(tmp_path / "images" / "a.png", painted(mask))
    save(tmp_path / "masks" / "a.png", mask * np.uint8(255))
    crops = load_crops(open_collection(tmp_path), SIZE)
    outside = np.arange(SIZE) < 2
    assert (crops.images[0][:, outside] == 0).all() and (crops.masks[0][:, outside] == 0).all()
    assert (crops.images[0].sum(-1) == 0).any(0).sum() < 6


def test_a_picture_is_cropped_like_a_clip_of_it(tmp_path):
    mask = ellipse(21, 19, (13, 7))
    for n in range(3):
        save(tmp_path / "images" / f"{n}.png", painted(mask))
        save(tmp_path / "masks" / f"{n}.png", mask * np.uint8(255))
    footage = load_footage(tmp_path / "images", tmp_path / "masks", crop_size=SIZE)
    crops = load_crops(open_collection(tmp_path), SIZE)
    np.testing.assert_array_equal(crops.images, footage.images)
    np.testing.assert_allclose(crops.masks / 255, footage.masks, atol=1e-6)


def test_what_decoding_finds_broken_is_left_out_and_told(collection):
    folder = collection.pictures[0].image.parent
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[:40])
    save(folder / "2.png", painted(ellipse(20, 20, size=(WIDTH + 1, HEIGHT))))
    pictures = list(collection.pictures)
    save(folder / "empty.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    pictures[3] = replace(pictures[3], mask=MaskFile(folder / "empty.png"))
    crops = load_crops(replace(collection, pictures=tuple(pictures)), SIZE)
    assert crops.kept.tolist() == [0, 4] and len(crops.images) == len(crops.masks) == len(crops.seen) == 2
    whole_collection = load_crops(replace(collection, pictures=(pictures[0], pictures[4])), SIZE)
    np.testing.assert_array_equal(crops.images, whole_collection.images)
    np.testing.assert_array_equal(crops.keypoints, whole_collection.keypoints)
    first, second, third = crops.problems
    assert "1.png: found no complete image" in first
    assert "2.png: found a mask of 64x48 pixels for an image of 65x48" in second
    assert "3.png: found a mask of 0 pixels" in third


def test_a_picture_that_only_decoding_finds_too_long_is_told(tmp_path):
    save(tmp_path / "images" / "a.png", painted(ellipse(30, 20)))
    save(tmp_path / "masks" / "a.png", ellipse(30, 20) * np.uint8(255))
    strip = np.zeros((8, 40_000), np.uint8)
    strip[2:6, 100:110] = 255
    save(tmp_path / "images" / "long.bmp", strip)
    save(tmp_path / "masks" / "long.bmp", strip)
    crops = load_crops(open_collection(tmp_path), SIZE)
    assert crops.kept.tolist() == [0] and "long.bmp: found a size of 40000x8" in crops.problems[0]


def test_where_nothing_can_be_used_that_is_bad_input(collection):
    for picture in collection.pictures:
        picture.image.write_bytes(b"")
    with pytest.raises(BadInput, match="cow: none of 5 pictures can be used, the first: .*0.png: found no complete"):
        load_crops(collection, SIZE)


def test_a_side_of_a_split_without_pictures_has_no_crops(collection):
    crops = load_crops(replace(collection, pictures=()), SIZE)
    assert crops.images.shape == (0, SIZE, SIZE, 3) and crops.keypoints.shape == (0, 2, 2)


def test_progress_is_told_and_may_end_it(collection):
    told = []
    load_crops(collection, SIZE, lambda done, total: told.append((done, total)))
    assert told == [(n, 5) for n in range(1, 6)]

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        load_crops(collection, SIZE, cancel)


def test_a_photograph_that_is_told_to_be_turned_stays_as_its_pixels_lie(tmp_path):
    mask = ellipse(30, 20)
    turned = b"\xff\xe1\x00\x22Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06" \
             b"\x00\x00\x00\x00\x00\x00"
    jpeg = cv2.imencode(".jpg", painted(mask)[..., ::-1])[1].tobytes()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg[:2] + turned + jpeg[2:])
    save(tmp_path / "masks" / "a.png", mask * np.uint8(255))
    crops = load_crops(open_collection(tmp_path), SIZE)
    np.testing.assert_allclose(crops.images[0][crops.masks[0] == 255].mean(0), SUBJECT, atol=12)
