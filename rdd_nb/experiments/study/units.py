"""One unit of a study, from its settings to its numbers, in a folder of its own.

The folder holds ``unit.json`` (its settings), what a distillation leaves, ``scores.npz`` (every prediction),
``rows.csv`` and ``mechanism.csv`` (its part of the study's tables) and ``result.json``, which is written last: with it,
and with the same settings, the unit is finished and never run again.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pydantic
import torch
from torch import Tensor, nn

from rdd_nb import clustering
from rdd_nb.clustering.coresets import coreset
from rdd_nb.clustering.groups import Groups
from rdd_nb.clustering.groups_file import groups_from_bytes, groups_to_bytes
from rdd_nb.core.checked import Held, validated
from rdd_nb.core.device import pick_device
from rdd_nb.core.environment import describe
from rdd_nb.core.errors import RddError
from rdd_nb.core.escaping import csv_text
from rdd_nb.core.files import awaited, lock_of
from rdd_nb.core.folders import Folder
from rdd_nb.core.random_streams import seed_of, stream
from rdd_nb.data import loading
from rdd_nb.data.dataset import ImageDataset, Splits
from rdd_nb.data.synthetic_set import SyntheticSet
from rdd_nb.distillation.config import DistillConfig
from rdd_nb.distillation.initialization import fingerprint, sampling_weights
from rdd_nb.distillation.loop import distill
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.evaluation.corruptions import cluster_groups, corrupt
from rdd_nb.evaluation.diagnostics import trace
from rdd_nb.evaluation.predictions import matched, predict
from rdd_nb.evaluation.scores import Scores
from rdd_nb.experiments.study.plan import Unit, prepare
from rdd_nb.models.protocol import Protocol
from rdd_nb.models.soft_labels import taught
from rdd_nb.models.training import train

__all__ = ["folder_of", "result", "rows", "run_unit", "state"]

MOST_GROUPS = 20  # named groups beyond this are not listed one by one; scores.npz has them


def state(out: Path, unit: Unit) -> str:
    """``done``, ``missing``, ``begun``, ``failed`` (last time), or ``changed`` (its settings; it will run again)."""
    folder = folder_of(out, unit)
    held = _read(folder, "unit.json")
    if held is None:
        return "missing"
    if held != unit.settings:
        return "changed"
    if result(folder) is not None:
        return "done"
    return "failed" if folder.has("error.json") else "begun"


class _Result(Held):
    said: dict[str, str | int | bool | Annotated[float, pydantic.Field(allow_inf_nan=True)] | None]


def folder_of(out: Path, unit: Unit) -> Folder:
    """The unit's folder in the study's.

    Raises:
        RddError: it, or a part of the way to it, is a link.
    """
    return Folder(out).part(unit.name)


def result(folder: Folder) -> dict[str, Any] | None:
    """What ``result.json`` in a unit's folder says; None where it is missing, or says something else."""
    try:
        return validated(_Result, {"said": _read(folder, "result.json")}, "result.json").said
    except RddError:
        return None


def _read(folder: Folder, name: str) -> Any:
    try:
        return folder.json(name, "")
    except RddError:
        return None


@functools.lru_cache(maxsize=1)
def _loaded(name: str, size: int | None, reading: str) -> Splits:
    return loading.load(name, size=size, **json.loads(reading))


@functools.lru_cache(maxsize=1)  # neighbours in a study's order share their data
def _prepared(made: str) -> Splits:
    values = json.loads(made)
    reading = json.dumps(values.get("reading", {}), sort_keys=True)
    return prepare(values, _loaded(values["data"], values["size"], reading))


@functools.lru_cache(maxsize=1)  # likewise their teacher
def _teacher(made: str, settings: str, device: str) -> tuple[list[nn.Module], float]:
    """A network trained on the real training images of a unit's data, and the temperature of its labels."""
    values = json.loads(settings)
    temperature, seed = values.pop("temperature"), seed_of(json.loads(made)["seed"], "teacher")
    return train(_prepared(made).train, Protocol(**values), nets=1, seed=seed, device=device), temperature


def _data_key(unit: Unit) -> str:
    names = ("rdd_nb", "data", "size", "scenario", "options", "label_noise", "hold_out", "seed")
    return json.dumps({name: unit.made[name] for name in (*names, "reading") if name in unit.made}, sort_keys=True)


def run_unit(unit: Unit, out: Path, device: str = "auto", rev: str = "") -> None:
    """Run one unit to its ``result.json``, or go on where it was interrupted.

    Raises:
        RddError: and anything else that goes wrong in it.
    """
    folder = folder_of(out, unit)
    _begin(folder, unit)
    splits = _prepared(_data_key(unit))
    groups, discovery = _groups(unit, splits.train, out, device)
    began = time.perf_counter()
    trained_on, weighing = _images(unit, splits.train, groups, folder, device, Folder(out).part("experts").path)
    made = time.perf_counter() - began if weighing is None else weighing["seconds"]
    began = time.perf_counter()
    if unit.scored.get("teacher") and isinstance(trained_on, SyntheticSet):
        trained_on = taught(trained_on, *_teacher(_data_key(unit), json.dumps(unit.scored["teacher"]), device))
    test = matched(trained_on, splits.test)
    nets = train(
        trained_on, Protocol(**unit.scored["protocol"]), nets=unit.scored["nets"], seed=unit.seed, device=device
    )
    scores = predict(nets, test)
    scores.save(folder.at("scores.npz"))
    table = rows(scores, nets if unit.scored["robustness"] else None, test, unit.seed)
    folder.write("rows.csv", csv_text(table))
    config = unit.made["config"] or {}
    weights = _weights(unit, splits.train, groups)
    synthetic = trained_on if isinstance(trained_on, SyntheticSet) else None
    curves = trace(scores, splits.train, synthetic, weights)
    folder.write("mechanism.csv", csv_text(curves, float_format="%.5g"))
    said = {
        "data": splits.train.name,
        "data_digest": fingerprint(splits.train, None)["digest"],
        "samples": len(splits.train),
        "kind": {"config": "distilled"}.get(unit.made["kind"], unit.made["kind"]),
        "coreset": unit.made["coreset"],
        "ipc": unit.made["ipc"],
        "matching": config.get("matching"),
        "objective": config.get("objective") or unit.scored["protocol"]["objective"],
        "groups": "none" if unit.made["groups"] is None else unit.made["groups"]["kind"],
        "space": None if groups is None else groups.source,
        "num_groups": None if groups is None else groups.num_groups,
        "minority_mass": _mass(curves),
        "discovery_seconds": round(discovery, 2),
        "distill_seconds": round(made, 2),
        "weighing_share": None if weighing is None else weighing["share"],
        "evaluate_seconds": round(time.perf_counter() - began, 2),
        "nets": unit.scored["nets"],
        "scored_on": "test" if unit.made["hold_out"] is None else "held-out",
        "revision": rev,
        **describe(pick_device(device)),
    }
    folder.write("result.json", json.dumps(said, indent=2) + "\n")
    folder.remove("error.json")


def _weights(unit: Unit, data: ImageDataset, groups: Groups | None) -> Tensor | None:
    """Each real sample's part in what a distillation matches; None where nothing is matched or nobody is marked."""
    if data.minority is None or unit.made["kind"] != "config":
        return None
    return sampling_weights(data, DistillConfig(**{**unit.made["config"], "seed": unit.seed}), groups)


def _mass(curves: pd.DataFrame) -> float | None:
    found = curves.loc[curves["quantity"] == "mass", "value"]
    return round(float(found.iloc[0]), 4) if len(found) else None


def rows(scores: Scores, nets: Sequence[nn.Module] | None, test: ImageDataset, seed: int) -> pd.DataFrame:
    """The rows of one run: net, partition, group, n, correct.

    Partitions: ``all``, ``minority`` (its two sides), ``group`` (up to 20 named ones) and ``class``. Given the ``nets``
    also ``cluster`` (:func:`rdd_nb.evaluation.corruptions.cluster_groups` of ``test``) and ``robustness``: of each net
    its worst cluster, Cluster-min (a minimum of ten: below the true one), and its accuracy under Noise, Blur and
    Invert.
    """
    parts = {by: scores.table(by) for by in ("all", "class")}
    if scores.minority is not None:
        parts["minority"] = scores.table("minority")
    if scores.groups is not None and len(scores.group_names) <= MOST_GROUPS:
        parts["group"] = scores.table("group")
    if nets is not None:
        clusters = cluster_groups(test, min(10, len(test)), seed).numpy()
        parts["cluster"] = scores.table_of(clusters, tuple(map(str, range(clusters.max() + 1))))
        share = parts["cluster"]["correct"] / parts["cluster"]["n"]
        worst = parts["cluster"].loc[share.groupby(parts["cluster"]["net"]).idxmin()].assign(group="Cluster-min")
        corrupted = [
            predict(nets, corrupt(test, kind, seed)).table("all").assign(group=kind.capitalize())
            for kind in ("noise", "blur", "invert")
        ]
        parts["robustness"] = pd.concat([worst, *corrupted])
    order = [name for name in ("all", "minority", "group", "class", "cluster", "robustness") if name in parts]
    table = pd.concat([parts[name].assign(partition=name) for name in order], ignore_index=True)
    return table[["net", "partition", "group", "n", "correct"]]


def _begin(folder: Folder, unit: Unit) -> None:
    """Make the unit's folder fit: images made with other settings go, those only scored otherwise stay."""
    held = _read(folder, "unit.json")
    if held is not None and held != unit.settings:
        folder.remove("result.json")  # first: half removed, it must not look finished
        if held.get("made") != unit.settings["made"]:
            folder.clear()
    folder.make()
    folder.write("unit.json", json.dumps(unit.settings, indent=2) + "\n")


def _images(
    unit: Unit, data: ImageDataset, groups: Groups | None, folder: Folder, device: str, experts: Path
) -> tuple[SyntheticSet | ImageDataset, dict[str, Any] | None]:
    """What the nets are trained on; for a distillation also its seconds and the share of them spent on weighing."""
    kind = unit.made["kind"]
    if kind == "whole":
        return data, None
    if kind == "coreset":
        chosen = coreset(
            data,
            unit.made["coreset"],
            unit.made["ipc"],
            groups=groups,
            seed=unit.seed,
            device=device,
            formations=unit.made.get("formations", 1),
            latents=unit.made.get("latents", 0),
        )
        RunFolder(folder.path).save_synthetic(chosen)
        return chosen, None
    config = DistillConfig(**{**unit.made["config"], "seed": unit.seed})
    source = {"study": unit.study, "scenario": unit.made["scenario"], "options": unit.made["options"]}
    run = distill(data, config, groups, out=folder.path, device=device, progress=False, source=source, experts=experts)
    seconds = float(run.history["seconds"].sum())
    share = None
    if "weighing" in run.history:
        share = round(float(run.history["weighing"].sum()) / max(seconds, 1e-9), 4)
    return run.synthetic, {"seconds": seconds, "share": share}


def _groups(unit: Unit, data: ImageDataset, out: Path, device: str) -> tuple[Groups | None, float]:
    """The unit's groups and the seconds their discovery took; all methods of a scenario and seed share one."""
    wanted = unit.made["groups"]
    if wanted is None:
        return None, 0.0
    if wanted["kind"] == "known":
        return clustering.known_groups(data), 0.0
    found_by = json.dumps([wanted["arguments"], wanted["defaults"]], sort_keys=True)
    key = hashlib.sha256((_data_key(unit) + found_by).encode()).hexdigest()[:16]
    kept, name = Folder(out).part("groups"), f"{key}.npz"
    kept.make()
    with awaited(kept.path, lock_of(kept.path, f"{key}.lock")):  # another worker may look for the same
        found = None
        with contextlib.suppress(OSError, RddError):  # where there are none that fit they are found anew
            found = groups_from_bytes(kept.read(name), data)
        if found is None:
            began = time.perf_counter()
            given = {name: ast.literal_eval(told) for name, told in wanted["defaults"].items()} | wanted["arguments"]
            groups = clustering.discover_groups(data, seed=unit.seed, device=device, **given)
            found = groups, time.perf_counter() - began
            kept.write(name, groups_to_bytes(*found))
    groups, seconds = found
    return (_shuffled(groups, data, unit.seed) if wanted["kind"] == "shuffled" else groups), seconds


def _shuffled(groups: Groups, data: ImageDataset, seed: int) -> Groups:
    """Groups of the same sizes that know nothing: the ids, permuted within each class."""
    draw, ids = stream(seed, "shuffled groups"), groups.ids.clone()
    for label in range(data.num_classes):
        members = (data.labels == label).nonzero()[:, 0]
        ids[members] = groups.ids[members[torch.randperm(len(members), generator=draw)]]
    return dataclasses.replace(groups, ids=ids, source=f"shuffled {groups.source}")
