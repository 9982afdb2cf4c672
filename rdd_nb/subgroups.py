"""Honest subgroup statistics: accuracies by group with intervals that hold, the minimum over groups, coverage.

The minimum over groups is biased: among 20 groups of 50 samples that are all 70 % right, the worst shows 58 % on
average. So a minimum is reported with a simultaneous band (:func:`minimum_band`, :func:`worst_group`), beside what
equal groups would have shown (:func:`null_band`), and groups are ranked by :func:`shrink`. Groups must be fixed before
the results are seen. An empty group has accuracy NaN and n = 0, and no statistic counts it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from torch import Tensor

from rdd_nb.errors import RddError
from rdd_nb.machine import seed_of

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


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


class Minimum(NamedTuple):
    """The raw minimum over groups, which group it is (index or name), and the band for the true minimum."""

    value: float
    group: Any
    low: float
    high: float


class Difference(NamedTuple):
    """Accuracy of a minus accuracy of b, its interval, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p_value: float


class HasTable(Protocol):
    """What :func:`group_table` needs of scores: a tidy table with the columns net, group, n, correct."""

    def table(self, by: str) -> pd.DataFrame:
        """One row for each net and group."""


# Counts and intervals


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise RddError(f"level is {level}: give a number between 0 and 1, such as 0.95")
    return level


def _counts(correct: ArrayLike, n: ArrayLike) -> tuple[Array, Array]:
    right, size = np.broadcast_arrays(np.asarray(correct, float), np.asarray(n, float))
    if not (np.isfinite(right).all() and np.isfinite(size).all() and (right >= 0).all() and (right <= size).all()):
        raise RddError("counts do not fit: every group needs 0 ≤ correct ≤ n, all finite (an empty one has n = 0)")
    return right, size


def _share(right: Array, size: Array) -> Array:
    """Accuracy, NaN where a group is empty."""
    return np.divide(right, size, out=np.full(size.shape, np.nan), where=size > 0)


def _matrix(correct: ArrayLike) -> Array:
    """0/1 correctness as ``[nets, N]``; one net may be given as ``[N]``."""
    matrix = np.atleast_2d(np.asarray(correct, float))
    if matrix.ndim != 2 or 0 in matrix.shape or not ((matrix == 0) | (matrix == 1)).all():
        raise RddError(f"correctness of shape {np.shape(correct)}: give 0/1 values of shape [nets, N] or [N]")
    return matrix


def _wilson(p: Array, n: Array, z: ArrayLike) -> tuple[Array, Array]:
    with np.errstate(invalid="ignore", divide="ignore"):
        z2n = np.square(z) / n
        centre, half = (p + z2n / 2) / (1 + z2n), np.sqrt(z2n * (p * (1 - p) + z2n / 4)) / (1 + z2n)
    return np.where(p == 0, 0.0, np.clip(centre - half, 0, 1)), np.where(p == 1, 1.0, np.clip(centre + half, 0, 1))


def _exact(p: Array, n: Array, z: ArrayLike) -> tuple[Array, Array]:
    tail, right = np.maximum(stats.norm.sf(z), 1e-15), p * n  # the beta quantile's solver fails further out
    with np.errstate(invalid="ignore"):
        low = np.where(p == 0, 0.0, stats.beta.ppf(tail, right, n - right + 1))
        high = np.where(p == 1, 1.0, stats.beta.isf(tail, right + 1, n - right))
    return low, high


def wilson(correct: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
    """Wilson's score interval for ``correct`` out of ``n``, elementwise; NaN where n = 0. Wilson, JASA 22, 1927.

    On average over true accuracies it covers what it says, but it can fall short near 0 and 1 at high levels; for many
    groups at once use :func:`clopper_pearson`.

    >>> [round(float(end), 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    right, size = _counts(correct, n)
    return _wilson(_share(right, size), size, stats.norm.isf((1 - _level(level)) / 2))


def clopper_pearson(correct: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
    """The exact binomial interval, elementwise: covers at least ``level`` at every true accuracy; NaN where n = 0.

    Clopper and Pearson, Biometrika 26, 1934.

    >>> [round(float(end), 3) for end in clopper_pearson(8, 10)]
    [0.444, 0.975]
    """
    right, size = _counts(correct, n)
    return _exact(_share(right, size), size, stats.norm.isf((1 - _level(level)) / 2))


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
    right, size = (
        table.pivot(index="group", columns="net", values=v).loc[table["group"].unique()] for v in ("correct", "n")
    )
    if size.isna().any(axis=None) or size.nunique(axis=1).max() > 1:
        raise RddError("the nets were scored on different samples: give every net the same test set and groups")
    n, nets = size.to_numpy(float)[:, 0], size.shape[1]
    by_net = _share(*_counts(right.to_numpy(), size.to_numpy()))
    accuracy = by_net.mean(axis=1)
    net_sd = by_net.std(axis=1, ddof=1) if nets > 1 else np.full(len(n), np.nan)

    sampling, training = accuracy * (1 - accuracy) / np.maximum(n, 1), np.nan_to_num(net_sd**2) / nets
    both = np.maximum(sampling + training, 1e-300)
    effective = np.where(training > 0, n * sampling / both, n)

    def quantile(tail: float) -> Array:
        z, t = stats.norm.isf(tail), stats.t.isf(tail, nets - 1) if nets > 1 else 0.0
        return np.where(training > 0, np.sqrt((z**2 * sampling + t**2 * training) / both), z)

    tail = (1 - _level(level)) / 2
    low, high = _wilson(accuracy, effective, quantile(tail))
    low_all, high_all = _exact(accuracy, effective, quantile(tail / max((n > 0).sum(), 1)))
    # Two kinds of interval, and a small effective size: the wide one must still hold the narrow one.
    low_all, high_all = np.fmin(low_all, low), np.fmax(high_all, high)
    return pd.DataFrame(
        {
            "group": right.index.to_numpy(),
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


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean of independent replicates (nets, seeds) with its t-interval; the ends are NaN for a single replicate.

    >>> mean_interval([0.5, 0.6, 0.7])._replace(low=0, high=0).value
    0.6
    """
    x = np.asarray(values, float).ravel()
    if not len(x) or not np.isfinite(x).all():
        raise RddError(
            f"{len(x)} replicates, of which {int(np.isfinite(x).sum())} finite: give at least one, all finite"
        )
    half = stats.t.isf((1 - _level(level)) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half))


# The minimum over groups


def minimum_band(correct: ArrayLike, n: ArrayLike, level: float = 0.95) -> Minimum:
    """The smallest accuracy over k groups, with a band that holds the true minimum with probability ≥ ``level``.

    The band is [min L, min U] over the groups' Clopper–Pearson intervals at level 1 − (1 − level) / k: if all hold at
    once, their minima hold. Wilson's interval of the worst group covers only 0.6 (20 groups of 50, all at 0.7), the
    percentile bootstrap of the minimum 0. Empty groups are left out; without any sample all is NaN and the group None.

    >>> minimum_band([45, 35, 0], [50, 50, 0])._replace(low=0, high=0)
    Minimum(value=0.7, group=1, low=0, high=0)
    """
    right, size = _counts(correct, n)
    accuracy, present = _share(right, size).ravel(), size.ravel() > 0
    if not present.any():
        return Minimum(np.nan, None, np.nan, np.nan)
    low, high = clopper_pearson(right, size, 1 - (1 - _level(level)) / present.sum())
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
    low, high = np.quantile(draws, [(1 - _level(level)) / 2, (1 + level) / 2])
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
    share, rows = _matrix(correct).mean(axis=0), []
    for name, ids in groupings.items():
        groups = _codes(ids, len(share))[0]
        n = np.bincount(groups)
        rng = np.random.default_rng(seed_of(seed, "minimum by groups", name))
        null = np.array([(np.bincount(groups, rng.permutation(share)) / n).min() for _ in range(draws)])
        band = minimum_band(np.minimum(np.bincount(groups, share), n), n, level)
        chance = _band(null, float(null.mean()), level)
        rows.append((name, len(n), band.value, band.low, band.high, *chance))
    names = ["grouping", "k", "minimum", "low", "high", "null", "null_low", "null_high"]
    return pd.DataFrame(rows, columns=names)


def _codes(groups: ArrayLike, count: int) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Groups as 0..k-1, and their names in that order."""
    ids = np.asarray(groups)
    if ids.shape != (count,) or not count:
        raise RddError(f"groups have shape {ids.shape}: give one for each of the {count} samples")
    names, codes = np.unique(ids, return_inverse=True)
    return codes, names


def shrink(correct: ArrayLike, n: ArrayLike) -> Array:
    """Group accuracies drawn towards their common mean, small groups most: empirical Bayes, to rank groups by.

    Beta-binomial with the mean m = Σ correct / Σ n and an intra-group correlation ρ by moments: Σ n (p − m)² has the
    expectation m(1 − m) [ρ (N − Σ n²/N) + (1 − ρ)(k − 1)]. The result is (correct + M m) / (n + M), M = 1/ρ − 1. If the
    groups differ no more than chance makes them, ρ = 0 and all get m. Empty groups stay NaN: nothing is known of them.

    >>> shrink([10, 40, 32, 43], [10, 50, 50, 50]).round(2)
    array([0.87, 0.8 , 0.67, 0.84])
    """
    right, size = _counts(correct, n)
    total = size.sum()
    m = right.sum() / total if total else np.nan
    p, k = _share(right, size), int((size > 0).sum())
    if k < 2 or m in (0, 1):
        return np.where(size > 0, m, np.nan)
    scatter = np.nansum(size * (p - m) ** 2) / (m * (1 - m))
    room = total - np.square(size).sum() / total - (k - 1)
    rho = np.clip((scatter - (k - 1)) / room, 0, 1) if room > 0 else 0.0
    if rho == 0:
        return np.where(size > 0, m, np.nan)
    strength = 1 / rho - 1
    return np.where(size > 0, (right + strength * m) / np.maximum(size + strength, 1e-300), np.nan)


# Disparities


def gap(correct: ArrayLike, n: ArrayLike) -> float:
    """Largest minus smallest group accuracy; like the minimum, it grows with the number of groups by chance alone."""
    accuracy = _share(*_counts(correct, n))
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
    """The multiclass equalised-odds gap, as FairDD (arXiv 2411.19623) reports it: maximum and mean over classes.

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
    codes, names = _codes(groups, len(y))
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


# Two methods on the same samples


def paired_difference(correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95) -> Difference:
    """Accuracy of method a minus that of b on the same test samples, over samples and nets at once.

    Args:
        correct_a: 0/1, ``[nets_a, N]`` or ``[N]``.
        correct_b: 0/1, ``[nets_b, N]`` or ``[N]``, the same samples in the same order.
        level: of the interval.

    Three variances, each with its own t quantile as in :func:`group_table`: of the per-sample differences over N
    (pairing takes out what is hard for both), and of each method's accuracy between nets over its number of nets. Two
    pseudo samples, +1 and −1, keep small groups honest (Bonett and Price, 2012): five of five is not certainty. With
    one net a method, the variation between trainings is not covered; :func:`mcnemar` is the exact test then.
    """
    a, b = _matrix(correct_a), _matrix(correct_b)
    if a.shape[1] != b.shape[1]:
        raise RddError(f"a has {a.shape[1]} samples and b {b.shape[1]}: compare methods on the same samples")
    difference = a.mean(axis=0) - b.mean(axis=0)
    padded = np.append(difference, [1.0, -1.0])
    parts = [(padded.var() / len(padded), len(padded) - 1)]
    parts += [(m.mean(axis=1).var(ddof=1) / len(m), len(m) - 1) for m in (a, b) if len(m) > 1]

    def half(tail: float) -> float:
        return float(np.sqrt(sum(stats.t.isf(tail, df) ** 2 * variance for variance, df in parts)))

    centre, reach = float(padded.mean()), half((1 - _level(level)) / 2)
    if half(1e-100) <= abs(centre):
        p_value = 0.0
    else:  # the level at which the interval just touches 0
        p_value = 2 * math.exp(optimize.brentq(lambda x: half(math.exp(x)) - abs(centre), -230.0, math.log(0.5)))
    return Difference(float(difference.mean()), max(centre - reach, -1.0), min(centre + reach, 1.0), p_value)


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Exact McNemar p-value for two single nets, 0/1 of shape ``[N]``: are the samples only one gets right balanced?

    >>> mcnemar([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
    a, b = _matrix(correct_a), _matrix(correct_b)
    if len(a) != 1 or a.shape != b.shape:
        raise RddError(f"shapes {a.shape} and {b.shape}: McNemar compares one net with one, on the same samples")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: ArrayLike) -> Array:
    """p-values adjusted for their number by Holm's step-down rule (1979); NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, float)
    adjusted, known = np.full(p.shape, np.nan), np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def compare_groups(correct_a: ArrayLike, correct_b: ArrayLike, groups: ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """:func:`paired_difference` in every group: group, n, difference, low, high, p_value, p_holm (over the groups)."""
    a, b = _matrix(correct_a), _matrix(correct_b)
    codes, names = _codes(groups, a.shape[1])
    each = [(codes == k) for k in range(len(names))]
    rows = [
        (name, int(here.sum()), *paired_difference(a[:, here], b[:, here], level)) for name, here in zip(names, each)
    ]
    table = pd.DataFrame(rows, columns=["group", "n", "difference", "low", "high", "p_value"])
    return table.assign(p_holm=holm(table["p_value"]))


# How much of the real data a synthetic set reaches


def nearest_distance(
    real: Tensor, real_labels: Tensor, synthetic: Tensor, synthetic_labels: Tensor, chunk: int = 2048
) -> Tensor:
    """Euclidean distance of every real sample to its nearest synthetic one of its class; ``inf`` where there is none.

    Features have the shapes ``[N, …]`` and ``[M, …]`` and are flattened; the result is ``[N]``, on their device.
    """
    real, synthetic = real.flatten(1).float(), synthetic.flatten(1).float()
    if (
        real.shape[1:] != synthetic.shape[1:]
        or len(real) != len(real_labels)
        or len(synthetic) != len(synthetic_labels)
    ):
        raise RddError(
            f"real {list(real.shape)} with {len(real_labels)} labels, synthetic {list(synthetic.shape)} with "
            f"{len(synthetic_labels)}: give both the same features and one label for each sample"
        )
    distance = real.new_full((len(real),), torch.inf)
    for label in synthetic_labels.unique():
        centres = synthetic[synthetic_labels == label]
        for rows in torch.nonzero(real_labels == label).flatten().split(chunk):
            # exact mode: the matrix-product trick gives a sample a distance from itself
            near = torch.cdist(real[rows], centres, compute_mode="donot_use_mm_for_euclid_dist")
            distance[rows] = near.min(dim=1).values
    return distance


def coverage(
    real: Tensor, real_labels: Tensor, synthetic: Tensor, synthetic_labels: Tensor, radii: Sequence[float]
) -> Array:
    """Share of the real samples within each radius of their nearest synthetic sample of the same class.

    Compare the curve with that of a random and of a k-medoid subset of the same size, in one fixed feature space.

    >>> real, labels = torch.tensor([[0.0], [1.0], [3.0], [9.0]]), torch.tensor([0, 0, 0, 1])
    >>> coverage(real, labels, torch.tensor([[0.0]]), torch.tensor([0]), radii=[0, 1, 5])
    array([0.25, 0.5 , 0.75])
    """
    return _within(nearest_distance(real, real_labels, synthetic, synthetic_labels), radii)


def _within(distance: Tensor, radii: Sequence[float]) -> Array:
    ordered = np.sort(distance.detach().cpu().numpy())
    return np.searchsorted(ordered, np.asarray(radii, ordered.dtype), side="right") / max(len(ordered), 1)


def coverage_by_group(
    real: Tensor,
    real_labels: Tensor,
    synthetic: Tensor,
    synthetic_labels: Tensor,
    groups: ArrayLike,
    radii: Sequence[float],
) -> pd.DataFrame:
    """:func:`coverage` in every group of the real samples, as a tidy table: group, n, radius, share."""
    distance = nearest_distance(real, real_labels, synthetic, synthetic_labels).cpu()
    codes, names = _codes(groups, len(distance))
    parts = [distance[torch.as_tensor(codes == k)] for k in range(len(names))]
    rows = [(g, len(d), float(r), float(s)) for g, d in zip(names, parts) for r, s in zip(radii, _within(d, radii))]
    return pd.DataFrame(rows, columns=["group", "n", "radius", "share"])
