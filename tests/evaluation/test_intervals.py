"""Intervals of shares, means and variances, against scipy, statsmodels and simulations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from rdd_nb.core.errors import RddError
from rdd_nb.evaluation import subgroups as sg
from rdd_nb.evaluation.intervals import rank_correlation_by_chance, rank_envelope, variance_components
from rdd_nb.experiments.study import factorial
from tests.evaluation.helpers import CHECK, counts

levels = st.sampled_from([0.5, 0.9, 0.95, 0.999])


pytestmark = pytest.mark.usefixtures("no_warnings")


@given(counts, levels)
@CHECK
def test_intervals_equal_scipy_and_statsmodels(pairs, level):
    right, n = np.array(pairs).T
    for ours, scipy_name, statsmodels_name in (
        (sg.wilson(right, n, level), "wilson", "wilson"),
        (sg.clopper_pearson(right, n, level), "exact", "beta"),
    ):
        for low, high, r, m in zip(*ours, right, n):
            if m == 0:
                assert np.isnan(low) and np.isnan(high)
                continue
            theirs = stats.binomtest(int(r), int(m)).proportion_ci(level, scipy_name)
            assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
            other = proportion_confint(int(r), int(m), 1 - level, statsmodels_name)
            assert (low, high) == pytest.approx(other, abs=1e-9)
            assert 0 <= low <= r / m <= high <= 1


@pytest.mark.parametrize(
    ("correct", "n", "level"),
    [([5], [4], 0.95), ([-1], [4], 0.95), ([np.nan], [4], 0.95), ([1], [4], 95), ([1], [4], 0)],
)
def test_counts_and_levels_that_do_not_fit(correct, n, level):
    for function in (sg.wilson, sg.clopper_pearson, sg.minimum_band):
        with pytest.raises(RddError):
            function(correct, n, level)


def test_mean_interval_is_the_t_interval():
    x = np.array([0.71, 0.69, 0.74, 0.66])
    ours = sg.mean_interval(x, 0.9)
    theirs = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert (ours.value, ours.low, ours.high) == pytest.approx((x.mean(), theirs.low, theirs.high))
    single = sg.mean_interval([0.5])
    assert single.value == 0.5 and np.isnan(single.low) and np.isnan(single.high)
    for bad in ([], [0.5, np.nan]):
        with pytest.raises(RddError):
            sg.mean_interval(bad)


def outside(share, groups, band):
    accuracy = np.sort([share[groups == g].mean() for g in np.unique(groups)])
    return int(((accuracy < band.low - 1e-9) | (accuracy > band.high + 1e-9)).sum())


def test_all_ranks_of_groups_that_are_alike_lie_in_the_envelope_as_often_as_it_says():
    draw, left, small = np.random.default_rng(0), 0, 0
    for k in range(300):
        share, groups = (draw.random(240) < 0.6).astype(float), draw.integers(0, 8, 240)
        band = rank_envelope(share, groups, draws=99, seed=k)
        left += outside(share, groups, band) > 0
        small += band.p_value <= 0.05
        assert (outside(share, groups, band) > 0) == (band.p_value <= 0.05), "the picture and the p-value are one test"
    assert left == small <= stats.binom.isf(1e-3, 300, 0.05)


def test_the_envelope_rejects_and_is_no_count_of_groups():
    draw, groups = np.random.default_rng(1), np.repeat(np.arange(56), 36)
    share = (draw.random(len(groups)) < np.where(groups < 10, 0.0, 0.6)).astype(float)
    band = rank_envelope(share, groups, seed=3)
    assert band.p_value == pytest.approx(1 / 501) and outside(share, groups, band) != 10
    _, high = sg.clopper_pearson(np.bincount(groups, share), 36, 1 - 0.05 / 56)
    assert (high < share.mean()).sum() == 10, "the simultaneous intervals find the ten"
    permuted = [np.sort(np.bincount(groups, draw.permutation(share)) / 36) for _ in range(300)]
    ends = np.quantile(permuted, (0.025, 0.975), axis=0)
    assert (band.low <= ends[0] + 0.02).all() and (band.high >= ends[1] - 0.02).all(), "wider than for each rank alone"


def test_the_envelope_of_one_group_or_of_equal_samples_is_a_point():
    for share, groups in (([0.5, 1.0, 0.0], [4, 4, 4]), ([1.0] * 6, [0, 0, 1, 1, 7, 7])):
        band = rank_envelope(share, groups, draws=20)
        assert band.p_value == 1 and np.allclose(band.low, np.mean(share)) and np.allclose(band.high, np.mean(share))
    assert len(band.low) == 3
    for share, groups, draws in (
        ([np.nan, 1], [0, 1], 5),
        ([[1, 0]], [0, 1], 5),
        ([1, 0], [0], 5),
        ([1, 0], [0, 1], 0),
    ):
        with pytest.raises(RddError):
            rank_envelope(share, groups, draws=draws)


TRUE = {"setting": 15.0, "seed": 0.7, "start": 2.0, "pairing": 1.7, "net": 2.0}


def crossed(draw):
    """24 settings, 8 seeds, 2 networks, with the standard deviations of ``TRUE``."""
    shapes = {"setting": (24, 1, 1), "seed": (1, 8, 1), "start": (1, 8, 2), "pairing": (24, 8, 1), "net": (24, 8, 2)}
    return sum(TRUE[name] * draw.standard_normal(shape) for name, shape in shapes.items())


def test_variance_components_are_unbiased_where_cutting_at_0_is_not():
    draw, found, cut, held = np.random.default_rng(0), [], [], dict.fromkeys(TRUE, 0)
    for k in range(300):
        x = crossed(draw)
        ours, theirs = variance_components(x, draws=400, seed=k), factorial.components(x)
        for name, interval in ours.items():
            assert max(interval.value, 0) == pytest.approx(getattr(theirs, name)), "the package's, but for the cut"
            held[name] += interval.low <= TRUE[name] ** 2 <= interval.high
        found.append(ours["seed"].value)
        cut.append(theirs.seed)
    assert np.mean(found) == pytest.approx(0.49, abs=0.35) and min(found) < 0
    assert np.mean(cut) > 0.75, "an estimate that is cut at 0 is too high on average"
    assert min(held.values()) >= stats.binom.ppf(1e-3, 300, 0.95) - 3, held


def test_variance_components_need_two_of_each():
    for shape in ((3, 4), (1, 4, 2), (3, 4, 1)):
        with pytest.raises(RddError, match="at least two"):
            variance_components(np.zeros(shape))


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_rank_correlations_by_chance_are_those_of_all_orders(level):
    every = [abs(stats.spearmanr(order, range(7)).statistic) for order in itertools.permutations(range(7))]
    found = rank_correlation_by_chance(7, level, draws=20_000, seed=3)
    assert np.mean(np.array(every) < found - 1e-9) <= level + 0.01
    assert np.mean(np.array(every) <= found + 1e-9) >= level - 0.01


def test_many_pairs_hardly_correlate_by_chance():
    assert rank_correlation_by_chance(200) == pytest.approx(1.96 / 199**0.5, rel=0.06)  # normal, in the limit
    assert rank_correlation_by_chance(1) == rank_correlation_by_chance(2) == 1
    assert rank_correlation_by_chance(9, seed=1) == rank_correlation_by_chance(9, seed=1)
    for wrong in ({"count": 0}, {"count": 5, "draws": 0}, {"count": 5, "level": 1.0}):
        with pytest.raises(RddError):
            rank_correlation_by_chance(**wrong)
