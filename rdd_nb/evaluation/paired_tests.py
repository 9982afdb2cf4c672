"""Two methods on the same samples: paired differences, with corrections for many comparisons."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from rdd_nb.core.errors import RddError
from rdd_nb.evaluation.intervals import as_codes, as_matrix, check_level

__all__ = ["Difference", "compare_groups", "holm", "mcnemar", "paired_difference"]

Array = NDArray[np.float64]


class Difference(NamedTuple):
    """Accuracy of a minus accuracy of b, its interval, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p_value: float


def paired_difference(correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95) -> Difference:
    """Accuracy of method a minus that of b on the same test samples, over samples and nets at once.

    Args:
        correct_a: 0/1, ``[nets_a, N]`` or ``[N]``.
        correct_b: 0/1, ``[nets_b, N]`` or ``[N]``, the same samples in the same order.
        level: of the interval.

    Three variances, each with its own t quantile as in :func:`rdd_nb.evaluation.subgroups.group_table`: of the
    per-sample differences over N (pairing takes out what is hard for both), and of each method's accuracy between nets
    over its number of nets. Two pseudo samples, +1 and −1, keep small groups honest (Bonett and Price, 2012): five of
    five is not certainty. With one net a method, the variation between trainings is not covered; :func:`mcnemar` is the
    exact test then.
    """
    a, b = as_matrix(correct_a), as_matrix(correct_b)
    if a.shape[1] != b.shape[1]:
        raise RddError(f"a has {a.shape[1]} samples and b {b.shape[1]}: compare methods on the same samples")
    difference = a.mean(axis=0) - b.mean(axis=0)
    padded = np.append(difference, [1.0, -1.0])
    parts = [(padded.var() / len(padded), len(padded) - 1)]
    parts += [(m.mean(axis=1).var(ddof=1) / len(m), len(m) - 1) for m in (a, b) if len(m) > 1]

    def half(tail: float) -> float:
        return float(np.sqrt(sum(special.stdtrit(df, tail) ** 2 * variance for variance, df in parts)))

    centre, reach = float(padded.mean()), half((1 - check_level(level)) / 2)
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
    a, b = as_matrix(correct_a), as_matrix(correct_b)
    if len(a) != 1 or a.shape != b.shape:
        raise RddError(f"shapes {a.shape} and {b.shape}: McNemar compares one net with one, on the same samples")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    # Twice the lower tail of the smaller count, which of a fair coin is the exact two-sided test.
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5))) if only_a + only_b else 1.0


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
    a, b = as_matrix(correct_a), as_matrix(correct_b)
    codes, names = as_codes(groups, a.shape[1])
    each = [(codes == k) for k in range(len(names))]
    rows = [
        (name, int(here.sum()), *paired_difference(a[:, here], b[:, here], level)) for name, here in zip(names, each)
    ]
    table = pd.DataFrame(rows, columns=["group", "n", "difference", "low", "high", "p_value"])
    return table.assign(p_holm=holm(table["p_value"]))
