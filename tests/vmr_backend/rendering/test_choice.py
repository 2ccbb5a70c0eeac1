"""Which renderer draws is chosen by its name; one that is not there is refused in one line."""

import sys

import pytest
import torch

from vmr_backend.job import BadInput
from vmr_backend.rendering import get_renderer
from vmr_backend.rendering.warp_renderer import WarpRenderer


def test_warp_is_chosen_where_nothing_is_said():
    assert isinstance(get_renderer(), WarpRenderer)


def test_pytorch3d_is_refused_where_it_cannot_be_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "vmr_backend.rendering.pytorch3d_renderer", raising=False)
    for module in ("pytorch3d", "pytorch3d.renderer.mesh.rasterize_meshes"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadInput) as refused:
        get_renderer("pytorch3d")
    line = str(refused.value)
    assert line.startswith("renderer: found 'pytorch3d', but PyTorch3D cannot be imported")
    assert f"PyTorch {torch.__version__}" in line and line.endswith("or the renderer 'warp'")


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match="'magic' is unknown; known are warp, pytorch3d, reference"):
        get_renderer("magic")
