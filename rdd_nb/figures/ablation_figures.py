"""The figures of notebook 06, on tables of many settings, as pure functions from numbers to a ``Figure``.

Like :mod:`rdd_nb.figures`: no pyplot, and a marker or a dash behind every colour. Accuracies, their differences and
shares come in as fractions and are drawn in per cent or points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.figures import BLUE, COLOURS, GREEN, GREY, ORANGE, PINK, clean_axes, two_panels
from rdd_nb.figures.figure import Figure

__all__ = [
    "interaction_plot",
    "one_factor_at_a_time",
    "pareto_front",
    "search_heat_maps",
    "seeds_needed",
    "variance_components",
    "winners_curse",
]

Values = NDArray[np.floating[Any]]
Curves = Mapping[str, tuple[Values, Values]]  # name → (x, y)
_LINES = ((BLUE, "o", "-"), (ORANGE, "D", "--"), (GREEN, "s", "-."), (PINK, "^", ":"))


def _levels(axes: Axes, levels: Sequence[Any]) -> None:
    """The levels of a factor at equal distances."""
    axes.set_xticks(range(len(levels)), [f"{v:g}" if isinstance(v, float) else str(v) for v in levels])
    axes.set_xlim(-0.35, len(levels) - 0.65)


def _kinds(names: pd.Series) -> list[str]:
    """The different ones, in order; more than there are looks are refused."""
    kinds = list(dict.fromkeys(names))
    if len(kinds) > len(_LINES):
        raise RddError(f"{len(kinds)} kinds of settings: at most {len(_LINES)} can be told apart here")
    return kinds


def one_factor_at_a_time(said: pd.DataFrame, base: Mapping[str, Any]) -> Figure:
    """Majority and minority against each factor, the others at their base level, with intervals; a panel a factor.

    Args:
        said: columns factor, level, side, value, low, high.
        base: of each factor its base level, which a grey stripe marks.
    """
    figure = Figure(figsize=(9.5, 3.7), layout="constrained")
    panels = figure.subplots(1, len(base), sharey=True, squeeze=False)[0]
    for axes, (factor, centre) in zip(panels, base.items()):
        mine = said[said["factor"] == factor]
        levels = sorted(mine["level"].unique().tolist())
        at = levels.index(centre)
        clean_axes(axes).axvspan(at - 0.05 * len(levels), at + 0.05 * len(levels), color="#EEEEEE", zorder=0)
        for (side, part), (colour, marker, dash) in zip(mine.groupby("side", sort=False), _LINES):
            part = part.set_index("level").loc[levels]
            value, low, high = (part[c].to_numpy(float) * 100 for c in ("value", "low", "high"))
            axes.errorbar(
                range(len(levels)),
                value,
                yerr=[value - low, high - value],
                color=colour,
                marker=marker,
                linestyle=dash,
                capsize=3,
                label=str(side),
            )
        _levels(axes, levels)
        axes.set(xlabel=factor, title=f"{factor} alone", ylim=(0, 103))
    panels[0].set_ylabel("accuracy in %, 95 % intervals")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def search_heat_maps(maps: Mapping[str, pd.DataFrame], label: str) -> Figure:
    """Which combinations of two factors a search has evaluated, and what it found there; a panel for each search.

    Args:
        maps: title → a value, as a fraction, for each row and column; NaN, drawn as a cross, where none was evaluated.
        label: what the values are.
    """
    figure = Figure(figsize=(9.5, 3.3), layout="constrained")
    panels = figure.subplots(1, len(maps), squeeze=False, width_ratios=[m.shape[1] for m in maps.values()])[0]
    every = np.concatenate([m.to_numpy(float).ravel() for m in maps.values()]) * 100
    low, high = float(np.nanmin(every)), max(float(np.nanmax(every)), float(np.nanmin(every)) + 1)
    for axes, (title, table) in zip(panels, maps.items()):
        values = table.to_numpy(float) * 100
        picture = axes.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isnan(value):
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="#EEEEEE", edgecolor="white"))
                axes.plot(column, row, "x", color=GREY, markersize=8)
                continue
            red, green, blue, _ = colormaps["viridis"]((value - low) / (high - low))
            ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=ink)
        axes.set_xticks(range(table.shape[1]), [f"{v:g}" for v in table.columns])
        axes.set_yticks(range(table.shape[0]), [f"{v:g}" for v in table.index])
        axes.set(xlabel=str(table.columns.name), ylabel=str(table.index.name), title=title)
        axes.tick_params(length=0)
    figure.colorbar(picture, ax=panels[-1], shrink=0.8, pad=0.02).set_label(label)
    return figure


def interaction_plot(
    lines: pd.DataFrame, gaps: pd.DataFrame, axis: str, outcome: str, contrasts: str = "difference of differences"
) -> Figure:
    """An interaction plot: lines that are not parallel interact. And by how much: a difference of differences a seed.

    Args:
        lines: columns line, level, value, low, high.
        gaps: columns contrast, seed, value (a dot each), low, high (of the contrast's mean, the same in its rows).
        axis: what the levels are of.
        outcome: what the values are.
        contrasts: what the gaps are, where they are not interactions alone.

    Raises:
        RddError: more than four lines.
    """
    figure, left, right = two_panels(3.9)
    levels = sorted(lines["level"].unique().tolist())
    for k, (name, (colour, marker, dash)) in enumerate(zip(_kinds(lines["line"]), _LINES)):
        part = lines[lines["line"] == name].set_index("level").loc[levels]
        value, low, high = (part[c].to_numpy(float) * 100 for c in ("value", "low", "high"))
        reach = [value - low, high - value]
        looks: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": dash, "capsize": 3}
        place = np.arange(len(levels)) + 0.04 * k  # side by side, where intervals overlap
        left.errorbar(place, value, yerr=reach, label=str(name), **looks)
    _levels(left, levels)
    left.set_ylim(0)
    left.set(xlabel=axis, ylabel=f"{outcome} in %", title="Parallel lines would not interact")
    left.legend(frameon=False)
    names = list(dict.fromkeys(gaps["contrast"]))
    right.axvline(0, color=GREY, linestyle=":")
    for y, name in enumerate(names):
        mine = gaps[gaps["contrast"] == name]
        value = mine["value"].to_numpy(float) * 100
        right.plot(value, np.full(len(value), y), "o", color=GREY, alpha=0.5, markersize=5)
        right.hlines(y, mine["low"].iloc[0] * 100, mine["high"].iloc[0] * 100, color="black", linewidth=1.6)
        right.plot([value.mean()], [y], "s", color="black", markersize=7)
    right.set_yticks(range(len(names)), names)
    right.set_ylim(len(names) - 0.5, -0.5)
    right.grid(axis="y", visible=False)
    right.set(xlabel=f"{contrasts}, in points", title="Seeds (dots), their mean, 95 % interval")
    return figure


def seeds_needed(found: Curves, promised: Curves, needed: Curves) -> Figure:
    """How wide an interval is against the number of seeds, and how many seeds an effect of some size needs.

    Args:
        found: kind of effect → numbers of seeds, half width of the 95 % interval measured with so many.
        promised: the same from the spread of all seeds.
        needed: kind of effect → sizes (fractions), seeds to see it four times in five.
    """
    figure, left, right = two_panels(3.9)
    for (name, (x, y)), (colour, marker, dash) in zip(promised.items(), _LINES):
        left.plot(x, y * 100, dash, color=colour, label=f"{name}, promised")
        left.plot(found[name][0], found[name][1] * 100, marker, color=colour, label=f"{name}, found")
    left.set(xlabel="seeds", ylabel="half width, in points (log scale)", title="Width of the 95 % interval")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False)
    for (name, (x, y)), (colour, marker, dash) in zip(needed.items(), _LINES):
        right.plot(x * 100, y, dash, color=colour, marker=marker, label=name)
    right.set(xlabel="size of the effect, in points", ylabel="seeds (log scale)")
    right.set_title("Seeds to see it four times in five")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    return figure


def variance_components(
    parts: Mapping[str, Mapping[str, float]],
    widths: Curves,
    ends: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
) -> Figure:
    """Components of variance as standard deviations, and how interval widths shrink with more networks or seeds.

    Args:
        parts: outcome → source → standard deviation (a fraction); below 0 that of a negative estimate, which has no
            bar and says so.
        widths: name → networks a run, half width of the interval of a paired difference.
        ends: outcome → source → ends of the interval of the standard deviation.
    """
    figure, left, right = two_panels(4.3)
    names, looks = list(parts), ("#BBBBBB", BLUE, "#56B4E9", ORANGE, GREEN)
    every = list(parts[names[0]])
    for k, source in enumerate(every):
        place = np.arange(len(names)) + (k - (len(every) - 1) / 2) * 0.17
        value = np.array([parts[name][source] * 100 for name in names])
        hatch = ("", "//", "\\\\", "..", "xx")[k % 5]
        reach = value if ends is None else np.array([ends[name][source][1] * 100 for name in names])
        left.barh(place, np.maximum(value, 0), 0.15, color=looks[k % 5], edgecolor="white", hatch=hatch, label=source)
        if ends is not None:
            left.hlines(place, [ends[name][source][0] * 100 for name in names], reach, "black", linewidth=1)
        for y, v, end in zip(place, value, np.maximum(reach, value)):
            left.text(max(end, 0), y, f" {v:.1f}" if v >= 0 else " below 0", va="center")
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.grid(axis="y", visible=False)
    bars = "standard deviation, in points" + ("" if ends is None else ", with 95 % intervals")
    left.set(xlabel=bars, title="Where the variance comes from")
    left.margins(x=0.12)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=5, frameon=False)
    for (name, (x, y)), (colour, marker, dash) in zip(widths.items(), _LINES):
        right.plot(x, y * 100, dash, color=colour, marker=marker, label=name)
    right.set(xlabel="networks a run (log scale)", ylabel="half width, in points", xscale="log")
    ticks = sorted({int(v) for x, _ in widths.values() for v in x})
    right.set_xticks(ticks, [str(t) for t in ticks])
    right.minorticks_off()
    right.set_ylim(0)
    right.set_title("Width of the 95 % interval")
    right.legend(frameon=False)
    return figure


def pareto_front(points: pd.DataFrame, star: tuple[float, float] | None = None, most: int = 12) -> Figure:
    """Mean against worst-group accuracy with the Pareto front, and how often a setting is on it over resampled seeds.

    Args:
        points: a row a setting: label, kind (colour and marker), worst, mean, front (bool), often (a share).
        star: worst and mean of a reference.
        most: settings in the right panel; the most frequent.

    Raises:
        RddError: more than four kinds.
    """
    kinds = _kinds(points["kind"])
    figure, left, right = two_panels(4.3)
    looks = {kind: _LINES[k][:2] for k, kind in enumerate(kinds)}
    best = points[points["front"]].sort_values("worst")
    left.plot(best["worst"] * 100, best["mean"] * 100, color=GREY, linewidth=1, zorder=1, label="Pareto front")
    for kind, (colour, marker) in looks.items():
        for there, face in ((True, colour), (False, "white")):
            mine = points[(points["kind"] == kind) & (points["front"] == there)]
            label = str(kind) if there == bool(points.loc[points["kind"] == kind, "front"].any()) else None
            x, y = mine["worst"] * 100, mine["mean"] * 100
            left.plot(x, y, marker, color=colour, markerfacecolor=face, markersize=7, linestyle="none", label=label)
    if star is not None:
        left.plot([star[0] * 100], [star[1] * 100], "*", color="black", markersize=12, label="plain", linestyle="none")
    left.set(xlabel="worst-group accuracy, in %", ylabel="mean accuracy, in %", title="Filled: not dominated")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=5, frameon=False)
    shown = points.sort_values("often", ascending=False, kind="stable").head(most)
    place = np.arange(len(shown))
    for y, (_, row) in zip(place, shown.iterrows()):
        colour, marker = looks[row["kind"]]
        right.hlines(y, 0, row["often"] * 100, color=COLOURS["light"], linewidth=4, zorder=1)
        face = colour if row["front"] else "white"
        right.plot([row["often"] * 100], [y], marker, color=colour, markerfacecolor=face, markersize=7)
    right.set_yticks(place, shown["label"].tolist())
    right.set_ylim(len(shown) - 0.5, -0.5)
    right.grid(axis="y", visible=False)
    right.set(xlabel="on the front, in % of the resamples of seeds", xlim=(-3, 103), title="Stability of the front")
    return figure


def winners_curse(by_seeds: Mapping[str, tuple[Values, Values]], by_settings: Curves) -> Figure:
    """Accuracy that a selected setting claims and holds: by seeds used to select, and by settings compared.

    Args:
        by_seeds: name of a line → numbers of seeds, accuracy (a fraction).
        by_settings: name of a line → numbers of settings, claimed minus held accuracy (a fraction).
    """
    figure, left, right = two_panels(3.9)
    for (name, (x, y)), (colour, marker, dash) in zip(by_seeds.items(), _LINES):
        left.plot(x, y * 100, dash, color=colour, marker=marker, label=name)
    low = min(float(y.min()) for _, y in by_seeds.values()) * 100
    left.set(xlabel="seeds used for the selection", title="The selected setting")
    left.set_ylabel(f"accuracy in % (axis cut at {low:.1f})")
    for (name, (x, y)), (colour, marker, dash) in zip(by_settings.items(), _LINES):
        right.plot(x, y * 100, dash, color=colour, marker=marker, label=name)
    right.axhline(0, color=GREY, linestyle=":")
    right.set(
        xlabel="settings to choose from", ylabel="claimed minus held, in points", title="Optimism of the selection"
    )
    right.set_xlim(0)
    right.set_xticks(sorted({int(v) for x, _ in by_settings.values() for v in x}))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.legend(frameon=False)
    return figure
