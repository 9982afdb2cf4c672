"""The process of one run, started and told on stdin what to run by :mod:`rdd_nb.experiments.sweep.guard`.

Its stdin stays open as long as the guard lives. When it closes, the guard is gone, however it went, and this process
ends its kernel and itself.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import one_line
from rdd_nb.core.folders import Folder
from rdd_nb.core.processes import end_tree
from rdd_nb.experiments.notebook import NotStarted, failure, run_notebook
from rdd_nb.experiments.sweep.record import finish, last_words, read


def main() -> int:
    """Run the notebook that stdin tells of, and write its record; the status is 0 also where the notebook failed."""
    told = json.loads(_line())
    threading.Thread(target=_follow, daemon=True).start()
    folder = Folder(told["folder"])
    target = folder.path / Path(told["notebook"]).name
    error, cell, trace = "", "", ""
    how = {"progress": sys.stdout, "kernel_name": told["kernel"], "linger": False}
    try:
        run_notebook(told["notebook"], target, told["parameters"], **how)
    except NotStarted as raised:
        error = f"{raised}{last_words(folder)}"
    except RddError as raised:
        error, cell, trace = failure(target, str(raised))
    except Exception as raised:  # of papermill, or a bug of ours: a sweep goes on
        error = f"{type(raised).__name__}: {one_line(raised)}{last_words(folder)}"
    begun = read(folder)
    if begun is not None and begun.token == told["token"]:  # else it was removed, and the guard says so
        finish(folder, begun, time.time() - told["began"], error, cell, trace)
    return 0


def _line() -> bytes:
    """The first line of stdin, read byte by byte so that :func:`_follow` can read on without a buffer between."""
    line = b""
    while not line.endswith(b"\n"):
        piece: Any = os.read(0, 1)
        if not piece:
            sys.exit("told nothing on stdin: this process is started by rdd_nb.experiments.sweep")
        line += piece
    return line


def _follow() -> None:
    while os.read(0, 1):
        pass
    end_tree(os.getpid(), itself=False)
    os._exit(1)
