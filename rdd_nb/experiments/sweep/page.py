"""The report of a sweep: one page of HTML that stands alone, the same in Markdown, and the table as CSV and Parquet."""

from __future__ import annotations

import datetime
import importlib.util
import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import csv_text
from rdd_nb.core.folders import Folder
from rdd_nb.data.synthetic_set import load_synthetic
from rdd_nb.experiments.sweep import summary
from rdd_nb.experiments.sweep.grid import Plan
from rdd_nb.experiments.sweep.tables import collect, measured_columns, plan_of
from rdd_nb.figures import report_figures, setting_figures
from rdd_nb.figures.report_figures import shortened
from rdd_nb.reporting.rendering import render

__all__ = ["Written", "write"]

ROWS, PICTURES, FAILURES, CURVES = 60, 6, 30, 8  # how much stands on the page; the table has all


class Written(NamedTuple):
    """What a report is: its files by kind, the measurements in it, and a summary for the terminal."""

    files: dict[str, Path]
    outcomes: list[str]
    said: str


def write(out: str | os.PathLike[str], outcomes: Sequence[str] = ()) -> Written:
    """Write ``report.html``, ``report.md``, ``table.csv`` and, with pyarrow, ``table.parquet`` into a sweep's folder.

    Args:
        out: the folder; the sweep may be running still.
        outcomes: names of measurements; by default the first six. Where there are two or more, the first two span the
            picture of what nobody dominates, or ``mean`` and ``worst`` where the sweep has these.

    Raises:
        RddError: no sweep there, no such measurement, or the folder cannot be written.
    """
    folder = Folder(out)
    plan, table = plan_of(out), collect(out)
    measured = measured_columns(table)
    chosen = summary.pick_outcomes(measured, outcomes)
    content = _content(folder, plan, table, measured, chosen)
    files = {
        "csv": folder.write("table.csv", csv_text(table)),
        "md": folder.write("report.md", render("sweep.md", **content)),
        "html": folder.write("report.html", render("sweep.html", **content)),
    }
    if importlib.util.find_spec("pyarrow") is not None:
        files["parquet"] = folder.write("table.parquet", _parquet(table))
    return Written(files, chosen, "\n".join(content["about"]))


def _parquet(table: pd.DataFrame) -> bytes:
    """The table as Parquet; a column of several types, such as a width or none, as texts."""
    buffer = io.BytesIO()
    mixed = [c for c in table if table[c].dtype == object]
    table.astype(dict.fromkeys(mixed, "string")).to_parquet(buffer, index=False)
    return buffer.getvalue()


# --- what the page says, in HTML and in Markdown ------------------------------------------------------------------


def _content(
    folder: Folder, plan: Plan, table: pd.DataFrame, measured: Sequence[str], chosen: list[str]
) -> dict[str, Any]:
    """What the templates put in, by name."""
    varied = summary.varied(plan)
    said = summary.settings(table, varied, chosen)
    rows = [
        [summary.label(row), str(row["seeds"]), *(_interval(row, name) for name in chosen)]
        for _, row in said.iterrows()
    ]
    best, front = said, None
    pair = ("mean", "worst") if {"mean", "worst"} <= set(chosen) else tuple(chosen[:2])
    if len(pair) == 2 and said[list(pair)].notna().all(axis=1).any():
        points = summary.dominating(said, *pair)
        best = said.loc[points.index[points["front"]]]
        axes_names = [shortened(name, 40) for name in pair]
        front = {"figure": setting_figures.front(points, axes_names), "words": _named_front(points)}
    return {
        "title": f"What {plan.notebook.stem} says over {len(plan.runs)} runs",
        "about": _about(plan, table, measured, chosen),
        "head": ["setting", "runs", *chosen],
        "rows": rows[:ROWS],
        "left_out": f"{len(rows) - ROWS} more settings stand in table.csv." if len(rows) > ROWS else "",
        "front": front,
        "curves": _curves(table, varied, chosen),
        "sheets": _sheets(folder, table, best if len(best) > 1 else said),
        "failures": table[table["status"] == "failed"].head(FAILURES).to_dict("records"),
        "runs": table[["run", "status", "folder"]].to_dict("records"),
        "notebook": plan.notebook.name,
        "written": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _about(plan: Plan, table: pd.DataFrame, measured: Sequence[str], chosen: Sequence[str]) -> list[str]:
    how = Counter(table["status"])
    lines = [", ".join(f"{how[s]} {s}" for s in how) + f" of {len(table)} runs of {plan.notebook.name}."]
    alike = {name: _cell(value) for name, value in plan.runs[0].given.items() if name not in plan.swept}
    if alike:
        lines.append(f"In all runs {', '.join(f'{name}={shortened(value, 80)}' for name, value in alike.items())}.")
    done = table[table["status"] == "done"]
    if len(done):
        seconds = done["seconds"].astype(float)
        lines.append(
            f"A run took {seconds.median():.0f} s (median; {seconds.min():.0f} to {seconds.max():.0f}), all of them "
            f"{seconds.sum() / 3600:.2g} hours of computing, {_days(done['began'])}; "
            f"rdd_nb {' and '.join(sorted(map(str, done['rdd_nb'].unique())))} at revision "
            f"{', '.join(sorted(map(str, done['revision'].unique())))}."
        )
        if done["revision"].nunique() > 1:
            lines.append("The runs were made by several revisions of the package: compare them with care.")
    if len(measured) > len(chosen):
        rest = [name for name in measured if name not in chosen]
        more = f" and {len(rest) - 10} more" if len(rest) > 10 else ""
        lines.append(f"Not shown here, but in table.csv: {', '.join(shortened(name, 60) for name in rest[:10])}{more}.")
    if not measured and len(done):
        lines.append("The notebook left no numbers: it writes none into the metrics.json of its out_dir.")
    lines.append(
        "Means are over runs that differ in the seed only, with 95 % t-intervals. Who chooses a setting by this page "
        "has looked at these numbers: report the winner's from other seeds, and from data that nobody has chosen by."
    )
    return lines


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _days(began: pd.Series) -> str:
    first, last = began.min()[:10], began.max()[:10]
    return first if first == last else f"{first} to {last}"


def _interval(row: pd.Series, name: str) -> str:
    value, low, high = (float(row[c]) for c in (name, f"{name} low", f"{name} high"))
    if value != value:
        return "–"
    return f"{value:.4g}" if low != low else f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _named_front(points: pd.DataFrame) -> str:
    best = points[points["front"]].sort_values("x")
    names = [f"{k} {shortened(label, 80)}" for k, label in enumerate(best["label"], 1)]
    return f"{len(best)} of {len(points)} settings are dominated by none, if more is better: {'; '.join(names)}."


def _curves(table: pd.DataFrame, varied: Sequence[str], chosen: Sequence[str]) -> dict[str, Figure]:
    """A figure for each parameter that takes several values within a condition."""
    found: dict[str, Figure] = {}
    for parameter in varied:
        said = summary.along(table, parameter, varied, chosen)
        lines = list(dict.fromkeys(said["line"]))[: setting_figures.MOST]
        if lines and len(found) < CURVES:
            found[parameter] = setting_figures.sensitivity(said[said["line"].isin(lines)], shortened(parameter, 40))
    return found


def _sheets(folder: Folder, table: pd.DataFrame, said: pd.DataFrame) -> dict[str, Figure]:
    """The synthetic sets of the first finished run of some settings, where their notebook left one."""
    found: dict[str, Figure] = {}
    for _, row in said[said["first"] >= 0].iterrows():
        if len(found) == PICTURES:
            break
        try:
            name = f"{table.loc[row['first'], 'folder']}/synthetic.safetensors"
            if folder.has(name):
                found[summary.label(row)] = report_figures.sheet(load_synthetic(folder.at(name)))
        except RddError:  # another kind of file by that name
            continue
    return found
