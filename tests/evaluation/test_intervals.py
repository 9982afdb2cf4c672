"""Intervals of shares and means, against scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from rdd_nb.core.errors import RddError
from rdd_nb.evaluation import subgroups as sg
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
