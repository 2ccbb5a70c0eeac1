"""Plain folders of images and masks."""

import numpy as np
import pytest
from tiny_collections import ellipse, painted, save

from vmr_backend.job import BadInput
from vmr_backend.training.collection import open_collection

MASK = ellipse(30, 22)


@pytest.fixture
def folder(tmp_path):
    """Three hens, one of them in a folder of her own."""
    for name in ("a", "b", "young/a"):
        save(tmp_path / "hens" / "images" / f"{name}.jpg", painted(MASK))
        save(tmp_path / "hens" / "masks" / f"{name}.png", MASK * np.uint8(255))
    return tmp_path / "hens"


def test_images_and_masks_are_paired_by_name(folder):
    found = open_collection(folder)
    assert (found.category.name, found.licence, found.problems) == ("hens", "not stated", ())
    assert [picture.name for picture in found.pictures] == ["images/a.jpg", "images/b.jpg", "images/young/a.jpg"]
    assert all((picture.mask.read() == MASK).all() for picture in found.pictures)
    assert found.pictures[0].keypoints.shape == (0, 3)
    assert open_collection(folder, "hen").category.name == "hen"


def test_masks_may_lie_beside_their_images(tmp_path):
    save(tmp_path / "one.jpg", painted(MASK))
    save(tmp_path / "one_mask.png", MASK * np.uint8(255))
    save(tmp_path / "two.jpg", painted(MASK))
    found = open_collection(tmp_path)
    assert [picture.name for picture in found.pictures] == ["one.jpg"]
    assert found.problems == (f"{tmp_path / 'two.jpg'}: found an image without a mask, needs both",)


@pytest.mark.parametrize("image", [
    MASK * np.uint8(255), MASK * np.uint8(1), np.dstack([MASK * np.uint8(255)] * 3),
    np.dstack([np.full((*MASK.shape, 3), 90, np.uint8), MASK * np.uint8(255)]),
], ids=["white", "ones", "colour", "alpha"])
def test_masks_are_white_on_black_or_ones_or_alpha(folder, image):
    save(folder / "masks" / "a.png", image)
    np.testing.assert_array_equal(open_collection(folder).pictures[0].mask.read(), MASK)


def test_what_does_not_fit_together_is_left_out_and_told(folder):
    save(folder / "masks" / "a.png", np.zeros((5, 6), np.uint8))
    (folder / "images" / "b.jpg").write_bytes(b"\xff\xd8 no image")
    save(folder / "images" / "c.jpg", painted(MASK))
    save(folder / "masks" / "d.png", MASK * np.uint8(255))
    save(folder / "masks" / "young" / "a.bmp", MASK * np.uint8(255))
    found = open_collection(folder)
    assert [picture.name for picture in found.pictures] == ["images/young/a.jpg"]
    for told in ("a.png: found a mask of 6x5 pixels for an image of 64x48", "b.jpg: found no complete image",
                 "c.jpg: found an image without a mask", "d.png: found a mask without an image",
                 "a.png: found a second file beside a.bmp"):
        assert any(told in problem for problem in found.problems), told
    assert len(found.problems) == 5


def test_nothing_in_pairs_is_refused(tmp_path):
    save(tmp_path / "images" / "a.png", painted(MASK))
    save(tmp_path / "masks" / "b.png", MASK * np.uint8(255))
    with pytest.raises(BadInput, match="found no usable picture .*2 were left out"):
        open_collection(tmp_path)
