"""The exercises of notebook 07, the audit: their right answers, the cases, and the mistakes that have a hint.

See :mod:`rdd_nb.course.exercise`. Importing this module registers them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rdd_nb.course.exercise import Case, Exercise, Mistake, register
from rdd_nb.models import risk

__all__: list[str] = []


def _t(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------ expected-best


def _best(values: Tensor, k: int) -> Tensor:
    ways = [math.comb(i, k - 1) / math.comb(len(values), k) for i in range(len(values))]
    return (values.sort().values * torch.tensor(ways, dtype=values.dtype)).sum()


def _with_replacement(values: Tensor, k: int) -> Tensor:
    edges = (torch.arange(len(values) + 1, dtype=values.dtype) / len(values)) ** k
    return (values.sort().values * edges.diff()).sum()


register(
    Exercise(
        "07-expected-best",
        "the expected best of k repeats, from n measured ones",
        _best,
        (
            Case("0, 1 and 2, of which one is drawn", (_t(0, 1, 2), 1)),
            Case("0, 1 and 2, of which two are drawn", (_t(0, 1, 2), 2)),
            Case("3, 1, 4, 1, 5 in this order, of which three are drawn", (_t(3, 1, 4, 1, 5), 3)),
            Case("the same, of which all five are drawn", (_t(3, 1, 4, 1, 5), 5)),
            Case("−2, −1, −3, −0.5, of which two are drawn", (_t(-2, -1, -3, -0.5), 2)),
        ),
        (
            Mistake("That is the best of all n, whatever k is.", lambda values, k: values.max()),
            Mistake("That is the mean: k is not used yet.", lambda values, k: values.mean()),
            Mistake(
                "That is the expected *worst* of k: the values must be sorted ascending, the largest last.",
                lambda values, k: -_best(-values, k),
            ),
            Mistake(
                "You draw with replacement, so the same repeat can come twice. Draw k different ones.",
                _with_replacement,
            ),
            Mistake(
                "That is the best of the first k. Average over all ways to draw k of the n.",
                lambda values, k: values[:k].max(),
            ),
            Mistake(
                "Sort the values first: the weight belongs to a rank, not to a place in the list.",
                lambda values, k: (
                    values * _t(*(math.comb(i, k - 1) / math.comb(len(values), k) for i in range(len(values))))
                ).sum(),
            ),
        ),
    )
)

# -------------------------------------------------------------------------------------------------------- masked-mean


def _real(table: Tensor, counts: Tensor) -> Tensor:
    return torch.arange(table.shape[1]) < counts[:, None]


def _masked(table: Tensor, counts: Tensor) -> Tensor:
    return table.where(_real(table, counts), 0).sum(1) / counts


_TABLE = _t((4.0, 1.0, 0.0), (2.0, 0.0, 0.0), (3.0, 1.0, 2.0))
_WILD = _t((4.0, -1.5, math.nan), (-2.0, math.inf, -math.inf), (3.0, 1.0, -2.0))
_ALL_ZERO = _t((0.0, 0.0, 0.0), (1.0, 5.0, 0.0))
register(
    Exercise(
        "07-masked-mean",
        "the mean of each row's real entries, in a table that is padded",
        _masked,
        (
            Case("rows of 2, 1 and 3 real losses", (_TABLE, torch.tensor([2, 1, 3]))),
            Case("rows of 3, 2 and 3, so that a real loss is 0", (_TABLE, torch.tensor([3, 2, 3]))),
            Case("a row without any sample", (_TABLE, torch.tensor([2, 0, 3]))),
            Case("a row whose two losses are truly 0", (_ALL_ZERO, torch.tensor([2, 2]))),
            Case("padded with 9 instead of 0", (_t((4, 1, 9), (2, 9, 9)), torch.tensor([2, 1]))),
            Case("padded with NaN and infinity", (_WILD, torch.tensor([2, 1, 3]))),
        ),
        (
            Mistake("The padding is averaged, too.", lambda table, counts: table.mean(1)),
            Mistake(
                "You leave out every zero. A real loss may be 0, and then it counts: go by `counts`, not by value.",
                lambda table, counts: table.sum(1) / (table != 0).sum(1),
            ),
            Mistake(
                "An empty row has no mean. 0 would say that it is classified perfectly: give NaN.",
                lambda table, counts: _masked(table, counts).nan_to_num(0),
            ),
            Mistake(
                "The sum runs over the padding: that is right only where the padding is 0. Mask it first.",
                lambda table, counts: table.sum(1) / counts,
            ),
            Mistake(
                "You multiply the padding by 0, and 0 times NaN or infinity is NaN: choose with `where` instead.",
                lambda table, counts: (table * _real(table, counts)).sum(1) / counts,
            ),
            Mistake(
                "Divide by each row's own count, not by the longest row's.",
                lambda table, counts: table.where(_real(table, counts), 0).sum(1) / table.shape[1],
            ),
            Mistake(
                "Asked is a mean for each row, not one of all entries.",
                lambda table, counts: table[_real(table, counts)].mean(),
            ),
        ),
    )
)

# --------------------------------------------------------------------------------------------------------- right-tail


def _rows(table: Tensor, counts: Tensor, tail: float, end: float = 1.0) -> Tensor:
    """Exact CVaR of each row's real entries; with ``end`` −1 the mean of the other end."""
    weights = _real(table, counts).to(table)
    some = counts > 0
    weights = torch.where(some[:, None], weights, torch.ones_like(weights))  # an empty row is dropped below
    real = table.where(_real(table, counts), 0)  # padding may be NaN; its weight is 0
    return (end * risk.cvar(end * real, tail, weights)).masked_fill(~some, math.nan)


def _padded_with(value: float) -> Callable[..., Tensor]:
    """An answer that sorts padding in as a value; as what it holds if that is NaN."""

    def answer(table: Tensor, counts: Tensor, tail: float) -> Tensor:
        filled = table if math.isnan(value) else table.where(_real(table, counts), value)
        count = tail * counts[:, None]
        part = (count - torch.arange(table.shape[1])).clamp(0, 1)
        return (part * filled.sort(dim=1, descending=True).values.where(part > 0, 0)).sum(1) / count[:, 0]

    return answer


def _rounded(table: Tensor, counts: Tensor, tail: float) -> Tensor:
    rows = [row[:n].sort(descending=True).values for row, n in zip(table, counts.tolist())]
    return torch.stack([r[: max(int(tail * len(r)), 1)].mean() if len(r) else r.sum() * math.nan for r in rows])


_LONG = _t((5, 1, 3, 2, 4), (7, 6, 0, 0, 0), (9, 0, 0, 0, 0))
_COUNTS = torch.tensor([5, 2, 1])
_BELOW = _t((-3, -1, -2, 0), (-4, 1, 0, 0))
_BELOW_WILD = _t((-3, -1, -2, math.nan), (-4, 1, math.inf, -math.inf))
register(
    Exercise(
        "07-right-tail",
        "exact CVaR of each row's real entries, with gradient",
        _rows,
        (
            Case("rows of 5, 2 and 1 losses, tail 1 (their means)", (_LONG, _COUNTS, 1.0)),
            Case("the same, tail 0.4 (2, 0.8 and 0.4 samples)", (_LONG, _COUNTS, 0.4)),
            Case("the same, tail 0.8 (4, 1.6 and 0.8 samples)", (_LONG, _COUNTS, 0.8)),
            Case("a real loss of 0, tail 0.8", (_t((0, 0.5, 2, 1), (0, 3, 0, 0)), torch.tensor([4, 2]), 0.8)),
            Case("an empty row, tail 0.5", (_LONG, torch.tensor([5, 0, 1]), 0.5)),
            Case("losses below 0, tail 0.5", (_BELOW, torch.tensor([3, 2]), 0.5)),
            Case("the same, padded with 99", (_BELOW.where(_BELOW != 0, 99), torch.tensor([3, 2]), 0.5)),
            Case("the same, padded with NaN and infinity", (_BELOW_WILD, torch.tensor([3, 2]), 0.5)),
        ),
        (
            Mistake(
                "You average the *lowest* part: the tail is at the other end.",
                lambda table, counts, tail: _rows(table, counts, tail, end=-1.0),
            ),
            Mistake(
                "The padding counts as samples: tail · (longest row) entries are averaged. It must be tail · counts.",
                lambda table, counts, tail: risk.cvar(table, tail),
            ),
            Mistake(
                "You sort the padding in as 0, before the negative losses: where does a descending sort leave −∞?",
                _padded_with(0.0),
            ),
            Mistake(
                "You sort what stands in the padding among the losses: it may be larger than they are.",
                _padded_with(math.nan),
            ),
            Mistake(
                "Those are the rows' means: the tail is not used yet.",
                lambda table, counts, tail: _masked(table, counts),
            ),
            Mistake("You round tail · counts down. The sample on the edge counts in part.", _rounded),
            Mistake(
                "You divide by the tail once too often: the weights must sum to 1.",
                lambda table, counts, tail: _rows(table, counts, tail) / tail,
            ),
            Mistake(
                "An empty row has no risk that we know of: give NaN, not 0.",
                lambda table, counts, tail: _rows(table, counts, tail).nan_to_num(0),
            ),
        ),
        gradient=True,
        gradient_hint="The gradient is the weights. Compute them without gradient, then average.",
    )
)

# ------------------------------------------------------------------------------------------------------ true-gradient

Objective = Callable[[Tensor], Tensor]


def _slopes(objective: Objective, losses: Tensor) -> tuple[Tensor, Tensor]:
    """Autograd's gradient (0 where nothing flows) and central differences."""
    moving = losses.clone().requires_grad_()
    value = objective(moving)
    found = torch.autograd.grad(value, moving, allow_unused=True)[0] if value.requires_grad else None
    step = 1e-6 * torch.eye(len(losses), dtype=losses.dtype)
    with torch.no_grad():
        slope = torch.stack([(objective(losses + e) - objective(losses - e)) / 2e-6 for e in step])
    return torch.zeros_like(losses) if found is None else found, slope


def _true(objective: Objective, losses: Tensor) -> bool:
    return bool(torch.allclose(*_slopes(objective, losses), atol=1e-5))


def _not_plain(objective: Objective, losses: Tensor) -> bool:
    return not torch.allclose(_slopes(objective, losses)[0], torch.full_like(losses, 1 / len(losses)), atol=1e-5)


def _cosine(objective: Objective, losses: Tensor) -> bool:
    found, slope = _slopes(objective, losses)
    return bool(torch.nn.functional.cosine_similarity(found, slope, dim=0) > 0.999)


def _compared(what: Callable[[Tensor], Tensor]) -> Callable[..., bool]:
    """An answer that compares no more than ``what`` of both gradients."""

    def answer(objective: Objective, losses: Tensor) -> bool:
        found, slope = _slopes(objective, losses)
        return bool(torch.allclose(what(found), what(slope), atol=1e-5))

    return answer


def _turned(losses: Tensor) -> Tensor:
    """The value of CVaR, and its gradient shifted by one loss."""
    moving = (risk.cvar_weights(losses.detach(), 0.4).roll(1) * losses).sum()
    return risk.cvar(losses.detach(), 0.4) + moving - moving.detach()


def _signless(losses: Tensor) -> Tensor:
    return losses.detach().abs().sum() + losses.sum() - losses.detach().sum()


def _without_last(losses: Tensor) -> Tensor:
    return losses[:-1].square().sum() + losses[-1].detach().square()


def _cut(losses: Tensor) -> Tensor:
    return risk.cvar(losses.detach(), 0.4) + losses.mean() - losses.mean().detach()


_SCALE = torch.ones((), dtype=torch.float64, requires_grad=True)
_FIVE = _t(0.3, 2.0, 0.9, 4.0, 1.1)
register(
    Exercise(
        "07-true-gradient",
        "whether autograd's gradient of an objective is the slope of its value",
        _true,
        (
            Case("the exact CVaR, tail 0.4: yes", (lambda x: risk.cvar(x, 0.4), _FIVE)),
            Case("its value, with the plain mean's gradient: no", (_cut, _FIVE)),
            Case("the plain mean, as itself: yes", (lambda x: x.mean(), _FIVE)),
            Case("a constant, without any gradient: no", (lambda x: risk.cvar(x.detach(), 0.4), _FIVE)),
            Case(
                "CVaR, with twice its gradient: no",
                (lambda x: 2 * risk.cvar(x, 0.4) - risk.cvar(x, 0.4).detach(), _FIVE),
            ),
            Case("weights computed without gradient: yes", (lambda x: (risk.cvar_weights(x, 0.5) * x).sum(), _FIVE)),
            Case("a square, which is not a mean at all: yes", (lambda x: x.square().sum(), _FIVE)),
            Case("CVaR, with its gradient given to other losses: no", (_turned, _FIVE)),
            Case(
                "CVaR, with its gradient's sign turned: no",
                (lambda x: 2 * risk.cvar(x.detach(), 0.4) - risk.cvar(x, 0.4), _FIVE),
            ),
            Case("a square, with no gradient for the last loss: no", (_without_last, _t(0.5, -1.0, 2.0))),
            Case("the same where the last loss is 0, so that its slope is: yes", (_without_last, _t(2.0, -1.0, 0.0))),
            Case("what is above 0, with one loss below: yes", (lambda x: x.relu().sum(), _t(0.5, -1.0, 2.0))),
            Case("absolute values, with the sum's gradient: no", (_signless, _t(0.5, -1.0, 2.0))),
            Case("always 3, whatever the losses: yes", (lambda x: _t(3.0)[0], _FIVE)),
            Case("a gradient for a parameter, none for the losses: no", (lambda x: _SCALE * x.detach().sum(), _FIVE)),
        ),
        (
            Mistake(
                "You ask whether it differs from the plain gradient. Then the plain mean fails, and a doubled "
                "gradient passes. Compare with the slope of the *value*.",
                _not_plain,
            ),
            Mistake(
                "You ask whether any gradient flows at all. The plain mean's flows very well; is it the right one?",
                lambda objective, losses: bool(objective(losses.clone().requires_grad_()).requires_grad),
            ),
            Mistake("You compare directions only: a gradient of twice the length passes.", _cosine),
            Mistake(
                "You compare lengths only: a gradient of the right length may belong to other losses.",
                _compared(lambda gradient: gradient.norm()),
            ),
            Mistake(
                "You compare sums only: a gradient with the right sum may belong to other losses.",
                _compared(lambda gradient: gradient.sum()),
            ),
            Mistake(
                "You compare the largest entries only: every loss has its own slope.",
                _compared(lambda gradient: gradient.max()),
            ),
            Mistake(
                "You compare absolute values: a gradient that points the other way passes.",
                _compared(lambda gradient: gradient.abs()),
            ),
            Mistake(
                "You look at the first loss only. Every loss has its own slope: move each of them.",
                _compared(lambda gradient: gradient[0]),
            ),
            Mistake(
                "You look at the last loss only. Every loss has its own slope: move each of them.",
                _compared(lambda gradient: gradient[-1]),
            ),
            Mistake(
                "No gradient is not always wrong: where the value does not move with the losses, its slope is 0, too.",
                lambda objective, losses: (
                    bool(objective(losses.clone().requires_grad_()).requires_grad) and _true(objective, losses)
                ),
            ),
            Mistake("That says yes to everything.", lambda objective, losses: True),
            Mistake("That says no to everything.", lambda objective, losses: False),
        ),
    )
)
