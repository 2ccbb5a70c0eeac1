"""The mesh of each training picture, fitted to its mask and keypoints by descent, and the category's mean shape.

CMR finds a mean shape and instance meshes through its network. Parameters of their own for every picture take a
fraction of the time; the network is then trained to predict them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import losses
from ..bodies.category import HANDLE_RATES, HANDLE_SIZE, SHAPE_RATE, CategoryShape, unevenness
from ..fitting import optimise
from ..fitting.camera import PLACEMENT_RATE, TURN_RATE
from ..fitting.optimise import RowAdam, UniformAdam, rows_of
from ..geometry.cameras import WeakCamera
from ..geometry.rotations import from_axis_angle
from ..rendering import Renderer
from ..rows import Rows
from ..vmr.objective import Targets, terms


@dataclass(frozen=True)
class Instances(Rows):
    """What is fitted for each of N pictures."""

    rotation: Tensor
    """(N, 3, 3) that the fit starts from, object to camera."""
    turn: Tensor
    """(N, 3) axis-angle after it, in the camera's axes."""
    placement: Tensor
    """(N, 3) shift in crop units and the scale's logarithm."""
    handles: Tensor
    """(N, H, HANDLE_SIZE)."""

    @staticmethod
    def of(camera: WeakCamera, handles: int) -> Instances:
        """Undeformed ones with these cameras."""
        rest = camera.rotation.new_zeros(len(camera.rotation), handles, HANDLE_SIZE)
        placement = torch.cat([camera.shift, camera.scale.log()[:, None]], 1)
        return Instances(camera.rotation, torch.zeros_like(placement), placement, rest)

    @property
    def camera(self) -> WeakCamera:
        return WeakCamera(from_axis_angle(self.turn) @ self.rotation, self.placement[:, 2].exp(), self.placement[:, :2])


def descend(shape: CategoryShape, instances: Instances, targets: Targets, affinity: Tensor | None,
            batches: Iterable[Tensor], weights: Mapping[str, float], renderer: Renderer, fit_shape: bool,
            progress: Callable[[dict[str, Tensor]], None]) -> None:
    """Improve instances in place, a batch (n,) of them at each step; also the shape's single basis if `fit_shape`."""
    tables = [table.flatten(1).detach().requires_grad_()
              for table in (instances.turn, instances.placement, instances.handles)]
    handles = tables[2].new_tensor(HANDLE_RATES).repeat(instances.handles.shape[1])
    groups = [{"params": [table], "lr": rate, "optimiser": RowAdam}
              for table, rate in zip(tables, (TURN_RATE, PLACEMENT_RATE, handles), strict=True)]
    if fit_shape:
        groups.append({"params": [shape.latent], "lr": SHAPE_RATE, "optimiser": UniformAdam})

    batches = list(batches)

    def evaluate(step: int) -> dict[str, Tensor]:
        batch = batches[step]
        turn, placement, handles = (rows_of(table, batch) for table in tables)
        some = Instances(instances.rotation[batch], turn, placement, handles.unflatten(1, (-1, HANDLE_SIZE)))
        base = shape.base(turn.new_ones(1, 1))
        base = (base if fit_shape else base.detach()).expand(len(batch), -1, -1)
        found = terms(shape, base, shape.deformed(base, some.handles), some.camera, affinity, targets[batch], renderer)
        found["handle"] = some.handles.square().sum(-1).mean(-1)
        found["proportion"] = unevenness(shape, some.handles)
        if fit_shape:
            found["laplacian"] = losses.laplacian_loss(base[:1], shape.edges)
        progress({name: value.detach() for name, value in found.items()})
        # A picture whose camera is not known counts for nothing, and harms no other.
        return {name: value.nanmean() for name, value in found.items() if weights.get(name)}

    optimise.descend(groups, evaluate, lambda step: weights, len(batches))
