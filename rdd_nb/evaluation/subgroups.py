"""Honest subgroup statistics: accuracies by group with intervals that hold, the minimum over groups, coverage.

The minimum over groups is biased: among 20 groups of 50 samples that are all 70 % right, the worst shows 58 % on
average. So a minimum is reported with a simultaneous band (:func:`minimum_band`, :func:`worst_group`), beside what
equal groups would have shown (:func:`null_band`), and groups are ranked by :func:`shrink`. Groups must be fixed before
the results are seen. An empty group has accuracy NaN and n = 0, and no statistic counts it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of
from rdd_nb.evaluation.coverage import coverage, coverage_by_group, nearest_distance
from rdd_nb.evaluation.intervals import (
    Interval,
    as_codes,
    as_counts,
    as_matrix,
    check_level,
    clopper_pearson,
    exact_ends,
    mean_interval,
    share_of,
    wilson,
    wilson_ends,
)
from rdd_nb.evaluation.paired_tests import Difference, compare_groups, holm, mcnemar, paired_difference

__all__ = [
    "Difference",
    "Interval",
    "Minimum",
    "clopper_pearson",
    "compare_groups",
    "coverage",
    "coverage_by_group",
    "gap",
    "group_cvar_error",
    "group_table",
    "holm",
    "mcnemar",
    "mean_interval",
    "minimum_band",
    "minimum_by_groups",
    "nearest_distance",
    "null_band",
    "paired_difference",
    "recall_range",
    "shrink",
    "wilson",
    "worst_group",
]

Array = NDArray[np.float64]


class Minimum(NamedTuple):
    """The raw minimum over groups, which group it is (index or name), and the band for the true minimum."""

    value: float
    group: Any
    low: float
    high: float


class HasTable(Protocol):
    """What :func:`group_table` needs of scores: a tidy table with the columns net, group, n, correct."""

    def table(self, by: str) -> pd.DataFrame:
        """One row for each net and group."""


# Counts and intervals


def group_table(scores: HasTable | pd.DataFrame, by: str = "group", level: float = 0.95) -> pd.DataFrame:
    """Accuracy of every group with intervals for what is true beyond these test samples and these nets.

    ``scores`` has a method ``table(by)``, or is such a table already (columns net, group, n, correct). One row a group:

    - ``n``: test samples; ``nets``: trained nets; ``accuracy``: mean over the nets; ``net_sd``: standard deviation of
      the group's accuracy between nets (NaN for one net);
    - ``low``, ``high``: pointwise interval at ``level``, for one group looked at alone (Wilson);
    - ``low_simultaneous``, ``high_simultaneous``: all k groups inside at once (Clopper–Pearson at 1 − (1 − level) / k);
    - ``shrunk``: :func:`shrink`, to rank the groups by.

    The intervals cover two sources. The nets share their test samples, so n samples count once, not nets × n times:
    variance p(1 − p)/n, normal quantile. Another training would give another accuracy: variance net_sd²/nets, t
    quantile with nets − 1 degrees of freedom, since net_sd comes from a few nets. Each variance is multiplied by its
    squared quantile and the sum enters as an effective sample size. What a net and a sample decide together is counted
    in both, so the intervals err on the wide side. Two or three nets say little about the next one and give wide
    intervals; five are a good number. With one net only the test samples are covered.

    >>> table = pd.DataFrame({"net": [0, 0], "group": ["red", "blue"], "n": [50, 0], "correct": [35, 0]})
    >>> group_table(table)[["group", "n", "accuracy", "low", "high"]].round(3)
      group   n  accuracy    low   high
    0   red  50       0.7  0.562  0.809
    1  blue   0       NaN    NaN    NaN
    """
    table = scores if isinstance(scores, pd.DataFrame) else scores.table(by)
    missing = {"net", "group", "n", "correct"} - set(table.columns)
    if missing or table.empty:
        raise RddError(
            f"the table of scores lacks {', '.join(sorted(missing)) or 'rows'}: it needs net, group, n, correct"
        )
    (row, names), (column, held) = (pd.factorize(table[key], use_na_sentinel=False) for key in ("group", "net"))
    nets = len(held)
    if len(set(zip(row, column))) < len(table):
        raise RddError("the table of scores has a net and group twice: it needs one row for each")
    right, size = np.full((2, len(names), nets), np.nan)  # what a pivot says in ten times the time
    right[row, column], size[row, column] = table["correct"], table["n"]
    if not (size == size[:, :1]).all():
        raise RddError("the nets were scored on different samples: give every net the same test set and groups")
    n = size[:, 0]
    by_net = share_of(*as_counts(right, size))
    accuracy = by_net.mean(axis=1)
    net_sd = by_net.std(axis=1, ddof=1) if nets > 1 else np.full(len(n), np.nan)

    sampling, training = accuracy * (1 - accuracy) / np.maximum(n, 1), np.nan_to_num(net_sd**2) / nets
    both = np.maximum(sampling + training, 1e-300)
    effective = np.where(training > 0, n * sampling / both, n)

    def quantile(tail: float) -> Array:
        z, t = -special.ndtri(tail), -special.stdtrit(nets - 1, tail) if nets > 1 else 0.0
        return np.where(training > 0, np.sqrt((z**2 * sampling + t**2 * training) / both), z)

    tail = (1 - check_level(level)) / 2
    low, high = wilson_ends(accuracy, effective, quantile(tail))
    low_all, high_all = exact_ends(accuracy, effective, quantile(tail / max((n > 0).sum(), 1)))
    # Two kinds of interval, and a small effective size: the wide one must still hold the narrow one.
    low_all, high_all = np.fmin(low_all, low), np.fmax(high_all, high)
    return pd.DataFrame(
        {
            "group": np.asarray(names),
            "n": n.astype(int),
            "nets": nets,
            "accuracy": accuracy,
            "net_sd": net_sd,
            "low": low,
            "high": high,
            "low_simultaneous": low_all,
            "high_simultaneous": high_all,
            "shrunk": shrink(np.nan_to_num(accuracy) * n, n),
        }
    )


# The minimum over groups


def minimum_band(correct: ArrayLike, n: ArrayLike, level: float = 0.95) -> Minimum:
    """The smallest accuracy over k groups, with a band that holds the true minimum with probability ≥ ``level``.

    The band is [min L, min U] over the groups' Clopper–Pearson intervals at level 1 − (1 − level) / k: if all hold at
    once, their minima hold. Wilson's interval of the worst group covers only 0.6 (20 groups of 50, all at 0.7), the
    percentile bootstrap of the minimum 0. Empty groups are left out; without any sample all is NaN and the group None.

    >>> minimum_band([45, 35, 0], [50, 50, 0])._replace(low=0, high=0)
    Minimum(value=0.7, group=1, low=0, high=0)
    """
    right, size = as_counts(correct, n)
    accuracy, present = share_of(right, size).ravel(), size.ravel() > 0
    if not present.any():
        return Minimum(np.nan, None, np.nan, np.nan)
    low, high = clopper_pearson(right, size, 1 - (1 - check_level(level)) / present.sum())
    worst = int(np.nanargmin(accuracy))
    return Minimum(float(accuracy[worst]), worst, float(np.nanmin(low)), float(np.nanmin(high)))


def worst_group(scores: HasTable | pd.DataFrame, by: str = "group", level: float = 0.95) -> Minimum:
    """:func:`minimum_band` for scores of several nets: also covers the variation between nets (:func:`group_table`)."""
    table = group_table(scores, by, level)
    present = table[table["n"] > 0]
    if present.empty:
        return Minimum(np.nan, None, np.nan, np.nan)
    worst = present.loc[present["accuracy"].idxmin()]
    ends = present[["low_simultaneous", "high_simultaneous"]].min()
    return Minimum(float(worst["accuracy"]), worst["group"], float(ends.iloc[0]), float(ends.iloc[1]))


def null_band(n: ArrayLike, p: float, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """What the minimum would show if all groups of sizes ``n`` were equally accurate at ``p``: its mean and band.

    A minimum inside this band is no sign of a weak group.

    >>> round(null_band([50] * 20, 0.7).value, 2)
    0.58
    """
    size = np.asarray(n, int).ravel()
    size = size[size > 0]
    if not len(size) or not 0 <= p <= 1:
        raise RddError(f"a null band needs groups with samples and p in 0..1, not {len(size)} groups and p = {p}")
    minima = (np.random.default_rng(seed_of(seed, "null band")).binomial(size, p, (draws, len(size))) / size).min(
        axis=1
    )
    return _band(minima, float(minima.mean()), level)


def _band(draws: Array, value: float, level: float) -> Interval:
    low, high = np.quantile(draws, [(1 - check_level(level)) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def minimum_by_groups(
    correct: ArrayLike, groupings: Mapping[Hashable, ArrayLike], level: float = 0.95, draws: int = 500, seed: int = 0
) -> pd.DataFrame:
    """The minimum over groups against the number of groups, beside what the same groupings show by chance alone.

    Args:
        correct: 0/1 of shape ``[nets, N]`` or ``[N]``.
        groupings: for each name or number of clusters, group ids of shape ``[N]``.
        level: of the bands.
        draws: permutations of the samples among the groups, which is the null: sizes, nets and overall accuracy stay.
        seed: of the permutations.

    Returns:
        One row a grouping: grouping, k (groups), minimum, low, high (:func:`minimum_band`), null, null_low, null_high.
    """
    share, rows = as_matrix(correct).mean(axis=0), []
    for name, ids in groupings.items():
        groups = as_codes(ids, len(share))[0]
        n = np.bincount(groups)
        rng = np.random.default_rng(seed_of(seed, "minimum by groups", name))
        null = np.array([(np.bincount(groups, rng.permutation(share)) / n).min() for _ in range(draws)])
        band = minimum_band(np.minimum(np.bincount(groups, share), n), n, level)
        chance = _band(null, float(null.mean()), level)
        rows.append((name, len(n), band.value, band.low, band.high, *chance))
    names = ["grouping", "k", "minimum", "low", "high", "null", "null_low", "null_high"]
    return pd.DataFrame(rows, columns=names)


def shrink(correct: ArrayLike, n: ArrayLike) -> Array:
    """Group accuracies drawn towards their common mean, small groups most: empirical Bayes, to rank groups by.

    Beta-binomial with the mean m = Σ correct / Σ n and an intra-group correlation ρ by moments: Σ n (p − m)² has the
    expectation m(1 − m) [ρ (N − Σ n²/N) + (1 − ρ)(k − 1)]. The result is (correct + M m) / (n + M), M = 1/ρ − 1. If the
    groups differ no more than chance makes them, ρ = 0 and all get m. Empty groups stay NaN: nothing is known of them.

    >>> shrink([10, 40, 32, 43], [10, 50, 50, 50]).round(2)
    array([0.87, 0.8 , 0.67, 0.84])
    """
    right, size = as_counts(correct, n)
    total = size.sum()
    m = right.sum() / total if total else np.nan
    p, k = share_of(right, size), int((size > 0).sum())
    if k < 2 or m in (0, 1):
        return np.where(size > 0, m, np.nan)
    scatter = np.nansum(size * (p - m) ** 2) / (m * (1 - m))
    spread = total - np.square(size).sum() / total - (k - 1)
    rho = np.clip((scatter - (k - 1)) / spread, 0, 1) if spread > 0 else 0.0
    if rho == 0:
        return np.where(size > 0, m, np.nan)
    strength = 1 / rho - 1
    return np.where(size > 0, (right + strength * m) / np.maximum(size + strength, 1e-300), np.nan)


# Disparities


def gap(correct: ArrayLike, n: ArrayLike) -> float:
    """Largest minus smallest group accuracy; like the minimum, it grows with the number of groups by chance alone.

    Groups with n = 0 are left out, whatever is given as right there (0 or NaN); without any sample it is NaN.

    >>> round(gap([45, 35, 0], [50, 50, 0]), 2), gap([np.nan, 35], [0, 50])
    (0.2, 0.0)
    """
    accuracy = share_of(*as_counts(correct, n))
    return float(np.nanmax(accuracy) - np.nanmin(accuracy)) if np.isfinite(accuracy).any() else np.nan


def group_cvar_error(errors: ArrayLike, n: ArrayLike, tail: float) -> float:
    """Mean error of the worst ``tail`` share of the samples, when each counts with its group's error.

    Groups are taken from the worst on until ``tail`` of all samples is full, the last one in part. ``tail=1`` is the
    overall error; as it goes to 0, the worst group's.

    >>> group_cvar_error([0.5, 0.1], [25, 75], tail=0.5)
    0.3
    """
    error, size = np.broadcast_arrays(np.asarray(errors, float).ravel(), np.asarray(n, float).ravel())
    error, size = error[size > 0], size[size > 0]
    if not 0 < tail <= 1 or not len(error) or not np.isfinite(error).all():
        raise RddError(
            f"tail {tail} of {len(error)} groups: give tail in (0, 1] and finite errors of groups with samples"
        )
    order = np.argsort(-error, kind="stable")
    taken = np.diff(np.minimum(np.cumsum(size[order]), tail * size.sum()), prepend=0.0)
    return float(taken @ error[order] / taken.sum())


class RecallRange(NamedTuple):
    """Per class the largest difference of recall between groups (NaN with fewer than two), its maximum and mean."""

    per_class: Array
    maximum: float
    mean: float


def recall_range(labels: ArrayLike, predictions: ArrayLike, groups: ArrayLike, least: int = 1) -> RecallRange:
    """How much recall differs between groups: FairDD's DEO_M, the maximum over classes, and DEO_A, their mean
    (2411.19623).

    0 if every class is recognised equally often in all groups: equal opportunity (Hardt et al., 1610.02413), asked of
    every class. The names are short for "difference in equalised odds", which is the same for two classes; with more,
    equalised odds also asks that the errors go to the same classes in all groups, which no recall says. What others
    report as EOD is another measure (COBRA, 2605.00185): its figures are not comparable with these.

    Args:
        labels: true classes 0..K-1, shape ``[N]``.
        predictions: predicted classes, ``[nets, N]`` (recalls are averaged over nets first) or ``[N]``.
        groups: shape ``[N]``.
        least: a group with fewer samples of a class is left out there.
    """
    y, pred = np.asarray(labels, int), np.atleast_2d(np.asarray(predictions, int))
    if y.ndim != 1 or pred.shape[1:] != y.shape:
        raise RddError(
            f"predictions of shape {np.shape(predictions)} for labels of shape {y.shape}: give [nets, N] and [N]"
        )
    codes, names = as_codes(groups, len(y))
    classes = int(y.max()) + 1
    cell = y * len(names) + codes
    n = np.bincount(cell, minlength=classes * len(names))
    right = np.bincount(cell, (pred == y).mean(axis=0), minlength=len(n))
    recall = np.where(n >= max(least, 1), right / np.maximum(n, 1), np.nan).reshape(classes, -1)
    several = np.isfinite(recall).sum(axis=1) > 1
    per_class = np.full(classes, np.nan)
    per_class[several] = np.nanmax(recall[several], axis=1) - np.nanmin(recall[several], axis=1)
    found = per_class[several]
    return RecallRange(per_class, *((float(found.max()), float(found.mean())) if len(found) else (np.nan, np.nan)))
