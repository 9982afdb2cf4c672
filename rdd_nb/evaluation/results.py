"""What the tidy tables of a study say: means over seeds with intervals, and paired differences.

Tables in which nothing stands a thousand times: one has a row for each scenario × method × seed × net ×
partition × group, with ``n`` samples and ``correct`` of them; the other, ``NAME-runs.csv``, a row for each run, with
all that it was measured on. They are joined by scenario, method and seed (:func:`load_table` with ``runs=True``). A
third, ``NAME-mechanism.csv``, has the curves of :mod:`rdd_nb.evaluation.diagnostics`, as means over seeds.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.api.types import is_integer_dtype, is_numeric_dtype
from scipy import special

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.escaping import from_csv
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import read_regular
from rdd_nb.evaluation.intervals import check_level, mean_interval
from rdd_nb.evaluation.subgroups import worst_group

__all__ = [
    "by_seed",
    "differences",
    "gain_told",
    "load_table",
    "mechanism_path",
    "overview",
    "read_csv",
    "runs_path",
    "signed",
    "summary",
]

KEYS = ["study", "scenario", "method", "seed"]
COLUMNS = [*KEYS, "net", "partition", "group", "n", "correct"]
#: Columns that are texts even where they look like numbers, whole numbers, and numbers.
TEXTS = {*KEYS[:3], "partition", "group", "quantity", "side", "settings", "data_digest", "revision"}
WHOLE, REAL = {"seed", "net", "n", "correct", "seeds"}, {"x", "value", "sd", "distill_seconds", "evaluate_seconds"}
PathLike = str | os.PathLike[str]


def mechanism_path(path: PathLike) -> Path:
    """Where the curves lie, beside the table at ``path``: ``study.csv`` has ``study-mechanism.csv``."""
    return Path(path).with_name(f"{Path(path).stem}-mechanism.csv")


def runs_path(path: PathLike) -> Path:
    """Where the second table lies, beside the one at ``path``.

    >>> runs_path("results/study.csv").name
    'study-runs.csv'
    """
    return Path(path).with_name(f"{Path(path).stem}-runs.csv")


def load_table(path: PathLike, runs: bool = False) -> pd.DataFrame:
    """Read a study's table; with ``runs`` each row gets the columns of its run, from the table beside it.

    Raises:
        RddError: no such file, or one that is no table of a study.
    """
    mend = "`rdd-nb study` writes one"
    table = read_csv(path, [], mend)
    if list(table.columns) != COLUMNS:
        there = ", ".join(str(name)[:30] for name in table.columns[:6])
        raise RddError(f"{path} has the columns {there} …, not those of a study's table")
    if not runs:
        return table
    beside = read_csv(runs_path(path), KEYS, mend)
    try:
        return table.merge(beside, on=KEYS, how="left", validate="many_to_one")
    except ValueError as error:  # runs that are there twice, or keys of two types
        raise RddError(f"{runs_path(path)} does not fit {path} ({one_line(error)}): {mend}") from None


def read_csv(path: PathLike, columns: Sequence[str], mend: str, follow: bool = True) -> pd.DataFrame:
    """A table that :func:`rdd_nb.core.escaping.csv_text` has written, with the texts as they were.

    Args:
        path: of the file.
        columns: that it must have.
        mend: what to do, in an error.
        follow: whether the file may be a link; not where the folder it lies in may be a stranger's.

    Raises:
        RddError: no such file, no such table, or numbers that are none.
    """
    try:
        data = read_regular(path, follow=follow)
        names = [str(name) for name in pd.read_csv(io.BytesIO(data), nrows=0)]
        nothing = {name: ["", "nan", "NaN"] for name in names if name not in TEXTS}  # a group may be called NA
        texts = {name: str for name in names if name in TEXTS}
        table = pd.read_csv(io.BytesIO(data), dtype=texts, na_values=nothing, keep_default_na=False)
    except (OSError, ValueError, OverflowError) as error:
        raise RddError(f"cannot read the table {path} ({one_line(error)}): {mend}") from None
    for name in columns:
        if name not in table:
            raise RddError(f"{path} has no column {name!r}: {mend}")
    for name, kind in zip(names, table.dtypes):
        wrong = (name in WHOLE and not is_integer_dtype(kind)) or (name in REAL and not is_numeric_dtype(kind))
        if wrong and len(table):
            raise RddError(
                f"{path} holds {name!r} that are no numbers, such as {str(table[name].iloc[0])[:40]!r}: {mend}"
            )
        if not is_numeric_dtype(kind):
            table[name] = table[name].map(from_csv)
    return table


# --- what a table says --------------------------------------------------------------------------------------------


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each scenario, method, seed and group, as the mean over nets; empty groups are left out.

    With two more partitions: ``balanced`` (the mean of the class accuracies) and ``worst`` (the worst named group, or
    side of the minority: a minimum, with the simultaneous band of :func:`rdd_nb.evaluation.subgroups.worst_group`).
    :func:`summary` and :func:`differences` take what it gives in place of the table, for whoever asks more than once.
    """
    if "accuracy" in table:
        return table
    one = table[table["n"] > 0].assign(accuracy=lambda t: t["correct"] / t["n"])
    keys = ["scenario", "method", "seed"]
    means = one.groupby([*keys, "partition", "group"], sort=False).agg(
        accuracy=("accuracy", "mean"), n=("n", "first"), nets=("net", "nunique")
    )
    means = means.reset_index()
    classes = means[means["partition"] == "class"].groupby(keys, sort=False)
    balanced = classes.agg(accuracy=("accuracy", "mean"), n=("n", "sum"), nets=("nets", "first")).reset_index()
    worst = []
    named = table[table["partition"].isin(("group", "minority"))]
    for key, part in named.groupby(keys, sort=False):
        by = "group" if (part["partition"] == "group").any() else "minority"
        mine = part[part["partition"] == by]
        found = worst_group(mine)
        size = mine.loc[mine["group"] == found.group, "n"].iloc[0]
        told = {"group": "worst", "accuracy": found.value, "band_low": found.low, "band_high": found.high}
        worst.append({**dict(zip(keys, key)), **told, "n": size, "nets": mine["net"].nunique()})
    parts = [means, balanced.assign(partition="balanced", group="balanced")]
    if worst:
        parts.append(pd.DataFrame(worst).assign(partition="worst"))
    return pd.concat(parts, ignore_index=True).reindex(columns=[*means.columns, "band_low", "band_high"])


def _over_seeds(values: pd.DataFrame, column: str, level: float, **more: tuple[str, str]) -> pd.DataFrame:
    """Of a column, by scenario, method, partition and group: seeds, mean, sd and the t-interval (low, high).

    As :func:`rdd_nb.evaluation.intervals.mean_interval` has it, for all of them at once.
    """
    keys = ["scenario", "method", "partition", "group"]
    if not np.isfinite(values[column]).all():
        raise RddError("the table has accuracies that are not finite: it is damaged, so collect it again")
    told = values.groupby(keys, sort=False).agg(
        seeds=(column, "size"), mean=(column, "mean"), sd=(column, "std"), **more
    )
    seeds = told["seeds"].to_numpy()
    quantile = -special.stdtrit(np.maximum(seeds - 1, 1), (1 - check_level(level)) / 2)
    half = np.where(seeds > 1, quantile * told["sd"] / np.sqrt(seeds), np.nan)
    return told.assign(low=told["mean"] - half, high=told["mean"] + half).reset_index()


def summary(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """For each scenario, method, partition and group: the accuracy over seeds, as a fraction.

    Args:
        table: from :func:`load_table` or :func:`rdd_nb.experiments.study.tables.collect`, or of :func:`by_seed`.
        level: of the intervals.

    Returns:
        Columns scenario, method, partition, group, seeds, nets (of each seed), n (test samples, in the first seed),
        mean (over seeds, of the means over nets), sd (between seeds), low, high (t-interval over seeds; NaN for one
        seed), band_low, band_high. The last two are given for ``worst`` alone: means over seeds of the ends of its
        band. Its mean, low and high are of raw minima, which lie below the truth; the named groups stand beside it.
    """
    if table.empty:
        raise RddError("the table has no rows: no run is finished")
    ends = {name: (name, "mean") for name in ("band_low", "band_high")}
    told = _over_seeds(by_seed(table), "accuracy", level, nets=("nets", "first"), n=("n", "first"), **ends)
    columns = ["scenario", "method", "partition", "group", "seeds", "nets", "n", "mean", "sd", "low", "high", *ends]
    return told[columns].astype({"nets": int, "n": int})


def differences(table: pd.DataFrame, baseline: str = "plain", level: float = 0.95) -> pd.DataFrame:
    """What each method gains on ``baseline``, paired over seeds: the same seed is the same scenario and test set.

    The interval is a t-interval over the seeds' differences, so it is about new seeds, that is, about scenario,
    groups, distillation and nets drawn anew. (:func:`rdd_nb.evaluation.paired_tests.paired_difference` compares two
    runs sample by sample, from their ``scores.npz``.)

    Args:
        table: as of :func:`summary`.
        baseline: a method of it.
        level: of the intervals.

    Returns:
        Columns scenario, method, partition, group, seeds (that both have), difference, sd, low, high; scenarios
        without the baseline are left out.

    Raises:
        RddError: no scenario has the baseline.
    """
    if baseline not in set(table["method"]):
        raise unknown("method", baseline, set(table["method"]), "the table")
    means = by_seed(table)
    keys = ["scenario", "seed", "partition", "group"]
    base = means[means["method"] == baseline][[*keys, "accuracy"]]
    pairs = means[means["method"] != baseline].merge(base, on=keys, suffixes=("", "_base"))
    pairs["difference"] = pairs["accuracy"] - pairs["accuracy_base"]
    return _over_seeds(pairs, "difference", level).rename(columns={"mean": "difference"})


def signed(points: float) -> str:
    """A difference in points with its sign, to a tenth; one that rounds to nothing has none.

    >>> signed(1.26), signed(-3), signed(-0.01)
    ('+1.3', '−3.0', '0.0')
    """
    text = f"{points:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def gain_told(gains: ArrayLike) -> str:
    """What was gained, in points, by seed ``[S]``: the mean, and from two seeds on its 95 % t-interval.

    >>> gain_told([1.0, 3.0]), gain_told([2.0])
    ('+2.0 [−10.7, +14.7]', '+2.0')
    """
    held = np.asarray(gains, np.float64)
    told = mean_interval(held)
    return signed(told.value) + (f" [{signed(told.low)}, {signed(told.high)}]" if len(held) > 1 else "")


def overview(table: pd.DataFrame, baseline: str = "plain") -> str:
    """A compact text: for each scenario a line a method, with accuracies in % and the gain on the baseline.

    Each entry is a mean over seeds, ± standard deviation between them, and in brackets the gain in points.
    """
    said = summary(table)
    gains = differences(table, baseline) if baseline in set(table["method"]) else None
    lines: list[str] = []
    for scenario, part in said.groupby("scenario", sort=False):
        shown = part[part["partition"].isin(["all", "minority", "balanced", "worst", "robustness"])]
        two = [shown.loc[shown["partition"] == name, "mean"].to_numpy() for name in ("all", "balanced")]
        if np.allclose(*two):  # classes of equal size: one column says both
            shown = shown[shown["partition"] != "balanced"]
        columns = list(dict.fromkeys(zip(shown["partition"], shown["group"])))
        width = max(len(str(m)) for m in shown["method"])
        lines += ["", f"{scenario} ({int(shown['seeds'].max())} seeds × {int(shown['nets'].max())} nets; % right)"]
        lines.append(" " * width + "".join(f"{name[-18:]:>20}" for _, name in columns))
        for method, mine in shown.groupby("method", sort=False):
            cells = mine.set_index(["partition", "group"])
            lines.append(
                f"{method:{width}}" + "".join(f"{_cell(cells, gains, scenario, method, c):>20}" for c in columns)
            )
    return "\n".join(lines[1:])


def _cell(cells: pd.DataFrame, gains: pd.DataFrame | None, scenario: Any, method: Any, column: tuple[str, str]) -> str:
    if column not in cells.index:
        return "–"
    row: Any = cells.loc[column]
    text = f"{100 * row['mean']:.1f}" + ("" if np.isnan(row["sd"]) else f" ±{100 * row['sd']:.1f}")
    if gains is not None:
        mine = gains[(gains["scenario"] == scenario) & (gains["method"] == method)]
        mine = mine[(mine["partition"] == column[0]) & (mine["group"] == column[1])]
        if len(mine):
            text += f" ({100 * mine['difference'].iloc[0]:+.1f})"
    return text
