"""Drawings of toy animals, eggs with a nose, as examples that a small network is trained on in a moment."""

from __future__ import annotations

import torch

from vmr_backend.bodies.category import HANDLE_SIZE, CategoryShape, Handles
from vmr_backend.geometry.cameras import LEVEL_CAMERA, WeakCamera
from vmr_backend.geometry.rotations import about_z
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.rendering import get_renderer
from vmr_backend.training.augmentation import Examples
from vmr_backend.training.network import Trainer, TrainingPlan
from vmr_backend.training.perception import Perception
from vmr_backend.training.settings import TrainingSettings
from vmr_backend.vmr.model import Architecture, CategoryModel

SIZE = 32
SPHERE = icosphere(2)
MIRROR = torch.from_numpy(SPHERE.mirror)
BALL = torch.from_numpy(SPHERE.vertices).float()
BODY = BALL * torch.tensor([0.3, 0.5, 0.35]) + torch.relu(-BALL[:, 1:2] - 0.6) * torch.tensor([0.0, -0.5, 0.3])
"""(V, 3): an egg that stretches its nose out to -y and up."""
RENDERER = get_renderer("warp")
FRONT, TOP, LEFT = (int(BALL[:, axis].mul(sign).argmax()) for axis, sign in ((1, -1), (2, 1), (0, 1)))
KEYPOINTS = [FRONT, TOP, LEFT, int(MIRROR[LEFT])]
"""Vertices at which the keypoints are."""
KEYPOINT_MIRROR = torch.tensor([0, 1, 3, 2])
AFFINITY = torch.nn.functional.one_hot(torch.tensor(KEYPOINTS), len(BALL)).float()
WEIGHTS = TrainingSettings().weights()


def toy_shape(handles: int = 6) -> CategoryShape:
    return CategoryShape(BODY[None], SPHERE, Handles.spread_over(BODY, SPHERE, handles), 8.0)


def toy_camera(count: int, random: torch.Generator) -> WeakCamera:
    """Level cameras from all round, of several scales and shifts."""
    heading = 2 * torch.pi * torch.arange(count) / count + 0.3
    return WeakCamera(LEVEL_CAMERA @ about_z(heading), 0.9 + 0.3 * torch.rand(count, generator=random),
                      0.2 * torch.rand(count, 2, generator=random) - 0.1)


def drawn_masks(vertices: torch.Tensor, camera: WeakCamera, size: int = SIZE) -> torch.Tensor:
    """(N, size, size) in 0 and 1."""
    return (RENDERER.visibility(camera.project(vertices), torch.from_numpy(SPHERE.faces), size).face_index >= 0).float()


@torch.no_grad()
def toy_examples(count: int = 8, seed: int = 0, size: int = SIZE, bend: float = 0.1) -> Examples:
    """Toy animals in several poses, and all that belongs to them; colours stand for positions on the body."""
    random, shape = torch.Generator().manual_seed(seed), toy_shape()
    handles = bend * torch.randn(count, shape.weights.shape[1], HANDLE_SIZE, generator=random)
    vertices, camera = shape.deformed(BODY.expand(count, -1, -1), handles), toy_camera(count, random)
    seen = RENDERER.visibility(camera.project(vertices), shape.faces, size)
    corners = BALL[shape.faces[seen.face_index.clamp_min(0).long()]]
    colours = (corners * seen.barycentrics.unsqueeze(-1)).sum(-2) / 2 + 0.5
    masks = (seen.face_index >= 0).float()
    annotated = (torch.rand(count, len(KEYPOINTS), generator=random) < 0.9).float()
    return Examples(colours.movedim(-1, 1) * masks.unsqueeze(1), masks, (AFFINITY @ camera.project(vertices))[..., :2],
                    annotated, vertices, camera, torch.zeros(count, dtype=torch.int64))


def toy_model(refinements: int = 1) -> CategoryModel:
    """Untrained, the same each time."""
    torch.manual_seed(0)
    return CategoryModel(toy_shape(), Architecture("small", SIZE, 4, refinements))


def toy_trainer(examples: Examples | None = None, perception: Perception | None = None, **plan) -> Trainer:
    chosen = {"steps": 40, "batch": 5, "rate": 1e-3, "refinement_from": 0.0, "pictures_from": 0.0,
              "weights": WEIGHTS} | plan
    return Trainer(toy_model(), AFFINITY, examples or toy_examples(), KEYPOINT_MIRROR, TrainingPlan(**chosen), RENDERER,
                   3, perception)
