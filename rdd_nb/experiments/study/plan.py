"""What a study runs: its file, spelled out into units, and checked to the last name before anything runs.

A unit is one scenario, method and seed: a run folder. :func:`load_plan` explains the keys of the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from rdd_nb.clustering.coresets import check_fits
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.version import __version__
from rdd_nb.data import loading, scenarios
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.formations import check_formations
from rdd_nb.data.readers.registry import kind_of
from rdd_nb.data.scenarios import noisy
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.initialization import check, initial_state
from rdd_nb.experiments.study.entries import (
    MethodEntry,
    ScenarioEntry,
    check_names,
    go_together,
    method_entries,
    scenario_entries,
    slug,
)
from rdd_nb.experiments.study.file import (
    StudyKeys,
    base_protocol,
    read_study,
    told,
)
from rdd_nb.models.autoencoder import code_shape, untrained_decoder

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
        return f"{slug(self.scenario)}/{slug(self.method)}/seed{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a finished unit must have been made with to count; a folder of images is told without its path."""
        data = self.made["data"]
        kind = kind_of(data)
        data = f"{kind}:{Path(data.partition(':')[2]).name}" if kind else data
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


# --- the data of a unit -------------------------------------------------------------------------------------------


def prepare(made: Mapping[str, Any], base: Splits | None = None) -> Splits:
    """The training set of a unit and what it is scored on, from its ``made`` (and the loaded data, if at hand).

    In this order: where something is held out, the training set is split, class by class, and the held-out part takes
    the test set's place, which is dropped unseen; the scenario shifts both, so that what is held out shows the groups
    in the test set's numbers; at last the training labels, and they alone, are made noisy.
    """
    splits = base or loading.load(made["data"], size=made["size"], **made.get("reading", {}))
    if made["hold_out"]:
        splits = Splits(*splits.train.hold_out(made["hold_out"], made["seed"]), f"{splits.name} held-out")
    splits = scenarios.scenario(splits, made["scenario"], seed=made["seed"], **made["options"])
    if made["label_noise"]:
        splits = dataclasses.replace(splits, train=noisy(splits.train, made["label_noise"], made["seed"]))
    return splits


def load_plan(path: str | Path) -> Plan:
    """Read, check and spell out a study's YAML; every scenario is made once, so that nothing of it fails later.

    Keys: ``name``, ``data``, ``size``, ``reading`` (fields of :class:`rdd_nb.data.reading.Reading`, such as
    ``{label: y, group: place}``), ``seeds``, ``nets``, ``profile`` (:data:`rdd_nb.models.protocol.PROFILES`, quick by
    default) and ``protocol`` (fields that win over it; alone, over the reference protocol), ``hold_out`` (a fraction of
    the training set to score on, for choosing settings), ``teacher`` (of soft labels: fields of its protocol, over
    ``TEACHER`` of :mod:`rdd_nb.models.soft_labels`, and ``temperature``), ``distill`` (config of every distillation),
    ``scenarios`` and ``methods``:

    - a scenario names ``scenario`` and its options, and may say ``data``, ``size``, ``reading``, ``label_noise``,
      ``robustness``, ``methods`` or ``except`` (which methods run on it);
    - a method names one of ``coreset`` (and ``ipc``, ``formations`` or ``latents``), ``config`` (a distillation) or
      ``whole`` (protocol fields), and may say ``groups`` (discovered, known or shuffled, or ``{discovered:
      {num_groups: 5}}``), ``labels`` (hard, or soft ones of the teacher, the same for all methods), ``scenarios`` or
      ``except``;
    - a ``grid`` in either makes one of it for each combination of the values listed, called ``name field=value``.

    A method that needs named groups is left out, with a note, where the data name none, unless its ``scenarios`` ask
    for it.

    Raises:
        RddError: one line that says what is wrong, where, and how to mend it.
    """
    study = read_study(path)
    protocol = base_protocol(study, str(path))
    shifted = scenario_entries(study)
    methods = method_entries(study, protocol)
    check_names(shifted, methods)
    return _spell_out(study, shifted, methods)


# --- units, spelled out -----------------------------------------------------------------------------------------


def _spell_out(study: StudyKeys, shifted: Sequence[ScenarioEntry], methods: Sequence[MethodEntry]) -> Plan:
    base: dict[str, Splits] = {}
    pairs, notes = [], []
    for one in shifted:
        where = f"scenario {one.name!r} of study {study.name!r}"
        read = {name: one.made.get(name, {}) for name in ("data", "size", "reading")}
        key = json.dumps(read, sort_keys=True)
        if key not in base:
            base[key] = told(
                where,
                lambda: loading.load(read["data"], size=read["size"], **read["reading"]),  # noqa: B023 (called at once)
            )
        made = {**one.made, "seed": study.seeds[0]}
        train = told(where, lambda: prepare(made, base[key])).train  # noqa: B023
        mine: list[MethodEntry] = []
        for method in methods:
            if not go_together(one, method):
                continue
            if method.needs_names and train.groups is None:
                if method.keys.scenarios is not None or one.keys.methods is not None:
                    raise RddError(
                        f"{where} names no groups, and method {method.name!r} needs them: leave it out there"
                    )
                notes.append(f"{method.name} is left out of {one.name}, which names no groups")
                continue
            told(f"method {method.name!r} on {where}", lambda: _check_start(method, train))  # noqa: B023
            mine.append(method)
            pairs.append((one, method))
        if any(2 * method.decoded_ipc > int(train.class_counts.min()) for method in mine):
            for seed in study.seeds[1:]:  # which may draw a class that is smaller
                drawn = told(where, lambda: prepare({**made, "seed": seed}, base[key])).train  # noqa: B023
                for method in mine:
                    told(f"method {method.name!r} on {where}", lambda: _check_start(method, drawn))  # noqa: B023
    if not pairs:
        raise RddError(f"study {study.name!r} has nothing to run: no method is left for any scenario")
    units = [
        Unit(
            study.name,
            one.name,
            method.name,
            seed,
            {"rdd_nb": __version__, **one.made, "seed": seed, **method.made},
            {
                "protocol": method.protocol.settings,
                "nets": study.nets,
                "robustness": one.keys.robustness,
                **({} if method.teacher is None else {"teacher": method.teacher}),
            },
        )
        for seed in study.seeds
        for one, method in pairs
    ]
    return Plan(study.name, tuple(units), tuple(notes))


def _check_start(method: MethodEntry, train: ImageDataset) -> None:
    """Whether the config fits the data; the start from noise costs nothing, and checks what all others check."""
    if method.made["kind"] == "whole":
        return
    planned = (
        None if method.made["groups"] is None else Groups(torch.zeros(len(train), dtype=torch.int64), 1, "planned")
    )
    if method.made["config"] is None:
        check_formations(method.made.get("formations", 1), *train.shape[1:])
        if "latents" in method.made:
            code_shape(train.shape, method.made["latents"])
        check_fits(train, method.decoded_ipc, planned)
        return
    config = DistillConfig(**method.made["config"])
    check(train, config, planned)
    blank = None
    if config.parameterisation == "latent" and config.decoder is None:  # in place of one that takes its time to train
        blank = untrained_decoder(train.shape, config.latents)
    initial_state(train, config.model_copy(update={"init": "noise"}), planned, blank)
