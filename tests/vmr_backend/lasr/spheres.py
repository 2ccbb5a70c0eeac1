"""The model as a fit starts with it: a sphere, seen by a camera for each hypothesis."""

import math

import numpy as np
import torch

from vmr_backend.bodies.sphere_bones import RestMesh
from vmr_backend.fitting.camera import ELEVATION, CameraPath
from vmr_backend.fitting.search import Starts, starts_of
from vmr_backend.fitting.view import View
from vmr_backend.geometry.body import BODY_RADIUS
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.video.footage import Footage


def sphere_seen_by(view: View, starts: Starts) -> Model:
    torch.manual_seed(0)
    vertices = BODY_RADIUS * torch.from_numpy(icosphere(3).vertices).float()
    mesh = RestMesh(vertices.expand(len(starts.turn), -1, -1), icosphere(3), 10.0)
    return Model(view, mesh, camera_from(view, starts))


def camera_from(view: View, starts: Starts) -> CameraPath:
    turn, tilt = (torch.from_numpy(path).float() for path in (starts.turn, starts.tilt))
    return CameraPath(view, turn, tilt, ELEVATION, starts.solved)


def unknown(count: int, view: View) -> Starts:
    """The paths that are tried where nothing is known."""
    numbers = np.asarray(view.numbers)
    return starts_of(count, Known(), numbers, np.zeros(len(numbers)))


def view_of(footage: Footage, field_of_view: float) -> View:
    """How the footage's camera, of a horizontal angle in degrees, sees its crops."""
    width, height = footage.image_size
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    intrinsics = torch.tensor([focal, focal, width / 2, height / 2]).expand(len(footage.numbers), 4)
    return View(torch.from_numpy(footage.numbers).float(), intrinsics, torch.from_numpy(footage.crop_centre),
                torch.from_numpy(footage.crop_half))
