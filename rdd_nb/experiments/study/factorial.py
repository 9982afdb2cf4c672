"""What a table of all combinations of settings says: interactions, components of variance, fronts, honest winners.

A setting is one point of a study's grid, such as ``group_power=0.3 tail=0.2 ipc=10``; each was run at the same seeds.
The seed draws the scenario, the groups, the distillation and the networks, so settings are compared seed by seed.
All of it is taught in notebook 06.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.evaluation.intervals import variance_components
from rdd_nb.evaluation.results import load_table, read_csv, runs_path
from rdd_nb.experiments.study.plan import load_plan, prepare
from rdd_nb.figures.study_figures import split_name

__all__ = [
    "Components",
    "Grid",
    "Held",
    "chosen",
    "components",
    "difference_of_differences",
    "front",
    "grid",
    "of_study",
    "outcomes",
]

PathLike = str | os.PathLike[str]
Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Held(NamedTuple):
    """A table of runs, and what one needs to know to read it; from :func:`of_study`, or from a sweep of notebooks
    (:func:`rdd_nb.experiments.sweep.tables.of_sweep`).

    Attributes:
        runs: as :func:`outcomes` has them.
        sides: what the majority and the minority are called.
        share: the minority's, of the training set.
        held_out: whether the runs were scored on training images that were held out, and not on the test set.
        distill_seconds, evaluate_seconds: of a run, on average.
        name: of the table.
    """

    runs: pd.DataFrame
    sides: tuple[str, str]
    share: float
    held_out: bool
    distill_seconds: float
    evaluate_seconds: float
    name: str


def of_study(config: PathLike, table: PathLike) -> Held:
    """The table of a study of one scenario.

    Args:
        config: the study's YAML.
        table: where ``rdd-nb study`` has put its table; ``NAME-runs.csv`` lies beside it.

    Raises:
        RddError: several scenarios, one that marks no minority, or no such table.
    """
    plan = load_plan(Path(config))
    names = sorted({unit.scenario for unit in plan.units})
    if len(names) > 1:
        raise RddError(f"{config} has the scenarios {', '.join(names)}: give a study of one")
    made = plan.units[0].made
    train = prepare(made).train
    if train.minority is None:
        raise RddError(f"{names[0]} marks no minority, so there is no mean against worst side: take another scenario")
    share = float(train.minority.double().mean())
    read = load_table(table)
    seconds = ["distill_seconds", "evaluate_seconds"]
    cost = read_csv(runs_path(table), seconds, "give the table that `rdd-nb study` has written")[seconds].mean()
    times = (float(cost["distill_seconds"]), float(cost["evaluate_seconds"]))
    sides = train.minority_names
    return Held(outcomes(read, share), sides, share, made["hold_out"] is not None, *times, Path(table).name)


def outcomes(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """A row for each run and network of a study's table, with its setting and whom the network serves.

    Args:
        table: from :func:`rdd_nb.evaluation.results.load_table`, of one scenario that marks a minority.
        share: the minority's, in (0, 1): what it has in ``mean``. A scenario's test set shows the minority more often
            than training does; with its share of the training set, ``mean`` is what a user of such data meets.

    Returns:
        Columns way (the method without its setting), the settings' names (NaN where a method has none), seed, net,
        majority, minority, mean, worst (the lower side); accuracies as fractions.

    Raises:
        RddError: several scenarios, no two sides, or a share out of range.
    """
    if table["scenario"].nunique() != 1:
        raise RddError(f"the table has {table['scenario'].nunique()} scenarios: pick the rows of one")
    if not 0 < share < 1:
        raise RddError(f"share={share!r} must lie between 0 and 1: the minority's part of the training set")
    rows = table[(table["partition"] == "minority") & (table["n"] > 0)]
    sides = list(dict.fromkeys(rows["group"]))
    if len(sides) != 2:
        raise RddError(f"the table has {len(sides)} sides of a minority, not 2: use a scenario that marks one")
    accuracy = rows.assign(accuracy=rows["correct"] / rows["n"])
    wide = accuracy.pivot(index=["method", "seed", "net"], columns="group", values="accuracy")
    wide = wide[sides].set_axis(["majority", "minority"], axis=1).reset_index()
    points = {name: split_name(name) for name in wide["method"].unique()}
    names = list(dict.fromkeys(key for _, point in points.values() for key in point))
    wide.insert(0, "way", [points[m][0] for m in wide["method"]])
    for place, key in enumerate(names, 1):
        wide.insert(place, key, [points[m][1].get(key, np.nan) for m in wide["method"]])
    wide["mean"] = (1 - share) * wide["majority"] + share * wide["minority"]
    wide["worst"] = wide[["majority", "minority"]].min(axis=1)
    return wide.drop(columns="method").rename_axis(columns=None)


class Grid(NamedTuple):
    """All combinations of settings as one array.

    Attributes:
        levels: of each setting its values, in order.
        seeds: of the runs.
        values: ``[level, …, seed, net]``, an axis for each setting.
    """

    levels: dict[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    values: Values

    @property
    def by_seed(self) -> Values:
        """``[level, …, seed]``: the mean over nets."""
        return np.asarray(self.values.mean(-1), float)

    @property
    def flat(self) -> Values:
        """``[setting, seed, net]``: the settings in one row, the last one's level moving fastest."""
        return self.values.reshape(-1, *self.values.shape[-2:])

    @property
    def names(self) -> list[dict[str, Any]]:
        """What each setting of :attr:`flat` is."""
        return [dict(zip(self.levels, point)) for point in itertools.product(*self.levels.values())]


def grid(runs: pd.DataFrame, factors: Sequence[str], outcome: str) -> Grid:
    """One outcome of a full factorial as an array; ``runs`` as from :func:`outcomes`, with all its rows.

    Raises:
        RddError: no such column; a combination that is missing, or there twice.

    >>> rows = [(p, t, s, 0, p + t + s) for p in (0, 1) for t in (0.2, 1) for s in (7, 8)]
    >>> full = grid(pd.DataFrame(rows, columns=["power", "tail", "seed", "net", "mean"]), ["power", "tail"], "mean")
    >>> full.levels, full.values.shape
    ({'power': (0, 1), 'tail': (0.2, 1.0)}, (2, 2, 2, 1))
    """
    for name in (*factors, outcome):
        if name not in runs.columns:
            raise unknown("column", name, map(str, runs.columns), "the table of runs")
    axes = [*factors, "seed", "net"]
    levels = [sorted(runs[name].unique().tolist()) for name in axes]
    shape = tuple(map(len, levels))
    held = runs.set_index(axes)[outcome]
    if held.index.has_duplicates:
        raise RddError(f"{axes} name some runs twice: keep the rows of one way and one scenario")
    if len(held) != np.prod(shape) or held.isna().any():
        raise RddError(
            f"{int(np.prod(shape)) - int(held.notna().sum())} of {int(np.prod(shape))} combinations of {axes} are "
            "missing: run the study to its end, or keep the settings that are complete"
        )
    values = held.reindex(pd.MultiIndex.from_product(levels)).to_numpy(float).reshape(shape)
    kept = {name: tuple(level) for name, level in zip(factors, levels)}
    return Grid(kept, tuple(levels[-2]), values)


def difference_of_differences(table: pd.DataFrame, a: str, b: str, value: str) -> pd.Series:
    """How much more ``value`` changes with ``a`` at the high level of ``b`` than at the low one, for each seed.

    (high a, high b) − (low a, high b) − (high a, low b) + (low a, low b), of the means over what else there is (nets).

    Args:
        table: tidy, with the columns seed, ``a`` and ``b`` (two levels each) and ``value``.
        a, b, value: names of columns.

    Returns:
        Of each seed that has all four; a series with the index seed.

    Raises:
        RddError: more or fewer than two levels.

    >>> t = pd.DataFrame({"seed": 1, "a": [0, 0, 1, 1], "b": [0, 1, 0, 1], "y": [1.0, 2.0, 4.0, 9.0]})
    >>> difference_of_differences(t, "a", "b", "y").tolist()
    [4.0]
    """
    for name in (a, b):
        if table[name].nunique() != 2:
            raise RddError(f"{name} has {table[name].nunique()} levels here: keep the rows of two")
    means = table.groupby(["seed", a, b])[value].mean().unstack([a, b]).dropna()
    (low_a, high_a), (low_b, high_b) = (sorted(table[name].unique()) for name in (a, b))
    found = means[high_a, high_b] - means[low_a, high_b] - means[high_a, low_b] + means[low_a, low_b]
    return pd.Series(found, name=value)


class Components(NamedTuple):
    """Where the variance of an outcome comes from; variances, in the outcome's unit squared.

    Attributes:
        setting: between the means of the settings.
        seed: what a seed does to all settings alike.
        start: what a network's start (its weights, the order of its batches) does to all settings alike.
        pairing: what a seed does to one setting and not to another.
        net: what is left: between networks trained on one set, beyond their starts.
    """

    setting: float
    seed: float
    start: float
    pairing: float
    net: float

    def difference(self, seeds: int, nets: int) -> float:
        """The variance of a paired difference of two settings; what is alike for both (seed, start) has dropped out."""
        return 2 * (self.pairing + self.net / nets) / seeds


def components(values: ArrayLike) -> Components:
    """Components of variance of ``values [settings, seeds, nets]``, from the expected mean squares (Fisher, 1925).

    Settings are crossed with networks, for network k of a seed starts alike whatever set it is trained on
    (:func:`rdd_nb.models.training.train`); networks are nested within seeds. An estimate below 0 is given as 0.
    Settings are treated as drawn, too: their component tells how far apart these are.

    Raises:
        RddError: fewer than two of anything.
    """
    return Components(*(max(0.0, part.value) for part in variance_components(values, draws=1).values()))


def front(points: ArrayLike) -> Mask:
    """Which points nobody dominates: bool ``[…, N]`` for ``points […, N, criteria]``, where more is better.

    One dominates another that is at least as good everywhere and better somewhere. So of equal points none dominates
    the other, and all may be on the front. A point with a NaN is never on it, and dominates nobody.

    >>> front([[1, 3], [2, 2], [2, 1], [2, 2]]).tolist()
    [True, True, False, True]
    """
    x = np.asarray(points, float)
    one, other = x[..., :, None, :], x[..., None, :, :]
    dominated = (other >= one).all(-1) & (other > one).any(-1)
    return np.asarray(~dominated.any(-1) & np.isfinite(x).all(-1), bool)


def chosen(values: ArrayLike, count: int) -> Mapping[str, float]:
    """Choose the best setting on ``count`` of the seeds, look at it on the others, for all such choices of seeds.

    Args:
        values: ``[settings, seeds]``, more is better.
        count: seeds to choose on, from 1 to all but one.

    Returns:
        Means over all choices: ``claimed`` (of the winner, on the seeds that chose it), ``honest`` (of the same setting
        on the other seeds) and ``reachable`` (the setting with the best mean over all seeds: what no choice on fewer
        seeds beats on average, itself a little too high).

    Raises:
        RddError: a count that leaves no seed on either side.

    >>> chosen([[1.0, 0.0], [0.0, 1.0]], 1)
    {'claimed': 1.0, 'honest': 0.0, 'reachable': 0.5}
    """
    x = np.asarray(values, float)
    seeds = x.shape[1]
    if not 0 < count < seeds:
        raise RddError(f"count is {count} of {seeds} seeds: choose on at least one, and leave at least one to report")
    found = []
    for first in itertools.combinations(range(seeds), count):
        rest = [s for s in range(seeds) if s not in first]
        winner = int(x[:, list(first)].mean(1).argmax())
        found.append((x[winner, list(first)].mean(), x[winner, rest].mean()))
    claimed, honest = np.mean(found, axis=0)
    return {"claimed": float(claimed), "honest": float(honest), "reachable": float(x.mean(1).max())}
