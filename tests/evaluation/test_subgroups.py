"""Subgroup statistics against fairlearn and by simulation: do the intervals hold the truth?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, equalized_odds_difference
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score

from rdd_nb.core.errors import RddError
from rdd_nb.evaluation import subgroups as sg
from tests.evaluation.helpers import CHECK, counts

pytestmark = pytest.mark.usefixtures("no_warnings")


def tidy(correct: np.ndarray, n, names=None) -> pd.DataFrame:
    """[nets, k] counts as the table of scores."""
    nets, k = correct.shape
    rows = [(r, names[g] if names else g, int(n[g]), int(correct[r, g])) for r in range(nets) for g in range(k)]
    return pd.DataFrame(rows, columns=["net", "group", "n", "correct"])


def simulate(rng, nets: int, n: int, groups: int, p: float, net_sd: float = 0.0, shared: float = 0.6) -> np.ndarray:
    """Counts [nets, groups] of a probit model: samples are hard for all nets alike, and nets differ by group."""
    hard = rng.normal(0, np.sqrt(shared), (1, groups, n))
    training = rng.normal(0, net_sd, (nets, groups, 1))
    own = rng.normal(0, np.sqrt(1 - shared), (nets, groups, n))
    return ((hard + training + own) / np.sqrt(1 + net_sd**2) < stats.norm.ppf(p)).sum(axis=2)


class Scores:
    def __init__(self, tables):
        self.tables = tables

    def table(self, by):
        return self.tables[by]


def test_group_table_of_one_net_is_wilson_and_exact():
    table = tidy(np.array([[35, 0, 9]]), [50, 0, 10], ["red", "none", "blue"])
    got = sg.group_table(Scores({"colour": table}), by="colour", level=0.9)
    assert list(got["group"]) == ["red", "none", "blue"] and list(got["n"]) == [50, 0, 10] and set(got["nets"]) == {1}
    assert got["accuracy"].tolist() == pytest.approx([0.7, np.nan, 0.9], nan_ok=True)
    low, high = sg.wilson([35, 0, 9], [50, 0, 10], 0.9)
    np.testing.assert_allclose(got[["low", "high"]], np.stack([low, high], 1))
    # two groups with samples share the error, the empty one does not count
    low, high = sg.clopper_pearson([35, 0, 9], [50, 0, 10], 1 - 0.1 / 2)
    np.testing.assert_allclose(got[["low_simultaneous", "high_simultaneous"]], np.stack([low, high], 1))
    assert got.loc[1, ["net_sd", "low", "high", "low_simultaneous", "shrunk"]].isna().all()


def test_group_table_averages_nets_and_widens_with_their_spread():
    steady = sg.group_table(tidy(np.array([[70], [70], [70]]), [100])).iloc[0]
    shaky = sg.group_table(tidy(np.array([[60], [70], [80]]), [100])).iloc[0]
    assert steady["accuracy"] == pytest.approx(0.7) == shaky["accuracy"]
    assert (shaky["net_sd"], steady["net_sd"]) == pytest.approx((0.1, 0))
    low, high = sg.wilson(70, 100)  # three nets on the same samples are no 300 samples
    assert (steady["low"], steady["high"]) == pytest.approx((float(low), float(high)))
    assert shaky["high"] - shaky["low"] > 1.5 * (steady["high"] - steady["low"])


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31))
@CHECK
def test_group_table_is_ordered_whatever_the_counts(nets, k, seed):
    rng = np.random.default_rng(seed)
    n = rng.choice([0, 1, 2, 7, 400], k)
    got = sg.group_table(tidy(rng.binomial(n, rng.choice([0, 0.03, 0.6, 1], k), (nets, k)), n))
    full = got[got["n"] > 0]
    columns = ["low_simultaneous", "low", "accuracy", "high", "high_simultaneous"]
    assert full[columns].notna().all(axis=None)
    assert (full["low"] <= full["accuracy"] + 1e-12).all() and (full["accuracy"] <= full["high"] + 1e-12).all()
    assert ((full[columns] >= 0) & (full[columns] <= 1)).all(axis=None)
    assert (full["low_simultaneous"] <= full["low"]).all() and (full["high_simultaneous"] >= full["high"]).all()
    assert got.loc[got["n"] == 0, "accuracy"].isna().all()


def test_group_table_says_what_is_wrong():
    table = tidy(np.array([[3], [4]]), [5])
    with pytest.raises(RddError, match="lacks n"):
        sg.group_table(table.drop(columns="n"))
    with pytest.raises(RddError, match="lacks rows"):
        sg.group_table(table[:0])
    with pytest.raises(RddError, match="different samples"):
        sg.group_table(table.assign(n=[5, 6]))
    with pytest.raises(RddError, match="different samples"):
        sg.group_table(pd.concat([table, table[:1].assign(group="other")]))
    with pytest.raises(RddError, match="a net and group twice"):
        sg.group_table(pd.concat([table, table[:1]]))


@pytest.mark.parametrize(("nets", "net_sd"), [(1, 0.0), (2, 0.3), (3, 0.3), (5, 0.0), (5, 0.3)])
@pytest.mark.parametrize(("n", "p"), [(50, 0.7), (400, 0.9)])
def test_pointwise_intervals_hold_the_truth(nets, net_sd, n, p):
    got = sg.group_table(tidy(simulate(np.random.default_rng(0), nets, n, 800, p, net_sd), [n] * 800))
    covered = ((got["low"] <= p) & (p <= got["high"])).mean()
    assert covered >= 0.93  # nominal 0.95; 800 groups have a standard error of 0.008, and Wilson is right on average


def test_sampling_alone_would_not_hold_the_truth():
    """The reason for the second source: nets that differ by 5 points make Wilson at n samples too short."""
    right = simulate(np.random.default_rng(0), 2, 400, 800, 0.9, 0.3)
    low, high = sg.wilson(right.mean(axis=0), 400)
    assert ((low <= 0.9) & (high >= 0.9)).mean() < 0.6


def test_simultaneous_intervals_and_worst_group_hold_the_truth():
    rng, inside, band = np.random.default_rng(1), [], []
    for _ in range(150):
        table = tidy(simulate(rng, 5, 100, 10, 0.85, 0.2), [100] * 10)
        got, worst = sg.group_table(table), sg.worst_group(table)
        inside.append(((got["low_simultaneous"] <= 0.85) & (got["high_simultaneous"] >= 0.85)).all())
        band.append(worst.low <= 0.85 <= worst.high)
    assert np.mean(inside) >= 0.93 and np.mean(band) >= 0.95


def test_worst_group_names_the_group_and_ignores_empty_ones():
    worst = sg.worst_group(tidy(np.array([[45, 0, 30], [43, 0, 32]]), [50, 0, 50], ["a", "empty", "c"]))
    assert (worst.value, worst.group) == (pytest.approx(0.62), "c") and worst.low < 0.62 < worst.high
    nothing = sg.worst_group(tidy(np.array([[0]]), [0]))
    assert nothing.group is None and np.isnan(nothing.value)


def test_accuracy_by_group_equals_fairlearn():
    rng = np.random.default_rng(3)
    y, pred, groups = (
        rng.integers(0, 4, 500),
        rng.integers(0, 4, 500),
        rng.choice(list("abc"), 500, p=[0.7, 0.25, 0.05]),
    )
    frame = MetricFrame(metrics=accuracy_score, y_true=y, y_pred=pred, sensitive_features=groups)
    names = sorted(set(groups))
    n = np.array([(groups == g).sum() for g in names])
    right = np.array([((y == pred) & (groups == g)).sum() for g in names])
    got = sg.group_table(tidy(right[None], n, names)).set_index("group")["accuracy"]
    assert got.to_dict() == pytest.approx(frame.by_group.to_dict())
    assert sg.gap(right, n) == pytest.approx(frame.difference())
    assert sg.minimum_band(right, n).value == pytest.approx(frame.group_min())


def test_only_the_band_holds_the_true_minimum():
    rng, k, n, p, reps = np.random.default_rng(0), 20, 50, 0.7, 1000
    right = rng.binomial(n, p, (reps, k))
    bands = [sg.minimum_band(row, np.full(k, n)) for row in right]
    assert np.mean([b.low <= p <= b.high for b in bands]) >= 0.95
    low, high = sg.wilson(right.min(axis=1), n)
    assert 0.55 < np.mean((low <= p) & (p <= high)) < 0.68
    resampled = rng.binomial(n, right[:300, None, :] / n, (300, 300, k)).min(axis=2) / n
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    assert np.mean((low <= p) & (p <= high)) < 0.02


def test_the_band_holds_where_simultaneous_score_intervals_fail():
    rng, k, n, p = np.random.default_rng(0), 20, 20, 0.97
    right = rng.binomial(n, p, (600, k))
    bands = [sg.minimum_band(row, np.full(k, n)) for row in right]
    assert np.mean([b.low <= p <= b.high for b in bands]) >= 0.95
    _, high = sg.wilson(right, n, 1 - 0.05 / k)
    assert np.mean(high.min(axis=1) >= p) < 0.8


def test_the_band_holds_unequal_groups():
    rng, n = np.random.default_rng(2), np.array([10, 30, 100, 1000, 0])
    p = np.array([0.9, 0.6, 0.65, 0.8, 0.1])
    bands = [sg.minimum_band(rng.binomial(n, p), n) for _ in range(500)]
    assert np.mean([b.low <= 0.6 <= b.high for b in bands]) >= 0.95


def test_an_empty_group_is_never_the_minimum():
    band = sg.minimum_band([0, 40], [0, 50])
    low, high = sg.clopper_pearson(40, 50)
    assert band == (0.8, 1, float(low), float(high))
    assert sg.minimum_band([0], [0]).group is None


@pytest.mark.parametrize(
    ("n", "k", "expected"),
    [(50, 5, 0.624), (50, 20, 0.576), (50, 100, 0.532), (500, 5, 0.676), (500, 20, 0.661), (500, 100, 0.648)],
)
def test_null_band_equals_the_expected_minima(n, k, expected):
    band = sg.null_band([n] * k, 0.7, draws=8000)
    assert band.value == pytest.approx(expected, abs=0.0015)
    exact = stats.binom.isf  # the minimum of k is above x with probability sf(x)^k
    low, high = (float(exact(q ** (1 / k), n, 0.7)) / n for q in (0.975, 0.025))
    assert abs(band.low - low) <= 1 / n + 1e-9 and abs(band.high - high) <= 1 / n + 1e-9


def test_null_band_repeats_and_needs_groups():
    assert sg.null_band([50, 20, 0], 0.6, seed=3) == sg.null_band([50, 20], 0.6, seed=3)
    assert sg.null_band([50, 20], 0.6, seed=3) != sg.null_band([50, 20], 0.6, seed=4)
    for n, p in (([], 0.5), ([0], 0.5), ([5], 1.5)):
        with pytest.raises(RddError):
            sg.null_band(n, p)


def test_minimum_by_groups_falls_with_k_as_its_null_does():
    rng = np.random.default_rng(0)
    correct = rng.binomial(1, 0.7, 5000)
    groupings = {k: rng.permutation(5000) % k for k in (5, 20, 100)}
    got = sg.minimum_by_groups(correct, groupings, draws=300)
    assert got["k"].tolist() == [5, 20, 100] and got["null"].is_monotonic_decreasing
    assert (got["minimum"] >= got["null_low"] - 1e-9).all() and (got["minimum"] <= got["null_high"] + 1e-9).all()
    for _, row in got.iterrows():
        expected = sg.null_band(np.full(int(row["k"]), 5000 // int(row["k"])), correct.mean()).value
        assert row["null"] == pytest.approx(expected, abs=0.01)


def test_minimum_by_groups_sees_a_weak_group_and_averages_nets():
    rng = np.random.default_rng(0)
    groups = np.arange(3000) % 10
    correct = rng.binomial(1, np.where(groups == 4, 0.5, 0.8), (3, 3000))
    row = sg.minimum_by_groups(correct, {"mine": groups}, draws=200).iloc[0]
    assert row["minimum"] == pytest.approx(correct[:, groups == 4].mean()) and row["minimum"] < row["null_low"] - 0.1
    one = sg.minimum_by_groups(correct[0], {"mine": groups}, draws=200).iloc[0]
    assert one["null"] < row["null"]  # the mean of three nets scatters less
    with pytest.raises(RddError, match="groups have shape"):
        sg.minimum_by_groups(correct, {"mine": groups[:-1]})


@given(counts)
@CHECK
def test_shrink_lies_between_the_group_and_the_mean(pairs):
    right, n = np.array(pairs, float).T
    got, here = sg.shrink(right, n), n > 0
    assert np.isnan(got[~here]).all() and np.isfinite(got[here]).all()
    if here.any():
        raw, mean = right[here] / n[here], right.sum() / n.sum()
        assert (got[here] >= np.minimum(raw, mean) - 1e-9).all() and (got[here] <= np.maximum(raw, mean) + 1e-9).all()


def test_shrink_at_its_ends():
    np.testing.assert_allclose(sg.shrink([35, 35, 0], [50, 50, 0]), [0.7, 0.7, np.nan])  # no variance: the mean
    np.testing.assert_allclose(sg.shrink([36, 34], [50, 50]), [0.7, 0.7])  # less than chance makes
    np.testing.assert_allclose(sg.shrink([0, 1000], [1000, 1000]), [0, 1], atol=2e-3)  # all variance: the groups
    np.testing.assert_allclose(sg.shrink([3, 0], [3, 0]), [1, np.nan])
    np.testing.assert_allclose(sg.shrink([1, 0, 1], [1, 1, 1]), [2 / 3] * 3)  # single samples tell nothing apart
    assert np.isnan(sg.shrink([0], [0])).all()


def test_gap_skips_empty_groups():
    assert sg.gap([0, 9, 5], [0, 10, 10]) == pytest.approx(0.4)
    assert np.isnan(sg.gap([0], [0]))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=6), st.integers(1, 20))
@CHECK
def test_group_cvar_error_is_the_mean_of_the_worst_samples(groups, twentieths):
    errors, n = np.array(groups).T
    samples = np.sort(np.repeat(errors, n.astype(int) * 20))[::-1]  # 20 copies: every tail is a whole number of them
    worst = samples[: len(samples) * twentieths // 20]
    assert sg.group_cvar_error(errors, n, twentieths / 20) == pytest.approx(worst.mean(), abs=1e-9)


def test_group_cvar_error_skips_empty_groups_and_checks_its_input():
    assert sg.group_cvar_error([np.nan, 0.2], [0, 5], tail=1e-6) == pytest.approx(0.2)
    for errors, n, tail in (([0.2], [5], 0), ([0.2], [5], 1.1), ([0.2], [0], 0.5), ([np.nan], [5], 0.5)):
        with pytest.raises(RddError):
            sg.group_cvar_error(errors, n, tail)


def test_recall_range_by_hand():
    y = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    groups = np.array(["a", "a", "b", "b", "a", "b", "b", "a"])
    pred = np.array([0, 0, 0, 1, 0, 1, 0, 2])
    got = sg.recall_range(y, pred, groups)  # class 2 is in one group only
    np.testing.assert_allclose(got.per_class, [0.5, 0.5, np.nan])
    assert (got.maximum, got.mean) == (0.5, 0.5)
    got = sg.recall_range(y, np.stack([pred, y]), groups)
    assert got.maximum == pytest.approx(0.25)  # the mean over two nets first
    assert np.isnan(sg.recall_range(y, pred, groups, least=3).maximum)
    with pytest.raises(RddError):
        sg.recall_range(y, pred[:-1], groups)


def test_recall_range_of_two_classes_is_fairlearns_equalised_odds():
    rng = np.random.default_rng(5)
    y, groups = rng.integers(0, 2, 400), rng.integers(0, 3, 400)
    pred = np.where(rng.random(400) < 0.1 + 0.1 * groups, 1 - y, y)
    theirs = equalized_odds_difference(y, pred, sensitive_features=groups)
    assert sg.recall_range(y, pred, groups).maximum == pytest.approx(theirs)


def test_equal_recall_of_three_classes_is_less_than_equalised_odds():
    y, groups = np.tile(np.repeat([0, 1, 2], 10), 2), np.repeat([0, 1], 30)
    pred = y.copy()
    pred[:5], pred[30:35] = 1, 2  # class 0 is recognised equally often; its errors go elsewhere in the other group
    assert sg.recall_range(y, pred, groups).maximum == 0
    called = [np.bincount(pred[(y == 0) & (groups == g)], minlength=3) for g in (0, 1)]
    assert not np.array_equal(*called), "equalised odds does not hold"
