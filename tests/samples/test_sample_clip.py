"""The committed sample: clip, masks and ground truth agree with each other."""

from pathlib import Path

import cv2
import numpy as np
import pytest

SAMPLE = Path(__file__).parents[2] / "samples" / "painted_dog"


@pytest.fixture(scope="module")
def frames():
    """Every frame of the clip as cv2 reads it, (T, H, W, 3)."""
    clip, found = cv2.VideoCapture(str(SAMPLE / "clip.mp4")), []
    while (read := clip.read())[0]:
        found.append(read[1])
    return np.stack(found)


@pytest.fixture(scope="module")
def masks():
    """Every mask by the frame number in its name, (H, W)."""
    return {int(path.stem): cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (SAMPLE / "masks").glob("*.png")}


def test_every_frame_has_a_mask_of_its_size(frames, masks):
    assert sorted(masks) == list(range(len(frames)))
    assert all(mask.shape == frames.shape[1:3] for mask in masks.values())


def test_every_mask_shows_the_whole_animal(masks):
    for mask in masks.values():
        assert (mask > 127).mean() > .05
        assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any()


def test_ground_truth_projects_into_the_masks(masks):
    truth = np.load(SAMPLE / "ground_truth.npz")
    assert len(truth["vertices"]) == len(masks)
    for number, mask in masks.items():
        to_camera = truth["world_to_camera"][number]
        points = truth["vertices"][number] @ to_camera[:3, :3].T + to_camera[:3, 3]
        fx, fy, cx, cy = truth["intrinsics"][number]
        x = np.floor(fx * points[:, 0] / points[:, 2] + cx).astype(int)
        y = np.floor(fy * points[:, 1] / points[:, 2] + cy).astype(int)
        assert (cv2.dilate(mask, np.ones((3, 3)))[y, x] > 0).all()


def test_ground_truth_mesh_is_closed():
    faces = np.load(SAMPLE / "ground_truth.npz")["faces"]
    edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward, backward = ({tuple(e) for e in half} for half in (edges, edges[:, ::-1]))
    assert len(forward) == len(edges) and forward == backward
