"""The benchmark of optical flow: errors against a mesh's true motion."""

import numpy as np
import pytest
import torch

from vmr_backend.benchmarks import flow
from vmr_backend.benchmarks.fit import SAMPLE
from vmr_backend.cli import main
from vmr_backend.video.crops import pixel_centres
from vmr_backend.video.flow import CropFlow
from vmr_backend.video.footage import load_footage


@pytest.fixture(scope="module")
def footage():
    return load_footage(SAMPLE.frames, SAMPLE.masks, crop_size=flow.CROP, last=9)


@pytest.fixture(scope="module")
def surface(footage):
    return flow.surface_of(SAMPLE.gt, footage)


def test_true_flow_has_no_error_and_still_flow_that_of_the_motion(footage, surface):
    size, gap = flow.CROP // 2, 2
    places = pixel_centres(size)
    true = np.stack([surface.seen_from(t, t + gap)[0] - places for t in range(len(footage.numbers) - gap)])
    weight = np.ones(true.shape[:3], np.float32)
    _, error, motion, _ = flow.errors(CropFlow(gap, true, true, weight, weight), surface, footage)
    assert len(error) > 1000 and error.max() < 1e-3 and motion.mean() > 1
    moved = footage.crop_centre[gap:] - footage.crop_centre[:-gap]
    halves = footage.crop_half
    # A place that keeps its coordinates in the full frame moves by nothing there.
    still = np.stack([(places * halves[t] - moved[t]) / halves[t + gap] - places for t in range(len(true))])
    _, error, motion, _ = flow.errors(CropFlow(gap, still, still, weight, weight), surface, footage)
    assert np.allclose(error, motion, atol=1e-3)


def test_what_the_mesh_shows_is_what_the_masks_show(footage, surface):
    shown = surface.index >= 0
    masks = torch.nn.functional.avg_pool2d(torch.from_numpy(footage.masks)[:, None], 2)[:, 0].numpy() > 0.5
    overlap = (shown & masks).sum((1, 2)) / (shown | masks).sum((1, 2))
    assert overlap.min() > 0.9


def test_the_error_grows_with_the_gap(capsys):
    assert main(["benchmark", "flow", "--gaps", "1", "8"]) == 0
    near, far = ([float(cell.rstrip("%")) for cell in row.split()[1:]]
                 for row in capsys.readouterr().out.splitlines()[1:])
    assert near[:1] + far[:1] == [1, 8]
    assert near[2] < 0.5 * near[1] and near[2] < far[2] and near[5] < near[2] and near[4] > far[4]


@pytest.mark.parametrize(("arguments", "line"), [
    (["--gaps", "0"], "--gaps: found 0, needs 1 or more"),
    (["--truth", "missing.npz"], "missing.npz: is no truth for this clip")])
def test_bad_input_gives_one_line(arguments, line, capsys):
    assert main(["benchmark", "flow", *arguments]) == 2
    assert line in capsys.readouterr().err
