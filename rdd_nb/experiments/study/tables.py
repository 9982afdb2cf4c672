"""Write a study's tables: from the folders of its runs, and from runs that other machines, or other days, have made.

What the tables hold, :mod:`rdd_nb.evaluation.results` says. A run is known by its settings
(:attr:`rdd_nb.experiments.study.plan.Unit.digest`, column ``settings`` of ``NAME-runs.csv``), so that a table can be
added to without the folders that it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import csv_text
from rdd_nb.core.files import atomic_write
from rdd_nb.evaluation.results import COLUMNS, KEYS, PathLike, load_table, mechanism_path, read_csv, runs_path
from rdd_nb.experiments.study.plan import Unit
from rdd_nb.experiments.study.units import folder_of, result, state

__all__ = ["Tables", "check_place", "collect", "held", "join", "write_tables"]

WAY = KEYS[:3]
CURVE = [*WAY, "quantity", "side", "x"]


class Tables(NamedTuple):
    """The three tables of a study.

    Attributes:
        table: a row for each scenario × method × seed × net × partition × group.
        runs: a row for each run.
        mechanism: the curves of :mod:`rdd_nb.evaluation.diagnostics`, averaged over seeds: columns study, scenario,
            method, quantity, side, x, seeds, value, sd (between seeds).
    """

    table: pd.DataFrame
    runs: pd.DataFrame
    mechanism: pd.DataFrame


def collect(out: PathLike, units: Sequence[Unit]) -> Tables:
    """The tables of those ``units`` that are finished in the study's folder ``out``, in their order."""
    tables, runs, curves = [], [], []
    for unit in _in_order(units):
        folder = folder_of(Path(out), unit)
        if state(Path(out), unit) != "done":
            continue
        keys = dict(zip(KEYS, _key(unit)))
        mend = "remove the folder's result.json, and run the study again"
        table = read_csv(folder.at("rows.csv"), COLUMNS[len(KEYS) :], mend, follow=False)
        tables.append(table.assign(**keys)[COLUMNS])
        runs.append({**keys, **(result(folder) or {}), "settings": unit.digest})
        if folder.has("mechanism.csv"):
            curve = read_csv(folder.at("mechanism.csv"), ["quantity", "side", "x", "value"], mend, follow=False)
            curve = curve.assign(study=unit.study, scenario=unit.scenario)
            curves.append(curve.assign(method=unit.method, seeds=1, sd=np.nan))
    return Tables(
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS),
        pd.DataFrame(runs) if runs else pd.DataFrame(columns=[*KEYS, "settings"]),
        _pooled(curves),
    )


def held(path: PathLike, units: Sequence[Unit]) -> tuple[Tables, set[str]]:
    """What the tables at ``path`` hold of ``units``, and the names of these units.

    A run whose settings are no unit's any more is not among them; nor are the other seeds of its method and scenario,
    as their curves are kept as one mean.

    Raises:
        RddError: a table that cannot be read, one of another study, or one from before runs were known by their
            settings.
    """
    if not Path(path).exists():
        return collect(path, ()), set()
    mend = "use another --table"
    table, runs = load_table(path), read_csv(runs_path(path), KEYS, mend)
    if "settings" not in runs:
        raise RddError(f"{runs_path(path)} does not say with which settings its runs were made: use another --table")
    for other in runs["study"].drop_duplicates():
        if units and other != units[0].study:
            raise RddError(f"{path} holds runs of study {other!r}, not of {units[0].study!r}: use another --table")
    wanted = {(*_key(unit), unit.digest) for unit in units}
    known = pd.Series([key in wanted for key in _keys(runs, *KEYS, "settings")], index=runs.index, dtype=bool)
    spoilt = set(_keys(runs[~known], *WAY))
    kept = {key for key in _keys(runs[known], *KEYS) if key[:3] not in spoilt}
    beside = mechanism_path(path)
    curves = read_csv(beside, [*CURVE, "seeds", "value", "sd"], mend) if beside.exists() else _pooled([])
    parts = [
        frame[pd.Series([key in of for key in _keys(frame, *keys)], index=frame.index, dtype=bool)]
        for frame, keys, of in ((table, KEYS, kept), (runs, KEYS, kept), (curves, WAY, {key[:3] for key in kept}))
    ]
    return Tables(*parts), {unit.name for unit in units if _key(unit) in kept}


def join(parts: Sequence[Tables], units: Sequence[Unit]) -> Tables:
    """One set of tables of several that share no run, in the order of ``units``."""
    places = {_key(unit)[:3]: place for place, unit in enumerate(_in_order(units))}

    def sort(frame: pd.DataFrame, *rest: str) -> pd.DataFrame:
        place = pd.Series([places[key] for key in _keys(frame, *WAY)], index=frame.index, dtype=int)
        ordered = frame.assign(place=place).sort_values(["place", *rest], kind="stable", ignore_index=True)
        return ordered.drop(columns="place")

    def together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        full = [frame for frame in frames if len(frame)]
        return pd.concat(full, ignore_index=True) if full else frames[0]

    return Tables(
        sort(together([p.table for p in parts]), "seed"),
        sort(together([p.runs for p in parts]), "seed"),
        sort(_pooled([p.mechanism for p in parts])),
    )


def _key(unit: Unit) -> tuple[Any, ...]:
    return unit.study, unit.scenario, unit.method, unit.seed


def _keys(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return list(zip(*(frame[column] for column in columns)))


def _in_order(units: Sequence[Unit]) -> list[Unit]:
    """By scenario and method as they first come, then by seed."""
    order = {name: i for i, name in enumerate(dict.fromkeys(u.scenario for u in units))}
    ways = {name: i for i, name in enumerate(dict.fromkeys(u.method for u in units))}
    return sorted(units, key=lambda u: (order[u.scenario], ways[u.method], u.seed))


def _pooled(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean and standard deviation over all seeds, from those over some of them: no curve of a single seed is kept."""
    full = [part for part in parts if len(part)]
    if not full:
        return pd.DataFrame(columns=[*CURVE, "seeds", "value", "sd"])
    every = pd.concat(full, ignore_index=True)
    every["sum"] = every["seeds"] * every["value"]
    every["squares"] = (every["seeds"] - 1) * every["sd"].fillna(0.0) ** 2 + every["sum"] * every["value"]
    sums = every.groupby(CURVE, sort=False, dropna=False)[["seeds", "sum", "squares"]].sum().reset_index()
    n, mean = sums["seeds"], sums["sum"] / sums["seeds"]
    spread = (sums["squares"] - n * mean**2).clip(lower=0.0)
    return sums[CURVE].assign(seeds=n, value=mean, sd=np.sqrt(spread / (n - 1).where(n > 1)))


def write_tables(
    path: PathLike, table: pd.DataFrame, runs: pd.DataFrame, mechanism: pd.DataFrame | None = None
) -> None:
    """Write the tables, each whole or not at all.

    Raises:
        RddError: the place cannot be written.
    """
    check_place(path)
    atomic_write(path, csv_text(table))
    atomic_write(runs_path(path), csv_text(runs))
    if mechanism is not None and len(mechanism):
        atomic_write(mechanism_path(path), csv_text(mechanism, float_format="%.5g"))


def check_place(path: PathLike) -> None:
    """Whether tables can be written at ``path``, so that it is known before hours of computing.

    Raises:
        RddError: they cannot.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RddError(f"cannot write {path}: {error.strerror or error}; use another --table") from None
    for each in (Path(path), runs_path(path), mechanism_path(path)):
        if each.exists() and not each.is_file():
            raise RddError(f"{each} is no regular file: use another --table")
    atomic_write(Path(path).with_name(f".{Path(path).name}.probe"), "").unlink(missing_ok=True)
