"""The figures of a study, as pure functions from its tidy tables to a matplotlib ``Figure``.

They take what :func:`rdd_nb.results.load_table` reads (or :func:`rdd_nb.study_tables.collect` gives) and draw means
over seeds with t-intervals over seeds, so the intervals are about scenario, groups, distillation and nets drawn anew. A
side of the data has the colour and the marker that it has in :mod:`rdd_nb.figures`, a method a colour and a dash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rdd_nb import results
from rdd_nb.errors import RddError, unknown
from rdd_nb.figures import COLOURS

__all__ = [
    "METHODS",
    "Side",
    "mechanism_figure",
    "methods_figure",
    "selection_figure",
    "sensitivity_figure",
    "sides",
    "split_name",
    "summary",
    "swept",
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
_MARKERS = {"majority": "o", "minority": "D"}
_COLUMNS = 3  # panels in a row


class Side(NamedTuple):
    """One side of a scenario's data: where its numbers stand in a summary, and what to call it."""

    kind: str  #: ``majority`` or ``minority``, which decides colour and marker
    partition: str
    group: str
    label: str


def summary(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """:func:`rdd_nb.results.summary` of :func:`with_worst_class`, which has two sides for every scenario."""
    return results.summary(with_worst_class(table), level)


def with_worst_class(table: pd.DataFrame) -> pd.DataFrame:
    """A study's table in which the classes are the named groups of scenarios that name no groups and no minority.

    So such a scenario has a worst one too, in :func:`rdd_nb.results.summary` and :func:`rdd_nb.results.differences`.
    """
    named = set(table.loc[table["partition"].isin(["group", "minority"]), "scenario"])
    classes = table[(table["partition"] == "class") & ~table["scenario"].isin(named)]
    return pd.concat([table, classes.assign(partition="group")], ignore_index=True)


def sides(said: pd.DataFrame, scenario: str) -> tuple[Side, Side]:
    """The two numbers that tell a scenario's story: majority and minority, or all and the worst.

    The worst class or stratum stands for the minority where none is marked, and in hidden strata, whose rare strata are
    hidden in different classes, so that their mean hides the one that is lost. A worst of several is, over few samples,
    a little below the truth (:mod:`rdd_nb.subgroups`).

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
    """A name with the point of a grid, as :mod:`rdd_nb.plan` writes it, taken apart.

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


def _values(said: pd.DataFrame, scenario: str, side: Side) -> pd.DataFrame:
    """Mean, low and high in % of one side of a scenario, a row a method."""
    mine = said[(said["scenario"] == scenario) & (said["partition"] == side.partition) & (said["group"] == side.group)]
    return mine.set_index("method")[["mean", "low", "high"]] * 100


def _beside_plain(said: pd.DataFrame, gains: pd.DataFrame | None, scenario: str, side: Side) -> pd.Series:
    """Of each method plain's mean in % plus its paired gain; its own mean where the scenario has no plain."""
    means = _values(said, scenario, side)["mean"]
    if gains is None or "plain" not in means.index:
        return means
    mine = gains[
        (gains["scenario"] == scenario) & (gains["partition"] == side.partition) & (gains["group"] == side.group)
    ]
    return pd.concat([means[["plain"]], means["plain"] + 100 * mine.set_index("method")["difference"]])


def _chosen(names: Sequence[str] | None, known: pd.Series, kind: str) -> list[str]:
    there = list(dict.fromkeys(known))
    for name in names or ():
        if name not in there:
            raise unknown(kind, name, there, "the table")
    return there if names is None else list(names)


def _panels(count: int, height: float, width: float = 3.7) -> tuple[Figure, list[Axes]]:
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


def _style(methods: Sequence[str]) -> Iterator[tuple[str, str, str]]:
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
    shown = _chosen(scenarios, said["scenario"], "scenario")
    methods = list(dict.fromkeys(said.loc[said["scenario"].isin(shown), "method"]))
    figure, panels = _panels(len(shown), 0.27 * len(methods) + 1.3)
    for k, (axes, scenario) in enumerate(zip(panels, shown)):
        both = [(side, _values(said, scenario, side).reindex(methods)) for side in sides(said, scenario)]
        rows = np.arange(len(methods))
        axes.hlines(rows, both[0][1]["mean"], both[1][1]["mean"], color=COLOURS["light"], linewidth=4, zorder=1)
        for (side, values), shift in zip(both, (-0.12, 0.12)):
            colour = COLOURS[side.kind]
            axes.hlines(rows + shift, values["low"], values["high"], color=colour, linewidth=1.2, zorder=2)
            if "plain" in values.index and np.isfinite(values.loc["plain", "mean"]):
                axes.axvline(values.loc["plain", "mean"], color=colour, linewidth=0.9, alpha=0.4, zorder=0)
            axes.plot(values["mean"], rows + shift, _MARKERS[side.kind], color=colour, label=side.label, markersize=5.5)
        axes.set_yticks(rows, methods if k % _COLUMNS == 0 else [""] * len(methods))
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#EEEEEE")
        axes.spines["left"].set_visible(False)
        axes.set_title(scenario, pad=20)
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 0.98),
            ncols=2,
            frameon=False,
            fontsize=8,
            columnspacing=1,
            handletextpad=0,
        )
    figure.supxlabel("accuracy in %, with 95 % intervals over seeds", fontsize=10)
    return figure


# --- the mechanism ------------------------------------------------------------------------------------------------


def mechanism_figure(mechanism: pd.DataFrame, scenario: str, methods: Sequence[str] | None = None) -> Figure:
    """How robust matching works: what is matched, what the synthetic set covers, where the nets' losses lie.

    Left, the minority's share in what is matched (the mean over classes); middle, the share of real images within a
    radius of a synthetic one of their class; right, the mean of the nets' largest test losses against the fraction
    averaged. Minority solid with a band of one standard deviation between seeds, majority faint.

    Args:
        mechanism: from :func:`rdd_nb.study_tables.collect` or the table that it is kept in.
        scenario: of the table.
        methods: which, in which order; by default those of :data:`METHODS` that are present.

    Raises:
        RddError: no such scenario or method in the table.
    """
    if scenario not in set(mechanism["scenario"]):
        raise unknown("scenario", scenario, list(dict.fromkeys(mechanism["scenario"])), "the table of curves")
    mine = mechanism[mechanism["scenario"] == scenario]
    there = set(mine["method"])
    shown = _chosen(methods if methods is not None else [m for m in METHODS if m in there], mine["method"], "method")
    named = [side for side in dict.fromkeys(mine.loc[mine["quantity"] == "cvar", "side"]) if side != "all"]
    faint, solid = (named[0], named[-1]) if len(named) > 1 else (None, "all")
    figure, (mass, coverage, cvar) = _panels(3, 3.2)
    _mass(mass, mine, shown)
    for axes, quantity in ((coverage, "coverage"), (cvar, "cvar")):
        for method, colour, dash in _style(shown):
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
    coverage.set_title(f"covered: {said}", fontsize=9)
    coverage.set_ylim(0, 101)
    cvar.set(xlabel="fraction of largest losses averaged", ylabel="mean of these losses, nats", xscale="log")
    cvar.set_ylim(bottom=0)
    cvar.set_title(f"lost: {said}", fontsize=9)
    cvar.legend(frameon=False, fontsize=8)
    figure.suptitle(scenario)
    return figure


def _mass(axes: Axes, mine: pd.DataFrame, methods: Sequence[str]) -> None:
    held = mine[mine["quantity"] == "mass"].set_index("method")
    axes.set_title("matched", fontsize=9)
    if held.empty:
        axes.text(0.5, 0.5, "no minority is marked", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    styled = [(m, colour) for m, colour, _ in _style(methods) if m in held.index]
    shares = [float(held.loc[method, "value"]) * 100 for method, _ in styled]
    reach = [float(np.nan_to_num(held.loc[method, "sd"])) * 100 for method, _ in styled]
    bars = axes.bar([m for m, _ in styled], shares, color=[c for _, c in styled], yerr=reach, width=0.65)
    axes.bar_label(bars, [f"{share:.0f}" for share in shares], fontsize=8, padding=2)
    if len(styled) > 4:
        axes.tick_params(axis="x", rotation=25)
    axes.set_ylabel(f"{held['side'].iloc[0]} in what is matched, %")
    axes.set_ylim(0, min(115, max(shares) * 1.2 + 1))
    axes.grid(axis="y", color="#EEEEEE")


# --- swept values -------------------------------------------------------------------------------------------------

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
    said = swept(summary(table), parameter, default)
    shown = _chosen(scenarios, said.loc[said["at"].notna(), "panel"], "scenario")
    ticks = list(dict.fromkeys(said["at"].dropna()))
    words = any(isinstance(at, str) for at in ticks)
    ticks = ticks if words else sorted(ticks)
    where = {at: k if words else at for k, at in enumerate(ticks)}
    low, high = min(where.values()), max(where.values())
    figure, panels = _panels(len(shown), 3.1)
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
                x, colour, mark = x[order], COLOURS[side.kind], "" if level else _MARKERS[side.kind]
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
        axes.set_xticks([float(where[at]) for at in ticks], [at if words else f"{at:g}" for at in ticks], fontsize=8)
        if words and len(ticks) > 3:
            axes.tick_params(axis="x", rotation=25)
        axes.set(xlabel=parameter.replace("_", " "), ylim=(0, 100))
        axes.set_title(panel, fontsize=10)
        axes.grid(color="#EEEEEE")
        axes.legend(frameon=False, fontsize=7)
    figure.supylabel("accuracy in %", fontsize=10)
    return figure


def swept(said: pd.DataFrame, parameter: str, default: float | str | None = None) -> pd.DataFrame:
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
    shown = _chosen(scenarios, said["scenario"], "scenario")
    lines = _grid_lines(said, along)
    beside = dict(zip(lines, ((4, 4), (4, -10), (-20, 4), (-20, -10)) * len(lines)))
    figure, panels = _panels(len(shown), 3.2)
    for axes, scenario in zip(panels, shown):
        across, up = sides(said, scenario)
        x, y = (_beside_plain(said, gains, scenario, side) for side in (across, up))
        for name, colour, dash in _style(list(lines)):
            points = [(at, x[m], y[m]) for at, m in lines[name] if m in x.index and m in y.index]
            if not points:
                continue
            ats, xs, ys = zip(*points)
            axes.plot(xs, ys, dash, marker="o", markersize=4.5, color=colour, label=name)
            for at, here, there in zip(ats, xs, ys):
                said_at = f"{at:g}" if isinstance(at, float) else at
                axes.annotate(
                    said_at, (here, there), xytext=beside[name], textcoords="offset points", fontsize=7, color=colour
                )
        if "plain" in x.index:
            axes.plot(x["plain"], y["plain"], "*", color=COLOURS["grey"], markersize=11, label="plain", zorder=3)
        axes.set(xlabel=f"{across.label}, %", ylabel=f"{up.label}, %")
        axes.set_title(scenario, fontsize=10)
        axes.margins(0.12)
        _widen(axes)
        axes.grid(color="#EEEEEE")
    panels[0].legend(frameon=False, fontsize=7, title=f"numbers: {along}, or as said", title_fontsize=7)
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
