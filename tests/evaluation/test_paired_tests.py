"""Paired differences and tests, against statsmodels and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from rdd_nb.core.errors import RddError
from rdd_nb.evaluation import subgroups as sg
from tests.evaluation.helpers import CHECK

pytestmark = pytest.mark.usefixtures("no_warnings")


@pytest.mark.parametrize(("nets", "n", "sd"), [(1, 300, 0.0), (3, 30, 0.2), (5, 500, 0.2)])
def test_paired_difference_holds_the_truth(nets, n, sd):
    rng, covered = np.random.default_rng(0), []
    for _ in range(300):
        hard = rng.normal(0, np.sqrt(0.7), n)
        a, b = (
            hard + rng.normal(0, sd, (nets, 1)) + rng.normal(0, np.sqrt(0.3), (nets, n))
            < stats.norm.ppf(p) * np.sqrt(1 + sd**2)
            for p in (0.9, 0.7)
        )
        got = sg.paired_difference(a, b)
        assert (got.p_value < 0.05) == (not got.low <= 0 <= got.high)
        covered.append(got.low <= 0.2 <= got.high)
    assert np.mean(covered) >= 0.92


def test_paired_difference_pairs():
    rng = np.random.default_rng(0)
    b = rng.binomial(1, 0.6, 400)
    a = b.copy()
    a[np.flatnonzero(b == 0)[:20]] = 1
    paired, shuffled = sg.paired_difference(a, b), sg.paired_difference(a, rng.permutation(b))
    assert paired.value == shuffled.value == pytest.approx(0.05)
    assert paired.p_value < 1e-3 < 0.05 < shuffled.p_value
    swapped = sg.paired_difference(b, a)
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((-paired.value, -paired.high, -paired.low))


def test_paired_difference_at_its_ends():
    same = sg.paired_difference([1, 0, 1], [1, 0, 1])
    assert same.value == 0 and same.p_value == pytest.approx(1) and same.low < 0 < same.high
    few = sg.paired_difference(np.ones(3), np.zeros(3))
    assert few.value == 1 and few.low < 0.5 and few.p_value > 0.05  # three of three prove little
    many = sg.paired_difference(np.ones((2, 50_000)), np.zeros((2, 50_000)))
    assert many.low > 0.99 and many.high <= 1 and 0 <= many.p_value < 1e-6
    for a, b in (([1, 0], [1]), ([0.5], [1]), ([], [])):
        with pytest.raises(RddError):
            sg.paired_difference(a, b)


@given(st.integers(0, 12), st.integers(0, 12))
@CHECK
def test_mcnemar_equals_statsmodels(only_a, only_b):
    a, b = np.repeat([1, 0, 1], [only_a, only_b, 5]), np.repeat([0, 1, 1], [only_a, only_b, 5])
    theirs = statsmodels_mcnemar([[5, only_a], [only_b, 0]], exact=True).pvalue
    assert sg.mcnemar(a, b) == pytest.approx(min(float(theirs), 1))


def test_mcnemar_compares_single_nets():
    with pytest.raises(RddError, match="one net"):
        sg.mcnemar(np.ones((2, 3)), np.ones((2, 3)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
@settings(max_examples=15, deadline=None)
def test_holm_equals_statsmodels(p):
    np.testing.assert_allclose(sg.holm(p), multipletests(p, method="holm")[1])


def test_holm_leaves_out_nan():
    np.testing.assert_allclose(sg.holm([0.04, np.nan, 0.01]), [0.04, np.nan, 0.02])


def test_compare_groups_finds_the_group_that_changed():
    rng = np.random.default_rng(0)
    groups = np.array(["a", "b", "c"])[np.arange(900) % 3]
    b = rng.binomial(1, 0.6, (3, 900))
    a = np.where((groups == "b") & (rng.random(900) < 0.7), 1, b)
    got = sg.compare_groups(a, b, groups).set_index("group")
    assert got["n"].tolist() == [300] * 3 and got["difference"]["a"] == 0
    assert got["difference"]["b"] == pytest.approx((a - b)[:, groups == "b"].mean())
    assert got["p_holm"]["b"] < 0.05 <= got["p_holm"]["a"]
    np.testing.assert_allclose(got["p_holm"], sg.holm(got["p_value"]))
