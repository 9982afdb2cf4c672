"""rdd_nb.experiments.sweep.tables, .summary and .page: what a sweep measured, and what its report says."""

import html
import html.parser
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbformat import v4

from rdd_nb import __version__, cli
from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import Folder
from rdd_nb.data.synthetic_set import SyntheticSet, save_synthetic
from rdd_nb.evaluation.intervals import mean_interval
from rdd_nb.experiments import sweep
from rdd_nb.experiments.study import factorial
from rdd_nb.experiments.sweep import page, summary, tables
from rdd_nb.experiments.sweep.record import Record, begin, finish
from rdd_nb.figures import setting_figures
from rdd_nb.reporting import rendering
from tests.helpers import run_in_a_copy

PARAMETERS = """\
tail: float = 0.8
group_power: float = 0.3
ipc: int = 10
mode: "Optional[str]" = None
seed: int = 0
out_dir: str = "runs/x"
"""


def truth(run: sweep.Run) -> dict[str, float]:
    p = run.parameters
    return {"mean": 0.5 + 0.1 * p["tail"] + 0.01 * p["seed"], "worst": 0.4 - 0.2 * p["tail"] - 0.02 * p["seed"] ** 2}


def make(
    folder: Path,
    grid,
    fails=lambda run: False,
    missing=lambda run: False,
    metrics=None,
    parameters: str = PARAMETERS,
) -> sweep.Plan:
    """A sweep as its engine leaves it, without a kernel."""
    cells = [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), v4.new_code_cell("1")]
    (folder / "notebook").mkdir(parents=True)
    nbformat.write(v4.new_notebook(cells=cells), folder / "notebook" / "a.ipynb")
    plan = sweep.make_plan(folder / "notebook" / "a.ipynb", grid)
    (folder / "sweep.json").write_text(json.dumps({"notebook": "a.ipynb", "grid": plan.grid}))
    for run in plan.runs:
        if missing(run):
            continue
        there = folder / "runs" / run.folder
        made_on = {"rdd_nb": __version__, "revision": "abc", "threads": 1}
        key = run.key(plan.source, __version__)
        told = {"name": run.name, "condition": run.condition, "parameters": dict(run.parameters), "key": key}
        begun = begin(Folder(there), Record(**told, made_on=made_on))
        finish(Folder(there), begun, 2.0, "raised ValueError: <no> | such" if fails(run) else "")
        if not fails(run):
            measured = truth(run) if metrics is None else metrics(run)
            told = measured if metrics else {"summary": measured, "by_net": {k: [v, v] for k, v in measured.items()}}
            (there / "metrics.json").write_text(json.dumps(told))
    return plan


GRID = {"conditions": {"a": {"mode": "a"}, "b": {"mode": "b"}}, "product": {"tail": [0.1, 0.5, 1]}, "seeds": [0, 1, 2]}


def test_a_row_for_each_run_whatever_became_of_it(tmp_path):
    plan = make(
        tmp_path / "s",
        GRID,
        fails=lambda run: run.parameters["seed"] == 2 and run.condition == "b",
        missing=lambda run: run.name == "a, tail=0.1, seed=0",
    )
    table = sweep.collect(tmp_path / "s")
    assert len(table) == len(plan.runs) == 18 and list(table["run"]) == [run.name for run in plan.runs]
    assert table["status"].value_counts().to_dict() == {"done": 14, "failed": 3, "missing": 1}
    assert tables.measured_columns(table) == ["mean", "worst"]
    row = table[table["run"] == "b, tail=0.5, seed=1"].iloc[0]
    assert (row["mean"], row["worst"]) == pytest.approx((0.56, 0.28)) and row["ipc"] == 10 and row["mode"] == "b"
    assert table[table["status"] != "done"][["mean", "worst"]].isna().all(axis=None)
    assert row["seconds"] == 2 and row["revision"] == "abc" and (tmp_path / "s" / row["folder"] / "run.json").exists()


def test_another_version_is_outdated_and_its_numbers_are_not_mixed_in(tmp_path, monkeypatch):
    make(tmp_path / "s", {"seeds": [0, 1]})
    monkeypatch.setattr(tables, "__version__", "9.9")
    table = sweep.collect(tmp_path / "s")
    assert list(table["status"]) == ["outdated", "outdated"] and tables.measured_columns(table) == []


def test_numbers_by_their_place_and_names_that_are_taken(tmp_path):
    deep = {"gain": {"off": {"value": 0.5, "low": 1}}, "tail": 3.0, "list": [1, 2], "ok": True, "machine": {"cores": 2}}
    make(tmp_path / "s", {"seeds": [0]}, metrics=lambda run: deep)
    table = sweep.collect(tmp_path / "s")
    assert tables.measured_columns(table) == ["gain.off.value", "gain.off.low", "measured tail"]
    assert table.loc[0, "measured tail"] == 3 and table.loc[0, "tail"] == 0.8


def test_means_over_seeds_with_intervals(tmp_path):
    plan = make(tmp_path / "s", GRID, missing=lambda run: run.condition == "b" and run.parameters["seed"] > 0)
    table = sweep.collect(tmp_path / "s")
    assert summary.varied(plan) == ["tail"], "what only the condition sets is told by its name"
    said = summary.settings(table, ["tail"], ["mean", "worst"])
    assert [summary.label(row) for _, row in said.iterrows()][:2] == ["a, tail=0.1", "a, tail=0.5"]
    row = said.iloc[1]
    by_hand = mean_interval([0.55, 0.56, 0.57])
    assert (row["mean"], row["mean low"], row["mean high"]) == pytest.approx(tuple(by_hand)) and row["seeds"] == 3
    alone = said.iloc[-1]
    assert alone["seeds"] == 1 and np.isnan(alone["mean low"]) and alone["mean"] == pytest.approx(0.6)


def test_along_a_parameter_only_like_is_compared_with_like(tmp_path):
    grid = {"product": {"tail": [0.1, 1.0], "ipc": [1, 10]}, "seeds": [0, 1]}
    # ipc 10 lacks a run at tail 1, seed 1: so ipc 10 of seed 1 may not enter the mean at tail 0.1 either.
    drop = "tail=1, ipc=10, seed=1"
    lots = {"mean": lambda p: p["tail"] + (100 if p["ipc"] == 10 else 0) + p["seed"]}
    plan = make(
        tmp_path / "s",
        grid,
        missing=lambda run: run.name == drop,
        metrics=lambda run: {"summary": {k: f(run.parameters) for k, f in lots.items()}},
    )
    assert drop in {run.name.replace("1.0", "1") for run in plan.runs}
    table = sweep.collect(tmp_path / "s")
    said = summary.along(table, "tail", ["tail", "ipc"], ["mean"]).set_index("value")["mean"]
    assert said[1.0] - said[0.1] == pytest.approx(0.9), "the difference is that of the tail alone"


def test_who_is_dominated(tmp_path):
    said = pd.DataFrame(
        {"condition": "", "tail": [1, 2, 3, 4], "seeds": 1, "x": [1, 2, 3, np.nan], "y": [3, 2, 1.5, 9]}
    )
    said["y"] = [3, 1, 2, 9]
    for name in ("x", "y"):
        said[f"{name} low"] = said[f"{name} high"] = np.nan
    points = summary.dominating(said, "x", "y")
    assert list(points["label"]) == ["tail=1", "tail=2", "tail=3"] and list(points["front"]) == [True, False, True]


class Outside(html.parser.HTMLParser):
    """Whatever a page would fetch, and its links."""

    def __init__(self):
        super().__init__()
        self.fetched, self.links, self.alts, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        self.tags.append((tag, *(name for name in held if name.startswith("on") or name == "style")))
        self.fetched += [held[k] for k in ("src", "data") if k in held and not held[k].startswith("data:image/png")]
        self.fetched += [held["href"]] if tag == "link" else []
        self.links += [held["href"]] if tag == "a" else []
        self.alts += [held.get("alt", "")] if tag == "img" else []


def test_the_page_stands_alone_and_says_all(tmp_path, capsys):
    plan = make(
        tmp_path / "s", GRID, fails=lambda run: run.name == "b, tail=1, seed=2" or run.name == "b, tail=1.0, seed=2"
    )
    first = plan.runs[0]
    images = SyntheticSet(torch.randn(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]), ("x<y", "z"), (0.5,), (0.5,), 2)
    save_synthetic(tmp_path / "s" / "runs" / first.folder / "synthetic.safetensors", images)
    assert cli.main(["report", str(tmp_path / "s")]) == 0
    said = capsys.readouterr().out
    assert "17 done, 1 failed of 18 runs of a.ipynb." in said
    assert "In all runs" not in said
    text = (tmp_path / "s" / "report.html").read_text()
    seen = Outside()
    seen.feed(text)
    assert seen.fetched == [], "nothing is fetched"
    assert len(seen.alts) >= 3 and all(seen.alts), "front, tail and a synthetic set, each with its words"
    assert "<no>" not in text and "&lt;no&gt; | such" in text
    for link in seen.links:
        if link.endswith("log.txt"):
            continue
        assert (tmp_path / "s" / Path(*link.split("/")[:2]).as_posix().replace("%2C", ",").replace("%3D", "=")).exists()
    assert "0.55 [" in text or "0.56 [" in text
    markdown = (tmp_path / "s" / "report.md").read_text()
    assert "| a, tail=0.5 | 3 | 0.56 [0.5352, 0.5848]" in markdown and "\\| such" in markdown
    read = pd.read_csv(tmp_path / "s" / "table.csv")
    assert len(read) == 18 and read["mean"].notna().sum() == 17


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7*7 }} [a](b) | `c` $\\frac{ "


def test_hostile_names_are_shown_and_do_nothing(tmp_path):
    conditions = {HOSTILE + "condition": {"mode": HOSTILE + "value"}, "l" * 300: {"mode": "l" * 300}}
    grid = {"conditions": conditions, "product": {"tail": [0.1, 1.0]}, "seeds": [0, 1]}
    measured = {HOSTILE + "measured": 0.5, "l" * 300: 0.1, "m" * 300: 0.2}
    fails = lambda run: run.parameters["seed"] == 1 and run.parameters["tail"] == 1  # noqa: E731
    plan = make(tmp_path / "s", grid, fails=fails, metrics=lambda run: {"summary": measured})
    images = SyntheticSet(torch.randn(2, 1, 8, 8), torch.tensor([0, 1]), (HOSTILE, "l" * 300), (0.5,), (0.5,), 1)
    save_synthetic(tmp_path / "s" / "runs" / plan.runs[0].folder / "synthetic.safetensors", images)
    page.write(tmp_path / "s")
    text = (tmp_path / "s" / "report.html").read_text()
    seen = Outside()
    seen.feed(text)
    assert seen.fetched == [] and all(len(tag) == 1 and tag[0] not in ("script", "object") for tag in seen.tags)
    assert len(seen.alts) == text.count("<img ") == 3, "the front, the tail, and a set"
    shown = html.unescape(text)
    for name in ("condition, tail=0.1", "measured", "condition, tail=1.0, seed=1"):
        assert HOSTILE + name in shown
    markdown = (tmp_path / "s" / "report.md").read_text()
    assert r"\{\{ 7\*7 \}\} [a\](b) \| \`c\`" in markdown and "{{ 7*7 }}" not in markdown
    for line in markdown.splitlines():
        assert not re.search(r"(?<!\\)[<*`]", line.split(" (`")[0]), "nothing is read as HTML or as Markdown"
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("|")]
    assert set(cells) == {6} and len(cells) == 2 + 4, "a cell stays a cell"


def test_both_reports_have_one_style_sheet(tmp_path):
    make(tmp_path / "s", {"seeds": [0]})
    page.write(tmp_path / "s")
    sheet = Path(rendering.__file__).with_name("templates") / "style.css"
    for text in ((tmp_path / "s" / "report.html").read_text(), rendering.render("base.html", title="", about=[])):
        assert re.findall("<style>(.*?)</style>", text, re.DOTALL) == ["\n" + sheet.read_text()]


def test_parquet_holds_the_same(tmp_path):
    make(tmp_path / "s", {"product": {"mode": [None, "a"]}, "seeds": [0]})
    page.write(tmp_path / "s")
    held, read = sweep.collect(tmp_path / "s"), pd.read_parquet(tmp_path / "s" / "table.parquet")
    assert list(read.columns) == list(held.columns) and np.allclose(read["mean"], held["mean"])


def test_what_is_asked_for_and_what_is_not_there(tmp_path, capsys):
    make(tmp_path / "s", GRID)
    assert page.write(tmp_path / "s", ["worst"]).outcomes == ["worst"]
    assert "mean" not in (tmp_path / "s" / "report.md").read_text().split("## Settings")[1]
    assert cli.main(["report", str(tmp_path / "s"), "--outcome", "wrost"]) == 2
    assert "unknown measurement 'wrost' in the sweep: did you mean 'worst'?" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "no sweep in" in capsys.readouterr().err


def test_a_sweep_that_measured_nothing_has_a_page(tmp_path):
    make(tmp_path / "s", GRID, metrics=lambda run: {"name": "x"})
    written = page.write(tmp_path / "s")
    assert written.outcomes == [] and "left no numbers" in written.said
    make(tmp_path / "t", {**GRID, "fixed": {"ipc": 5, "group_power": 0.0}}, missing=lambda run: True)
    said = page.write(tmp_path / "t").said
    assert "18 missing" in said and "In all runs ipc=5, group_power=0.0." in said


# --- as notebook 06 reads it


def sided(run: sweep.Run, many: str = "upright") -> dict:
    p = {k: v or 0.0 for k, v in run.parameters.items()}
    majority = [0.9 - 0.1 * p["tail"], 0.9]
    minority = [0.4 + 0.1 * p["group_power"], 0.5]
    nets = {"majority": majority, "minority": minority, "worst": minority, "mean": majority}
    sides = {"majority": many, "minority": "rotated", "share": 0.1, "scored_on": "held-out"}
    return {"by_net": nets, "sides": sides, "cost": {"distill_seconds": 3.0, "evaluate_seconds": 2.0}}


def test_a_full_factorial_of_notebooks_reads_like_that_of_a_study(tmp_path):
    grid = {"product": {"group_power": [0.0, 1.0], "tail": [0.2, 1.0], "ipc": [1, 10]}, "seeds": [0, 1]}
    make(tmp_path / "s", grid, metrics=sided)
    held = tables.of_sweep(tmp_path / "s")
    assert held.sides == ("upright", "rotated") and held.held_out and held.share == pytest.approx(0.1)
    assert (held.distill_seconds, held.evaluate_seconds) == (3, 2)
    full = factorial.grid(held.runs, ["group_power", "tail", "ipc"], "minority")
    assert full.values.shape == (2, 2, 2, 2, 2) and full.values[1, 0, 0, 0, 0] == pytest.approx(0.5)


def test_notebook_06_reads_a_sweep(tmp_path):
    full = {"group_power": [0.0, 0.3, 1.0], "tail": [0.2, 1.0], "ipc": [1, 10]}
    seeds = [0, 1, 2, 3]
    grid = [
        {"conditions": {"robust": {"mode": "robust"}}, "product": full, "seeds": seeds},
        {"conditions": {"plain": {"mode": "erm"}}, "product": {"ipc": [1, 10]}, "seeds": seeds},
    ]
    rng = np.random.default_rng(0)

    def measured(run):
        told = sided(run)
        for values in told["by_net"].values():
            values[:] = [v + rng.normal(0, 0.02) for v in values]
        return told

    cells = PARAMETERS.replace("tail: float = 0.8", 'tail: "Optional[float]" = None')
    cells = cells.replace("group_power: float = 0.3", 'group_power: "Optional[float]" = None')
    make(tmp_path / "s", grid, metrics=measured, parameters=cells)
    values = {"profile": "smoke", "sweep": str(tmp_path / "s"), "seeds": 2, "out_dir": str(tmp_path / "run")}
    values["dataset"] = "digits"  # of the study that it runs itself, which is not what this is about
    run_in_a_copy(Path(__file__).parents[2] / "notebooks" / "06_ablations.ipynb", **values)
    said = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert said["table"] == "s" and said["runs"] == 3 * 2 * 2 * 4 * 2, "a row for each robust run and network"


def test_two_minorities_are_not_mixed(tmp_path):
    make(tmp_path / "s", {"seeds": [0, 1]}, metrics=lambda run: sided(run, f"many {run.parameters['seed']}"))
    with pytest.raises(RddError, match="not about one majority and minority"):
        tables.of_sweep(tmp_path / "s")
    make(tmp_path / "t", {"seeds": [0]}, metrics=lambda run: {"summary": {"x": 1.0}})
    with pytest.raises(RddError, match=r"no run in .* has measured networks one by one"):
        tables.outcomes(tmp_path / "t")


# --- figures


def test_a_line_a_condition_and_intervals_where_they_are():
    rows = [("mean", line, v, v, v - 0.1, v + 0.1) for line in ("a", "b") for v in (0.01, 0.1, 1.0)]
    said = pd.DataFrame(rows, columns=["measured", "line", "value", "mean", "low", "high"])
    (axes,) = setting_figures.sensitivity(said, "tail").axes
    assert axes.get_xscale() == "log" and len(axes.containers) == 2
    words = said.assign(value=["x", "y", "z"] * 2)
    (axes,) = setting_figures.sensitivity(words, "init").axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["x", "y", "z"]
    many = pd.concat([said.assign(line=str(k)) for k in range(9)])
    with pytest.raises(RddError, match="9 lines: at most 6"):
        setting_figures.sensitivity(many, "tail")
