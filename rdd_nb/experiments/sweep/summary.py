"""What a sweep says: means over seeds with intervals, along each parameter, and which settings nobody dominates.

Seeds are the replicates: a setting is everything that varies but the seed, and an interval is a 95 % t-interval over
the seeds of a setting. With one seed there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.evaluation.intervals import mean_interval
from rdd_nb.experiments.study.factorial import front
from rdd_nb.experiments.sweep.grid import Plan

__all__ = ["along", "dominating", "label", "pick_outcomes", "settings", "varied"]

SHOWN = 6  # measurements on a page that asks for none


def pick_outcomes(measured: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The measurements to report: those that were asked for, or the first six.

    Raises:
        RddError: one that the sweep has not.
    """
    for name in asked:
        if name not in measured:
            raise unknown("measurement", name, measured, "the sweep")
    return list(dict.fromkeys(asked)) or list(measured[:SHOWN])


def varied(plan: Plan) -> list[str]:
    """The parameters that tell the settings of a condition apart; what only the condition sets is told by its name."""
    found = []
    for name in plan.swept:
        values: dict[str, set[str]] = {}
        for run in plan.runs:
            values.setdefault(run.condition, set()).add(str(run.parameters[name]))
        if name != "seed" and any(len(v) > 1 for v in values.values()):
            found.append(name)
    return found


def settings(table: pd.DataFrame, by: Sequence[str], outcomes: Sequence[str]) -> pd.DataFrame:
    """A row for each setting: its condition and parameters, seeds (finished), and mean, low, high of each measurement.

    Args:
        table: of :func:`rdd_nb.experiments.sweep.tables.collect`.
        by: the parameters that tell settings apart, see :func:`varied`.
        outcomes: names of measurements.

    Returns:
        In the sweep's order; columns condition, ``by``, seeds, first (index of its first finished run in ``table``,
        -1 without any), and ``(name, "mean" | "low" | "high")`` as ``name``, ``name low``, ``name high``.
    """
    keys = ["condition", *by]
    rows = []
    for _, part in table.groupby([table[k].map(_hashable) for k in keys], sort=False, dropna=False):
        done = part[part["status"] == "done"]
        row: dict[str, Any] = {k: part[k].iloc[0] for k in keys}
        row |= {"seeds": len(done), "first": int(done.index[0]) if len(done) else -1}
        for name in outcomes:
            values = pd.to_numeric(done[name], errors="coerce").dropna().to_numpy(float)
            found = mean_interval(values) if len(values) else (np.nan,) * 3
            row |= dict(zip((name, f"{name} low", f"{name} high"), found))
        rows.append(row)
    return pd.DataFrame(rows)


def along(table: pd.DataFrame, parameter: str, by: Sequence[str], outcomes: Sequence[str]) -> pd.DataFrame:
    """What was measured against one parameter, for each condition: means over everything else that varies.

    The interval is over seeds, of each seed's mean over the other parameters. Seeds that lack a run at some value would
    compare unlike with unlike, so only runs of settings are used that are finished at every value of the parameter.

    Returns:
        Columns measured, line (the condition), value, mean, low, high.
    """
    done = table[table["status"] == "done"].assign(**{parameter: lambda t: t[parameter].map(_hashable)})
    rows = []
    for condition, part in done.groupby("condition", sort=False):
        values = list(dict.fromkeys(part[parameter]))
        if len(values) < 2:
            continue
        others = [name for name in by if name != parameter]
        rest = [part[c].map(_hashable) for c in others]
        whole = part[part.groupby(rest, dropna=False)[parameter].transform("nunique") == len(values)] if rest else part
        for name in outcomes:
            for value in values:
                mine = whole[(whole[parameter] == value) & whole[name].notna()]
                by_seed = mine.groupby("seed")[name].mean() if "seed" in mine else mine[name]
                if len(by_seed):
                    rows.append((name, str(condition), value, *mean_interval(by_seed.to_numpy(float))))
    return pd.DataFrame(rows, columns=["measured", "line", "value", "mean", "low", "high"])


def dominating(said: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The settings of :func:`settings` as points, and which of them nobody dominates; those without both are left out.

    Columns label, x, x_low, x_high, y, y_low, y_high, front.
    """
    there = said[said[x].notna() & said[y].notna()]
    points = pd.DataFrame({"label": [label(row) for _, row in there.iterrows()]}, index=there.index)
    for axis, name in (("x", x), ("y", y)):
        for end, column in (("", name), ("_low", f"{name} low"), ("_high", f"{name} high")):
            points[f"{axis}{end}"] = there[column].astype(float)
    if points.empty:
        raise RddError(f"no setting has both {x} and {y}")
    return points.assign(front=front(points[["x", "y"]].to_numpy()))


def label(row: pd.Series) -> str:
    """What a setting is, in words: its condition, and its parameters."""
    names = list(row.index[: list(row.index).index("seeds")])
    told = [f"{name}={_word(row[name])}" for name in names if name != "condition"]
    return ", ".join([str(row["condition"])] * bool(row["condition"]) + told) or "the only one"


def _word(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "none"
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)


def _hashable(value: Any) -> Any:
    """A parameter's value as a key: None and NaN are one, lists and mappings are texts already."""
    return "none" if value is None or (isinstance(value, float) and np.isnan(value)) else value
