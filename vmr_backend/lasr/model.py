"""The parameters of LASR: rest mesh, camera path, bones, skinning, colours; and how they make the mesh of a frame."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..geometry import sphere as spheres
from ..geometry.body import BODY_RADIUS, parts_of_body, spread_out
from ..geometry.cameras import LEVEL_CAMERA, Camera, zoomed
from ..geometry.resampling import spread_evenly
from ..geometry.rotations import about_x, about_z, from_axis_angle, to_axis_angle
from ..geometry.skinning import blend_skinning, gaussian_skin_weights, rigid_motions
from ..geometry.smoothing import Preconditioner
from ..video.view import View
from .armature import tree_of
from .networks import TimeNetwork, cosine_waves, slow_part, time_embedding

ELEVATION = 0.15
"""Radians by which cameras look down on subjects, where nothing speaks against it."""

SPHERE_RADIUS = 0.5
"""Of a bone's hold on the unit sphere."""

SHIFT_REACH = 0.3
"""Object units that a unit of motion shifts a bone's joint."""

LEAN = 0.02
"""Of a bone's square extent, how much speaks against a twist of bones that take a motion over."""

MIRRORED, TURNED = torch.tensor([-1.0, 1, 1]), torch.tensor([1.0, -1, -1])
"""Signs that mirror a place or shift at x = 0, and an axis-angle."""

INITIAL_COVER = 0.5
"""Radius, in crop units, that a sphere of BODY_RADIUS has in the picture at the camera's initial distance."""


class RestMesh(nn.Module):
    """The rest shape of each hypothesis on the sphere, moved through a smoothing preconditioner.

    What is optimised is the preconditioner's u, so that the mesh stays smooth while it is pulled by silhouettes.
    """

    faces: Tensor
    """(F, 3) int64."""
    places: Tensor
    """(V, 3) of the vertices on the unit sphere."""
    mirror: Tensor
    """(V,) int64, the vertex at the mirrored place of the sphere."""
    side: Tensor
    """(V,) -1, 0 or 1: the side of the mirror plane that a vertex belongs to."""

    def __init__(self, vertices: Tensor, sphere: spheres.Sphere, strength: float):
        super().__init__()
        device = vertices.device
        self.preconditioner = Preconditioner(sphere.faces, vertices.shape[-2], strength, device)
        self.latent = nn.Parameter(self.preconditioner.latent(vertices))
        self.register_buffer("faces", torch.from_numpy(sphere.faces).to(device), persistent=False)
        self.register_buffer("places", torch.from_numpy(sphere.vertices).float().to(device))
        side = np.sign(sphere.vertices[:, 0].round(6))
        self.register_buffer("side", torch.from_numpy(side).float().to(device), persistent=False)
        self.register_buffer("mirror", torch.from_numpy(sphere.mirror).to(device), persistent=False)

    @property
    def sphere(self) -> spheres.Sphere:
        """Where on the sphere its vertices are."""
        places, faces, mirror = (buffer.cpu().numpy() for buffer in (self.places, self.faces, self.mirror))
        return spheres.Sphere(places.astype(np.float64), faces, mirror)

    def forward(self, symmetry: float = 0.0) -> Tensor:
        """(H, V, 3); `symmetry` blends from the free shape (0) to its mean with its mirror image (1)."""
        vertices = self.preconditioner.vertices(self.latent)
        return vertices + symmetry / 2 * (spheres.mirror_image(vertices, self.mirror) - vertices)


class CameraPath(nn.Module):
    """Object to camera at each frame: an upright turn, then small free rotations; the crop gives the rough place."""

    turn: Tensor
    tilt: Tensor
    axes: Tensor
    bearing: Tensor
    step: Tensor
    depth: Tensor

    def __init__(self, view: View, turn: Tensor, tilt: Tensor, elevation: float, solved: bool = False):
        """turn (H, T) yaw of the subject in radians and tilt (H, T, 3, 3) after it that the hypotheses start from.

        solved  these are exact but for the heading
        """
        super().__init__()
        self.solved = solved
        hypotheses, frames = turn.shape
        self.register_buffer("turn", turn)
        self.register_buffer("tilt", tilt)
        self.register_buffer("axes", LEVEL_CAMERA.to(turn.device))
        self.heading = nn.Parameter(turn.new_zeros(hypotheses, 1))
        self.elevation = nn.Parameter(turn.new_full((hypotheses, 1), elevation))
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
        none. So the subject keeps its place and size in the picture, and only its perspective changes: a dolly zoom.
        """
        return self.log_zoom.exp()


class Skeleton(nn.Module):
    """Gaussian bones of one hypothesis: where they sit, what they hold, how they hang together and move over time.

    Places, extents and joints of bones mirror each other at x = 0; their motion does not.
    """

    anchors: Tensor
    """(B, 2, 3) places on the unit sphere that a bone holds: two that mirror each other for a bone of both sides."""
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
    def join(self, rest: Tensor, places: Tensor) -> None:
        """Hang the bones on one another as they hold the rest mesh (V, 3) with its places (V, 3) on the sphere."""
        vertices, weights = (t.double().cpu().numpy() for t in (rest, self.skin_weights(rest, places)))
        tree = tree_of(vertices, weights, self.twin.cpu().numpy())
        self.parents.copy_(torch.from_numpy(tree.parents))
        self.joints.copy_(self._even(torch.from_numpy(tree.joints).to(self.joints), self.mirrored))

    def skin_weights(self, rest: Tensor, places: Tensor) -> Tensor:
        """(V, B) of the rest mesh (V, 3), whose vertices have these places (V, 3) on the unit sphere.

        Two legs stand side by side in space, yet far apart on the sphere: there a bone tells its own from the other.
        """
        turn = from_axis_angle(self._even(self.orientation, self.turned))
        precision = self._even(self.log_precision).exp().unsqueeze(-1) * turn
        apart = torch.cdist(places, self.anchors.transpose(0, 1)).amin(0).square() / SPHERE_RADIUS**2
        return gaussian_skin_weights(rest, self._even(self.centres, self.mirrored), precision, apart)

    def motion_parameters(self, shortest: float = 0.0) -> Tensor:
        """(T, B, 6): axis-angle in radians about the joint, shift of the joint in units of SHIFT_REACH.

        What a bone and its mirror image do alike on the mean over time stays: the rest mesh takes up changes of it.

        shortest  frames; of the network's motion only what takes longer than this is kept
        """
        motion = slow_part(self.motion()[0], self.waves, shortest).unflatten(-1, (len(self.centres), 6))
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
    def follow(self, rest: Tensor, places: Tensor, moved: Tensor) -> None:
        """Move as vertices did that were moved (T, V, 3) from the rest mesh (V, 3) by other bones."""
        turn, shift = rigid_motions(rest, moved, self.skin_weights(rest, places), LEAN)
        out_of_joint = (turn @ self.joints.unsqueeze(-1)).squeeze(-1) - self.joints + shift
        motion = torch.cat([to_axis_angle(turn), out_of_joint / SHIFT_REACH], -1)
        self.pose.copy_(self._even(motion.mean(0), torch.cat([self.turned, self.mirrored])))
        self.motion.approach((motion - self.pose).flatten(1)[None])

    def _even(self, values: Tensor, signs: Tensor | float = 1.0) -> Tensor:
        """What bones (B, C) and their mirror images have in common."""
        return (values + signs * values[self.twin]) / 2


class Model(nn.Module):
    """Everything that is fitted. H hypotheses while there are no bones; one afterwards."""

    def __init__(self, view: View, mesh: RestMesh, camera: CameraPath):
        super().__init__()
        self.view = view
        self.mesh = mesh
        self.camera = camera
        self.skeleton: Skeleton | None = None
        self.colours = nn.Parameter(mesh.latent.new_full(mesh.latent.shape, 0.5))

    def keep(self, hypotheses: Tensor) -> None:
        """Go on with these hypotheses only."""
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.detach()[hypotheses].clone()))
        self.camera.turn, self.camera.tilt = self.camera.turn[hypotheses], self.camera.tilt[hypotheses]

    @torch.no_grad()
    def grow_skeleton(self, bones: int) -> None:
        """Give the single hypothesis bones, spread evenly over its body; in mirrored pairs where it has two sides.

        Where it has bones already, new ones take their place and go on with their motion.
        """
        every = torch.arange(len(self.view.numbers), device=self.colours.device)
        moved = self.vertices(self.mesh(1.0), self.skeleton.motion_parameters(), every)[0] if self.skeleton else None
        rest, places = self.mesh(1.0)[0], self.mesh.places
        parts = parts_of_body(rest, places, self.mesh.faces)
        spread = parts.features
        chosen = spread_out(spread, parts.central, self.mesh.mirror, bones)
        own = torch.cdist(spread, spread[chosen]).argmin(1)
        centres = torch.stack([parts.held[own == b].mean(0) for b in range(len(chosen))])
        image = torch.where(parts.central, self.mesh.mirror, torch.arange(len(rest), device=rest.device))
        anchors = torch.stack([places[chosen], places[image[chosen]]], 1)
        partner = torch.where(parts.central, torch.arange(len(rest), device=rest.device), self.mesh.mirror)[chosen]
        twin = (partner[:, None] == chosen).int().argmax(1)
        radius = 0.6 / math.sqrt(len(chosen))
        self.skeleton = Skeleton(self.view, centres, anchors, twin, radius).to(rest.device)
        self.skeleton.join(rest, places)
        if moved is not None:
            self.skeleton.follow(rest, places, moved)

    def refine(self, level: int, strength: float) -> None:
        """Subdivide the mesh to a level and spread its vertices evenly; shape and colours stay."""
        sphere = self.mesh.sphere
        values = torch.cat([self.mesh(), self.colours], -1)[0].detach().cpu().double().numpy()
        while len(values) < 10 * 4**level + 2:
            sphere, values = spheres.subdivided(sphere, values)
        sphere, values = spread_evenly(sphere, values)
        data = torch.from_numpy(values).float().to(self.colours.device)[None]
        self.mesh = RestMesh(data[..., :3], sphere, strength)
        self.colours = nn.Parameter(data[..., 3:].clone())

    def vertices(self, rest: Tensor, motion: Tensor | None, frames: Tensor) -> Tensor:
        """(H, N, V, 3) object space at frames (N,), from the rest mesh (H, V, 3) and all frames' motion (T, B, 6)."""
        if self.skeleton is None:
            return rest.unsqueeze(1).expand(-1, len(frames), -1, -1)
        rotations, translations = self.skeleton.transforms(motion[frames])
        weights = self.skeleton.skin_weights(rest[0], self.mesh.places)
        return blend_skinning(rest[0], weights, rotations, translations)[None]

    def cameras(self, rotation: Tensor, translation: Tensor, frames: Tensor) -> Camera:
        """Cameras (H, N) in crop coordinates at some frames, from all frames' rotation and translation."""
        intrinsics = zoomed(self.view.in_crop[frames], self.camera.zoom())
        return Camera(rotation[:, frames], translation[:, frames], intrinsics)
