"""Figures of a sweep's report, as pure functions from tables to a ``Figure``: what follows a parameter, and the front.

The values are whatever a notebook measured, so they are drawn in its own units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rdd_nb.core.errors import RddError
from rdd_nb.figures import BLUE, GREEN, GREY, ORANGE, PINK, clean_axes
from rdd_nb.figures.figure import Figure, legend_name, shortened

__all__ = ["front", "sensitivity"]

_LOOKS = (
    *((BLUE, "o", "-"), (ORANGE, "D", "--"), (GREEN, "s", "-.")),
    *((PINK, "^", ":"), ("#E69F00", "v", "-"), (GREY, "P", "--")),
)
MOST = len(_LOOKS)  #: lines that can be told apart


def sensitivity(said: pd.DataFrame, parameter: str) -> Figure:
    """What was measured against a parameter, with intervals: a panel for each measurement, a line for each condition.

    Args:
        said: columns measured, line, value (of the parameter), mean, low, high (NaN where there is one seed).
        parameter: what the axis is of. Numbers stand where they belong, on a logarithmic axis where they span a factor
            of 20 or more; other values at equal distances, not joined.

    Raises:
        RddError: more lines than can be told apart.
    """
    lines = list(dict.fromkeys(said["line"]))
    if len(lines) > MOST:
        raise RddError(f"{len(lines)} lines: at most {MOST} can be told apart in one figure")
    names = list(dict.fromkeys(said["measured"]))
    levels = list(dict.fromkeys(said["value"]))
    numeric = all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in levels)
    levels = sorted(levels) if numeric else levels
    figure = Figure(figsize=(1.2 + 3.2 * len(names), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        clean_axes(axes)
        for line, (colour, marker, dash) in zip(lines, _LOOKS):
            part = said[(said["measured"] == name) & (said["line"] == line)].set_index("value")
            part = part.loc[[v for v in levels if v in part.index]]
            place = [v if numeric else levels.index(v) for v in part.index]
            value, low, high = (part[c].to_numpy(float) for c in ("mean", "low", "high"))
            reach = np.nan_to_num([value - low, high - value])
            style = dash if numeric else "none"
            looks = {
                "color": colour,
                "marker": marker,
                "linestyle": style,
                "label": legend_name(str(line)),
            }
            axes.errorbar(place, value, yerr=reach, capsize=3, **looks)
        if not numeric:
            axes.set_xticks(range(len(levels)), [shortened(str(v), 14) for v in levels])
            axes.set_xlim(-0.5, len(levels) - 0.5)
        elif min(levels) > 0 and max(levels) >= 20 * min(levels):
            axes.set_xscale("log")
            axes.set_xticks(levels, [f"{v:g}" for v in levels])
            axes.minorticks_off()
        axes.set(xlabel=parameter, title=shortened(str(name), 30))
    if lines != [""]:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(lines)), frameon=False)
    return figure


def front(points: pd.DataFrame, axes_names: Sequence[str]) -> Figure:
    """Two measurements of every setting against each other, with intervals; those that nobody dominates are named.

    Args:
        points: a row a setting: label, x, x_low, x_high, y, y_low, y_high, front (bool).
        axes_names: what x and y are; more is taken to be better.
    """
    figure = Figure(figsize=(8.2, 4.4), layout="constrained")
    axes = clean_axes(figure.subplots())
    looks: dict[bool, dict[str, Any]] = {
        False: {"color": GREY, "marker": "o", "markerfacecolor": "white", "alpha": 0.7, "label": "dominated"},
        True: {"color": BLUE, "marker": "D", "label": "nobody is better in both"},
    }
    for there, look in looks.items():
        mine = points[points["front"] == there]
        reach = {
            k: np.nan_to_num([mine[k] - mine[f"{k}_low"], mine[f"{k}_high"] - mine[k]]).astype(float) for k in "xy"
        }
        if len(mine):
            axes.errorbar(
                mine["x"], mine["y"], xerr=reach["x"], yerr=reach["y"], linestyle="none", elinewidth=0.7, **look
            )
    best = points[points["front"]].sort_values("x")
    axes.plot(best["x"], best["y"], color=BLUE, linewidth=1, zorder=1)
    for number, (_, row) in enumerate(best.iterrows(), 1):
        axes.annotate(str(number), (row["x"], row["y"]), xytext=(6, 5), textcoords="offset points")
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    axes.legend(loc="best", frameon=False)
    return figure
