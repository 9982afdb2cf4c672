"""Scores: tables by group, and their file."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from rdd_nb.core.errors import RddError
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation.predictions import predict
from rdd_nb.evaluation.scores import Scores, scores_of
from tests.evaluation.helpers import quadrants, untrained

NAMES = {
    "all": ["all"],
    "class": ["a", "b", "c"],
    "group": ["even", "odd"],
    "minority": ["often", "seldom"],
    "class-group": ["a / even", "a / odd", "b / even", "b / odd", "c / even", "c / odd"],
}


@pytest.mark.parametrize("by", NAMES)
def test_tables_count_each_group_of_each_net(scores, by):
    table = scores.table(by)
    assert list(table.columns) == ["net", "group", "n", "correct"]
    assert list(table["group"]) == NAMES[by] * 2 and list(table["net"]) == sorted([0, 1] * len(NAMES[by]))
    sums = table.groupby("net")[["n", "correct"]].sum()
    assert (sums["n"] == 61).all() and (sums["correct"] == scores.correct.sum(1)).all()
    belongs = {
        "all": lambda j: "all",
        "class": lambda j: "abc"[scores.labels[j]],
        "group": lambda j: scores.group_names[scores.groups[j]],
        "minority": lambda j: "seldom" if scores.minority[j] else "often",
        "class-group": lambda j: f"{'abc'[scores.labels[j]]} / {scores.group_names[scores.groups[j]]}",
    }[by]
    for row in table.itertuples():
        mine = [j for j in range(61) if belongs(j) == row.group]
        assert row.n == len(mine) and row.correct == sum(scores.correct[row.net, j] for j in mine)


def test_a_table_of_your_own_groups_keeps_the_empty_ones(scores):
    ids = np.where(np.arange(61) < 20, 0, 2)
    table = scores.table_of(ids, ("first", "none", "rest"))
    assert list(table["n"]) == [20, 0, 41] * 2 and list(table["correct"])[1::3] == [0, 0]
    assert list(table["correct"])[::3] == [int(c[:20].sum()) for c in scores.correct]


def test_ids_that_fit_no_name_are_refused(scores):
    for ids in (np.full(61, 2), np.full(61, -1), np.zeros(60, dtype=int), np.zeros(61)):
        with pytest.raises(RddError, match="group ids"):
            scores.table_of(ids, ("a", "b"))


def test_class_accuracy_is_that_of_the_class_table(scores):
    table = scores.table("class")
    np.testing.assert_allclose(scores.class_accuracy.flatten(), table["correct"] / table["n"])
    lonely = predict(untrained(1), quadrants(9).subset(torch.tensor([0, 2, 3])))
    assert np.isnan(lonely.class_accuracy).tolist() == [[False, True, False]]


def test_scores_that_do_not_fit_together_are_refused(scores):
    with pytest.raises(RddError, match=r"each be \[nets, N\]"):
        dataclasses.replace(scores, losses=scores.losses[:, 1:])
    with pytest.raises(RddError, match=r"groups must be \[61\]"):
        dataclasses.replace(scores, groups=scores.groups[1:])


def test_tables_without_groups_or_of_an_unknown_kind_are_refused(scores):
    bare = predict(untrained(1), quadrants(9))
    for by in ("group", "minority", "class-group"):
        with pytest.raises(RddError, match="names no groups"):
            bare.table(by)
    assert bare.groups is None and bare.minority is None and len(bare.table("class")) == 3
    with pytest.raises(RddError, match="did you mean 'minority'"):
        scores.table("minorty")


def test_scores_come_back_from_disk(scores, tmp_path):
    for kept in (scores, predict(untrained(1), quadrants(9))):
        path = kept.save(tmp_path / "scores.npz")
        back = Scores.load(path)
        for name, value in vars(kept).items():
            found = getattr(back, name)
            if isinstance(value, np.ndarray):
                assert found.dtype == value.dtype and np.array_equal(found, value), name
            else:
                assert found == value, name
        by = "class" if kept.groups is None else "class-group"
        pd.testing.assert_frame_equal(back.table(by), kept.table(by))


def test_scores_of_a_run_are_those_that_its_metrics_tell_of(scores, tmp_path):
    run = RunFolder(tmp_path).create({"seed": 0})
    path = run.path / "scores.npz"
    scores.save(path)  # by hand, and nobody says anything else
    assert np.array_equal(scores_of(run).predictions, scores.predictions)
    run.write_metrics({"loss": 1.0, "evaluation": {"id": "first", "nets": 2}})
    with pytest.raises(RddError, match="of two evaluations"):
        scores_of(run)
    dataclasses.replace(scores, evaluation="first").save(path)
    assert scores_of(run).evaluation == "first"
    dataclasses.replace(scores, evaluation="second").save(path)  # killed before it could write metrics.json
    with pytest.raises(RddError, match="run `rdd-nb evaluate` on it again"):
        scores_of(run)
