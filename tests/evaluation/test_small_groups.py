"""Groups that are empty, single, all right or all wrong, and test sets of a few images, against plain counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from rdd_nb.evaluation import diagnostics, subgroups
from rdd_nb.evaluation.corruptions import cluster_groups, robustness
from rdd_nb.evaluation.predictions import predict
from rdd_nb.evaluation.scores import Scores
from tests.evaluation.helpers import as_synthetic, quadrants, untrained

pytestmark = pytest.mark.usefixtures("no_warnings")

NAMES = ("first", "absent", "last")
FLAGS = {"no flags": None, "all majority": False, "all minority": True, "one": "one"}
RIGHT = {"right": 1.0, "wrong": 0.0, "half": 0.5}


def scores_of(groups, right, nets, flags):
    """Scores of ``nets`` on an image for each of ``groups`` (0, 1 or 2), the share ``right`` of them from the left."""
    n = len(groups)
    labels = np.arange(n) % 2
    hit = np.arange(n) < math.ceil(right * n)
    minority = None if flags is None else np.arange(n) == 0 if flags == "one" else np.full(n, flags)
    return Scores(
        predictions=np.tile(np.where(hit, labels, 1 - labels), (nets, 1)).astype(np.int16),
        losses=np.tile(np.where(hit, 0.1, 2.0), (nets, 1)).astype(np.float32),
        confidence=np.full((nets, n), 0.9, np.float32),
        labels=labels.astype(np.int64),
        class_names=("cat", "dog", "no test image"),
        groups=np.asarray(groups, np.int64),
        group_names=NAMES,
        minority=minority,
    )


def counted(scores, by):
    """name → (n, share that is right), by a loop over images."""
    ids, names = scores.partition(by)
    found = {}
    for k, name in enumerate(names):
        mine = [i for i in range(len(ids)) if ids[i] == k]
        hits = [bool(net[i]) for net in scores.correct for i in mine]
        found[name] = (len(mine), sum(hits) / len(hits) if hits else math.nan)
    return found


@pytest.mark.parametrize("groups", [[0], [2, 2], [0, 2], [0, 0, 0, 2, 2], [0] * 9 + [2]], ids=str)
@pytest.mark.parametrize("right", RIGHT.values(), ids=list(RIGHT))
@pytest.mark.parametrize("nets", [1, 3])
@pytest.mark.parametrize("flags", FLAGS.values(), ids=list(FLAGS))
def test_no_statistic_counts_an_empty_group(groups, right, nets, flags):
    scores = scores_of(groups, right, nets, flags)
    # what is not by minority never reads the flags
    for by in ("group", "class", "class-group", "all") if flags is None else ("minority",):
        table, truth = subgroups.group_table(scores, by), counted(scores, by)
        assert list(table["group"]) == list(truth) and list(table["n"]) == [n for n, _ in truth.values()]
        np.testing.assert_allclose(table["accuracy"], [share for _, share in truth.values()])
        full = {name: (n, share) for name, (n, share) in truth.items() if n}
        told = table.set_index("group")
        numbers = ["low", "high", "low_simultaneous", "high_simultaneous", "shrunk"]
        assert told.loc[[n for n in truth if n not in full], numbers].isna().all(axis=None)
        assert told.loc[list(full), numbers].notna().all(axis=None)
        ends = {n: stats.binomtest(round(s * k), k).proportion_ci(1 - 0.05 / len(full)) for n, (k, s) in full.items()}
        worst = subgroups.worst_group(scores, by)
        assert worst.value == pytest.approx(min(share for _, share in full.values())) and worst.group in full
        assert full[worst.group][1] == pytest.approx(worst.value)
        assert worst.low == pytest.approx(min(told["low_simultaneous"].dropna()))
        assert worst.low <= min(e.low for e in ends.values()) + 1e-9, "at least as wide as the exact band"
        shares = [share for _, share in full.values()]
        accuracy, n = table["accuracy"].to_numpy(), table["n"].to_numpy()
        assert subgroups.gap(accuracy * n, n) == pytest.approx(max(shares) - min(shares))
        assert subgroups.gap(np.nan_to_num(accuracy) * n, n) == pytest.approx(max(shares) - min(shares))
        band = subgroups.minimum_band(accuracy * n, n)
        assert band.value == pytest.approx(min(shares)) and list(truth)[band.group] in full
        np.testing.assert_allclose(band.low, min(e.low for e in ends.values()), atol=1e-9)
        np.testing.assert_array_equal(subgroups.shrink(accuracy * n, n), table["shrunk"])
        overall = sum(s * k for k, s in full.values()) / sum(k for k, _ in full.values())
        assert subgroups.null_band(n, overall) == subgroups.null_band([k for k, _ in full.values()], overall)
        error = subgroups.group_cvar_error(1 - accuracy, n, tail=1.0)
        assert error == pytest.approx(1 - overall)


def test_without_any_sample_there_is_nothing_to_say():
    nothing = [np.nan, np.nan], [0, 0]
    assert np.isnan(subgroups.gap(*nothing)) and subgroups.minimum_band(*nothing).group is None
    assert np.isnan(subgroups.shrink(*nothing)).all() and np.isnan(subgroups.wilson(*nothing)).all()
    some, none = torch.zeros(3, 2), torch.zeros(0, 2)
    covered = subgroups.coverage(none, torch.zeros(0).long(), some, torch.zeros(3).long(), [0.5, 1.0])
    assert np.isnan(covered).all()


@pytest.mark.parametrize("nets", [1, 2])
@pytest.mark.parametrize("groups", [[0], [2, 2], [0, 2, 2]], ids=str)
def test_groups_are_compared_where_there_are_some(groups, nets):
    better, worse = (scores_of(groups, share, nets, None).correct for share in (1.0, 0.0))
    table = subgroups.compare_groups(better, worse, [NAMES[g] for g in groups])
    assert dict(zip(table["group"], table["n"])) == {NAMES[g]: groups.count(g) for g in set(groups)}
    assert (table["difference"] == 1).all() and table[["low", "high", "p_value", "p_holm"]].notna().all(axis=None)
    same = subgroups.compare_groups(better, better, groups)
    assert (same["difference"] == 0).all() and (same["p_holm"] == 1).all()


def test_recall_differs_only_between_groups_that_have_the_class():
    labels, groups = np.array([0, 0, 1, 2]), np.array([0, 2, 2, 2])
    found = subgroups.recall_range(labels, [[0, 1, 1, 0]], groups)
    np.testing.assert_array_equal(found.per_class, [1.0, np.nan, np.nan])
    assert (found.maximum, found.mean) == (1.0, 1.0)
    alone = subgroups.recall_range(labels, labels, np.full(4, 2))
    assert np.isnan(alone.per_class).all() and np.isnan([alone.maximum, alone.mean]).all()


@pytest.mark.parametrize("count", [1, 2, 3, 9, 11])
def test_robustness_of_a_few_images(count):
    """With at most as many images as clusters each image is a cluster, so the worst is 1 where all images are right."""
    test, nets = quadrants(count), untrained(2)
    table = robustness(nets, test).pivot(index="net", columns="metric", values="value")
    assert list(table["Acc"]) == predict(nets, test).accuracy.tolist()
    if count <= 10:
        assert list(table["Cluster-min"]) == [float(a == 1) for a in table["Acc"]]
    assert ((table["Cluster-min"] >= 0) & (table["Cluster-min"] <= table["Acc"])).all()


def test_clusters_of_images_that_are_all_alike():
    test = quadrants(6)
    alike = test.subset(torch.zeros(6, dtype=torch.int64))
    assert cluster_groups(alike, 4).tolist() == [0] * 6
    table = robustness(untrained(1), alike, k=4).set_index("metric")["value"]
    assert table["Cluster-min"] == table["Acc"]


@pytest.mark.parametrize(("flags", "whole"), itertools.product(FLAGS.values(), (True, False)))
def test_a_trace_of_whoever_is_there(flags, whole):
    data = quadrants(9) if whole else quadrants(3)
    n = len(data)
    marked = None if flags is None else torch.arange(n) == 0 if flags == "one" else torch.full((n,), bool(flags))
    data = type(data)(**{**vars(data), "minority": marked})
    test = scores_of([0] * n, 1.0, 1, flags)
    table = diagnostics.trace(test, data, as_synthetic(quadrants(3, seed=1)), torch.ones(n))
    assert table["value"].isna().sum() == 0
    sides = {"all"} | (set() if marked is None else {data.minority_names[int(m)] for m in marked.tolist()})
    assert set(table.loc[table["quantity"] == "coverage", "side"]) == sides
    assert set(table.loc[table["quantity"] == "cvar", "side"]) == sides
    mass = table.loc[table["quantity"] == "mass", "value"].tolist()
    if flags == "one":
        assert mass == pytest.approx([1 / (data.labels == 0).sum().item()])
    else:
        assert mass == ([1.0] if flags else [])
