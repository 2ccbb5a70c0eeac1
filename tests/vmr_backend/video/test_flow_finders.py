"""Ways to find optical flow: a network is asked as torchvision's are, and what is missing is said in one line."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from vmr_backend.job import BadInput
from vmr_backend.settings import FLOWS, Settings
from vmr_backend.video.flow import dis
from vmr_backend.video.flow_finders import by_network, flow_finder

CPU = torch.device("cpu")


class Matching(nn.Module):
    """Finds one shift for the whole picture, by phase correlation, and answers as RAFT does: ever better flows."""

    def forward(self, first, second):
        assert first.shape[1] == 3 and first.shape[2] % 8 == first.shape[3] % 8 == 0 and min(first.shape[2:]) >= 128
        assert first.min() >= -1 and first.max() <= 1
        here, there = (torch.fft.fft2(picture[0, 0]) for picture in (first, second))
        peak = int(torch.fft.ifft2(here.conj() * there / (here * there).abs().clamp_min(1e-9)).real.argmax())
        rows, columns = first.shape[2:]
        down, right = peak // columns, peak % columns
        shift = torch.tensor([right - columns * (right > columns / 2), down - rows * (down > rows / 2)])
        flow = shift.float().view(1, 2, 1, 1).expand(1, 2, rows, columns)
        return [torch.zeros_like(flow), flow]


@pytest.mark.parametrize("shape", [(96, 90), (200, 133), (256, 256)])
def test_a_network_finds_the_flow_of_pictures_of_any_size(shape):
    rng = np.random.default_rng(0)
    large = rng.integers(0, 255, (300, 300), np.uint8)
    first, second = large[20:20 + shape[0], 20:20 + shape[1]], large[17:17 + shape[0], 24:24 + shape[1]]
    flow = by_network(Matching(), CPU)(np.ascontiguousarray(first), np.ascontiguousarray(second))
    assert flow.shape == (*shape, 2) and flow.dtype == np.float32 and np.median(flow, (0, 1)).tolist() == [-4, 3]


def test_dis_is_the_default():
    assert Settings().flow == "dis" and flow_finder("dis", CPU) is dis and set(FLOWS) == {"dis", "raft"}


def test_raft_without_torchvision_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    with pytest.raises(BadInput, match="flow raft: found no torchvision.*or flow dis"):
        flow_finder("raft", CPU)


def test_torchvisions_raft_is_asked_as_it_wants_to_be():
    optical_flow = pytest.importorskip("torchvision.models.optical_flow", reason="torchvision is not installed")
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (2, 130, 140), np.uint8)
    assert by_network(optical_flow.raft_small(), CPU)(*pictures).shape == (130, 140, 2)
