"""The figures of notebook 08, on one's own data, as pure functions from arrays and tables to a ``Figure``.

Like :mod:`rdd_nb.figures`: no pyplot, and a marker, a dash or a hatch behind every colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.figures import BLUE, GREEN, GREY, ORANGE, image_sheet
from rdd_nb.figures.figure import Figure, legend_name, shortened

__all__ = ["agreement", "counts", "leaks", "reach", "sheet"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
_FILLS = ((BLUE, ""), (ORANGE, "///"), (GREEN, "..."), ("#E69F00", "xx"), ("#56B4E9", "--"), ("#CC79A7", "oo"))
_LINES = ((BLUE, "o", "-"), (ORANGE, "D", "--"), (GREEN, "s", "-."))


def _open(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#EEEEEE")
    axes.set_axisbelow(True)
    return axes


def counts(cells: Mapping[str, Ints], classes: Sequence[str], groups: Sequence[str], most: int = 14) -> Figure:
    """How many images each class has of each group: a table for each side, the darker the more.

    Args:
        cells: title → int ``[K, G]``.
        classes, groups: K and G names; the first ``most`` of each are drawn.
    """
    rows, columns = min(len(classes), most), min(len(groups), most)
    figure = Figure(figsize=(9.5, 0.34 * rows + 1.7), layout="constrained")
    for axes, (title, table) in zip(figure.subplots(1, len(cells), sharey=True, squeeze=False)[0], cells.items()):
        shown = table[:rows, :columns]
        shades = np.log1p(shown) / max(np.log1p(table.max()), 1e-9)
        axes.imshow(shades, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
        for (row, column), n in np.ndenumerate(shown):
            text = f"{n:,}" if n else "none"
            colour = "white" if shades[row, column] > 0.85 else "black" if n else "#A04000"
            axes.text(column, row, text, ha="center", va="center", color=colour)
        axes.set_xticks(range(columns), [shortened(g, 14) for g in groups[:columns]], rotation=60 if columns > 5 else 0)
        axes.set_yticks(range(rows), [shortened(c) for c in classes[:rows]])
        axes.tick_params(length=0)
        axes.set(xlabel="group", title=f"{title}: {table.sum():,} images")
    figure.axes[0].set_ylabel("class")
    return figure


def leaks(copies: Ints, shown: Mapping[str, Floats], fresh: Mapping[str, float], guess: float) -> Figure:
    """What a split shows when every scene was shot several times, and what fresh scenes show.

    Args:
        copies: shots of each scene, ``[S]``.
        shown: way to split → accuracy on its own test part, ``[S]``, in 0..1.
        fresh: way to split → accuracy on scenes that nobody used, in 0..1, with most shots.
        guess: accuracy of a guess.
    """
    figure = Figure(figsize=(8.6, 3.7), layout="constrained")
    axes = _open(figure.subplots())
    for k, ((name, values), (colour, marker, dash)) in enumerate(zip(shown.items(), _LINES)):
        axes.plot(copies, values * 100, marker=marker, linestyle=dash, color=colour, label=f"{name}: what it shows")
        axes.plot(
            copies[-1] + 0.15 * (k + 1),
            fresh[name] * 100,
            marker,
            color=colour,
            markerfacecolor="white",
            markersize=9,
            markeredgewidth=1.6,
            label=f"{name}: on fresh scenes",
        )
    axes.axhline(guess * 100, color=GREY, linestyle=":")
    axes.text(copies[0], guess * 100 + 1.5, "a guess", color=GREY)
    axes.set_xticks(copies)
    axes.set(xlabel="shots of each scene", ylabel="accuracy of the nearest neighbour in %", ylim=(0, 103))
    axes.set_title("What a split shows where scenes were shot several times")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def reach(sizes: Ints, curves: Mapping[str, Floats], groups: Mapping[str, int], wanted: float, most: int = 8) -> Figure:
    """Half the width of an interval against a group's test images, and where the groups of the data stand.

    Args:
        sizes: ``[S]``, at least 1.
        curves: what is looked at → half width in 0..1, ``[S]``.
        groups: name → test images; nearly equal ones share a dot, of which the ``most`` smallest are drawn.
        wanted: the half width that is asked for, in 0..1.
    """
    figure = Figure(figsize=(8.6, 4.1), layout="constrained")
    axes = _open(figure.subplots())
    for (name, values), (colour, _, dash) in zip(curves.items(), _LINES):
        axes.plot(sizes, values * 100, dash, color=colour, label=name)
    axes.axhline(wanted * 100, color="black", linewidth=0.8, linestyle=":")
    axes.text(sizes[0], wanted * 100 + 1, f"±{wanted * 100:g} points")
    first = next(iter(curves.values())) * 100
    for names, low, high in _heaps(groups)[:most]:
        middle = float(np.sqrt(max(low, 1) * max(high, 1)))
        there = float(np.interp(np.log(middle), np.log(sizes), first))
        axes.plot(middle, there, "o", color=ORANGE, markeredgecolor="black", markersize=8, zorder=3)
        told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        told += f" ({low:,})" if low == high else f" ({low:,} to {high:,})"
        side = "right" if middle >= 2 * sizes[0] else "left"  # below the curve, and not over the axis
        axes.annotate(told, (middle, there), (-1, -16), textcoords="offset points", ha=side)
    axes.set_xscale("log")
    ticks = [t for t in (1, 3, 10, 30, 100, 300, 1000, 3000, 10000) if sizes[0] <= t <= sizes[-1]]
    axes.set_xticks(ticks, [f"{t:,}" for t in ticks])
    axes.minorticks_off()
    axes.set(xlabel="test images in the group (log scale)", ylabel="half of the interval, in points of %", ylim=(0, 62))
    axes.set_title("How well can a group's accuracy be known?")
    axes.legend(frameon=False)
    return figure


def _heaps(groups: Mapping[str, int]) -> list[tuple[list[str], int, int]]:
    """Groups of nearly one size together, from the smallest up: their names, the smallest and the largest size."""
    heaps: list[tuple[list[str], int, int]] = []
    for name, n in sorted(groups.items(), key=lambda pair: pair[1]):
        if heaps and n <= 1.25 * heaps[-1][1]:
            heaps[-1] = ([*heaps[-1][0], shortened(name, 16)], heaps[-1][1], n)
        else:
            heaps.append(([shortened(name, 16)], n, n))
    return heaps


def agreement(shares: Mapping[str, Floats], sizes: Mapping[str, Ints], names: Sequence[str]) -> Figure:
    """Of what named groups each found group consists, class by class: a bar for each, as wide as the group is large.

    Args:
        shares: class → ``[k, G]``, the rows summing to 1 (0 for an empty group).
        sizes: class → ``[k]``.
        names: of the G named groups.

    Raises:
        RddError: more named groups than can be told apart in a bar.
    """
    if len(names) > len(_FILLS):
        raise RddError(f"{len(names)} named groups cannot be told apart in bars: merge them to {len(_FILLS)} at most")
    columns = min(3, len(shares))
    rows = -(-len(shares) // columns)
    figure = Figure(figsize=(9.5, 1.75 * rows + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, (title, table) in zip(grid.ravel(), shares.items()):
        size = sizes[title]
        left, bottom = np.concatenate([[0], np.cumsum(size)[:-1]]), np.zeros(len(size))
        for g, (name, (colour, hatch)) in enumerate(zip(names, _FILLS)):
            axes.bar(
                left,
                table[:, g] * 100,
                size,
                bottom,
                align="edge",
                label=legend_name(name),
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.8,
            )
            bottom += table[:, g] * 100
        axes.set(xlim=(0, max(size.sum(), 1)), ylim=(0, 100), title=shortened(title))
    figure.supxlabel("images; each bar is a found group, as wide as it is large")
    figure.supylabel("named groups in it, in %")
    for axes in grid.ravel()[len(shares) :]:
        axes.set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(names), frameon=False)
    return figure


def sheet(synthetic: SyntheticSet, most: int = 10) -> Figure:
    """A synthetic set, a row for each class; of many classes or images the first ``most``."""
    pictures = synthetic.to_uint8()
    columns, classes = min(synthetic.ipc, most), range(min(synthetic.num_classes, most))
    images = np.concatenate([pictures[synthetic.labels == c][:columns].numpy() for c in classes])
    figure = Figure(figsize=(0.42 * columns + 1.3, 0.42 * len(classes) + 0.1), layout="constrained")
    image_sheet(figure.subplots(), images, columns, [shortened(synthetic.class_names[c], 18) for c in classes])
    return figure
