"""Gaits: how the legs of a template may swing, tried under the one camera path that the search has left.

Legs that pass each other have one outline. Descent makes them turn back where they should pass, or follow one leg both,
and no later stage undoes that. So whole gaits are tried, as whole camera paths are: their outlines alone are cheap
enough to try hundreds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bodies.rig import RigBody
from ..fitting.body import Constraints
from ..fitting.data_terms import mask_term
from ..fitting.fitter import Solution
from ..fitting.observations import Observations
from ..fitting.search import select
from ..geometry.cameras import project
from ..rendering import Renderer
from ..templates.joint_limits import HANGING
from ..templates.template import Template
from ..video.footage import Footage

CYCLES = tuple(0.5 * 2 ** (k / 2) for k in range(7))
"""Seconds in which a leg swings to the front and back once."""
USUAL_RATE = 24.0
"""Frames a second of footage that tells none."""
LONGEST = 1.5
"""Cycles are no longer than so many times the clip, of which the shortest is tried all the same."""
PHASES = 8
WALK, GALLOPS = math.pi, (math.pi / 4, -math.pi / 4)
"""Radians by which right legs are before left ones: in walk, trot and pace, and in both leads of a gallop."""
SWING, FOLD = 0.4, 0.3
"""Radians to the front and back, and by which hinges fold on the way forward."""
LOW = 0.25
"""Legs reach down to this fraction of a body's height."""
MOST_PAIRS = 3
"""Of legs; each doubles the walks that are fitted."""
WALKED, GALLOPED = 3, 2
"""Cycles at which a walk is fitted, and gallops that are."""
AT_ONCE = 6
"""Gaits whose outlines are drawn together."""
FRAMES = 24
"""Frames of a clip that are looked at, at most."""


@dataclass(frozen=True)
class LegPair:
    """A left and a right leg."""

    swinging: tuple[int, int]
    """The uppermost bone of each that hangs."""
    hinges: tuple[list[int], list[int]]
    """Bones of each below that one."""
    bones: list[int]
    """All of both."""


def leg_pairs(template: Template) -> list[LegPair]:
    """Limbs with a twin that reach down to the ground: the first MOST_PAIRS of them."""
    parents, twins, rest = template.bone_parents, template.bone_twins, template.bone_rest.astype(np.float64)
    tails = rest[:, 2, 3] + rest[:, 2, 1] * template.bone_lengths
    ground, top = template.vertices[:, 2].min(), template.vertices[:, 2].max()
    of_limb = twins != np.arange(len(twins))
    found = []
    for bone in np.flatnonzero(of_limb):
        if bone > twins[bone] or parents[bone] >= 0 and of_limb[parents[bone]]:
            continue
        limb = [int(bone), *_below(int(bone), parents)]
        hanging = [b for b in limb if -rest[b, 2, 1] > HANGING]
        if not hanging or tails[limb].min() > ground + LOW * (top - ground):
            continue
        first, below = hanging[0], _below(hanging[0], parents)
        found.append(LegPair((first, int(twins[first])), (below, [int(twins[b]) for b in below]),
                             limb + [int(twins[b]) for b in limb]))
    return found[:MOST_PAIRS]


def _below(bone: int, parents: np.ndarray) -> list[int]:
    """Bones that hang on a bone, those above first."""
    found = [bone]
    for other in range(bone + 1, len(parents)):
        if parents[other] in found:
            found.append(other)
    return found[1:]


@dataclass(frozen=True)
class Gaits:
    """H gaits of P pairs of legs."""

    cycle: Tensor
    """(H,) frames."""
    legs: Tensor
    """(H, P, 2) phase and lag of each pair, radians."""

    def __len__(self) -> int:
        return len(self.cycle)

    def __getitem__(self, index: Tensor) -> Gaits:
        return Gaits(self.cycle[index], self.legs[index])


class Walker:
    """The single hypothesis of a solution on the clip, its legs swinging evenly and the rest as it is."""

    def __init__(self, solution: Solution[RigBody], pairs: Sequence[LegPair], observations: Observations,
                 renderer: Renderer, constraints: Constraints):
        self.body, self.pairs, self.renderer = solution.body, pairs, renderer
        body, total = solution.body, len(observations.masks)
        self.now = body.turns(Constraints()).detach()[0]
        """(T, B, 3)."""
        self.frames = torch.linspace(0, total - 1, min(total, FRAMES), device=self.now.device).round().long()
        self.masks = observations.masks[self.frames]
        self.camera = solution.cameras.at(self.frames, constraints)
        average = self.now.mean(0)
        self.alike = (average + mirrored(body, average)) / 2
        """(B, 3) turns on the average, left and right alike."""
        # A hinge folds about the axis of its widest turn, to the wider side.
        widest = (body.limits[..., 1] - body.limits[..., 0]).argmax(1)
        bones = torch.arange(len(widest), device=widest.device)
        self.fold = body.limit_axes[bones, :, widest] * body.limits[bones, widest].sum(1).sign()[:, None]
        """(B, 3)."""

    def motions(self, gaits: Gaits, pairs: Sequence[int] | None = None) -> Tensor:
        """Turns (H, T, B, 3), where only some pairs of legs or all walk."""
        turns = self.now.repeat(len(gaits), 1, 1, 1)
        time = 2 * math.pi * self.body.view.numbers.float() / gaits.cycle[:, None]
        for p in range(len(self.pairs)) if pairs is None else pairs:
            pair, (phase, lag) = self.pairs[p], gaits.legs[:, p].unbind(1)
            turns[:, :, pair.bones] = self.alike[pair.bones]
            for bone, hinges, before in zip(pair.swinging, pair.hinges, (0 * lag, lag), strict=True):
                angle = time + (phase + before)[:, None]
                # A turn about x swings what hangs down to the back.
                turns[:, :, bone] += SWING * angle.sin().unsqueeze(-1) * self.body.rest_axes[bone, 0]
                turns[:, :, hinges] += FOLD * (-angle.cos()).relu()[..., None, None] * self.fold[hinges]
        return turns

    @torch.no_grad()
    def scores(self, gaits: Gaits, pairs: Sequence[int] | None = None) -> Tensor:
        """How far the outlines are from the masks (H,), as `mask_term` has it, where only some pairs or all walk."""
        found = []
        for some in torch.arange(len(gaits)).split(AT_ONCE):
            motions = self.motions(gaits[some], pairs)[:, self.frames]
            points = project(self.body.moved(motions), self.camera)
            masks = self.masks.repeat(len(motions), 1, 1)
            each = mask_term(points.flatten(0, 1), self.body.faces, masks, self.renderer)
            found.append(each.unflatten(0, points.shape[:2]).mean(1))
        return torch.cat(found)

    def best(self, cycles: Sequence[float]) -> Gaits:
        """The gaits that agree best with the masks: walks of the best cycles, with legs exchanged in every way, since
        those have nearly one outline, and the best gallops."""
        walks = [self._of_cycle(cycle, WALK, exchanged=True) for cycle in cycles]
        gallops = [self._of_cycle(cycle, lag, exchanged=False) for cycle in cycles for lag in GALLOPS]
        kept = []
        for found, count in ((walks, WALKED), (gallops, GALLOPED)):
            order = np.argsort([float(score) for _, score in found])[:count]
            kept += [found[i][0] for i in order]
        return Gaits(torch.cat([gaits.cycle for gaits in kept]), torch.cat([gaits.legs for gaits in kept]))

    def _of_cycle(self, cycle: float, lag: float, exchanged: bool) -> tuple[Gaits, Tensor]:
        """The best phase of each pair of legs, and what the best of all ways to exchange legs scores."""
        phases = 2 * math.pi * torch.arange(PHASES).to(self.now) / PHASES
        half = phases[:PHASES // 2] if exchanged else phases
        options = []
        for p in range(len(self.pairs)):
            legs = torch.stack([half, torch.full_like(half, lag)], 1)[:, None].repeat(1, len(self.pairs), 1)
            phase = float(half[self.scores(Gaits(torch.full_like(half, cycle), legs), [p]).argmin()])
            options.append([(phase, lag), (phase + math.pi, lag)][:1 + exchanged])
        legs = phases.new_tensor(list(itertools.product(*options)))
        gaits = Gaits(legs.new_full((len(legs),), cycle), legs)
        return gaits, self.scores(gaits).min()


def exchanges(body: RigBody, pairs: Sequence[LegPair]) -> Tensor:
    """The motion of a body's single hypothesis, and with legs of some pairs exchanged in every way: (2^P, T, B, 3)."""
    found = [body.turns(Constraints()).detach()[0]]
    for pair in pairs:
        for turns in tuple(found):
            exchanged = turns.clone()
            exchanged[:, pair.bones] = mirrored(body, turns)[:, pair.bones]
            found.append(exchanged)
    return torch.stack(found)


def mirrored(body: RigBody, turns: Tensor) -> Tensor:
    """Turns (..., B, 3) of the body's mirror image: the mirror at x = 0 turns the other way about y and z."""
    in_object = (body.rest_axes @ turns.unsqueeze(-1)).squeeze(-1)
    image = in_object[..., body.twins, :] * turns.new_tensor([1.0, -1.0, -1.0])
    return (body.rest_axes.mT @ image.unsqueeze(-1)).squeeze(-1)


def move(solution: Solution[RigBody], motions: Tensor) -> None:
    """Make a hypothesis of each motion (H, T, B, 3) out of a solution's first one."""
    select(solution, torch.zeros(len(motions), dtype=torch.long))
    solution.body.approach(motions)


def cycles_of(footage: Footage) -> list[float]:
    """Cycles that are tried, in frames."""
    rate, span = footage.fps or USUAL_RATE, float(np.ptp(footage.numbers)) + 1
    frames = [cycle * rate for cycle in CYCLES]
    return [cycle for cycle in frames if cycle <= max(LONGEST * span, frames[0])]
