"""Training data of the edge network, its training, and its accuracy on held-out films."""

import numpy as np
import pytest
import torch

from samples import edges
from samples.edges import NEAR, PIECE, edge_crops, film_examples, main, random_crop
from samples.segmenter import mean_iou, train
from vmr_backend.segmentation.edges import EdgeNetwork
from vmr_backend.segmentation.mask_network import MaskNetwork
from vmr_backend.segmentation.network_file import load


def disc(size: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (np.hypot(columns - size / 2, rows - size / 2) <= radius).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def short_films():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edges, "FILM", 4)
        yield


@pytest.fixture(scope="module")
def examples(short_films):
    found = [one for index in range(3) for one in film_examples(MaskNetwork.shipped(), 77, index)]
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))


def test_examples_are_crops_at_the_edge_of_what_a_network_found_in_films(examples):
    maps, masks = examples
    assert len(maps) > 5 and maps.dtype == masks.dtype == torch.uint8
    assert maps.shape[1:] == (EdgeNetwork.MAPS, PIECE, PIECE) and masks.shape[1:] == (PIECE, PIECE)
    for side in (maps[:, -2:], masks):
        assert (side > 200).flatten(1).any(1).all() and (side < 50).flatten(1).any(1).all()


def test_the_truth_counts_near_the_edge_only(monkeypatch):
    """Beside it a square was found, which is not the subject; that is not for this network to correct."""
    truth = disc(320, 60)
    found = disc(160, 32)
    found[10:30, 10:30] = 1
    picture = np.full((320, 320, 3), 90, np.uint8)
    monkeypatch.setattr(edges, "PIECE", 320)
    (_, mask), _ = edge_crops(picture, truth, found, np.random.default_rng(0))
    near = np.abs(np.hypot(*(np.mgrid[:320, :320] - 160)) - 60) < 2 * NEAR - 1
    assert np.array_equal(mask[near], 255 * truth[near].astype(np.uint8))
    assert (mask[30:50, 30:50] > 127).all()


def test_there_are_no_examples_where_the_mask_has_diverged():
    assert not edge_crops(np.zeros((320, 320, 3), np.uint8), disc(320, 60), np.roll(disc(160, 30), 70, 1),
                      np.random.default_rng(0))


def test_it_is_trained_and_the_average_of_its_weights_has_the_norms_of_its_layers(examples):
    torch.manual_seed(0)
    network = train(EdgeNetwork(), *examples, 6, 0, random_crop)
    assert not network.training and network.down[0][1].num_batches_tracked > 0
    assert mean_iou(network, *examples) > mean_iou(EdgeNetwork().eval(), *examples) - 0.01


def test_the_shipped_one_finds_edges_better_in_films_that_it_was_not_trained_on(examples):
    assert mean_iou(EdgeNetwork.shipped(), *examples) > mean_iou(EdgeNetwork().eval(), *examples) + 0.001


def test_it_is_trained_from_scratch(tmp_path):
    out = tmp_path / "network.safetensors"
    assert main([str(tmp_path / "examples"), "--films", "1", "--steps", "2", "--out", str(out)]) == 0
    load(EdgeNetwork(), out)


def test_no_films_are_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--films", "0"]) == 2
    assert "--films: found 0" in capsys.readouterr().err
