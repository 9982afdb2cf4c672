"""Run a study: the units of a plan in worker processes, stopped and resumed at any time.

What a unit leaves in its folder, :mod:`rdd_nb.experiments.study.units` says. One that fails leaves ``error.json`` and
does not stop the others; the next call tries it again.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rdd_nb.core.device import pick_device
from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import Folder
from rdd_nb.core.processes import children_with, cores, revision, threads_of_children
from rdd_nb.distillation.run_folder import RunFolder
from rdd_nb.experiments.study.plan import Plan, Unit
from rdd_nb.experiments.study.units import folder_of, run_unit, state

__all__ = ["Outcome", "run_study"]

# Workers do not look for Python's own modules in the current folder first (from Python 3.11 on).
SAFE = {"PYTHONSAFEPATH": "1"}
GRACE = 60.0  # seconds that an interrupted worker has to keep its checkpoint


@dataclass(frozen=True)
class Outcome:
    """What came of one unit: ``error`` is None where it finished, one line otherwise."""

    unit: Unit
    seconds: float
    error: str | None = None


# --- many units, in worker processes ------------------------------------------------------------------------------

_busy, _stopping, _told = False, False, -60.0


def _on_interrupt(number: int, frame: Any) -> None:
    """In a worker: SIGINT ends the unit it works on, and those behind it; it gets time to keep its checkpoint.

    So what comes within five seconds does nothing; later ones help where some library has swallowed the first.
    """
    global _stopping, _told
    _stopping = True
    if _busy and time.monotonic() - _told > 5:
        _told = time.monotonic()
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
    here = str(Path(__file__).parents[3]) + os.sep
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).replace(here, "")
    with contextlib.suppress(OSError, RddError):  # such as a full disk; the line is told all the same
        folder = folder_of(out, unit)
        folder.make()
        folder.write("error.json", json.dumps({"error": line, "traceback": trace}, indent=2) + "\n")
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
        plan: from :func:`rdd_nb.experiments.study.plan.load_plan`.
        out: the study's folder.
        units: some of the plan's; by default all.
        workers: processes; 0 runs the units in this process, one after another.
        threads: of each worker; by default its share of the cores (for 0 workers: as torch is set).
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
    folder = Folder(out).make()
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
            before = torch.get_num_threads()
            torch.set_num_threads(threads or before)
            try:
                for unit in todo:
                    note(_work(unit, folder, device, rev))
            finally:
                torch.set_num_threads(before)
        else:
            share = threads or max(1, cores() // workers)
            with threads_of_children(share), children_with(SAFE):
                _in_processes(todo, min(workers, len(todo)), share, lambda unit: (unit, folder, device, rev), note)
    return outcomes


@contextlib.contextmanager
def _startable() -> Iterator[None]:
    """One line where the system has no locks that processes share (a read-only /dev/shm), or no more of them."""
    try:
        yield
    except (OSError, ImportError) as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise RddError(f"worker processes cannot be started here ({why}): use fewer workers, or --workers 0") from None


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
        with _startable():
            pool = ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(threads,)
            )
        running: dict[Future[Outcome], Unit] = {}
        lost: list[Unit] = []
        try:
            while (waiting or running) and not lost:
                while waiting and len(running) < workers:  # no more: a queued unit could not be called back
                    unit = waiting.pop(0)
                    with _startable(), _on_sigint(signal.SIG_IGN):  # until _start_worker
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
def _on_sigint(action: Any) -> Iterator[None]:
    """SIGINT means ``action`` meanwhile. Processes started under SIG_IGN ignore it until they say otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, action)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_children() -> None:
    """Interrupt all child processes, again and again, as one that is still starting ignores it; then kill the rest.

    A second Ctrl-C kills them at once, but not one in the same second, as shells and tools like to send two.
    """
    began = time.monotonic()
    deadline = began + GRACE

    def hurry(number: int, frame: Any) -> None:
        nonlocal deadline
        deadline = deadline if time.monotonic() < began + 1 else 0.0

    with _on_sigint(hurry):
        while (alive := multiprocessing.active_children()) and time.monotonic() < deadline:
            for child in alive:
                if os.name == "posix" and child.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGINT)
                else:
                    child.terminate()
            for child in alive:
                child.join(0.2)
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
