"""Reconstructions: what is written comes back, and what is no reconstruction is refused in one line."""

import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest

from vmr_backend.job import BadInput
from vmr_backend.reconstruction import (
    BONE_ARRAYS,
    BONE_EXTRAS,
    FILE_NAME,
    KEYPOINT_ARRAYS,
    SNAPSHOT_NAME,
    Reconstruction,
)

FRAMES, VERTICES, FACES, BONES, KEYPOINTS = 3, 6, 8, 2, 3


def octahedron(**values) -> Reconstruction:
    """A small valid result with bones and keypoints, some arrays replaced."""
    rest = np.float32([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) / 2
    faces = [[a, b, c] if s > 0 else [b, a, c] for a, x in ((0, 1), (1, -1)) for b, y in ((2, 1), (3, -1))
             for c, z in ((4, 1), (5, -1)) for s in [x * y * z]]
    whole = Reconstruction(
        frames=np.int32([4, 5, 9]), vertices=np.repeat(rest[None], FRAMES, 0), rest_vertices=rest,
        faces=np.int32(faces), uv=np.full((FACES, 3, 2), 0.5, np.float32),
        camera_rotation=np.tile(np.eye(3, dtype=np.float32), (FRAMES, 1, 1)),
        camera_translation=np.tile(np.float32([0, 0, 4]), (FRAMES, 1)),
        intrinsics=np.tile(np.float32([200, 100, 30, 20]), (FRAMES, 1)), image_size=np.int32([60, 40]),
        bone_parents=np.int32([-1, 0]), bone_rest=np.tile(np.eye(4, dtype=np.float32), (BONES, 1, 1)),
        bone_pose=np.tile(np.eye(4, dtype=np.float32), (FRAMES, BONES, 1, 1)),
        skin_weights=np.full((VERTICES, BONES), 0.5, np.float32), bone_names=np.array(["spine", "hüfte"]),
        bone_lengths=np.float32([0.2, 0.3]), coverage=np.linspace(0, 1, VERTICES, dtype=np.float32),
        keypoints=np.zeros((FRAMES, KEYPOINTS, 2), np.float32), keypoint_names=np.array(["snout", "Pfote é", "tail"]),
        keypoint_weights=np.float32([[1, 0, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0, 0], [0, 0, 0, 0.25, 0.5, 0.25]]))
    return replace(whole, **values)


def changed(name, place, value) -> Reconstruction:
    """The small result with one value of one array changed."""
    array = getattr(octahedron(), name).copy()
    array[place] = value
    return octahedron(**{name: array})


def arrays_of(result) -> dict[str, np.ndarray]:
    return {f.name: getattr(result, f.name) for f in fields(result) if getattr(result, f.name) is not None}


def refusal(call) -> str:
    with pytest.raises(BadInput) as error:
        call()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


WITHOUT_BONES = dict.fromkeys((*BONE_ARRAYS, *BONE_EXTRAS, "coverage", "keypoints", *KEYPOINT_ARRAYS))


@pytest.mark.parametrize("result", [octahedron(), octahedron(**WITHOUT_BONES)], ids=["with bones", "without"])
def test_what_is_saved_comes_back(tmp_path, result):
    result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    found = Reconstruction.load(tmp_path)
    for f in fields(result):
        expected, loaded = getattr(result, f.name), getattr(found, f.name)
        assert (loaded is None) == (expected is None)
        assert expected is None or (np.array_equal(loaded, expected) and loaded.dtype == expected.dtype)


def test_a_snapshot_stands_beside_the_result(tmp_path):
    octahedron().save(tmp_path)
    octahedron(frames=np.int32([4, 5, 6])).save(tmp_path, SNAPSHOT_NAME)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([FILE_NAME, SNAPSHOT_NAME])
    assert np.array_equal(Reconstruction.load(tmp_path).frames, [4, 5, 9])
    assert np.array_equal(Reconstruction.load(tmp_path, SNAPSHOT_NAME).frames, [4, 5, 6])
    (tmp_path / SNAPSHOT_NAME).write_bytes(b"PK")
    assert refusal(lambda: Reconstruction.load(tmp_path, SNAPSHOT_NAME)).startswith(f"{tmp_path / SNAPSHOT_NAME}: ")


def test_keypoints_may_be_without_names_and_names_without_keypoints():
    octahedron(**dict.fromkeys(KEYPOINT_ARRAYS)).check("here")
    octahedron(keypoints=None).check("here")
    none = {"keypoint_names": np.array([], "<U1"), "keypoint_weights": np.zeros((0, VERTICES), np.float32)}
    octahedron(keypoints=np.zeros((FRAMES, 0, 2), np.float32), **none).check("here")


def test_what_the_format_does_not_know_is_passed_over(tmp_path):
    np.savez(tmp_path / FILE_NAME, novelty=np.arange(3), **arrays_of(octahedron()))
    assert np.array_equal(Reconstruction.load(tmp_path).frames, [4, 5, 9])


def test_a_point_is_seen_where_the_pinhole_camera_puts_it():
    turn = np.float32([[0, 1, 0], [0, 0, -1], [-1, 0, 0]])
    result = octahedron(camera_rotation=np.tile(turn, (FRAMES, 1, 1)))
    assert np.allclose(result.in_camera()[1, 0], [0, 0, 3.5])
    assert np.allclose(result.in_camera()[1, 2], [0.5, 0, 4])
    right, up = 200 * 0.5 / 4, 100 * 0.5 / 4
    assert np.allclose(result.projected()[1, [0, 2, 4]], [[30, 20], [30 + right, 20], [30, 20 - up]])


@pytest.mark.parametrize("name", [f.name for f in fields(Reconstruction)])
@pytest.mark.parametrize("change", ["a row less", "another type", "no rows at all"])
def test_an_array_of_another_shape_or_type_is_refused_by_name(name, change):
    array = getattr(octahedron(), name)
    other = np.arange(len(array)) / 2 if array.dtype.kind == "U" else array.astype(np.float64)
    array = {"a row less": array[:-1], "another type": other, "no rows at all": np.array(1)}[change]
    line = refusal(lambda: octahedron(**{name: array}).check("here"))
    assert line.startswith("here: ")
    if change == "another type":
        assert f"{name} is float64" in line


@pytest.mark.parametrize("name", [f.name for f in fields(Reconstruction)
                                  if getattr(octahedron(), f.name).dtype == np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_name(name, value):
    line = refusal(lambda: changed(name, 0, value).check("here"))
    assert line == f"here: {name} holds values that are not finite"


EMPTY = {name: getattr(octahedron(), name)[:0] for name in
         ("frames", "vertices", "camera_rotation", "camera_translation", "intrinsics", "bone_pose", "keypoints")}
BEYOND = np.float32([[1.5, -0.5]] * VERTICES)
LONG, NO_TEXT = np.array(["a", 32 * "é"]), np.uint32([0x110000, 65]).view("<U1")
STRETCH = np.diag(np.float32([2, 0.5, 1]))


@pytest.mark.parametrize(("result", "words"), [
    (octahedron(**EMPTY), "0 frames, 8 faces over 6 vertices do not make a mesh"),
    (octahedron(faces=np.zeros((0, 3), np.int32), uv=np.zeros((0, 3, 2), np.float32)), "3 frames, 0 faces"),
    (changed("faces", (2, 1), VERTICES), "do not make a mesh"), (changed("faces", (2, 1), -1), "do not make a mesh"),
    (changed("frames", 1, 4), "frames needs ascending numbers"), (changed("frames", 1, 12), "frames needs ascending"),
    (changed("camera_rotation", 1, 2 * np.eye(3)), "matrices that are no rotations"),
    (changed("camera_rotation", 1, -np.eye(3)), "matrices that are no rotations"),
    (changed("camera_rotation", 1, STRETCH), "matrices that are no rotations"),
    (changed("image_size", 1, 0), "image_size and focal"), (changed("intrinsics", (1, 0), -200), "focal lengths"),
    (changed("skin_weights", (3, 0), 0.6), "rows that sum to 1"), (octahedron(skin_weights=BEYOND), "rows that sum"),
    (changed("bone_parents", 1, 2), "bone_parents"), (changed("bone_parents", 0, 1), "puts bone 0 below itself"),
    (changed("bone_parents", 1, 1), "puts bone 1 below itself"), (changed("bone_rest", (0, 0, 0), 2), "not rigid"),
    (changed("bone_pose", (2, 1, 3, 0), 1), "bone_pose holds matrices that are not rigid"),
    (changed("bone_lengths", 1, 0), "bone_lengths need to be above 0"), (changed("bone_names", 1, "spine"), "another"),
    (changed("bone_names", 0, ""), "bone_names needs another name"), (octahedron(bone_names=LONG), "of 1 to 63 bytes"),
    (octahedron(bone_names=NO_TEXT), "bone_names"), (octahedron(**dict.fromkeys(BONE_ARRAYS)), "without bones"),
    (changed("coverage", 2, 1.1), "shares of the frames"), (changed("coverage", 2, -0.1), "shares of the frames"),
    (changed("bone_parents", 0, -2), "bone_parents"),
    (changed("keypoint_weights", (1, 1), 0.6), "keypoint_weights need rows of shares that sum to 1"),
    (octahedron(keypoint_weights=np.float32([[1.5, -0.5, 0, 0, 0, 0]] * KEYPOINTS)), "rows of shares that sum to 1"),
    (changed("keypoint_names", 1, "snout"), "keypoint_names needs another name for each keypoint"),
    (changed("keypoint_names", 0, ""), "keypoint_names needs another name"),
    (octahedron(keypoint_names=np.array(["a", "b", 32 * "é"])), "of 1 to 63 bytes"),
    (octahedron(keypoints=np.zeros((FRAMES, 7, 2), np.float32)), "(3, 7, 2), needs float32 (3, 3, 2)"),
    (octahedron(keypoint_names=None), "holds keypoint_weights alone; needs keypoint_names and keypoint_weights"),
    (octahedron(keypoint_weights=None), "holds keypoint_names alone; needs keypoint_names and keypoint_weights"),
    *((octahedron(**{name: None}), f"some of {', '.join(BONE_ARRAYS)}; needs all or none") for name in BONE_ARRAYS),
])
def test_what_contradicts_itself_is_refused_in_words(tmp_path, result, words):
    assert words in refusal(lambda: result.check("here"))
    with pytest.raises(BadInput):
        result.save(tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_bones_may_stand_in_any_order_and_have_several_roots():
    def above(parents):
        bones = len(parents)
        return octahedron(bone_parents=np.int32(parents), skin_weights=np.eye(bones, dtype=np.float32)[[0] * VERTICES],
                          bone_rest=np.tile(np.eye(4, dtype=np.float32), (bones, 1, 1)),
                          bone_pose=np.tile(np.eye(4, dtype=np.float32), (FRAMES, bones, 1, 1)),
                          **dict.fromkeys(BONE_EXTRAS))

    for parents in ([-1], [1, 2, -1], [-1, 0, -1, 2], [3, 0, 1, -1]):
        above(parents).check("here")
    assert "below itself" in refusal(lambda: above([1, 2, 0, -1]).check("here"))


def test_at_most_eight_bones_hold_a_vertex():
    def held_by(count):
        bones = 10
        weights = np.zeros((VERTICES, bones), np.float32)
        weights[:, :count] = 1 / count
        return octahedron(skin_weights=weights, bone_parents=np.full(bones, -1, np.int32),
                          bone_rest=np.tile(np.eye(4, dtype=np.float32), (bones, 1, 1)),
                          bone_pose=np.tile(np.eye(4, dtype=np.float32), (FRAMES, bones, 1, 1)),
                          **dict.fromkeys(BONE_EXTRAS))

    held_by(8).check("here")
    assert "at most 8 bones" in refusal(lambda: held_by(9).check("here"))


@pytest.mark.parametrize("name", [f.name for f in fields(Reconstruction) if f.default is not None])
def test_a_missing_array_is_told_by_name(tmp_path, name):
    arrays = arrays_of(octahedron())
    del arrays[name]
    np.savez(tmp_path / FILE_NAME, **arrays)
    assert refusal(lambda: Reconstruction.load(tmp_path)) == \
        f"{tmp_path / FILE_NAME}: lacks {name}; the file is no whole result"


def test_a_folder_without_a_result_is_told(tmp_path):
    line = refusal(lambda: Reconstruction.load(tmp_path))
    assert line == f"{tmp_path / FILE_NAME}: not found; a result folder holds one"
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refusal(lambda: Reconstruction.load(tmp_path / "file"))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00", bytes(1000)])
def test_a_file_that_is_no_archive_is_told(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    assert refusal(lambda: Reconstruction.load(tmp_path)).startswith(f"{tmp_path / FILE_NAME}: cannot be read")


def test_a_single_array_in_place_of_an_archive_is_told(tmp_path):
    with open(tmp_path / FILE_NAME, "wb") as file:
        np.save(file, np.zeros(5))
    assert "cannot be read" in refusal(lambda: Reconstruction.load(tmp_path))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_truncated_file_is_told(tmp_path, share):
    octahedron().save(tmp_path)
    whole = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(whole[:int(share * len(whole))])
    assert "cut short" in refusal(lambda: Reconstruction.load(tmp_path))


def test_a_damaged_file_is_told_wherever_the_damage_is(tmp_path):
    octahedron().save(tmp_path)
    whole = np.frombuffer((tmp_path / FILE_NAME).read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = whole.copy()
        damaged[random.integers(len(whole), size=4)] ^= random.integers(1, 256, 4, dtype=np.uint8)
        (tmp_path / FILE_NAME).write_bytes(damaged.tobytes())
        try:
            Reconstruction.load(tmp_path)
        except BadInput as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert refused > 200, "times and names beside the arrays may change without harm"


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path / "exploded").touch, ()

    arrays = arrays_of(octahedron()) | {"frames": np.array([Bomb()] * FRAMES, dtype=object)}
    np.savez(tmp_path / FILE_NAME, **arrays)
    assert "cannot be read" in refusal(lambda: Reconstruction.load(tmp_path))
    assert not (tmp_path / "exploded").exists()


def test_an_entry_that_is_no_array_is_told(tmp_path):
    octahedron().save(tmp_path)
    arrays = arrays_of(octahedron())
    del arrays["vertices"]
    np.savez(tmp_path / FILE_NAME, **arrays)
    with zipfile.ZipFile(tmp_path / FILE_NAME, "a") as archive:
        archive.writestr("vertices.npy", b"no array")
    assert "vertices" in refusal(lambda: Reconstruction.load(tmp_path))
