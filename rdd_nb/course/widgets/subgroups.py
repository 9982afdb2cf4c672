"""The subgroup explorer: group accuracies of several runs, and the images of a group that the nets confuse most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.random_streams import seed_of
from rdd_nb.course.widgets.explorer import INKS, MARKERS, Explorer, choice
from rdd_nb.data.dataset import ImageDataset
from rdd_nb.evaluation import subgroups
from rdd_nb.evaluation.scores import Scores, groupings
from rdd_nb.figures import captioned_sheet
from rdd_nb.figures.figure import Figure, legend_name, shortened
from rdd_nb.models import risk

__all__ = ["METRICS", "SubgroupExplorer", "SubgroupState", "permutation_band", "value_table"]

METRICS = ("accuracy", "CVaR of the loss")
_GROUPS_SHOWN = 16
_COLUMNS, _IMAGES = 3, 6


def value_table(scores: Scores, by: str, metric: str = "accuracy", tail: float = 0.1) -> pd.DataFrame:
    """A row a group: group, n, value, low, high, and for accuracy low_simultaneous, high_simultaneous.

    Accuracy comes from :func:`rdd_nb.evaluation.subgroups.group_table`. CVaR is that of each net's losses in the group,
    averaged over the nets with a t-interval, clipped at 0, which covers the training of the nets and not the draw of
    the images.

    Raises:
        RddError: a metric or grouping that is not known, a tail outside (0, 1].
    """
    if metric == "accuracy":
        table = subgroups.group_table(scores, by).rename(columns={"accuracy": "value"})
        return table[["group", "n", "value", "low", "high", "low_simultaneous", "high_simultaneous"]]
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    ids, names = scores.partition(by)
    losses = torch.from_numpy(np.asarray(scores.losses, np.float64))
    groups = torch.from_numpy(np.asarray(ids, np.int64)).expand(losses.shape)
    values = risk.group_cvar(losses, groups, len(names), tail).values.numpy()
    rows = []
    for k, name in enumerate(names):
        size = int((ids == k).sum())
        value, low, high = subgroups.mean_interval(values[:, k]) if size else (np.nan,) * 3
        rows.append((name, size, value, low if np.isnan(low) else max(low, 0.0), high, np.nan, np.nan))
    return pd.DataFrame(rows, columns=["group", "n", "value", "low", "high", "low_simultaneous", "high_simultaneous"])


def permutation_band(scores: Scores, by: str, level: float = 0.95, draws: int = 500) -> pd.DataFrame:
    """Each group's accuracy under random permutations of the group labels: columns group, low, high.

    The null band of "accuracy does not depend on the group": sizes, nets and overall accuracy stay, and ``level`` of
    the ``draws`` permutations (always the same ones) lie within. Of twenty equal groups, one is outside on average.
    """
    ids, names = scores.partition(by)
    share, size = scores.correct.mean(0), np.bincount(ids, minlength=len(names))
    rng = np.random.default_rng(seed_of(0, "permutation band"))
    with np.errstate(invalid="ignore"):  # an empty group has no band
        permuted = [np.bincount(ids, rng.permutation(share), len(names)) / size for _ in range(draws)]
    low, high = np.quantile(permuted, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return pd.DataFrame({"group": names, "low": low, "high": high})


@dataclass(frozen=True, eq=False)
class SubgroupState:
    """What the subgroup explorer shows.

    Attributes:
        by, metric, tail, group: what was chosen.
        tables: for each run, :func:`value_table`.
        null: of the first run, :func:`permutation_band`; None where it is not accuracy that is shown.
        shown: the groups drawn; all, or the worst under the first run.
        images: indices into the test set: the selected group's images, those most confused by the first run first.
        wrong: for each of them, the share of the first run's nets that err.
        said: for each of them, what the nets that err say most often; its own class where none errs.
    """

    by: str
    metric: str
    tail: float
    group: str
    tables: dict[str, pd.DataFrame]
    null: pd.DataFrame | None
    shown: tuple[str, ...]
    images: NDArray[np.int64]
    wrong: NDArray[np.float64]
    said: NDArray[np.int64]


class SubgroupExplorer(Explorer[SubgroupState]):
    """Pick runs, a grouping and a metric; pick a group to see its images and how they are misclassified.

    ``runs`` holds a toggle button for each run. ``group`` is a list to click in, the worst under the first picked run
    first; ``place`` steps through it by the keyboard.

    Args:
        scores: for each run, what its nets said of ``test``.
        test: the images they were scored on, in that order.

    Raises:
        RddError: no scores, or scores of other test samples.
    """

    def __init__(self, scores: Mapping[str, Scores], test: ImageDataset) -> None:
        super().__init__()
        if not scores:
            raise RddError("the subgroup explorer was given no scores: pass {name: Scores} of at least one run")
        for name, each in scores.items():
            if not np.array_equal(each.labels, test.labels.numpy()):
                raise RddError(
                    f"the scores of {name!r} are not of {test.name!r} (other labels): pass the same test set"
                )
        self._scores, self._test = dict(scores), test
        self._first = next(iter(self._scores.values()))
        # a button a run: JupyterLab would take the keys of a list that allows several
        self.runs = {
            name: widgets.ToggleButton(value=k < 2, description=name, layout=widgets.Layout(width="auto"))
            for k, name in enumerate(self._scores)
        }
        self.by = choice("grouping", groupings(self._first))
        self.metric = choice("metric", METRICS)
        self.tail = widgets.FloatSlider(
            value=0.1, min=0.01, max=1.0, step=0.01, description="tail", continuous_update=False, disabled=True
        )
        self.group = widgets.Select(rows=5, description="group", layout=widgets.Layout(width="280px"))
        self.place = widgets.IntSlider(
            value=1, min=1, max=2, description="place", tooltip="1 is the worst group", continuous_update=False
        )
        self._order(pick_worst=True)
        self.by.observe(lambda _: self._order(pick_worst=True), names="value")
        for control in (*self.runs.values(), self.metric, self.tail):
            control.observe(lambda _: self._order(), names="value")
        self.place.observe(self._placed, names="value")
        self._watch(*self.runs.values(), self.by, self.metric, self.tail, self.group)

    def _picked(self) -> tuple[str, ...]:
        return tuple(name for name, button in self.runs.items() if button.value)

    def _order(self, pick_worst: bool = False) -> None:
        """Offer the groups of the grouping, the worst under the first run first."""
        scores = self._scores[(*self._picked(), next(iter(self._scores)))[0]]
        with self._reported(), self._quietly():
            table = value_table(scores, self.by.value, self.metric.value, self.tail.value)
            ordered = table.sort_values("value", ascending=self.metric.value == "accuracy", kind="stable")
            names, before = list(ordered["group"]), self.group.value
            self.place.max = max(2, len(names))
            self.group.options = names
            self.group.value = names[0] if pick_worst else before
            self.place.value = self.group.index + 1

    def _placed(self, _change: object) -> None:
        if not self._held:
            self.group.index = min(self.place.value, len(self.group.options)) - 1

    def choices(self) -> dict[str, object]:
        """Runs, grouping, metric, tail, group."""
        self.tail.disabled = self.metric.value == "accuracy"
        with self._quietly():
            self.place.value = self.group.index + 1
        return {"runs": self._picked(), **{k: getattr(self, k).value for k in ("by", "metric", "tail", "group")}}

    def controls(self) -> tuple[widgets.Widget, ...]:
        """Runs, grouping, metric and tail; then the groups, to click in a list or to step through by place."""
        row = widgets.HBox([widgets.Label("runs"), *self.runs.values()], layout=widgets.Layout(flex_flow="row wrap"))
        column = widgets.VBox([row, self.by, self.metric, self.tail])
        return (column, widgets.VBox([self.group, self.place]))

    def compute(  # type: ignore[override]
        self, runs: Sequence[str], by: str, metric: str, tail: float, group: str
    ) -> SubgroupState:
        """The runs' tables, and the group's images in the order in which the first run confuses them."""
        if not runs:
            raise RddError("no run is picked: pick at least one")
        tables = {name: value_table(self._scores[name], by, metric, tail) for name in runs}
        first = tables[runs[0]]
        present = first[first["n"] > 0]
        worst_first = present.sort_values("value", ascending=metric == "accuracy", kind="stable")["group"]
        keep = {group, *worst_first.head(_GROUPS_SHOWN - (group not in set(worst_first.head(_GROUPS_SHOWN))))}
        scores = self._scores[runs[0]]
        ids, names = scores.partition(by)
        classes = len(scores.class_names)
        mine = np.flatnonzero(ids == names.index(group))
        wrong = 1 - scores.correct[:, mine].mean(0)
        order = np.lexsort((-scores.losses[:, mine].mean(0), -wrong))
        errors = [((scores.predictions[:, mine] == k) & (scores.labels[mine] != k)).sum(0) for k in range(classes)]
        said = np.where(wrong > 0, np.argmax(errors, axis=0), scores.labels[mine])
        return SubgroupState(
            by,
            metric,
            tail,
            group,
            tables,
            permutation_band(scores, by) if metric == "accuracy" else None,
            tuple(name for name in names if name in keep),
            mine[order],
            wrong[order],
            said[order],
        )

    def draw(self, state: SubgroupState) -> Figure:
        """Lollipops of the groups, a marker a run; and the images of the selected group."""
        figure = Figure(figsize=(9.6, max(4.8, 0.32 * len(state.shown) + 1.6)), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        self._lollipops(left, state)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
        self._gallery(right, state)
        return figure

    def _lollipops(self, axes: Axes, state: SubgroupState) -> None:
        scale = 100 if state.metric == "accuracy" else 1
        places = {name: y for y, name in enumerate(state.shown)}
        axes.axhspan(places[state.group] - 0.5, places[state.group] + 0.5, color="#EEEEEE", zorder=0)
        if state.null is not None:
            null = state.null[state.null["group"].isin(places)].dropna()
            y = null["group"].map(places).to_numpy(float)
            told = f"if groups did not matter to {shortened(next(iter(state.tables)), 40)!r} (95%)"
            axes.barh(
                y, (null["high"] - null["low"]) * 100, 0.9, null["low"] * 100, color="#D0D0D0", label=told, zorder=1
            )
        for k, (run, table) in enumerate(state.tables.items()):
            place = list(self._scores).index(run)  # so that a run keeps its looks when others are put away
            ink, marker = INKS[place % len(INKS)], MARKERS[place % len(MARKERS)]
            rows = table[table["group"].isin(places) & (table["n"] > 0)]
            y = rows["group"].map(places).to_numpy(float) + 0.6 * ((k + 0.5) / len(state.tables) - 0.5)
            axes.hlines(y, rows["low_simultaneous"] * scale, rows["high_simultaneous"] * scale, ink, linewidth=1)
            axes.hlines(y, rows["low"] * scale, rows["high"] * scale, ink, linewidth=3.5, alpha=0.55)
            axes.plot(rows["value"] * scale, y, marker, color=ink, markersize=7, label=legend_name(run))
        axes.set_yticks(range(len(places)), [shortened(name, 40) for name in places])
        axes.set_ylim(len(places) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        if state.metric == "accuracy":
            axes.set(xlim=(-1.5, 101.5), xlabel="test accuracy in %; thick: 95%, thin: 95% for all groups at once")
        else:
            axes.set(xlabel=f"mean of the worst {state.tail:.0%} of losses, in nats; thick: 95% over nets")
            axes.set_xlim(left=0)
        axes.grid(axis="x", color="#E5E5E5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)

    def _gallery(self, axes: Axes, state: SubgroupState) -> None:
        group, run = shortened(state.group), shortened(next(iter(state.tables)))
        axes.set_title(f"{group}: most often wrong under\n{run!r} (share of nets that err)")
        axes.set_anchor("N")
        chosen = state.images[:_IMAGES]
        if not len(chosen):
            axes.text(0.5, 0.5, "no test image", ha="center", transform=axes.transAxes)
            axes.set_axis_off()
            return
        names, labels = self._test.class_names, self._test.labels.numpy()
        words = [
            f"{_short(names[labels[index]])}\n" + (f"→ {_short(names[said])}\n({wrong:.0%})" if wrong else "right")
            for index, said, wrong in zip(chosen, state.said, state.wrong)
        ]
        captioned_sheet(axes, self._test.images[torch.from_numpy(chosen)].numpy(), _COLUMNS, words)

    def describe(self, state: SubgroupState) -> str:
        """The selected group under each run, its place among the groups, and its commonest confusion."""
        run, table = next(iter(state.tables.items()))
        parts = []
        for name, each in state.tables.items():
            row = each[each["group"] == state.group].iloc[0]
            parts.append(f"{name} {_told(row, state.metric)}")
        mine = table[table["group"] == state.group].iloc[0]
        words = f"{state.group}, {int(mine['n']):,} test images. {_heading(state)}: {'; '.join(parts)}."
        if state.null is not None and mine["n"]:
            null = state.null[state.null["group"] == state.group].iloc[0]
            where = "below" if mine["value"] < null["low"] else "above" if mine["value"] > null["high"] else "within"
            words += f" Under {run!r} that is {where} the permutation band, {null['low']:.1%} to {null['high']:.1%}."
        missed = state.said[state.wrong >= 0.5]
        if len(missed):
            words += (
                f" At least half of the nets of {run!r} err on {len(missed):,} of them, most often predicting "
                f"{self._test.class_names[int(np.bincount(missed).argmax())]}."
            )
        hidden = int((table["n"] > 0).sum()) - sum(name in state.shown for name in table.loc[table["n"] > 0, "group"])
        if hidden:
            words += f" The {len(state.shown)} worst groups are drawn, {hidden} others are not."
        return words


def _heading(state: SubgroupState) -> str:
    return "Accuracy" if state.metric == "accuracy" else f"Mean of the worst {state.tail:.0%} of losses"


def _told(row: pd.Series, metric: str) -> str:
    if not row["n"]:
        return "–"
    sign, unit = (".1%", "") if metric == "accuracy" else (".2f", " nats")
    ends = "" if np.isnan(row["low"]) else f" [{row['low']:{sign}}, {row['high']:{sign}}]"  # one net tells no spread
    return f"{row['value']:{sign}}{unit}{ends}"


def _short(name: str) -> str:
    return name if len(name) <= 9 else name[:8] + "."
