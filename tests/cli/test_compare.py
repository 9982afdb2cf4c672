"""``rdd-nb compare``: the numbers are those of the paired tests, and what cannot be compared is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rdd_nb as rdd
from rdd_nb.cli import main
from rdd_nb.evaluation.paired_tests import compare_groups, paired_difference
from tests.reporting.test_export import run_at


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def judged(name, seed, right=0.7, nets=3, groups=True, count=200, classes=("cat", "dog")):
    """A finished run whose networks were right as often as is said."""
    run = run_at(name, evaluated=False)
    draw = np.random.default_rng(seed)
    labels, ids = np.arange(count) % 2, (np.arange(count) // 2) % 3
    told = np.where(draw.random((nets, count)) < right, labels, 1 - labels).astype(np.int16)
    ones = np.ones((nets, count), np.float32)
    named = (ids.astype(np.int64), ("day", "dusk", "night")) if groups else (None, ())
    scores = rdd.Scores(told, ones, ones, labels, classes, *named)
    scores.save(run.path / "scores.npz")
    run.write_metrics({**run.metrics, "evaluation": {"profile": "quick", "nets": nets, "seed": 0, "protocol": {}}})
    return scores


def asked(capsys, *words):
    status = main(["compare", *words])
    out, err = capsys.readouterr()
    assert status == 0, err
    return out


def test_accuracies_and_differences_to_the_first(capsys):
    first, second = judged("a", 0), judged("b", 1, right=0.9)
    told = json.loads(asked(capsys, "a", "b", "--json"))
    table = pd.DataFrame(told["table"]).set_index(["run", "group"])
    assert told["by"] == "group" and table.loc["a", "difference"].isna().all()
    assert table.loc[("b", "all"), "accuracy"] == pytest.approx(second.accuracy.mean())
    whole = paired_difference(second.correct, first.correct)
    names = ["difference", "difference_low", "difference_high", "p_value"]
    assert table.loc[("b", "all"), names].tolist() == pytest.approx(list(whole), rel=1e-4, abs=1e-9)
    by_group = compare_groups(second.correct, first.correct, first.groups)
    for row, group in zip(by_group.itertuples(), first.group_names):
        wanted = [row.difference, row.low, row.high, row.p_holm]
        assert table.loc[("b", group), names].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    said = asked(capsys, "a", "b")
    assert "2 runs on 200 test images" in said and f"{100 * whole.value:+.1f}" in said and "night" in said
    asked(capsys, "a", "b", "--by", "class", "--csv", "t.csv")
    assert set(pd.read_csv("t.csv")["group"]) == {"all", "cat", "dog"}


def test_many_runs_and_no_groups(capsys):
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        judged(name, seed, groups=False)
    said = asked(capsys, "a", "b", "c")
    assert said.count("all ") == 3 and "dog" in said and "differences are in points, to a" in said


def test_what_cannot_be_compared_is_one_line(capsys):
    judged("a", 0)
    judged("b", 1, groups=False)
    judged("c", 2, count=198)
    run_at("d", evaluated=False)
    Path("e").mkdir()
    for words, says in (
        (["a"], "name two at least"),
        (["a", "a"], "a is named twice"),
        (["a", "b"], "name other groups"),
        (["a", "c"], "judged on different test images"),
        (["a", "d"], "d has not been judged yet: rdd-nb evaluate d"),
        (["a", "e"], "e"),
        (["a", "nowhere"], "nowhere"),
        (["b", "a", "--by", "group"], "unknown grouping 'group'"),
        (["a", "a2", "--csv", "no/such/t.csv"], "cannot write --csv"),
    ):
        assert main(["compare", *words]) == 2, words
        out, err = capsys.readouterr()
        assert says in err and err.count("\n") == 1 and not out, (words, err)
