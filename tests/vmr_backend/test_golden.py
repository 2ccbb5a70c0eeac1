"""Each method on a third of the sample clip, by its command, with few steps: its figures do not fall.

The bounds lie well below the worst of several seeds. J, F and keypoints are what the camera sees; chamfer, pose_chamfer
and track compare with the true mesh from all sides, since a mesh may fit every mask and be wrong behind.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest

from vmr_backend.reconstruction import Reconstruction

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "painted_dog"
MASKS = ["--masks", SAMPLE / "masks"]
LAST = 17
MARKED = range(0, LAST + 1, 5)
"""Frames whose keypoints are known."""


def command(*words):
    """Standard output of the backend's command, on one thread."""
    done = subprocess.run([sys.executable, "-m", "vmr_backend", *map(str, words)], capture_output=True, cwd=ROOT,
                          encoding="utf-8", env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def joints(tmp_path_factory):
    """Vertices of the true mesh, spread over it, as annotated keypoints; visible where they are on a drawn face."""
    truth = dict(np.load(SAMPLE / "ground_truth.npz"))
    cameras = truth["world_to_camera"]
    truth |= {"camera_rotation": cameras[:, :3, :3], "camera_translation": cameras[:, :3, 3]}
    chosen = np.arange(0, truth["vertices"].shape[1], 40)
    notes = []
    for number in MARKED:
        drawn = oracle.visible_faces(truth, number)[0]
        seen = np.isin(chosen, truth["faces"][np.unique(drawn[drawn >= 0])])
        notes.append({"image_path": f"{number:05d}.png", "image_size": truth["image_size"][::-1].tolist(),
                      "joints": oracle.project(truth, number)[0][chosen, ::-1].tolist(), "visibility": seen.tolist()})
    path = tmp_path_factory.mktemp("joints") / "joints.json"
    path.write_text(json.dumps(notes), encoding="utf-8")
    return path


@pytest.mark.parametrize("words, values, least, most", [
    (["--preset", "preview"], {"hypotheses": 4, "rigid_iterations": 100, "coarse_iterations": 180},
     {"J": 0.74, "F": 0.65, "pck_t": 0.7}, {"chamfer": 0.046, "pose_chamfer": 0.072, "track": 0.095}),
    (["--method", "vmr", "--model", "quadruped"], {"visits": 16, "iterations": 3},
     {"J": 0.78, "F": 0.76, "pck_t": 0.8}, {"chamfer": 0.021, "pose_chamfer": 0.035, "track": 0.053}),
], ids=["lasr", "vmr"])
def test_a_golden_clip_is_found_as_well_as_ever(joints, tmp_path, words, values, least, most):
    for setting in (values | {"crop_size": 80, "texture_size": 64}).items():
        words = [*words, "--set", "=".join(map(str, setting))]
    command("reconstruct", SAMPLE / "clip.mp4", *MASKS, "--frames", f"0:{LAST}", "--device", "cpu", "--out", tmp_path,
            *words)
    found = json.loads(command("evaluate", tmp_path, *MASKS, "--gt", SAMPLE / "ground_truth.npz",
                               "--keypoints", joints))
    print(found)
    names = {str(name) for name in Reconstruction.load(tmp_path).bone_names}
    assert ("front_thigh.L" in names) == ("vmr" in words), "bones of the template that comes along for the category"
    assert found["scored_frames"] == LAST + 1
    assert not {name: found[name] for name in least if found[name] < least[name]}
    assert not {name: found[name] for name in most if found[name] > most[name]}
