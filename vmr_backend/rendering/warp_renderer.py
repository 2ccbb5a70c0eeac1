"""The renderer on NVIDIA Warp: runs the kernels over the batch, on the CPU with one launch per image over all cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import torch
import warp as wp
from torch import Tensor

from . import warp_kernels as kernels
from .interface import Size, Visibility, check_inputs, image_size, reach

NEGLIGIBLE = 1e-5
"""The backward pass passes over pixels whose gradient is below this part of the largest in the image."""

NO_FACE = 0x7FFFFFFFFFFFFFFF
"""Beyond every (depth, face) key of visibility."""

_threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="render")


class WarpRenderer:
    """Draws with Warp kernels on the CPU or a CUDA device (see interface.Renderer)."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def silhouette(self, points: Tensor, faces: Tensor, size: Size, sigma: float) -> Tensor:
        return _Silhouette.apply(points, _indices(faces, points), image_size(size), float(sigma))

    def visibility(self, points: Tensor, faces: Tensor, size: Size) -> Visibility:
        points, faces = _corners(points.detach()), _indices(faces, points)
        shape = (len(points), *image_size(size))
        nearest = points.new_full(shape, NO_FACE, dtype=torch.int64)
        face_index = points.new_empty(shape, dtype=torch.int32)
        barycentrics = points.new_zeros((*shape, 3))
        depth = points.new_zeros(shape)
        mesh = _mesh(points, faces)
        keys = wp.from_torch(nearest)
        _launch(kernels.visibility_nearest, len(points), len(faces), mesh, [keys])
        seen = [keys, wp.from_torch(face_index), wp.from_torch(barycentrics, dtype=wp.vec3), wp.from_torch(depth)]
        _launch(kernels.visibility_resolve, len(points), shape[1], mesh, seen)
        return Visibility(face_index, barycentrics, depth)


class _Silhouette(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, faces, size, sigma):
        points = _corners(points)
        log_background = points.new_zeros((len(points), *size))
        arguments = [sigma, reach(sigma), wp.from_torch(log_background)]
        _launch(kernels.silhouette_forward, len(points), len(faces), _mesh(points, faces), arguments)
        background = log_background.exp_()
        ctx.save_for_backward(points, faces, background)
        ctx.sigma = sigma
        return 1.0 - background

    @staticmethod
    def backward(ctx, alpha_gradient):
        points, faces, background = ctx.saved_tensors
        sensitivity = alpha_gradient * background
        negligible = NEGLIGIBLE * sensitivity.abs().amax((1, 2))
        point_gradients = torch.zeros_like(points)
        arguments = [ctx.sigma, reach(ctx.sigma), wp.from_torch(negligible), wp.from_torch(sensitivity)]
        arguments.append(wp.from_torch(point_gradients, dtype=wp.vec3))
        _launch(kernels.silhouette_backward, len(points), len(faces), _mesh(points, faces), arguments)
        return point_gradients, None, None, None


def _corners(points: Tensor) -> Tensor:
    return points.detach().float().contiguous()


def _indices(faces: Tensor, points: Tensor) -> Tensor:
    check_inputs(points, faces)  # a kernel would read beyond the points
    return faces.to(device=points.device, dtype=torch.int32).contiguous()


def _mesh(points: Tensor, faces: Tensor) -> list:
    return [wp.from_torch(points, dtype=wp.vec3), wp.from_torch(faces)]


def _launch(kernel, images: int, threads_per_image: int, mesh: list, arguments: list) -> None:
    """Runs the kernel for every image; on the CPU images are spread over the cores, and each is drawn by one thread
    from its first face to its last, so that results never depend on timing."""
    if images == 0 or threads_per_image == 0:
        return
    device = mesh[0].device
    if device.is_cuda:
        stream = wp.stream_from_torch(torch.cuda.current_stream(torch.device(str(device))))
        wp.launch(kernel, dim=(images, threads_per_image), inputs=[*mesh, 0, *arguments], device=device, stream=stream)
        return

    def draw(image: int) -> None:
        wp.launch(kernel, dim=(1, threads_per_image), inputs=[*mesh, image, *arguments], device=device)

    if images == 1:
        draw(0)
    else:
        list(_threads.map(draw, range(images)))
