"""Studies in folders, and with names, that somebody has thought of: nothing outside is touched, and nobody waits."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from rdd_nb import cli
from rdd_nb.core.errors import RddError
from rdd_nb.data import loading, scenarios
from rdd_nb.evaluation.results import KEYS, load_table, read_csv
from rdd_nb.experiments.study import run as runner
from rdd_nb.experiments.study.entries import slug
from rdd_nb.experiments.study.plan import load_plan
from rdd_nb.experiments.study.run import run_study
from rdd_nb.experiments.study.tables import check_place, collect, held, write_tables
from rdd_nb.experiments.study.units import state
from tests.experiments.test_study import BASE

module = importlib.import_module("rdd_nb.experiments.study.units")
ONE = {"scenarios": {"none": {"scenario": "none"}}, "methods": {"random": {"coreset": "random"}}, "seeds": [0]}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("outside").mkdir()
    Path("outside/keep").write_text("keep")
    module._loaded.cache_clear()
    module._prepared.cache_clear()


def untouched() -> bool:
    return os.listdir("outside") == ["keep"] and Path("outside/keep").read_text() == "keep"


def read(**changes):
    Path("s.yaml").write_text(yaml.safe_dump({**BASE, **ONE, **changes}, sort_keys=False))
    return load_plan("s.yaml")


def errors(plan, out="out") -> list[str | None]:
    module._prepared.cache_clear()
    return [outcome.error for outcome in run_study(plan, out, workers=0, device="cpu")]


def special(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(Path("outside" if kind == "link to a folder" else "outside/keep").resolve())


@pytest.mark.parametrize("name", ["coloured", "r fraction=0.1", "-x", "a/b", "é", "groups", "=1+1", "x" * 120, "a.b"])
def test_folders_that_were_fine_keep_their_names(name):
    assert slug(name) == name.replace(" ", "-").replace("/", "-")


@pytest.mark.parametrize(
    "name", ["..", ".", "", "...", ".git", "../../x", "x" * 121, "é" * 61, "con", "NUL.txt", "a.", "table.csv"]
)
def test_folders_that_lead_elsewhere_or_that_some_disk_does_not_take_get_another_name(name):
    found = slug(name)
    assert found not in ("", ".", "..", name) and "/" not in found and found[0] != "." and len(found.encode()) <= 120
    assert found != slug(f"{name}.") and found == slug(name), "told apart, and the same each time"


def test_scenario_and_method_called_dots_stay_in_the_study(tmp_path):
    plan = read(scenarios={"..": {"scenario": "none"}}, methods={"..": {"coreset": "random"}})
    stranger = tmp_path.parent / "seed0"  # where out/../../seed0 is
    stranger.mkdir(exist_ok=True)
    (stranger / "unit.json").write_text('{"made": 1}')
    assert errors(plan) == [None]
    assert (stranger / "unit.json").read_text() == '{"made": 1}'
    assert Path("out", plan.units[0].name, "result.json").is_file()
    assert sorted(os.listdir()) == ["out", "outside", "s.yaml"]
    with pytest.raises(RddError, match="'A' and 'a' would share a folder"):
        read(methods={"A": {"coreset": "random"}, "a": {"coreset": "herding"}})


DONE = {"methods": {"robust": BASE["methods"]["robust"]}, "scenarios": {"c": {"scenario": "coloured", "bias": 0.8}}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a study that has run, once for all tests that change a copy of it."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert errors(read(**DONE)) == [None]
    return place / "out"


@pytest.fixture
def done(finished):
    shutil.copytree(finished, "out")
    return read(**DONE)


@pytest.mark.parametrize("part", ["c", "c/robust", "c/robust/seed0", "groups"])
def test_a_link_for_a_folder_is_refused_before_anything_runs(done, part):
    os.rename(Path("out", part), "away")
    special(Path("out", part), "link to a folder")
    if part == "groups":
        Path("out/c/robust/seed0/result.json").unlink()
        assert "is a link, which is not followed" in str(errors(done))
    else:
        for work in (
            lambda: errors(done),
            lambda: state(Path("out"), done.units[0]),
            lambda: collect("out", done.units),
        ):
            with pytest.raises(RddError, match="is a link, which is not followed"):
                work()
    assert untouched()


def test_links_and_pipes_in_the_place_of_a_units_files_are_replaced(done):
    unit = Path("out", done.units[0].name)
    wanted = {name: (unit / name).read_bytes() for name in ("rows.csv", "mechanism.csv", "unit.json")}
    (groups,) = Path("out/groups").glob("*.npz")
    for kind in ("link", "pipe"):
        for name in (*wanted, "result.json", "scores.npz", "error.json"):
            special(unit / name, kind)
        special(groups, kind)
        assert errors(done) == [None] and untouched()
        assert {name: (unit / name).read_bytes() for name in wanted} == wanted
        assert groups.is_file() and not groups.is_symlink()
    special(groups.with_suffix(".lock"), "link")
    (unit / "result.json").unlink()
    assert ".lock is no regular file, so it cannot be the lock" in errors(done)[0] and untouched()


def test_other_settings_clear_a_units_folder_and_no_link_leads_out_of_it(done):
    unit = Path("out", done.units[0].name)
    special(unit / "linked", "link to a folder")
    other = read(
        methods={"robust": {**BASE["methods"]["robust"], "config": {"objective": "robust", "tail": 0.5}}},
        scenarios={"c": {"scenario": "coloured", "bias": 0.8}},
    )
    assert state(Path("out"), other.units[0]) == "changed" and errors(other) == [None]
    assert not os.path.lexists(unit / "linked") and untouched()


@pytest.mark.parametrize("text", ["", "[1]", '{"a":' * 100_000, '{"ipc": [1]}', '{"ipc": {"a": 1}}'])
def test_a_result_that_says_nothing_is_run_again(done, text):
    result = Path("out", done.units[0].name, "result.json")
    before = json.loads(result.read_text())
    result.write_text(text)
    assert state(Path("out"), done.units[0]) == "begun" and errors(done) == [None]
    assert json.loads(result.read_text())["data_digest"] == before["data_digest"]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "net,partition,group,n,correct\nx,all,all,1,1\n", "\0\xff"])
def test_rows_that_cannot_be_read_are_told_before_more_is_run(done, capsys, text):
    Path("out", done.units[0].name, "rows.csv").write_text(text, encoding="latin-1")
    assert cli.main(["study", "s.yaml", "--out", "out", "--workers", "0", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "rows.csv" in said and "remove the folder's result.json" in said


# --- known early


def test_where_a_table_cannot_be_written_nothing_is_trained(capsys):
    read()
    Path("file").touch()
    Path("folder.csv").mkdir()
    os.mkfifo("pipe.csv")
    for table in ("file/t.csv", "folder.csv", "pipe.csv"):
        words = ["study", "s.yaml", "--out", "out", "--workers", "0", "--device", "cpu", "--table", table]
        assert cli.main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1 and not Path("out/none").exists()
    check_place("new/t.csv")
    assert os.listdir("new") == []


def test_more_images_than_a_class_has_is_known_for_every_seed_before_anything_runs(monkeypatch):
    with pytest.raises(RddError, match="ipc=500 is more than class"):
        read(methods={"m": {"config": {"objective": "erm", "ipc": 500, "init": "real"}}})
    plan = importlib.import_module("rdd_nb.experiments.study.plan")
    real, seen = plan.prepare, []

    def prepared(made, base=None):
        seen.append(made["seed"])
        found = real(made, base)
        few = found.train.subset(found.train.labels.argsort()[99:])
        return found if made["seed"] < 2 else dataclasses.replace(found, train=few)

    smallest = int(loading.load("digits", size=8).train.class_counts.min())
    monkeypatch.setattr(plan, "prepare", prepared)
    read(methods={"m": {"coreset": "random", "ipc": 3}}, seeds=[0, 1, 2])
    assert seen == [0], "a few images fit every draw"
    with pytest.raises(RddError, match=f"ipc={smallest} is more than class '0' has"):
        read(methods={"m": {"coreset": "random", "ipc": smallest}}, seeds=[0, 1, 2])


def test_where_no_processes_can_be_started_one_line_says_so(monkeypatch, capsys):
    def refused(*_, **__):
        raise OSError(30, "Read-only file system")  # of a semaphore in /dev/shm

    read()
    monkeypatch.setattr(runner, "ProcessPoolExecutor", refused)
    assert cli.main(["study", "s.yaml", "--out", "out", "--workers", "2", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "worker processes cannot be started here (Read-only file system): use fewer workers, or --workers 0" in said
    assert cli.main(["study", "s.yaml", "--out", "out", "--workers", "0", "--device", "cpu"]) == 0


# --- tables


def test_names_that_a_spreadsheet_would_compute_come_back_as_they_were(done):
    made = collect("out", done.units)
    odd = {"robust": "=1+1"}
    parts = [frame.assign(method=frame["method"].map(odd)) for frame in made]
    parts[1]["data"] = "@data"
    write_tables("t.csv", *parts)
    assert "'=1+1" in Path("t.csv").read_text() and "'@data" in Path("t-runs.csv").read_text()
    pd.testing.assert_frame_equal(load_table("t.csv"), parts[0])
    runs = read_csv("t-runs.csv", KEYS, "")
    assert list(runs["method"]) == ["=1+1"] and list(runs["data"]) == ["@data"]
    assert load_table("t.csv", runs=True)["data"].unique().tolist() == ["@data"]


@pytest.mark.parametrize("name", ["t.csv", "t-runs.csv", "t-mechanism.csv"])
@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "\0\xff", '{"a":' * 1000, None])
def test_tables_that_are_none_are_one_line(done, name, text):
    write_tables("t.csv", *collect("out", done.units))
    if text is None:
        special(Path(name), "pipe")
    else:
        Path(name).write_text(text, encoding="latin-1")
    with pytest.raises(RddError) as caught:
        held("t.csv", done.units)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_digests_are_texts_even_where_they_look_like_numbers(done):
    made = collect("out", done.units)
    runs = made.runs.assign(settings="123456789e12", data_digest="0012345678901234")
    write_tables("t.csv", made.table, runs)
    back = read_csv("t-runs.csv", KEYS, "")
    assert (back["settings"][0], back["data_digest"][0]) == ("123456789e12", "0012345678901234")
    assert np.isnan(read_csv("t-runs.csv", KEYS, "")["coreset"][0]), "nothing is nothing"


# --- scenarios


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *(("long-tail", "ratio", v) for v in (10**400, -(10**400), 1e308, float("inf"), float("nan"), "50", None, [1])),
        *(("coloured", "bias", v) for v in (10**400, float("nan"), "x", None, 1e-300 - 1)),
        *(("rotated-minority", "angle", v) for v in (10**400, 90.0, "90", None, float("nan"))),
        *(("hidden-strata", "fraction", v) for v in (10**400, 1e-300, 1 - 1e-16, float("nan"))),
        *(("hidden-strata", "strata", v) for v in (5, None, ["a"], {"a": 1})),
        ("background", "seed", 10**400),
    ],
)
def test_absurd_options_are_one_line(name, option, value):
    with pytest.raises(RddError) as caught:
        scenarios.scenario(loading.load("digits", size=12), name, **{option: value})
    assert option in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_scenarios_are_listed_where_python_has_dropped_docstrings(monkeypatch):
    monkeypatch.setattr(scenarios.inspect, "getdoc", lambda function: None)  # as with python -OO
    assert scenarios.available() == dict.fromkeys(scenarios.SCENARIOS, "")
    assert scenarios.describe("coloured") == "coloured (bias=0.9): "
