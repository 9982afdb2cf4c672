"""Intervals for a share and for a mean, which hold also for few samples; and the checks of what they are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats, which is made of it, takes a second to import

from rdd_nb.core.errors import RddError

__all__ = ["Interval", "clopper_pearson", "mean_interval", "wilson"]

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def check_level(level: float) -> float:
    """``level``, where it is one."""
    if not 0 < level < 1:
        raise RddError(f"level is {level}: give a number between 0 and 1, such as 0.95")
    return level


def as_counts(correct: ArrayLike, n: ArrayLike) -> tuple[Array, Array]:
    """Counts as numbers of one shape, where they are counts; of nobody, NaN are right as well as 0."""
    right, size = np.broadcast_arrays(np.asarray(correct, float), np.asarray(n, float))
    right = np.where((size == 0) & np.isnan(right), 0.0, right)  # an accuracy of NaN times n = 0
    if not (np.isfinite(right).all() and np.isfinite(size).all() and (right >= 0).all() and (right <= size).all()):
        raise RddError("counts do not fit: every group needs 0 ≤ correct ≤ n, all finite (an empty one has n = 0)")
    return right, size


def share_of(right: Array, size: Array) -> Array:
    """Accuracy, NaN where a group is empty."""
    return np.divide(right, size, out=np.full(size.shape, np.nan), where=size > 0)


def as_matrix(correct: ArrayLike) -> Array:
    """0/1 correctness as ``[nets, N]``; one net may be given as ``[N]``."""
    matrix = np.atleast_2d(np.asarray(correct, float))
    if matrix.ndim != 2 or 0 in matrix.shape or not ((matrix == 0) | (matrix == 1)).all():
        raise RddError(f"correctness of shape {np.shape(correct)}: give 0/1 values of shape [nets, N] or [N]")
    return matrix


def as_codes(groups: ArrayLike, count: int) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Groups as 0..k-1, and their names in that order."""
    ids = np.asarray(groups)
    if ids.shape != (count,) or not count:
        raise RddError(f"groups have shape {ids.shape}: give one for each of the {count} samples")
    names, codes = np.unique(ids, return_inverse=True)
    return codes, names


def wilson_ends(p: Array, n: Array, z: ArrayLike) -> tuple[Array, Array]:
    with np.errstate(invalid="ignore", divide="ignore"):
        z2n = np.square(z) / n
        centre, half = (p + z2n / 2) / (1 + z2n), np.sqrt(z2n * (p * (1 - p) + z2n / 4)) / (1 + z2n)
    return np.where(p == 0, 0.0, np.clip(centre - half, 0, 1)), np.where(p == 1, 1.0, np.clip(centre + half, 0, 1))


def exact_ends(p: Array, n: Array, z: ArrayLike) -> tuple[Array, Array]:
    tail, right = np.maximum(special.ndtr(np.negative(z)), 1e-15), p * n  # the beta quantile's solver fails further out
    with np.errstate(invalid="ignore"):
        low = np.where(p == 0, 0.0, special.betaincinv(right, n - right + 1, tail))
        high = np.where(p == 1, 1.0, special.betainccinv(right + 1, n - right, tail))
    return low, high


def wilson(correct: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
    """Wilson's score interval for ``correct`` out of ``n``, elementwise; NaN where n = 0. Wilson, JASA 22, 1927.

    On average over true accuracies it covers what it says, but it can fall short near 0 and 1 at high levels; for many
    groups at once use :func:`clopper_pearson`.

    >>> [round(float(end), 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    right, size = as_counts(correct, n)
    return wilson_ends(share_of(right, size), size, -special.ndtri((1 - check_level(level)) / 2))


def clopper_pearson(correct: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
    """The exact binomial interval, elementwise: covers at least ``level`` at every true accuracy; NaN where n = 0.

    Clopper and Pearson, Biometrika 26, 1934.

    >>> [round(float(end), 3) for end in clopper_pearson(8, 10)]
    [0.444, 0.975]
    """
    right, size = as_counts(correct, n)
    return exact_ends(share_of(right, size), size, -special.ndtri((1 - check_level(level)) / 2))


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
    half = (
        -special.stdtrit(len(x) - 1, (1 - check_level(level)) / 2) * x.std(ddof=1) / np.sqrt(len(x))
        if len(x) > 1
        else np.nan
    )
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half))
