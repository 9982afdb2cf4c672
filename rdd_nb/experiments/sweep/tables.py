"""What a sweep measured, as tables: a row a run, or a row a run and network.

A notebook says what it measured in ``metrics.json`` of its ``out_dir``. Where that has a ``summary`` (name → number),
the summary is the measurement; otherwise all numbers in it are, named by their place (``gain.off-colour.value``). Where
it has ``by_net`` (name → a number for each network), :func:`outcomes` gives a row for each network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pydantic

from rdd_nb.core.checked import Held as Model
from rdd_nb.core.checked import validated
from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import Folder
from rdd_nb.core.version import __version__
from rdd_nb.experiments.study.factorial import Held
from rdd_nb.experiments.sweep.engine import ABOUT, NOTEBOOK
from rdd_nb.experiments.sweep.grid import Plan, Run, make_plan
from rdd_nb.experiments.sweep.guard import RUNS
from rdd_nb.experiments.sweep.record import Record, read, state

__all__ = ["collect", "measured_columns", "numbers", "of_sweep", "outcomes", "plan_of"]

StrPath = str | os.PathLike[str]
M = TypeVar("M", bound=Model)
METRICS, LARGEST = "metrics.json", 1e300
ABOUT_RUN = ("run", "condition", "status")
ABOUT_HOW = ("seconds", "began", "rdd_nb", "revision", "threads", "folder", "error")
NO_MEASUREMENT = ("machine", "made_on", "seed")  # what metrics.json tells beside measurements


class _About(Model):
    notebook: str
    grid: Any


class _ByNet(Model):
    by_net: dict[str, list[float]]

    @pydantic.model_validator(mode="after")
    def _alike(self) -> _ByNet:
        if len({len(values) for values in self.by_net.values()}) > 1:
            raise ValueError("by_net has more networks for one measurement than for another")
        return self


class _Sides(Model):
    majority: str
    minority: str
    share: float = pydantic.Field(gt=0, lt=1)
    scored_on: str


class _Cost(Model):
    distill_seconds: float = pydantic.Field(default=float("nan"), ge=0, le=1e10)
    evaluate_seconds: float = pydantic.Field(default=float("nan"), ge=0, le=1e10)


class _Told(Model):
    sides: _Sides | None = None
    cost: _Cost = pydantic.Field(default=_Cost())


def plan_of(out: StrPath) -> Plan:
    """The plan of the sweep in a folder.

    Raises:
        RddError: there is no sweep.
    """
    folder, mend = Folder(out), "give the --out of `rdd-nb sweep`"
    if not folder.has(ABOUT):
        raise RddError(f"no sweep in {out} (it has no {ABOUT}): {mend}")
    about = validated(_About, folder.json(ABOUT, mend), f"{folder.path / ABOUT}", mend)
    name = f"{NOTEBOOK}/{about.notebook}"
    if "/" in about.notebook or not folder.has(name):
        raise RddError(f"no sweep in {out} (it has no {name!r}, as {ABOUT} says): {mend}")
    return make_plan(folder.at(name), about.grid)


def collect(out: StrPath) -> pd.DataFrame:
    """A row for each run of a sweep, also for those that are missing or failed.

    Columns: run, condition, status (missing, done, failed, interrupted, or outdated: of another version of the notebook
    or the package), all parameters, what was measured (:func:`measured_columns` names it; NaN unless done), seconds,
    began (UTC), rdd_nb, revision, threads, folder, error. A measurement that is called like another column gets
    ``measured`` before its name.

    Raises:
        RddError: there is no sweep in ``out``.
    """
    plan = plan_of(out)
    rows, names = [], dict.fromkeys(plan.runs[0].parameters)
    taken = {*ABOUT_RUN, *ABOUT_HOW, *names}
    found: dict[str, None] = {}
    for run, how, record, metrics in _each(plan, out):
        there = {f"measured {k}" if k in taken else k: v for k, v in numbers(metrics).items()}
        found.update(dict.fromkeys(there))
        row: dict[str, Any] = {
            "run": run.name,
            "condition": run.condition,
            "status": how,
            "folder": f"{RUNS}/{run.folder}",
        }
        row |= {name: _cell(value) for name, value in run.parameters.items()} | there
        if record is not None:
            made_on = {name: record.made_on.get(name, "") for name in ("rdd_nb", "revision", "threads")}
            row |= {"seconds": record.seconds, "began": record.began, "error": record.error, **made_on}
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*ABOUT_RUN, *names, *found, *ABOUT_HOW])
    table.attrs["measured"] = list(found)
    return table


def measured_columns(table: pd.DataFrame) -> list[str]:
    """The columns of :func:`collect` that hold measurements."""
    return list(table.attrs.get("measured", []))


def outcomes(out: StrPath) -> pd.DataFrame:
    """A row for each finished run and network, as :func:`rdd_nb.experiments.study.factorial.outcomes` has for a study.

    Columns: way (the condition, or "sweep"), the parameters that vary but for the seed, seed, net, and what the
    notebook measured of each network.

    Raises:
        RddError: no run is finished, or the notebook does not measure networks one by one (``by_net``).
    """
    plan = plan_of(out)
    return _by_net(plan, _with_nets(plan, out))


def _by_net(plan: Plan, measured: Sequence[tuple[Run, Mapping[str, Any]]]) -> pd.DataFrame:
    varied, rows = [name for name in plan.swept if name != "seed"], []
    for run, metrics in measured:
        by_net = _valid(_ByNet, metrics, run).by_net
        head = {"way": run.condition or "sweep"} | {name: _cell(run.parameters[name]) for name in varied}
        for net, values in enumerate(zip(*by_net.values())):
            rows.append(head | {"seed": run.parameters.get("seed", 0), "net": net} | dict(zip(by_net, values)))
    return pd.DataFrame(rows)


def _valid(model: type[M], metrics: Mapping[str, Any], run: Run) -> M:
    return validated(model, dict(metrics), f"{RUNS}/{run.folder}/{METRICS}", "run it again")


def _with_nets(plan: Plan, out: StrPath) -> list[tuple[Run, Mapping[str, Any]]]:
    """The finished runs that measured networks one by one, and what they measured; an RddError where there are none."""
    found = [(run, metrics) for run, _, _, metrics in _each(plan, out) if "by_net" in metrics]
    if not found:
        raise RddError(
            f"no run in {out} has measured networks one by one: finish some, of a notebook that writes `by_net` into "
            "its metrics.json, such as 03_distillation"
        )
    return found


def of_sweep(out: StrPath) -> Held:
    """A sweep of ``03_distillation`` as notebook 06 reads it: its runs and networks, and whom they are about.

    Raises:
        RddError: no finished run, no minority, or runs that are about different minorities.
    """
    plan = plan_of(out)
    measured = _with_nets(plan, out)
    runs = _by_net(plan, measured)
    told = [_valid(_Told, metrics, run) for run, metrics in measured]
    sides = [each.sides for each in told if each.sides is not None]
    named = {(each.majority, each.minority, each.scored_on) for each in sides}
    if len(named) != 1 or len(sides) < len(told) or "minority" not in runs:
        raise RddError(f"the runs in {out} are not about one majority and minority: sweep one scenario that has them")
    ((many, few, scored_on),) = named
    share = sum(each.share for each in sides) / len(sides)
    times = [
        sum(costs) / len(told) for costs in zip(*((t.cost.distill_seconds, t.cost.evaluate_seconds) for t in told))
    ]
    return Held(runs, (many, few), share, scored_on == "held-out", times[0], times[1], Path(out).name)


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The measurements in a ``metrics.json``: its summary, or every number by its place.

    >>> numbers({"accuracy": {"red": 0.5, "blue": 1}, "machine": {"cores": 2}, "name": "x"})
    {'accuracy.red': 0.5, 'accuracy.blue': 1.0}
    >>> numbers({"summary": {"worst": 0.5}, "loss": 3.0})
    {'worst': 0.5}
    """
    told = metrics.get("summary")
    return dict(_leaves(told if isinstance(told, Mapping) else metrics, ""))


def _leaves(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            if place or name not in NO_MEASUREMENT:
                yield from _leaves(part, f"{place}.{name}" if place else str(name))
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST:
        yield place, float(value)


def _each(plan: Plan, out: StrPath) -> Iterator[tuple[Run, str, Record | None, Mapping[str, Any]]]:
    """Every run with how it stands, its record, and what it measured ({} unless it is done)."""
    runs = Folder(out).part(RUNS)
    for run in plan.runs:
        try:
            folder = runs.part(run.folder)
        except RddError:  # a link
            yield run, "missing", None, {}
            continue
        how = state(folder, run.key(plan.source, __version__))
        yield run, how, read(folder), _metrics(folder) if how == "done" else {}


def _metrics(folder: Folder) -> Mapping[str, Any]:
    try:
        held = folder.json(METRICS, "")
        numbers(held)
    except (RddError, RecursionError):  # a notebook that measures nothing
        return {}
    return held


def _cell(value: Any) -> Any:
    """A parameter's value in a table: lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value
