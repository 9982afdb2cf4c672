"""Groups that were found, as pictures of their members, and what raising them buys and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rdd_nb.figures import BLUE, GREEN, GREY, ORANGE, PINK, image_sheet
from rdd_nb.figures.figure import Figure
from rdd_nb.figures.study_figures import make_panels

__all__ = ["fronts", "group_exemplars"]


def group_exemplars(
    parts: Mapping[tuple[str, str], Sequence[NDArray[np.uint8]]], names: Sequence[str], columns: int = 6
) -> Figure:
    """Groups by their exemplars: a row for each, a panel for each way to choose them.

    Args:
        parts: (way, what such images tell) → for each group uint8 ``[k, C, H, W]``; k may differ, up to ``columns``.
        names: of the groups.
        columns: images that fit beside one another in each panel.
    """
    shape = next(iter(parts.values()))[0].shape[1:]
    height = len(names) * 3.3 / columns * shape[1] / shape[2]
    figure = Figure(figsize=(12.5, height + 1.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(parts)))
    for place, (axes, ((way, told), groups)) in enumerate(zip(panels, parts.items())):
        sheet = np.full((len(names), columns, *shape), 255, np.uint8)
        for row, images in zip(sheet, groups):
            row[: len(images)] = images
        image_sheet(axes, sheet.reshape(-1, *shape), columns, () if place else names)
        if place:
            axes.set_yticks([])
        axes.set_title(way)
        axes.set_xlabel(told)
    return figure


def fronts(table: pd.DataFrame) -> Figure:
    """What the rare gain against what the others pay, a panel for each set and a line for each way to find groups.

    Each marker is a strength by which groups are raised, the mean over seeds. A line above another buys more for the
    same price; two that lie on one another differ in how far they go, not in what they know.

    Args:
        table: columns ``set``, ``seed``, ``groups``, ``strength``, ``rare`` and ``others``, changes in points.
    """
    names = list(dict.fromkeys(table["set"]))
    figure, panels = make_panels(len(names), 2.5)
    means = table.groupby(["set", "groups", "strength"], sort=False)[["rare", "others"]].mean()
    ways = list(dict.fromkeys(table["groups"]))
    looks = dict(zip(ways, zip((BLUE, GREEN, ORANGE, PINK, GREY), "osD^v")))
    for axes, name in zip(panels, names):
        for way in ways:
            line = means.loc[name].loc[way].sort_index()
            colour, marker = looks[way]
            paid, bought = ([0.0, *values] for values in (-line["others"], line["rare"]))
            axes.plot(paid, bought, marker=marker, color=colour, label=way, markersize=4.5, linewidth=1.3)
        axes.grid(color="#EEEEEE")
        axes.set_title(name)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(ways), frameon=False)
    figure.supxlabel("points that the others lose (left of 0: they gain)")
    figure.supylabel("points that the rare gain")
    return figure
