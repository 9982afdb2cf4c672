"""Run a study: each unit of a plan in a worker process and a folder of its own, stopped and resumed at any time.

A unit's folder holds ``unit.json`` (its settings), what a distillation leaves, ``scores.npz`` (every prediction),
``rows.csv`` (its part of the study's table) and ``result.json``, which is written last: with it, and with the same
settings, the unit is finished and never run again. ``error.json`` says why a unit failed; the next call tries it anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdd_nb import clustering, datasets
from rdd_nb.clustering import Groups, group_mass
from rdd_nb.config import DistillConfig
from rdd_nb.coresets import coreset
from rdd_nb.datasets import ImageDataset, Splits
from rdd_nb.distill import distill, fingerprint
from rdd_nb.errors import RddError
from rdd_nb.evaluate import Protocol, matched, predict, train
from rdd_nb.machine import describe, pick_device, stream
from rdd_nb.plan import Plan, Unit, prepare
from rdd_nb.results import rows
from rdd_nb.runs import RunFolder, SyntheticSet, atomic_write

__all__ = ["Outcome", "cores", "revision", "run_study", "run_unit", "state"]

GRACE = 60.0  # seconds that an interrupted worker has to keep its checkpoint


@dataclass(frozen=True)
class Outcome:
    """What came of one unit: ``error`` is None where it finished, one line otherwise."""

    unit: Unit
    seconds: float
    error: str | None = None


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


def revision() -> str:
    """The git revision of the code that runs, with ``-dirty`` where it was changed since; empty outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- one unit, in a worker ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _loaded(name: str, size: int | None) -> Splits:
    return datasets.load(name, size=size)


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
    marked = splits.train.minority
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
        "minority_mass": None
        if groups is None or marked is None
        else round(group_mass(groups, splits.train.labels, marked), 4),
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
    key = hashlib.sha256((_data_key(unit) + json.dumps(wanted["arguments"], sort_keys=True)).encode()).hexdigest()[:16]
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
    """Groups of the same sizes that know nothing: the ids, dealt out anew within each class."""
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


# --- many units, in worker processes ------------------------------------------------------------------------------

_busy = _stopping = False


def _on_interrupt(number: int, frame: Any) -> None:
    """In a worker: the first SIGINT ends the unit it works on, which keeps its checkpoint; more of them do nothing."""
    global _stopping
    first, _stopping = not _stopping, True
    if first and _busy:
        raise KeyboardInterrupt


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, _on_interrupt)
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def follow() -> None:  # a parent that was killed leaves no orphans
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(unit: Unit, out: Path, device: str, rev: str) -> Outcome:
    """Run a unit in a worker; whatever goes wrong is written down and told, not raised."""
    global _busy
    began = time.perf_counter()
    try:
        _busy = True
        if _stopping:
            raise KeyboardInterrupt
        run_unit(unit, out, device, rev)
        return Outcome(unit, time.perf_counter() - began)
    except Exception as error:
        return Outcome(unit, time.perf_counter() - began, _failed(out, unit, error))
    finally:
        _busy = False


def _failed(out: Path, unit: Unit, error: BaseException) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, RddError):
        line = f"{type(error).__name__}: {line}"
    here = str(Path(__file__).parents[1]) + os.sep
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).replace(here, "")
    with contextlib.suppress(OSError, RddError):  # such as a full disk; the line is told all the same
        (out / unit.name).mkdir(parents=True, exist_ok=True)
        atomic_write(out / unit.name / "error.json", json.dumps({"error": line, "traceback": trace}, indent=2) + "\n")
    return line


def run_study(
    plan: Plan,
    out: str | Path,
    *,
    units: Sequence[Unit] | None = None,
    workers: int = 2,
    threads: int | None = None,
    device: str = "auto",
    tell: Callable[[Outcome, int, int, float], None] | None = None,
) -> list[Outcome]:
    """Run the units of ``plan`` that are not finished in ``out``, in their order.

    Args:
        plan: from :func:`rdd_nb.plan.load_plan`.
        out: the study's folder.
        units: some of the plan's; by default all.
        workers: processes; 0 runs the units in this process, one after another.
        threads: of each worker; by default its share of the cores (all of torch's own for 0 workers).
        device: of all of them.
        tell: called after each unit with its outcome, how many are finished (also from earlier), of how many, and the
            seconds left by the pace so far.

    Returns:
        The outcomes of the units that ran, failed ones too.

    Raises:
        RddError: ``out`` cannot be written, or another process works in it.
        KeyboardInterrupt: after the workers have kept their checkpoints and ended; the next call goes on from there.
    """
    if workers < 0 or (threads is not None and threads < 1):
        raise RddError(f"workers={workers} and threads={threads}: give 0 or more workers, 1 or more threads")
    pick_device(device)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RddError(f"cannot write {folder}: {error.strerror or error}; use another `out`") from None
    chosen = plan.units if units is None else units
    todo = [unit for unit in chosen if state(folder, unit) != "done"]
    outcomes: list[Outcome] = []
    began, finished = time.monotonic(), len(chosen) - len(todo)

    def note(outcome: Outcome) -> None:
        nonlocal finished
        outcomes.append(outcome)
        finished += outcome.error is None
        pace = (time.monotonic() - began) / len(outcomes)
        if tell is not None:
            tell(outcome, finished, len(chosen), pace * (len(todo) - len(outcomes)))

    rev = revision()
    with RunFolder(folder).lock():
        if workers == 0 or not todo:
            for unit in todo:
                note(_work(unit, folder, device, rev))
        else:
            share = threads or max(1, cores() // workers)
            with _threads_of_children(share):
                _in_processes(todo, min(workers, len(todo)), share, lambda unit: (unit, folder, device, rev), note)
    return outcomes


@contextlib.contextmanager
def _threads_of_children(threads: int) -> Iterator[None]:
    """What processes started meanwhile find in their environment, before they import torch."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _in_processes(
    todo: Sequence[Unit],
    workers: int,
    threads: int,
    arguments: Callable[[Unit], tuple[Any, ...]],
    note: Callable[[Outcome], None],
) -> None:
    """Run ``todo`` on ``workers`` processes. What a dying worker takes down with it is tried once more."""
    waiting, tries = list(todo), {unit.name: 0 for unit in todo}
    while waiting:
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(threads,)
        )
        running: dict[Future[Outcome], Unit] = {}
        lost: list[Unit] = []
        try:
            while (waiting or running) and not lost:
                while waiting and len(running) < workers:  # no more: a queued unit could not be called back
                    unit = waiting.pop(0)
                    with _children_ignore_interrupts():
                        running[pool.submit(_work, *arguments(unit))] = unit
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    unit = running.pop(future)
                    try:
                        note(future.result())
                    except BrokenProcessPool:
                        lost.append(unit)
            lost += running.values()
            pool.shutdown()
        except BrokenProcessPool:  # at submit
            lost += [unit, *running.values()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _end_children()
            raise
        for unit in lost:
            tries[unit.name] += 1
            if tries[unit.name] < 2:
                waiting.insert(0, unit)
            else:
                error = RddError("its worker process died, twice: it was killed, or memory ran out (use fewer workers)")
                note(Outcome(unit, 0.0, _failed(arguments(unit)[1], unit, error)))


@contextlib.contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """A process started meanwhile ignores SIGINT until :func:`_start_worker` says otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_children() -> None:
    """Interrupt all child processes, again and again, as one that is still starting ignores it; then kill the rest."""
    deadline = time.monotonic() + GRACE
    while (alive := multiprocessing.active_children()) and time.monotonic() < deadline:
        for child in alive:
            if hasattr(os, "kill") and child.pid is not None and os.name == "posix":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGINT)
            else:
                child.terminate()
        for child in alive:
            child.join(0.2)
    for child in multiprocessing.active_children():
        child.kill()
