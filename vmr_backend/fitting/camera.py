"""Cameras that are fitted: a smooth path over the clip for each hypothesis, or a camera for each frame by itself."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import losses
from ..geometry.body import BODY_RADIUS
from ..geometry.cameras import LEVEL_CAMERA, Camera, WeakCamera, zoomed
from ..geometry.rotations import about_x, about_z, from_axis_angle
from .batch import FrameBatch
from .body import Constraints
from .optimise import RowAdam, rows_of
from .time_networks import TimeNetwork, time_embedding
from .view import View

ELEVATION = 0.15
"""Radians by which cameras look down on subjects, where nothing speaks against it."""

INITIAL_COVER = 0.5
"""Radius, in crop units, that a sphere of BODY_RADIUS has in the picture at the camera's initial distance."""

PATH_RATE, ZOOM_RATE = 5e-3, 2e-2
"""Learning rates of a path and of its focal length, measured."""

SETTLED = 0.03
"""Factor of the rate at which a path still turns once the body deforms. At the full rate bones and camera trade a turn
for a stretch, and a path that the rigid stage had found to within 5 degrees is lost."""

TURN_RATE, PLACEMENT_RATE = 0.01, 0.01
"""Of the cameras of single frames: radians, crop units (also of the scale's logarithm); measured."""


class Cameras(Protocol):
    """Object to camera in a clip's frames, with parameters of its own."""

    view: View

    def at(self, frames: Tensor, constraints: Constraints) -> Camera:
        """Cameras (H, N) in crop coordinates at indices of frames (N,)."""

    def regularised(self, batch: FrameBatch, constraints: Constraints) -> tuple[Camera, dict[str, Tensor]]:
        """Those of a batch, and their penalties (H,) by the names of their weights."""

    def in_footage(self) -> Camera:
        """Those of the first hypothesis in all frames, intrinsics in pixels of the full frame."""

    def parameter_groups(self, rigid: bool) -> list[dict[str, Any]]:
        """Parameters with their learning rates, as `optimise.descend` takes them; rigid: of a body that is so."""


class CameraPath(nn.Module):
    """Object to camera at each frame: an upright turn, then small free rotations; the crop gives the rough position."""

    turn: Tensor
    tilt: Tensor
    axes: Tensor
    bearing: Tensor
    step: Tensor
    depth: Tensor

    def __init__(self, view: View, turn: Tensor, tilt: Tensor, solved: bool = False):
        """turn (H, T) yaw of the subject in radians and tilt (H, T, 3, 3) after it that the hypotheses start from.

        solved  these are exact but for the heading
        """
        super().__init__()
        self.view, self.solved = view, solved
        self.settled = SETTLED
        """Factor of the rate at which it still turns once the body deforms."""
        hypotheses, frames = turn.shape
        self.register_buffer("turn", turn)
        self.register_buffer("tilt", tilt)
        self.register_buffer("axes", LEVEL_CAMERA.to(turn.device))
        self.heading = nn.Parameter(turn.new_zeros(hypotheses, 1))
        self.elevation = nn.Parameter(turn.new_full((hypotheses, 1), ELEVATION))
        self.slow = TimeNetwork(hypotheses, time_embedding(view.numbers, min(6, max(2, frames // 16))), 4)
        self.fast = TimeNetwork(hypotheses, time_embedding(view.numbers, max(2, frames // 3)), 3)
        self.log_zoom = nn.Parameter(turn.new_zeros(hypotheses, 1))
        focal, centre = view.intrinsics[:, :2], view.intrinsics[:, 2:]
        self.register_buffer("bearing", (view.crop_centre - centre) / focal)
        self.register_buffer("step", view.crop_half.unsqueeze(1) / focal)
        self.register_buffer("depth", BODY_RADIUS / INITIAL_COVER * focal[:, 0] / view.crop_half)

    def forward(self, freedom: float) -> tuple[Tensor, Tensor]:
        """Rotations (H, T, 3, 3) and translations (H, T, 3); `freedom` scales what leaves the upright turn."""
        slow, fast = self.slow(), self.fast()
        yaw = self.turn + self.heading + 3 * slow[..., 0]
        free = from_axis_angle(freedom * slow[..., 1:4])
        rotation = free @ self.tilt @ about_x(self.elevation) @ self.axes @ about_z(yaw)
        depth = self.depth * fast[..., 2].exp()
        lateral = (self.bearing + self.step * fast[..., :2]) * depth.unsqueeze(-1)
        return rotation, torch.cat([lateral, (self.zoom() * depth).unsqueeze(-1)], -1)

    def zoom(self) -> Tensor:
        """Factor (H, 1) of the focal length, the same for the whole clip.

        The distance has the same factor, and the way beside the camera's axis, which is distance over focal length, has
        none. So the subject keeps its position and size in the picture, and only its perspective changes: a dolly zoom.
        """
        return self.log_zoom.exp()

    def at(self, frames: Tensor, constraints: Constraints) -> Camera:
        rotation, translation = self(constraints.freedom)
        return self._cropped(rotation, translation, frames)

    def regularised(self, batch: FrameBatch, constraints: Constraints) -> tuple[Camera, dict[str, Tensor]]:
        rotation, translation = self(constraints.freedom)
        camera = self._cropped(rotation, translation, batch.frames)
        penalties = {"steadiness": losses.unsteadiness_loss(rotation),
                     "elevation": (self.elevation[:, 0] - ELEVATION).square(), "lens": self.log_zoom[:, 0].square()}
        if (hints := self.view.hints) is not None:
            penalties["hints"] = losses.hint_loss(rotation[:, hints.frames], hints.rotations)
        return camera, penalties

    def in_footage(self) -> Camera:
        rotation, translation = self(1.0)
        return Camera(rotation[0], translation[0], zoomed(self.view.intrinsics, self.zoom()[0]))

    def parameter_groups(self, rigid: bool) -> list[dict[str, Any]]:
        heading = PATH_RATE * (1 if rigid else self.settled)
        # A rigid shape is too rough to tell perspective by.
        rates = [([self.heading], heading),
                 ([self.elevation, *self.slow.parameters()], 0.0 if self.solved else heading),
                 (self.fast.parameters(), PATH_RATE),
                 ([self.log_zoom], ZOOM_RATE if self.view.guessed and not rigid else 0.0)]
        return [{"params": parameters, "lr": rate} for parameters, rate in rates]

    def _cropped(self, rotation: Tensor, translation: Tensor, frames: Tensor) -> Camera:
        return Camera(rotation[:, frames], translation[:, frames], zoomed(self.view.in_crop[frames], self.zoom()))


class FrameCameras(nn.Module):
    """A camera for each frame by itself, in perspective; one hypothesis.

    Placements are those of a weak perspective camera that shows the subject's middle as large.
    """

    rotation: Tensor
    """(T, 3, 3) that the fit starts from, object to camera."""

    def __init__(self, view: View, weak: WeakCamera):
        """weak  T weak perspective cameras, in crop coordinates"""
        super().__init__()
        self.view = view
        self.turn = nn.Parameter(torch.zeros_like(weak.rotation[:, 0]))
        self.placement = nn.Parameter(torch.cat([weak.shift, weak.scale.log()[:, None]], 1))
        # Perspective shows a subject that stands off the middle from aside, parallel rays do not.
        self.register_buffer("rotation", _towards(self._rays(weak.shift, slice(None))) @ weak.rotation)

    def at(self, frames: Tensor, constraints: Constraints) -> Camera:
        return self._at(frames)[0]

    def regularised(self, batch: FrameBatch, constraints: Constraints) -> tuple[Camera, dict[str, Tensor]]:
        camera, positions = self._at(batch.frames)
        if not batch.run:
            return camera, {}
        unsteady = losses.unsteadiness_loss(batch.in_runs(camera.rotation[0]))
        return camera, {"steadiness": (unsteady + losses.acceleration_loss(batch.in_runs(positions))).mean()[None]}

    def in_footage(self) -> Camera:
        camera, _ = self._at(torch.arange(len(self.turn), device=self.turn.device))
        return Camera(camera.rotation[0], camera.translation[0], self.view.intrinsics)

    def parameter_groups(self, rigid: bool) -> list[dict[str, Any]]:
        return [{"params": [table], "lr": rate, "optimiser": RowAdam}
                for table, rate in ((self.turn, TURN_RATE), (self.placement, PLACEMENT_RATE))]

    def _at(self, frames: Tensor) -> tuple[Camera, Tensor]:
        """Cameras (1, N) in crop coordinates, and positions (N, 3) of the subject in units that do not depend on the
        crop: picture shift and logarithm of size."""
        placement = rows_of(self.placement, frames)
        rotation = from_axis_angle(rows_of(self.turn, frames)) @ self.rotation[frames]
        focal, half = self.view.intrinsics[frames, :2], self.view.crop_half
        depth = focal[:, 0] / (placement[:, 2].exp() * half[frames])
        rays = self._rays(placement[:, :2], frames)
        positions = torch.cat([rays[:, :2] * focal / half.mean(), -depth.log()[:, None]], 1)
        return Camera(rotation[None], (rays * depth.unsqueeze(-1))[None], self.view.in_crop[frames]), positions

    def _rays(self, shift: Tensor, frames: Tensor | slice) -> Tensor:
        """(N, 3) towards the subject's middle, which crops have at a shift (N, 2), at depth 1."""
        pixel = self.view.crop_centre[frames] + self.view.crop_half[frames, None] * shift
        across = (pixel - self.view.intrinsics[frames, 2:]) / self.view.intrinsics[frames, :2]
        return torch.cat([across, torch.ones_like(across[:, :1])], 1)


def _towards(rays: Tensor) -> Tensor:
    """(N, 3, 3) the shortest turns that carry the camera's axis to rays (N, 3)."""
    x, y, _ = functional.normalize(rays, dim=1).unbind(1)
    axis = torch.stack([-y, x, torch.zeros_like(x)], 1)
    sine = axis.norm(dim=1, keepdim=True)
    return from_axis_angle(axis / sine.clamp_min(1e-9) * torch.asin(sine.clamp_max(1)))
