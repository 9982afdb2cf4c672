"""One run in a process of its own, guarded: ended at its time limit or when asked, and its end always told.

:func:`guard` blocks until the run has ended, so it is what an executor's worker does: a thread of this process, or a
worker of a cluster that sees the same files. While it works it holds a lock on the run's folder, so that no two
processes work in one, whatever became of those that started them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import Busy, lock_of, locked, unwritable
from rdd_nb.core.folders import Folder
from rdd_nb.core.processes import THREAD_NAMES, end_tree
from rdd_nb.experiments.notebook import failure, mark_failed
from rdd_nb.experiments.sweep.grid import OUT
from rdd_nb.experiments.sweep.heartbeat import SILENCE, Listener
from rdd_nb.experiments.sweep.record import LOCK, LOG, NOTEBOOK_LOCK, RECORD, Record, begin, finish, last_words, read

__all__ = ["RUNS", "Job", "Outcome", "guard"]

RUNS = "runs"  #: the folder of a sweep in which each run has its own
POLL = 0.25  # seconds between two looks at limit and stop
MARGIN = 30.0  # seconds beyond its silence in which another guard has surely noticed, and ended its run
# The path loses the folder that Python puts first with -c, the current one: a file of it by the name of a package that
# is imported here would run instead. This package comes last, where nothing else has brought it.
# papermill imports pyarrow where there is one, and numpy with it, for files on Hadoop: a tenth of what the process of a
# run takes, and 50 MB. None means "not installed" to `import`. What the notebook imports is its kernel's affair.
PACKAGE = str(Path(__file__).resolve().parents[3])
START = (
    f"import sys; sys.path[:] = [*filter(None, sys.path), {PACKAGE!r}]; sys.modules['pyarrow'] = None; "
    "from rdd_nb.experiments.sweep.child import main; sys.exit(main())"
)


@dataclass(frozen=True)
class Job:
    """What a guard needs to know; plain values, so that it can travel.

    Attributes:
        record: of the run, not begun.
        notebook, sweep: paths of the notebook and of the sweep's folder, relative to ``cwd``.
        folder: name of the run's, in the sweep's.
        parameters: to inject.
        cwd: working directory of the notebook.
        threads: of its numeric libraries.
        limit: wall-clock seconds; None is no limit.
        heart: path of the file by which the call shows that it lives (:mod:`rdd_nb.experiments.sweep.heartbeat`); ""
            for none.
        silence: seconds without a change of that file, after which the run ends.
        kernel: a Jupyter kernel's name.
        environment: more variables, such as ``CUDA_VISIBLE_DEVICES``.
    """

    record: Record
    notebook: str
    sweep: str
    folder: str
    parameters: Mapping[str, Any]
    cwd: str
    threads: int
    limit: float | None = None
    heart: str = ""
    silence: float = SILENCE
    kernel: str = "python3"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        name: of the run.
        status: ``done``, ``failed``, ``interrupted`` (nothing is wrong with it, it was told to end) or ``lost`` (the
            sweep's folder cannot be written any more).
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
        stop: ends the run when it is set; beside it, so does ``job.heart``.

    Returns:
        How it ended; this function raises nothing that a notebook, its kernel or a disk can cause. Where another
        process still works in the run's folder after a minute and a half, it is ``failed``, and its record untouched.
    """
    began = time.monotonic()
    caller = Listener(Path(job.heart) if job.heart else None, job.silence, stop)
    sweep = Folder(Path(job.cwd, job.sweep))
    try:
        folder = sweep.part(f"{RUNS}/{job.folder}")
        until = began + job.silence + MARGIN
        with _alone(folder, LOCK, caller, until):
            with _alone(folder, NOTEBOOK_LOCK, caller, until):  # of the process of a guard that was killed
                pass
            return _guarded(job, folder, caller, began)
    except Busy:
        status, error = "failed", f"another process still works in {folder.path}: the next call tries it again"
    except RddError as raised:
        status, error = ("failed" if _writable(sweep) else "lost"), str(raised)
    except OSError as raised:
        status, error = ("failed" if _writable(sweep) else "lost"), str(unwritable(folder.path, raised))
    except _Over as raised:
        status, error = "interrupted", str(raised)
    return Outcome(job.record.name, status, time.monotonic() - began, error)


class _Over(Exception):
    """The run is not wanted any more; why."""


@contextlib.contextmanager
def _alone(folder: Folder, name: str, caller: Listener, until: float) -> Iterator[None]:
    """Hold a lock of a run's folder, if need be after another guard, which may be about to leave it, has left."""
    with contextlib.ExitStack() as held:
        while True:
            if why := caller.over():
                raise _Over(why)
            try:
                held.enter_context(locked(folder.path, lock_of(folder.path, name)))
                break
            except Busy:
                if time.monotonic() > until:
                    raise
                time.sleep(POLL)
        yield


def _guarded(job: Job, folder: Folder, caller: Listener, began: float) -> Outcome:
    begun = begin(folder, job.record)
    why = _watched(job, folder, begun.token, began, caller)
    seconds = time.monotonic() - began
    told = read(folder)
    if told is None:
        gone = f"its folder, or {RECORD} in it, was removed while it ran: let the notebook keep its {OUT}"
        told = finish(folder, begun, seconds, f"{gone} ({why})" if why else gone)
    elif told.token == begun.token and told.status == "running":  # the process could not say it itself
        told = finish(folder, begun, seconds, *_left_behind(folder, Path(job.notebook).name, why))
    if told.token != begun.token:
        return Outcome(job.record.name, "failed", seconds, f"another process has taken {folder.path} over")
    return Outcome(job.record.name, told.status, told.seconds or seconds, told.error)


def _watched(job: Job, folder: Folder, token: str, began: float, caller: Listener) -> str:
    """Start the process and wait; why it ended if not by itself, "" if by itself.

    Raises:
        _Over: it was told to end, and has.
    """
    environment = {**os.environ, **dict.fromkeys(THREAD_NAMES, str(job.threads)), **job.environment}
    told: dict[str, Any] = {
        "notebook": job.notebook,
        "folder": str(Path(job.sweep, RUNS, job.folder)),
        "token": token,
        "parameters": dict(job.parameters),
        "kernel": job.kernel,
    }
    told["began"] = time.time() - (time.monotonic() - began)
    with folder.fresh(LOG) as log:
        try:
            process = subprocess.Popen(
                (sys.executable, "-c", START),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=job.cwd,
                env=environment,
                start_new_session=True,  # Ctrl-C on the terminal is for the one who started the sweep
            )
        except OSError as error:
            return f"its process could not be started ({error.strerror or error}): use fewer workers"
    pipe = process.stdin
    assert pipe is not None
    try:
        with contextlib.suppress(OSError):  # it died at once; its exit status says how
            pipe.write(json.dumps(told).encode() + b"\n")
            pipe.flush()
        while True:
            try:
                status = process.wait(POLL)
                return "" if status == 0 else _exit(status, folder)
            except subprocess.TimeoutExpired:
                if job.limit is not None and time.monotonic() - began > job.limit:
                    return f"took longer than {job.limit:g} s"
                if why := caller.over():
                    raise _Over(why) from None
    finally:
        if process.poll() is None:
            end_tree(process.pid)
            process.wait()
        elif process.returncode:
            _end_kernel_of(process.pid)
        with contextlib.suppress(OSError):
            pipe.close()


def _end_kernel_of(pid: int) -> None:
    """End what a process that was killed has left: by itself, its kernel would see that only in a second or two."""
    import psutil  # type: ignore[import-untyped, unused-ignore]

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("JPY_PARENT_PID") == str(pid):
                end_tree(process.pid)


def _exit(status: int, folder: Folder) -> str:
    if status == -signal.SIGKILL:
        return f"its process was killed by signal {-status}: by somebody, or for want of memory (use fewer workers)"
    how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
    return f"its process {how}{last_words(folder)}"


def _left_behind(folder: Folder, executed: str, why: str) -> tuple[str, str, str]:
    """Error, cell and traceback where the process was ended from outside; its executed copy says so afterwards, too."""
    why = why or f"its process ended without a word{last_words(folder)}"
    if not folder.has(executed):
        return why, "", ""
    with contextlib.suppress(RddError):  # half a copy
        mark_failed(folder.path / executed, why)
    return failure(folder.path / executed, why)


def _writable(sweep: Folder) -> bool:
    """Whether only the one run's folder is at fault: a disk that is full, or gone, would fail all that follow."""
    try:
        sweep.probe(8192)
    except RddError:
        return False
    return True
