"""How a batch is cut into launches changes nothing, and the kernels compile for CUDA without a GPU."""

import functools

import pytest
import torch
import warp as wp
from renderer_meshes import scattered_faces

from vmr_backend.rendering import get_renderer, warp_kernels, warp_renderer


@pytest.mark.parametrize("launches", [1, 3, 7])
def test_one_launch_for_the_batch_draws_the_same_as_one_for_each_image(monkeypatch, launches):
    warp = get_renderer("warp", "cpu")
    points, faces = scattered_faces(images=7, faces=20)
    random = torch.Generator().manual_seed(0)
    values, texture = torch.rand(60, 5, generator=random), torch.rand(6, 7, 3, generator=random)
    uv = torch.rand(20, 3, 2, generator=random)

    def draw():
        moved, coloured, painted = (x.clone().requires_grad_() for x in (points, values, texture))
        alpha = warp.silhouette(moved, faces, (19, 30), 1e-3)
        image, _ = warp.attributes(moved, faces, coloured, (19, 30), 1e-3, 1e-2)
        picture, _ = warp.textured(moved, faces, uv, painted, (19, 30), 1e-3, 1e-2)
        (alpha.square().sum() + image.square().sum() + picture.square().sum()).backward()
        seen = warp.visibility(points, faces, (19, 30))
        drawn = [alpha, image, picture, seen.face_index, seen.barycentrics, seen.depth, moved.grad, coloured.grad]
        return drawn, painted.grad

    expected, expected_texture = draw()
    launch = warp_renderer._launch

    def cut_otherwise(*arguments, chunks=None):
        return launch(*arguments, chunks=launches)

    monkeypatch.setattr(warp_renderer, "_launch", functools.wraps(launch)(cut_otherwise))
    found, found_texture = draw()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.allclose(found_texture, expected_texture, rtol=1e-4, atol=1e-5)


def test_the_kernels_compile_for_cuda(tmp_path):
    try:
        wp.compile_aot_module(warp_kernels, arch=[80], module_dir=tmp_path, use_ptx=True)
    except RuntimeError as error:
        pytest.skip(f"this build of Warp has no CUDA compiler: {error}")
    assert list(tmp_path.glob("*.ptx"))
