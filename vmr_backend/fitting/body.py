"""What the fitter asks of a body: a mesh that can be posed in a clip's frames, its penalties, its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..geometry.surface_points import SurfacePoints
from .batch import FrameBatch


@dataclass(frozen=True)
class Constraints:
    """How tightly a fit is held at one moment of a stage."""

    symmetry: float = 0.0
    """0..1, how far the rest mesh is forced onto its mirror image."""
    freedom: float = 1.0
    """0..1, how far the camera may leave an upright turn."""
    min_period: float = 0.0
    """Frames that a motion to and fro takes at the least."""


@dataclass(frozen=True)
class Pose:
    """A body in N frames; H hypotheses."""

    rest: Tensor
    """(H, V, 3), object units."""
    vertices: Tensor
    """(H, N, V, 3), object units."""
    motion: Tensor | None = None
    """What moves the rest mesh, in the body's own parameters; None for one that does not deform."""


class Body(Protocol):
    """A mesh with parameters of its own."""

    @property
    def faces(self) -> Tensor:
        """(F, 3) int64."""

    @property
    def rigid(self) -> bool:
        """Whether nothing but the camera moves it."""

    @property
    def free_hidden(self) -> bool:
        """Whether parts that others hide are free to leave them (see `losses.contour_loss`)."""

    @property
    def between(self) -> SurfacePoints | None:
        """Points of faces that are large for a contour to draw vertices alone; None where none are."""

    def posed(self, frames: Tensor, constraints: Constraints) -> Pose:
        """The body at indices of frames (N,)."""

    def colours(self, constraints: Constraints) -> Tensor | None:
        """Colours (H, V, 3) of the surface, 0..1; None where each frame's are compared with another frame's."""

    def regularisers(self, pose: Pose, points: Tensor, some: Tensor | None, batch: FrameBatch) -> dict[str, Tensor]:
        """Penalties (H,) of a pose, by the names of their weights.

        points  (H, N, V, 3) the vertices on the screen, crop units
        some    (H, K, V, 3) the vertices at a few of the frames, for what is too slow for all; None for a rigid body
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters with their learning rates, as `optimise.descend` takes them."""

    def whole(self) -> tuple[Tensor, Tensor]:
        """Rest (V, 3) and vertices (T, V, 3) in all frames, of the single hypothesis, as a result holds them."""

    def arrays(self, scale: Tensor) -> dict[str, Any]:
        """What a `Reconstruction` holds of the body besides vertices: faces, uv, bones, keypoints; object units times
        `scale`."""
