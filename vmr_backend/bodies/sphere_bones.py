"""The body of LASR: a rest mesh on the sphere, moved by Gaussian bones, and its colours (Yang et al. 2021)."""

from __future__ import annotations

import math
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
from ..geometry import sphere as spheres
from ..geometry.arap import arap_energy
from ..geometry.body import parts_of_body, spread_out, twins_of
from ..geometry.resampling import spread_evenly
from ..geometry.rotations import from_axis_angle, to_axis_angle
from ..geometry.skinning import blend_skinning, gaussian_skin_weights, rigid_motions
from ..geometry.smoothing import Preconditioner
from ..geometry.topology import cotangent_weights, edges_of, neighbouring_faces, opposite_edges
from .kinematics import Tree, armature_of, tree_of

SPHERE_RADIUS = 0.5
"""Of a bone's hold on the unit sphere."""

SHIFT_REACH = 0.3
"""Object units that a unit of motion shifts a bone's joint."""

KABSCH_DAMPING = 0.02
"""Of a bone's square extent, by which a twist of bones that take a motion over is damped."""

MESH_RATE, COLOUR_RATE, BONE_RATE, MOTION_RATE = 0.3, 2e-2, 3e-3, 5e-3
"""Learning rates, measured. The mesh's is that of `UniformAdam`, whose steps are mostly far smaller than its rate."""

MIRRORED, TURNED = torch.tensor([-1.0, 1, 1]), torch.tensor([1.0, -1, -1])
"""Signs that mirror a position or shift at x = 0, and an axis-angle."""


class RestMesh(nn.Module):
    """The rest shape of each hypothesis on the sphere, moved through a smoothing preconditioner.

    What is optimised is the preconditioner's u, so that the mesh stays smooth while it is pulled by silhouettes.
    """

    faces: Tensor
    """(F, 3) int64."""
    positions: Tensor
    """(V, 3) of the vertices on the unit sphere."""
    mirror: Tensor
    """(V,) int64, the vertex at the mirrored position on the sphere."""
    side: Tensor
    """(V,) -1, 0 or 1: the side of the mirror plane that a vertex belongs to."""
    edges: Tensor
    """(E, 2)."""
    opposite: Tensor
    """(F, 3), for cotangent weights."""
    neighbours: Tensor
    """(P, 3) pairs of faces that share an edge, from `neighbouring_faces`."""

    def __init__(self, vertices: Tensor, sphere: spheres.Sphere, strength: float):
        super().__init__()
        device = vertices.device
        self.preconditioner = Preconditioner(sphere.faces, vertices.shape[-2], strength, device)
        self.latent = nn.Parameter(self.preconditioner.latent(vertices))
        self.register_buffer("positions", torch.from_numpy(sphere.vertices).float().to(device))
        edges, side = edges_of(sphere.faces), np.sign(sphere.vertices[:, 0].round(6)).astype(np.float32)
        for name, array in {"faces": sphere.faces, "mirror": sphere.mirror, "side": side, "edges": edges,
                            "opposite": opposite_edges(sphere.faces, edges),
                            "neighbours": neighbouring_faces(sphere.faces)}.items():
            self.register_buffer(name, torch.from_numpy(array).to(device), persistent=False)

    @property
    def sphere(self) -> spheres.Sphere:
        """Where on the sphere its vertices are."""
        return spheres.sphere_of(self.positions, self.faces, self.mirror)

    def forward(self, symmetry: float = 0.0) -> Tensor:
        """(H, V, 3); `symmetry` blends from the free shape (0) to its mean with its mirror image (1)."""
        vertices = self.preconditioner.vertices(self.latent)
        return vertices + symmetry / 2 * (spheres.mirror_image(vertices, self.mirror) - vertices)


class Skeleton(nn.Module):
    """Gaussian bones of one hypothesis: where they sit, what they hold, how they hang together and move over time.

    Centres, extents and joints of bones mirror each other at x = 0; their motion does not.
    """

    anchors: Tensor
    """(B, 2, 3) positions on the unit sphere that a bone holds: two that mirror each other for a bone of both sides."""
    twin: Tensor
    """(B,) int64, each bone's mirror image; itself for a bone of both sides."""
    parents: Tensor
    """(B,) int64, -1 for a bone that hangs on none."""
    joints: Tensor
    """(B, 3) about which bones turn, object space at rest."""
    pose: Tensor
    """(B, 6) motion that a bone and its mirror image share on the mean over time: none, unless taken over."""
    mirrored: Tensor
    turned: Tensor
    """(3,) MIRRORED and TURNED where the bones are: a copy in each iteration would make a GPU wait."""
    waves: Tensor
    """(T, T) `cosine_waves`."""

    def __init__(self, view: View, centres: Tensor, anchors: Tensor, twin: Tensor, radius: float):
        super().__init__()
        bones, frames = len(centres), len(view.numbers)
        self.register_buffer("anchors", anchors)
        self.register_buffer("twin", twin)
        self.register_buffer("parents", torch.full_like(twin, -1))
        self.register_buffer("joints", centres.clone())
        self.register_buffer("pose", centres.new_zeros(bones, 6))
        constants = {"mirrored": MIRRORED, "turned": TURNED, "waves": cosine_waves(frames)}
        for name, values in constants.items():
            self.register_buffer(name, values.to(centres), persistent=False)
        self.centres = nn.Parameter(centres.clone())
        self.log_precision = nn.Parameter(centres.new_full((bones, 3), -math.log(radius)))
        self.orientation = nn.Parameter(centres.new_zeros(bones, 3))
        self.motion = TimeNetwork(1, time_embedding(view.numbers, max(2, min(48, frames // 2))), 6 * bones, 128)

    @staticmethod
    def empty(view: View, bones: int) -> Skeleton:
        """Bones whose values are still to be read from a checkpoint."""
        nowhere = view.numbers.new_zeros(bones, 2, 3).float()
        each = torch.arange(bones, device=nowhere.device)
        return Skeleton(view, nowhere[:, 0], nowhere, each, 1.0).to(nowhere.device)

    @torch.no_grad()
    def join(self, rest: Tensor, positions: Tensor) -> None:
        """Hang the bones on one another as they hold the rest mesh (V, 3) with its positions (V, 3) on the sphere."""
        vertices, weights = (t.double().cpu().numpy() for t in (rest, self.skin_weights(rest, positions)))
        tree = tree_of(vertices, weights, self.twin.cpu().numpy())
        self.parents.copy_(torch.from_numpy(tree.parents))
        self.joints.copy_(self._even(torch.from_numpy(tree.joints).to(self.joints), self.mirrored))

    def skin_weights(self, rest: Tensor, positions: Tensor) -> Tensor:
        """(V, B) of the rest mesh (V, 3), whose vertices have these positions (V, 3) on the unit sphere.

        Two legs stand side by side in space, yet far apart on the sphere: there a bone holds its own and not the other.
        """
        turn = from_axis_angle(self._even(self.orientation, self.turned))
        precision = self._even(self.log_precision).exp().unsqueeze(-1) * turn
        apart = torch.cdist(positions, self.anchors.transpose(0, 1)).amin(0).square() / SPHERE_RADIUS**2
        return gaussian_skin_weights(rest, self._even(self.centres, self.mirrored), precision, apart)

    def motion_parameters(self, min_period: float = 0.0) -> Tensor:
        """(T, B, 6): axis-angle in radians about the joint, shift of the joint in units of SHIFT_REACH.

        What a bone and its mirror image do alike on the mean over time stays: the rest mesh takes up changes of it.

        min_period  frames; of the network's motion only what takes longer than this is kept
        """
        motion = low_pass(self.motion()[0], self.waves, min_period).unflatten(-1, (len(self.centres), 6))
        return motion - self._even(motion.mean(0), torch.cat([self.turned, self.mirrored])) + self.pose

    def transforms(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations (..., B, 3, 3) and translations (..., B, 3) in object space: x -> R x + t, each bone by itself."""
        turn = from_axis_angle(motion[..., :3])
        return turn, self.joints - (turn @ self.joints.unsqueeze(-1)).squeeze(-1) + SHIFT_REACH * motion[..., 3:]

    def gaps(self, motion: Tensor) -> Tensor:
        """(..., B, 3) from where a bone's parent takes their joint to where the bone has it; zero for the root."""
        turn, shift = self.transforms(motion)
        ahead = self.parents.clamp_min(0)
        led = (turn[..., ahead, :, :] @ self.joints.unsqueeze(-1)).squeeze(-1) + shift[..., ahead, :]
        apart = self.joints + SHIFT_REACH * motion[..., 3:] - led
        return torch.where((self.parents >= 0).unsqueeze(-1), apart, 0.0)

    @torch.no_grad()
    def follow(self, rest: Tensor, positions: Tensor, moved: Tensor) -> None:
        """Move as vertices did that were moved (T, V, 3) from the rest mesh (V, 3) by other bones."""
        turn, shift = rigid_motions(rest, moved, self.skin_weights(rest, positions), KABSCH_DAMPING)
        out_of_joint = (turn @ self.joints.unsqueeze(-1)).squeeze(-1) - self.joints + shift
        motion = torch.cat([to_axis_angle(turn), out_of_joint / SHIFT_REACH], -1)
        self.pose.copy_(self._even(motion.mean(0), torch.cat([self.turned, self.mirrored])))
        self.motion.approach((motion - self.pose).flatten(1)[None])

    def _even(self, values: Tensor, signs: Tensor | float = 1.0) -> Tensor:
        """What bones (B, C) and their mirror images have in common."""
        return (values + signs * values[self.twin]) / 2


class SphereBones(nn.Module):
    """A body that starts from a sphere. H hypotheses of a rigid shape while there are no bones; one afterwards."""

    between = None

    def __init__(self, view: View, mesh: RestMesh):
        super().__init__()
        self.view = view
        self.mesh = mesh
        self.skeleton: Skeleton | None = None
        self.vertex_colours = nn.Parameter(mesh.latent.new_full(mesh.latent.shape, 0.5))

    @property
    def faces(self) -> Tensor:
        return self.mesh.faces

    @property
    def rigid(self) -> bool:
        return self.skeleton is None

    @property
    def free_hidden(self) -> bool:
        return self.skeleton is not None

    def posed(self, frames: Tensor, constraints: Constraints) -> Pose:
        rest = self.mesh(constraints.symmetry)
        if self.skeleton is None:
            return Pose(rest, rest.unsqueeze(1).expand(-1, len(frames), -1, -1))
        motion = self.skeleton.motion_parameters(constraints.min_period)
        rotations, translations = self.skeleton.transforms(motion[frames])
        weights = self.skeleton.skin_weights(rest[0], self.mesh.positions)
        return Pose(rest, blend_skinning(rest[0], weights, rotations, translations)[None], motion)

    def colours(self, constraints: Constraints) -> Tensor:
        mirrored = self.vertex_colours[:, self.mesh.mirror]
        return self.vertex_colours + constraints.symmetry / 2 * (mirrored - self.vertex_colours)

    def regularisers(self, pose: Pose, points: Tensor, some: Tensor | None, batch: FrameBatch) -> dict[str, Tensor]:
        mesh, rest = self.mesh, pose.rest
        found = {"laplacian": losses.laplacian_loss(rest, mesh.edges),
                 "flatten": losses.flatten_loss(rest, mesh.faces, mesh.neighbours),
                 "symmetry": losses.symmetry_loss(rest, mesh.mirror), "side": losses.side_loss(rest, mesh.side)}
        if self.skeleton is not None:
            motion = pose.motion
            weights = cotangent_weights(rest[0].detach(), mesh.faces, mesh.opposite, len(mesh.edges))
            found["arap"] = arap_energy(rest[:, None], some, mesh.edges, weights).mean(1)
            found["joint"] = self.skeleton.gaps(motion).square().sum(-1).mean()[None]
            found["motion"] = motion.square().sum(-1).mean()[None]
            found["temporal"] = losses.acceleration_loss(motion.flatten(1))[None] / motion.shape[1]
        return found

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups = [{"params": [self.mesh.latent], "lr": MESH_RATE, "optimiser": UniformAdam},
                  {"params": [self.vertex_colours], "lr": COLOUR_RATE}]
        if (bones := self.skeleton) is not None:
            groups += [{"params": [bones.centres, bones.log_precision, bones.orientation], "lr": BONE_RATE},
                       {"params": bones.motion.parameters(), "lr": MOTION_RATE}]
        return groups

    def whole(self) -> tuple[Tensor, Tensor]:
        every = torch.arange(len(self.view.numbers), device=self.faces.device)
        pose = self.posed(every, Constraints())
        return pose.rest[0], pose.vertices[0]

    def arrays(self, scale: Tensor) -> dict[str, Any]:
        skeleton, rest = self.skeleton, self.mesh()
        assert skeleton is not None
        weights = skeleton.skin_weights(rest[0], self.mesh.positions)
        tree = Tree(skeleton.parents.cpu().numpy(), (scale * skeleton.joints).double().cpu().numpy())
        vertices, held = (t.double().cpu().numpy() for t in (scale * rest[0], weights))
        armature = armature_of(vertices, held, tree, skeleton.twin.cpu().numpy())
        order = torch.from_numpy(armature.order).to(rest.device)
        rest_pose = torch.from_numpy(armature.rest).to(rest)
        bone_rotation, bone_translation = (part[:, order] for part in skeleton.transforms(skeleton.motion_parameters()))
        moved = torch.eye(4, device=rest.device).repeat(len(bone_rotation), len(order), 1, 1)
        moved[..., :3, :3], moved[..., :3, 3] = bone_rotation, scale * bone_translation
        return {"faces": self.mesh.sphere.faces, "uv": spheres.spherical_uv(self.mesh.sphere),
                "bone_parents": armature.parents, "bone_names": armature.names, "bone_lengths": armature.lengths,
                "bone_rest": rest_pose, "bone_pose": moved @ rest_pose, "skin_weights": weights[:, order]}

    @torch.no_grad()
    def grow_skeleton(self, bones: int) -> None:
        """Give the single hypothesis bones, spread evenly over its body; in mirrored pairs where it has two sides.

        Where it has bones already, new ones replace them and go on with their motion.
        """
        every = torch.arange(len(self.view.numbers), device=self.faces.device)
        symmetric = Constraints(symmetry=1.0)
        moved = self.posed(every, symmetric).vertices[0] if self.skeleton else None
        rest, positions = self.mesh(1.0)[0], self.mesh.positions
        parts = parts_of_body(rest, positions, self.mesh.faces)
        chosen = spread_out(parts.features, parts.central, self.mesh.mirror, bones)
        own = torch.cdist(parts.features, parts.features[chosen]).argmin(1)
        centres = torch.stack([parts.held[own == b].mean(0) for b in range(len(chosen))])
        image = torch.where(parts.central[chosen], self.mesh.mirror[chosen], chosen)
        anchors = torch.stack([positions[chosen], positions[image]], 1)
        twin = twins_of(chosen, parts.central, self.mesh.mirror)
        self.skeleton = Skeleton(self.view, centres, anchors, twin, 0.6 / math.sqrt(len(chosen))).to(rest.device)
        self.skeleton.join(rest, positions)
        if moved is not None:
            self.skeleton.follow(rest, positions, moved)

    def refine(self, level: int, strength: float) -> None:
        """Subdivide the mesh to a level and spread its vertices evenly; shape and colours stay."""
        sphere = self.mesh.sphere
        values = torch.cat([self.mesh(), self.vertex_colours], -1)[0].detach().cpu().double().numpy()
        while len(values) < 10 * 4**level + 2:
            sphere, values = spheres.subdivided(sphere, values)
        sphere, values = spread_evenly(sphere, values)
        data = torch.from_numpy(values).float().to(self.faces.device)[None]
        self.mesh = RestMesh(data[..., :3], sphere, strength)
        self.vertex_colours = nn.Parameter(data[..., 3:].clone())
