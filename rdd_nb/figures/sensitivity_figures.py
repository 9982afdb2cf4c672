"""Figures of a study's sweeps: sensitivity to one value, and the selection of settings along one.

The value is read from the names that a grid gives (:func:`rdd_nb.figures.study_figures.split_name`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.evaluation import results
from rdd_nb.figures import COLOURS
from rdd_nb.figures.figure import Figure
from rdd_nb.figures.study_figures import (
    MARKERS,
    beside_plain,
    chosen,
    make_panels,
    sides,
    split_name,
    style,
    summary,
    with_worst_class,
)

__all__ = ["selection_figure", "sensitivity_figure", "sweep_table"]

_DASHES = ("-", "--", ":", "-.")


def sensitivity_figure(
    table: pd.DataFrame,
    parameter: str,
    scenarios: Sequence[str] | None = None,
    methods: Sequence[str] = ("robust", "plain"),
    default: float | str | None = None,
) -> Figure:
    """Accuracy of both sides against a swept value, a panel a scenario, with bands: 95 % t-intervals over seeds.

    The value is read from the names that a grid gives: ``robust tail=0.2`` or ``rotated fraction=0.05``. A method whose
    name has no such value, in a scenario whose name has none, stands at ``default`` where other points of its line have
    one; where none has, it is a level line: the value does not concern it. The axis is logarithmic where the values
    span a factor of 20 or more; words stand in the table's order, and are not joined.

    Args:
        table: of a study.
        parameter: the swept one.
        scenarios: their names without the swept value; by default all that sweep it.
        methods: their names without the swept value; those that a scenario lacks are left out.
        default: the value that holds where a name says none; by default not known, and such points are left out.

    Raises:
        RddError: nothing sweeps the parameter, or no such scenario does.
    """
    said = sweep_table(summary(table), parameter, default)
    shown = chosen(scenarios, said.loc[said["at"].notna(), "panel"], "scenario")
    ticks = list(dict.fromkeys(said["at"].dropna()))
    words = any(isinstance(at, str) for at in ticks)
    ticks = ticks if words else sorted(ticks)
    where = {at: k if words else at for k, at in enumerate(ticks)}
    low, high = min(where.values()), max(where.values())
    figure, panels = make_panels(len(shown), 3.1)
    for axes, panel in zip(panels, shown):
        mine = said[said["panel"] == panel]
        for side in sides(mine, mine["scenario"].iloc[0]):
            for k, (method, dash) in enumerate(zip(methods, _DASHES)):
                rows = mine[(mine["way"] == method) & (mine["partition"] == side.partition)]
                rows = rows[rows["group"] == side.group]
                if rows.empty:
                    continue
                level = rows["at"].isna().all()
                rows = pd.concat([rows, rows]) if level else rows[rows["at"].notna()]
                x = np.array([low, high] if level else [where[at] for at in rows["at"]], float)
                order = np.argsort(x, kind="stable")
                y, bottom, top = (100 * rows[name].to_numpy(float)[order] for name in ("mean", "low", "high"))
                x, colour, mark = x[order], COLOURS[side.kind], "" if level else MARKERS[side.kind]
                apart = words and not level  # words have no order that a line could follow
                if apart:
                    x = x + 0.12 * k
                    axes.vlines(x, bottom, top, color=colour, linewidth=1, alpha=0.7)
                else:
                    axes.fill_between(x, bottom, top, color=colour, alpha=0.1, linewidth=0)
                axes.plot(
                    x,
                    y,
                    mark if apart else dash + mark,
                    color=colour,
                    markersize=5,
                    markerfacecolor="white" if k else colour,
                    label=f"{side.label}, {method}",
                )
        if not words and low > 0 and high / low > 19.99:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks([float(where[at]) for at in ticks], [at if words else f"{at:g}" for at in ticks])
        if words and len(ticks) > 3:
            axes.tick_params(axis="x", rotation=25)
        axes.set(xlabel=parameter.replace("_", " "), ylim=(0, 100))
        axes.set_title(panel)
        axes.grid(color="#EEEEEE")
        below = -0.32 if words and len(ticks) > 3 else -0.2  # beside the lines there is no space
        axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, below))
    figure.supylabel("accuracy in %")
    return figure


def sweep_table(said: pd.DataFrame, parameter: str, default: float | str | None = None) -> pd.DataFrame:
    """A summary with the columns panel, way (scenario and method without the swept value) and at (the value, or None).

    A name without the value gets ``default`` where the same panel and way have other values too.

    Raises:
        RddError: no name has the parameter.
    """
    parts = []
    for column in ("scenario", "method"):
        split = [split_name(name) for name in said[column]]
        rest = [" ".join([base, *(_told(k, v) for k, v in at.items() if k != parameter)]) for base, at in split]
        parts.append((rest, [at.get(parameter) for _, at in split]))
    at = [there if here is None else here for here, there in zip(parts[0][1], parts[1][1])]
    if all(value is None for value in at):
        named = {key for column in ("scenario", "method") for name in said[column] for key in split_name(name)[1]}
        raise (
            unknown("swept value", parameter, named, "the table")
            if named
            else RddError(f"the table sweeps nothing, so not {parameter!r} either: give a study with a grid")
        )
    made = said.assign(panel=parts[0][0], way=parts[1][0])
    made["at"] = pd.Series(at, index=said.index, dtype=object)
    if default is not None:
        both = made["at"].notna().groupby([made["panel"], made["way"]]).transform("any")
        made.loc[both & made["at"].isna(), "at"] = default
    return made


def _told(key: str, value: float | str) -> str:
    return f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"


def selection_figure(table: pd.DataFrame, along: str = "group_power", scenarios: Sequence[str] | None = None) -> Figure:
    """What a grid of settings trades: minority against majority, a panel a scenario, plain as a star.

    The points of one line differ in ``along`` alone, which is written beside them; every other combination of the
    grid's values has a line of its own, as has a grid over other values, along the first of them. Further up and to the
    right is better for both sides.

    Args:
        table: of a study with a grid over its methods.
        along: the value that a line follows.
        scenarios: which, in which order; by default all.

    Where plain is there, the others stand at plain's mean plus their gain on it over the seeds that both have: so a
    setting that ran on fewer seeds is not favoured by an easy one.

    Raises:
        RddError: no method sweeps ``along``, or no such scenario.
    """
    said = summary(table)
    gains = results.differences(with_worst_class(table)) if "plain" in set(said["method"]) else None
    shown = chosen(scenarios, said["scenario"], "scenario")
    lines = _grid_lines(said, along)
    beside = dict(zip(lines, ((4, 4), (4, -10), (-20, 4), (-20, -10)) * len(lines)))
    figure, panels = make_panels(len(shown), 3.2)
    for axes, scenario in zip(panels, shown):
        across, up = sides(said, scenario)
        x, y = (beside_plain(said, gains, scenario, side) for side in (across, up))
        for name, colour, dash in style(list(lines)):
            points = [(at, x[m], y[m]) for at, m in lines[name] if m in x.index and m in y.index]
            if not points:
                continue
            ats, xs, ys = zip(*points)
            axes.plot(xs, ys, dash, marker="o", markersize=4.5, color=colour, label=name)
            for at, here, there in zip(ats, xs, ys):
                said_at = f"{at:g}" if isinstance(at, float) else at
                axes.annotate(said_at, (here, there), xytext=beside[name], textcoords="offset points", color=colour)
        if "plain" in x.index:
            axes.plot(x["plain"], y["plain"], "*", color=COLOURS["grey"], markersize=11, label="plain", zorder=3)
        axes.set(xlabel=f"{across.label}, %", ylabel=f"{up.label}, %")
        axes.set_title(scenario)
        axes.margins(0.12)
        _widen(axes)
        axes.grid(color="#EEEEEE")
    panels[0].legend(frameon=False, title=f"numbers: {along}, or as said")
    return figure


def _widen(axes: Axes, least: float = 10.0) -> None:
    """Let both axes show at least ``least`` points, so that noise does not look like an effect."""
    for get, put in ((axes.get_xlim, axes.set_xlim), (axes.get_ylim, axes.set_ylim)):
        low, high = get()
        more = max(0.0, least - (high - low)) / 2
        put(low - more, high + more)


def _grid_lines(said: pd.DataFrame, along: str) -> Mapping[str, list[tuple[float | str, str]]]:
    """For each line its points: the value of ``along`` and the method's whole name, by value."""
    lines: dict[str, list[tuple[float | str, str]]] = {}
    for method in dict.fromkeys(said["method"]):
        base, at = split_name(method)
        if at:
            key = along if along in at else next(iter(at))
            name = " ".join([base, *(_told(k, v) for k, v in at.items() if k != key)])
            lines.setdefault(name if key == along else f"{name}, by {key}", []).append((at[key], method))
    known = {key for method in said["method"] for key in split_name(method)[1]}
    if along not in known:
        raise unknown("swept value", along, known, "the table's methods")
    return {name: sorted(points, key=lambda p: (isinstance(p[0], str), p[0])) for name, points in lines.items()}
