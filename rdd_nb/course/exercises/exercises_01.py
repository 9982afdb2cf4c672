"""The exercises of notebook 01, on risk: their right answers, the cases, and the mistakes that have a hint.

See :mod:`rdd_nb.course.exercise`. Importing this module registers them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rdd_nb.course.exercise import Case, Exercise, Mistake, register
from rdd_nb.models import risk

__all__: list[str] = []


def _losses(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------------ carried

_LAST = torch.tensor([False, False, False, True])
_MIDDLE = torch.tensor([False, True, True, False])
register(
    Exercise(
        "01-carried",
        "the share of the summed loss that the members carry",
        lambda losses, members: losses[members].sum() / losses.sum(),
        (
            Case("losses 1, 2, 3, 4, of which the last counts", (_losses(1, 2, 3, 4), _LAST)),
            Case("the same losses, of which the first three count", (_losses(1, 2, 3, 4), ~_LAST)),
            Case("all are members", (_losses(1, 2, 3, 4), torch.ones(4, dtype=torch.bool))),
            Case("losses 5, 1.5, 2, 2, of which the second and third count", (_losses(5, 1.5, 2, 2), _MIDDLE)),
            Case("none is a member", (_losses(1, 2, 3, 4), torch.zeros(4, dtype=torch.bool))),
        ),
        (
            Mistake(
                "That is the members' mean loss. Asked is their part of the sum: divide their sum by the sum of all.",
                lambda losses, members: losses[members].mean(),
            ),
            Mistake(
                "That is the members' share of the samples. Asked is their share of the *loss*.",
                lambda losses, members: members.double().mean(),
            ),
            Mistake(
                "That is the part of the others: `losses[members]` are the members' losses.",
                lambda losses, members: losses[~members].sum() / losses.sum(),
            ),
            Mistake(
                "That is the members' sum alone: divide it by the sum of all losses.",
                lambda losses, members: losses[members].sum(),
            ),
            Mistake(
                "You compare the members' mean with the mean of all. Shares are ratios of sums, not of means.",
                lambda losses, members: losses[members].mean() / losses.mean(),
            ),
            Mistake(
                "You divide by the sum of the *others*. A share is a part of the whole: divide by the sum of all.",
                lambda losses, members: losses[members].sum() / losses[~members].sum(),
            ),
        ),
    )
)

# --------------------------------------------------------------------------------------------------------- shift-tail

_COMMON, _RARE = _losses(0.9, 0.1), _losses(0.1, 0.9)
_FOUR, _FOUR_THERE = _losses(0.3, 0.02, 0.4, 0.28), _losses(0.2, 0.08, 0.5, 0.22)
register(
    Exercise(
        "01-shift-tail",
        "the largest tail t whose ambiguity set contains a shift of the group shares",
        lambda here, there: (here / there)[there > 0].min(),
        (
            Case("shares 0.9 and 0.1 here, 0.1 and 0.9 there", (_COMMON, _RARE)),
            Case("the same shares here and there", (_COMMON, _COMMON)),
            Case("three groups, 0.5, 0.3 and 0.2, equal there", (_losses(0.5, 0.3, 0.2), _losses(1, 1, 1) / 3)),
            Case("a shift without the first group", (_losses(0.6, 0.4), _losses(0, 1))),
            Case("a shift with a group that we never saw", (_losses(1, 0), _losses(0.5, 0.5))),
            Case("four groups, of which the second is four times as frequent there", (_FOUR, _FOUR_THERE)),
            Case("a group that is absent here and there", (_losses(0.5, 0, 0.3, 0.2), _losses(0.25, 0, 0.75, 0))),
        ),
        (
            Mistake(
                "That is the density ratio 1/t itself. The tail is one over it.",
                lambda here, there: (there / here)[there > 0].max(),
            ),
            Mistake(
                "You took the group that becomes rarer. The one that becomes *more frequent* sets the limit.",
                lambda here, there: (there / here)[there > 0].min(),
            ),
            Mistake(
                "You took the group that becomes rarer. The one that becomes *more frequent* sets the limit.",
                lambda here, there: (here / there)[there > 0].max(),
            ),
            Mistake(
                "That is the smallest share. Asked is the smallest ratio of share here to share there.",
                lambda here, there: here.min(),
            ),
            Mistake(
                "A group that is absent there sets no limit, and 0/0 is NaN: leave it out before you divide.",
                lambda here, there: (here / there).min(),
            ),
            Mistake(
                "You count a group that is absent here and there as ratio 0. It sets no limit: leave it out.",
                lambda here, there: (here / there).nan_to_num(0).min(),
            ),
            Mistake(
                "You take the last group. Which one sets the limit depends on the shares: compare all of them.",
                lambda here, there: here[-1] / there[-1],
            ),
            Mistake(
                "You take the first group. Which one sets the limit depends on the shares: compare all of them.",
                lambda here, there: here[0] / there[0],
            ),
            Mistake(
                "You take the group that is largest there. A small one may have grown by a larger factor.",
                lambda here, there: (here / there)[there.argmax()],
            ),
            Mistake(
                "You take the group that gains most in points. The largest *factor* sets the limit.",
                lambda here, there: (here / there)[(there - here).argmax()],
            ),
        ),
    )
)

# --------------------------------------------------------------------------------------------------------- exact-cvar


def _top(losses: Tensor, tail: float, count: float) -> Tensor:
    return losses.sort(descending=True).values[: max(int(count), 1)].mean()


def _fractional_sum(losses: Tensor, tail: float) -> Tensor:
    return risk.cvar(losses, tail) * tail


_WEIGHTS = "The gradient is the weights themselves. Compute them without gradient (`torch.no_grad()`), then average."

register(
    Exercise(
        "01-exact-cvar",
        "the mean of the worst fraction `tail` of the losses, with gradient",
        risk.cvar,
        (
            Case("losses 1 to 10, tail 0.2", (torch.arange(1.0, 11.0, dtype=torch.float64), 0.2)),
            Case("losses 3, 1, 4, 2 in any order, tail 0.5", (_losses(3, 1, 4, 2), 0.5)),
            Case("losses 1 to 4, tail 0.6 (that is 2.4 of them)", (_losses(1, 2, 3, 4), 0.6)),
            Case("losses 1 to 4, tail 0.1 (less than one of them)", (_losses(1, 2, 3, 4), 0.1)),
            Case("losses 1 to 4, tail 1", (_losses(1, 2, 3, 4), 1.0)),
            Case("losses below 0, too, tail 0.5", (_losses(-2, 1, -1, -5, 0.5), 0.5)),
            Case("all losses below 0, tail 0.5", (_losses(-3, -1, -2, -4), 0.5)),
            Case("one loss, tail 0.3", (_losses(7), 0.3)),
        ),
        (
            Mistake(
                "You average the *lowest* losses: sort descending, the worst first.",
                lambda losses, tail: -risk.cvar(-losses, tail),
            ),
            Mistake("That is the mean of all losses: the tail is not used yet.", lambda losses, tail: losses.mean()),
            Mistake(
                "That is the threshold (the value at risk). CVaR is the mean of what lies beyond it.",
                lambda losses, tail: losses.sort(descending=True).values[math.ceil(tail * len(losses) - 1e-9) - 1],
            ),
            Mistake("That is the largest loss, whatever the tail.", lambda losses, tail: losses.max()),
            Mistake("You divide by n. Divide by how many count, t·n.", _fractional_sum),
            Mistake(
                "Off by a fraction: you round t·n up. The sample on the edge counts only in part.",
                lambda losses, tail: _top(losses, tail, math.ceil(tail * len(losses) - 1e-9)),
            ),
            Mistake(
                "Off by a fraction: you round t·n down. The sample on the edge counts in part, too.",
                lambda losses, tail: _top(losses, tail, math.floor(tail * len(losses) + 1e-9)),
            ),
            Mistake(
                "Off by a fraction: an interpolated quantile is not the tail's edge. Count samples instead.",
                lambda losses, tail: losses[losses >= losses.quantile(1 - tail)].mean(),
            ),
            Mistake(
                "Rockafellar and Uryasev's form at an interpolated quantile: its minimum lies at one of the losses.",
                lambda losses, tail: risk.rockafellar_uryasev(losses, tail, losses.quantile(1 - tail)),
            ),
            Mistake(
                "Less than one sample is still divided by t·n: its weight must be 1 then.",
                lambda losses, tail: losses.max() / max(tail * len(losses), 1e-9),
            ),
        ),
        gradient=True,
        gradient_hint=_WEIGHTS,
    )
)

# ----------------------------------------------------------------------------------------------------------- kl-upper


def _kl(p: float, q: float) -> float:
    """The Kullback–Leibler divergence of two Bernoulli distributions with probabilities p and q, in nats."""
    parts = ((p, q), (1 - p, 1 - q))
    return sum(a * math.log(a / b) if a > 0 else 0.0 for a, b in parts if a > 0 and b > 0) + (
        math.inf if any(a > 0 and b <= 0 for a, b in parts) else 0.0
    )


def _search(seen: float, radius: float, low: float, high: float, swapped: bool = False) -> float:
    """The q between ``seen`` (on the side of ``low``) and ``high`` at which the divergence reaches the radius."""
    for _ in range(80):
        middle = (low + high) / 2
        inside = (_kl(middle, seen) if swapped else _kl(seen, middle)) <= radius
        low, high = (middle, high) if inside else (low, middle)
    return low


def _case(seen: float, radius: float) -> Case:
    return Case(f"{seen:g} of the samples are wrong, radius {radius:g}", (seen, radius))


register(
    Exercise(
        "01-kl-upper",
        "the largest error rate q with KL(seen ‖ q) at most `radius`",
        lambda seen, radius: _search(seen, radius, seen, 1.0),
        (
            _case(0.2, 0.05),
            Case("0.2 of the samples are wrong, radius 0 (no ball at all)", (0.2, 0.0)),
            _case(0.0, 0.05),
            _case(0.5, 0.3),
            _case(0.9, 1.0),
            Case("all of the samples are wrong, radius 0.1", (1.0, 0.1)),
        ),
        (
            Mistake("That is what was seen: the radius is not used yet.", lambda seen, radius: seen),
            Mistake(
                "You found the *smallest* q. The worst is the largest: search between `seen` and 1.",
                lambda seen, radius: _search(seen, radius, seen, 0.0),
            ),
            Mistake(
                "The two sides of the divergence are swapped: it is KL(seen ‖ q), the sample first.",
                lambda seen, radius: _search(seen, radius, seen, 1.0, swapped=True),
            ),
            Mistake(
                "That is Pinsker's bound, seen + √(r/2): it holds, but it is not the edge of the ball.",
                lambda seen, radius: min(seen + math.sqrt(radius / 2), 1.0),
            ),
            Mistake(
                "The radius is a divergence, not a distance: it cannot be added to a rate.",
                lambda seen, radius: min(seen + radius, 1.0),
            ),
        ),
        tolerance=1e-5,
    )
)

# --------------------------------------------------------------------------------------------------------- group-cvar


def _grouped(losses: Tensor, groups: Tensor, num_groups: int, tail: float, empty: float = math.nan) -> Any:
    values = risk.group_cvar(losses, groups, num_groups, tail)
    return values.values.where(values.present, empty)


def _others_as_zero(losses: Tensor, groups: Tensor, num_groups: int, tail: float) -> Tensor:
    members = groups == torch.arange(num_groups)[:, None]
    count = tail * members.sum(1, keepdim=True)
    worst_first = torch.where(members, losses, 0).sort(dim=1, descending=True).values
    return ((count - torch.arange(len(losses))).clamp(0, 1) * worst_first).sum(1) / count[:, 0]


def _spread(num_groups: int) -> Case:
    """Four samples in each of many groups."""
    ids = torch.arange(4 * num_groups)
    return Case(f"{num_groups} groups", ((ids * 7 % 11).double(), ids % num_groups, num_groups, 0.4))


_PAIRS = torch.tensor([0, 1, 0, 1, 0, 1])
register(
    Exercise(
        "01-group-cvar",
        "CVaR of each group, without a loop over the groups, with gradient",
        lambda losses, groups, num_groups, tail: _grouped(losses, groups, num_groups, tail),
        (
            Case("two groups of three, tail 1 (their means)", (_losses(1, 10, 2, 20, 3, 30), _PAIRS, 2, 1.0)),
            Case("the same, tail 1/3 (their maxima)", (_losses(1, 10, 2, 20, 3, 30), _PAIRS, 2, 1 / 3)),
            Case("the same, tail 0.5 (1.5 samples of each)", (_losses(1, 10, 2, 20, 3, 30), _PAIRS, 2, 0.5)),
            Case(
                "groups of 4, 1 and 2 samples, tail 0.4",
                (_losses(5, 1, 7, 2, 9, 3, 4), torch.tensor([0, 0, 1, 0, 2, 0, 2]), 3, 0.4),
            ),
            Case("the second of three groups is empty", (_losses(4, 1, 3), torch.tensor([0, 0, 2]), 3, 0.5)),
            Case("the last of three groups is empty", (_losses(4, 1, 3), torch.tensor([1, 0, 1]), 3, 0.5)),
            Case("losses below 0", (_losses(-4, 1, -3, 2, -5), torch.tensor([0, 1, 0, 1, 0]), 2, 0.5)),
        ),
        (
            Mistake(
                "You average the lowest losses of each group: sort descending.",
                lambda losses, groups, num_groups, tail: -_grouped(-losses, groups, num_groups, tail),
            ),
            Mistake(
                "Those are the groups' means: the tail is not used yet.",
                lambda losses, groups, num_groups, tail: _grouped(losses, groups, num_groups, 1.0),
            ),
            Mistake(
                "You take one tail of all samples, then look at groups. The tail is taken *within* each group.",
                lambda losses, groups, num_groups, tail: torch.zeros(num_groups, dtype=losses.dtype).index_add(
                    0, groups, risk.cvar_weights(losses, tail) * losses
                ),
            ),
            Mistake(
                "An empty group has no risk, and 0 would say that it is safe: give NaN.",
                lambda losses, groups, num_groups, tail: _grouped(losses, groups, num_groups, tail, empty=0.0),
            ),
            Mistake(
                "Asked is a value for each group, not their mean.",
                lambda losses, groups, num_groups, tail: _grouped(losses, groups, num_groups, tail).nanmean(),
            ),
            Mistake(
                "Asked is a value for each group, not the worst of them.",
                lambda losses, groups, num_groups, tail: risk.group_cvar(losses, groups, num_groups, tail).worst(),
            ),
            Mistake(
                "You divide each group's tail by all samples. Divide by how many of *its* samples count, t·n_g.",
                lambda losses, groups, num_groups, tail: (
                    risk.group_cvar(losses, groups, num_groups, tail).values
                    * torch.bincount(groups, minlength=num_groups)
                    / len(losses)
                ),
            ),
            Mistake(
                "Groups at the end are missing: there are `num_groups`, whether they occur or not (`minlength`).",
                lambda losses, groups, num_groups, tail: _grouped(losses, groups, int(groups.max()) + 1, tail),
            ),
            Mistake(
                "The other groups' samples stand in each row as losses of 0, above the negative ones.",
                _others_as_zero,
            ),
        ),
        growing=(_spread(2), _spread(100)),
        gradient=True,
        gradient_hint=_WEIGHTS,
    )
)
