"""The figures of notebook 05, on subgroup analysis, as pure functions from tables and arrays to a ``Figure``.

Like :mod:`rdd_nb.figures`: no pyplot, and a marker, a hatch or a dash behind every colour. Of two sets, the first is
dashed and hollow, the second drawn in full. Accuracies come in as shares and are drawn in per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.figures import BLUE, COLOURS, GREEN, GREY, ORANGE, PINK, captioned_sheet, clean_axes, two_panels
from rdd_nb.figures.figure import Figure, legend_name, shortened

__all__ = [
    "class_group_heat_map",
    "confusion_matrices",
    "coverage_and_accuracy",
    "cvar_and_calibration",
    "lollipops",
    "paired_differences",
    "worst_group_bias",
]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Means = Mapping[int, Floats]
Curves = Mapping[str, Mapping[str, tuple[Floats, Floats]]]  # set → side → (x, y)
_LINES = ((BLUE, "o", "-"), (ORANGE, "D", "--"), (GREEN, "s", "-."), (PINK, "^", ":"))


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """A row for each name, the first on top."""
    clean_axes(axes, "x").spines["left"].set_visible(False)
    axes.set_yticks(range(len(names)), list(names))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _counted(name: object, n: int) -> str:
    return f"{shortened(str(name), 30)} ({n:,})"


def _hollow(first: bool, colour: str) -> dict[str, Any]:
    return {"markerfacecolor": "white" if first else colour, "markeredgecolor": colour, "markeredgewidth": 1.5}


def lollipops(tables: Mapping[str, pd.DataFrame], nulls: Mapping[str, tuple[Floats, Floats]], most: int = 14) -> Figure:
    """Groups from the worst up, with both their intervals and what groups that are all alike would show.

    Args:
        tables: title → :func:`rdd_nb.evaluation.subgroups.group_table`; empty groups are left out.
        nulls: title → ends ``[k]`` of the band for the worst of the k groups, the second worst, and so on, such as that
            of :func:`rdd_nb.evaluation.intervals.rank_envelope`.
        most: groups drawn; the worst.

    Raises:
        RddError: a band for another number of groups.
    """
    sorted_tables = {name: t[t["n"] > 0].sort_values("accuracy", kind="stable") for name, t in tables.items()}
    tallest = max(min(len(t), most) for t in sorted_tables.values())
    figure = Figure(figsize=(4.75 * len(tables), 0.29 * tallest + 1.9), layout="constrained")
    for axes, (title, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], sorted_tables.items()):
        low, high = (np.asarray(end, float) for end in nulls[title])
        if not low.shape == high.shape == (len(table),):
            raise RddError(
                f"{title!r} has {len(table)} groups with samples and a null band {low.shape}: give one a rank"
            )
        count, groups = min(len(table), most), len(table)
        table, low, high = table.head(count), low[:count] * 100, high[:count] * 100
        place, value = np.arange(count), table["accuracy"].to_numpy(float) * 100
        _rows(axes, [_counted(name, n) for name, n in zip(table["group"], table["n"])])
        for y in place:
            label = "if all were alike: 95 %, all at once" if y == 0 else None
            axes.fill_betweenx([y - 0.5, y + 0.5], low[y], high[y], color="#D9D9D9", linewidth=0, label=label)
        for which, width, label in (("_simultaneous", 1.0, "95 %, all at once"), ("", 3.5, "95 %, this one")):
            ends = (table[end + which] * 100 for end in ("low", "high"))
            axes.hlines(place, *ends, color=BLUE, linewidth=width, label=label)
        size = 20 + 60 * table["n"] / table["n"].max()
        axes.scatter(value, place, size, color=ORANGE, edgecolor="black", linewidth=0.6, zorder=3)
        axes.set(xlim=(-2, 102), xlabel="test accuracy in %")
        title = shortened(title, 28)
        axes.set_title(title if count == groups else f"{title}: the worst {count} of {groups}")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def paired_differences(accuracy: pd.DataFrame, change: pd.DataFrame) -> Figure:
    """Two sets group by group, and the paired difference with its interval; filled where Holm's p-value is small.

    Args:
        accuracy: a row a group, a column a set: the one before and the one after.
        change: :func:`rdd_nb.evaluation.paired_tests.compare_groups` of the same groups, in that order.
    """
    names = [_counted(name, n) for name, n in zip(change["group"], change["n"])]
    figure = Figure(figsize=(9.5, 0.3 * len(names) + 1.7), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _rows(left, names)
    _rows(right, [""] * len(names))
    (first, before), (second, after) = ((name, column.to_numpy() * 100) for name, column in accuracy.items())
    place = np.arange(len(names))
    left.hlines(place, before, after, color=COLOURS["light"], linewidth=5, zorder=1)
    left.plot(before, place, "o", markersize=8, label=legend_name(str(first)), **_hollow(True, BLUE))
    left.plot(after, place, "D", markersize=7, label=legend_name(str(second)), **_hollow(False, ORANGE))
    left.set(xlim=(-2, 102), xlabel="test accuracy in %", title="Before and after")
    value, low, high = (change[c].to_numpy(float) * 100 for c in ("difference", "low", "high"))
    right.hlines(place, low, high, color="black", linewidth=1.4)
    small = (change["p_holm"] <= 0.05).to_numpy()
    for hollow, label in ((False, "Holm's p at most 0.05"), (True, "above 0.05")):
        mine = small != hollow
        right.plot(value[mine], place[mine], "s", markersize=7, label=label, **_hollow(hollow, "black"))
    right.axvline(0, color=GREY, linestyle=":")
    right.set(xlabel="difference in points of %, with 95 % interval", title="After minus before, on the same images")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2, frameon=False)
    return figure


def _map(axes: Axes, values: Floats, counts: Ints, least: int, colours: str, low: float, counted: bool) -> Any:
    """Per cents, coloured from ``low`` to −``low`` or from 0 to 100: hatched below ``least``, crossed at no sample."""
    chosen, high = colormaps[colours], abs(low) or 100.0
    picture = axes.imshow(np.where(counts >= least, values, np.nan), cmap=chosen, vmin=low, vmax=high)
    for (row, column), n in np.ndenumerate(counts):
        corner = (column - 0.5, row - 0.5)
        if n < least:
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="#EEEEEE", edgecolor="#BBBBBB", hatch="///", linewidth=0))
        if n == 0:
            axes.plot(column, row, "x", color="black", markersize=6)
            continue
        red, green, blue, _ = chosen((values[row, column] - low) / (high - low))
        dark = n >= least and 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        text = f"{round(values[row, column]) + 0:d}".replace("-", "−") + (f"\n({n:,})" if counted else "")
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            color="white" if dark else "black",
        )
    return picture


def class_group_heat_map(
    accuracy: Floats, change: Floats, counts: Ints, classes: Sequence[str], groups: Sequence[str], least: int = 5
) -> Figure:
    """Accuracy in every class and group under one set, and what another changes, with the counts.

    Args:
        accuracy, change: ``[K, G]``; NaN in empty cells.
        counts: int ``[K, G]``: test samples; fewer than ``least`` are not coloured.
        classes, groups: K and G names.
    """
    figure = Figure(figsize=(4.75 * 2, 0.36 * len(classes) + 1.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    reach = max(float(np.nanmax(np.abs(change[counts > 0]), initial=0.01)) * 100, 1)
    differ = bool(counts.min() < counts.max())
    pictures = (
        _map(left, accuracy * 100, counts, least, "viridis", 0, differ),
        _map(right, change * 100, counts, least, "PuOr", -reach, False),
    )
    for axes, picture, label in zip((left, right), pictures, ("accuracy in %", "difference in points of %")):
        figure.colorbar(picture, ax=axes, shrink=0.7, pad=0.02).set_label(label)
        short = [shortened(g, 20) for g in groups]
        each = [f"{g}\n{n:,}" for g, n in zip(short, counts.sum(0))] if len(groups) < 4 else short
        axes.set_xticks(range(len(groups)), each, rotation=90 if len(groups) > 3 else 0)
        axes.tick_params(length=0)
        held = "in brackets: test images" if differ else f"each cell {counts.max():,} test images"
        axes.set_xlabel(f"group ({held})")
        axes.set_aspect("auto")
    left.set_yticks(range(len(classes)), [_counted(c, n) for c, n in zip(classes, counts.sum(1))])
    left.set(ylabel="class (test images)", title="Accuracy")
    right.set(title="Change under the other set")
    return figure


def worst_group_bias(
    sizes: Ints, expected: Means, simulated: Means, held: Mapping[str, Floats], counts: Ints, truth: float
) -> Figure:
    """The worst of equal groups against their size, and how often each kind of interval covers the truth.

    For ``sizes`` ``[S]`` of groups, ``expected`` and ``simulated`` hold the mean of the smallest accuracy by number of
    groups; for ``counts`` of groups ``[C]``, ``held`` the share of draws in which an interval holds ``truth``.
    """
    figure, left, right = two_panels(4.1)
    left.axhline(truth * 100, color="black", linewidth=1, label="every group's true accuracy")
    for k, (groups, values) in enumerate(expected.items()):
        colour, marker, dash = _LINES[k % len(_LINES)]
        left.plot(sizes, values * 100, dash, color=colour, label=f"worst of {groups:,} groups")
        left.plot(sizes, simulated[groups] * 100, marker, color=colour, markersize=6)
    left.set(xlabel="test images in each group (log scale)", ylabel="accuracy in %", ylim=(0, 100))
    for axes, ticks in ((left, sizes), (right, counts)):
        axes.set(xscale="log")
        axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
        axes.minorticks_off()
    left.set_title("The worst of equal groups")
    left.legend(frameon=False, loc="lower right")
    for k, (kind, values) in enumerate(held.items()):
        colour, marker, dash = _LINES[k % len(_LINES)]
        right.plot(counts, values * 100, dash, color=colour, marker=marker, label=kind)
    right.axhline(95, color="black", linewidth=1, label="nominal: 95 %")
    right.set(xlabel="number of groups (log scale)", ylabel="covers the truth, in % of draws")
    right.set(ylim=(-3, 103), title="Coverage of the intervals")
    right.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    return figure


def _by_side(axes: Axes, curves: Curves, markers: bool) -> None:
    """A colour and a marker a side; the first set dashed and hollow."""
    for k, (name, sides) in enumerate(curves.items()):
        for (side, (x, y)), (colour, marker, _) in zip(sides.items(), _LINES):
            looks = {"marker": marker, "markersize": 6, **_hollow(k == 0, colour)} if markers else {}
            axes.plot(x, y, ("--", "-")[k % 2], color=colour, label=f"{side}: {name}", **looks)


def cvar_and_calibration(tails: Curves, trust: Curves) -> Figure:
    """The mean of the worst share t of the losses against t, and accuracy against confidence.

    ``tails`` holds tails and CVaR in nats, ``trust`` mean confidence and accuracy of each bin.
    """
    figure, left, right = two_panels(4.3)
    _by_side(left, tails, markers=True)
    left.set(xlabel="tail t, the worst share of the images (log scale)", ylabel="mean of these losses, in nats")
    left.set(xscale="log", title="CVaR of the losses")
    left.set_xticks((0.01, 0.03, 0.1, 0.3, 1), ("0.01", "0.03", "0.1", "0.3", "1"))
    left.minorticks_off()
    left.set_ylim(0)
    right.plot([0, 100], [0, 100], ":", color=GREY)
    right.text(30, 34, "perfectly calibrated", color=GREY, rotation=40, ha="center")
    _by_side(right, {n: {s: (x * 100, y * 100) for s, (x, y) in by.items()} for n, by in trust.items()}, markers=True)
    right.set(xlabel="confidence of the network in %, mean of a bin", ylabel="accuracy in the bin, in %")
    right.set(xlim=(0, 102), ylim=(-2, 102), title="Calibration")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def coverage_and_accuracy(
    curves: Curves, points: Mapping[str, tuple[Floats, Floats]], radius: float, names: tuple[str, str]
) -> Figure:
    """How much two sets cover of each side; and, class by class, what a change of coverage does to accuracy.

    ``curves`` hold radii and the share covered; ``points``, for each side, the share covered within ``radius`` and the
    accuracy, both ``[K, 2]``: of each class under the first and the second set, which are called ``names``.
    """
    figure, left, right = two_panels(4.3)
    _by_side(left, {n: {s: (x, y * 100) for s, (x, y) in by.items()} for n, by in curves.items()}, markers=False)
    left.axvline(radius, color="black", linewidth=0.8, linestyle=":")
    left.set(xlabel="radius, 1 is a typical distance within a class", ylabel="test images covered, in %", ylim=(0, 102))
    left.set_title("Coverage by group")
    for (side, both), (colour, marker, _) in zip(points.items(), _LINES):
        x, y = (values * 100 for values in both)
        for k in range(len(x)):
            arrow = {"arrowstyle": "-|>", "color": colour, "alpha": 0.55, "shrinkA": 3, "shrinkB": 4}
            right.annotate("", (x[k, 1], y[k, 1]), (x[k, 0], y[k, 0]), arrowprops=arrow)
        for k, name in enumerate(names):
            right.plot(x[:, k], y[:, k], marker, markersize=7, label=f"{side}: {name}", **_hollow(k == 0, colour))
    right.set(xlabel=f"covered within {radius:g}, in %", ylabel="test accuracy in %", xlim=(-4, 104), ylim=(-4, 104))
    right.set_title("Accuracy against coverage, by class")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def confusion_matrices(
    matrices: Mapping[str, Floats], classes: Sequence[str], images: NDArray[np.uint8], words: Sequence[str]
) -> Figure:
    """Confusion matrices under several sets, and some of the images with a caption under each.

    Args:
        matrices: title → ``[K, K]``: share of the true class (row) that is called the column's; NaN without samples.
        classes: K names.
        images: uint8 ``[k, C, H, W]``, at least one.
        words: k captions, of three lines at most.
    """
    figure = Figure(figsize=(9.5, 0.3 * len(classes) + 3.9), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.3 * len(classes) + 2.1, 1.8))[:, 0]
    panels, short = above.subplots(1, len(matrices), sharey=True, squeeze=False)[0], [shortened(c) for c in classes]
    for axes, (title, matrix) in zip(panels, matrices.items()):
        picture = axes.imshow(matrix * 100, cmap="viridis", vmin=0, vmax=100, aspect="auto")
        axes.set_xticks(range(len(classes)), short, rotation=90)
        axes.set_yticks(range(len(classes)), short)
        axes.set(xlabel="predicted class", title=title)
    panels[0].set_ylabel("true class")
    above.colorbar(picture, ax=list(panels), shrink=0.8, pad=0.02, label="share of its class, in %")
    captioned_sheet(below.subplots(), images, len(images), words)
    return figure
