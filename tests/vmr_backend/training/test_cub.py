"""CUB-200-2011 as it is published."""

import numpy as np
import pytest
from tiny_collections import PARTS, cub_in, save

from vmr_backend.annotations import ABSENT, VISIBLE
from vmr_backend.job import BadInput
from vmr_backend.training.collection import open_collection


def rewrite(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def test_parts_become_keypoints_of_a_bird_and_left_and_right_are_paired(tmp_path):
    cub_in(tmp_path)
    found = open_collection(tmp_path)
    category = found.category
    assert (category.name, category.keypoints) == ("bird", PARTS)
    assert found.licence == "non-commercial research and education only"
    pairs = {(PARTS[a], PARTS[b]) for a, b in enumerate(category.mirror) if a < b}
    assert pairs == {("left eye", "right eye"), ("left leg", "right leg"), ("left wing", "right wing")}
    assert ("nape", "back") in {(PARTS[a], PARTS[b]) for a, b in category.skeleton}


def test_places_are_counted_from_the_first_pixel_s_centre(tmp_path):
    cub_in(tmp_path, told=8)
    keypoints = open_collection(tmp_path).pictures[0].keypoints
    assert keypoints[0].tolist() == [10.5, 19.5, VISIBLE], "11, 20 counted from 1"
    assert (keypoints[8:] == [0, 0, ABSENT]).all()


def test_a_mask_is_what_most_people_marked(tmp_path):
    masks = cub_in(tmp_path)
    for picture, mask in zip(open_collection(tmp_path).pictures, masks, strict=True):
        np.testing.assert_array_equal(picture.mask.read(), mask)


def test_the_published_split_is_kept(tmp_path):
    cub_in(tmp_path, count=5)
    for share in (0.1, 0.9):
        training, held_out = open_collection(tmp_path).split(share)
        assert [picture.image.stem for picture in training.pictures] == ["bird_1", "bird_3", "bird_5"]
        assert [picture.image.stem for picture in held_out.pictures] == ["bird_2", "bird_4"]


def test_birds_of_which_too_little_is_seen_are_left_out(tmp_path):
    cub_in(tmp_path)
    rewrite(tmp_path / "parts/part_locs.txt", lambda text: text.replace("2 6 16.0 20.0 1", "2 6 0 0 0").replace(
        "2 7 17.0 20.0 1", "2 7 0 0 0").replace("2 8 18.0 20.0 1", "2 8 0 0 0"))
    found = open_collection(tmp_path)
    assert [picture.image.stem for picture in found.pictures] == ["bird_1", "bird_3", "bird_4"]
    assert found.problems == ("001.Black_footed_Albatross/bird_2.jpg: found 5 visible keypoints, needs 6",)


def test_segmentations_are_found_beside_the_folder_where_their_archive_unpacks(tmp_path):
    cub_in(tmp_path / "CUB_200_2011")
    (tmp_path / "CUB_200_2011" / "segmentations").rename(tmp_path / "segmentations")
    assert len(open_collection(tmp_path / "CUB_200_2011").pictures) == 4
    (tmp_path / "segmentations").rename(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="segmentations: not found; .* second archive"):
        open_collection(tmp_path / "CUB_200_2011")


def test_broken_lines_and_files_are_left_out_and_told(tmp_path):
    cub_in(tmp_path, count=6)
    images = tmp_path / "images" / "001.Black_footed_Albatross"
    rewrite(tmp_path / "images.txt", lambda text: text.replace("1 001.Black_footed_Albatross/bird_1.jpg", "1 ../x.jpg"))
    (images / "bird_2.jpg").unlink()
    save(tmp_path / "segmentations" / "001.Black_footed_Albatross" / "bird_3.png", np.zeros((5, 5), np.uint8))
    rewrite(tmp_path / "train_test_split.txt", lambda text: text.replace("4 0\n", "4 maybe\n"))
    rewrite(tmp_path / "parts/part_locs.txt", lambda text: text.replace("5 1 11.0 20.0 1", "5 1 300 20.0 1"))
    found = open_collection(tmp_path)
    assert [picture.image.stem for picture in found.pictures] == ["bird_6"]
    for told in ("'../x.jpg': found a path that may leave", "bird_2.jpg: cannot be read", "bird_3.jpg: found an image",
                 "train_test_split.txt, line 4: found '4 maybe'", "bird_4.jpg: found no side of the split",
                 "bird_5.jpg: found back at 299.5, 19.5, outside"):
        assert any(told in problem for problem in found.problems), (told, found.problems)
    assert len(found.problems) == 6


def test_a_missing_list_and_another_category_are_said(tmp_path):
    cub_in(tmp_path)
    with pytest.raises(BadInput, match="shows the category bird; needs no 'horse'"):
        open_collection(tmp_path, "horse")
    (tmp_path / "train_test_split.txt").unlink()
    with pytest.raises(BadInput, match="train_test_split.txt: not found"):
        open_collection(tmp_path, "bird")
