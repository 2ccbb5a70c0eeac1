"""Gradient descent: one loop for whatever is fitted, and the kinds of Adam that its parameters take."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..losses import weighted_sum

BETAS = (0.9, 0.99)
"""Of Adam, as for all that is fitted to pictures."""

CHECKED = 50
"""Iterations after which a GPU is asked whether the objective is still finite: it has to finish all its work to answer.
On the CPU each is checked, since PyTorch crashes where it samples pictures at positions that are not finite."""

Terms = Mapping[str, Tensor]


def descend(groups: Iterable[dict[str, Any]], evaluate: Callable[[int], Terms],
            weights: Callable[[int], Mapping[str, float]], iterations: int,
            rate: Callable[[int], float] = lambda iteration: 1.0,
            progress: Callable[[int, int], None] = lambda step, steps: None) -> dict[str, Tensor]:
    """Improve parameters in place. Returns the mean of each term and of their "total" over the last third.

    groups    "params", their learning rate "lr" (a number, or a tensor that broadcasts over a parameter's last axis),
              and "optimiser": Adam where there is none
    evaluate  the terms of an iteration, unweighted; each a number, or one value per hypothesis (H,)
    weights   of an iteration's terms, by their names; not every iteration needs to have all terms
    rate      factor of the learning rates in an iteration

    FloatingPointError where the objective is not finite any more.
    """
    groups = list(groups)
    optimisers = [kind([{"params": list(group["params"]), "lr": group["lr"], "first_lr": group["lr"]}
                        for group in groups if group.get("optimiser", Adam) is kind])
                  for kind in dict.fromkeys(group.get("optimiser", Adam) for group in groups)]
    tail: dict[str, list[Tensor]] = {}
    for i in range(iterations):
        found = evaluate(i)
        total = weighted_sum(found, weights(i))
        last = i + 1 == iterations
        if last or i % CHECKED == 0 or not total.is_cuda:
            check_finite(total)
        for optimiser in optimisers:
            optimiser.zero_grad()
        total.sum().backward()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["first_lr"] * rate(i)
            optimiser.step()
        if i / iterations >= 2 / 3 or last:
            for name, value in {**found, "total": total}.items():
                tail.setdefault(name, []).append(value.detach())
        progress(i + 1, iterations)
    return {name: torch.stack(values).mean(0) for name, values in tail.items()}


def check_finite(total: Tensor, name: str = "fit") -> None:
    """FloatingPointError, which names what diverged, where a total is not finite."""
    if not torch.isfinite(total).all():
        raise FloatingPointError(f"the {name} diverged; another seed, or lower loss weights, may help")


def falling(at: float, final: float) -> float:
    """Factor of a learning rate at a fraction of a descent: from 1 to `final` along half a cosine."""
    return final + (1 - final) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, at)))


class Optimiser:
    """Groups of parameters that are descended together, and a state for each parameter.

    PyTorch's own base class imports PyTorch's compiler as it is first used, which takes as long as importing PyTorch:
    every run would begin seconds later.
    """

    def __init__(self, groups: list[dict[str, Any]]):
        """groups  "params" and their learning rate "lr", a number, or a tensor that broadcasts over the last axis"""
        self.param_groups = groups
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)

    def zero_grad(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Descend by the gradients that are there; parameters that have none rest."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, parameter.grad, group["lr"], self.state[parameter])

    def update(self, parameter: Tensor, gradient: Tensor, rate: float | Tensor, state: dict[str, Any]) -> None:
        raise NotImplementedError


class Adam(Optimiser):
    """Adam (Kingma and Ba 2015) with the moments of all that is fitted to pictures."""

    def update(self, parameter: Tensor, gradient: Tensor, rate: float | Tensor, state: dict[str, Any]) -> None:
        if not state:
            state.update(count=0, first=torch.zeros_like(parameter), second=torch.zeros_like(parameter))
        state["count"] += 1
        state["first"].lerp_(gradient, 1 - BETAS[0])
        state["second"].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        spread = (state["second"] / (1 - BETAS[1] ** state["count"])).sqrt_().add_(1e-8)
        parameter.sub_(rate / (1 - BETAS[0] ** state["count"]) * state["first"] / spread)


class UniformAdam(Optimiser):
    """Adam with one second moment for a whole mesh, its largest (Nicolet et al. 2021).

    Plain Adam takes equal steps everywhere, so vertices that no picture constrains walk at random on the noise of their
    gradients; here they hardly move. Parameters are (H, V, 3), each hypothesis by itself.
    """

    def update(self, parameter: Tensor, gradient: Tensor, rate: float | Tensor, state: dict[str, Any]) -> None:
        if not state:
            state.update(count=0, first=torch.zeros_like(parameter), second=torch.zeros_like(parameter))
        state["count"] += 1
        state["first"].lerp_(gradient, 1 - BETAS[0])
        state["second"].lerp_(gradient.square(), 1 - BETAS[1])
        first = state["first"] / (1 - BETAS[0] ** state["count"])
        second = (state["second"] / (1 - BETAS[1] ** state["count"])).amax((1, 2), keepdim=True)
        parameter.sub_(rate * first / (second.sqrt() + 1e-12))


def rows_of(table: Tensor, index: Tensor) -> Tensor:
    """Rows (N, C) of a table (M, C) by index (N,); its gradient holds these rows alone, as `RowAdam` takes it."""
    return functional.embedding(index, table, sparse=True)


class RowAdam(Optimiser):
    """Adam for tables (N, C) of which each step reads a few rows (`rows_of`): the others rest, with their moments."""

    def update(self, parameter: Tensor, gradient: Tensor, rate: float | Tensor, state: dict[str, Any]) -> None:
        if not state:
            state.update(counts=parameter.new_zeros(len(parameter), 1), first=torch.zeros_like(parameter),
                         second=torch.zeros_like(parameter))
        counts, first, second = state["counts"], state["first"], state["second"]
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        counts[rows] += 1
        first[rows] = BETAS[0] * first[rows] + (1 - BETAS[0]) * values
        second[rows] = BETAS[1] * second[rows] + (1 - BETAS[1]) * values.square()
        mean = first[rows] / (1 - BETAS[0] ** counts[rows])
        spread = second[rows] / (1 - BETAS[1] ** counts[rows])
        parameter[rows] -= rate * mean / (spread.sqrt() + 1e-8)
