"""Gradient descent and its kinds of Adam, against PyTorch's own by hand and against plain references."""

import math
import subprocess
import sys

import pytest
import torch

from vmr_backend.fitting.optimise import BETAS, Adam, RowAdam, UniformAdam, descend, falling, rows_of

RATES = (0.05, 0.2)


def leaves(*shapes) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=random).requires_grad_() for shape in shapes]


def gap_terms(a: torch.Tensor, b: torch.Tensor, iteration: int) -> dict[str, torch.Tensor]:
    """One value for each of two hypotheses, of which the second term is there in every third iteration only."""
    found = {"near": (a - 1).square().sum(1) + (a * b).sum(1)}
    return found | ({"far": (b + 2).square().sum(1)} if iteration % 3 == 0 else {})


def test_a_descent_is_pytorchs_adam_with_the_rates_of_its_groups_and_weights_that_change():
    weights, factor = (lambda i: {"near": 1.0 + i, "far": 0.5}), (lambda i: 1 / (1 + i))
    ours, theirs = leaves((2, 3), (2, 3)), leaves((2, 3), (2, 3))
    told, totals, terms = [], [], []
    found = descend([{"params": [p], "lr": rate} for p, rate in zip(ours, RATES, strict=True)],
                    lambda i: gap_terms(*ours, i), weights, 10, factor, lambda *step: told.append(step))
    adam = torch.optim.Adam([{"params": [p], "lr": rate} for p, rate in zip(theirs, RATES, strict=True)], betas=BETAS)
    for i in range(10):
        for group, rate in zip(adam.param_groups, RATES, strict=True):
            group["lr"] = rate / (1 + i)
        adam.zero_grad()
        terms.append(gap_terms(*theirs, i))
        totals.append(sum(weights(i)[name] * value for name, value in terms[-1].items()))
        totals[-1].sum().backward()
        adam.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert told == [(i, 10) for i in range(1, 11)]
    # The last third begins with the seventh iteration; in it, "far" was there in the ninth alone.
    torch.testing.assert_close(found["total"], torch.stack(totals[7:]).mean(0).detach())
    torch.testing.assert_close(found["near"], torch.stack([one["near"] for one in terms[7:]]).mean(0).detach())
    torch.testing.assert_close(found["far"], terms[9]["far"].detach())


def test_a_descent_does_not_wait_for_pytorchs_compiler_to_be_imported():
    script = """
import sys, torch
from vmr_backend.fitting.optimise import descend
value = torch.ones(3, requires_grad=True)
descend([{"params": [value], "lr": 0.1}], lambda i: {"one": value.sum()}, lambda i: {"one": 1.0}, 2)
print(value.tolist(), "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split("] ")[1].strip() == "False"


def test_groups_may_have_different_optimisers():
    plain, mesh, table = leaves((4,), (1, 5, 3), (6, 2))
    before = [p.detach().clone() for p in (plain, mesh, table)]
    groups = [{"params": iter([plain]), "lr": 0.1}, {"params": [mesh], "lr": 0.2, "optimiser": UniformAdam},
              {"params": [table], "lr": 0.3, "optimiser": RowAdam}]
    rows = torch.tensor([1, 4])
    descend(groups, lambda i: {"all": plain.sum() + mesh.sum() + rows_of(table, rows).sum()}, lambda i: {"all": 1.0}, 1)
    assert torch.allclose(plain, before[0] - 0.1) and torch.allclose(mesh, before[1] - 0.2)
    moved = torch.zeros(6, 2).index_fill(0, rows, 0.3)
    assert torch.allclose(table, before[2] - moved)


@pytest.mark.parametrize("kind", [Adam, UniformAdam, RowAdam])
def test_what_no_term_of_an_iteration_depends_on_rests(kind):
    (one,), (other,) = leaves((2, 4, 3) if kind is UniformAdam else (4, 3)), leaves((3,))

    def evaluate(i):
        values = rows_of(one, torch.arange(4)) if kind is RowAdam else one
        return {"both": (values * other).sum()} if i else {"other": other.sum()}

    before, seen = one.detach().clone(), []
    descend([{"params": [one], "lr": 0.1, "optimiser": kind}, {"params": [other], "lr": 0.1}], evaluate,
            lambda i: {"both": 1.0, "other": 1.0}, 2, progress=lambda *_: seen.append(one.detach().clone()))
    assert torch.equal(seen[0], before) and not torch.equal(seen[1], before)


def test_a_total_that_is_not_finite_ends_a_descent_before_its_step():
    (parameter,) = leaves((3,))
    before = parameter.detach().clone()
    with pytest.raises(FloatingPointError, match="the fit diverged"):
        descend([{"params": [parameter], "lr": 0.1}], lambda i: {"one": parameter.sum() / 0}, lambda i: {"one": 1.0}, 3)
    assert torch.equal(parameter, before)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_rates_fall_along_half_a_cosine(final):
    assert [falling(at, final) for at in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([1, (1 + final) / 2, final, final])
    assert falling(0.25, final) == pytest.approx(final + (1 - final) * (1 + math.sqrt(0.5)) / 2)


def test_steps_of_all_rows_are_those_of_adam():
    rates = torch.tensor(0.02), torch.tensor([0.01, 0.02, 0.03, 0.04])
    rows, pairs = leaves((5, 3), (10, 4))
    others = [rows.detach().clone().requires_grad_(), *(column.detach().clone().requires_grad_()
                                                        for column in pairs.unbind(1))]
    own = RowAdam([{"params": [rows], "lr": rates[0]}, {"params": [pairs], "lr": rates[1]}])
    adam = torch.optim.Adam([{"params": [value], "lr": float(rate)} for value, rate in zip(
        others, (rates[0], *rates[1]), strict=True)], betas=(0.9, 0.99), eps=1e-8)
    random = torch.Generator().manual_seed(1)
    for _ in range(7):
        gradients = torch.randn(5, 3, generator=random), torch.randn(10, 4, generator=random)
        own.zero_grad()
        sum((rows_of(table, torch.arange(len(table))) * gradient).sum()
            for table, gradient in zip((rows, pairs), gradients, strict=True)).backward()
        own.step()
        for value, gradient in zip(others, (gradients[0], *gradients[1].unbind(-1)), strict=True):
            value.grad = gradient.clone()
        adam.step()
    assert torch.allclose(rows, others[0], atol=1e-6)
    assert torch.allclose(pairs, torch.stack([value.detach() for value in others[1:]], -1), atol=1e-6)


def row_step(optimiser: RowAdam, table: torch.Tensor, index: list[int], gradient: torch.Tensor) -> None:
    optimiser.zero_grad()
    (rows_of(table, torch.tensor(index)) * gradient).sum().backward()
    optimiser.step()


def test_a_row_that_rests_goes_on_as_if_it_had_not():
    random = torch.Generator().manual_seed(0)
    alone, beside = torch.zeros(1, 3, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    own, other = (RowAdam([{"params": [table], "lr": torch.tensor(0.1)}]) for table in (alone, beside))
    for number, gradient in enumerate(torch.randn(6, 1, 3, generator=random)):
        row_step(own, alone, [0], gradient)
        row_step(other, beside, [2], gradient)
        row_step(other, beside, [number % 2, 3], torch.ones(2, 3))
    assert torch.equal(beside[2], alone[0])


def test_each_row_has_an_adam_of_its_own_that_steps_where_the_row_is_read():
    """A row that is read more than once in a step takes one step, by the sum."""
    random = torch.Generator().manual_seed(2)
    (table,) = leaves((5, 3))
    dense = [row.detach().clone().requires_grad_() for row in table]
    adams = [torch.optim.Adam([row], lr=0.1, betas=BETAS) for row in dense]
    optimiser = RowAdam([{"params": [table], "lr": 0.1}])
    for _ in range(12):
        index = torch.randint(5, (4,), generator=random)
        gradient = torch.randn(4, 3, generator=random)
        row_step(optimiser, table, index.tolist(), gradient)
        for row in set(index.tolist()):
            dense[row].grad = gradient[index == row].sum(0)
            adams[row].step()
    torch.testing.assert_close(table.detach(), torch.stack([row.detach() for row in dense]))
