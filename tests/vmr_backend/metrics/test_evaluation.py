"""The evaluate command: figures of a result with a known answer, equal to independent ones; bad files."""

import json
from dataclasses import replace

import cv2
import numpy as np
import oracle
import pytest

from vmr_backend.cli import main
from vmr_backend.job import JobRequest
from vmr_backend.metrics import shape
from vmr_backend.metrics.raster import project, visible_faces


@pytest.fixture(scope="module")
def clip(egg, tmp_path_factory):
    """A folder with masks, meshes and joints of the egg's clip: joints.json, gt.npz, masks/."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "masks").mkdir()
    for number, mask in enumerate(egg.masks):
        cv2.imwrite(str(folder / "masks" / f"{number:05d}.png"), mask * np.uint8(255))
    result = egg.result
    cameras = np.tile(np.eye(4), (12, 1, 1))
    cameras[:, :3, :3] = result.camera_rotation
    # The truth stands elsewhere in its world and is larger than the result.
    np.savez(folder / "gt.npz", vertices=3 * result.vertices + np.float32([5, 0, 1]), faces=result.faces,
             world_to_camera=cameras)
    (folder / "joints.json").write_text(json.dumps(joints(egg)))
    return folder


def joints(egg, frames=(0, 1, 2, 4), size=(100, 120), **more):
    """Some vertices as annotations of a few frames in BADJA's format."""
    notes = []
    for number in frames:
        seen = np.isin(np.arange(0, 640, 16), egg.result.faces[np.unique(visible_faces(egg.result, number)[0])[1:]])
        points = project(egg.result, number)[0][:640:16, ::-1] * [size[0] / 100, size[1] / 120]
        notes.append({"image_path": f"clip/{number:05d}.jpg", "joints": points.tolist(),
                      "visibility": seen.tolist()} | more)
    return notes


def bent(egg):
    """The egg's result after a fit that was not quite right: bumpy, in another way in each frame."""
    bumps = 0.04 * np.sin(7 * egg.result.vertices[..., [1, 2, 0]] + np.arange(12)[:, None, None])
    return replace(egg.result, vertices=(egg.result.vertices + bumps).astype(np.float32))


def evaluated(capsys, folder, clip, *more):
    assert main(["evaluate", str(folder), "--masks", str(clip / "masks"), *map(str, more)]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_perfect_result_scores_perfectly(egg, clip, tmp_path, capsys):
    egg.result.save(tmp_path)
    (tmp_path / "joints.json").write_text(json.dumps(joints(egg, image_size=[100, 120])))
    found = evaluated(capsys, tmp_path, clip, "--gt", clip / "gt.npz", "--keypoints", tmp_path / "joints.json")
    assert found["J"] == found["F"] == found["J_min"] == 1 and found["scored_frames"] == 12
    assert found["pck_t"] > 0.98 and found["pck_pairs"] > 60
    assert found["chamfer"] < 0.01 and found["pose_chamfer"] < 0.01 and found["track"] < 0.01


def test_a_turn_that_is_wrong_counts_in_pose_alone(egg, clip, tmp_path, capsys):
    """The egg is filmed as if it stood still: each frame's shape is right, but not the way the mesh turns."""
    still = np.repeat(egg.result.camera_rotation[:1], 12, 0)
    turns = still.transpose(0, 2, 1) @ egg.result.camera_rotation
    replace(egg.result, vertices=np.einsum("tvc,tdc->tvd", egg.result.vertices, turns),
            camera_rotation=still).save(tmp_path)
    found = evaluated(capsys, tmp_path, clip, "--gt", clip / "gt.npz")
    assert found["J"] > 0.99 and found["chamfer"] < 0.01 and found["track"] < 0.01
    assert found["pose_chamfer"] > 0.02


def test_vertices_that_swim_over_the_surface_count_in_track_alone(egg, clip, tmp_path, capsys):
    """The egg is round about y: a mesh that spins about y as the camera goes on has the same shape in each frame."""
    angles = 0.35 * np.arange(12)
    vertices = egg.result.vertices / np.float32([0.35, 1, 0.4])
    spun = np.stack([vertices[..., 0] * np.cos(angles)[:, None] + vertices[..., 2] * np.sin(angles)[:, None],
                     vertices[..., 1],
                     vertices[..., 2] * np.cos(angles)[:, None] - vertices[..., 0] * np.sin(angles)[:, None]], -1)
    replace(egg.result, vertices=(spun * [0.35, 1, 0.4]).astype(np.float32)).save(tmp_path)
    found = evaluated(capsys, tmp_path, clip, "--gt", clip / "gt.npz")
    assert found["chamfer"] < 0.01 and found["pose_chamfer"] < 0.01 and found["track"] > 0.1


@pytest.mark.parametrize("every", (4, 20))
def test_all_figures_equal_the_independent_ones(egg, clip, tmp_path, capsys, monkeypatch, every):
    monkeypatch.setattr(shape, "SAMPLES", 600)
    monkeypatch.setattr(shape, "TRACK_SAMPLES", 400)
    monkeypatch.setattr(shape, "FOLLOWED", len(egg.result.rest_vertices))
    result = bent(egg)
    result.save(tmp_path)
    notes = joints(egg, size=(1080, 1920))
    (tmp_path / "joints.json").write_text(json.dumps(notes))
    found = evaluated(capsys, tmp_path, clip, "--gt", clip / "gt.npz", "--keypoints", tmp_path / "joints.json",
                      "--every", every)
    masks = dict(enumerate(egg.masks))
    marks = {number: (np.array(note["joints"])[:, ::-1] / [1920, 1080] * [120, 100], np.array(note["visibility"]))
             for number, note in zip((0, 1, 2, 4), notes, strict=True)}
    with np.load(clip / "gt.npz") as truth:
        expected = oracle.mask_figures(vars(result), masks) | oracle.keypoint_transfer(
            vars(result), marks, {number: mask.sum() for number, mask in masks.items()}) | oracle.shape_figures(
            vars(result), truth, every, shape.sample_surface, shape.SAMPLES, shape.TRACK_SAMPLES)
    assert found["chamfer"] > 0.01
    assert found == pytest.approx(expected, abs=1e-6)


def test_frames_without_masks_are_left_out(egg, clip, tmp_path, capsys):
    egg.result.save(tmp_path)
    few = tmp_path / "few"
    few.mkdir()
    for number in (3, 4):
        (few / f"{number:05d}.png").write_bytes((clip / "masks" / f"{number:05d}.png").read_bytes())
    assert main(["evaluate", str(tmp_path), "--masks", str(few), "--keypoints", str(clip / "joints.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scored_frames"] == 2
    assert found["pck_t"] is None and found["pck_pairs"] == 0, "one annotated frame alone has no mask"


def test_how_masks_are_read_is_told_beside_the_figures(egg, tmp_path, capsys):
    egg.result.save(tmp_path)
    (tmp_path / "masks").mkdir()
    for number, mask in enumerate(egg.masks, 1):
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), mask.astype(np.uint8))
    assert main(["evaluate", str(tmp_path), "--masks", str(tmp_path / "masks")]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["J"] == 1
    assert captured.err.splitlines() == [
        "masks: numbered otherwise than the frames: 1.png is taken for frame 0, and so on in order",
        "masks: read as labels: the one there is, 1, is the subject"]


def test_masks_numbered_from_1_belong_to_the_frames_of_the_clip(egg, tmp_path, capsys):
    """Also where the result has a part of its frames: the job's folder says of which clip they are."""
    part = slice(3, 9)
    result = replace(egg.result, frames=egg.result.frames[part], vertices=egg.result.vertices[part],
                     camera_rotation=egg.result.camera_rotation[part],
                     camera_translation=egg.result.camera_translation[part], intrinsics=egg.result.intrinsics[part])
    result.save(tmp_path)
    for folder, images, first in (("clip", egg.images, 0), ("masks", [m * np.uint8(255) for m in egg.masks], 1)):
        (tmp_path / folder).mkdir()
        for number, image in enumerate(images, first):
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), image)
    asked = ["evaluate", str(tmp_path), "--masks", str(tmp_path / "masks")]
    assert main(asked) == 0
    assert json.loads(capsys.readouterr().out)["J"] < 1, "without the clip, masks are taken by their numbers"
    JobRequest(str(tmp_path / "clip"), str(tmp_path / "masks"), first=3, last=8).save(tmp_path)
    assert main(asked) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["J"] == 1 and "1.png is taken for frame 0" in captured.err


def test_masks_that_cannot_be_used_are_one_line(egg, tmp_path, capsys):
    egg.result.save(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    cv2.imwrite(str(tmp_path / "others" / "00099.png"), egg.masks[0] * np.uint8(255))
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "reconstruction.npz").write_bytes((tmp_path / "reconstruction.npz").read_bytes()[:1000])
    for result, masks in ((tmp_path, "nowhere"), (tmp_path, "empty"), (tmp_path, "others"), (tmp_path / "no", "empty"),
                          (cut, "others")):
        assert main(["evaluate", str(result), "--masks", str(tmp_path / masks)]) == 2
        captured = capsys.readouterr()
        assert len(captured.err.splitlines()) == 1 and str(tmp_path) in captured.err
        assert captured.out == ""


def meshes(**changed):
    good = {"vertices": np.ones((12, 4, 3), np.float32) * np.arange(4)[:, None], "faces": np.array([[0, 1, 2]]),
            "world_to_camera": np.tile(np.eye(4), (12, 1, 1))}
    return {name: value for name, value in (good | changed).items() if value is not None}


@pytest.mark.parametrize("truth, words", [
    (None, "cannot be read"),
    (b"no archive", "is no ground truth"),
    (meshes(faces=None), "faces"),
    (meshes(vertices=np.ones((4, 3))), "found vertices (4, 3)"),
    (meshes(faces=np.array([[0, 1, 9]])), "needs an npz"),
    (meshes(vertices=np.full((12, 4, 3), np.nan)), "no finite numbers"),
    (meshes(vertices=np.array("x", object)), "is no ground truth"),
    (meshes(vertices=np.ones((12, 4, 3))), "all one point"),
    (meshes(), "without area"),
    ({name: value[:5] if name != "faces" else value for name, value in meshes().items()}, "found 5 frames"),
])
def test_a_ground_truth_that_cannot_be_used_is_one_line(egg, clip, tmp_path, capsys, truth, words):
    egg.result.save(tmp_path)
    if isinstance(truth, bytes):
        (tmp_path / "gt.npz").write_bytes(truth)
    elif truth:
        np.savez(tmp_path / "gt.npz", **truth)
    assert main(["evaluate", str(tmp_path), "--masks", str(clip / "masks"), "--gt", str(tmp_path / "gt.npz")]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1 and words in captured.err and not captured.out


@pytest.mark.parametrize("text, words", [
    (None, "cannot be read"), ("{", "is no annotation"), ("{}", None), ("[1]", "is no annotation"),
    ('[{"image_path": "a/1.jpg"}]', "joints"),
    ('[{"image_path": "a/x.jpg", "joints": [[1, 2]], "visibility": [true]}]', "is no annotation"),
    ('[{"image_path": "a/1.jpg", "joints": [[1, 2]], "visibility": [true, true]}]', "shape"),
    ('[{"image_path": "a/1.jpg", "joints": [[1, 2]], "visibility": [true], "image_size": [0, 5]}]', "image_size"),
    ('[{"image_path": "a/1.jpg", "joints": [[1, 2]], "visibility": [true]},'
     ' {"image_path": "a/2.jpg", "joints": [], "visibility": []}]', "annotation"),
])
def test_joints_that_cannot_be_used_are_one_line(egg, clip, tmp_path, capsys, text, words):
    egg.result.save(tmp_path)
    if text is not None:
        (tmp_path / "joints.json").write_text(text)
    asked = ["evaluate", str(tmp_path), "--masks", str(clip / "masks"), "--keypoints", str(tmp_path / "joints.json")]
    assert main(asked) == (2 if words else 0)
    captured = capsys.readouterr()
    assert words is None or len(captured.err.splitlines()) == 1 and words in captured.err and not captured.out


def test_every_needs_a_positive_number(egg, clip, tmp_path, capsys):
    egg.result.save(tmp_path)
    assert main(["evaluate", str(tmp_path), "--masks", str(clip / "masks"), "--every", "0"]) == 2
    assert "--every: found 0" in capsys.readouterr().err
