"""The mesh of each training picture, fitted to its mask and keypoints by descent, and the category's mean shape.

CMR learns a mean shape and instance meshes through its network. Parameters of their own for every picture find them in
a fraction of the time; the network then learns to tell them from pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from ..geometry.smoothing import UniformAdam
from ..losses import laplacian_loss, weighted
from ..rendering import Renderer
from ..vmr.instances import HANDLE_RATES, PLACE_RATE, SHAPE_RATE, TURN_RATE, Instances, RowAdam, unevenness
from ..vmr.objective import Targets, terms
from ..vmr.shape import CategoryShape


def descend(shape: CategoryShape, instances: Instances, targets: Targets, affinity: Tensor | None,
            batches: Iterable[Tensor], weights: Mapping[str, float], renderer: Renderer, learn_shape: bool,
            progress: Callable[[dict[str, Tensor]], None]) -> None:
    """Improve instances in place, a batch (n,) of them at each step; also the shape's single basis if `learn_shape`."""
    tables = [(instances.turn, TURN_RATE), (instances.place, PLACE_RATE), (instances.handles, HANDLE_RATES)]
    optimiser = RowAdam([(table, table.new_tensor(rate)) for table, rate in tables])
    shared = UniformAdam([{"params": [shape.latent], "lr": SHAPE_RATE}])
    for batch in batches:
        leaves = [table[batch].requires_grad_() for table, _ in tables]
        some = Instances(instances.rotation[batch], *leaves)
        base = shape.base(instances.turn.new_ones(1, 1))
        base = (base if learn_shape else base.detach()).expand(len(batch), -1, -1)
        found = terms(shape, base, shape.deformed(base, some.handles), some.camera, affinity, targets[batch], renderer)
        found["handle"] = some.handles.square().sum(-1).mean(-1)
        found["proportion"] = unevenness(shape, some.handles)
        if learn_shape:
            found["laplacian"] = laplacian_loss(base[:1], shape.edges)
        total = weighted(found, weights)
        shape.latent.grad = None
        total.backward()
        optimiser.step(batch, [leaf.grad for leaf in leaves])
        if learn_shape:
            shared.step()
        progress({name: value.detach() for name, value in found.items()})
