"""The run comparer: two distilled sets side by side, their group accuracies, and the paired difference."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rdd_nb.core.errors import RddError
from rdd_nb.course.widgets.explorer import Explorer, choice
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation import subgroups
from rdd_nb.evaluation.paired_tests import Difference
from rdd_nb.evaluation.scores import Scores, groupings, scores_of
from rdd_nb.figures import COLOURS, captioned_sheet, image_sheet
from rdd_nb.figures.figure import Figure, legend_name, shortened

__all__ = ["CompareState", "RunComparer"]

_GROUPS_SHOWN = 12
_SHEET_COLUMNS = 10
_SINGLE_COLUMNS = 5  # of sets with one image a class


@dataclass(frozen=True, eq=False)
class CompareState:
    """What the run comparer shows.

    Attributes:
        left, right, by: what was chosen.
        tables: for left and right, :func:`rdd_nb.evaluation.subgroups.group_table`.
        overall: accuracy of right minus left on all test images
            (:func:`rdd_nb.evaluation.paired_tests.paired_difference`).
        differences: the same in each group, with Holm's p (:func:`rdd_nb.evaluation.paired_tests.compare_groups`).
        shown: the groups drawn: all, or those that differ most.
    """

    left: str
    right: str
    by: str
    tables: tuple[pd.DataFrame, pd.DataFrame]
    overall: Difference
    differences: pd.DataFrame
    shown: tuple[str, ...]


class RunComparer(Explorer[CompareState]):
    """Choose two runs and a grouping: images, accuracies and the paired difference with its interval.

    Args:
        runs: for each name a run folder that holds ``synthetic.safetensors`` and ``scores.npz``, or the two themselves.

    Raises:
        RddError: fewer than two runs, a folder without them, runs scored on different test sets.
    """

    def __init__(self, runs: Mapping[str, str | os.PathLike[str] | tuple[SyntheticSet, Scores]]) -> None:
        super().__init__()
        if len(runs) < 2:
            raise RddError(f"the run comparer was given {len(runs)} run(s): pass at least two to compare")
        self._runs = {name: _load(run) for name, run in runs.items()}
        names = list(self._runs)
        first = self._runs[names[0]][1]
        for name, (_, scores) in self._runs.items():
            if not np.array_equal(scores.labels, first.labels) or scores.group_names != first.group_names:
                raise RddError(f"runs {names[0]!r} and {name!r} were scored on different test sets: use one for both")
        self.left = choice("left", names)
        self.right = choice("right", names, names[1])
        self.by = choice("grouping", groupings(first))
        self.swap = widgets.Button(description="Swap", tooltip="Exchange left and right", icon="exchange")
        self.swap.on_click(self._swap)
        self._watch(self.left, self.right, self.by)

    def _swap(self, _button: object) -> None:
        with self._quietly():
            self.left.value, self.right.value = self.right.value, self.left.value
        self._changed()

    def choices(self) -> dict[str, str]:
        """Left, right, grouping."""
        return {"left": self.left.value, "right": self.right.value, "by": self.by.value}

    def controls(self) -> tuple[widgets.Widget, ...]:
        """Left, right, swap, grouping."""
        return (self.left, self.right, self.swap, self.by)

    def compute(self, left: str, right: str, by: str) -> CompareState:  # type: ignore[override]
        """Accuracies by group, and the differences on the same test images."""
        a, b = self._runs[left][1], self._runs[right][1]
        ids, names = a.partition(by)
        differences = subgroups.compare_groups(b.correct, a.correct, ids)
        differences["group"] = [names[int(k)] for k in differences["group"]]
        most = differences.reindex(differences["difference"].abs().sort_values(ascending=False, kind="stable").index)
        keep = set(most["group"].head(_GROUPS_SHOWN))
        return CompareState(
            left,
            right,
            by,
            (subgroups.group_table(a, by), subgroups.group_table(b, by)),
            subgroups.paired_difference(b.correct, a.correct),
            differences,
            tuple(name for name in differences["group"] if name in keep),
        )

    def draw(self, state: CompareState) -> Figure:
        """The two sets above, accuracies and differences below."""
        height = 0.34 * len(state.shown) + 1.4
        single = all(self._runs[name][0].ipc == 1 for name in (state.left, state.right))
        sheets = 0.6 + 1.2 * -(-self._runs[state.left][0].num_classes // _SINGLE_COLUMNS) if single else 4.6
        figure = Figure(figsize=(9.6, sheets + height), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(sheets, height))
        above, below = parts
        for axes, name, ink in zip(above.subplots(1, 2), (state.left, state.right), _inks()):
            self._sheet(axes, name)
            axes.title.set_color(ink)
        dots, gaps = below.subplots(1, 2, sharey=True, width_ratios=(1.2, 1))
        _dumbbells(dots, state)
        _differences(gaps, state)
        return figure

    def _sheet(self, axes: Axes, name: str) -> None:
        synthetic = self._runs[name][0]
        each = min(synthetic.ipc, _SHEET_COLUMNS)
        order = synthetic.labels.argsort(stable=True).view(synthetic.num_classes, synthetic.ipc)[:, :each].flatten()
        images, classes = synthetic.to_uint8()[order].numpy(), synthetic.class_names
        if each == 1:  # a column of single images would be small, beside much white
            captioned_sheet(axes, images, _SINGLE_COLUMNS, [shortened(name, 12) for name in classes], margin=0.3)
        else:
            image_sheet(axes, images, each, classes)
        name = shortened(name, 40)
        axes.set_title(name if each == synthetic.ipc else f"{name} ({each} of {synthetic.ipc} per class)")

    def describe(self, state: CompareState) -> str:
        """The overall difference, and the group that differs most."""
        d = state.overall
        words = (
            f"{state.right} against {state.left}, on the same test images: {100 * d.value:+.1f} points of accuracy "
            f"[{100 * d.low:+.1f}, {100 * d.high:+.1f}] (95% interval, over images and trainings; {_p(d.p_value)})."
        )
        row = state.differences.iloc[int(state.differences["difference"].abs().argmax())]
        words += (
            f" The largest difference by {state.by} is {row['group']}: {100 * row['difference']:+.1f} points "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}], {_p(row['p_holm'])} after Holm's correction for "
            f"{len(state.differences)} groups."
        )
        hidden = len(state.differences) - len(state.shown)
        return words + (
            f" The {len(state.shown)} groups that differ most are drawn, {hidden} others are not." if hidden else ""
        )


def _load(run: str | os.PathLike[str] | tuple[SyntheticSet, Scores]) -> tuple[SyntheticSet, Scores]:
    if isinstance(run, tuple):
        return run
    folder = RunFolder.open(run)
    return folder.load_synthetic(), scores_of(folder)


def _inks() -> tuple[str, str]:
    return COLOURS["majority"], COLOURS["minority"]


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _dumbbells(axes: Axes, state: CompareState) -> None:
    y = np.arange(len(state.shown))
    left, right = (t.set_index("group").loc[list(state.shown)] for t in state.tables)
    axes.hlines(y, left["accuracy"] * 100, right["accuracy"] * 100, COLOURS["light"], linewidth=5, zorder=1)
    for table, ink, marker, name, shift in zip(
        (left, right), _inks(), ("o", "D"), (state.left, state.right), (-0.14, 0.14)
    ):
        axes.hlines(y + shift, table["low"] * 100, table["high"] * 100, ink, linewidth=1.5)
        axes.plot(table["accuracy"] * 100, y + shift, marker, color=ink, markersize=7, label=legend_name(name))
    axes.set_yticks(y, [shortened(name, 40) for name in state.shown])
    axes.set(ylim=(len(y) - 0.4, -0.6), xlim=(-1.5, 101.5), xlabel="test accuracy in %, 95% intervals")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    _bare(axes)


def _differences(axes: Axes, state: CompareState) -> None:
    rows = state.differences.set_index("group").loc[list(state.shown)]
    y = np.arange(len(rows))
    axes.axvline(0, color=COLOURS["grey"], linewidth=1)
    axes.hlines(y, rows["low"] * 100, rows["high"] * 100, "#000000", linewidth=1.5)
    sure = ((rows["low"] > 0) | (rows["high"] < 0)).to_numpy()
    axes.plot(rows["difference"][sure] * 100, y[sure], "s", color="#000000", markersize=6)
    axes.plot(rows["difference"][~sure] * 100, y[~sure], "s", color="#000000", markersize=6, markerfacecolor="white")
    axes.set_xlabel("right − left in points; filled: 0 is outside")
    axes.set_title("Paired difference")
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.grid(axis="x", color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
