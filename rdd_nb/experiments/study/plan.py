"""What a study runs: its file, spelled out into units, and checked to the last name before anything runs.

A unit is one scenario, method and seed: a run folder. :func:`load_plan` explains the keys of the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic

import torch

import rdd_nb
from rdd_nb import clustering
from rdd_nb.clustering import coresets
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.data import loading, scenarios
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.scenarios import noisy
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.initialization import initial_state
from rdd_nb.experiments.study.file import (
    K,
    MethodKeys,
    ScenarioKeys,
    StudyKeys,
    base_protocol,
    changed_protocol,
    checked,
    label,
    points,
    read_study,
    told,
)
from rdd_nb.models.protocol import Protocol

__all__ = ["Plan", "Unit", "load_plan", "prepare"]


@dataclass(frozen=True)
class Unit:
    """One scenario × method × seed, and all that decides its numbers, as plain JSON.

    Attributes:
        made: what decides the images: version, data, scenario, method, groups, seed.
        scored: what decides how they are scored: protocol, nets, robustness.
    """

    study: str
    scenario: str
    method: str
    seed: int
    made: dict[str, Any]
    scored: dict[str, Any]

    @property
    def name(self) -> str:
        """``scenario/method/seedN``, for people and for the folder."""
        return f"{_slug(self.scenario)}/{_slug(self.method)}/seed{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a finished unit must have been made with to count; a folder of images is told without its path."""
        data = self.made["data"]
        data = "folder:" + Path(data[7:]).name if data.startswith("folder:") else data
        return {"made": {**self.made, "data": data}, "scored": self.scored}

    @property
    def digest(self) -> str:
        """Of the settings: twelve hexadecimal digits, the same for the same settings anywhere."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Plan:
    """A study's units in the order they run (all of the first seed first), and notes on what cannot be run."""

    name: str
    units: tuple[Unit, ...]
    notes: tuple[str, ...] = ()

    def pick(self, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> tuple[Unit, ...]:
        """The units that match one of ``only`` (``SCENARIO/METHOD``, with ``*`` for anything) and have these seeds.

        Raises:
            RddError: a seed or a pattern that picks nothing.
        """
        for seed in seeds:
            if seed not in {unit.seed for unit in self.units}:
                raise RddError(f"study {self.name!r} has no seed {seed}: add it to its seeds")
        names = {f"{unit.scenario}/{unit.method}" for unit in self.units}
        for pattern in only:
            if not any(_match(name, pattern) for name in names):
                raise unknown("SCENARIO/METHOD", pattern, names, f"study {self.name!r}")
        return tuple(
            unit
            for unit in self.units
            if (not seeds or unit.seed in seeds)
            and (not only or any(_match(f"{unit.scenario}/{unit.method}", pattern) for pattern in only))
        )


def _match(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", name)


# --- the data of a unit -------------------------------------------------------------------------------------------


def prepare(made: Mapping[str, Any], base: Splits | None = None) -> Splits:
    """The training set of a unit and what it is scored on, from its ``made`` (and the loaded data, if at hand).

    In this order: where something is held out, the training set is split, class by class, and the held-out part takes
    the test set's place, which is dropped unseen; the scenario bends both, so that what is held out shows the groups in
    the test set's numbers; at last the training labels, and they alone, are made noisy.
    """
    splits = base or loading.load(made["data"], size=made["size"])
    if made["hold_out"]:
        splits = Splits(*splits.train.hold_out(made["hold_out"], made["seed"]), f"{splits.name} held-out")
    splits = scenarios.scenario(splits, made["scenario"], seed=made["seed"], **made["options"])
    if made["label_noise"]:
        splits = dataclasses.replace(splits, train=noisy(splits.train, made["label_noise"], made["seed"]))
    return splits


def load_plan(path: str | Path) -> Plan:
    """Read, check and spell out a study's YAML; every scenario is bent once, so that nothing of it fails later.

    Keys: ``name``, ``data``, ``size``, ``seeds``, ``nets``, ``profile`` (of :data:`rdd_nb.models.protocol.PROFILES`, quick by
    default) and ``protocol`` (fields that win over it; alone, over the reference protocol), ``hold_out`` (a fraction of
    the training set to score on, for choosing settings), ``distill`` (config of every distillation), ``scenarios`` and
    ``methods``:

    - a scenario names ``scenario`` and its options, and may say ``data``, ``size``, ``label_noise``, ``robustness``,
      ``methods`` or ``except`` (which methods run on it);
    - a method names one of ``coreset`` (and ``ipc``), ``config`` (a distillation) or ``whole`` (protocol fields), and
      may say ``groups`` (discovered, known or shuffled, or ``{discovered: {num_groups: 5}}``), ``scenarios`` or
      ``except``;
    - a ``grid`` in either makes one of it for each combination of the values listed, called ``name field=value``.

    A method that needs named groups is left out, with a note, where the data name none, unless its ``scenarios`` ask
    for it.

    Raises:
        RddError: one line that says what is wrong, where, and how to mend it.
    """
    study = read_study(path)
    protocol = base_protocol(study, str(path))
    bent = _scenarios(study)
    methods = _methods(study, protocol)
    _refuse_strangers(bent, methods)
    return _spell_out(study, bent, methods)


# --- scenarios and methods, spelled out ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry(Generic[K]):
    """A scenario or a method: its own name, the entry it comes from, that entry's keys, and its part of ``made``."""

    name: str
    entry: str
    keys: K
    made: dict[str, Any]


_Bent = _Entry[ScenarioKeys]


@dataclass(frozen=True)
class _Way(_Entry[MethodKeys]):
    """A method and its protocol."""

    protocol: Protocol

    @property
    def needs_names(self) -> bool:
        groups = self.made["groups"]
        return self.protocol.objective == "group-dro" or (groups is not None and groups["kind"] == "known")


def _scenarios(study: StudyKeys) -> list[_Bent]:
    found = []
    for entry, read in study.scenarios.items():
        where = f"scenario {entry!r} of study {study.name!r}"
        keys = checked(ScenarioKeys, read, where)
        if keys.scenario not in scenarios.available():
            raise unknown("scenario", keys.scenario, scenarios.available(), where)
        for point in points(keys.grid, where):
            options = {**(keys.model_extra or {}), **point}
            noise = options.pop("label_noise", keys.label_noise)
            made = {
                "data": keys.data or study.data,
                "size": keys.size or study.size,
                "scenario": keys.scenario,
                "options": options,
                "label_noise": checked(ScenarioKeys, {"scenario": "none", "label_noise": noise}, where).label_noise,
                "hold_out": study.hold_out,
            }
            found.append(_Bent(label(entry, point), entry, keys, made))
    return found


def _methods(study: StudyKeys, protocol: Protocol) -> list[_Way]:
    found = []
    for entry, read in study.methods.items():
        where = f"method {entry!r} of study {study.name!r}"
        keys = checked(MethodKeys, read, where)
        kinds = [kind for kind in ("coreset", "config", "whole") if getattr(keys, kind) is not None]
        if len(kinds) != 1:
            raise RddError(f"{where} has {' and '.join(kinds) or 'no kind'}: write one of coreset, config or whole")
        for point in points(keys.grid, where):
            found.append(_way(study, protocol, entry, keys, kinds[0], point, where))
    return found


def _way(
    study: StudyKeys, protocol: Protocol, entry: str, keys: MethodKeys, kind: str, point: dict[str, Any], where: str
) -> _Way:
    groups = _groups(keys.groups, point, where)
    rest = {key: value for key, value in point.items() if groups is None or key not in groups["arguments"]}
    made: dict[str, Any] = {"kind": kind, "config": None, "coreset": None, "ipc": None, "groups": groups}
    if keys.ipc is not None and kind != "coreset":
        raise RddError(f"{where}: ipc beside {kind} has no effect: write it into the config")
    if kind == "whole":
        if groups is not None:
            raise RddError(f"{where}: groups beside whole have no effect: group DRO takes those that the data name")
        protocol = changed_protocol(protocol, {**(keys.whole or {}), **rest}, where)
    else:
        own = {"objective": "erm"} if kind == "coreset" else {**(keys.config or {}), **rest}
        if "seed" in {**study.distill, **own}:
            raise RddError(f"{where}: the seeds of a study are its own key: take `seed` out of the config")
        config: DistillConfig = told(where, lambda: DistillConfig(**{**study.distill, **own}))
        made["ipc"] = config.ipc
        if kind == "config":
            made["config"] = {k: v for k, v in config.model_dump(mode="json").items() if k != "seed"}
            if groups is None and "group" in config.init:
                raise RddError(f"{where}: init={config.init} spreads images over groups: write groups: discovered")
        else:
            made["coreset"], made["ipc"] = keys.coreset, rest.get("ipc", keys.ipc or config.ipc)
            if keys.coreset not in coresets.METHODS:
                raise unknown("coreset", keys.coreset, coresets.METHODS, where)
            if set(rest) - {"ipc"}:
                raise unknown("key of a coreset's grid", next(iter(set(rest) - {"ipc"})), ["ipc"], where)
            if (keys.coreset == "balanced") != (groups is not None):
                raise RddError(f"{where}: groups go with coreset: balanced, and with no other coreset")
    return _Way(label(entry, point), entry, keys, made, protocol)


def _groups(said: str | dict[str, dict[str, Any]] | None, point: Mapping[str, Any], where: str) -> Any:
    """Kind and arguments of the discovery (and its defaults, so that units know when one changes), or None."""
    if said is None or said == "none":
        return None
    if isinstance(said, dict) and len(said) != 1:
        raise RddError(f"{where}: groups names {len(said)} kinds: name one, like {{discovered: {{num_groups: 5}}}}")
    kind, given = next(iter(said.items())) if isinstance(said, dict) else (said, {})
    kinds = ("none", "discovered", "known", "shuffled")
    if kind not in kinds[1:]:
        raise unknown("kind of groups", kind, kinds, where)
    if kind == "known":
        if given:
            raise RddError(f"{where}: known groups take no arguments: write groups: known")
        return {"kind": kind, "arguments": {}, "defaults": {}}
    parameters = inspect.signature(clustering.discover_groups).parameters
    known = {n: p.default for n, p in parameters.items() if n not in ("data", "seed", "device")}
    for name in given:
        if name not in known:
            raise unknown("argument of discover_groups", name, known, where)
    arguments = {**given, **{k: v for k, v in point.items() if k in known and k not in DistillConfig.model_fields}}
    for name, value in arguments.items():
        default = known[name]
        fits = (int, float) if isinstance(default, float) else type(default)
        plain = isinstance(default, (bool, int, float, str)) and not isinstance(value, list)
        if plain and (not isinstance(value, fits) or isinstance(value, bool) != isinstance(default, bool)):
            raise RddError(f"{where}: {name}={value!r} should be like {default!r}")
    space = arguments.get("space_name")
    if isinstance(space, str) and space not in clustering.SPACES and known.get("space_name") in clustering.SPACES:
        raise unknown("space", space, clustering.SPACES, where)
    defaults = {name: repr(default) for name, default in known.items() if name not in arguments}
    return {"kind": kind, "arguments": arguments, "defaults": defaults}


def _refuse_strangers(bent: Sequence[_Bent], methods: Sequence[_Way]) -> None:
    """Names that collide, and names of scenarios and methods that there are not."""
    each: tuple[tuple[str, Sequence[_Bent | _Way]], ...] = (("scenario", bent), ("method", methods))
    for kind, entries in each:
        slugs: dict[str, str] = {}
        for entry in entries:
            other = slugs.setdefault(_slug(entry.name), entry.name)
            if other is not entry.name:
                raise RddError(f"{kind}s {other!r} and {entry.name!r} would share a folder: give another name")
    ours = {name for one in bent for name in (one.name, one.entry)}
    theirs = {name for one in methods for name in (one.name, one.entry)}
    for one in bent:
        for name in [*(one.keys.methods or []), *one.keys.skip]:
            if name not in theirs:
                raise unknown("method", name, theirs, f"scenario {one.entry!r}")
    for way in methods:
        for name in [*(way.keys.scenarios or []), *way.keys.skip]:
            if name not in ours:
                raise unknown("scenario", name, ours, f"method {way.entry!r}")


def _wanted(one: _Bent, way: _Way) -> bool:
    here, there = {one.name, one.entry}, {way.name, way.entry}
    only_here, only_there = way.keys.scenarios, one.keys.methods
    return (
        (only_here is None or bool(here & set(only_here)))
        and (only_there is None or bool(there & set(only_there)))
        and not here & set(way.keys.skip)
        and not there & set(one.keys.skip)
    )


def _spell_out(study: StudyKeys, bent: Sequence[_Bent], methods: Sequence[_Way]) -> Plan:
    base: dict[tuple[Any, Any], Splits] = {}
    pairs, notes = [], []
    for one in bent:
        where = f"scenario {one.name!r} of study {study.name!r}"
        key = (one.made["data"], one.made["size"])
        if key not in base:
            base[key] = told(where, lambda: loading.load(key[0], size=key[1]))  # noqa: B023 (called at once)
        made = {**one.made, "seed": study.seeds[0]}
        train = told(where, lambda: prepare(made, base[key])).train  # noqa: B023
        for way in methods:
            if not _wanted(one, way):
                continue
            if way.needs_names and train.groups is None:
                if way.keys.scenarios is not None or one.keys.methods is not None:
                    raise RddError(f"{where} names no groups, and method {way.name!r} needs them: leave it out there")
                notes.append(f"{way.name} is left out of {one.name}, which names no groups")
                continue
            told(f"method {way.name!r} on {where}", lambda: _check_start(way, train))  # noqa: B023
            pairs.append((one, way))
    if not pairs:
        raise RddError(f"study {study.name!r} has nothing to run: no method is left for any scenario")
    units = [
        Unit(
            study.name,
            one.name,
            way.name,
            seed,
            {"rdd_nb": rdd_nb.__version__, **one.made, "seed": seed, **way.made},
            {"protocol": way.protocol.settings, "nets": study.nets, "robustness": one.keys.robustness},
        )
        for seed in study.seeds
        for one, way in pairs
    ]
    return Plan(study.name, tuple(units), tuple(notes))


def _check_start(way: _Way, train: ImageDataset) -> None:
    """Whether the config fits the data; the start from noise costs nothing, and checks what all others check."""
    if way.made["kind"] == "whole":
        return
    config = DistillConfig(ipc=way.made["ipc"], objective="erm", init="noise")
    if way.made["config"] is not None:
        config = DistillConfig(**{**way.made["config"], "init": "noise"})
    planned = None if way.made["groups"] is None else Groups(torch.zeros(len(train), dtype=torch.int64), 1, "planned")
    initial_state(train, config, planned)
