"""Which runs a sweep has: a grid in YAML or Python, checked against the notebook, as a plan of named runs.

A grid says what is the same in all runs and what varies; what varies is crossed, all with all::

    fixed: {profile: quick, scenario: coloured}
    conditions:                       # named, each a few parameters
      plain: {objective: erm}
      robust: {objective: robust}
    product: {ipc: [1, 10], tail: [0.2, 0.8]}   # every combination
    list: [{iterations: 100, lr_img: 5.0}, {iterations: 500, lr_img: 1.0}]   # values that go together
    seeds: [0, 1, 2]                  # of the parameter `seed`

Every part may be left out. A file may also hold a list of such grids, one after another: what only one condition has
(such as a tail that plain matching does not know) is swept in a grid of its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import one_line, plain_name
from rdd_nb.experiments import yaml_reader
from rdd_nb.experiments.parameters import Parameter, fitted, inspect, source_of

__all__ = ["Plan", "Run", "load_grid", "make_plan"]

MOST = 100_000  # runs of a grid
PARTS = ("fixed", "conditions", "product", "list", "seeds")
OUT = "out_dir"  #: the parameter that a sweep sets itself: each run has a folder of its own
StrPath = str | os.PathLike[str]
Grid = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        name: what is particular about it in the sweep, such as ``robust, tail=0.2, seed=1``.
        stem: what is particular about it in its grid; the same, unless another grid of the sweep has such a run, too.
        condition: the name of its condition; "" without any.
        given: the parameters that the grid gives it.
        parameters: all parameters of the notebook, defaults too, but for ``out_dir``.
    """

    name: str
    stem: str
    condition: str
    given: Mapping[str, Any]
    parameters: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Its folder's name: readable, and different where any parameter differs."""
        return f"{plain_name(self.stem)}-{_digest(self.parameters)[:12]}"

    def key(self, source: str, version: str) -> str:
        """What a finished run is known by: its parameters, the notebook's code and the package's version."""
        return _digest([dict(self.parameters), source, version])


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep.

    Attributes:
        notebook: path of the ``.ipynb`` file.
        grid: as it was given, in the types of JSON.
        runs: in order.
        swept: names of the parameters that differ between runs, in the notebook's order.
        source: digest of the notebook's code (:func:`rdd_nb.experiments.parameters.source_of`).
        takes_out: whether it has an ``out_dir``, which is then set to each run's folder.
    """

    notebook: Path
    grid: Any
    runs: tuple[Run, ...]
    swept: tuple[str, ...]
    source: str
    takes_out: bool


def load_grid(path: StrPath) -> Any:
    """The grid in a YAML (or JSON) file.

    Raises:
        RddError: no such file, or none that is YAML.
    """
    return yaml_reader.read(path, "grid")


def make_plan(notebook: StrPath, grid: Grid | Sequence[Grid]) -> Plan:
    """All runs of a grid over a notebook, checked before anything starts.

    Args:
        notebook: an ``.ipynb`` file with a cell tagged ``parameters``.
        grid: a mapping as in this module's description, or a list of such.

    Raises:
        RddError: a part or a parameter that is not known (the nearest is named), a value of the wrong type, a parameter
            that two parts vary, no run at all, or a run that is there twice.
    """
    path = Path(notebook)
    known = inspect(path)
    if not known:
        raise RddError(f"{path.name} has no parameters to sweep over: tag the cell that holds them `parameters`")
    try:
        plain = _json(grid, "the grid")
        grids = plain if isinstance(plain, list) else [plain]
        runs = tuple(run for one in grids for run in _expanded(one, known, path.name))
    except RecursionError:
        raise RddError(f"the grid, or a default in {path.name}, is nested too deep: write it flatter") from None
    if not runs:
        raise RddError("the grid has no runs: name a parameter and its values, such as product: {tail: [0.2, 0.8]}")
    there: dict[str, Run] = {}
    folders: dict[str, Run] = {}
    for run in runs:
        twin = there.setdefault(_digest(run.parameters), run)
        if twin is not run:
            raise RddError(f"the grid has one run twice: {run.name!r} is {twin.name!r}; every parameter is the same")
        twin = folders.setdefault(run.folder.casefold(), run)  # which some disks take for one
        if twin is not run:
            raise RddError(f"the runs {run.name!r} and {twin.name!r} would share a folder: change a value a little")
    values = [{name: json.dumps(value, sort_keys=True) for name, value in run.parameters.items()} for run in runs]
    swept = tuple(name for name in known if name != OUT and len({each[name] for each in values}) > 1)
    return Plan(path, plain, _told_apart(runs, swept), swept, source_of(path), OUT in known)


def _told_apart(runs: tuple[Run, ...], swept: Sequence[str]) -> tuple[Run, ...]:
    """The runs, those of one name with all that varies behind it, and where that reads alike, too, with a digest."""
    often = Counter(run.name for run in runs)
    told = []
    for run in runs:
        more = [f"{k}={_text(run.parameters[k])}" for k in swept if f"{k}=" not in run.name]
        told.append(replace(run, name=", ".join([run.name, *more])) if often[run.name] > 1 else run)
    often = Counter(run.name for run in told)
    return tuple(
        replace(run, name=f"{run.name}, {_digest(run.parameters)}") if often[run.name] > 1 else run for run in told
    )


def _expanded(grid: Any, known: Mapping[str, Parameter], where: str) -> Iterator[Run]:
    """The runs of one grid, in its order."""
    if not isinstance(grid, Mapping):
        raise RddError(f"a grid is a mapping with the parts {', '.join(PARTS)}, not {_short(grid)}")
    for part in grid:
        if part in known:
            raise RddError(f"{part!r} stands at the top of the grid: put it under `product`, or under `fixed`")
        if part not in PARTS:
            raise unknown("part of a grid", part, PARTS)
    fixed = _mapping(grid, "fixed")
    conditions = _mapping(grid, "conditions") or {"": {}}
    for name, values in conditions.items():
        if not isinstance(values, Mapping):
            raise RddError(f"condition {name!r} is {_short(values)}: give its parameters, such as {{tail: 0.2}}")
    product = {name: _values(values, f"product: {name}") for name, values in _mapping(grid, "product").items()}
    together = _values(grid["list"], "list") if "list" in grid else [{}]
    for values in together:
        if not isinstance(values, Mapping):
            raise RddError(f"list: {_short(values)} should be a mapping of parameters, such as {{ipc: 1, tail: 0.5}}")
    seeds = [{"seed": s} for s in _values(grid["seeds"], "seeds")] if "seeds" in grid else [{}]
    _check_parts(
        {
            "conditions": {name for values in conditions.values() for name in values},
            "product": set(product),
            "list": {name for values in together for name in values},
            "seeds": {"seed"} if "seeds" in grid else set(),
        },
        {*fixed},
        known,
        where,
    )
    fixed = fitted(known, fixed, where)
    based = {name: fitted(known, values, f"{where} (condition {name!r})") for name, values in conditions.items()}
    points = [[fitted(known, {name: value}, where) for value in values] for name, values in product.items()]
    rows, seeds = ([fitted(known, values, where) for values in part] for part in (together, seeds))
    size = math.prod(map(len, (based, *points, rows, seeds)))
    if size > MOST:
        raise RddError(f"the grid has {size:,} runs, more than {MOST:,}: list fewer values, or sweep in parts")
    defaults = {name: parameter.default for name, parameter in known.items() if name != OUT}
    for condition, base in based.items():
        for parts in itertools.product(*points, rows, seeds):
            varied = {name: value for part in parts for name, value in part.items()}
            given = {**fixed, **base, **varied}
            name = ", ".join([str(condition)] * bool(condition) + [f"{k}={_text(v)}" for k, v in varied.items()])
            name = name or "the only one"
            if not _is_text(name):
                raise RddError(f"the run {name[:60]!r} has letters that no file can hold: leave them out")
            yield Run(name, name, str(condition), given, _canonical({**defaults, **given}, known))


def _canonical(parameters: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Parameters in the types of JSON; where the default is a float, 1 becomes 1.0, so that both are one run."""
    plain: dict[str, Any] = {name: _json(value, f"parameter {name!r}") for name, value in parameters.items()}
    for name, value in plain.items():
        if isinstance(known[name].default, float) and type(value) is int:
            plain[name] = float(value)
    return plain


def _check_parts(parts: Mapping[str, set[str]], fixed: set[str], known: Mapping[str, Parameter], where: str) -> None:
    """Whether every parameter is known, and varied by one part only."""
    for part, names in {"fixed": fixed, **parts}.items():
        for name in sorted(map(str, names)):
            if name == OUT:
                raise RddError(f"{part} sets {OUT}, which a sweep sets itself: each run gets a folder of its own")
            if name not in known:
                raise unknown("parameter", name, [n for n in known if n != OUT], where)
    for (one, first), (other, second) in itertools.combinations(parts.items(), 2):
        for name in sorted(first & second):
            raise RddError(f"both {one} and {other} set {name!r}: leave it to one of them")


def _mapping(grid: Grid, part: str) -> Mapping[str, Any]:
    value = grid.get(part)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RddError(f"{part} is {_short(value)}: give a mapping, such as {part}: {{tail: …}}")
    return value


def _values(values: Any, what: str) -> list[Any]:
    if not isinstance(values, (list, tuple)):
        raise RddError(f"{what} is {_short(values)}: give a list of values, in brackets")
    if not values:
        raise RddError(f"{what} is an empty list, so the grid has no runs: give values, or leave it out")
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise RddError(f"{what} holds {value}, which is no number to run with")
    return list(values)


def _json(value: Any, what: str) -> Any:
    """A value in the types of JSON."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise RddError(
            f"{what} is no value of JSON ({one_line(error)}): give numbers, texts, lists, mappings"
        ) from None


def _is_text(text: str) -> bool:
    """Whether it can be written at all: YAML and Python have halves of letters (surrogates), UTF-8 has none."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _text(value: Any) -> str:
    """A value as names show it.

    >>> [_text(v) for v in (0.5, "a", None, [1, 2], {"depth": 4})]
    ['0.5', 'a', 'none', '[1,2]', '{depth:4}']
    """
    if isinstance(value, str):
        return value
    return "none" if value is None else json.dumps(value, separators=(",", ":")).replace('"', "")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
