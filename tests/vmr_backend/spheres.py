"""What a fit starts with: a fitter on the CPU, and a sphere seen by a camera for each hypothesis."""

import math

import numpy as np
import torch
from torch import nn

from vmr_backend.bodies.sphere_bones import RestMesh, SphereBones
from vmr_backend.fitting.body import Constraints
from vmr_backend.fitting.camera import CameraPath
from vmr_backend.fitting.fitter import Fitter, Solution
from vmr_backend.fitting.search import Starts, starts_of
from vmr_backend.fitting.view import View
from vmr_backend.geometry.body import BODY_RADIUS
from vmr_backend.geometry.cameras import project
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.priors import Priors
from vmr_backend.rendering import get_renderer
from vmr_backend.settings import Settings
from vmr_backend.video.footage import Footage

CPU = torch.device("cpu")
FRAMES = 9
EVERY = torch.arange(FRAMES)
VIEW = View(EVERY, torch.tensor([400.0, 400, 100, 60]).expand(FRAMES, 4),
            torch.stack([torch.linspace(60, 140, FRAMES), torch.linspace(90, 40, FRAMES)], 1),
            torch.linspace(30, 50, FRAMES))
"""Of crops that move and grow."""


def fitter_of(footage: Footage, settings: Settings) -> Fitter:
    return Fitter(footage, settings, get_renderer("warp", CPU), CPU)


def sphere_seen_by(view: View, starts: Starts) -> Solution[SphereBones]:
    torch.manual_seed(0)
    vertices = BODY_RADIUS * torch.from_numpy(icosphere(3).vertices).float()
    mesh = RestMesh(vertices.expand(len(starts.turn), -1, -1), icosphere(3), 10.0)
    return Solution(SphereBones(view, mesh), camera_from(view, starts))


def camera_from(view: View, starts: Starts) -> CameraPath:
    turn, tilt = (torch.from_numpy(path).float() for path in (starts.turn, starts.tilt))
    return CameraPath(view, turn, tilt, starts.solved)


def unknown(count: int, view: View) -> Starts:
    """The paths that are tried where nothing is known."""
    numbers = np.asarray(view.numbers)
    return starts_of(count, Priors(), numbers, np.zeros(len(numbers)))


def view_of(footage: Footage, field_of_view: float) -> View:
    """How the footage's camera, of a horizontal angle in degrees, sees its crops."""
    width, height = footage.image_size
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    intrinsics = torch.tensor([focal, focal, width / 2, height / 2]).expand(len(footage.numbers), 4)
    return View(torch.from_numpy(footage.numbers).float(), intrinsics, torch.from_numpy(footage.crop_centre),
                torch.from_numpy(footage.crop_half))


def screen(solution: Solution, frames: torch.Tensor = EVERY) -> torch.Tensor:
    """Vertices (H, N, V, 3) of all hypotheses at frames (N,), in crop coordinates."""
    free = Constraints()
    return project(solution.body.posed(frames, free).vertices, solution.cameras.at(frames, free))


def stirred(module: nn.Module, amount=0.1, seed=0) -> nn.Module:
    """With noise on every parameter, as after some fitting."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += amount * torch.randn_like(parameter)
    return module
