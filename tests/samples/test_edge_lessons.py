"""What the network of edges learns from, that it learns it, and that it holds for films that it was not taught on."""

import numpy as np
import pytest
import torch

from samples import edges
from samples.edges import NEAR, PIECE, a_piece, film_lessons, main, pieces
from samples.segmenter import learn, overlap
from vmr_backend.segmentation.edges import EdgeNetwork
from vmr_backend.segmentation.mask_network import MaskNetwork
from vmr_backend.segmentation.network_file import load


def disc(size: int, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (np.hypot(columns - size / 2, rows - size / 2) <= radius).astype(np.float32)


@pytest.fixture(scope="module")
def lessons():
    found = [one for index in range(3) for one in film_lessons(MaskNetwork.shipped(), 77, index)]
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))


def test_lessons_are_pieces_at_the_edge_of_what_a_network_found_in_films(lessons):
    maps, masks = lessons
    assert len(maps) > 10 and maps.dtype == masks.dtype == torch.uint8
    assert maps.shape[1:] == (EdgeNetwork.MAPS, PIECE, PIECE) and masks.shape[1:] == (PIECE, PIECE)
    for side in (maps[:, -2:], masks):
        assert (side > 200).flatten(1).any(1).all() and (side < 50).flatten(1).any(1).all()


def test_the_truth_counts_near_the_edge_only(monkeypatch):
    """Beside it a square was found, which is not the subject; that is not for this network to mend."""
    truth = disc(320, 60)
    found = disc(160, 32)
    found[10:30, 10:30] = 1
    picture = np.full((320, 320, 3), 90, np.uint8)
    monkeypatch.setattr(edges, "PIECE", 320)
    (_, mask), _ = pieces(picture, truth, found, np.random.default_rng(0))
    near = np.abs(np.hypot(*(np.mgrid[:320, :320] - 160)) - 60) < 2 * NEAR - 1
    assert np.array_equal(mask[near], 255 * truth[near].astype(np.uint8))
    assert (mask[30:50, 30:50] > 127).all()


def test_nothing_is_learnt_where_the_mask_went_astray():
    assert not pieces(np.zeros((320, 320, 3), np.uint8), disc(320, 60), np.roll(disc(160, 30), 70, 1),
                      np.random.default_rng(0))


def test_it_learns_and_the_average_of_its_weights_has_the_norms_of_its_layers(lessons):
    torch.manual_seed(0)
    network = learn(EdgeNetwork(), *lessons, 12, 0, a_piece)
    assert not network.training and network.down[0][1].num_batches_tracked > 0
    assert overlap(network, *lessons) > overlap(EdgeNetwork().eval(), *lessons) - 0.01


def test_the_shipped_one_finds_edges_better_in_films_that_it_was_not_taught_on(lessons):
    assert overlap(EdgeNetwork.shipped(), *lessons) > overlap(EdgeNetwork().eval(), *lessons) + 0.001


def test_it_is_taught_from_nothing(tmp_path):
    out = tmp_path / "network.safetensors"
    assert main([str(tmp_path / "lessons"), "--films", "1", "--steps", "2", "--out", str(out)]) == 0
    load(EdgeNetwork(), out)


def test_no_films_are_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--films", "0"]) == 2
    assert "--films: found 0" in capsys.readouterr().err
