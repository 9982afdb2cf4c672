"""Run a sweep: what its plan lacks, on any ``concurrent.futures.Executor``, stopped and resumed at any time.

The default executor is threads of this process, each of which guards one process with one run; a cluster's executor
(:mod:`rdd_nb.experiments.sweep.cluster`) has the same guards elsewhere. At any time only a few jobs are handed out, so
neither this process nor a scheduler holds a long queue, and stopping is quick.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import locked
from rdd_nb.core.folders import Folder, read_regular
from rdd_nb.core.processes import cores, gpus, memory, revision
from rdd_nb.core.version import __version__
from rdd_nb.experiments.sweep.grid import OUT, Plan, Run
from rdd_nb.experiments.sweep.guard import RUNS, Job, Outcome, guard
from rdd_nb.experiments.sweep.heartbeat import SILENCE, Heart
from rdd_nb.experiments.sweep.record import Record, state

__all__ = ["ABOUT", "NOTEBOOK", "Progress", "Result", "default_workers", "run_sweep", "stands"]

#: What the folder of a sweep is about, and the folder of its notebook; the runs lie beside them.
ABOUT, NOTEBOOK = "sweep.json", "notebook"
RUN_MEMORY = 1.5e9  # bytes that a run is expected to need at profile=quick


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: numbers of runs, and seconds left by the pace so far (None before the first has ended)."""

    done: int
    failed: int
    running: int
    total: int
    left: float | None


@dataclass(frozen=True)
class Result:
    """What a call of :func:`run_sweep` did.

    Attributes:
        ran: runs that this call ended, failed ones too.
        failed: name → error, of those that failed now or, where they were not tried again, before.
        done: runs that are finished, also from earlier calls.
        total: runs in the plan.
        rerun: how many of ``ran`` were there under another version of the notebook or the package.
    """

    ran: int
    failed: dict[str, str]
    done: int
    total: int
    rerun: int


def default_workers() -> int:
    """One for each graphics card; without any, one for each core, as far as the memory that is free reaches."""
    return len(gpus()) or max(1, min(cores(), int(memory() // RUN_MEMORY)))


def stands(plan: Plan, out: str | Path) -> dict[str, str]:
    """Of each run by its name: missing, done, failed, interrupted, or outdated (made by another version)."""
    folder = Folder(out)
    return {run.name: _stand(folder, run, run.key(plan.source, __version__)) for run in plan.runs}


def _stand(folder: Folder, run: Run, key: str) -> str:
    try:
        return state(folder.part(f"{RUNS}/{run.folder}"), key)
    except RddError:  # a link, which the run itself will complain of
        return "missing"


def run_sweep(
    plan: Plan,
    out: str | Path,
    *,
    workers: int | None = None,
    threads: int | None = None,
    limit: float | None = None,
    skip_failed: bool = False,
    kernel: str = "python3",
    executor: Executor | None = None,
    tell: Callable[[Outcome | None, Progress], None] | None = None,
) -> Result:
    """Run what ``plan`` lacks in ``out``; a run that fails does not stop the others.

    Args:
        plan: from :func:`rdd_nb.experiments.sweep.grid.make_plan`.
        out: the sweep's folder. Each run has its own in ``out/runs``, with the executed notebook, ``run.json``,
            ``log.txt``, and what the notebook writes into its ``out_dir``.
        workers: runs at a time; by default :func:`default_workers`. Where there are graphics cards each worker has one
            (more workers than cards share them in turn).
        threads: of each run's numeric libraries; by default its share of this machine's cores, and 1 with an executor,
            whose machines are not known here.
        limit: seconds of wall clock that a run may take; it has failed then.
        skip_failed: do not try again what has failed before.
        kernel: a Jupyter kernel's name.
        executor: whose workers see the same files, at the same paths; by default threads of this process.
        tell: called when a run has ended, and with None about once a second in between.

    Raises:
        RddError: ``out`` cannot be written, another process works in it, or the disk is full; what is done is done.
        KeyboardInterrupt: after all processes of the runs have ended; the next call goes on from there.
    """
    if (
        (workers is not None and workers < 1)
        or (threads is not None and threads < 1)
        or (limit is not None and limit <= 0)
    ):
        raise RddError(f"workers={workers}, threads={threads}, limit={limit}: give numbers above 0")
    count, folder = workers or default_workers(), Folder(out)
    for part in (RUNS, NOTEBOOK):
        folder.make(part)
    with locked(folder.path):
        source = _freeze(plan, folder)
        before = stands(plan, out)
        skipped = {n: "failed before" for n, how in before.items() if how == "failed" and skip_failed}
        todo = [run for run in plan.runs if before[run.name] != "done" and run.name not in skipped]
        share = threads or (max(1, cores() // count) if executor is None else 1)
        course = _Course(len(plan.runs), len(plan.runs) - len(todo) - len(skipped), skipped, len(todo), tell)
        heart = Heart(folder)
        settings = {"threads": share, "limit": limit, "kernel": kernel, "heart": str(heart.path)}
        try:
            if todo and executor is None:  # guards of this process end with it, however silent it was
                jobs = _jobs(todo, plan, folder, source, silence=math.inf, **settings)
                with _local(min(count, len(todo))) as (submit, stop):
                    _hand_out(jobs, submit, count, stop, heart, course)
            elif todo:
                assert executor is not None
                jobs = _jobs(todo, plan, folder, source, silence=SILENCE, **settings)
                _hand_out(jobs, lambda job: executor.submit(guard, job), 2 * count, heart.stop, heart, course)
        finally:
            heart.stop()
        rerun = sum(before[run.name] == "outdated" for run in todo)
    return Result(course.ran, course.failed, course.done, len(plan.runs), rerun)


def _freeze(plan: Plan, folder: Folder) -> Path:
    """A copy of the notebook, which all runs of this call use, whatever is edited meanwhile; and what is swept."""
    name = f"{NOTEBOOK}/{plan.notebook.name}"
    if not (folder.has(name) and folder.at(name).samefile(plan.notebook)):
        folder.write(name, read_regular(plan.notebook))
    about = {"notebook": plan.notebook.name, "grid": plan.grid, "runs": len(plan.runs), "swept": list(plan.swept)}
    folder.write(ABOUT, json.dumps({**about, "rdd_nb": __version__}, indent=2) + "\n")
    return folder.at(name)


def _jobs(todo: Iterable[Run], plan: Plan, folder: Folder, source: Path, **settings: Any) -> Iterator[Job]:
    """What the guards are told, made one by one as they are handed out."""
    made_on = {"rdd_nb": __version__, "revision": revision(), "threads": settings["threads"]}
    for run in todo:
        place = str(folder.path / RUNS / run.folder)
        given = {**run.given, OUT: place} if plan.takes_out else dict(run.given)
        record = Record(
            name=run.name,
            condition=run.condition,
            parameters=dict(run.parameters),
            key=run.key(plan.source, __version__),
            made_on=made_on,
        )
        yield Job(record, str(source), str(folder.path), run.folder, given, os.getcwd(), **settings)


class _Course:
    """What has happened so far, and telling it."""

    def __init__(
        self, total: int, done: int, failed: dict[str, str], todo: int, tell: Callable[..., None] | None
    ) -> None:
        self.total, self.done, self.failed, self.todo, self.tell = total, done, dict(failed), todo, tell
        self.ran, self.began = 0, time.monotonic()

    def note(self, outcome: Outcome | None, running: int) -> None:
        if outcome is not None:
            self.ran += 1
            if outcome.status == "done":
                self.done += 1
            else:
                self.failed[outcome.name] = outcome.error
        if self.tell is not None:
            pace = (time.monotonic() - self.began) / self.ran if self.ran else None
            left = None if pace is None else pace * (self.todo - self.ran)
            self.tell(outcome, Progress(self.done, len(self.failed), running, self.total, left))


Submit = Callable[[Job], "Future[Outcome]"]


@contextlib.contextmanager
def _local(count: int) -> Iterator[tuple[Submit, Callable[[], None]]]:
    """Threads that guard a process each; where there are graphics cards, each guard holds one while it works.

    How to hand them a job, and how to stop them all: also where the disk is so full that no file says it.
    """
    stop = threading.Event()
    cards: queue.Queue[dict[str, str]] = queue.Queue()
    names = gpus()
    for _, name in zip(range(count), itertools.cycle(names or [""])):
        cards.put({"CUDA_VISIBLE_DEVICES": name} if names else {})

    def work(job: Job) -> Outcome:
        card = cards.get()
        try:
            return guard(replace(job, environment=card), stop)
        finally:
            cards.put(card)

    pool = ThreadPoolExecutor(count, thread_name_prefix="guard")
    try:
        yield lambda job: pool.submit(work, job), stop.set
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _hand_out(
    jobs: Iterator[Job], submit: Submit, most: int, stop: Callable[[], None], heart: Heart, course: _Course
) -> None:
    """Keep at most ``most`` jobs handed out until all have ended; on Ctrl-C or a full disk, stop those that run."""
    running: dict[Future[Outcome], str] = {}
    try:
        for job in itertools.islice(jobs, most):
            running[submit(job)] = job.record.name
        course.note(None, len(running))
        while running:
            ended = wait(running, timeout=1, return_when=FIRST_COMPLETED).done
            for future in ended:
                outcome = _outcome(future, running.pop(future))
                if outcome.status == "lost":
                    course.note(outcome, len(running))
                    raise RddError(f"the sweep stops at {outcome.name!r}: {outcome.error}")
                if outcome.status == "interrupted" and not heart.there:
                    raise RddError(f"the sweep stops, as {heart.path.name} was removed: the same command goes on")
                for job in itertools.islice(jobs, 1):
                    running[submit(job)] = job.record.name
                course.note(outcome, len(running))
            if not ended:
                course.note(None, len(running))
    except BaseException:
        with _undisturbed():
            stop()
            wait(running, timeout=10)  # before cancelling: Dask calls what it runs cancelled, and forgets it
            for future in running:
                future.cancel()
        raise


def _outcome(future: Future[Outcome], name: str) -> Outcome:
    """What a guard returned; where its worker died instead, that."""
    try:
        return future.result()
    except Exception as error:  # of the cluster's library: its worker was killed, more often than it tries again
        return Outcome(name, "failed", 0.0, f"its worker died ({type(error).__name__}): the next call tries it again")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C does nothing meanwhile: it has been heard, and ending takes a second or two."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
