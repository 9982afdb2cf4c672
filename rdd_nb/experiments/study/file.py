"""What a study's YAML says, checked to the last key: its own keys, its scenarios' and its methods'.

:func:`rdd_nb.experiments.study.plan.load_plan` explains the keys, and makes units of them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

import pydantic

from rdd_nb.core.checked import validated
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.experiments import yaml_reader
from rdd_nb.models.protocol import PROFILES, Protocol
from rdd_nb.models.soft_labels import TEACHER

__all__ = [
    "MethodKeys",
    "ScenarioKeys",
    "StudyKeys",
    "base_protocol",
    "changed_protocol",
    "checked",
    "label",
    "points",
    "read_study",
    "teacher_of",
    "told",
]

MOST = 10_000  # combinations of a grid, pixels of a side, seeds, nets
Names = list[str]
Grid = dict[str, list[Any]]


class _Keys(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False)


class StudyKeys(_Keys):
    """The keys of the file; scenarios and methods are still as YAML reads them."""

    name: str = pydantic.Field(pattern=r"^[\w][\w.-]*$", max_length=100)
    data: str = "fashion-mnist-sample"
    size: int | None = pydantic.Field(None, ge=1, le=MOST)
    reading: dict[str, Any] = {}
    seeds: list[int] = pydantic.Field([0, 1, 2], min_length=1, max_length=MOST)
    nets: int = pydantic.Field(3, ge=1, le=MOST)
    profile: str | None = None
    protocol: dict[str, Any] | None = None
    hold_out: float | None = pydantic.Field(None, gt=0, lt=1)
    teacher: dict[str, Any] = {}
    distill: dict[str, Any] = {}
    scenarios: dict[str, Any] = pydantic.Field(min_length=1)
    methods: dict[str, Any] = pydantic.Field(min_length=1)


class ScenarioKeys(_Keys):
    """The keys of one scenario; what is not named here is an option of the scenario itself."""

    model_config = pydantic.ConfigDict(extra="allow")  # the scenario's own options

    scenario: str
    data: str | None = None
    size: int | None = pydantic.Field(None, ge=1, le=MOST)
    reading: dict[str, Any] | None = None
    label_noise: float = pydantic.Field(0.0, ge=0, lt=1)
    robustness: bool = False
    grid: Grid = {}
    methods: Names | None = pydantic.Field(None, min_length=1)
    skip: Names = pydantic.Field([], alias="except")


class MethodKeys(_Keys):
    """The keys of one method."""

    coreset: str | None = None
    ipc: int | None = pydantic.Field(None, ge=1)
    formations: int | None = pydantic.Field(None, ge=1, le=16)
    latents: int | None = pydantic.Field(None, ge=1, le=MOST)
    config: dict[str, Any] | None = None
    whole: dict[str, Any] | None = None
    labels: Literal["hard", "soft"] = "hard"
    groups: str | dict[str, dict[str, Any]] | None = None
    grid: Grid = {}
    scenarios: Names | None = pydantic.Field(None, min_length=1)
    skip: Names = pydantic.Field([], alias="except")


def read_study(path: str | Path) -> StudyKeys:
    """The keys of the study in the YAML file ``path``; those within its scenarios and methods are checked later.

    Raises:
        RddError: one line that says what is wrong, where, and how to mend it.
    """
    file = Path(path)
    held = yaml_reader.read(file, "study")
    study = checked(StudyKeys, held, str(file))
    if len(set(study.seeds)) < len(study.seeds):
        raise RddError(f"{file}: seeds {study.seeds} name one twice: give each once")
    return study


K = TypeVar("K", bound=_Keys)


def checked(model: type[K], read: Any, where: str) -> K:
    """``read`` as ``model``, or one line on what is wrong in it."""
    known = [field.alias or name for name, field in model.model_fields.items()]
    if not isinstance(read, dict):
        raise RddError(f"{where} is {str(read)[:60]!r}, not a mapping: write some of {', '.join(known)}")
    for key in read:
        if not isinstance(key, str):
            raise RddError(f"{where}: the key {key!r} is a {type(key).__name__}, as YAML reads it: put it in quotes")
        near = get_close_matches(key, known, n=1, cutoff=0.8)
        if key not in known and (model.model_config["extra"] == "forbid" or near):
            raise unknown("key", key, known, where)
    return validated(model, read, where)


def told(where: str, make: Callable[[], Any]) -> Any:
    """What ``make`` gives; its complaint says ``where``."""
    try:
        return make()
    except RddError as error:
        raise RddError(f"{where}: {error}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:  # a value of a kind that nobody expected
        raise RddError(f"{where}: {' '.join(str(error).split())}: check the kinds of its values") from None


def base_protocol(study: StudyKeys, where: str) -> Protocol:
    """How a study trains its networks: its profile with its ``protocol`` over it; that alone, over the reference."""
    if study.profile is not None and study.profile not in PROFILES:
        raise unknown("profile", study.profile, PROFILES, where)
    plain = study.profile is None and study.protocol is not None
    base = Protocol() if plain else PROFILES[study.profile or "quick"]
    made = changed_protocol(base, study.protocol or {}, f"{where}, protocol")
    if made.objective != "erm":
        raise RddError(f"{where}, protocol: objective={made.objective} is for whole sets: say it in a method's `whole`")
    return made


def teacher_of(study: StudyKeys, where: str) -> dict[str, Any]:
    """How the networks are trained that give soft labels (a protocol's settings), and their ``temperature``."""
    given = dict(study.teacher)
    temperature = given.pop("temperature", 1.0)
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
        raise RddError(f"{where}, teacher: temperature={temperature!r} must be a number above 0")
    return {**changed_protocol(TEACHER, given, f"{where}, teacher").settings, "temperature": float(temperature)}


def changed_protocol(base: Protocol, changes: Mapping[str, Any], where: str) -> Protocol:
    """``base`` with ``changes``, whose names are checked."""
    known = vars(base)
    for name in changes:
        if name not in known:
            raise unknown("key", name, known, where)
    made: Protocol = told(where, lambda: dataclasses.replace(base, **changes))
    return made


def points(grid: Grid, where: str) -> list[dict[str, Any]]:
    """Every combination of a grid's values; ``[{}]`` without a grid."""
    for key, values in grid.items():
        if not values:
            raise RddError(f"{where}: the grid of {key!r} is empty: list at least one value")
        if len({repr(value) for value in values}) < len(values):
            raise RddError(f"{where}: the grid of {key!r} names a value twice: give each once")
    if math.prod(map(len, grid.values())) > MOST:
        raise RddError(f"{where}: the grid has more than {MOST:,} combinations: list fewer values")
    return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]


def label(name: str, point: Mapping[str, Any]) -> str:
    """``name`` with a point of its grid: ``robust tail=0.2``."""
    return " ".join([name, *(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in point.items())])
