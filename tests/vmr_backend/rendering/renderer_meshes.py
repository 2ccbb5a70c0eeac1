"""Tiny meshes on the screen for the renderer's tests."""

import torch
from torch import Tensor

from vmr_backend.geometry.cameras import Camera, project
from vmr_backend.geometry.rotations import about_x, about_z
from vmr_backend.geometry.sphere import icosphere


def scattered_faces(seed: int = 0, images: int = 2, faces: int = 30, spread: float = 0.9) -> tuple[Tensor, Tensor]:
    """A different cloud of overlapping triangles in each image: points (N, 3F, 3) and faces (F, 3)."""
    random = torch.Generator().manual_seed(seed)
    centres = spread * (2.0 * torch.rand(images, faces, 1, 2, generator=random) - 1.0)
    corners = centres + 0.35 * torch.randn(images, faces, 3, 2, generator=random)
    depth = 2.0 + 2.0 * torch.rand(images, faces, 3, 1, generator=random)
    return torch.cat([corners, depth], -1).flatten(1, 2), torch.arange(3 * faces).view(faces, 3)


def sheet(rows: int = 5, images: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A crumpled sheet of squares cut in two, whose faces share vertices and edges."""
    random = torch.Generator().manual_seed(seed)
    line = torch.linspace(-0.7, 0.7, rows)
    grid = torch.stack([*torch.meshgrid(line, line, indexing="xy"), torch.full((rows, rows), 3.0)], -1).view(-1, 3)
    points = grid + 0.05 * torch.randn(images, rows * rows, 3, generator=random)
    corner = torch.arange(rows * rows).view(rows, rows)[:-1, :-1].reshape(-1, 1)
    faces = corner + torch.tensor([[0, 1, rows], [1, rows + 1, rows]]).view(2, 1, 3)
    return points, faces.view(-1, 3)


def ball(radius: float = 0.5, level: int = 2) -> tuple[Tensor, Tensor]:
    """A closed sphere 3 units before the camera, seen from the side: points (1, V, 3) and faces (F, 3)."""
    sphere = icosphere(level)
    rotation = about_x(torch.tensor(1.3)) @ about_z(torch.tensor(0.4))
    camera = Camera(rotation, torch.tensor([0.1, -0.05, 3.0]), torch.tensor([5.0, 5.0, 0.0, 0.0]))
    return project(radius * torch.from_numpy(sphere.vertices).float(), camera)[None], torch.from_numpy(sphere.faces)
