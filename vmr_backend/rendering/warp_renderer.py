"""The renderer on NVIDIA Warp: runs the kernels over the batch, on the CPU spread over all cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import torch
import warp as wp
from torch import Tensor

from . import warp_kernels as kernels
from .interface import BACKGROUND_DEPTH, Size, Visibility, check_inputs, depth_range, image_size, reach

NEGLIGIBLE = 1e-5
"""The backward pass passes over pixels whose gradient is below this part of the largest in the batch."""

NO_FACE = 0x7FFFFFFFFFFFFFFF
"""Beyond every (depth, face) key of visibility."""

CHUNKS = 16
"""Launches per batch on the CPU. Fixed, since gradients of a shared texture are added up per launch: their last bits
must not depend on the number of cores."""

_threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="render")


class WarpRenderer:
    """Draws with Warp kernels on the CPU or a CUDA device (see interface.Renderer)."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def silhouette(self, points: Tensor, faces: Tensor, size: Size, sigma: float) -> Tensor:
        return _Silhouette.apply(points, _indices(faces, points), image_size(size), float(sigma))

    def visibility(self, points: Tensor, faces: Tensor, size: Size) -> Visibility:
        points, faces = _float(points), _indices(faces, points)
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

    def attributes(
        self, points: Tensor, faces: Tensor, attributes: Tensor, size: Size, sigma: float, gamma: float
    ) -> tuple[Tensor, Tensor]:
        faces = _indices(faces, points)
        attributes = attributes.expand(len(points), *attributes.shape[-2:])
        if attributes.shape[1] != points.shape[1]:
            raise ValueError(f"there are attributes of {attributes.shape[1]} vertices, but {points.shape[1]} points")
        return _Shading.apply(points, faces, faces, attributes, None, image_size(size), float(sigma), float(gamma))

    def textured(
        self, points: Tensor, faces: Tensor, uv: Tensor, texture: Tensor, size: Size, sigma: float, gamma: float
    ) -> tuple[Tensor, Tensor]:
        faces = _indices(faces, points)
        if uv.shape != (len(faces), 3, 2):
            raise ValueError(f"uv have shape {tuple(uv.shape)}; {(len(faces), 3, 2)} is needed")
        texture = texture.reshape(-1, *texture.shape[-3:])
        if texture.shape[-1] != 3 or len(texture) not in (1, len(points)):
            raise ValueError(f"the texture has shape {tuple(texture.shape)}; (Ht, Wt, 3) or (N, Ht, Wt, 3) is needed")
        corners = torch.arange(3 * len(faces), dtype=torch.int32, device=points.device).view(-1, 3)
        places = uv.detach().reshape(1, -1, 2)
        return _Shading.apply(points, faces, corners, places, texture, image_size(size), float(sigma), float(gamma))


class _Silhouette(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, faces, size, sigma):
        points = _float(points)
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
        sensitivity = _without_negligible(alpha_gradient * background)
        point_gradients = torch.zeros_like(points)
        arguments = [ctx.sigma, reach(ctx.sigma), wp.from_torch(sensitivity)]
        arguments.append(wp.from_torch(point_gradients, dtype=wp.vec3))
        _launch(kernels.silhouette_backward, len(points), len(faces), _mesh(points, faces), arguments)
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
        shape = (len(points), *size)
        far, near = depth_range(points)
        depth_scale = torch.stack([far, 1.0 / (near - far)], -1)
        log_background = points.new_zeros(shape)
        front = points.new_full(shape, BACKGROUND_DEPTH)
        mesh = _mesh(points, faces)
        depth = [sigma, reach(sigma), wp.from_torch(depth_scale, dtype=wp.vec2)]
        arguments = [*depth, wp.from_torch(log_background), wp.from_torch(front)]
        _launch(kernels.shading_depth, len(points), len(faces), mesh, arguments)
        background_share = torch.exp((BACKGROUND_DEPTH - front) / gamma)
        images = []
        for block in _blocks(values):
            colour, total = points.new_zeros((*shape, 4)), background_share.clone()
            arguments = _shading_arguments(sigma, gamma, depth_scale, front, corners, block, texture)
            arguments += [wp.from_torch(colour, dtype=wp.vec4), wp.from_torch(total)]
            _launch(kernels.shading_forward, len(points), len(faces), mesh, arguments)
            images.append(colour / total[..., None])
        image = torch.cat(images, -1)[..., :channels]
        background = log_background.exp_()
        ctx.save_for_backward(points, faces, corners, values, texture, depth_scale, front, image, total, background)
        ctx.sigma, ctx.gamma = sigma, gamma
        return image, 1.0 - background

    @staticmethod
    def backward(ctx, image_gradient, alpha_gradient):
        points, faces, corners, values, texture, depth_scale, front, image, total, background = ctx.saved_tensors
        sensitivity = _without_negligible(alpha_gradient * background)
        per_share = _without_negligible(image_gradient) / total[..., None]
        point_gradients = torch.zeros_like(points)
        texture_gradients = texture.new_zeros((max(len(texture), CHUNKS), *texture.shape[1:]))
        value_gradients = []
        for block, gradient, drawn in zip(_blocks(values), _blocks(per_share), _blocks(image), strict=True):
            level = (gradient * drawn).sum(-1)
            value_gradients.append(torch.zeros_like(block))
            arguments = _shading_arguments(ctx.sigma, ctx.gamma, depth_scale, front, corners, block, texture)
            arguments += [wp.from_torch(gradient, dtype=wp.vec4), wp.from_torch(level), wp.from_torch(sensitivity)]
            arguments += [wp.from_torch(g, dtype=d) for g, d in (
                (point_gradients, wp.vec3), (value_gradients[-1], wp.vec4), (texture_gradients, wp.vec3)
            )]
            _launch(kernels.shading_backward, len(points), len(faces), _mesh(points, faces), arguments)
            sensitivity = torch.zeros_like(sensitivity)  # alpha's gradient is in the first block's
        values_gradient = torch.cat(value_gradients, -1)[..., : values.shape[-1]]
        if len(texture) == 1:
            texture_gradients = texture_gradients.sum(0, keepdim=True)
        texture_gradient = texture_gradients[: len(texture)] if len(texture) else None
        return point_gradients, None, None, values_gradient, texture_gradient, None, None, None


def _shading_arguments(sigma, gamma, depth_scale, front, corners, block, texture) -> list:
    """What both shading kernels begin with, after the mesh."""
    depth = [sigma, reach(sigma), wp.from_torch(depth_scale, dtype=wp.vec2), gamma, wp.from_torch(front)]
    surface = [wp.from_torch(corners), wp.from_torch(block, dtype=wp.vec4), wp.from_torch(texture, dtype=wp.vec3)]
    return depth + surface


def _blocks(channels: Tensor) -> list[Tensor]:
    """The last axis in blocks of four, which is what the kernels draw at once, the last one filled up with zeros."""
    short = -channels.shape[-1] % 4
    return [block.contiguous() for block in torch.nn.functional.pad(channels, (0, short)).split(4, -1)]


def _float(values: Tensor) -> Tensor:
    return values.detach().float().contiguous()


def _indices(faces: Tensor, points: Tensor) -> Tensor:
    check_inputs(points, faces)  # a kernel would read beyond the points
    return faces.to(device=points.device, dtype=torch.int32).contiguous()


def _without_negligible(gradient: Tensor) -> Tensor:
    """Gradients of pixels, with those that do not count set to zero so that the kernels pass over them."""
    if gradient.numel() == 0:
        return gradient.contiguous()
    size = gradient.abs()
    return gradient.masked_fill(size <= NEGLIGIBLE * size.max(), 0.0).contiguous()


def _mesh(points: Tensor, faces: Tensor) -> list:
    return [wp.from_torch(points, dtype=wp.vec3), wp.from_torch(faces)]


def _launch(kernel, images: int, threads_per_image: int, mesh: list, arguments: list) -> None:
    """Runs the kernel for every image.

    On the CPU the batch is cut into chunks, which the cores share; an image is drawn by one thread from its first face
    to its last, so that results never depend on timing. On CUDA all images are one launch.
    """
    if images == 0 or threads_per_image == 0:
        return
    device = mesh[0].device
    if device.is_cuda:
        stream = wp.stream_from_torch(torch.cuda.current_stream(torch.device(str(device))))
        inputs = [*mesh, 0, 0, *arguments]
        wp.launch(kernel, dim=(images, threads_per_image), inputs=inputs, device=device, stream=stream)
        return

    chunks = min(images, CHUNKS)

    def draw(chunk: int) -> None:
        first, end = (images * k // chunks for k in (chunk, chunk + 1))
        inputs = [*mesh, first, chunk, *arguments]
        wp.launch(kernel, dim=(end - first, threads_per_image), inputs=inputs, device=device)

    if chunks == 1:
        draw(0)
    else:
        list(_threads.map(draw, range(chunks)))
