"""How a batch is cut into launches changes nothing, and the kernels compile for CUDA without a GPU."""

import pytest
import torch
import warp as wp
from renderer_meshes import scattered_faces

from vmr_backend.rendering import get_renderer, warp_kernels, warp_renderer


@pytest.mark.parametrize("launches", [1, 3, 7])
def test_one_launch_for_the_batch_draws_the_same_as_one_for_each_image(monkeypatch, launches):
    warp = get_renderer("warp", "cpu")
    points, faces = scattered_faces(images=7, faces=20)

    def draw():
        moved = points.clone().requires_grad_()
        alpha = warp.silhouette(moved, faces, (19, 30), 1e-3)
        alpha.square().sum().backward()
        seen = warp.visibility(points, faces, (19, 30))
        return alpha, seen.face_index, seen.barycentrics, seen.depth, moved.grad

    expected = draw()
    monkeypatch.setattr(warp_renderer, "CHUNKS", launches)
    assert all(torch.equal(a, b) for a, b in zip(draw(), expected, strict=True))


def test_the_kernels_compile_for_cuda(tmp_path):
    try:
        wp.compile_aot_module(warp_kernels, arch=[80], module_dir=tmp_path, use_ptx=True)
    except RuntimeError as error:
        pytest.skip(f"this build of Warp has no CUDA compiler: {error}")
    assert list(tmp_path.glob("*.ptx"))
