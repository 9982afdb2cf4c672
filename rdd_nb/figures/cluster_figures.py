"""The figures of notebook 02, on cells, clusters, learnability and coverage, from data to a ``Figure``.

Like :mod:`rdd_nb.figures`: no pyplot, colours that the colour-blind can tell apart, and a marker, a hatch or a dash
behind every colour. Everywhere ``names`` are those of majority and minority.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError
from rdd_nb.figures import BLUE, GREEN, GREY, ORANGE, PINK, clean_axes, image_sheet
from rdd_nb.figures.figure import Figure, shortened

__all__ = [
    "cluster_composition",
    "clustering_spaces",
    "coverage_curves",
    "exemplars",
    "learnability",
    "stability_and_mass",
    "voronoi_cells",
]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]
_LINES = ((GREY, ":", "^"), (GREEN, "-.", "s"), (PINK, (0, (4, 1)), "v"), (ORANGE, "-", "D"), (BLUE, "--", "o"))
_KNOWN = ("pixels", "features", "style", "probabilities", "known groups")  # the same colour in every figure


def _line(name: str, place: int) -> tuple[str, Any, str]:
    """Colour, dash and marker of what is called ``name``, or is the ``place``-th to be drawn."""
    return _LINES[(_KNOWN.index(name) if name in _KNOWN else place) % len(_LINES)]


def _frame(axes: Axes, places: Sequence[int], columns: int, side: int, colour: str = ORANGE) -> None:
    """Frame the images at ``places`` of a sheet whose images are ``side`` pixels wide."""
    for k in places:
        corner = ((k % columns) * (side + 2) - 1.5, (k // columns) * (side + 2) - 1.5)
        axes.add_patch(Rectangle(corner, side + 1.5, side + 1.5, fill=False, color=colour, linewidth=1.8))


def voronoi_cells(
    points: Floats,
    centres: Floats,
    rare: Flags,
    rows: Sequence[NDArray[np.uint8]],
    framed: Sequence[Flags],
    notes: Sequence[str],
) -> Figure:
    """Voronoi cells in the plane, and beside them the real images nearest to each synthetic image.

    Args:
        points: ``[N, 2]``, real samples in the plane.
        centres: ``[M, 2]``, synthetic samples.
        rare: bool ``[N]``, the points to tell apart.
        rows: for each cell uint8 ``[k, C, H, W]``: its synthetic image, then real ones; k may differ.
        framed: for each cell bool ``[k]``, images to frame.
        notes: for each cell what to write beside it.
    """
    figure = Figure(figsize=(9.5, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))
    low, high = points.min(0) - 0.3, points.max(0) + 0.3
    x, y = (np.linspace(low[k], high[k], 240) for k in (0, 1))
    plane = np.stack(np.meshgrid(x, y), -1)
    distance = np.square(plane[:, :, None] - centres).sum(-1)
    for cell in range(len(centres)):  # a line between two cells is drawn twice, as one
        others = np.delete(distance, cell, -1).min(-1, initial=np.inf)
        left.contour(x, y, distance[..., cell] - others, levels=[0], colors=GREY, linewidths=1)
    left.plot(*points[~rare].T, "o", color=BLUE, alpha=0.4, markersize=3.5, mew=0, label="common real")
    left.plot(*points[rare].T, "D", color=ORANGE, markersize=4.5, mew=0, label="rare real")
    left.plot(*centres.T, "*", color="black", markersize=15, mec="white", label="synthetic")
    left.set(xlabel="first coordinate", ylabel="second coordinate", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    left.set_title(f"{len(centres)} synthetic points and their cells", pad=28)
    left.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, handletextpad=0.2)
    columns, side = max(map(len, rows)), rows[0].shape[-1]
    blank = np.full((1, *rows[0].shape[1:]), 255, np.uint8)
    full = [np.concatenate([row, blank.repeat(columns - len(row), 0)]) for row in rows]
    image_sheet(right, np.concatenate(full), columns, notes)
    _frame(right, [r * columns + k for r, marks in enumerate(framed) for k in np.flatnonzero(marks)], columns, side)
    right.axvline(side + 0.5, color="black", linewidth=1.4)
    right.set_title("A cell a row, its medoid first")
    right.set_xlabel("real images, nearest first")
    right.set_ylabel("images in the cell (part that is minority)")
    return figure


def clustering_spaces(
    planes: Mapping[str, tuple[Floats, float]], ids: Mapping[str, Ints], minority: Flags, names: tuple[str, str]
) -> Figure:
    """One class in several feature spaces: where its minority lies, and how k-means divides it.

    Args:
        planes: space → (the class's images in the space's principal plane ``[n, 2]``, the share of variance it shows).
        ids: space → ``[n]``, the cluster of each.
        minority: bool ``[n]``.
    """
    figure = Figure(figsize=(9.5, 4.9), layout="constrained")
    grid = figure.subplots(2, len(planes), height_ratios=(1.35, 1), squeeze=False)
    for column, (name, (plane, kept)) in enumerate(planes.items()):
        top, bottom = grid[0, column], clean_axes(grid[1, column])
        top.plot(*plane[~minority].T, "o", color=BLUE, markersize=2.2, mew=0)
        top.plot(*plane[minority].T, "D", color=ORANGE, markersize=3.5, mew=0)
        used = np.unique(ids[name])
        middles = np.stack([plane[ids[name] == k].mean(0) for k in used])
        top.plot(*middles.T, "+", color="black", markersize=10, mew=1.8)
        top.set(xticks=[], yticks=[], xlabel="first principal direction", ylabel="second")
        top.set_title(f"{name} ({kept:.0%} of variance)")
        sizes = np.array([(ids[name] == k).sum() for k in used])
        few = np.array([minority[ids[name] == k].sum() for k in used])
        order, place = np.argsort(-sizes, kind="stable"), np.arange(1, len(used) + 1)
        part = 100 * few[order] / sizes[order]
        bottom.bar(place, part, color=ORANGE, hatch="//", edgecolor="white", linewidth=0)
        bottom.bar(place, 100 - part, bottom=part, color=BLUE)
        bottom.set(xlabel=f"{len(used)} clusters, by their size", ylim=(0, 100))
        bottom.set_xticks(place, [f"{size:,}" for size in sizes[order]], rotation=90)
        if column == 0:
            bottom.set_ylabel("in % of the cluster")
    keys = ((BLUE, "o", names[0]), (ORANGE, "D", f"{names[1]} (below: hatched)"), ("black", "+", "cluster centres"))
    handles = [Line2D([], [], color=c, marker=m, linestyle="none", label=label, mew=1.5) for c, m, label in keys]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def cluster_composition(
    tables: Mapping[str, Ints],
    group_names: Sequence[str],
    powers: Floats,
    mass: Mapping[str, Floats],
    share: float,
    chosen: float,
) -> Figure:
    """The composition of one class's clusters, and the minority's share of what is matched by the power of a size.

    Args:
        tables: space → ``[clusters, groups]``, how many images of a cluster are of each named group.
        group_names: the groups' names.
        powers: ``[P]``.
        mass: way to group → ``[P]``, the minority's share of what is matched.
        share: of the minority in the data.
        chosen: the power to mark.

    Raises:
        RddError: a table without a column for each group name.
    """
    for name, table in tables.items():
        if table.shape[1:] != (len(group_names),):
            raise RddError(f"{name!r}: a table of {list(table.shape)} needs {len(group_names)} columns, one a group")
    figure = Figure(figsize=(9.5, 4.0), layout="constrained")
    *maps, right = figure.subplots(1, len(tables) + 1, width_ratios=[1.1] * len(tables) + [1])
    for axes, (name, counts) in zip(maps, tables.items()):
        table = counts[counts.sum(1) > 0]
        table = table[np.argsort(-table.sum(1), kind="stable")]
        part = 100 * table / table.sum(1, keepdims=True)
        axes.imshow(part, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(part):
            if value >= 0.5:
                ink = "white" if value > 55 else "black"
                told = f"{value:.0f}" if value < 99.5 else "all"  # no cell has space for three digits
                axes.text(column, row, told, ha="center", va="center", color=ink)
        axes.set_xticks(range(len(group_names)), [shortened(g) for g in group_names], rotation=90)
        axes.set_yticks(range(len(table)), [f"{n:,}" for n in table.sum(1)])
        axes.tick_params(length=0)
        axes.set_xlabel("named group, in % of the cluster")
        axes.set_title(name)
    maps[0].set_ylabel("clusters, by their size")
    for place, (name, values) in enumerate(mass.items()):
        colour, dash, _ = _line(name, place)
        clean_axes(right).plot(powers, np.asarray(values) * 100, color=colour, linestyle=dash, label=name)
    right.axvline(chosen, color="black", linewidth=0.8, linestyle=(0, (1, 2)))
    right.plot([1], [share * 100], "o", color=GREY, markersize=7, zorder=3)
    right.set(ylim=(0, 102), xlabel="power γ of a group's size")
    right.set_ylabel("minority in what is matched, in %")
    right.set_title("Minority share")
    right.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2)
    return figure


def stability_and_mass(
    measured: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], shares: Mapping[str, float]
) -> Figure:
    """The agreement of seeds, which needs no group labels, against the minority's share of what is matched.

    Args:
        measured: data set → space → (adjusted Rand index of each pair of seeds, the minority's mass for each seed).
        shares: data set → share of the minority.
    """
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(measured), sharey=True))
    for axes, (name, by_space) in zip(panels, measured.items()):
        clean_axes(axes)
        for place, (space, (agreed, mass)) in enumerate(by_space.items()):
            colour, _, marker = _line(space, place)
            x, y = np.asarray(agreed, float), np.asarray(mass, float) * 100
            reach = [[[v.mean() - v.min()], [v.max() - v.mean()]] for v in (x, y)]
            axes.errorbar(
                x.mean(), y.mean(), xerr=reach[0], yerr=reach[1], fmt=marker, color=colour, markersize=9, capsize=3,
                label=space,
            )  # fmt: skip
        axes.axhline(shares[name] * 100, color="black", linestyle="--", linewidth=1)
        axes.annotate(
            "share in the data", (0.01, shares[name] * 100), (0, -4), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="top",
        )  # fmt: skip
        axes.set(xlim=(0, 1.02), xlabel="agreement of two seeds, adjusted Rand index")
        axes.set_title(name)
    panels[0].set_ylim(0, max(100 * max(max(m) for _, m in s.values()) for s in measured.values()) * 1.15)
    panels[0].set_ylabel("minority in what is matched, in %")
    panels[0].legend(frameon=False, loc="upper left")
    return figure


def exemplars(
    images: NDArray[np.uint8], framed: Flags, title: str, shares: Mapping[str, tuple[Floats, Floats]], minority: str
) -> Figure:
    """One cluster by its exemplars, and for all clusters the minority's share among exemplars against its true share.

    Args:
        images: uint8 ``[R, K, C, H, W]``: K exemplars of each kind.
        framed: bool ``[R, K]``, images to frame.
        title: of the sheet.
        shares: kind of exemplars → (the minority's share in each cluster ``[m]``, its share among the exemplars); R
            of them, in the order of the rows.
        minority: its name.

    Raises:
        RddError: another number of rows than of kinds.
    """
    if len(shares) != len(images):
        raise RddError(f"{len(images)} rows of images need as many kinds of exemplars, not {len(shares)}")
    figure = Figure(figsize=(8.4, 4.9), layout="constrained")
    grid = figure.add_gridspec(2, len(shares), height_ratios=(1, 1.05))
    sheet = figure.add_subplot(grid[0, :])
    image_sheet(sheet, images.reshape(-1, *images.shape[2:]), images.shape[1], list(shares))
    _frame(sheet, np.flatnonzero(framed).tolist(), images.shape[1], images.shape[-1])
    sheet.set_title(title)
    sheet.set_xlabel(f"exemplars; {minority} ones are framed")
    for column, (kind, (truth, seen)) in enumerate(shares.items()):
        axes = clean_axes(figure.add_subplot(grid[1, column]))
        axes.plot([0, 100], [0, 100], color=GREY, linestyle=":", label="true share")
        axes.plot(truth * 100, seen * 100, "o", color=BLUE, alpha=0.45, markersize=6, mew=0, label="a cluster")
        axes.plot(
            [truth.mean() * 100], [seen.mean() * 100], "P", color=ORANGE, markersize=11, mec="white", label="mean"
        )
        axes.set(xlim=(-4, 104), ylim=(-4, 104), xlabel=f"{minority} in the cluster, in %")
        axes.set_title(f"{kind} exemplars")
        if column == 0:
            axes.set_ylabel(f"{minority} among\nthe exemplars, in %")
            axes.legend(frameon=False, loc="upper left")
    return figure


def coverage_curves(curves: Mapping[str, pd.DataFrame], names: tuple[str, str]) -> Figure:
    """Share of real samples within a radius of a set: a panel each for majority and minority, a line for each set.

    Args:
        curves: set → columns side, radius, share (:func:`rdd_nb.evaluation.diagnostics.coverage_curve`).
    """
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, side in zip(panels, names):
        clean_axes(axes)
        for place, (name, curve) in enumerate(curves.items()):
            colour, dash, marker = _line(name, place)
            mine = curve[curve["side"] == side]
            axes.plot(
                mine["radius"], mine["share"] * 100, color=colour, linestyle=dash, marker=marker, markersize=4.5,
                markevery=3, label=name,
            )  # fmt: skip
        axes.set(ylim=(0, 102), xlabel="radius, in typical distances of two images of a class")
        axes.set_title(f"{side} images")
    panels[0].set_ylabel("within the radius, in %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(curves), frameon=False)
    return figure


def learnability(
    parts: Floats,
    learnable: Floats,
    kind: Ints,
    kinds: Sequence[str],
    matched: Mapping[str, Sequence[float]],
    raised: bool = False,
) -> Figure:
    """The learnability of each group, and what upweighting by it does to what is matched.

    Args:
        parts: ``[G]``, each group's part of its class.
        learnable: ``[G]`` in [0, 1].
        kind: int ``[G]``, an index into ``kinds``: what most of the group are.
        kinds: two or three names: majority, minority, wrong labels.
        matched: way of counting → each kind's part of what is matched, which sum to 1.
        raised: ``learnable`` is each group's part of what is matched of its class instead.
    """
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    for k, (name, colour, marker) in enumerate(zip(kinds, (BLUE, ORANGE, GREY), "oDx")):
        mine = kind == k
        left.plot(parts[mine], learnable[mine], marker, color=colour, markersize=5, alpha=0.8, label=f"mostly {name}")
    clean_axes(left).set(xscale="log", xlabel="the group's part of its class (log scale)")
    left.xaxis.set_minor_formatter(NullFormatter())
    if raised:
        left.plot([parts.min(), 1], [parts.min(), 1], ":", color=GREY, label="as in the data")
        left.set(yscale="log", ylabel="its part of what is matched (log scale)", title="What each group counts for")
    else:
        left.set(ylim=(-0.04, 1.04), ylabel="learnability λ", title="Learnability of each group")
    left.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")
    begun = np.zeros(len(matched))
    for k, (name, colour, hatch) in enumerate(zip(kinds, (BLUE, ORANGE, GREY), ("", "//", "xx"))):
        wide = np.array([row[k] for row in matched.values()])
        bars = right.barh(
            list(matched), wide * 100, left=begun * 100, color=colour, hatch=hatch, edgecolor="white", label=name
        )
        boxed = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "none"}  # the hatch ends at the text
        told = [f"{w:.0%}" for w in wide]
        right.bar_label(bars, told, label_type="center", color="white", fontweight="bold", bbox=boxed)
        begun = begun + wide
    right.invert_yaxis()
    right.spines[["top", "right", "left"]].set_visible(False)
    right.tick_params(axis="y", length=0)
    right.set(xlabel="part of what is matched, %", xlim=(0, 100))
    right.set_title("Composition of what is matched", pad=24)
    right.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, handlelength=1.2)
    return figure
