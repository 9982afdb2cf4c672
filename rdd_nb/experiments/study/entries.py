"""A study's scenarios and methods, each entry of the file checked, and its grid spelled out."""

from __future__ import annotations

import hashlib
import inspect
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from rdd_nb import clustering
from rdd_nb.clustering import coresets
from rdd_nb.core.errors import RddError, unknown
from rdd_nb.core.files import RESERVED, plain_name
from rdd_nb.data import scenarios
from rdd_nb.data.decoders import load_decoder
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.experiments.data_mapping import checked_mapping
from rdd_nb.experiments.study.file import (
    K,
    MethodKeys,
    ScenarioKeys,
    StudyKeys,
    changed_protocol,
    checked,
    label,
    points,
    teacher_of,
    told,
)
from rdd_nb.models.protocol import Protocol

__all__ = [
    "Entry",
    "MethodEntry",
    "ScenarioEntry",
    "check_names",
    "go_together",
    "method_entries",
    "scenario_entries",
    "slug",
]

#: What a coreset is told in numbers.
COUNTED = ("ipc", "formations", "latents")
#: What a study writes beside its scenarios' folders.
OURS = {"table.csv", "table-runs.csv", "table-mechanism.csv", "experts"}


@dataclass(frozen=True)
class Entry(Generic[K]):
    """A scenario or a method: its own name, the entry it comes from, that entry's keys, and its part of ``made``."""

    name: str
    entry: str
    keys: K
    made: dict[str, Any]


#: A scenario of the study.
ScenarioEntry = Entry[ScenarioKeys]


@dataclass(frozen=True)
class MethodEntry(Entry[MethodKeys]):
    """A method, its protocol, and how the teacher of its soft labels is trained, where it has such labels."""

    protocol: Protocol
    teacher: dict[str, Any] | None = None

    @property
    def needs_names(self) -> bool:
        """Whether it needs groups that the data name."""
        groups = self.made["groups"]
        dro = "group-dro" in (self.protocol.objective, (self.teacher or {}).get("objective"))
        return dro or (groups is not None and groups["kind"] == "known")

    @property
    def decoded_ipc(self) -> int:
        """How many images of each class it needs to begin with, 0 where all are taken."""
        if self.made["config"] is not None:
            return DistillConfig(**self.made["config"]).decoded_ipc
        return (self.made["ipc"] or 0) * self.made.get("latents", self.made.get("formations", 1) ** 2)


def scenario_entries(study: StudyKeys) -> list[ScenarioEntry]:
    """The scenarios, one for each point of their grids; an RddError for what is wrong in them."""
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
            if reading := _reading(study.reading if keys.reading is None else keys.reading, where):
                made["reading"] = reading
            found.append(ScenarioEntry(label(entry, point), entry, keys, made))
    return found


def _reading(held: dict[str, Any], where: str) -> dict[str, Any]:
    if "size" in held:
        raise RddError(f"{where}: size stands beside reading, not in it: write it there")
    return checked_mapping(held, f"reading of {where}")


def method_entries(study: StudyKeys, protocol: Protocol) -> list[MethodEntry]:
    """The methods, likewise; each with the protocol it is judged or trained by."""
    found = []
    for entry, read in study.methods.items():
        where = f"method {entry!r} of study {study.name!r}"
        keys = checked(MethodKeys, read, where)
        kinds = [kind for kind in ("coreset", "config", "whole") if getattr(keys, kind) is not None]
        if len(kinds) != 1:
            raise RddError(f"{where} has {' and '.join(kinds) or 'no kind'}: write one of coreset, config or whole")
        for point in points(keys.grid, where):
            found.append(_method_entry(study, protocol, entry, keys, kinds[0], point, where))
    return found


def _method_entry(
    study: StudyKeys, protocol: Protocol, entry: str, keys: MethodKeys, kind: str, point: dict[str, Any], where: str
) -> MethodEntry:
    groups = _groups(keys.groups, point, where)
    rest = {key: value for key, value in point.items() if groups is None or key not in groups["arguments"]}
    made: dict[str, Any] = {"kind": kind, "config": None, "coreset": None, "ipc": None, "groups": groups}
    for name in COUNTED:
        if getattr(keys, name) is not None and kind != "coreset":
            raise RddError(f"{where}: {name} beside {kind} has no effect: write it into the config")
    if kind == "whole":
        if keys.labels == "soft":
            raise RddError(f"{where}: soft labels are given to small sets, and whole is all images: leave them out")
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
            if config.decoder is not None:  # the unit is known by what is in the file
                made["decoder"] = told(where, lambda: load_decoder(config.decoder)).digest  # type: ignore[arg-type]
        else:
            made["coreset"], made["ipc"] = keys.coreset, rest.get("ipc", keys.ipc or config.ipc)
            if keys.coreset not in coresets.METHODS:
                raise unknown("coreset", keys.coreset, coresets.METHODS, where)
            kept = {"formations": rest.get("formations", keys.formations or config.formations)}
            coded = config.latents if config.parameterisation == "latent" else None
            kept |= {"latents": rest.get("latents", keys.latents or coded)}
            for name, value in (("ipc", made["ipc"]), *kept.items()):
                if (type(value) is not int or value < 1) and (name, value) != ("latents", None):
                    raise RddError(f"{where}: {name}={value!r} must be a whole number, at least 1")
            if kept["formations"] > 1 and kept["latents"] is not None:
                raise RddError(f"{where}: formations beside latents: codes take the place of several images already")
            # Units from before there was the choice stay known by their settings.
            made |= {name: value for name, value in kept.items() if (name, value) != ("formations", 1) and value}
            if set(rest) - set(COUNTED):
                raise unknown("key of a coreset's grid", next(iter(set(rest) - set(COUNTED))), COUNTED, where)
            if (keys.coreset in coresets.SPREAD) != (groups is not None):
                raise RddError(f"{where}: groups go with coreset: {' or '.join(coresets.SPREAD)}, and no other")
    teacher = teacher_of(study, f"study {study.name!r}") if keys.labels == "soft" else None
    return MethodEntry(label(entry, point), entry, keys, made, protocol, teacher)


#: The default before candidates were tried: what was measured then is known by the same settings.
_FIRST_SPACE = "probabilities"
_SINCE = {"group_power": "0.3", "price": "None"}  # likewise, from before they could be chosen


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
    known = {
        n: p.default for n, p in parameters.items() if n not in ("data", "known", "seed", "device", "progress", "kept")
    }
    for name in given:
        if name not in known:
            raise unknown("argument of discover_groups", name, known, where)
    arguments = {**given, **{k: v for k, v in point.items() if k in known and k not in DistillConfig.model_fields}}
    for name, value in arguments.items():
        default = known[name]
        if name == "price":  # None in the signature, as it is another where groups are known
            default = clustering.price_where(known=False)
        fits = (int, float) if isinstance(default, float) else type(default)
        plain = isinstance(default, (bool, int, float, str)) and not isinstance(value, list)
        if plain and (not isinstance(value, fits) or isinstance(value, bool) != isinstance(default, bool)):
            raise RddError(f"{where}: {name}={value!r} should be like {default!r}")
    space = arguments.get("space_name")
    spaces = (clustering.AUTO, *clustering.SPACES)
    if isinstance(space, str) and space not in spaces and known.get("space_name") in spaces:
        raise unknown("space", space, spaces, where)
    defaults = {name: repr(default) for name, default in known.items() if name not in arguments}
    for name, first in _SINCE.items():
        if space in clustering.SPACES or defaults.get(name) == first:
            defaults.pop(name, None)
    if space in clustering.SPACES:
        defaults.pop("ipc", None)  # of the trial, which a named space does not make
        if space == _FIRST_SPACE:
            defaults["space_name"] = repr(arguments.pop("space_name"))
    return {"kind": kind, "arguments": arguments, "defaults": defaults}


def check_names(shifted: Sequence[ScenarioEntry], methods: Sequence[MethodEntry]) -> None:
    """An RddError for names that collide, and for names of scenarios and methods that there are not."""
    each: tuple[tuple[str, Sequence[ScenarioEntry | MethodEntry]], ...] = (("scenario", shifted), ("method", methods))
    for kind, entries in each:
        slugs: dict[str, str] = {}
        for entry in entries:
            folded = unicodedata.normalize("NFC", slug(entry.name)).casefold()  # some disks take them for one
            other = slugs.setdefault(folded, entry.name)
            if other is not entry.name:
                raise RddError(f"{kind}s {other!r} and {entry.name!r} would share a folder: give another name")
    ours = {name for one in shifted for name in (one.name, one.entry)}
    theirs = {name for one in methods for name in (one.name, one.entry)}
    for one in shifted:
        for name in [*(one.keys.methods or []), *one.keys.skip]:
            if name not in theirs:
                raise unknown("method", name, theirs, f"scenario {one.entry!r}")
    for method in methods:
        for name in [*(method.keys.scenarios or []), *method.keys.skip]:
            if name not in ours:
                raise unknown("scenario", name, ours, f"method {method.entry!r}")


def go_together(one: ScenarioEntry, method: MethodEntry) -> bool:
    """Whether the method is to run on the scenario."""
    here, there = {one.name, one.entry}, {method.name, method.entry}
    only_here, only_there = method.keys.scenarios, one.keys.methods
    return (
        (only_here is None or bool(here & set(only_here)))
        and (only_there is None or bool(there & set(only_there)))
        and not here & set(method.keys.skip)
        and not there & set(one.keys.skip)
    )


def slug(name: str) -> str:
    """``name`` as a folder's name: different letters are told apart, and what no disk would take gets a digest."""
    plain = re.sub(r"[^\w.=+-]+", "-", name)
    fine = plain.strip(".") == plain != "" and len(plain.encode()) <= 120
    if fine and plain.partition(".")[0].casefold() not in RESERVED and plain.casefold() not in OURS:
        return plain
    return f"{plain_name(name)}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
