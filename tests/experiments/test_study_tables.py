"""rdd_nb.experiments.study.tables: a table grows by what other folders made, and never loses a run unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from rdd_nb.cli import main
from rdd_nb.core.errors import RddError
from rdd_nb.evaluation.results import load_table, mechanism_path, runs_path
from rdd_nb.experiments.study.plan import load_plan
from rdd_nb.experiments.study.run import run_study
from rdd_nb.experiments.study.tables import collect, held, join, write_tables

STUDY = {
    "name": "tiny",
    "data": "digits",
    "size": 8,
    "seeds": [0, 1, 2],
    "nets": 1,
    "protocol": {"epochs": 1, "width": 4, "depth": 1},
    "distill": {"ipc": 1, "iterations": 2, "width": 4, "depth": 1, "batch_real": 4},
    "scenarios": {"coloured": {"scenario": "coloured", "bias": 0.8}},
    "methods": {"random": {"coreset": "random"}, "plain": {"config": {"objective": "erm"}}},
}


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(**changes):
    Path("study.yaml").write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    return load_plan("study.yaml")


def run(plan, out, units):
    assert all(o.error is None for o in run_study(plan, out, units=units, workers=0, device="cpu"))
    return collect(out, units)


def test_parts_of_a_study_from_two_folders_make_the_whole_ones_tables():
    plan = read()
    whole = run(plan, "whole", plan.units)
    first, second = plan.pick(seeds=[1]), plan.pick(seeds=[0, 2])
    write_tables("table.csv", *run(plan, "here", first))
    there, names = held("table.csv", plan.units)
    assert names == {u.name for u in first}
    both = join([there, run(plan, "there", second)], plan.units)
    pd.testing.assert_frame_equal(both.table, whole.table)
    same = [c for c in whole.runs if not c.endswith("seconds") and c != "weighing_share"]
    assert both.runs[same].to_csv() == whole.runs[same].to_csv()
    assert set(whole.mechanism["seeds"]) == {3} and whole.mechanism["sd"].max() > 0
    pd.testing.assert_frame_equal(both.mechanism, whole.mechanism, rtol=1e-4)  # a table keeps five digits


def test_the_curves_are_means_and_deviations_over_the_seeds():
    plan = read()
    made = run(plan, "out", plan.units)
    each = [pd.read_csv(Path("out") / u.name / "mechanism.csv").assign(method=u.method) for u in plan.units]
    keys = ["method", "quantity", "side", "x"]
    values = pd.concat(each).groupby(keys, dropna=False)["value"]
    said = made.mechanism.set_index(keys).sort_index()
    assert said["value"].to_numpy() == pytest.approx(values.mean().sort_index().to_numpy())
    assert said["sd"].to_numpy() == pytest.approx(values.std().sort_index().to_numpy(), abs=1e-6)


def test_what_was_made_with_other_settings_is_not_held_nor_are_the_other_seeds_of_its_method():
    plan = read()
    made = run(plan, "out", plan.units)
    write_tables("table.csv", *made)
    runs = pd.read_csv(runs_path("table.csv"))
    runs.loc[(runs["method"] == "plain") & (runs["seed"] == 1), "settings"] = "0" * 12
    runs.to_csv(runs_path("table.csv"), index=False)
    tables, names = held("table.csv", plan.units)
    assert names == {u.name for u in plan.units if u.method == "random"}
    assert set(tables.table["method"]) == set(tables.runs["method"]) == {"random"}
    assert set(tables.mechanism["method"]) <= {"random"} and "plain" in set(made.mechanism["method"])
    other = read(distill={**STUDY["distill"], "iterations": 3})
    assert {u.method for u in other.units if u.name in held("table.csv", other.units)[1]} == {"random"}


def test_no_table_is_no_run_and_an_old_one_is_told():
    plan = read()
    tables, names = held("absent.csv", plan.units)
    assert not names and tables.table.empty and tables.runs.empty and tables.mechanism.empty
    assert join([tables, tables], plan.units).table.empty
    write_tables("table.csv", *run(plan, "out", plan.units[:1]))
    runs = pd.read_csv(runs_path("table.csv")).drop(columns="settings")
    runs.to_csv(runs_path("table.csv"), index=False)
    with pytest.raises(RddError, match="does not say with which settings"):
        held("table.csv", plan.units)


def test_the_command_adds_to_a_table_runs_only_what_it_lacks_and_loses_nothing_unasked(capsys):
    read()
    study = ["study", "study.yaml", "--workers", "0", "--device", "cpu", "--quiet", "--json", "--table", "t.csv"]
    assert main([*study, "--seeds", "0", "--out", "a"]) == 0
    assert json.loads(capsys.readouterr().out)["ran"] == 2
    before = {p: p.read_bytes() for p in (Path("t.csv"), runs_path("t.csv"), mechanism_path("t.csv"))}
    assert main([*study, "--seeds", "1", "--out", "b"]) == 2
    assert "t.csv holds 2 runs that b does not: --add keeps them, or use another --table" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in before} and not Path("b/coloured").exists()
    assert main(["study", "study.yaml", "--table", "t.csv", "--add", "--dry-run", "--quiet", "--out", "b"]) == 0
    assert "0 of 4 units are done in b; t.csv holds 2 more" in capsys.readouterr().out
    assert main([*study, "--out", "b", "--add", "--only", "coloured/random"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ran"] == 2 and said["done"] == 4  # of random, seeds 1 and 2: seed 0 is in the table
    assert load_table("t.csv").groupby("method")["seed"].unique().map(sorted).to_dict() == {
        "plain": [0],
        "random": [0, 1, 2],
    }
    assert main([*study, "--out", "c", "--add"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ran"] == 2 and said["done"] == 6 and not Path("c/coloured/random").exists()
    assert main([*study, "--out", "c", "--add"]) == 0 and json.loads(capsys.readouterr().out)["ran"] == 0
    before = Path("t.csv").read_bytes()
    text = Path("study.yaml").read_text()
    name = load_table("t.csv")["study"].iloc[0]
    Path("study.yaml").write_text(text.replace(f"name: {name}", "name: another"))
    assert main([*study, "--out", "d", "--add"]) == 2
    said = capsys.readouterr().err
    assert f"t.csv holds runs of study {name!r}, not of 'another': use another --table" in said
    assert before == Path("t.csv").read_bytes() and not Path("d").exists()
