"""One run in a process of its own, guarded: ended at its time limit or when asked, and its end always told.

:func:`guard` blocks until the run has ended, so it is what an executor's worker does: a thread of this process, or a
worker of a cluster that sees the same files.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import unwritable
from rdd_nb.core.processes import THREAD_NAMES, end_tree
from rdd_nb.experiments.notebook import failure, mark_failed
from rdd_nb.experiments.sweep.record import LOG, Record, begin, finish, read

__all__ = ["Job", "Outcome", "guard"]

POLL = 0.25  # seconds between two looks at limit and stop
# jsonschema, by which notebooks are read, builds the grammar of internationalised addresses where it finds the package
# rfc3987_syntax: a second of each run, and no notebook needs it. None means "not installed" to `import`.
START = (
    "import sys; sys.modules['rfc3987_syntax'] = None; "
    "from rdd_nb.experiments.sweep.child import main; sys.exit(main())"
)


@dataclass(frozen=True)
class Job:
    """What a guard needs to know; plain values, so that it can travel.

    Attributes:
        record: of the run, not begun.
        notebook, folder: paths, relative to ``cwd``.
        parameters: to inject.
        cwd: working directory of the notebook.
        threads: of its numeric libraries.
        limit: wall-clock seconds; None is no limit.
        stop: where this file appears, the run is to end.
        kernel: a Jupyter kernel's name.
        environment: more variables, such as ``CUDA_VISIBLE_DEVICES``.
    """

    record: Record
    notebook: str
    folder: str
    parameters: Mapping[str, Any]
    cwd: str
    threads: int
    limit: float | None = None
    stop: str = ""
    kernel: str = "python3"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        name: of the run.
        status: ``done``, ``failed``, ``interrupted`` (nothing is wrong with it, it was told to end) or ``lost`` (not
            even its record could be written).
        seconds: wall clock.
        error: in one line; "" where it is done.
    """

    name: str
    status: str
    seconds: float
    error: str = ""


def guard(job: Job, stop: threading.Event | None = None) -> Outcome:
    """Run a job in a new process and wait for its end.

    Args:
        job: what to run.
        stop: ends the run when it is set; beside it, so does the file ``job.stop``.

    Returns:
        How it ended; this function raises nothing that a notebook, its kernel or a disk can cause.
    """
    began = time.monotonic()
    name, folder = job.record.name, Path(job.cwd, job.folder)
    if _stopped(job, stop):  # while it waited in a queue
        return Outcome(name, "interrupted", 0.0)
    try:
        begun = begin(folder, job.record)
        why = _watched(job, folder, began, stop)
        seconds = time.monotonic() - began
        if why is None:
            return Outcome(name, "interrupted", seconds)
        told = read(folder)
        if told is None or told.status == "running":  # the process could not say it itself
            executed = folder / Path(job.notebook).name
            told = finish(folder, begun, seconds, *_left_behind(executed, why))
    except RddError as error:
        return Outcome(name, "lost", time.monotonic() - began, str(error))
    except OSError as error:
        return Outcome(name, "lost", time.monotonic() - began, str(unwritable(folder, error)))
    return Outcome(name, told.status, told.seconds or seconds, told.error)


def _watched(job: Job, folder: Path, began: float, stop: threading.Event | None) -> str | None:
    """Start the process and wait; why it ended if not by itself, "" if by itself, None if it was told to stop."""
    environment = {**os.environ, **dict.fromkeys(THREAD_NAMES, str(job.threads)), **job.environment}
    told: dict[str, Any] = {
        "notebook": job.notebook,
        "folder": job.folder,
        "parameters": dict(job.parameters),
        "kernel": job.kernel,
    }
    told["began"] = time.time() - (time.monotonic() - began)
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            (sys.executable, "-c", START),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=job.cwd,
            env=environment,
            start_new_session=True,  # Ctrl-C on the terminal is for the one who started the sweep
        )
    pipe = process.stdin
    assert pipe is not None
    try:
        with contextlib.suppress(OSError):  # it died at once; its exit status says how
            pipe.write(json.dumps(told).encode() + b"\n")
            pipe.flush()
        while True:
            try:
                status = process.wait(POLL)
                return "" if status == 0 else _exit(status)
            except subprocess.TimeoutExpired:
                if job.limit is not None and time.monotonic() - began > job.limit:
                    return f"took longer than {job.limit:g} s"
                if _stopped(job, stop):
                    return None
    finally:
        if process.poll() is None:
            end_tree(process.pid)
            process.wait()
        with contextlib.suppress(OSError):
            pipe.close()


def _stopped(job: Job, stop: threading.Event | None) -> bool:
    return (stop is not None and stop.is_set()) or bool(job.stop and Path(job.stop).exists())


def _exit(status: int) -> str:
    if status < 0:
        return f"its process was killed by signal {-status}: by somebody, or for want of memory (use fewer workers)"
    return f"its process ended with status {status}: see {LOG}"


def _left_behind(executed: Path, why: str) -> tuple[str, str, str]:
    """Error, cell and traceback where the process was ended from outside; its executed copy says so afterwards, too."""
    why = why or f"its process ended without a word: see {LOG}"
    with contextlib.suppress(RddError):  # no executed copy, or half of one
        mark_failed(executed, why)
    return failure(executed, why)
