"""What the cases are run on: a few frames of the sample clip, what is known of them, and pictures to train on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 8
TO_OBJECT = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
"""From the world, in which the sample's animal walks along x, to an object's axes, whose front is -y."""


def make_inputs(folder: Path) -> None:
    """Writes into a new folder
    clip.mp4, masks/, truth.npz    the sample clip, its masks and true meshes
    frames/, labels/, patches/     its first frames as images; masks with another subject, by grey value and apart
    solve.json, joints.json        true cameras; places of some vertices of the true mesh, as BADJA writes joints
    shape/                         the true mesh of a frame as a result
    collection/                    pictures with masks and keypoints in COCO's format
    """
    folder.mkdir(parents=True)
    sample = ROOT / "samples" / "painted_dog"
    shutil.copyfile(sample / "clip.mp4", folder / "clip.mp4")
    shutil.copyfile(sample / "ground_truth.npz", folder / "truth.npz")
    shutil.copytree(sample / "masks", folder / "masks")
    clip = cv2.VideoCapture(str(sample / "clip.mp4"))
    for number in range(FRAMES):
        mask = cv2.imread(str(sample / "masks" / f"{number:04d}.png"), cv2.IMREAD_GRAYSCALE) > 127
        other = np.zeros_like(mask)
        other[8:40, 10 + 2 * number:50 + 2 * number] = True
        _save(folder / "frames", number, clip.read()[1])
        _save(folder / "labels", number, np.where(mask, 2, other.astype(np.uint8)).astype(np.uint8))
        _save(folder / "patches", number, (mask | other).astype(np.uint8) * 255)
    with np.load(sample / "ground_truth.npz") as truth:
        _save_known(folder, *(truth[name] for name in ("vertices", "faces", "world_to_camera", "intrinsics")))
    subprocess.run([sys.executable, "-m", "samples.families", folder / "collection", "--family", "quadruped", "--count",
                    "30", "--size", "64", "--seed", "1"], check=True, cwd=ROOT)


def _save(folder: Path, number: int, image: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / f"{number:04d}.png"), image)


def _save_known(folder: Path, vertices: np.ndarray, faces: np.ndarray, world_to_camera: np.ndarray,
                intrinsics: np.ndarray) -> None:
    rotation = world_to_camera[:, :3, :3] @ TO_OBJECT.T
    solve = [{"frame": n, "rotation": rotation[n].ravel().tolist()} for n in range(0, FRAMES, 3)]
    (folder / "solve.json").write_text(json.dumps(solve), encoding="utf-8")
    joints = []
    for n in range(0, FRAMES, 2):
        x, y, z = (vertices[n, ::200] @ world_to_camera[n, :3, :3].T + world_to_camera[n, :3, 3]).T
        fx, fy, cx, cy = intrinsics[n]
        places = np.stack([fy * y / z + cy, fx * x / z + cx], -1)
        joints.append({"image_path": f"{n:05d}.jpg", "joints": places.tolist(), "visibility": [True] * len(x),
                       "image_size": [288, 384]})
    (folder / "joints.json").write_text(json.dumps(joints), encoding="utf-8")
    mesh = vertices[0] @ TO_OBJECT.T
    mesh = ((mesh - mesh.mean(0)) / np.ptp(mesh, axis=0).max()).astype(np.float32)
    (folder / "shape").mkdir()
    np.savez(folder / "shape" / "reconstruction.npz", frames=np.zeros(1, np.int32), vertices=mesh[None],
             rest_vertices=mesh, faces=faces.astype(np.int32), uv=np.zeros((len(faces), 3, 2), np.float32),
             camera_rotation=rotation[:1].astype(np.float32), camera_translation=np.array([[0, 0, 5]], np.float32),
             intrinsics=intrinsics[:1].astype(np.float32), image_size=np.array([384, 288], np.int32))
