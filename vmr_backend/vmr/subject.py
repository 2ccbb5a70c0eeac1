"""The subject of a clip, fitted to all of its frames at once: one base shape, and for each frame handles and a camera.

A category model says of each frame by itself what it shows. Here the frames agree on one subject: its base shape is
shared, its surface moves as optical flow does, and its colours are the same in every frame (VMR 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .. import losses
from ..geometry.arap import arap_energy
from ..geometry.cameras import Camera, project
from ..geometry.rotations import from_axis_angle
from ..geometry.smoothing import UniformAdam, falling
from ..rendering import Renderer
from ..rendering.surface import HIDDEN_DEPTH, Surface, facing_all_round, facing_of
from ..settings import Settings
from ..video.footage import Footage
from ..video.guided_flow import guided_flows
from ..video.observations import Link, Observations, look_up, observe
from ..video.view import View
from .instances import HANDLE_RATES, PLACE_RATE, SHAPE_RATE, TURN_RATE, Instances, RowAdam, lopsidedness, unevenness
from .model import CategoryModel, State
from .model_file import STRENGTH
from .objective import softness
from .shape import CategoryShape, Handles, shares_of

SIZE = 128
"""Pixels across the crops that the subject is compared with."""
POSES = 2
"""Of an iteration's frames, how many are seen from a random side, too."""
RUN = 4
"""Frames that follow one another in what an iteration looks at: enough to see a motion speed up."""
GUIDED = (1 / 3, 2 / 3)
"""Shares of the iterations after which flow across long gaps is found with the subject's help."""
FINAL_RATE = 0.05
"""Of the learning rates, reached along a cosine."""


@dataclass(frozen=True)
class Subject:
    """What is fitted: T frames of a subject, seen in perspective."""

    shape: CategoryShape
    """Of a single basis: the subject's own base shape."""
    instances: Instances
    """Of each frame. Places are those of a weak perspective camera that shows the subject's middle as large."""
    view: View

    @staticmethod
    def of(model: CategoryModel, state: State, view: View, base: Tensor | None = None) -> Subject:
        """As a model believes it of each frame (T of them); base (1, V, 3)  where it is known better."""
        if base is None:
            base = model.shape.base(shares_of(state.basis_logits).mean(0, keepdim=True)).detach()
        shape = CategoryShape(base, model.shape.sphere, Handles(model.shape.weights, model.shape.twin), STRENGTH)
        subject = Subject(shape.to(base.device), replace(
            Instances.of(state.camera, state.handles.shape[1]), handles=state.handles.clone()), view)
        # Perspective shows a subject that stands off the middle from aside, parallel rays do not.
        aside = _towards(subject._rays(torch.arange(len(state.placement))))
        return replace(subject, instances=replace(subject.instances, rotation=aside @ state.rotation))

    def __len__(self) -> int:
        return len(self.instances.place)

    def base(self) -> Tensor:
        """(1, V, 3), object units."""
        return self.shape.base(self.shape.latent.new_ones(1, 1))

    def vertices(self, base: Tensor, instances: Instances) -> Tensor:
        """(N, V, 3) of some instances."""
        return self.shape.deformed(base.expand(len(instances.place), -1, -1), instances.handles)

    def camera(self, instances: Instances, frames: Tensor) -> Camera:
        """Of some instances, those of `frames` (N,); object to camera, intrinsics of the crops."""
        depth = self._depth(instances, frames)
        translation = self._rays(frames, instances) * depth.unsqueeze(-1)
        return Camera(instances.camera.rotation, translation, self.view.in_crop[frames])

    def places(self, instances: Instances, frames: Tensor) -> Tensor:
        """(N, 3) where the subject is, in units that do not depend on the crop: picture shift and logarithm of size."""
        depth = self._depth(instances, frames)
        shift = self._rays(frames, instances)[:, :2] * self._focal(frames) / self.view.crop_half.mean()
        return torch.cat([shift, -depth.log()[:, None]], 1)

    def _focal(self, frames: Tensor) -> Tensor:
        return self.view.intrinsics[frames, :2]

    def _depth(self, instances: Instances, frames: Tensor) -> Tensor:
        """(N,) object units."""
        return self._focal(frames)[:, 0] / (instances.camera.scale * self.view.crop_half[frames])

    def _rays(self, frames: Tensor, instances: Instances | None = None) -> Tensor:
        """(N, 3) towards the subject's middle, at depth 1."""
        shift = (self.instances[frames] if instances is None else instances).camera.shift
        pixel = self.view.crop_centre[frames] + self.view.crop_half[frames, None] * shift
        across = (pixel - self.view.intrinsics[frames, 2:]) / self._focal(frames)
        return torch.cat([across, torch.ones_like(across[:, :1])], 1)


def _towards(rays: Tensor) -> Tensor:
    """(N, 3, 3) the shortest turns that carry the camera's axis to rays (N, 3)."""
    x, y, _ = functional.normalize(rays, dim=1).unbind(1)
    axis = torch.stack([-y, x, torch.zeros_like(x)], 1)
    sine = axis.norm(dim=1, keepdim=True)
    return from_axis_angle(axis / sine.clamp_min(1e-9) * torch.asin(sine.clamp_max(1)))


@dataclass(frozen=True)
class Looked:
    """The frames that one iteration looks at, and the flow between them; B frames in all."""

    frames: Tensor
    """(B,) places among the clip's frames."""
    later: Tensor
    """(B,) place in `frames` of the frame that flow forward leads to; a frame's own where none does."""
    earlier: Tensor
    """(B,), likewise backward."""
    link: Link
    runs: bool
    """Whether RUN frames each follow one another."""

    @staticmethod
    def draw(seen: Observations, count: int, number: int, random: np.random.Generator) -> Looked:
        """About `count` frames for iteration `number`: runs of neighbours, and pairs far apart in turn."""
        total, far = len(seen.masks), seen.links[1:]
        device = seen.masks.device
        if number % 2 and far:
            link = far[number // 2 % len(far)]
            starts = torch.from_numpy(random.permutation(total - link.gap)[: max(1, count // 2)])
            place = torch.arange(2 * len(starts))
            ahead = place < len(starts)
            frames = torch.cat([starts, starts + link.gap])
            partner = place.roll(len(starts))
            later, earlier = torch.where(ahead, partner, place), torch.where(ahead, place, partner)
            return Looked(frames.to(device), later.to(device), earlier.to(device), link, False)
        run = min(RUN, total)
        # Beyond both ends, too, so that the first and last frames are looked at as often as others.
        first = random.integers(-(run // 2), total - run + run // 2 + 1, max(1, count // run))
        starts = torch.from_numpy(first.clip(0, total - run))
        frames = (starts[:, None] + torch.arange(run)).flatten()
        place = torch.arange(len(frames)).view(-1, run)
        later = torch.cat([place[:, 1:], place[:, -1:]], 1).flatten()
        earlier = torch.cat([place[:, :1], place[:, :-1]], 1).flatten()
        return Looked(frames.to(device), later.to(device), earlier.to(device), seen.links[0], True)

    def in_runs(self, values: Tensor) -> Tensor:
        """(B / RUN, RUN, ...) of values (B, ...)."""
        return values.unflatten(0, (-1, min(RUN, len(self.frames))))


def terms(subject: Subject, instances: Instances, seen: Observations, looked: Looked,
          renderer: Renderer) -> dict[str, Tensor]:
    """Every term, unweighted, of the frames looked at; one value each, or one per frame.

    instances  the subject's of these frames
    """
    shape, frames, base = subject.shape, looked.frames, subject.base()
    vertices, camera = subject.vertices(base, instances), subject.camera(instances, frames)
    points = project(vertices, camera)
    alpha = renderer.silhouette(points, shape.faces, seen.size, softness(seen.size))
    found = {
        "mask": losses.silhouette_loss(alpha, seen.masks[frames], seen.weights[frames]),
        "contour": losses.contour_loss(points[..., :2], seen.places[frames]),
        "arap": arap_energy(base, vertices, shape.edges, shape.cotangents(base[0])),
        "laplacian": losses.laplacian_loss(base, shape.edges),
        "handle": instances.handles.square().sum(-1).mean(-1),
        "proportion": unevenness(shape, instances.handles),
        "mirror": lopsidedness(shape, instances.handles),
    }
    found |= _surface_terms(points, shape.faces, seen, looked, renderer)
    found["facing"] = found["facing"].mean() + _facing_beside(vertices, shape, renderer)
    if looked.runs:
        motion, turning, places = (looked.in_runs(values) for values in (
            instances.handles.flatten(1), camera.rotation, subject.places(instances, frames)))
        found["temporal"] = losses.acceleration_loss(motion) / instances.handles.shape[1]
        found["steadiness"] = losses.unsteadiness_loss(turning) + losses.acceleration_loss(places)
    return found


def _facing_beside(vertices: Tensor, shape: CategoryShape, renderer: Renderer) -> Tensor:
    """The facing loss of some of the meshes (B, V, 3), each from a random side; a number."""
    some = torch.randperm(len(vertices), device=vertices.device)[:POSES]
    return facing_all_round(vertices[some].unsqueeze(0), shape.faces, renderer)[0]


def _surface_terms(points: Tensor, faces: Tensor, seen: Observations, looked: Looked,
                   renderer: Renderer) -> dict[str, Tensor]:
    """Flow, colour carried from frame to frame, and walls inside out, at the sampled pixels of points (B, V, 3) on the
    screen; (B,)."""
    frames, screen = looked.frames, points[..., :2]
    front, nearest = Surface.front_and_nearest(points.unsqueeze(0), faces, seen.pixels[frames], seen.size, renderer)
    hit = front.covered[0] * seen.frame_weight[frames, None]

    def elsewhere(values: Tensor, places: Tensor) -> Tensor:
        """Values (B, V, C) of other frames (B,) of those looked at, on the surface that the samples show."""
        return front.of_vertices(values[places].unsqueeze(0))[0]

    own = torch.arange(len(frames), device=points.device)
    flow = points.new_zeros(len(frames))
    for partner, observed, weight in ((looked.later, looked.link.forward, looked.link.forward_weight),
                                      (looked.earlier, looked.link.backward, looked.link.backward_weight)):
        trusted = weight[frames] * hit * (partner != own)[:, None]
        moved = elsewhere(screen, partner) - seen.places[frames]
        flow = flow + losses.flow_loss(moved, observed[frames], trusted)

    # Textures swapped between frames (VMR Eq. 5): what the surface shows here, it shows in another frame, too.
    other = own.roll(len(own) // 2)
    there = elsewhere(points, other)
    depth = functional.grid_sample(nearest.depth[0, other].unsqueeze(1), there[:, :, None, :2].detach(), mode="nearest",
                                   align_corners=False)[:, 0, :, 0]
    visible = hit * ((depth > 0) & (there[..., 2] < depth + 2 * HIDDEN_DEPTH))
    visible = visible * (seen.colour_weight[frames] * seen.colour_weight[frames[other]])[:, None]
    here = look_up(seen.images[frames], elsewhere(screen, own))
    return {"flow": flow, "facing": facing_of(front, nearest, points[None, ..., 2:])[0],
            "texture_swap": losses.colour_loss(here, look_up(seen.images[frames[other]], there[..., :2]), visible)}


def fit_subject(subject: Subject, footage: Footage, settings: Settings, renderer: Renderer, seed: int,
                progress: Callable[[int, int], None]) -> None:
    """Improve the subject in place, until each frame was looked at about `settings.visits` times."""
    random, device = np.random.default_rng(seed), subject.instances.place.device
    torch.manual_seed(seed)
    seen = observe(footage, [], min(SIZE, footage.masks.shape[1]), device, random)
    instances, weights = subject.instances, settings.weights()
    tables = [(instances.turn, TURN_RATE), (instances.place, PLACE_RATE), (instances.handles, HANDLE_RATES)]
    own = RowAdam([(table, table.new_tensor(rate)) for table, rate in tables])
    shared = UniformAdam([{"params": [subject.shape.latent], "lr": SHAPE_RATE}])
    count = settings.frames_per_iteration
    iterations = max(1, -(-settings.visits * len(subject) // count))
    guided = {round(share * iterations) for share in GUIDED}
    for number in range(iterations):
        if number in guided:
            seen = observe(footage, guided_flows(_on_screen(subject), subject.shape.faces, footage, renderer),
                           seen.size, device, random)
        looked = Looked.draw(seen, count, number, random)
        rows, place = looked.frames.unique(return_inverse=True)
        leaves = [table[rows].requires_grad_() for table, _ in tables]
        some = Instances(instances.rotation[looked.frames], *(leaf[place] for leaf in leaves))
        total = losses.weighted(terms(subject, some, seen, looked, renderer), weights)
        if not torch.isfinite(total):
            raise FloatingPointError("the fit diverged; another seed, or lower loss weights, may help")
        subject.shape.latent.grad = None
        total.backward()
        rate = falling(number / iterations, FINAL_RATE)
        shared.param_groups[0]["lr"] = rate * SHAPE_RATE
        own.step(rows, [leaf.grad for leaf in leaves], rate)
        shared.step()
        progress(number + 1, iterations)


@torch.no_grad()
def _on_screen(subject: Subject) -> Tensor:
    """(T, V, 3) in each frame's crop."""
    every = torch.arange(len(subject), device=subject.instances.place.device)
    return project(subject.vertices(subject.base(), subject.instances), subject.camera(subject.instances, every))
