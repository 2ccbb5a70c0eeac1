"""The frames that one iteration compares: pairs some frames apart, and runs of neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .observations import Link, Observations

RUN = 4
"""Frames of a run: enough to see a motion speed up."""


@dataclass(frozen=True)
class BatchFlow:
    """Optical flow at the samples of B frames, each to one other frame of the batch."""

    partner: Tensor
    """(B,) index in the batch of the frame that flow leads to."""
    displacement: Tensor
    """(B, P, 2) crop units."""
    weight: Tensor
    """(B, P), zero where there is no such frame."""


@dataclass(frozen=True)
class FrameBatch:
    """B frames of a clip and the flow between them."""

    frames: Tensor
    """(B,) indices among the clip's frames; some may be there twice."""
    flows: tuple[BatchFlow, ...]
    run: int = 0
    """Frames that follow one another in the batch; 0 where it consists of pairs."""

    def in_runs(self, values: Tensor) -> Tensor:
        """(B / run, run, ...) of values (B, ...)."""
        return values.unflatten(0, (-1, self.run))


Draw = Callable[[Observations, int, int, np.random.Generator], FrameBatch]
"""Draws the batch of an iteration: observations, about how many frames, the iteration's number, chance."""


def pairs(observations: Observations, count: int, iteration: int, random: np.random.Generator) -> FrameBatch:
    """Pairs of neighbours in every other iteration, in the rest pairs further apart."""
    link = observations.links[0 if iteration % 2 == 0 else iteration // 2 % len(observations.links)]
    return _pairs(observations, link, count, random)


def runs_and_pairs(observations: Observations, count: int, iteration: int, random: np.random.Generator) -> FrameBatch:
    """Runs of neighbours and pairs further apart, in turn."""
    far = observations.links[1:]
    if iteration % 2 and far:
        return _pairs(observations, far[iteration // 2 % len(far)], count, random)
    total = len(observations.masks)
    run = min(RUN, total)
    # Beyond both ends, too, so that the first and last frames are drawn as often as others.
    first = random.integers(-(run // 2), total - run + run // 2 + 1, max(1, count // run))
    starts = torch.from_numpy(first.clip(0, total - run)).to(observations.masks.device, non_blocking=True)
    step = torch.arange(run, device=starts.device)
    frames = (starts[:, None] + step).flatten()
    index = torch.arange(len(frames), device=starts.device).view(-1, run)
    link = observations.links[0]
    later, earlier = ((index + side).clamp(index[:, :1], index[:, -1:]).flatten() for side in (1, -1))
    index = index.flatten()
    return FrameBatch(frames, (
        BatchFlow(later, link.forward[frames], link.forward_weight[frames] * (later != index)[:, None]),
        BatchFlow(earlier, link.backward[frames], link.backward_weight[frames] * (earlier != index)[:, None])), run)


def _pairs(observations: Observations, link: Link, count: int, random: np.random.Generator) -> FrameBatch:
    first = torch.from_numpy(random.permutation(len(observations.masks) - link.gap)[: max(1, count // 2)])
    first = first.to(observations.masks.device, non_blocking=True)
    second = first + link.gap
    partner = torch.arange(2 * len(first), device=first.device).roll(len(first))
    return FrameBatch(torch.cat([first, second]), (BatchFlow(
        partner, torch.cat([link.forward[first], link.backward[second]]),
        torch.cat([link.forward_weight[first], link.backward_weight[second]])),))
