"""The body of a template: a rigged mesh whose bones turn by forward kinematics, in proportions that may be fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import losses
from ..fitting.batch import FrameBatch
from ..fitting.body import Constraints, Pose
from ..fitting.optimise import UniformAdam
from ..fitting.time_networks import TimeNetwork, cosine_waves, low_pass, time_embedding
from ..fitting.view import View
from ..geometry.body import BODY_RADIUS
from ..geometry.rotations import from_axis_angle
from ..geometry.skinning import KinematicTree, forward_kinematics
from ..geometry.smoothing import Preconditioner
from ..geometry.surface_points import points_between
from ..geometry.topology import edges_of
from ..templates.joint_limits import limits_of
from ..templates.proxy import FEW, MOST, Proxy, RigMesh, proxy_of, whole_mesh
from ..templates.template import Template

POSE_RATE, BEND_RATE, SHAPE_RATE, SCALE_RATE, COLOUR_RATE = 5e-3, 1e-2, 3e-2, 1e-2, 2e-2
"""Learning rates: of the motion, its mean, the components of shape, bones' lengths and girths, and colours."""
OFFSET_RATE, OFFSET_SMOOTHING = 0.1, 10.0
"""Of the offsets of vertices: rate of `UniformAdam`, and strength of their preconditioner."""
USUAL_TURN = 0.35
"""Radians, standard deviation of a joint of which nothing is known."""
USUAL_SCALE, CORRECTION = 0.6, 0.2
"""Standard deviation of the logarithm of a bone's length or girth: of a template without components of shape, and of
one whose components hold most of its proportions already."""
NEAR_LANDMARK, LATE_LANDMARKS = 0.05, 0.1
"""Crop units below which a landmark counts less than it is off; what landmarks count for where the mesh is fine: they
are predicted, and outlines are seen."""
WIDTH = 128
"""Of the network that moves the bones."""


class RigSurface(nn.Module):
    """A mesh on the bones, as tensors: V vertices, K components of shape."""

    vertices: Tensor
    """(V, 3), object units."""
    faces: Tensor
    """(F, 3) int64."""
    weights: Tensor
    """(V, B)."""
    shapes: Tensor
    """(K, V, 3)."""

    def __init__(self, mesh: RigMesh, origin: np.ndarray, scale: float):
        """origin (3,) and scale that carry template space to object units."""
        super().__init__()
        shapes = np.zeros((0, *mesh.vertices.shape)) if mesh.shapes is None else mesh.shapes
        for name, array in {"vertices": (mesh.vertices - origin) * scale, "weights": mesh.weights,
                            "shapes": shapes * scale}.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float32)), persistent=False)
        self.register_buffer("faces", torch.from_numpy(mesh.faces), persistent=False)

    def moved(self, vertices: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
        """Vertices (..., V, 3) moved by the weighted mean of bones' maps x -> linear x + shift, (..., B, 3, 3) and
        (..., B, 3)."""
        maps = torch.cat([linear.flatten(-2), shift], -1)
        blended = self.weights @ maps
        return (blended[..., :9].unflatten(-1, (3, 3)) @ vertices.unsqueeze(-1)).squeeze(-1) + blended[..., 9:]


@dataclass(frozen=True)
class Proportions:
    """Rest pose of each hypothesis: B bones."""

    vertices: Tensor
    """(H, V, 3)."""
    heads: Tensor
    """(H, B, 3)."""
    tails: Tensor
    """(H, B, 3)."""


class RigBody(nn.Module):
    """A template on T frames. H hypotheses, rigid at rest until `articulate` is called.

    A bone's turn is an axis-angle in its own axes at rest, against the bone above.
    """

    limits: Tensor
    """(B, 3, 2) radians, along limit_axes (B, 3, 3) (`JointLimits`)."""
    rest_axes: Tensor
    """(B, 3, 3) axes of the bones at rest, object space, as columns."""
    heads: Tensor
    """(B, 3), object units."""
    tails: Tensor
    """(B, 3), likewise."""
    usual: Tensor
    """(B, 3) mean turns."""
    whitening: Tensor
    """(3 B, 3 B): |whitening (turn - usual)|^2 is the square Mahalanobis distance."""
    waves: Tensor
    """(T, T) `cosine_waves`."""
    twins: Tensor
    """(B,) int64."""
    tracks: Tensor
    """(T, M, 2) where landmarks are predicted, crop units."""

    def __init__(self, view: View, template: Template, hypotheses: int, adapt: bool):
        """adapt  whether proportions and details of the surface are fitted, else the template keeps its shape"""
        super().__init__()
        self.view, self.template, self.adapt = view, template, adapt
        self.articulated, self.fine = False, False
        low, high = template.vertices.min(0), template.vertices.max(0)
        self.origin, self.scale = (low + high) / 2, float(2 * BODY_RADIUS / (high - low).max())
        self.offset: nn.Parameter | None = None
        self._smooth: Preconditioner | None = None
        device, bones, frames = view.numbers.device, len(template.bone_parents), len(view.numbers)
        names, known = template.card.landmark_names, () if view.landmarks is None else view.landmarks.names
        self.tracked = [row for row, name in enumerate(names) if name in known]
        """Rows of the template's landmarks that are predicted in the footage."""
        if view.landmarks is not None and self.tracked:
            there = view.landmarks.points[:, [known.index(names[row]) for row in self.tracked]]
            self.register_buffer("tracks", there, persistent=False)
        self._take(FEW, hypotheses, device)
        self.tree = KinematicTree(template.bone_parents.tolist(), device)
        rest = template.bone_rest.astype(np.float64)
        heads, along = rest[:, :3, 3], rest[:, :3, 1] * template.bone_lengths[:, None]
        precision = np.eye(3 * bones) / USUAL_TURN**2
        mean = np.zeros((bones, 3))
        if template.pose_covariance is not None:
            precision, mean = np.linalg.inv(template.pose_covariance.astype(np.float64)), template.pose_mean
        components = len(self.surface.shapes)
        shape_heads, shape_tails = ((np.zeros((components, bones, 3)) if given is None else given) * self.scale
                                    for given in (template.shape_heads, template.shape_tails))
        limits = limits_of(template)
        constants = {
            "rest_axes": rest[:, :3, :3], "heads": (heads - self.origin) * self.scale,
            "tails": (heads + along - self.origin) * self.scale, "shape_heads": shape_heads,
            "shape_tails": shape_tails, "limit_axes": limits.axes, "limits": limits.limits, "usual": mean,
            "whitening": np.linalg.cholesky(precision).T, "waves": cosine_waves(frames)}
        for name, array in constants.items():
            self.register_buffer(name, torch.as_tensor(np.asarray(array)).float().to(device), persistent=False)
        twins = torch.from_numpy(template.bone_twins.astype(np.int64)).to(device)
        self.register_buffer("twins", twins, persistent=False)
        self.shape = nn.Parameter(torch.zeros(hypotheses, components))
        self.log_scale = nn.Parameter(torch.zeros(hypotheses, bones, 2))
        """Along each bone, and across it."""
        self.bend = nn.Parameter(torch.zeros(hypotheses, bones, 3))
        """The mean turn of each bone."""
        embedding = time_embedding(view.numbers, max(2, min(48, frames // 2)))
        self.motion = TimeNetwork(hypotheses, embedding, 3 * bones, WIDTH)

    def _take(self, most: int, hypotheses: int, device: torch.device) -> None:
        """Fit a mesh of about so many vertices from here on, its colours unknown."""
        self._proxy = proxy_of(self.template, most)
        mesh = self._proxy.mesh
        self.surface = RigSurface(mesh, self.origin, self.scale).to(device)
        self.between = points_between(mesh.vertices, mesh.faces, device)
        self.edges = torch.from_numpy(edges_of(mesh.faces)).to(device)
        self.landmarks = self._landmarks_of(self._proxy).to(device)
        self.vertex_colours = nn.Parameter(torch.full((hypotheses, len(mesh.vertices), 3), 0.5, device=device))

    def _landmarks_of(self, proxy: Proxy) -> Tensor:
        """(M, V) weights of a proxy's vertices in the landmarks that are both the template's and the footage's."""
        found = torch.zeros(len(self.tracked), len(proxy.mesh.vertices))
        if self.template.landmark_weights is not None:
            weights = torch.from_numpy(self.template.landmark_weights[self.tracked]).float()
            for near, share in zip(proxy.near.T, proxy.share.T, strict=True):
                found.index_add_(1, torch.from_numpy(near), weights * torch.from_numpy(share))
        return found

    @property
    def faces(self) -> Tensor:
        return self.surface.faces

    @property
    def rigid(self) -> bool:
        return not self.articulated

    @property
    def free_hidden(self) -> bool:
        return self.articulated

    def articulate(self) -> None:
        """From here on bones move."""
        self.articulated = True

    def refine(self) -> None:
        """From here on the mesh is as fine as it is ever fitted."""
        if not self.fine:
            self.fine = True
            self._take(MOST, len(self.bend), self.heads.device)

    def detail(self) -> None:
        """From here on vertices of the single hypothesis move by themselves, too, where the shape adapts."""
        self.refine()
        if not self.adapt or self.offset is not None:
            return
        self._smooth = Preconditioner(self.surface.faces.cpu().numpy(), len(self.surface.vertices), OFFSET_SMOOTHING,
                                      self.heads.device)
        self.offset = nn.Parameter(torch.zeros_like(self.surface.vertices)[None])

    def turns(self, constraints: Constraints) -> Tensor:
        """(H, T, B, 3) axis-angle of each bone in its own axes at rest, against the bone above."""
        moving = torch.stack([low_pass(path, self.waves, constraints.min_period) for path in self.motion()])
        return moving.unflatten(-1, (-1, 3)) + self.bend[:, None]

    @torch.no_grad()
    def approach(self, turns: Tensor) -> None:
        """Move the bones as near as can be to turns (H, T, B, 3)."""
        mean = turns.mean(1)
        self.bend.copy_(mean)
        self.motion.approach((turns - mean[:, None]).flatten(2))

    def proportions(self, surface: RigSurface, offset: Tensor | None = None) -> Proportions:
        """The rest pose on a surface; offset (V, 3) of its vertices."""
        heads, tails, vertices = self.heads[None], self.tails[None], surface.vertices[None]
        if not self.adapt:
            count = len(self.shape)
            return Proportions(*(x.expand(count, -1, -1) for x in (vertices, heads, tails)))
        if len(surface.shapes):
            vertices, heads, tails = (base + torch.einsum("hk,kvc->hvc", self.shape, basis) for base, basis in (
                (vertices, surface.shapes), (heads, self.shape_heads), (tails, self.shape_tails)))
        if offset is not None:
            vertices = vertices + offset
        scale = self._scales().exp()
        stretch = self.rest_axes @ (scale[..., [1, 0, 1]].unsqueeze(-1) * self.rest_axes.mT)
        # A joint lies where the bone above, stretched, has it.
        above = self.tree.parents.clamp_min(0)
        own = torch.where((self.tree.parents < 0)[:, None], heads,
                          (stretch[:, above] @ (heads - heads[:, above]).unsqueeze(-1)).squeeze(-1))
        joints = self.tree.down(own.unsqueeze(-1), torch.add).squeeze(-1)
        ends = joints + (stretch @ (tails - heads).unsqueeze(-1)).squeeze(-1)
        shift = joints - (stretch @ heads.unsqueeze(-1)).squeeze(-1)
        return Proportions(surface.moved(vertices, stretch, shift), joints, ends)

    def _scales(self) -> Tensor:
        """(H, B, 2) logarithms, twins alike."""
        return (self.log_scale + self.log_scale[:, self.twins]) / 2

    def transforms(self, heads: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations (H, N, B, 3, 3) and translations (H, N, B, 3) of bones with joints (H, B, 3) at turns
        (H, N, B, 3)."""
        in_object = (self.rest_axes @ turns.unsqueeze(-1)).squeeze(-1)
        return forward_kinematics(self.tree, from_axis_angle(in_object), heads[:, None].expand_as(turns))

    def posed(self, frames: Tensor, constraints: Constraints) -> Pose:
        rest = self.proportions(self.surface, self._offset())
        if not self.articulated:
            return Pose(rest.vertices, rest.vertices.unsqueeze(1).expand(-1, len(frames), -1, -1))
        turns = self.turns(constraints)
        return Pose(rest.vertices, self._moved(rest, turns[:, frames]), turns)

    def moved(self, turns: Tensor) -> Tensor:
        """Vertices (H, N, V, 3) of the single hypothesis at turns (H, N, B, 3)."""
        return self._moved(self.proportions(self.surface, self._offset()), turns)

    def _moved(self, rest: Proportions, turns: Tensor) -> Tensor:
        linear, shift = self.transforms(rest.heads, turns)
        return self.surface.moved(rest.vertices[:, None], linear, shift)

    def _offset(self) -> Tensor | None:
        if self.offset is None:
            return None
        assert self._smooth is not None
        return self._smooth.vertices(self.offset)[0]

    def colours(self, constraints: Constraints) -> Tensor:
        return self.vertex_colours

    def beyond_limits(self, turns: Tensor) -> Tensor:
        """(H,) mean square of what turns (H, N, B, 3) go beyond the joints' limits, radians."""
        parts = (self.limit_axes.mT @ turns.unsqueeze(-1)).squeeze(-1)
        beyond = torch.relu(self.limits[..., 0] - parts) + torch.relu(parts - self.limits[..., 1])
        return beyond.square().sum(-1).mean((1, 2))

    def regularisers(self, pose: Pose, points: Tensor, some: Tensor | None, batch: FrameBatch) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        if self.adapt:
            among = self.shape.shape[1] > 0
            scales = _unusual(self._scales() / (CORRECTION if among else USUAL_SCALE)).mean((1, 2))
            found["shape"] = scales + (_unusual(self.shape).mean(1) if among else 0.0)
        if (turns := pose.motion) is not None:
            apart = (turns - self.usual).flatten(2) @ self.whitening.T
            found["pose"] = apart.square().mean((1, 2))
            found["limit"] = self.beyond_limits(turns)
            found["temporal"] = losses.acceleration_loss(turns.flatten(2)) / turns.shape[2]
        if self.tracked:
            off = (self.landmarks @ points[..., :2] - self.tracks[batch.frames]).square().sum(-1)
            each = (off + NEAR_LANDMARK**2).sqrt() - NEAR_LANDMARK
            found["landmark"] = (LATE_LANDMARKS if self.fine else 1.0) * each.mean((1, 2))
        if (offset := self._offset()) is not None:
            found["offset"] = (100 * losses.laplacian_loss(offset, self.edges) + offset.square().sum(-1).mean())[None]
        return found

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = [{"params": [self.vertex_colours], "lr": COLOUR_RATE}]
        if self.adapt:
            groups += [{"params": [self.log_scale], "lr": SCALE_RATE}, {"params": [self.shape], "lr": SHAPE_RATE}]
        if self.articulated:
            groups += [{"params": self.motion.parameters(), "lr": POSE_RATE},
                       {"params": [self.bend], "lr": BEND_RATE}]
        if self.offset is not None:
            groups += [{"params": [self.offset], "lr": OFFSET_RATE, "optimiser": UniformAdam}]
        return groups

    @torch.no_grad()
    def whole(self) -> tuple[Tensor, Tensor]:
        """Rest (V, 3) and posed vertices (T, V, 3) of the template's whole mesh, of the single hypothesis."""
        surface = RigSurface(whole_mesh(self.template), self.origin, self.scale).to(self.heads.device)
        offset = self._offset()
        if offset is not None:
            near, share = (torch.from_numpy(x).to(offset.device) for x in (self._proxy.near, self._proxy.share))
            offset = (offset[near] * share.unsqueeze(-1)).sum(1)
        rest = self.proportions(surface, offset)
        linear, shift = self.transforms(rest.heads, self.turns(Constraints()))
        posed = [surface.moved(rest.vertices[0], linear[0, t], shift[0, t]) for t in range(linear.shape[1])]
        return rest.vertices[0], torch.stack(posed)

    @torch.no_grad()
    def arrays(self, scale: Tensor) -> dict[str, Any]:
        template = self.template
        rest = self.proportions(self.surface)
        heads, tails = rest.heads[0].double(), rest.tails[0].double()
        frames = torch.eye(4).to(heads).repeat(len(heads), 1, 1)
        frames[:, :3, :3] = _aimed(self.rest_axes.double(), tails - heads)
        frames[:, :3, 3] = scale.double() * heads
        linear, shift = (part[0].double() for part in self.transforms(rest.heads, self.turns(Constraints())))
        moved = torch.eye(4).to(heads).repeat(*linear.shape[:2], 1, 1)
        moved[..., :3, :3], moved[..., :3, 3] = linear, scale.double() * shift
        arrays = {"faces": template.faces, "uv": template.uv, "bone_parents": template.bone_parents,
                  "bone_names": np.array(template.card.bone_names), "bone_rest": frames, "bone_pose": moved @ frames,
                  "bone_lengths": scale.double() * (tails - heads).norm(dim=1), "skin_weights": template.dense_weights}
        if template.landmark_weights is not None:
            arrays |= {"keypoint_names": np.array(template.card.landmark_names),
                       "keypoint_weights": torch.from_numpy(template.landmark_weights).to(self.heads.device)}
        return arrays


def _unusual(deviations: Tensor) -> Tensor:
    """Penalty of deviations in standard deviations: the square of small ones, but of large ones hardly more than twice
    their size (pseudo-Huber), since an animal may be unlike its kind in a few proportions."""
    return 2 * ((1 + deviations.square()).sqrt() - 1)


def _aimed(axes: Tensor, along: Tensor) -> Tensor:
    """Axes (B, 3, 3) turned the shortest way so that their y runs along vectors (B, 3)."""
    y = torch.nn.functional.normalize(along, dim=1)
    axis = torch.linalg.cross(axes[..., 1], y)
    sine, cosine = axis.norm(dim=1, keepdim=True), (axes[..., 1] * y).sum(1, keepdim=True)
    angle = torch.atan2(sine, cosine)
    return from_axis_angle(axis / sine.clamp_min(1e-12) * angle) @ axes
