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
from typing import NamedTuple
from urllib.parse import quote

import pandas as pd
from matplotlib.figure import Figure

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write
from rdd_nb.data.synthetic_set import load_synthetic
from rdd_nb.experiments.sweep import summary
from rdd_nb.experiments.sweep.grid import Plan
from rdd_nb.experiments.sweep.tables import collect, measured_columns, plan_of
from rdd_nb.figures import report_figures, setting_figures
from rdd_nb.reporting import pieces

__all__ = ["Written", "write"]

RAN = ("done", "failed")  # these have an executed notebook
ROWS, PICTURES, FAILURES, CURVES = 60, 6, 30, 8  # how much stands on the page; the table has all
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #bbb; --soft: #555; --bad: #a03000; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eee; --paper: #161616; --line: #555; --soft: #aaa; --bad: #ff9a6b; } a { color: #8cf; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem auto;
  max-width: 66rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6em; margin: 0; } h2 { font-size: 1.2em; margin: 1.6em 0 .3em; } .soft { color: var(--soft); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9em; }
th, td { text-align: right; padding: .15em .6em; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th:first-child { text-align: left; } caption { text-align: left; color: var(--soft); padding-bottom: .3em; }
img { max-width: 100%; height: auto; background: #fff; } figure { margin: .6em 0; }
figcaption { color: var(--soft); font-size: .9em; } .error { color: var(--bad); }
.sheets { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1em; }
"""


class Written(NamedTuple):
    """What a report is: its files by kind, the measurements in it, and a summary for the terminal."""

    files: dict[str, Path]
    outcomes: list[str]
    said: str


class _Page(NamedTuple):
    """All that stands on the page, in either language."""

    title: str
    about: list[str]
    head: list[str]
    rows: list[list[str]]
    left_out: str
    failures: list[list[str]]
    curves: dict[str, Figure]
    front: tuple[Figure, str] | None
    sheets: dict[str, Figure]


def write(out: str | os.PathLike[str], outcomes: Sequence[str] = ()) -> Written:
    """Write ``report.html``, ``report.md``, ``table.csv`` and, with pyarrow, ``table.parquet`` into a sweep's folder.

    Args:
        out: the folder; the sweep may be running still.
        outcomes: names of measurements; by default the first six. Where there are two or more, the first two span the
            picture of what nobody dominates, or ``mean`` and ``worst`` where the sweep has these.

    Raises:
        RddError: no sweep there, no such measurement, or the folder cannot be written.
    """
    folder = Path(out)
    plan, table = plan_of(folder), collect(folder)
    measured = measured_columns(table)
    chosen = summary.pick_outcomes(measured, outcomes)
    page = _page(folder, plan, table, measured, chosen)
    files = {
        "csv": atomic_write(folder / "table.csv", table.to_csv(index=False, lineterminator="\n")),
        "md": atomic_write(folder / "report.md", _markdown(page)),
        "html": atomic_write(folder / "report.html", _html(page, table, plan.notebook.name)),
    }
    if importlib.util.find_spec("pyarrow") is not None:
        files["parquet"] = atomic_write(folder / "table.parquet", _parquet(table))
    return Written(files, chosen, "\n".join(page.about))


def _parquet(table: pd.DataFrame) -> bytes:
    """The table as Parquet; a column of several types, such as a width or none, as texts."""
    buffer = io.BytesIO()
    mixed = [c for c in table if table[c].dtype == object]
    table.astype(dict.fromkeys(mixed, "string")).to_parquet(buffer, index=False)
    return buffer.getvalue()


# --- what both languages say --------------------------------------------------------------------------------------


def _page(folder: Path, plan: Plan, table: pd.DataFrame, measured: Sequence[str], chosen: list[str]) -> _Page:
    varied = summary.varied(plan)
    said = summary.settings(table, varied, chosen)
    head = ["setting", "runs", *chosen]
    rows = [
        [summary.label(row), str(row["seeds"]), *(_interval(row, name) for name in chosen)]
        for _, row in said.iterrows()
    ]
    left_out = f"{len(rows) - ROWS} more settings stand in table.csv." if len(rows) > ROWS else ""
    failed = table[table["status"] == "failed"]
    failures = [[str(row["run"]), str(row["error"]), str(row["folder"])] for _, row in failed.head(FAILURES).iterrows()]
    front = None
    pair = ("mean", "worst") if {"mean", "worst"} <= set(chosen) else tuple(chosen[:2])
    if len(pair) == 2 and said[list(pair)].notna().all(axis=1).any():
        points = summary.dominating(said, *pair)
        front = setting_figures.front(points, pair), _named_front(points)
        best = said.loc[points.index[points["front"]]]
    else:
        best = said
    return _Page(
        f"What {plan.notebook.stem} says over {len(plan.runs)} runs",
        _about(plan, table, measured, chosen),
        head,
        rows[:ROWS],
        left_out,
        failures,
        _curves(table, varied, chosen),
        front,
        _sheets(folder, table, best if len(best) > 1 else said),
    )


def _about(plan: Plan, table: pd.DataFrame, measured: Sequence[str], chosen: Sequence[str]) -> list[str]:
    how = Counter(table["status"])
    lines = [", ".join(f"{how[s]} {s}" for s in how) + f" of {len(table)} runs of {plan.notebook.name}."]
    alike = {name: _cell(value) for name, value in plan.runs[0].given.items() if name not in plan.swept}
    if alike:
        lines.append(f"In all runs {', '.join(f'{name}={value}' for name, value in alike.items())}.")
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
        lines.append(f"Not shown here, but in table.csv: {', '.join(rest[:10])}{more}.")
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
    names = [f"{k} {label}" for k, label in enumerate(best["label"], 1)]
    return f"{len(best)} of {len(points)} settings are dominated by none, if more is better: {'; '.join(names)}."


def _curves(table: pd.DataFrame, varied: Sequence[str], chosen: Sequence[str]) -> dict[str, Figure]:
    """A figure for each parameter that takes several values within a condition."""
    found: dict[str, Figure] = {}
    for parameter in varied:
        said = summary.along(table, parameter, varied, chosen)
        lines = list(dict.fromkeys(said["line"]))[: setting_figures.MOST]
        if lines and len(found) < CURVES:
            found[parameter] = setting_figures.sensitivity(said[said["line"].isin(lines)], parameter)
    return found


def _sheets(folder: Path, table: pd.DataFrame, said: pd.DataFrame) -> dict[str, Figure]:
    """The synthetic sets of the first finished run of some settings, where their notebook left one."""
    found: dict[str, Figure] = {}
    for _, row in said[said["first"] >= 0].iterrows():
        path = folder / str(table.loc[row["first"], "folder"]) / "synthetic.safetensors"
        if len(found) == PICTURES or not path.is_file():
            continue
        try:
            found[summary.label(row)] = report_figures.sheet(load_synthetic(path))
        except RddError:  # another kind of file by that name
            continue
    return found


# --- the two languages --------------------------------------------------------------------------------------------


def _html(page: _Page, table: pd.DataFrame, notebook: str) -> str:
    e = pieces.escaped
    parts = [f"<h1>{e(page.title)}</h1>", *(f'<p class="soft">{e(line)}</p>' for line in page.about)]
    parts.append(f'<h2>Settings</h2><div class="wide">{pieces.table(page.head, page.rows, page.left_out)}</div>')
    if page.front is not None:
        figure, words = page.front
        picture = pieces.image(figure, "Two measurements of every setting against each other. " + words)
        parts.append(f"<h2>What nobody dominates</h2><figure>{picture}<figcaption>{e(words)}</figcaption></figure>")
    for parameter, figure in page.curves.items():
        alt = f"What was measured against {parameter}, a line for each condition; the table above has the numbers."
        caption = f"Against {parameter}: means over all else that varies, with 95 % intervals over seeds."
        picture = f"{pieces.image(figure, alt)}<figcaption>{e(caption)}</figcaption>"
        parts.append(f"<h2>{e(parameter)}</h2><figure>{picture}</figure>")
    if page.sheets:
        sheets = [
            f"<figure>{pieces.image(figure, f'Synthetic images, a row for each class: {name}.')}"
            f"<figcaption>{e(name)}</figcaption></figure>"
            for name, figure in page.sheets.items()
        ]
        parts.append(f'<h2>Distilled images</h2><div class="sheets">{"".join(sheets)}</div>')
    if page.failures:
        rows = "".join(
            f'<li class="error">{e(name)}: {e(why)} ({_link(f"{folder}/log.txt", "log")})</li>'
            for name, why, folder in page.failures
        )
        parts.append(f"<h2>What failed</h2><ul>{rows}</ul>")
    runs = "".join(
        f"<li>{_link(f'{place}/{notebook}', str(name)) if how in RAN else e(name)}: {e(how)}</li>"
        for place, name, how in zip(table["folder"], table["run"], table["status"])
    )
    parts.append(f"<h2>Runs</h2><details><summary>all {len(table)}, with links to the executed notebooks</summary>")
    parts.append(f"<ul>{runs}</ul></details>")
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{e(page.title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n<body>'
        + "\n".join(parts)
        + f'\n<p class="soft">Written {made}.</p></body></html>\n'
    )


def _link(place: str, text: str) -> str:
    return f'<a href="{pieces.escaped(quote(place))}">{pieces.escaped(text)}</a>'


def _markdown(page: _Page) -> str:
    def cell(text: str) -> str:
        return " ".join(text.replace("|", "\\|").split())

    lines = [f"# {page.title}", "", *(f"{line}\n" for line in page.about), "## Settings", ""]
    lines += ["| " + " | ".join(map(cell, page.head)) + " |", "|---|" + "---:|" * (len(page.head) - 1)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in page.rows]
    lines += ["", page.left_out] if page.left_out else []
    if page.front is not None:
        lines += ["", "## What nobody dominates", "", page.front[1]]
    if page.failures:
        lines += ["", "## What failed", ""]
        lines += [f"- {cell(name)}: {cell(why)} (`{folder}/log.txt`)" for name, why, folder in page.failures]
    return "\n".join(lines) + "\n"
