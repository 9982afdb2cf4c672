"""The exercises of notebook 05, on subgroups: their right answers, the cases, and the mistakes that have a hint.

See :mod:`rdd_nb.course.exercise`. Importing this module registers them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from rdd_nb.course.exercise import Case, Exercise, Mistake, register
from rdd_nb.evaluation import subgroups

__all__: list[str] = []


def _bools(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def _numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ----------------------------------------------------------------------------------------------------------- accuracy


def _sums(correct: Tensor, groups: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    return torch.bincount(groups, correct.double(), num_groups), torch.bincount(groups, minlength=num_groups)


def _accuracy(correct: Tensor, groups: Tensor, num_groups: int, empty: float = math.nan) -> Tensor:
    right, size = _sums(correct, groups, num_groups)
    return torch.where(size > 0, right / size, empty)


register(
    Exercise(
        "05-accuracy",
        "the accuracy of every group, NaN where it has no sample",
        _accuracy,
        (
            Case("groups 0, 0, 1, of which the first is right", (_bools(1, 0, 0), torch.tensor([0, 0, 1]), 2)),
            Case(
                "three groups of 4, 1 and 2",
                (_bools(1, 1, 1, 0, 1, 0, 1), torch.tensor([0, 0, 0, 0, 1, 2, 2]), 3),
            ),
            Case("the same samples in another order", (_bools(1, 0, 1, 0), torch.tensor([1, 0, 1, 1]), 2)),
            Case("the second of three groups is empty", (_bools(1, 0, 1), torch.tensor([0, 2, 2]), 3)),
            Case("the last groups are empty", (_bools(1, 0), torch.tensor([0, 0]), 4)),
        ),
        (
            Mistake(
                "A group without samples has no accuracy, and 0 would say that it is always wrong: give NaN.",
                lambda correct, groups, num_groups: _accuracy(correct, groups, num_groups, empty=0.0),
            ),
            Mistake(
                "That is how many are right. Divide by how many there are in the group.",
                lambda correct, groups, num_groups: _sums(correct, groups, num_groups)[0],
            ),
            Mistake(
                "You divide by all samples. Divide by those of the group.",
                lambda correct, groups, num_groups: _sums(correct, groups, num_groups)[0] / len(correct),
            ),
            Mistake(
                "That is each group's share of what is right. Asked is the share of each group that is right.",
                lambda correct, groups, num_groups: _sums(correct, groups, num_groups)[0] / correct.sum(),
            ),
            Mistake(
                "Those are the error rates: count what is right.",
                lambda correct, groups, num_groups: 1 - _accuracy(correct, groups, num_groups),
            ),
            Mistake(
                "Groups at the end are missing: bincount takes `minlength`.",
                lambda correct, groups, num_groups: _accuracy(correct, groups, int(groups.max()) + 1),
            ),
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------- wilson


def _wilson(right: float, size: int, z: float, *, shift: float = 1.0, inner: float = 1.0, outer: float = 1.0) -> Tensor:
    """Both ends; the factors switch the parts of the formula off."""
    p = right / size
    centre = p + shift * z**2 / (2 * size)
    half = z * math.sqrt(p * (1 - p) / size + inner * z**2 / (4 * size**2))
    return _numbers(centre - half, centre + half) / (1 + outer * z**2 / size)


register(
    Exercise(
        "05-wilson",
        "Wilson's interval for `right` out of `size`",
        _wilson,
        (
            Case("8 of 10 are right, z = 1.96", (8, 10, 1.96)),
            Case("35 of 50, z = 1.96", (35, 50, 1.96)),
            Case("35 of 50, z = 3 (a stricter level)", (35, 50, 3.0)),
            Case("none of 5", (0, 5, 1.96)),
            Case("all of 5", (5, 5, 1.96)),
        ),
        (
            Mistake(
                "That is the textbook's p ± z·√(p(1 − p)/n). At 5 of 5 it is a single point: certain, after 5 images.",
                lambda right, size, z: _wilson(right, size, z, shift=0, inner=0, outer=0),
            ),
            Mistake(
                "The whole must be divided by 1 + z²/n: the centre and the half width alike.",
                lambda right, size, z: _wilson(right, size, z, outer=0),
            ),
            Mistake(
                "The centre is p + z²/(2n): Wilson moves it towards one half.",
                lambda right, size, z: _wilson(right, size, z, shift=0),
            ),
            Mistake(
                "Under the root z²/(4n²) is missing: without it the interval is too short at 0 and at 1.",
                lambda right, size, z: _wilson(right, size, z, inner=0),
            ),
            Mistake(
                "The half width is missing its factor z.",
                lambda right, size, z: (
                    _wilson(right, size, z).mean() + (_wilson(right, size, z) - _wilson(right, size, z).mean()) / z
                ),
            ),
        ),
    )
)

# --------------------------------------------------------------------------------------------------------------- holm


def _holm(p: Tensor) -> Tensor:
    return torch.from_numpy(subgroups.holm(p.numpy()))


def _without_running(p: Tensor, running: str = "", factors: str = "falling", cap: bool = True) -> Tensor:
    order = p.argsort(stable=True)
    count = len(p)
    times = torch.arange(count, 0, -1) if factors == "falling" else torch.arange(1, count + 1)
    scaled = p[order] * times
    if running:
        scaled = scaled.cummax(0).values
    if cap:
        scaled = scaled.clamp_max(1)
    return scaled if running == "sorted" else torch.empty_like(p).scatter(0, order, scaled)


def _hochberg(p: Tensor) -> Tensor:
    """Holm's factors, stepping up from the largest: valid for independent p-values only."""
    order = p.argsort(stable=True)
    scaled = p[order] * torch.arange(len(p), 0, -1)
    return torch.empty_like(p).scatter(0, order, scaled.flip(0).cummin(0).values.flip(0).clamp_max(1))


def _benjamini_hochberg(p: Tensor) -> Tensor:
    """The false discovery rate, which promises less."""
    order = p.argsort(stable=True)
    scaled = p[order] * len(p) / torch.arange(1, len(p) + 1)
    return torch.empty_like(p).scatter(0, order, scaled.flip(0).cummin(0).values.flip(0).clamp_max(1))


register(
    Exercise(
        "05-holm",
        "p-values adjusted for their number by Holm's step-down method",
        _holm,
        (
            Case("0.01, 0.04, 0.03", (_numbers(0.01, 0.04, 0.03),)),
            Case("0.02 alone", (_numbers(0.02),)),
            Case("0.01, 0.011, 0.012, 0.5", (_numbers(0.01, 0.011, 0.012, 0.5),)),
            Case("0.9, 0.6, 0.001, 0.02 (not in order)", (_numbers(0.9, 0.6, 0.001, 0.02),)),
            Case("five times 0.3", (torch.full((5,), 0.3, dtype=torch.float64),)),
        ),
        (
            Mistake(
                "That is Bonferroni: all times m. Holm's factor falls, m, m − 1, …, 1, and so it rejects more.",
                lambda p: (p * len(p)).clamp_max(1),
            ),
            Mistake(
                "A larger p may not come out smaller: take the running maximum over the sorted ones.",
                lambda p: _without_running(p),
            ),
            Mistake(
                "Right, but sorted: each must go back to the place it came from.",
                lambda p: _without_running(p, running="sorted"),
            ),
            Mistake(
                "A p-value cannot be above 1: cut it there.",
                lambda p: _without_running(p, running="yes", cap=False),
            ),
            Mistake(
                "The factors rise in yours. The *smallest* p-value takes the largest factor, m.",
                lambda p: _without_running(p, running="yes", factors="rising"),
            ),
            Mistake(
                "That is Benjamini and Hochberg's: it bounds the false discovery rate, Holm's the family-wise error.",
                _benjamini_hochberg,
            ),
            Mistake(
                "That is Hochberg's step-up, a running minimum from the largest p. Holm's is a running maximum from "
                "the smallest, and needs no independence.",
                _hochberg,
            ),
            Mistake("Those are the p-values as they were.", lambda p: p),
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------ minimum


def _beyond(size: int, truth: float, shift: int = 0) -> np.ndarray:
    """P(X > j), j from 0 to size − 1, of a binomial count."""
    return np.asarray(binom.sf(np.arange(size) + shift, size, truth))


def _minimum(size: int, groups: int, truth: float) -> float:
    return float((_beyond(size, truth) ** groups).sum() / size)


register(
    Exercise(
        "05-minimum",
        "the expected accuracy of the worst of `groups` groups that are all equally good",
        _minimum,
        (
            Case("1 group of 50 at 0.7 (no choice, no bias)", (50, 1, 0.7)),
            Case("5 groups of 50 at 0.7", (50, 5, 0.7)),
            Case("100 groups of 50 at 0.7", (50, 100, 0.7)),
            Case("20 groups of 1 at 0.9", (1, 20, 0.9)),
            Case("10 groups of 8 at 1", (8, 10, 1.0)),
        ),
        (
            Mistake(
                "That is the number of images. Asked is an accuracy: divide by the size.",
                lambda size, groups, truth: _minimum(size, groups, truth) * size,
            ),
            Mistake(
                "That is the *best* group. All groups must be above j: a power of P(X > j), not of P(X ≤ j).",
                lambda size, groups, truth: float((1 - (1 - _beyond(size, truth)) ** groups).sum() / size),
            ),
            Mistake(
                "That is the accuracy of one group: the number of groups is not used yet.",
                lambda size, groups, truth: _minimum(size, 1, truth),
            ),
            Mistake(
                "The sum begins at j = 0: with P(X > 0), not with P(X > 1).",
                lambda size, groups, truth: float((_beyond(size, truth, 1) ** groups).sum() / size),
            ),
            Mistake(
                "The sum ends at j = n − 1: P(X > −1) is 1, and counts one image too many.",
                lambda size, groups, truth: _minimum(size, groups, truth) + 1 / size,
            ),
            Mistake(
                "The power belongs to each term of the sum, not to the sum: the chance that *all* groups are above j.",
                lambda size, groups, truth: float((_beyond(size, truth).sum() / size) ** groups),
            ),
        ),
        tolerance=1e-6,
    )
)
