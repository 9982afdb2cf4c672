"""What a run of a sweep leaves about itself: ``run.json``, written whole when it begins and again when it ends.

A run is finished where its record says ``done`` under the key that is asked for (parameters, notebook, version). A
record that still says ``running`` is of a run that was killed: it is run again, in its folder as it is, so that a
notebook which resumes goes on from its checkpoint.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
from typing import Any, Literal

import pydantic

from rdd_nb.core.checked import Held, validated
from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import Folder

__all__ = ["LOCK", "LOG", "NOTEBOOK_LOCK", "RECORD", "Record", "begin", "finish", "last_words", "read", "state"]

RECORD, LOG = "run.json", "log.txt"
#: Held by the guard of a run, and by the process that executes its notebook.
LOCK, NOTEBOOK_LOCK = ".guard.lock", ".notebook.lock"
KEPT = (LOCK, NOTEBOOK_LOCK, ".lock")  # a lock that is removed would lock nobody out


class Record(Held):
    """One run of a sweep, as ``run.json`` has it.

    Attributes:
        name: of the run, condition: of its condition.
        parameters: all of them, but for ``out_dir``.
        key: see :meth:`rdd_nb.experiments.sweep.grid.Run.key`.
        status: ``running``, ``done`` or ``failed``.
        began: date and time, in UTC.
        seconds: wall clock, with the kernel's start.
        error: why it failed, in one line; cell: the cell it failed in, such as ``In [3]``; traceback: of that cell.
        made_on: package version, git revision, threads.
        token: drawn anew each time the run begins; who finds another one there leaves the record alone.
    """

    name: str
    condition: str
    parameters: dict[str, Any]
    key: str
    status: Literal["running", "done", "failed"] = "running"
    began: str = pydantic.Field(default="", pattern=r"^(\d{4}-\d\d-\d\dT[\d:+.Z-]{1,40})?$")
    seconds: float | None = pydantic.Field(default=None, ge=0, le=1e10)
    error: str = ""
    cell: str = ""
    traceback: str = ""
    made_on: dict[str, str | int | None] = pydantic.Field(default={})
    token: str = ""


def read(folder: Folder) -> Record | None:
    """The record in a run's folder; None where there is none, or none that can be read."""
    try:
        return validated(Record, folder.json(RECORD, ""), RECORD)
    except RddError:
        return None


def state(folder: Folder, key: str) -> str:
    """How a run stands: missing, done, failed, interrupted, or outdated (done or failed under another key)."""
    record = read(folder)
    if record is None:
        return "missing"
    if record.key != key:
        return "outdated"
    return {"done": "done", "failed": "failed"}.get(record.status, "interrupted")


def begin(folder: Folder, record: Record) -> Record:
    """Make the run's folder and say that it runs. What another key left there is removed first.

    Raises:
        RddError: the folder cannot be written.
    """
    there = read(folder)
    if there is not None and there.key != record.key:
        folder.clear(keep=KEPT)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    begun = record.model_copy(update={"status": "running", "began": now, "token": secrets.token_hex(8)})
    _write(folder, begun)
    return begun


def finish(folder: Folder, begun: Record, seconds: float, error: str = "", cell: str = "", trace: str = "") -> Record:
    """Say how a run ended: done, or failed with an error. The record of another beginning is returned as it is.

    Raises:
        RddError: the folder cannot be written.
    """
    there = read(folder)
    if there is not None and there.token != begun.token:
        return there
    ended = {"status": "failed" if error else "done", "seconds": round(max(seconds, 0.0), 2)}
    told = {"error": error[:2000], "cell": cell, "traceback": re.sub(r"\x1b\[[\d;]*m", "", trace)[-20000:]}
    record = begun.model_copy(update={**ended, **told})
    _write(folder, record)
    return record


def last_words(folder: Folder) -> str:
    """How a run's log ends, in brackets and with a space before; "" where it says nothing."""
    try:
        lines = folder.tail(LOG, 4000).decode(errors="replace").split("\n")
    except (OSError, RddError):
        return ""
    said = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
    return f" ({LOG} ends: {said[:200]})" if said else ""


def _write(folder: Folder, record: Record) -> None:
    folder.make()
    folder.write(RECORD, json.dumps(record.model_dump(), indent=2) + "\n")
