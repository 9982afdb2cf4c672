"""What a run of a sweep leaves about itself: ``run.json``, written whole when it begins and again when it ends.

A run is finished where its record says ``done`` under the key that is asked for (parameters, notebook, version). A
record that still says ``running`` is of a run that was killed: it is run again, in its folder as it is, so that a
notebook which resumes goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rdd_nb.core.files import atomic_write, unwritable

__all__ = ["LOG", "RECORD", "Record", "begin", "finish", "read", "state"]

RECORD, LOG = "run.json", "log.txt"


@dataclass(frozen=True)
class Record:
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
    """

    name: str
    condition: str
    parameters: Mapping[str, Any]
    key: str
    status: str = "running"
    began: str = ""
    seconds: float | None = None
    error: str = ""
    cell: str = ""
    traceback: str = ""
    made_on: Mapping[str, Any] = field(default_factory=dict)


def read(folder: Path) -> Record | None:
    """The record in a run's folder; None where there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    return None


def state(folder: Path, key: str) -> str:
    """How a run stands: missing, done, failed, interrupted, or outdated (done or failed under another key)."""
    record = read(folder)
    if record is None:
        return "missing"
    if record.key != key:
        return "outdated"
    return {"done": "done", "failed": "failed"}.get(record.status, "interrupted")


def begin(folder: Path, record: Record) -> Record:
    """Make the run's folder and say that it runs. What another key left there is removed first.

    Raises:
        RddError: the folder cannot be written.
    """
    there = read(folder)
    try:
        if there is not None and there.key != record.key:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    begun = Record(**{**asdict(record), "status": "running", "began": now})
    _write(folder, begun)
    return begun


def finish(folder: Path, begun: Record, seconds: float, error: str = "", cell: str = "", trace: str = "") -> Record:
    """Say how a run ended: done, or failed with an error."""
    ended = {"status": "failed" if error else "done", "seconds": round(seconds, 2)}
    told = {"error": error, "cell": cell, "traceback": re.sub(r"\x1b\[[\d;]*m", "", trace)[-20000:]}
    record = Record(**{**asdict(begun), **ended, **told})
    _write(folder, record)
    return record


def _write(folder: Path, record: Record) -> None:
    atomic_write(folder / RECORD, json.dumps(asdict(record), indent=2) + "\n")
