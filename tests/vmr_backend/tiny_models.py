"""Small category models of egg-shaped animals, and cameras that see them, made in a line."""

from __future__ import annotations

import torch

from vmr_backend.annotations import Category
from vmr_backend.bodies.category import CategoryShape, Handles
from vmr_backend.geometry.cameras import LEVEL_CAMERA, WeakCamera
from vmr_backend.geometry.rotations import about_z
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.rendering import get_renderer
from vmr_backend.vmr.model import Architecture, CategoryModel
from vmr_backend.vmr.model_file import LoadedModel, ModelCard

LEVEL = 2
SPHERE = icosphere(LEVEL)
EGGS = ((0.3, 0.5, 0.35), (0.2, 0.5, 0.25), (0.25, 0.4, 0.45))
"""Half extents along x, y and z."""
BALL = torch.from_numpy(SPHERE.vertices).float()
RENDERER = get_renderer("warp")


def eggs(count: int = 2) -> torch.Tensor:
    """(count, V, 3), symmetric."""
    return torch.stack([BALL * torch.tensor(radii) for radii in EGGS[:count]])


def shape_of(bases: torch.Tensor, handles: int = 8, strength: float = 8.0) -> CategoryShape:
    return CategoryShape(bases, SPHERE, Handles.spread_over(bases[0], SPHERE, handles), strength)


def model_of(bases: int = 2, **architecture) -> CategoryModel:
    """Untrained, the same each time."""
    torch.manual_seed(0)
    chosen = {"image_size": 64, "hypotheses": 4, "refinements": 1} | architecture
    return CategoryModel(shape_of(eggs(bases)), Architecture(**chosen))


def taught_a_little(model: CategoryModel) -> CategoryModel:
    """With no layer that outputs zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter is not model.shape.latent:
                parameter += 0.03 * torch.randn_like(parameter)
    return model


def loaded() -> LoadedModel:
    """A model as one from a file: of an egg with two keypoints."""
    model = taught_a_little(model_of())
    affinity = torch.nn.functional.one_hot(torch.tensor([0, 7]), len(model.shape.places)).float()
    return LoadedModel(model.eval(), affinity, ModelCard(Category("egg", ("left end", "right end")), "weak",
                                                         model.architecture, "none", {"iou": 0.5}))


def level_camera(count: int = 1, heading: float = 0.0, scale: float = 1.0, shift=(0.0, 0.0)) -> WeakCamera:
    """In front of the animal, which has turned by a heading in radians, counter-clockwise seen from above."""
    rotation = (LEVEL_CAMERA @ about_z(torch.tensor(heading))).expand(count, 3, 3)
    return WeakCamera(rotation, torch.full((count,), scale), torch.tensor(shift).expand(count, 2))


def pictures(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and discs of several sizes: images (N, 3, S, S), masks (N, S, S)."""
    random = torch.Generator().manual_seed(3)
    images = torch.rand(count, 3, size, size, generator=random)
    x = (2 * torch.arange(size) + 1) / size - 1
    radii = torch.linspace(0.4, 0.8, count)
    return images, ((x[:, None].square() + x.square()).sqrt() < radii[:, None, None]).float()
