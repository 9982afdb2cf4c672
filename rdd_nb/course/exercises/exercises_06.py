"""The exercises of notebook 06, on ablations: their right answers, the cases, and the mistakes that have a hint.

See :mod:`rdd_nb.course.exercise`. Importing this module registers them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rdd_nb.course.exercise import Case, Exercise, Mistake, register
from rdd_nb.experiments.study import factorial

__all__: list[str] = []


def _pair(mean: float, other: float) -> Tensor:
    return torch.tensor([mean, other], dtype=torch.float64)


# -------------------------------------------------------------------------------------------------------- interaction


def _table(*rows: tuple[int, int, int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["seed", "net", "a", "b", "value"])


def _of(effects: Callable[[int, int, int, int], float], seeds: Sequence[int], nets: int = 1) -> pd.DataFrame:
    """A full 2 × 2 table with every seed and net."""
    points = itertools.product(seeds, range(nets), (0, 1), (0, 1))
    return _table(*((s, n, a, b, effects(s, n, a, b)) for s, n, a, b in points))


def _uneven(s: int, n: int, a: int, b: int) -> float:
    """Seeds that differ much, an interaction that differs a little, nets that differ too."""
    return 10 * s + a * (2 + s) + b * (s % 2) + a * b * (3 + (s % 3)) + 0.5 * n * (1 + a * b * s)


def _of_seeds(table: pd.DataFrame) -> pd.Series:
    return factorial.difference_of_differences(table, "a", "b", "value")


def _mean_and_error(values: pd.Series, ddof: int = 1, root: bool = True) -> Tensor:
    count = len(values)
    return _pair(values.mean(), values.std(ddof=ddof) / (math.sqrt(count) if root else 1.0))


def _interaction(table: pd.DataFrame) -> Tensor:
    return _mean_and_error(_of_seeds(table))


def _unpaired(table: pd.DataFrame) -> Tensor:
    """The four means as if they came from different seeds."""
    runs = table.groupby(["a", "b", "seed"])["value"].mean()
    cells = runs.groupby(["a", "b"])
    mean, variance = cells.mean(), cells.var(ddof=1) / cells.size()
    found = mean[1, 1] - mean[0, 1] - mean[1, 0] + mean[0, 0]
    return _pair(found, math.sqrt(variance.sum()))


def _at_high(table: pd.DataFrame) -> Tensor:
    """The simple effect: what a does at the high level of b."""
    means = table.groupby(["seed", "a", "b"])["value"].mean().unstack(["a", "b"]).dropna()
    return _mean_and_error(means[1, 1] - means[0, 1])


def _by_net(table: pd.DataFrame) -> Tensor:
    """Every net of a seed for a replicate of its own."""
    apart = table.assign(seed=table["seed"] * 1000 + table["net"])
    return _mean_and_error(_of_seeds(apart))


_LACKING = _of(_uneven, (1, 2, 3, 4))
_LACKING = _LACKING[~((_LACKING["seed"] == 4) & (_LACKING["a"] == 1) & (_LACKING["b"] == 0))]

register(
    Exercise(
        "06-interaction",
        "the mean difference of differences over seeds, and its standard error",
        _interaction,
        (
            Case("two seeds with differences of differences 4 and 5", (_of(_uneven, (1, 2)),)),
            Case("five seeds that differ much in level", (_of(_uneven, (1, 2, 3, 4, 5)),)),
            Case("the same rows in another order", (_of(_uneven, (1, 2, 3, 4, 5)).iloc[::-1],)),
            Case("three nets a run", (_of(_uneven, (1, 2, 3), nets=3),)),
            Case("one run of seed 4 is missing", (_LACKING,)),
            Case("an interaction below 0", (_of(lambda s, n, a, b: s * a - (2 + s) * a * b, (1, 2, 4)),)),
        ),
        (
            Mistake(
                "The mean is right, the error is that of four unrelated means: take the difference of differences of "
                "each seed first, and a seed's effect on all four runs cancels.",
                _unpaired,
            ),
            Mistake(
                "That is the standard deviation between seeds. The error of their mean is smaller by √seeds.",
                lambda table: _mean_and_error(_of_seeds(table), root=False),
            ),
            Mistake(
                "The spread is divided by the number of seeds: by one less, as their mean is estimated, too (ddof=1).",
                lambda table: _mean_and_error(_of_seeds(table), ddof=0),
            ),
            Mistake(
                "Half of it: that is the effect in the coding −1, +1. Asked is the difference of the differences.",
                lambda table: _interaction(table) / 2,
            ),
            Mistake(
                "That is what a does at the high level of b. Subtract what it does at the low one.",
                _at_high,
            ),
            Mistake(
                "The sign: (high a − low a) at the high b, minus the same at the low b.",
                lambda table: _interaction(table) * _pair(-1.0, 1.0),
            ),
            Mistake(
                "You count every net as a replicate. Nets of a run share its set: average over them first.",
                _by_net,
            ),
        ),
    )
)

# -------------------------------------------------------------------------------------------------------------- front


def _points(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _front(points: Tensor) -> Tensor:
    return torch.from_numpy(factorial.front(points.numpy()))


def _compared(points: Tensor) -> tuple[Tensor, Tensor]:
    """For each pair (one, other): at least as good in everything; better in everything."""
    one, other = points[:, None], points[None]
    return (other >= one).all(-1), (other > one).all(-1)


def _no_equals(points: Tensor) -> Tensor:
    """Equal points exclude each other."""
    as_good = _compared(points)[0]
    return ~(as_good & ~torch.eye(len(points), dtype=torch.bool)).any(1)


register(
    Exercise(
        "06-front",
        "which points no other one dominates",
        _front,
        (
            Case("(1, 3), (2, 2), (3, 1) and (1, 1)", (_points((1, 3), (2, 2), (3, 1), (1, 1)),)),
            Case("a point that ties in one and loses in the other", (_points((1, 3), (1, 2), (3, 1), (2, 1)),)),
            Case("two equal points in front", (_points((2, 2), (2, 2), (1, 1), (0, 5)),)),
            Case("one in the dent of the front", (_points((0, 10), (4, 4), (10, 0), (3, 3)),)),
            Case("three criteria", (_points((1, 1, 9), (5, 5, 1), (5, 5, 0), (0, 0, 9), (5, 4, 2)),)),
            Case("a single point", (_points((7, 7)),)),
            Case("criteria below 0", (_points((-1, -3), (-2, -2), (-3, -1), (-3, -3), (-2.2, -0.9)),)),
        ),
        (
            Mistake(
                "You ask the other to be better in *everything*. Better in one and as good in the rest is enough.",
                lambda points: ~_compared(points)[1].any(1),
            ),
            Mistake(
                "Equal points exclude each other in yours. To dominate, one must be better in something.",
                _no_equals,
            ),
            Mistake(
                "Every point is as good as itself, so it excluded itself: to dominate, one must be better in "
                "something.",
                lambda points: ~_compared(points)[0].any(1),
            ),
            Mistake("That is the front of small values. More is better here.", lambda points: _front(-points)),
            Mistake(
                "Those are the best in a single criterion. A good compromise is on the front, too.",
                lambda points: (points == points.max(0).values).any(1),
            ),
            Mistake(
                "Those are the best for some mean of the criteria. A point in a dent of the front is best for none, "
                "and is not dominated.",
                lambda points: torch.stack(
                    [
                        (points @ w) >= (points @ w).max() - 1e-9
                        for w in torch.cartesian_prod(*[torch.arange(1.0, 8.0).double()] * points.shape[1])
                    ]
                ).any(0),
            ),
            Mistake("Those are the ones that are dominated.", lambda points: ~_front(points)),
            Mistake("There are more criteria than two.", lambda points: _front(points[:, :2])),
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------- winner


def _honest(values: Tensor, count: int) -> Tensor:
    found = factorial.chosen(values.numpy(), count)
    return _pair(found["claimed"], found["honest"])


def _splits(
    values: Tensor,
    count: int,
    report: Callable[[Tensor, Tensor], Tensor],
    choose: str = "first",
    only: int | None = None,
) -> Tensor:
    """The mean over all choices of seeds: what the winner claims, and what ``report`` says of (first, rest)."""
    seeds, found = range(values.shape[1]), []
    for first in list(itertools.combinations(seeds, count))[:only]:
        rest = [s for s in seeds if s not in first]
        a, b = values[:, list(first)].mean(1), values[:, rest].mean(1)
        best = int({"first": a, "rest": b, "all": values.mean(1)}[choose].argmax())
        found.append(torch.stack([a[best], report(a, b)[best]]))
    return torch.stack(found).mean(0)


def _fixed(values: Tensor, count: int) -> Tensor:
    """Chosen once, on all seeds: then no seed is left that has not chosen."""
    return _splits(values, count, lambda a, b: b, choose="all")


_TIED = _points((0.5, 0.5, 0, 0), (0.5, 0.5, 1, 1))
_NOISY = torch.from_numpy(np.random.default_rng(0).normal(0.7, 0.05, (6, 5)))
_TRUE = _points((0.9, 0.8, 0.85, 0.9), (0.5, 0.6, 0.5, 0.4), (0.7, 0.9, 0.6, 0.7))

register(
    Exercise(
        "06-honest",
        "what winners claim on the seeds that chose them, and what they hold on the others",
        _honest,
        (
            Case("two settings, each best at one of two seeds, chosen on 1", (_points((1, 0), (0, 1)), 1)),
            Case("three settings, four seeds, chosen on 2", (_TRUE, 2)),
            Case("the same, chosen on 3", (_TRUE, 3)),
            Case("six settings that are alike but for chance, five seeds, chosen on 1", (_NOISY, 1)),
            Case("the same, chosen on 3", (_NOISY, 3)),
            Case("two settings that tie on two of four seeds, chosen on 2", (_TIED, 2)),
        ),
        (
            Mistake(
                "The second number is read on the seeds that chose. Read it on the *others*.",
                lambda values, count: _splits(values, count, lambda a, b: a),
            ),
            Mistake(
                "The second number is the best of the others, chosen once more. Read there the winner that was chosen.",
                lambda values, count: _splits(values, count, lambda a, b: b.max().expand_as(b)),
            ),
            Mistake(
                "The second number is read on all seeds, also those that chose: part of the selection bias remains.",
                lambda values, count: _splits(values, count, lambda a, b: values.mean(1)),
            ),
            Mistake(
                "You choose on the seeds to report on: then those are biased.",
                lambda values, count: _splits(values, count, lambda a, b: b, choose="rest"),
            ),
            Mistake(
                "You choose once, on all seeds. Choose anew for each choice of seeds, on them alone.",
                _fixed,
            ),
            Mistake(
                "That is one way to choose the seeds. Average over all (`itertools.combinations`).",
                lambda values, count: _splits(values, count, lambda a, b: b, only=1),
            ),
            Mistake(
                "Of tied settings the last wins in yours: asked is the first.",
                lambda values, count: _honest(values.flip(0), count),
            ),
            Mistake("Swapped: first what is claimed, then what is held.", lambda v, c: _honest(v, c).flip(0)),
        ),
    )
)
