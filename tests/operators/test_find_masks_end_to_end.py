"""From a box in Blender to masks, with the real backend, on the first frames of the sample's clip."""

import os
import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_clips import pixels_of

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("VMR_BACKEND_PYTHON", ROOT / ".venv" / "bin" / "python"))
SAMPLE = ROOT / "samples" / "painted_dog"
COUNT = 6

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no backend: {PYTHON} (VMR_BACKEND_PYTHON names another)"),
    pytest.mark.once]


def test_masks_are_found_from_a_box_beside_the_clip_and_chosen_for_reconstruct(
        installed_extension, empty_file, tmp_path):
    shutil.copy(SAMPLE / "clip.mp4", tmp_path)
    preferences = bpy.context.preferences.addons[installed_extension].preferences
    preferences.backend_python, preferences.device = str(PYTHON), "cpu"
    bpy.data.movieclips.load(str(tmp_path / "clip.mp4"))
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end, scene.vmr.use_scene_range = 1, COUNT, True
    scene.frame_set(1)
    true = [pixels_of(SAMPLE / "masks" / f"{number:04d}.png")[::-1, :, 0] > 0.5 for number in range(COUNT)]
    rows, columns = (np.flatnonzero(true[0].any(axis)) for axis in (1, 0))
    box = columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
    assert bpy.ops.vmr.mark_box(box=tuple(map(float, box))) == {"FINISHED"}
    assert bpy.ops.vmr.find_masks() == {"FINISHED"}
    folder = Path(bpy.data.movieclips[0].vmr.subjects[0].inputs.masks)
    assert folder == tmp_path / "clip masks" / "Subject" / "masks"
    assert len(list(folder.iterdir())) == COUNT
    found = [pixels_of(folder / f"{number:06d}.png")[::-1, :, 0] > 0.5 for number in range(COUNT)]
    overlaps = [(a & b).sum() / (a | b).sum() for a, b in zip(found, true, strict=True)]
    assert np.mean(overlaps) > 0.85, overlaps
