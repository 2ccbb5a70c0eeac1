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
from torch.nn.functional import pad

from . import warp_kernels as kernels
from .interface import BACKGROUND_DEPTH, Size, Visibility, check_inputs, depth_range, image_size, reach

NEGLIGIBLE = 1e-5
"""The backward pass passes over pixels whose gradient is below this part of the largest in their image."""

NO_FACE = 0x7FFFFFFFFFFFFFFF
"""Beyond every (depth, face) key of visibility."""

SLOTS = 16
"""Most launches that share a texture on the CPU. Fixed, since its gradients are added up per launch and their last
bits must not depend on the number of cores."""

_cores = os.cpu_count() or 1
_threads = ThreadPoolExecutor(_cores, thread_name_prefix="render")


class WarpRenderer:
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

    def attributes(
        self, points: Tensor, faces: Tensor, attributes: Tensor, size: Size, sigma: float, gamma: float
    ) -> tuple[Tensor, Tensor]:
        faces = self._indices(faces, points)
        attributes = attributes.expand(len(points), *attributes.shape[-2:])
        if attributes.shape[1] != points.shape[1]:
            raise ValueError(f"there are attributes of {attributes.shape[1]} vertices, but {points.shape[1]} points")
        return _Shading.apply(points, faces, faces, attributes, None, image_size(size), float(sigma), float(gamma))

    def textured(
        self, points: Tensor, faces: Tensor, uv: Tensor, texture: Tensor, size: Size, sigma: float, gamma: float
    ) -> tuple[Tensor, Tensor]:
        faces = self._indices(faces, points)
        if uv.shape != (len(faces), 3, 2):
            raise ValueError(f"uv have shape {tuple(uv.shape)}; {(len(faces), 3, 2)} is needed")
        texture = texture.reshape(-1, *texture.shape[-3:])
        if texture.shape[-1] != 3 or len(texture) not in (1, len(points)):
            raise ValueError(f"the texture has shape {tuple(texture.shape)}; (Ht, Wt, 3) or (N, Ht, Wt, 3) is needed")
        corners = torch.arange(3 * len(faces), dtype=torch.int32, device=points.device).view(-1, 3)
        places = uv.detach().reshape(1, -1, 2)
        return _Shading.apply(points, faces, corners, places, texture, image_size(size), float(sigma), float(gamma))

    def _indices(self, faces: Tensor, points: Tensor) -> Tensor:
        """The faces as kernels take them. Only faces other than the last ones are looked at: a GPU would have to finish
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
    """What the keys (N, H, W) say."""
    face_index, depth = torch.empty_like(nearest, dtype=torch.int32), torch.empty_like(nearest, dtype=points.dtype)
    barycentrics = points.new_empty((*nearest.shape, 3))
    seen = [_view(nearest), _view(face_index), _view(barycentrics, wp.vec3), _view(depth)]
    _launch(kernels.visibility_resolve, points, faces, nearest.shape[1], seen)
    return Visibility(face_index, barycentrics, depth)


class _Silhouette(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, faces, size, sigma):
        points = _float(points)
        log_background = _image(points, size)
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


class _Shading(torch.autograd.Function):
    """Image and alpha of faces whose corners carry values: the colours themselves, or places in a texture.

    corners  (F, 3) int32 rows of values at the corners of each face
    values   (N or 1, K, C)
    texture  (N or 1, Ht, Wt, 3), or None where the values are the colours
    """

    @staticmethod
    def forward(ctx, points, faces, corners, values, texture, size, sigma, gamma):
        points, values = _float(points), _float(values)
        texture = points.new_empty((0, 0, 0, 3)) if texture is None else _float(texture)
        channels = 3 if len(texture) else values.shape[-1]
        far, near = depth_range(points)
        depth_scale = torch.stack([far, 1.0 / (near - far)], -1)
        log_background, front = _image(points, size), _image(points, size).fill_(BACKGROUND_DEPTH)
        arguments = [size[1], sigma, reach(sigma), _view(depth_scale, wp.vec2), _lanes(log_background), _lanes(front)]
        _launch(kernels.shading_depth, points, faces, len(faces), arguments)
        scene = [size[1], sigma, reach(sigma), _view(depth_scale, wp.vec2), gamma, _lanes(front), _view(corners)]
        images = []
        for block in _blocks(values):
            colour, shares = _image(points, size, 4), torch.exp((BACKGROUND_DEPTH - front) / gamma)
            surface = [_view(block, wp.vec4), _view(texture, wp.vec3)]
            arguments = [*scene, *surface, _lanes(colour), _lanes(shares)]
            _launch(kernels.shading_forward, points, faces, len(faces), arguments)
            images.append(colour / shares[:, None])
        image = torch.cat(images, 1)
        background = log_background.exp_()
        ctx.save_for_backward(points, faces, corners, values, texture, depth_scale, front, image, shares, background)
        ctx.sigma, ctx.gamma, ctx.width = sigma, gamma, size[1]
        return image[:, :channels, :, : size[1]].movedim(1, -1), 1.0 - background[..., : size[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx, image_gradient, alpha_gradient):
        points, faces, corners, values, texture, depth_scale, front, image, shares, background = ctx.saved_tensors
        sensitivity = _sensitivity(alpha_gradient, background)
        padding = (0, image.shape[-1] - ctx.width, 0, 0, 0, image.shape[1] - image_gradient.shape[-1])
        per_share = pad(_without_negligible(image_gradient).movedim(-1, 1), padding) / shares[:, None]
        depth = [reach(ctx.sigma), _view(depth_scale, wp.vec2), ctx.gamma, _lanes(front)]
        scene = [ctx.width, ctx.sigma, *depth, _view(corners)]
        point_gradients = torch.zeros_like(points)
        texture_gradients = texture.new_zeros((SLOTS if len(texture) == 1 else len(texture), *texture.shape[1:]))
        value_gradients = []
        for block, gradient, drawn in zip(_blocks(values), per_share.split(4, 1), image.split(4, 1), strict=True):
            gradient, level = gradient.contiguous(), (gradient * drawn).sum(1)
            value_gradients.append(torch.zeros_like(block))
            surface = [_view(block, wp.vec4), _view(texture, wp.vec3)]
            incoming = [_lanes(gradient), _lanes(level), _lanes(sensitivity)]
            found = [_view(point_gradients, wp.vec3), _view(value_gradients[-1], wp.vec4)]
            arguments = [*scene, *surface, *incoming, *found, _view(texture_gradients, wp.vec3)]
            _launch(kernels.shading_backward, points, faces, len(faces), arguments, chunks=SLOTS)
            sensitivity = torch.zeros_like(sensitivity)  # alpha's gradient went with the first block
        values_gradient = torch.cat(value_gradients, -1)[..., : values.shape[-1]]
        if len(texture) == 1:
            texture_gradients = texture_gradients.sum(0, keepdim=True)
        texture_gradient = texture_gradients if len(texture) else None
        return point_gradients, None, None, values_gradient, texture_gradient, None, None, None


def _image(points: Tensor, size: tuple[int, int], *channels: int) -> Tensor:
    """Zeros (N, channels, H, W'), W' being the width filled up to whole blocks of lanes."""
    height, width = size
    return points.new_zeros((len(points), *channels, height, width + -width % kernels.LANES))


def _blocks(values: Tensor) -> list[Tensor]:
    """Channels (N, K, C) in blocks of the four that the kernels draw at once, the last one filled up with zeros."""
    return [block.contiguous() for block in pad(values, (0, -values.shape[-1] % 4)).split(4, -1)]


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


def _launch(kernel, points: Tensor, faces: Tensor, threads_per_image: int, arguments: list, chunks: int = 4 * _cores):
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
        inputs = [*mesh, 0, 0, *arguments]
        wp.launch(kernel, dim=(images, threads_per_image), inputs=inputs, device=device, stream=stream)
        return
    chunks = min(images, chunks)

    def draw(chunk: int) -> None:
        first, end = (images * k // chunks for k in (chunk, chunk + 1))
        inputs = [*mesh, first, chunk, *arguments]
        wp.launch(kernel, dim=(end - first, threads_per_image), inputs=inputs, device=device)

    if chunks == 1:
        draw(0)
    else:
        list(_threads.map(draw, range(chunks)))
