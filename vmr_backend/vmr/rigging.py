"""Bones for a category model's result: the rigged template of the kind, laid on its rest shape, moves as that does.

A category model knows no bones. Its rest shape and the template know the same landmarks, though, so the template's
proportions and pose are fitted to it; each vertex then follows the bones that hold the template's surface beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .. import losses
from ..bodies.rig import RigBody
from ..fitting.batch import FrameBatch
from ..fitting.body import Pose
from ..fitting.optimise import descend, falling
from ..fitting.view import LandmarkTracks, View
from ..geometry.skinning import blend_skinning
from ..geometry.topology import combinatorial_laplacian
from ..reconstruction import BONES_PER_VERTEX, Reconstruction
from ..templates.template import Template
from ..texture.view import vertex_normals

LAYING, MOVING = 300, (150, 100)
"""Iterations of the fit to the rest shape, and of the one to its motion."""
RATE, PLACE_RATE = 0.02, 0.01
ROUNDING = 0.02
"""Object units below which a distance counts like its square."""
LAID = {"surface": 20.0, "landmark": 40.0, "shape": 0.02, "pose": 0.002, "limit": 10.0}
MOVED = {"vertex": 2000.0, "apart": 400.0, "temporal": 0.2, "rest": 0.002, "limit": 1.0}
"""Weights of the two fits' terms."""
BESIDE, NEAR = 12, 0.04
"""Vertices of the template whose bones a vertex takes over, and object units within which they count."""
ASLANT = 0.02
"""What the template's surface counts for at least where it does not look the same way: else a vertex may have none."""
REMAINS = 0.1
"""Of the rest shape so far, beside each frame's."""
SMOOTHED = 2
"""Times that skin weights are averaged with those of neighbours."""
COST = 10000.0, 170.0
"""Milliseconds on two cores that all this takes, about: for the rest shape, and for each frame."""
ENOUGH = 8
"""Landmarks that a template and a result need in common."""
NEAR_ENOUGH = 0.02
"""Object units by which bones may be off the vertices on average without a word."""
NEARLY = "Bones carry the mesh to {:.1f} % of its length off what was found, on average; shape keys show that exactly"


@dataclass(frozen=True)
class _Laid:
    """A template that has the form of a result at rest; B bones, object units of its body."""

    body: RigBody
    turns: Tensor
    """(B, 3) of the bones in that form."""
    size: Tensor
    shift: Tensor
    """(3,): the result has size * x + shift where the body has x."""
    rest: Tensor
    """(V, 3) vertices of the result at rest."""
    heads: Tensor
    """(1, B, 3) of the bones in the template's own pose, its proportions fitted."""

    def maps(self, turns: Tensor) -> tuple[Tensor, Tensor]:
        """What bones at turns (T, B, 3) do to vertices at rest: rotations (T, B, 3, 3), translations (T, B, 3)."""
        every = torch.cat([self.turns[None], turns])[None]
        linear, shift = (part[0] for part in self.body.transforms(self.heads, every))
        back = linear[:1].mT
        turned = linear[1:] @ back
        return turned, shift[1:] - (turned @ shift[:1].unsqueeze(-1)).squeeze(-1)


def knows(template: Template, result: Reconstruction) -> bool:
    """Whether a template can give bones to a result: that has none, and landmarks in common with it."""
    names = set() if result.keypoint_names is None else {str(name) for name in result.keypoint_names}
    return result.bone_parents is None and len(names.intersection(template.card.landmark_names)) >= ENOUGH


def rigged(result: Reconstruction, template: Template,
           progress: Callable[[int, int], None] = lambda step, steps: None) -> tuple[Reconstruction, float]:
    """The result with the template's bones, and how far what they move is off its vertices on average, object units.

    The vertices stay as they are. Bones move them a little otherwise: handles of a category model also scale.
    """
    done, total = LAYING, LAYING + sum(MOVING)
    laid = _laid_on(result, template, lambda step, _: progress(step, total))
    weights = _skin_weights(laid, result.faces)
    wanted = (torch.from_numpy(result.vertices) - laid.shift) / laid.size
    turns = laid.turns.repeat(len(wanted), 1, 1)
    shifts = (wanted - laid.rest).mean(1, keepdim=True).repeat(1, len(laid.turns), 1)
    for iterations in MOVING:
        turns, shifts = _motion(laid, weights, wanted, turns, shifts, iterations,
                                lambda step, _, before=done: progress(before + step, total))
        done += iterations
        laid = replace(laid, rest=_best_rest(laid, weights, wanted, turns, shifts))
    with torch.no_grad():
        linear, shift = laid.maps(turns)
        off = (blend_skinning(laid.rest, weights, linear, shift + shifts) - wanted).norm(dim=-1).mean()
        rest, lengths = _bones_at_rest(laid)
        poses = torch.eye(4).repeat(*linear.shape[:2], 1, 1)
        poses[..., :3, :3] = linear @ rest[:, :3, :3]
        poses[..., :3, 3] = (linear @ rest[:, :3, 3:]).squeeze(-1) + shift + shifts
        # Another rest shape has another extent, which is the unit of a result.
        unit = 1 / (laid.rest.amax(0) - laid.rest.amin(0)).max()
        place = unit * laid.shift / laid.size
        for frames in (rest, poses):
            frames[..., :3, 3] = unit * frames[..., :3, 3] + place
        scale = float(unit / laid.size)
    return replace(
        result, rest_vertices=(unit * laid.rest + place).numpy(), vertices=result.vertices * np.float32(scale),
        camera_translation=result.camera_translation * np.float32(scale), skin_weights=weights.numpy(),
        bone_parents=template.bone_parents.astype(np.int32), bone_names=np.array(template.card.bone_names),
        bone_rest=rest.numpy(), bone_pose=poses.numpy(), bone_lengths=(unit * lengths).numpy()), float(unit * off)


def _laid_on(result: Reconstruction, template: Template, progress: Callable[[int, int], None]) -> _Laid:
    """The template in the form of a result at rest."""
    target = torch.from_numpy(result.rest_vertices)
    names = [str(name) for name in result.keypoint_names]
    view = View(torch.zeros(1), torch.ones(1, 4), torch.zeros(1, 2), torch.ones(1),
                landmarks=LandmarkTracks(tuple(names), torch.zeros(1, len(names), 2)))
    body = RigBody(view, template, 1, adapt=True)
    rows = [names.index(template.card.landmark_names[row]) for row in body.tracked]
    seen = torch.from_numpy(result.keypoint_weights[rows]) @ target
    low, high = target.amin(0), target.amax(0)
    extent = (body.surface.vertices.amax(0) - body.surface.vertices.amin(0)).max()
    log_size = ((high - low).max() / extent).log().reshape(1).requires_grad_()
    shift = ((low + high) / 2).requires_grad_()
    batch = FrameBatch(torch.zeros(1, dtype=torch.long), ())

    def evaluate(_: int) -> dict[str, Tensor]:
        turns = body.bend[:, None]
        vertices = body.moved(turns)
        points = log_size.exp() * vertices[0, 0] + shift
        apart = torch.cdist(points, target)
        there, back = (losses.charbonnier(apart.amin(way).square(), ROUNDING).mean() for way in (0, 1))
        off = (body.landmarks @ points - seen).square().sum(-1)
        penalties = body.regularisers(Pose(vertices[:, 0], vertices, turns), vertices, None, batch)
        return {"surface": there + back, "landmark": losses.charbonnier(off, ROUNDING).mean(),
                **{name: penalties[name].sum() for name in ("shape", "pose", "limit")}}

    descend([{"params": [body.bend, body.shape, body.log_scale], "lr": RATE},
             {"params": [log_size, shift], "lr": PLACE_RATE}], evaluate, lambda step: LAID, LAYING,
            lambda step: falling(step / LAYING, 0.05), progress)
    size, shift = log_size.exp().detach(), shift.detach()
    body.refine()
    heads = body.proportions(body.surface).heads.detach()
    return _Laid(body, body.bend[0].detach(), size, shift, (target - shift) / size, heads)


@torch.no_grad()
def _skin_weights(laid: _Laid, faces: np.ndarray) -> Tensor:
    """(V, B) of the result's vertices, from the template's beside them that look the same way."""
    there, rest = laid.body.moved(laid.turns[None, None])[0, 0].numpy(), laid.rest.numpy()
    apart, near = cKDTree(there).query(rest, k=BESIDE)
    alike = (vertex_normals(there, laid.body.faces.numpy())[near] * vertex_normals(rest, faces)[:, None]).sum(-1)
    share = torch.from_numpy(np.exp(-((apart - apart[:, :1]) / NEAR) ** 2) * np.maximum(alike, ASLANT)).float()
    weights = (share.unsqueeze(-1) * laid.body.surface.weights[near]).sum(1)
    laplacian = combinatorial_laplacian(faces, len(weights))
    around = torch.from_numpy(laplacian.diagonal()).float().unsqueeze(1)
    for _ in range(SMOOTHED):
        weights = weights - torch.from_numpy(laplacian @ weights.numpy()).float() / (2 * around)
    kept = weights.topk(min(BONES_PER_VERTEX, weights.shape[1]), 1)
    weights = torch.zeros_like(weights).scatter(1, kept.indices, kept.values.clamp_min(0))
    return weights / weights.sum(1, keepdim=True)


@torch.no_grad()
def _best_rest(laid: _Laid, weights: Tensor, wanted: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
    """(V, 3) the rest shape that the bones carry to vertices (T, V, 3) best, and that is near to the one so far."""
    linear, shift = laid.maps(turns)
    blended = torch.einsum("vb,tbij->tvij", weights, linear)
    moved = torch.einsum("vb,tbi->tvi", weights, shift + shifts)
    normal = (blended.mT @ blended).sum(0) + REMAINS * len(wanted) * torch.eye(3)
    right = (blended.mT @ (wanted - moved).unsqueeze(-1)).sum(0) + REMAINS * len(wanted) * laid.rest.unsqueeze(-1)
    return torch.linalg.solve(normal, right).squeeze(-1)


def _motion(laid: _Laid, weights: Tensor, wanted: Tensor, turns: Tensor, shifts: Tensor, iterations: int,
            progress: Callable[[int, int], None]) -> tuple[Tensor, Tensor]:
    """Turns (T, B, 3) of the bones, and shifts (T, B, 3), with which they carry the rest shape to vertices (T, V, 3)
    best. Bones shift against each other as little as can be: a category's handles stretch, which no bone does."""
    turns, shifts = (one.clone().requires_grad_() for one in (turns, shifts))
    hanging = torch.nonzero(laid.body.tree.parents >= 0)[:, 0]

    def evaluate(_: int) -> dict[str, Tensor]:
        linear, shift = laid.maps(turns)
        moved = blend_skinning(laid.rest, weights, linear, shift + shifts)
        apart = shifts[:, hanging] - shifts[:, laid.body.tree.parents[hanging]]
        return {"vertex": (moved - wanted).square().sum(-1).mean(),
                "apart": apart.square().sum(-1).mean(),
                "temporal": losses.acceleration_loss(torch.cat([turns, 5 * shifts], 2)[None].flatten(2)).sum() / len(
                    laid.turns),
                "rest": (turns - laid.turns).square().mean(), "limit": laid.body.beyond_limits(turns[None]).sum()}

    descend([{"params": [turns], "lr": RATE}, {"params": [shifts], "lr": PLACE_RATE}], evaluate, lambda step: MOVED,
            iterations, lambda step: falling(step / iterations, 0.05), progress)
    return turns.detach(), shifts.detach()


@torch.no_grad()
def _bones_at_rest(laid: _Laid) -> tuple[Tensor, Tensor]:
    """(B, 4, 4) frames of the bones in the form of the rest shape, y along the bone, and their lengths (B,)."""
    body = laid.body
    arrays = body.arrays(torch.ones(()))
    frames = torch.as_tensor(arrays["bone_rest"]).float()
    linear, shift = (part[0, 0] for part in body.transforms(laid.heads, laid.turns[None, None]))
    moved = torch.eye(4).repeat(len(frames), 1, 1)
    moved[:, :3, :3], moved[:, :3, 3] = linear, shift
    return moved @ frames, torch.as_tensor(arrays["bone_lengths"]).float()
