"""Intervals for shares, means and variances, which hold also for few samples; and the checks of what they are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # scipy.stats, which is made of it, takes a second to import

from rdd_nb.core.errors import RddError
from rdd_nb.core.random_streams import seed_of

__all__ = [
    "Envelope",
    "Interval",
    "clopper_pearson",
    "mean_interval",
    "rank_correlation_by_chance",
    "rank_envelope",
    "variance_components",
    "wilson",
]

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


class Envelope(NamedTuple):
    """A band for the worst, second worst, … accuracy, ends ``[k]``, and the p-value of the test that it draws."""

    low: Array
    high: Array
    p_value: float


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


def rank_envelope(
    share: ArrayLike, groups: ArrayLike, level: float = 0.95, draws: int = 500, seed: int = 0
) -> Envelope:
    """One test of whether all groups are alike, as a band: if they are, **all** sorted accuracies lie in it at once.

    The band is that of random permutations of the samples among the groups, so wide that with probability ``level`` no
    rank leaves it (a global envelope with directional quantiles: Myllymäki et al., J. R. Stat. Soc. B 79, 2017). One
    accuracy outside is the test's "not all are alike". Neither the number of ranks outside nor which these are says
    anything about single groups: few low groups push all the others up their ranks. For that there are the simultaneous
    intervals of :func:`rdd_nb.evaluation.subgroups.group_table`. The nets are taken as they are.

    Args:
        share: accuracy of each sample, ``[N]``: 0 or 1, or the share of nets that are right.
        groups: ``[N]``; k different ones.
        level: of the band.
        draws: permutations.
        seed: of the permutations.

    >>> low, high, p = rank_envelope([1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    >>> low.shape, p < 0.05
    ((2,), True)
    """
    value = np.asarray(share, float)
    codes, _ = as_codes(groups, value.size)
    if value.ndim != 1 or not np.isfinite(value).all() or draws < 1:
        raise RddError(f"accuracies of shape {value.shape} and {draws} draws: give [N] finite ones, at least one draw")
    size, rng = np.bincount(codes), np.random.default_rng(seed_of(seed, "rank envelope"))
    rows = [value, *(rng.permutation(value) for _ in range(draws))]  # what was seen is one of the permutations
    ranked = np.sort([np.bincount(codes, row) / size for row in rows], axis=1)
    low, high = np.quantile(ranked, [0.025, 0.975], axis=0)
    middle = ranked.mean(axis=0)
    down, up = np.maximum(middle - low, 1e-9), np.maximum(high - middle, 1e-9)
    far = np.maximum((middle - ranked) / down, (ranked - middle) / up).max(axis=1)
    rejected = int((1 - check_level(level)) * len(far) + 1e-9)  # so many may leave the band: those whose p is as small
    reach = np.sort(far)[len(far) - rejected - 1]
    p_value = float((far >= far[0] - 1e-6).mean())
    return Envelope(np.clip(middle - reach * down, 0, 1), np.clip(middle + reach * up, 0, 1), p_value)


def rank_correlation_by_chance(count: int, level: float = 0.95, draws: int = 4000, seed: int = 0) -> float:
    """How far from 0 Spearman's rank correlation ρ of ``count`` pairs lies by chance, in ``level`` of the cases.

    By simulation, of two orders that have nothing to do with each other, without ties. Few pairs correlate
    strongly by chance: beside a correlation of ten pairs, show this number.

    Args:
        count: of pairs; a single one correlates fully with anything.
        level: the share of random orders in which ρ is at most so far from 0.
        draws: random orders.
        seed: of the orders.

    Raises:
        RddError: no pair, or no draw.

    >>> rank_correlation_by_chance(2), 0.55 < rank_correlation_by_chance(10) < 0.7
    (1.0, True)
    """
    if count < 1 or draws < 1:
        raise RddError(f"{count} pairs and {draws} draws: give at least one of each")
    place, rng = np.arange(count), np.random.default_rng(seed_of(seed, "rank correlation by chance"))
    orders = rng.permuted(np.tile(place, (draws, 1)), axis=1)
    rho = 1 - 6 * np.square(orders - place).sum(1) / max(count * (count**2 - 1), 1)
    return float(np.quantile(np.abs(rho), check_level(level)))


def variance_components(
    values: ArrayLike, level: float = 0.95, draws: int = 4000, seed: int = 0
) -> dict[str, Interval]:
    """Components of variance with intervals, and **not** cut at 0, of ``values [settings, seeds, nets]``.

    From the expected mean squares (Fisher, 1925): of the settings' means; of what a seed does to all settings alike; of
    what a network's start does to all alike; of what a seed does to one setting and not to another (pairing); and of
    what is left between networks. Settings are crossed with networks, which are nested within seeds. A negative
    estimate says that the component is small beside its uncertainty, not that it is 0: read the interval. That is the
    generalised confidence interval (Weerahandi, J. Am. Stat. Assoc. 88, 1993): each mean square over its degrees of
    freedom is drawn from its scaled inverse χ², for normal effects.

    Returns:
        setting, seed, start, pairing and net → estimate and ends, in the values' unit squared; the ends are cut at 0.

    Raises:
        RddError: not three axes, or fewer than two of anything.
    """
    x = np.asarray(values, float)
    if x.ndim != 3 or min(x.shape) < 2 or not np.isfinite(x).all():
        raise RddError(f"values of shape {x.shape}: give finite [settings, seeds, nets], at least two of each")
    a, s, k = x.shape
    run, start, total = x.mean(2), x.mean(0), x.mean()
    by_setting, by_seed = run.mean(1), run.mean(0)
    both = run - by_setting[:, None] - by_seed + total
    left = x - run[:, :, None] - start + by_seed[:, None]
    squares = {
        "setting": (s * k * np.square(by_setting - total).sum(), a - 1),
        "seed": (a * k * np.square(by_seed - total).sum(), s - 1),
        "start": (a * np.square(start - by_seed[:, None]).sum(), s * (k - 1)),
        "pairing": (k * np.square(both).sum(), (a - 1) * (s - 1)),
        "net": (np.square(left).sum(), (a - 1) * s * (k - 1)),
    }
    rng = np.random.default_rng(seed_of(seed, "variance components"))
    # The mean squares first, then draws of what they may be expected to be
    m = {name: np.append(ss / df, ss / rng.chisquare(df, draws)) for name, (ss, df) in squares.items()}
    solved = {
        "setting": (m["setting"] - m["pairing"]) / (s * k),
        "seed": (m["seed"] - m["pairing"] - m["start"] + m["net"]) / (a * k),
        "start": (m["start"] - m["net"]) / a,
        "pairing": (m["pairing"] - m["net"]) / k,
        "net": m["net"],
    }
    tail = (1 - check_level(level)) / 2
    return {
        name: Interval(float(v[0]), *np.maximum(np.quantile(v[1:], [tail, 1 - tail]), 0).tolist())
        for name, v in solved.items()
    }
