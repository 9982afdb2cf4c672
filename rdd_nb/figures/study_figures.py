"""The figures of a study, as pure functions from its tidy tables to a matplotlib ``Figure``.

They take what :func:`rdd_nb.evaluation.results.load_table` reads (or what
:func:`rdd_nb.experiments.study.tables.collect` gives) and draw means over seeds with t-intervals over seeds, so the
intervals cover scenario, groups, distillation and nets drawn anew. Majority and minority have the colours and markers
that they have in :mod:`rdd_nb.figures`, a method a colour and a dash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rdd_nb.core.errors import unknown
from rdd_nb.evaluation import results
from rdd_nb.figures import COLOURS
from rdd_nb.figures.figure import Figure, legend_name

__all__ = [
    "METHODS",
    "Side",
    "mechanism_figure",
    "methods_figure",
    "sides",
    "split_name",
    "summary",
    "with_worst_class",
]

#: The chain from plain matching to its oracle, each with a colour (Okabe and Ito's) and a dash.
METHODS: dict[str, tuple[str, str]] = {
    "plain": ("#666666", "-"),
    "robust": ("#009E73", "-"),
    "shuffled": ("#CC79A7", "--"),
    "robust known": ("#56B4E9", ":"),
    "known": ("#E69F00", "-."),
    "oracle": ("#E69F00", "-."),
}
_OTHERS = (("#0072B2", ":"), ("#D55E00", "--"), ("#000000", ":"), ("#009E73", "-"), ("#CC79A7", "-."))
MARKERS = {"majority": "o", "minority": "D"}
_COLUMNS = 3  # panels in a row


class Side(NamedTuple):
    """One side of a scenario's data: where its numbers stand in a summary, and what to call it."""

    kind: str  #: ``majority`` or ``minority``, which decides colour and marker
    partition: str
    group: str
    label: str


def summary(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """:func:`rdd_nb.evaluation.results.summary` of :func:`with_worst_class`, which has two sides for every scenario."""
    return results.summary(with_worst_class(table), level)


def with_worst_class(table: pd.DataFrame) -> pd.DataFrame:
    """A study's table in which the classes are the named groups of scenarios that name no groups and no minority.

    So such a scenario has a worst one too, in :func:`rdd_nb.evaluation.results.summary` and
    :func:`rdd_nb.evaluation.results.differences`.
    """
    named = set(table.loc[table["partition"].isin(["group", "minority"]), "scenario"])
    classes = table[(table["partition"] == "class") & ~table["scenario"].isin(named)]
    return pd.concat([table, classes.assign(partition="group")], ignore_index=True)


def sides(said: pd.DataFrame, scenario: str) -> tuple[Side, Side]:
    """The two numbers that tell a scenario's story: majority and minority, or all and the worst.

    The worst class or stratum stands for the minority where none is marked, and in hidden strata, whose rare strata are
    hidden in different classes, so that their mean hides the one that is lost. A worst of several is, over few samples,
    a little below the truth (:mod:`rdd_nb.evaluation.subgroups`).

    Args:
        said: from :func:`summary`.
        scenario: of the table.

    Raises:
        RddError: no such scenario.
    """
    mine = said[said["scenario"] == scenario]
    if mine.empty:
        raise unknown("scenario", scenario, list(dict.fromkeys(said["scenario"])), "the table")
    marked = list(dict.fromkeys(mine.loc[mine["partition"] == "minority", "group"]))
    hidden = any("strata" in name for name in marked)
    if len(marked) == 2 and not hidden:
        return Side("majority", "minority", marked[0], marked[0]), Side("minority", "minority", marked[1], marked[1])
    worst = "worst stratum" if hidden else "worst class"
    return Side("majority", "all", "all", "all"), Side("minority", "worst", "worst", worst)


def split_name(name: str) -> tuple[str, dict[str, float | str]]:
    """A name with the point of a grid, as :mod:`rdd_nb.experiments.study.plan` writes it, taken apart.

    >>> split_name("robust tail=0.2 init=noise")
    ('robust', {'tail': 0.2, 'init': 'noise'})
    >>> split_name("whole group DRO")
    ('whole group DRO', {})
    """
    found = re.findall(r" ([A-Za-z_]\w*)=(\S+)", name)
    return re.sub(r" [A-Za-z_]\w*=\S+", "", name), {key: _number(value) for key, value in found}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def values_of(said: pd.DataFrame, scenario: str, side: Side) -> pd.DataFrame:
    """Mean, low and high in % of one side of a scenario, a row a method."""
    mine = said[(said["scenario"] == scenario) & (said["partition"] == side.partition) & (said["group"] == side.group)]
    return mine.set_index("method")[["mean", "low", "high"]] * 100


def beside_plain(said: pd.DataFrame, gains: pd.DataFrame | None, scenario: str, side: Side) -> pd.Series:
    """Of each method plain's mean in % plus its paired gain; its own mean where the scenario has no plain."""
    means = values_of(said, scenario, side)["mean"]
    if gains is None or "plain" not in means.index:
        return means
    mine = gains[
        (gains["scenario"] == scenario) & (gains["partition"] == side.partition) & (gains["group"] == side.group)
    ]
    return pd.concat([means[["plain"]], means["plain"] + 100 * mine.set_index("method")["difference"]])


def chosen(names: Sequence[str] | None, known: pd.Series, kind: str) -> list[str]:
    """``names``, or all that are known; a name that is not is told."""
    there = list(dict.fromkeys(known))
    for name in names or ():
        if name not in there:
            raise unknown(kind, name, there, "the table")
    return there if names is None else list(names)


def make_panels(count: int, height: float, width: float = 3.7) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels, three in a row."""
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns + 0.6, height * rows + 0.4), layout="constrained")
    every = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in every[count:]:
        axes.remove()
    for axes in every[:count]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    return figure, every[:count]


def style(methods: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Each method with its colour and dash."""
    spare = iter(_OTHERS * (len(methods) // len(_OTHERS) + 1))
    for method in methods:
        yield (method, *(METHODS[method] if method in METHODS else next(spare)))


def methods_figure(table: pd.DataFrame, scenarios: Sequence[str] | None = None) -> Figure:
    """Every method on every scenario: both sides' accuracies as two dots, joined by the gap between them.

    A panel a scenario, a row a method (as sorted in the table); bars through the dots are 95 % t-intervals over seeds,
    none where there is one seed; faint vertical lines carry plain's values through the other rows.

    Args:
        table: of a study.
        scenarios: which, in which order; by default all.

    Raises:
        RddError: no rows, or no such scenario.
    """
    said = summary(table)
    shown = chosen(scenarios, said["scenario"], "scenario")
    methods = list(dict.fromkeys(said.loc[said["scenario"].isin(shown), "method"]))
    figure, panels = make_panels(len(shown), 0.27 * len(methods) + 1.3)
    for k, (axes, scenario) in enumerate(zip(panels, shown)):
        both = [(side, values_of(said, scenario, side).reindex(methods)) for side in sides(said, scenario)]
        rows = np.arange(len(methods))
        axes.hlines(rows, both[0][1]["mean"], both[1][1]["mean"], color=COLOURS["light"], linewidth=4, zorder=1)
        for (side, values), shift in zip(both, (-0.12, 0.12)):
            colour = COLOURS[side.kind]
            axes.hlines(rows + shift, values["low"], values["high"], color=colour, linewidth=1.2, zorder=2)
            if "plain" in values.index and np.isfinite(values.loc["plain", "mean"]):
                axes.axvline(values.loc["plain", "mean"], color=colour, linewidth=0.9, alpha=0.4, zorder=0)
            axes.plot(
                values["mean"],
                rows + shift,
                MARKERS[side.kind],
                color=colour,
                label=legend_name(side.label),
                markersize=5.5,
            )
        axes.set_yticks(rows, methods if k % _COLUMNS == 0 else [""] * len(methods))
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#EEEEEE")
        axes.spines["left"].set_visible(False)
        axes.set_title(scenario, pad=38)
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 0.98),
            frameon=False,
            labelspacing=0.1,
            handletextpad=0,
        )
    figure.supxlabel("accuracy in %, with 95 % intervals over seeds")
    return figure


# --- the mechanism ------------------------------------------------------------------------------------------------


def mechanism_figure(mechanism: pd.DataFrame, scenario: str, methods: Sequence[str] | None = None) -> Figure:
    """How robust matching works: what is matched, what the synthetic set covers, where the nets' losses lie.

    Left, the minority's share in what is matched (the mean over classes); middle, the share of real images within a
    radius of a synthetic one of their class; right, the mean of the nets' largest test losses against the fraction
    averaged. Minority solid with a band of one standard deviation between seeds, majority faint.

    Args:
        mechanism: from :func:`rdd_nb.experiments.study.tables.collect` or the table that it is kept in.
        scenario: of the table.
        methods: which, in which order; by default those of :data:`METHODS` that are present.

    Raises:
        RddError: no such scenario or method in the table.
    """
    if scenario not in set(mechanism["scenario"]):
        raise unknown("scenario", scenario, list(dict.fromkeys(mechanism["scenario"])), "the table of curves")
    mine = mechanism[mechanism["scenario"] == scenario]
    there = set(mine["method"])
    shown = chosen(methods if methods is not None else [m for m in METHODS if m in there], mine["method"], "method")
    named = [side for side in dict.fromkeys(mine.loc[mine["quantity"] == "cvar", "side"]) if side != "all"]
    faint, solid = (named[0], named[-1]) if len(named) > 1 else (None, "all")
    figure, (mass, coverage, cvar) = make_panels(3, 3.2)
    _mass(mass, mine, shown)
    for axes, quantity in ((coverage, "coverage"), (cvar, "cvar")):
        for method, colour, dash in style(shown):
            for side, alpha, wide in ((faint, 0.35, 1.0), (solid, 1.0, 1.8)):
                curve = mine[(mine["method"] == method) & (mine["quantity"] == quantity) & (mine["side"] == side)]
                if curve.empty:
                    continue
                scale = 100 if quantity == "coverage" else 1
                x, y, sd = (curve[name].to_numpy(float) for name in ("x", "value", "sd"))
                label = method if side == solid else None
                axes.plot(x, y * scale, dash, color=colour, alpha=alpha, linewidth=wide, label=label)
                if side == solid and np.isfinite(sd).all():
                    axes.fill_between(x, (y - sd) * scale, (y + sd) * scale, color=colour, alpha=0.12, linewidth=0)
        axes.grid(color="#EEEEEE")
    said = f"{solid} solid, {faint} faint" if faint else "all images"
    coverage.set(xlabel="radius (1: typical distance in a class)", ylabel="% of real images within it")
    coverage.set_title(f"covered: {said}")
    coverage.set_ylim(0, 101)
    cvar.set(xlabel="fraction of largest losses averaged", ylabel="mean of these losses, nats", xscale="log")
    cvar.set_ylim(bottom=0)
    cvar.set_title(f"lost: {said}")
    cvar.legend(frameon=False)
    figure.suptitle(scenario)
    return figure


def _mass(axes: Axes, mine: pd.DataFrame, methods: Sequence[str]) -> None:
    held = mine[mine["quantity"] == "mass"].set_index("method")
    axes.set_title("matched")
    if held.empty:
        axes.text(0.5, 0.5, "no minority is marked", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    styled = [(m, colour) for m, colour, _ in style(methods) if m in held.index]
    shares = [float(held.loc[method, "value"]) * 100 for method, _ in styled]
    reach = [float(np.nan_to_num(held.loc[method, "sd"])) * 100 for method, _ in styled]
    bars = axes.bar([m for m, _ in styled], shares, color=[c for _, c in styled], yerr=reach, width=0.65)
    axes.bar_label(bars, [f"{share:.0f}" for share in shares], padding=2)
    if len(styled) > 4:
        axes.tick_params(axis="x", rotation=25)
    axes.set_ylabel(f"{held['side'].iloc[0]} in what is matched, %")
    axes.set_ylim(0, min(115, max(shares) * 1.2 + 1))
    axes.grid(axis="y", color="#EEEEEE")
