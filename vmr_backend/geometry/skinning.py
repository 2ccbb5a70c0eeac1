"""Linear blend skinning, Gaussian bones, and forward kinematics of a tree of bones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def gaussian_skin_weights(points: Tensor, centres: Tensor, precisions: Tensor, apart: Tensor | float = 0.0,
                          bones_per_vertex: int = 4) -> Tensor:
    """Skin weights of bones (as in LASR): softmax over bones of minus the squared Mahalanobis distance.

    points (V, 3), centres (B, 3), precisions (B, 3, 3) factors A of the Gaussians, distance = |A (x - c)|, apart (V, B)
    added to its square.
    Returns (V, B); only the largest `bones_per_vertex` of a row are above zero, rows sum to 1.
    """
    # One product of two matrices for all points and bones: many small ones take ten times as long.
    origin = (precisions @ centres.unsqueeze(-1)).flatten()
    logits = -(points @ precisions.flatten(0, 1).T - origin).unflatten(1, (-1, 3)).square().sum(-1) - apart
    # By index, not by a threshold: of bones equally near no more are kept than may be.
    kept = logits.topk(min(bones_per_vertex, logits.shape[1]), dim=1).indices
    dropped = torch.ones_like(logits, dtype=torch.bool).scatter(1, kept, False)
    return logits.masked_fill(dropped, -torch.inf).softmax(1)


def blend_skinning(rest: Tensor, weights: Tensor, rotations: Tensor, translations: Tensor) -> Tensor:
    """Vertices moved by the weighted mean of their bones' transforms.

    rest (V, 3); weights (V, B); rotations (..., B, 3, 3) and translations (..., B, 3): x -> R x + t in object space.
    Returns (..., V, 3).
    """
    transforms = torch.cat([rotations.mT, translations.unsqueeze(-2)], -2).flatten(-3, -2)
    weighted = weights.unsqueeze(-1) * torch.cat([rest, rest.new_ones(len(rest), 1)], 1).unsqueeze(1)
    return weighted.flatten(1) @ transforms


def rigid_motions(rest: Tensor, moved: Tensor, weights: Tensor, damping: float = 0.0) -> tuple[Tensor, Tensor]:
    """Each bone's rigid motion that comes nearest to how its vertices have moved (Kabsch 1976).

    rest (V, 3), moved (T, V, 3), skin weights (V, B); damping, in units of the bone's square extent, favours no
    rotation: it decides what the vertices leave open, as how far a thin limb has twisted.
    Returns rotations (T, B, 3, 3) and translations (T, B, 3) with x -> R x + t in object space.
    """
    dtype = moved.dtype  # in float64, for rounding would turn a bone about the line of only two vertices
    rest, moved, weights = rest.double(), moved.double(), weights.double()
    weights = weights / weights.sum(0).clamp_min(1e-9)
    start, end = weights.T @ rest, weights.T @ moved
    weighted = (weights.unsqueeze(-1) * (rest.unsqueeze(1) - start)).flatten(1)
    outer = (weighted.T @ moved).unflatten(1, (-1, 3)).mT
    size = (weights.T @ rest.square()).sum(-1) - start.square().sum(-1)
    u, _, vt = torch.linalg.svd(outer + (damping * size + 1e-6)[:, None, None] * torch.eye(3).to(outer))
    proper = torch.ones_like(end)
    proper[..., 2] = torch.linalg.det(u @ vt).sign()
    rotations = u * proper.unsqueeze(-2) @ vt
    return rotations.to(dtype), (end - (rotations @ start.unsqueeze(-1)).squeeze(-1)).to(dtype)


class KinematicTree:
    """Which of B bones hangs on which, for forward kinematics: a level of the tree at a time."""

    def __init__(self, parents: Sequence[int], device: torch.device):
        """parents  (B,), -1 for a root"""
        depth = [0] * len(parents)
        for bone, above in enumerate(parents):
            while above >= 0:
                depth[bone], above = depth[bone] + 1, parents[above]
        self._levels: list[tuple[Tensor, Tensor]] = []
        order: list[int] = []
        last: list[int] = []
        for level in range(max(depth) + 1):
            bones = [bone for bone in range(len(parents)) if depth[bone] == level]
            above = [last.index(parents[bone]) for bone in bones] if level else []
            self._levels.append((torch.tensor(bones, device=device), torch.tensor(above, device=device).long()))
            order += bones
            last = bones
        self._order = torch.tensor(order, device=device).argsort()
        self.parents = torch.tensor(parents, device=device)
        """(B,) int64, -1 for a root."""

    def down(self, own: Tensor, joined: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Values (..., B, R, C) of all bones, from the roots to the tips.

        own     (..., B, R, C) of each bone; a root's value is its own
        joined  makes values of bones from those of their parents and their own
        """
        found = [own.index_select(-3, self._levels[0][0])]
        for bones, above in self._levels[1:]:
            found.append(joined(found[-1].index_select(-3, above), own.index_select(-3, bones)))
        return torch.cat(found, -3).index_select(-3, self._order)


def forward_kinematics(tree: KinematicTree, turns: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (..., B, 3, 3) and translations (..., B, 3), x -> R x + t, of bones that turn about their joints.

    turns   (..., B, 3, 3) of each bone against the one above, in the axes of the rest pose
    joints  (..., B, 3) at rest, in the same space
    """
    stays = joints - (turns @ joints.unsqueeze(-1)).squeeze(-1)
    own = torch.cat([turns, stays.unsqueeze(-1)], -1)
    last = own.new_tensor([0.0, 0, 0, 1]).expand(*own.shape[:-2], 1, 4)
    moved = tree.down(torch.cat([own, last], -2), torch.matmul)
    return moved[..., :3, :3], moved[..., :3, 3]
