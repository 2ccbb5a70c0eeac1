"""The renderer under test, on every device this machine has."""

import pytest
import torch

from vmr_backend.rendering import get_renderer

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture
def warp(device):
    return get_renderer("warp", device)


@pytest.fixture
def reference():
    return get_renderer("reference")
