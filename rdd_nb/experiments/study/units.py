"""One unit of a study, from its settings to its numbers, in a folder of its own.

The folder holds ``unit.json`` (its settings), what a distillation leaves, ``scores.npz`` (every prediction),
``rows.csv`` and ``mechanism.csv`` (its part of the study's tables) and ``result.json``, which is written last: with it,
and with the same settings, the unit is finished and never run again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from rdd_nb import clustering
from rdd_nb.clustering.coresets import coreset
from rdd_nb.clustering.groups import Groups
from rdd_nb.core.device import pick_device
from rdd_nb.core.environment import describe
from rdd_nb.core.files import atomic_write
from rdd_nb.core.random_streams import stream
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
from rdd_nb.models.training import train

__all__ = ["rows", "run_unit", "state"]

MOST_GROUPS = 20  # named groups beyond this are not listed one by one; scores.npz has them


def state(out: Path, unit: Unit) -> str:
    """``done``, ``missing``, ``begun``, ``failed`` (last time), or ``changed`` (its settings; it will run again)."""
    folder = out / unit.name
    held = _read(folder / "unit.json")
    if held is None:
        return "missing"
    if held != unit.settings:
        return "changed"
    if _read(folder / "result.json") is not None:
        return "done"
    return "failed" if (folder / "error.json").exists() else "begun"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@functools.lru_cache(maxsize=1)
def _loaded(name: str, size: int | None) -> Splits:
    return loading.load(name, size=size)


@functools.lru_cache(maxsize=1)  # neighbours in a study's order share their data
def _prepared(made: str) -> Splits:
    values = json.loads(made)
    return prepare(values, _loaded(values["data"], values["size"]))


def _data_key(unit: Unit) -> str:
    names = ("rdd_nb", "data", "size", "scenario", "options", "label_noise", "hold_out", "seed")
    return json.dumps({name: unit.made[name] for name in names}, sort_keys=True)


def run_unit(unit: Unit, out: Path, device: str = "auto", rev: str = "") -> None:
    """Run one unit to its ``result.json``, or go on where it was interrupted.

    Raises:
        RddError: and anything else that goes wrong in it.
    """
    folder = out / unit.name
    _begin(folder, unit)
    splits = _prepared(_data_key(unit))
    groups, discovery = _groups(unit, splits.train, out, device)
    began = time.perf_counter()
    trained_on, weighing = _images(unit, splits.train, groups, folder, device)
    made = time.perf_counter() - began if weighing is None else weighing["seconds"]
    began = time.perf_counter()
    test = matched(trained_on, splits.test)
    nets = train(
        trained_on, Protocol(**unit.scored["protocol"]), nets=unit.scored["nets"], seed=unit.seed, device=device
    )
    scores = predict(nets, test)
    scores.save(folder / "scores.npz")
    table = rows(scores, nets if unit.scored["robustness"] else None, test, unit.seed)
    atomic_write(folder / "rows.csv", table.to_csv(index=False, lineterminator="\n"))
    config = unit.made["config"] or {}
    weights = _weights(unit, splits.train, groups)
    synthetic = trained_on if isinstance(trained_on, SyntheticSet) else None
    curves = trace(scores, splits.train, synthetic, weights)
    atomic_write(folder / "mechanism.csv", curves.to_csv(index=False, lineterminator="\n", float_format="%.5g"))
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
    atomic_write(folder / "result.json", json.dumps(said, indent=2) + "\n")
    (folder / "error.json").unlink(missing_ok=True)


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


def _begin(folder: Path, unit: Unit) -> None:
    """Make the unit's folder fit: images made with other settings go, those only scored otherwise stay."""
    held = _read(folder / "unit.json")
    if held is not None and held != unit.settings:
        (folder / "result.json").unlink(missing_ok=True)  # first: half removed, it must not look finished
        if not isinstance(held, dict) or held.get("made") != unit.settings["made"]:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "unit.json", json.dumps(unit.settings, indent=2) + "\n")


def _images(
    unit: Unit, data: ImageDataset, groups: Groups | None, folder: Path, device: str
) -> tuple[SyntheticSet | ImageDataset, dict[str, Any] | None]:
    """What the nets are trained on; for a distillation also its seconds and the share of them spent on weighing."""
    kind = unit.made["kind"]
    if kind == "whole":
        return data, None
    if kind == "coreset":
        chosen = coreset(data, unit.made["coreset"], unit.made["ipc"], groups=groups, seed=unit.seed, device=device)
        RunFolder(folder).save_synthetic(chosen)
        return chosen, None
    config = DistillConfig(**{**unit.made["config"], "seed": unit.seed})
    source = {"study": unit.study, "scenario": unit.made["scenario"], "options": unit.made["options"]}
    run = distill(data, config, groups, out=folder, device=device, progress=False, source=source)
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
    path = out / "groups" / f"{key}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_suffix(".lock")):
        found = _load_groups(path)
        if found is None:
            began = time.perf_counter()
            groups = clustering.discover_groups(data, seed=unit.seed, device=device, **wanted["arguments"])
            found = groups, time.perf_counter() - began
            _save_groups(path, *found)
    groups, seconds = found
    return (_shuffled(groups, data, unit.seed) if wanted["kind"] == "shuffled" else groups), seconds


def _shuffled(groups: Groups, data: ImageDataset, seed: int) -> Groups:
    """Groups of the same sizes that know nothing: the ids, permuted within each class."""
    draw, ids = stream(seed, "shuffled groups"), groups.ids.clone()
    for label in range(data.num_classes):
        members = (data.labels == label).nonzero()[:, 0]
        ids[members] = groups.ids[members[torch.randperm(len(members), generator=draw)]]
    return dataclasses.replace(groups, ids=ids, source=f"shuffled {groups.source}")


def _save_groups(path: Path, groups: Groups, seconds: float) -> None:
    values = {f.name: getattr(groups, f.name) for f in dataclasses.fields(groups)}
    arrays = {k: v.cpu().numpy() if torch.is_tensor(v) else np.asarray(v) for k, v in values.items() if v is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, seconds=np.asarray(seconds), **arrays)  # type: ignore[arg-type]
    atomic_write(path, buffer.getvalue())


def _load_groups(path: Path) -> tuple[Groups, float] | None:
    try:
        with np.load(path, allow_pickle=False) as held:
            values: dict[str, Any] = {
                k: torch.from_numpy(held[k]) if held[k].ndim else held[k].item() for k in held.files
            }
        seconds = values.pop("seconds")
        return Groups(**values), float(seconds)
    except Exception:  # none there, or one that cannot be read: found anew
        return None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other worker holds ``path`` (where the system has ``flock``; elsewhere both do the work)."""
    with path.open("w") as handle:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
