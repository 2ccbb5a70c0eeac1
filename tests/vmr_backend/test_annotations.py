"""Annotations are COCO's: what pycocotools, its own reader, finds in them is what was written."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from vmr_backend.annotations import ABSENT, HIDDEN, VISIBLE, Annotation, Category, run_lengths, save_annotations

HORSE = Category("horse", ("nose", "left ear", "right ear", "Hoof.L", "Hoof.R"), ((0, 1), (0, 2)))
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Of pycocotools, with NumPy 2."""


def patches(seed, shape=(23, 31)):
    return np.random.default_rng(seed).random(shape) > 0.6


def written(folder, masks, keypoints=None):
    keypoints = np.zeros((len(HORSE.keypoints), 3)) if keypoints is None else keypoints
    save_annotations(folder, HORSE, [Annotation(f"images/{n}.png", mask, keypoints) for n, mask in enumerate(masks)],
                     "CC0")
    return COCO(str(folder / "annotations.json"))


@pytest.mark.parametrize("mask", [np.zeros((3, 5), bool), np.ones((3, 5), bool), np.eye(4, dtype=bool), patches(0)])
def test_run_lengths_are_those_that_coco_decodes_to_the_same_mask(mask):
    height, width = mask.shape
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": run_lengths(mask)}, height, width)
    assert encoded == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(coco_mask.decode(encoded), mask)


def test_masks_boxes_and_areas_are_read_back_by_coco(tmp_path):
    masks = [patches(seed) for seed in range(3)]
    masks[0][:, 20:] = masks[0][:4] = False
    coco = written(tmp_path, masks)
    for mask, entry in zip(masks, coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(["horse"]))), strict=True):
        encoded = coco.annToRLE(entry)
        np.testing.assert_array_equal(coco.annToMask(entry), mask)
        assert entry["area"] == coco_mask.area(encoded) and entry["bbox"] == coco_mask.toBbox(encoded).tolist()
        image = coco.loadImgs([entry["image_id"]])[0]
        assert (image["height"], image["width"]) == mask.shape


def test_keypoints_keep_their_place_and_state(tmp_path):
    keypoints = np.array([[3.25, 4.5, VISIBLE], [0, 0, ABSENT], [7, 8, HIDDEN], [1.128, 2, VISIBLE], [0, 0, ABSENT]])
    entry = written(tmp_path, [patches(1)], keypoints).anns[1]
    np.testing.assert_allclose(np.reshape(entry["keypoints"], (-1, 3)), keypoints, atol=0.005)
    assert entry["num_keypoints"] == 3
    category = json.loads((tmp_path / "annotations.json").read_text())["categories"][0]
    assert category["keypoints"] == list(HORSE.keypoints) and category["skeleton"] == [[1, 2], [1, 3]]


def test_an_empty_mask_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="images/0.png: found an empty mask"):
        written(tmp_path, [np.zeros((4, 4), bool)])
    assert not (tmp_path / "annotations.json").exists()


def test_keypoints_are_paired_by_left_and_right_in_their_names():
    assert HORSE.mirror == (0, 2, 1, 4, 3)
    assert Category("snake", ("head", "left over", "tail")).mirror == (0, 1, 2)
