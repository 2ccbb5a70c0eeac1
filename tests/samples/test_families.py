"""The families: pictures depend on seed and number only, and everything that is told of them is true."""

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from samples.families import FAMILIES, bird, quadruped
from samples.families.__main__ import main
from samples.families.render import animal_of, pictures
from vmr_backend.annotations import HIDDEN, VISIBLE

MODULES = {"bird": (bird, bird.BirdPose), "quadruped": (quadruped, quadruped.QuadrupedPose)}
COUNT, SIZE, SEED = 40, 96, 5


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def shown(family):
    return list(pictures(family, COUNT, SIZE, SEED))


@pytest.fixture(scope="module", params=FAMILIES)
def collection(request, tmp_path_factory):
    """The folder of a collection of six pictures, and its family's name."""
    folder = tmp_path_factory.mktemp(request.param) / "collection"
    assert main([str(folder), "--family", request.param, "--count", "6", "--size", "64", "--seed", "3"]) == 0
    return folder, request.param


def at_rest(name, seed):
    """An animal that holds still, and its family."""
    (module, pose), rng = MODULES[name], np.random.default_rng(seed)
    animal = module.built(module.drawn_body(rng), pose(), lambda name, part: np.full(part.vertices.shape, .5))
    return animal, module.FAMILY


def part_vertices(animal):
    """The vertices of each part in turn."""
    sizes = [rings * segments + 2 for rings, segments, _ in animal.layouts]
    return np.split(animal.vertices, np.cumsum(sizes)[:-1])


def test_a_picture_is_the_same_whatever_is_drawn_before_it(family, shown):
    again = next(pictures(family, 1, SIZE, SEED, first=21))
    assert np.array_equal(again.image, shown[21].image)
    assert np.array_equal(again.mask, shown[21].mask)
    assert np.array_equal(again.keypoints, shown[21].keypoints)


def test_another_seed_gives_another_picture(family, shown):
    assert not np.array_equal(next(pictures(family, 1, SIZE, SEED + 1)).image, shown[0].image)


def test_the_mesh_of_a_picture_can_be_had_again_and_covers_its_mask(family, shown):
    for number in range(0, COUNT, 5):
        animal, picture = animal_of(family, SEED, number), shown[number]
        assert np.array_equal(animal.vertices, picture.animal.vertices)
        drawn = np.zeros((8 * SIZE, 8 * SIZE), np.uint8)
        for corners in picture.view.pixels(animal.vertices)[animal.faces]:
            cv2.fillConvexPoly(drawn, np.round(corners * 8 - 0.5).astype(np.int32), 1)
        covered = drawn.reshape(SIZE, 8, SIZE, 8).mean((1, 3)) >= 0.5
        assert (covered & picture.mask).sum() / (covered | picture.mask).sum() > 0.93


def test_the_animal_is_wholly_inside_and_fills_the_picture(shown):
    for picture in shown:
        seen = picture.view.pixels(picture.animal.vertices)
        assert seen.min() > 0 and seen.max() < SIZE
        assert 0.549 < (seen.max(0) - seen.min(0)).max() / SIZE < 0.901


def test_keypoints_are_seen_on_the_animal(shown):
    for picture in shown:
        near = cv2.dilate(picture.mask.astype(np.uint8), np.ones((7, 7)))
        column, row = np.floor(picture.keypoints[:, :2]).astype(int).T
        assert near[row, column].all()
        assert set(picture.keypoints[:, 2]) <= {HIDDEN, VISIBLE}


def test_of_two_eyes_the_farther_is_hidden(family, shown):
    names = family.category.keypoints
    pair = [names.index("left_eye"), names.index("right_eye")]
    told = []
    for picture in shown:
        eyes = picture.animal.keypoints[pair]
        depth = eyes @ picture.view.rotation[2]
        if abs(depth[0] - depth[1]) > 0.8 * np.linalg.norm(eyes[0] - eyes[1]):
            told.append(picture.keypoints[pair[int(depth[1] > depth[0])], 2] == HIDDEN)
    assert len(told) > 8 and np.mean(told) > 0.9


def test_nearly_all_sides_of_an_animal_are_seen_and_its_flanks_most(shown):
    ahead = np.array([picture.view.rotation[2, :2] for picture in shown])
    flank = np.abs(ahead[:, 0]) > np.abs(ahead[:, 1])
    assert flank.mean() > 0.55 and (~flank).sum() > 2
    assert (ahead[:, 0] > 0.3).any() and (ahead[:, 0] < -0.3).any()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("seed", range(6))
def test_at_rest_left_mirrors_right_and_is_at_positive_x(name, seed):
    animal, family = at_rest(name, seed)
    assert np.allclose(animal.keypoints[list(family.category.mirror)], animal.keypoints * [-1, 1, 1], atol=1e-9)
    for position, keypoint in zip(animal.keypoints, family.category.keypoints, strict=True):
        side = keypoint.split("_")[0]
        assert np.sign(round(position[0], 9)) == {"left": 1, "right": -1}.get(side, 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_at_rest_the_animal_faces_ahead_stands_upright_and_is_about_one_long(name):
    for seed in range(10):
        animal, family = at_rest(name, seed)
        position = dict(zip(family.category.keypoints, animal.keypoints, strict=True))
        front, low = ("nose", "left_fore_paw") if name == "quadruped" else ("beak_tip", "left_foot")
        assert position[front][1] < position["tail_base"][1]
        assert position[low][2] < position["belly"][2]
        assert 0.55 < np.ptp(animal.vertices, 0).max() < 1.25


def test_every_part_is_closed_and_turned_outward(shown):
    for picture in shown[::8]:
        faces, first = picture.animal.faces, 0
        edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        forward, backward = ({tuple(edge) for edge in half} for half in (edges, edges[:, ::-1]))
        assert len(forward) == len(edges) and forward == backward
        for vertices in part_vertices(picture.animal):
            own = faces[(faces[:, 0] >= first) & (faces[:, 0] < first + len(vertices))] - first
            a, b, c = (vertices[own[:, k]] - vertices.mean(0) for k in range(3))
            assert np.einsum("ij,ij->", a, np.cross(b, c)) >= 0
            first += len(vertices)


def test_the_collection_opens_as_coco_with_masks_and_keypoints_of_the_pictures(collection):
    folder, name = collection
    coco = COCO(str(folder / "annotations.json"))
    shown = list(pictures(FAMILIES[name], 6, 64, 3))
    category = FAMILIES[name].category
    assert coco.loadCats(1)[0]["keypoints"] == list(category.keypoints)
    for picture, entry, image in zip(shown, coco.loadAnns(coco.getAnnIds()), coco.loadImgs(coco.getImgIds()),
                                     strict=True):
        assert np.array_equal(coco.annToMask(entry).astype(bool), picture.mask)
        assert np.allclose(np.reshape(entry["keypoints"], (-1, 3)), picture.keypoints, atol=0.006)
        read = cv2.imread(str(folder / image["file_name"])).astype(float)
        assert np.abs(read - picture.image).mean() < 8


def test_the_true_cameras_project_the_true_keypoints_to_the_annotated_ones(collection):
    folder, _ = collection
    truth = np.load(folder / "truth.npz")
    content = json.loads((folder / "annotations.json").read_text())
    annotated = np.array([entry["keypoints"] for entry in content["annotations"]]).reshape(6, -1, 3)[..., :2]
    in_camera = np.einsum("nij,nkj->nki", truth["rotation"], truth["keypoints"])[..., :2]
    assert np.allclose(truth["scale"][:, None, None] * in_camera + truth["shift"][:, None], annotated, atol=0.006)
    assert np.allclose(np.linalg.det(truth["rotation"]), 1)


def test_a_contact_sheet_shows_eight_by_six(tmp_path):
    assert main(["--family", "bird", "--sheet", str(tmp_path / "sheet.jpg"), "--size", "32"]) == 0
    assert cv2.imread(str(tmp_path / "sheet.jpg")).shape == (6 * 32, 8 * 32, 3)


@pytest.mark.parametrize("flag, value", [("--count", "0"), ("--size", "8"), ("--seed", "-1")])
def test_numbers_out_of_range_are_refused_in_one_line(tmp_path, capsys, flag, value):
    assert main([str(tmp_path / "out"), "--family", "bird", flag, value]) == 2
    assert capsys.readouterr().err.splitlines() == [f"{flag[2:]}: found {value}, needs "
                                                    f"{ {'--count': 1, '--size': 32, '--seed': 0}[flag]} or more"]


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file" / "out"), "--family", "bird", "--count", "1"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
