"""COCO's annotations: every way of writing a mask, against COCO's own tools; and each fault told in one line."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from tiny_collections import HEIGHT, WIDTH, coco_of, ellipse, painted, save

from vmr_backend.annotations import ABSENT, HIDDEN, VISIBLE, Annotation, Category, save_annotations
from vmr_backend.job import BadInput
from vmr_backend.training.collection import open_collection

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Of pycocotools, with NumPy 2."""


@pytest.fixture
def coco(tmp_path):
    return coco_of(tmp_path)


def masks_of(collection):
    return [picture.mask.read() for picture in collection.pictures]


def test_masks_are_read_from_uncompressed_run_lengths(coco):
    for found, mask in zip(masks_of(open_collection(coco.write())), coco.masks, strict=True):
        assert found.dtype == bool
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("seed", range(6))
def test_compressed_run_lengths_are_read_as_coco_reads_them(coco, seed):
    random = np.random.default_rng(seed)
    mask = np.repeat(random.random((HEIGHT, WIDTH // 4)) > random.random(), 4, 1)
    mask[5, 7], mask[0, 0] = True, seed % 2
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    coco.content["annotations"][0]["segmentation"] = encoded | {"counts": encoded["counts"].decode()}
    np.testing.assert_array_equal(masks_of(open_collection(coco.write()))[0], mask)


def test_polygons_are_filled_and_several_of_them_joined(coco):
    first, second = [8.0, 8, 24, 8, 24, 20, 8, 20], [40, 30, 60, 30, 60, 44, 40, 44]
    coco.content["annotations"][0]["segmentation"] = [first, second]
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[8:20, 8:24] = mask[30:44, 40:60] = True
    np.testing.assert_array_equal(masks_of(open_collection(coco.write()))[0], mask)


def test_what_the_project_writes_is_read_back(tmp_path):
    horse = Category("horse", ("nose", "left ear", "right ear"), ((0, 1),))
    keypoints = np.array([[20.25, 21.5, VISIBLE], [0, 0, ABSENT], [30, 7, HIDDEN]])
    save(tmp_path / "images" / "a.png", painted(ellipse(20, 20)))
    save_annotations(tmp_path, horse, [Annotation("images/a.png", ellipse(20, 20), keypoints)], "CC0")
    found = open_collection(tmp_path)
    assert found.category == horse and found.licence == "CC0" and not found.problems
    assert found.pictures[0].image == tmp_path / "images" / "a.png" and found.pictures[0].name == "images/a.png"
    np.testing.assert_array_equal(found.pictures[0].keypoints, keypoints)
    np.testing.assert_array_equal(found.pictures[0].mask.read(), ellipse(20, 20))


def test_crowds_and_other_categories_are_passed_over_and_subjects_of_one_image_are_several_pictures(coco):
    first = coco.content["annotations"][0]
    coco.content["categories"].append({"id": 8, "name": "sheep"})
    without = {"category_id": 8, "keypoints": []}
    coco.content["annotations"] += [first | {"id": 1, "iscrowd": 1}, first | {"id": 2} | without,
                                    first | {"id": 3}]
    found = open_collection(coco.write(), "cow")
    assert [picture.name for picture in found.pictures] == ["images/0.png", "images/1.png", "images/2.png",
                                                            "images/0.png"]
    assert len(open_collection(coco.write(), "sheep").pictures) == 1 and not found.problems


def test_one_of_several_categories_must_be_named(coco):
    coco.content["categories"] += [{"id": 8, "name": "sheep"}, {"id": 9, "name": "goat"}]
    assert open_collection(coco.write()).category.name == "cow", "the only one that is annotated"
    coco.content["annotations"].append(coco.content["annotations"][0] | {"id": 1, "category_id": 8})
    with pytest.raises(BadInput, match="found several categories among: cow, sheep; needs the name of one"):
        open_collection(coco.write())
    with pytest.raises(BadInput, match="found no one category 'hen' among: cow, sheep, goat"):
        open_collection(coco.write(), "hen")


def test_without_keypoints_none_are_told(coco):
    del coco.content["annotations"][0]["keypoints"]
    assert (open_collection(coco.write()).pictures[0].keypoints == 0).all()
    for entry in coco.content["annotations"]:
        entry.pop("keypoints", None)
    coco.content["categories"][0] = {"id": 7, "name": "cow"}
    assert open_collection(coco.write()).pictures[0].keypoints.shape == (0, 3)


def test_images_are_found_where_coco_s_archives_put_them(tmp_path):
    coco = coco_of(tmp_path, images="val2017")
    for image in coco.content["images"]:
        image["file_name"] = image["file_name"].removeprefix("images/")
    coco.write("annotations/instances_val2017.json")
    assert len(open_collection(tmp_path).pictures) == 3
    coco.write("annotations/person_keypoints_val2017.json")
    with pytest.raises(BadInput, match="several files: instances_val2017.json, person_keypoints_val2017.json; needs"):
        open_collection(tmp_path)
    assert len(open_collection(tmp_path / "annotations" / "instances_val2017.json").pictures) == 3


def test_a_keypoint_on_the_border_is_brought_inside(coco):
    coco.content["annotations"][0]["keypoints"] = [WIDTH + 0.5, -0.5, 2, 0, 0, 0]
    assert open_collection(coco.write()).pictures[0].keypoints[0].tolist() == [WIDTH, 0, VISIBLE]


BROKEN_ANNOTATIONS = {
    "no object": (lambda entry: "cow", "annotation number 1: found \"cow\", needs an object"),
    "no image": (lambda entry: entry | {"image_id": 5}, "annotation 100: found no image 5"),
    "an image that is a list": (lambda entry: entry | {"image_id": [10]}, "annotation 100: found no image"),
    "no mask": (lambda entry: entry | {"segmentation": None}, "found no mask"),
    "no polygon": (lambda entry: entry | {"segmentation": []}, "found an empty mask"),
    "two corners": (lambda entry: entry | {"segmentation": [[1, 2, 3, 4]]}, "found the polygon [1, 2, 3, 4]"),
    "half a corner": (lambda entry: entry | {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "found the polygon"),
    "corners in words": (lambda entry: entry | {"segmentation": [["1"] * 6]}, "found the polygon"),
    "a corner nowhere": (lambda entry: entry | {"segmentation": [[0, 0, 1, 1, 0, float("nan")]]}, "the polygon"),
    "a corner far off": (lambda entry: entry | {"segmentation": [[0, 0, 1e9, 0, 5, 5]]}, "reaches to 1e+09 pixels"),
    "a corner beyond numbers": (lambda entry: entry | {"segmentation": [[0, 0, 10**400, 0, 5, 5]]}, "the polygon"),
    "runs of another size": (lambda entry: entry | {"segmentation": {"size": [4, 4], "counts": [8, 8]}},
                             "found a mask of [4, 4], needs [48, 64]"),
    "too few pixels": (lambda entry: with_counts(entry, [100, 20]), "damaged run lengths"),
    "too many pixels": (lambda entry: with_counts(entry, [0, 2**31 - 1]), "damaged run lengths"),
    "runs backwards": (lambda entry: with_counts(entry, [HEIGHT * WIDTH + 5, -5]), "damaged run lengths"),
    "runs in words": (lambda entry: with_counts(entry, ["1"]), "damaged run lengths"),
    "text of other letters": (lambda entry: with_counts(entry, "hello é"), "damaged run lengths"),
    "text that breaks off": (lambda entry: with_counts(entry, "ooo"), "damaged run lengths"),
    "text with a huge number": (lambda entry: with_counts(entry, "o" * 30 + "1"), "damaged run lengths"),
    "text without end": (lambda entry: with_counts(entry, "ooooo?" * 3000), "damaged run lengths"),
    "nothing marked": (lambda entry: with_counts(entry, [HEIGHT * WIDTH]), "found an empty mask"),
    "too few keypoints": (lambda entry: entry | {"keypoints": [1, 2, 2]}, "found [1, 2, 2] as keypoints, needs x, y"),
    "keypoints in words": (lambda entry: entry | {"keypoints": ["a"] * 6}, "as keypoints"),
    "a fourth state": (lambda entry: entry | {"keypoints": [1, 2, 3, 0, 0, 0]}, "found [3, 0] as states"),
    "a keypoint outside": (lambda entry: entry | {"keypoints": [70, 2, 2, 0, 0, 0]},
                           "images/0.png, annotation 100: found left ear at 70, 2, outside the picture of 64x48"),
}


def with_counts(entry, counts):
    return entry | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}


@pytest.mark.parametrize("fault", BROKEN_ANNOTATIONS)
def test_a_broken_annotation_is_left_out_and_told(coco, fault):
    broken, told = BROKEN_ANNOTATIONS[fault]
    coco.content["annotations"][0] = broken(coco.content["annotations"][0])
    found = open_collection(coco.write(), "cow")
    assert [picture.name for picture in found.pictures] == ["images/1.png", "images/2.png"]
    assert len(found.problems) == 1 and told in found.problems[0] and "\n" not in found.problems[0]


BROKEN_IMAGES = {
    "missing": ({"file_name": "images/9.png"}, "9.png: cannot be read"),
    "outside": ({"file_name": "../0.png"}, "may leave"),
    "no name": ({"file_name": 3}, "image 10: found 3 as file_name"),
    "no size": ({"width": None}, "found a size of [null, 48]"),
    "another size": ({"width": WIDTH + 1}, "found an image of 64x48 pixels, its annotations are for 65x48"),
    "a huge size": ({"width": 10**9}, "needs sides of 1 to"),
}


@pytest.mark.parametrize("fault", BROKEN_IMAGES)
def test_a_broken_image_is_left_out_and_told(coco, fault):
    broken, told = BROKEN_IMAGES[fault]
    coco.content["images"][0] |= broken
    found = open_collection(coco.write())
    assert len(found.pictures) == 2 and len(found.problems) == 1 and told in found.problems[0]


@pytest.mark.parametrize("content, told", [
    ("{", "cannot be read as JSON"), ("[" * 100_000, "cannot be read as JSON"), ("\xff", "cannot be read as JSON"),
    ("[]", "found no COCO annotations"), ('{"images": {}, "annotations": [], "categories": []}', "found no COCO"),
    ('{"images": [], "annotations": [], "categories": []}', "among: none"),
    ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cow", "keypoints": 3}]}', "usable keypoints"),
    ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cow", "skeleton": [[1, 2]]}]}', "skeleton"),
    ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cow"}]}', "it holds none"),
])
def test_a_file_that_is_not_coco_s_is_refused_in_one_line(tmp_path, content, told):
    (tmp_path / "annotations.json").write_text(content, encoding="latin-1")
    with pytest.raises(BadInput, match=told) as caught:
        open_collection(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_licences_that_is_said(coco):
    for licences in (None, "CC0", [], [3, {"name": 4}]):
        coco.content["licenses"] = licences
        assert open_collection(coco.write()).licence == "not stated"
    assert json.loads((coco.folder / "annotations.json").read_text())
