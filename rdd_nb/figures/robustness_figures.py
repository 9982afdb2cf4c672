"""The figures of notebook 04, on robustness and cross-architecture generalisation, from tables to a ``Figure``.

Like :mod:`rdd_nb.figures`: no pyplot, and a marker or a dash behind every colour. Accuracies come in as shares and are
drawn in per cent. A training set has the colour of its method in :mod:`rdd_nb.figures.study_figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.figures import COLOURS, GREY, clean_axes
from rdd_nb.figures.figure import Figure

__all__ = ["cross_architecture", "evaluation_table", "protocol_effects", "selection_on_test_set", "severity_curves"]

Floats = NDArray[np.floating[Any]]
_SETS = {  # name → colour (Okabe and Ito's), marker, dash
    "random": ("#CC79A7", "^", ":"),
    "medoids": ("#E69F00", "s", "--"),
    "plain": ("#666666", "o", "-"),
    "robust": ("#009E73", "D", "-."),
}
_OTHERS = (("#0072B2", "v", "-"), ("#D55E00", "P", "--"), ("#56B4E9", "X", "-."), ("#000000", "*", ":"))


def _styles(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and dash of each set; names that are not known take what is left."""
    others = [name for name in names if name not in _SETS]
    if len(others) > len(_OTHERS):
        raise RddError(f"{len(names)} sets cannot be told apart in one figure: draw at most {len(_OTHERS)} more than 4")
    return {name: _SETS[name] if name in _SETS else _OTHERS[others.index(name)] for name in names}


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """A row for each name, the first on top, parted by thin lines."""
    clean_axes(axes, "x").spines["left"].set_visible(False)
    axes.set_yticks(range(len(names)), list(names))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    for y in range(1, len(names)):
        axes.axhline(y - 0.5, color="#EEEEEE", linewidth=0.8, zorder=0)


def _legend(figure: Figure, axes: Axes, columns: int = 6) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)


def _offsets(count: int) -> Floats:
    """Where the marks of ``count`` sets stand within a row of height 1."""
    return (np.arange(count) - (count - 1) / 2) * 0.8 / max(count, 4)


def evaluation_table(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """The paper's evaluation table as dots: a row a metric, a mark with an interval for each set; a panel a table.

    Args:
        tables: title → columns set, metric, value, low, high (shares; NaN ends are not drawn). Rows follow the first
            table's metrics; what another lacks stays empty.
    """
    first = next(iter(tables.values()))
    metrics = list(dict.fromkeys(first["metric"]))
    styles = _styles(list(dict.fromkeys(name for t in tables.values() for name in t["set"])))
    figure = Figure(figsize=(4.75 * len(tables), 0.55 * len(metrics) + 1.7), layout="constrained")
    for k, (title, table) in enumerate(tables.items()):
        axes = figure.add_subplot(1, len(tables), k + 1)
        _rows(axes, metrics if k == 0 else [""] * len(metrics))
        for (name, (colour, marker, _)), shift in zip(styles.items(), _offsets(len(styles))):
            mine = table[(table["set"] == name) & table["metric"].isin(metrics)]
            place = np.array([metrics.index(m) for m in mine["metric"]]) + shift
            value, low, high = (mine[c].to_numpy(float) * 100 for c in ("value", "low", "high"))
            axes.hlines(place, low, high, color=colour, linewidth=2)
            axes.plot(value, place, marker, color=colour, markersize=6.5, linestyle="none", label=name)
        axes.set(xlim=(-2, 102), xlabel="accuracy in %, with 95 % intervals")
        axes.set_title(title)
    _legend(figure, figure.axes[0])
    return figure


def severity_curves(curves: pd.DataFrame, chance: float) -> Figure:
    """Accuracy against the severity of each corruption, a line a set; dots where it was measured.

    Args:
        curves: columns set, kind, severity, value (shares): a row a point.
        chance: accuracy of guessing, as a share.
    """
    kinds = list(dict.fromkeys(curves["kind"]))
    styles = _styles(list(dict.fromkeys(curves["set"])))
    figure = Figure(figsize=(9.5, 3.7), layout="constrained")
    panels: list[Axes] = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0].tolist()
    for axes, kind in zip(panels, kinds):
        clean_axes(axes).axhline(chance * 100, color="black", linestyle=":", linewidth=1, label="guessing")
        axes.axvline(1, color=COLOURS["light"], linewidth=5, zorder=0, label="the released code's strength")
        for name, (colour, marker, dash) in styles.items():
            mine = curves[(curves["set"] == name) & (curves["kind"] == kind)].sort_values("severity")
            axes.plot(
                mine["severity"], mine["value"] * 100, dash, color=colour, marker=marker, markersize=5, label=name
            )
        axes.set(xlabel="severity", title=kind, ylim=(0, 100))
    panels[0].set_ylabel("accuracy in %")
    _legend(figure, panels[0])
    return figure


def cross_architecture(panels: Mapping[str, Mapping[str, pd.DataFrame]], chance: float) -> Figure:
    """Accuracy of every architecture on every set: a column a way of training, a row each for majority and minority.

    Args:
        panels: way → side → a table of shares, a row an architecture, a column a set.
        chance: accuracy of guessing, as a share.
    """
    ways, sides = list(panels), list(next(iter(panels.values())))
    tables = next(iter(panels.values()))
    names = list(next(iter(tables.values())).index)
    styles = _styles(list(next(iter(tables.values())).columns))
    figure = Figure(figsize=(9.5, (0.34 * len(names) + 0.75) * len(sides) + 0.7), layout="constrained")
    grid = figure.subplots(len(sides), len(ways), sharex=True, squeeze=False)
    for (r, c), axes in np.ndenumerate(grid):
        table = panels[ways[c]][sides[r]]
        _rows(axes, names if c == 0 else [""] * len(names))
        axes.axvline(chance * 100, color="black", linestyle=":", linewidth=1, label="guessing")
        for (name, (colour, marker, _)), shift in zip(styles.items(), _offsets(len(styles))):
            axes.plot(
                table[name] * 100, np.arange(len(names)) + shift, marker, color=colour, markersize=6.5, label=name
            )
        axes.set_xlim(0, 100)
        axes.set_title(f"{sides[r]}: {ways[c]}" if len(sides) > 1 else ways[c])
        if r == len(sides) - 1:
            axes.set_xlabel("accuracy in %")
    _legend(figure, grid[0, 0])
    return figure


def protocol_effects(
    accuracy: Mapping[str, pd.DataFrame],
    parts: Mapping[str, Mapping[str, float]],
    noise: Mapping[str, float] | None = None,
) -> Figure:
    """The same sets under several evaluation protocols, and the standard deviation that each source contributes.

    Args:
        accuracy: side → a table of shares, a row a protocol, a column a set.
        parts: side → source → standard deviation (a share), from :func:`rdd_nb.evaluation.corruptions.spreads`.
        noise: side → what noise alone gives in ``both`` (:func:`rdd_nb.evaluation.corruptions.interaction`): a line.
    """
    first = next(iter(accuracy.values()))
    styles = _styles(list(first.columns))
    sources = list(next(iter(parts.values())))
    figure = Figure(figsize=(9.5, 0.36 * max(len(first), len(sources) + 1) + 1.7), layout="constrained")
    panels: list[Axes] = figure.subplots(1, len(accuracy) + 1, squeeze=False)[0].tolist()
    for k, (axes, (side, table)) in enumerate(zip(panels, accuracy.items())):
        _rows(axes, list(table.index) if k == 0 else [""] * len(table))
        for (name, (colour, marker, _)), shift in zip(styles.items(), _offsets(len(styles))):
            axes.plot(table[name] * 100, np.arange(len(table)) + shift, marker, color=colour, markersize=6, label=name)
        axes.set(xlim=(0, 100), xlabel="accuracy in %", title=side)
    bars = panels[-1]
    _rows(bars, sources)
    height = 0.7 / len(parts)
    looks = ((COLOURS["majority"], ""), (COLOURS["minority"], "///"), (GREY, ".."))
    for (side, values), shift, (colour, hatch) in zip(parts.items(), (np.arange(len(parts)) * height), looks):
        place = np.arange(len(sources)) + shift - height * (len(parts) - 1) / 2
        width = np.nan_to_num([values[s] * 100 for s in sources])
        bars.barh(place, width, height * 0.9, color=colour, hatch=hatch, edgecolor="white", label=side)
        for y, value in zip(place, width):
            bars.text(value + 0.3, y, f"{value:.1f}", va="center")
        if noise is not None and np.isfinite(noise[side]):
            y = place[sources.index("both")]
            label = "" if "noise alone" in bars.get_legend_handles_labels()[1] else "noise alone"
            bars.vlines(noise[side] * 100, y - height * 0.45, y + height * 0.45, "black", linewidth=2, label=label)
    bars.set_xlim(0, max(max(v[s] for s in sources if v[s] == v[s]) for v in parts.values()) * 118 + 0.5)
    bars.set(xlabel="standard deviation in points", title="Sources of variation")
    bars.legend(frameon=False, loc="lower right")
    _legend(figure, panels[0])
    return figure


def selection_on_test_set(
    counts: NDArray[np.integer[Any]], lead: Mapping[str, Floats], wins: Mapping[str, Floats]
) -> Figure:
    """How far a method that selects among ``counts`` candidates leads the same method without selection, and how often.

    Args:
        counts: m, ``[M]``.
        lead: way of choosing → mean lead as a share, ``[M]``.
        wins: the same ways → the share of draws with a lead, ``[M]``.

    Raises:
        RddError: the two name different ways.
    """
    if list(lead) != list(wins):
        raise RddError(f"leads of {list(lead)} and wins of {list(wins)}: give both for the same ways of choosing")
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    left, right = map(clean_axes, figure.subplots(1, 2))
    for axes, values in ((left, lead), (right, wins)):
        for (way, y), (colour, marker, dash) in zip(values.items(), _OTHERS):
            axes.plot(counts, y * 100, dash, color=colour, marker=marker, markersize=6.5, label=way)
        axes.set_xlabel("number of candidates m")
        axes.set_xticks(counts)
    left.axhline(0, color="black", linewidth=1)
    left.set(ylabel="reported lead in points", title="Reported lead")
    smooth = np.linspace(counts.min(), counts.max(), 60)
    right.plot(smooth, 100 * smooth / (smooth + 1), color=GREY, linewidth=4, alpha=0.35, zorder=0)
    middle = 0.75 * float(counts.max())
    right.text(middle, 100 * middle / (middle + 1) + 3, "m / (m + 1)", color=GREY, ha="center", va="bottom")
    right.axhline(50, color="black", linewidth=1)
    right.set(ylabel="draws in which it leads, in %", title="Win rate", ylim=(0, 100))
    _legend(figure, left, 2)
    return figure
