"""Opening collections of any layout, and splitting them."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_collections import coco_of, cub_in, ellipse, painted, save

from vmr_backend.annotations import Category
from vmr_backend.job import BadInput
from vmr_backend.training.collection import open_collection
from vmr_backend.training.pictures import Collection, LabelledPicture, MaskFile, below


def collection_of(names):
    pictures = [LabelledPicture(path, MaskFile(path), np.zeros((0, 3)), name) for path, name in names]
    return Collection(Category("cow"), tuple(pictures), "CC0")


def test_each_layout_is_recognised(tmp_path):
    coco_of(tmp_path / "coco").write()
    coco_of(tmp_path / "published").write("annotations/instances.json")
    cub_in(tmp_path / "cub")
    save(tmp_path / "plain" / "cow.png", painted(ellipse(20, 20)))
    save(tmp_path / "plain" / "cow_mask.png", ellipse(20, 20) * np.uint8(255))
    found = {name: open_collection(tmp_path / name) for name in ("coco", "published", "cub", "plain")}
    assert {name: one.category.name for name, one in found.items()} == {
        "coco": "cow", "published": "cow", "cub": "bird", "plain": "plain"}
    assert [len(one.pictures) for one in found.values()] == [3, 3, 4, 1]
    assert not any(one.problems for one in found.values())
    assert len(open_collection(tmp_path / "coco" / "annotations.json").pictures) == 3


def test_what_is_no_collection_is_refused_in_a_line(tmp_path):
    with pytest.raises(BadInput, match="gone: no such file or folder; needs a COCO file, a folder"):
        open_collection(tmp_path / "gone")
    (tmp_path / "images").mkdir()
    with pytest.raises(BadInput, match="found no collection of pictures; needs a COCO file"):
        open_collection(tmp_path)


def test_a_collection_of_which_nothing_is_usable_says_why(tmp_path):
    coco = coco_of(tmp_path)
    for n in range(3):
        (tmp_path / "images" / f"{n}.png").unlink()
    coco.write()
    with pytest.raises(BadInput, match=r"no usable picture of cow \(3 were left out, the first: .*0.png: cannot be"):
        open_collection(tmp_path)


def test_a_summary_tells_what_is_in_it_and_what_was_left_out(tmp_path):
    coco = coco_of(tmp_path)
    assert open_collection(coco.write()).summary() == "cow: 3 pictures, 2 keypoints, licence: CC BY 4.0; CC0"
    coco.content["annotations"].append(coco.content["annotations"][0] | {"id": 5})
    for entry in coco.content["annotations"][1:3]:
        entry["keypoints"] = [1, 2]
    first, second = open_collection(coco.write()).summary().splitlines()
    assert first == "cow: 2 pictures of 1 images, 2 keypoints, licence: CC BY 4.0; CC0"
    assert second.startswith("left out: images/1.png, annotation 101: found [1, 2] as keypoints")
    assert second.endswith("(and 1 more)")


def test_a_split_depends_on_a_pictures_name_and_on_nothing_else(tmp_path):
    names = [(tmp_path / f"{n}.png", f"{n}.png") for n in range(400)]
    training, held_out = collection_of(names).split(0.25)
    assert 70 < len(held_out.pictures) < 130 and len(training.pictures) + len(held_out.pictures) == 400
    chosen = {picture.name for picture in held_out.pictures}
    moved = collection_of([(tmp_path / "elsewhere" / name, name) for _, name in reversed(names[::3])])
    assert {p.name for p in moved.split(0.25)[1].pictures} == chosen & {name for _, name in names[::3]}
    assert {p.name for p in collection_of(names).split(0.1)[1].pictures} < chosen


def test_subjects_of_one_image_stay_on_one_side(tmp_path):
    collection = collection_of([(tmp_path / f"{n // 4}.png", f"{n // 4}.png") for n in range(200)])
    sides = [{picture.name for picture in part.pictures} for part in collection.split(0.5)]
    assert all(sides) and not sides[0] & sides[1]


def test_halves_do_not_tell_the_whole_s_problems_again(tmp_path):
    collection = replace(collection_of([(tmp_path / "1.png", "1.png")]), problems=("2.png: found nothing",))
    assert [part.problems for part in collection.split()] == [(), ()]


@pytest.mark.parametrize("name", ["../secret.png", "images/../../secret.png", "/etc/secret.png", "..\\secret.png",
                                  "C:\\secret.png", "\\\\host\\secret.png", "", ".", "a\0b.png"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    with pytest.raises(BadInput, match="may leave"):
        below(tmp_path, name)


def test_names_below_the_folder_are_taken_from_either_system(tmp_path):
    assert below(tmp_path, "images\\a b.png") == below(tmp_path, "images/a b.png") == tmp_path / "images" / "a b.png"
