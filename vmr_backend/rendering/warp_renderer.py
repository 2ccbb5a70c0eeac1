"""The renderer on NVIDIA Warp: runs the kernels over the batch, on the CPU spread over all cores."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import warp_kernels as kernels
from .interface import Renderer, Size, Visibility, check_inputs, image_size, reach

NEGLIGIBLE = 1e-5
"""The backward pass passes over pixels whose gradient is below this part of the largest in their image."""

NO_FACE = 0x7FFFFFFFFFFFFFFF
"""Beyond every (depth, face) key of visibility."""

_cores = os.cpu_count() or 1
_threads = ThreadPoolExecutor(_cores, thread_name_prefix="render")
CHUNKS = 4 * _cores
"""Most launches that a batch is cut into on the CPU."""


class WarpRenderer(Renderer):
    """Draws with Warp kernels on the CPU or a CUDA device (see interface.Renderer)."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)
        self._last: _Checked | None = None
        _compile(wp.device_from_torch(str(self.device)).alias)

    def silhouette(self, points: Tensor, faces: Tensor, size: Size, sigma: float) -> Tensor:
        return _Silhouette.apply(points, self._indices(faces, points), image_size(size), float(sigma))

    def visibility(self, points: Tensor, faces: Tensor, size: Size, cull: bool = False) -> Visibility:
        points, faces = _float(points), self._indices(faces, points)
        front, nearest = _nearest(points, faces, size)
        return _resolved(points, faces, front if cull else nearest)

    def front_and_nearest(self, points: Tensor, faces: Tensor, size: Size) -> tuple[Visibility, Visibility]:
        points, faces = _float(points), self._indices(faces, points)
        front, nearest = (_resolved(points, faces, found) for found in _nearest(points, faces, size))
        return front, nearest

    def _indices(self, faces: Tensor, points: Tensor) -> Tensor:
        """The faces as kernels take them. Only faces other than the last ones are checked: a GPU would have to finish
        all its work to answer, several times in each iteration of a fit."""
        state = faces._version, points.shape[1:], points.device
        if self._last is None or self._last.faces is not faces or self._last.state != state:
            check_inputs(points, faces)  # a kernel would read beyond the points
            self._last = _Checked(faces, state, faces.to(device=points.device, dtype=torch.int32).contiguous())
        return self._last.indices


@dataclass(frozen=True)
class _Checked:
    """Faces that name vertices which are there."""

    faces: Tensor
    state: tuple
    """Of the faces and of the points that they were compared with."""
    indices: Tensor
    """(F, 3) int32, on the device of the points."""


def _nearest(points: Tensor, faces: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Keys (N, H, W) of the nearest of the faces that turn their outside to the camera, and of all."""
    front, nearest = points.new_full((2, len(points), *image_size(size)), NO_FACE, dtype=torch.int64)
    _launch(kernels.visibility_nearest, points, faces, len(faces), [_view(front), _view(nearest)])
    return front, nearest


def _resolved(points: Tensor, faces: Tensor, nearest: Tensor) -> Visibility:
    """The faces that keys (N, H, W) stand for, with barycentrics and depth."""
    face_index, depth = torch.empty_like(nearest, dtype=torch.int32), torch.empty_like(nearest, dtype=points.dtype)
    barycentrics = points.new_empty((*nearest.shape, 3))
    arguments = [_view(nearest), _view(face_index), _view(barycentrics, wp.vec3), _view(depth)]
    _launch(kernels.visibility_resolve, points, faces, nearest.shape[1], arguments)
    return Visibility(face_index, barycentrics, depth)


class _Silhouette(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, faces, size, sigma):
        points = _float(points)
        # (N, H, W'), W' being the width filled up to whole blocks of lanes.
        log_background = points.new_zeros((len(points), size[0], size[1] + -size[1] % kernels.LANES))
        arguments = [size[1], sigma, reach(sigma), _lanes(log_background)]
        _launch(kernels.silhouette_forward, points, faces, len(faces), arguments)
        background = log_background.exp_()
        ctx.save_for_backward(points, faces, background)
        ctx.sigma, ctx.width = sigma, size[1]
        return 1.0 - background[..., : size[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx, alpha_gradient):
        points, faces, background = ctx.saved_tensors
        sensitivity = _sensitivity(alpha_gradient, background)
        point_gradients = torch.zeros_like(points)
        arguments = [ctx.width, ctx.sigma, reach(ctx.sigma), _lanes(sensitivity), _view(point_gradients, wp.vec3)]
        _launch(kernels.silhouette_backward, points, faces, len(faces), arguments)
        return point_gradients, None, None, None


def _float(values: Tensor) -> Tensor:
    return values.detach().float().contiguous()


def _sensitivity(alpha_gradient: Tensor, background: Tensor) -> Tensor:
    """Gradient (N, H, W') to log(1 - alpha), but for its sign; background is 1 - alpha."""
    sensitivity = torch.zeros_like(background)
    width = alpha_gradient.shape[-1]
    sensitivity[..., :width] = _without_negligible(alpha_gradient * background[..., :width])
    return sensitivity


def _without_negligible(gradient: Tensor) -> Tensor:
    """Gradients of pixels, with those that do not count set to zero so that the kernels pass over them."""
    if gradient.numel() == 0:
        return gradient
    size = gradient.abs()
    largest = size.flatten(1).amax(1).view(-1, *[1] * (gradient.ndim - 1))
    return gradient.masked_fill(size <= NEGLIGIBLE * largest, 0.0)


def _view(tensor: Tensor, dtype=None):
    """The tensor as an argument of a kernel."""
    return wp.from_torch(tensor, dtype=dtype, requires_grad=False, return_ctype=True)


def _lanes(image: Tensor):
    """An image (..., W') as an argument of a kernel that draws in lanes."""
    return _view(image.unflatten(-1, (-1, kernels.LANES)), kernels.Lanes)


@functools.cache
def _compile(device: str) -> None:
    """Compiles the kernels, or loads them from Warp's cache; here once, since worker threads would all begin to."""
    wp.load_module(kernels, device=device)


def _launch(kernel, points: Tensor, faces: Tensor, threads_per_image: int, arguments: list):
    """Runs the kernel for every image.

    On the CPU the batch is cut into chunks, which the cores share; an image is drawn by one thread from its first face
    to its last, so that results never depend on timing. On CUDA all images are one launch.
    """
    images = len(points)
    if images == 0 or threads_per_image == 0:
        return
    device = wp.device_from_torch(points.device)
    _compile(device.alias)
    mesh = [_view(points, wp.vec3), _view(faces)]
    if device.is_cuda:
        stream = wp.stream_from_torch(torch.cuda.current_stream(points.device))
        inputs = [*mesh, 0, *arguments]
        wp.launch(kernel, dim=(images, threads_per_image), inputs=inputs, device=device, stream=stream)
        return
    chunks = min(images, CHUNKS)

    def draw(chunk: int) -> None:
        first, end = (images * k // chunks for k in (chunk, chunk + 1))
        inputs = [*mesh, first, *arguments]
        wp.launch(kernel, dim=(end - first, threads_per_image), inputs=inputs, device=device)

    if chunks == 1:
        draw(0)
    else:
        list(_threads.map(draw, range(chunks)))
