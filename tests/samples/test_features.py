"""Features are trained on two views of an image: correspondences are right, and a few steps help."""

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

from samples.features import VIEW, correspondences, info_nce, main, read, train, warp
from vmr_backend.segmentation.features import Features


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of coloured noise."""
    path = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(6):
        noise = random.uniform(0, 255, (160, 200, 3)).astype(np.float32)
        smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)
        cv2.imwrite(str(path / f"{number}.png"), smooth)
    return path


def test_corresponding_positions_of_two_views_are_one_position_of_the_image():
    torch.manual_seed(0)
    first, second = warp(3), warp(3)
    here, there, shown = correspondences(first, second)
    assert 0.3 < shown.float().mean() < 1
    sampled = [torch.nn.functional.grid_sample(way.movedim(-1, 1), positions[:, None], align_corners=False)[:, :, 0].mT
               for way, positions in ((first, here), (second, there))]
    at, found = sampled
    assert (at - found).norm(dim=-1)[shown].max() < 4 / VIEW


def test_a_few_steps_of_training_match_more_positions(folder):
    pictures = read([folder])
    assert pictures.shape == (6, 3, 144, 144)
    torch.manual_seed(0)
    before = Features()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with torch.no_grad():
        loss_before, found_before = info_nce(before, pictures.float() / 255)
        torch.set_rng_state(state)
        loss, found = info_nce(trained(pictures), pictures.float() / 255)
    assert loss < loss_before and found > found_before


def trained(pictures: torch.Tensor) -> Features:
    with torch.enable_grad():
        state = torch.get_rng_state()
        network = train(pictures, 12, seed=0)
        torch.set_rng_state(state)
    return network


def test_the_file_it_writes_is_read_by_the_network(folder, tmp_path):
    assert main([str(folder), "--out", str(tmp_path / "features.safetensors"), "--steps", "1"]) == 0
    Features().load_state_dict({name: value.float() for name, value in safetensors.torch.load_file(
        tmp_path / "features.safetensors").items()})


def test_no_steps_are_refused_and_what_is_there_stays(folder, tmp_path, capsys):
    kept = tmp_path / "features.safetensors"
    kept.write_bytes(b"trained")
    assert main([str(folder), "--out", str(kept), "--steps", "0"]) == 2
    assert "--steps: found 0" in capsys.readouterr().err and kept.read_bytes() == b"trained"


def test_a_folder_without_pictures_is_refused_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path), "--out", str(tmp_path / "f")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line and "needs some" in line
