"""Students' copies of the notebooks, graded: every exercise of each, in a process of its own with limits.

Only what an exercise needs is executed: what the course's notebook imports, and the student's cells from the first
exercise on, each whatever becomes of the one before. The limits end a loop that does not, and protect the grader's
memory; they are no jail. Students' code runs with the rights of whoever grades, and could patch this package to mark
itself: use a container where it may be hostile, and look at what you mark.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdd_nb.core import resources
from rdd_nb.core.errors import RddError
from rdd_nb.core.processes import THREAD_NAMES, end_tree
from rdd_nb.experiments.parameters import read_notebook

__all__ = ["Mark", "copies_of", "grade"]

CHECK = re.compile(r'course\.check\("([\w-]+)", (\w+)\)')
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "VIRTUAL_ENV")  # of the grader's environment, secrets not


@dataclass(frozen=True)
class Mark:
    """What became of one exercise in one copy.

    Attributes:
        student: the name of the folder that the copy is in.
        exercise: such as ``"01-exact-cvar"``.
        right: whether the answer is right.
        cases: the part of the exercise's cases that came out right before the first that did not, 0 to 1.
        said: what the student would be told, or why nothing could be asked; empty where the answer is right.
    """

    student: str
    exercise: str
    right: bool
    cases: float
    said: str


def copies_of(folder: Path) -> dict[str, list[Path]]:
    """Student → the notebooks handed in (``NN_….ipynb``): a folder a student, or one folder of one student.

    Raises:
        RddError: no notebook there.
    """
    if not folder.is_dir():
        raise RddError(f"{folder} is no folder: give the one with a folder for each student in it")
    inside = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    found = {name: sorted(path.glob("[0-9][0-9]_*.ipynb")) for name, path in {folder.name: folder, **inside}.items()}
    found = {name: paths for name, paths in found.items() if paths}
    if not found:
        raise RddError(
            f"no notebook NN_….ipynb in {folder} or in a folder in it: put each student's copies into a folder of "
            "the student's name"
        )
    return found


def grade(folder: Path, *, seconds: int = 20, megabytes: int = 4000, workers: int = 1) -> Iterator[Mark]:
    """Every exercise of every notebook that a student handed in, student after student.

    Args:
        folder: see :func:`copies_of`.
        seconds: that one cell may take, and one check.
        megabytes: of memory that a notebook's exercises may use (enforced where the system can).
        workers: notebooks at a time.

    Raises:
        RddError: no notebook in ``folder``.
    """
    work = [(student, path) for student, paths in copies_of(folder).items() for path in paths]
    with ThreadPoolExecutor(workers) as pool:
        for (student, _), marks in zip(work, pool.map(lambda one: _notebook(one[1], seconds, megabytes), work)):
            for exercise, right, cases, said in marks:
                yield Mark(student, exercise, right, cases, said)


Imports = list[ast.Import | ast.ImportFrom]


def _asked(number: str) -> tuple[Imports, list[tuple[str, str]]]:
    """What the course's notebook of a number imports, and its exercises with the names of their functions."""
    paths = sorted(resources.folder("notebooks").glob(f"{number}_*.ipynb"))
    if not paths:
        return [], []
    cells = [c for c in read_notebook(paths[0]).cells if c.cell_type == "code"]
    setup = [ast.parse(c.source) for c in cells if "setup" in c.metadata.get("tags", [])]
    wanted = [n for tree in setup for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    found = [CHECK.fullmatch(c.source.strip()) for c in cells]
    return wanted, [(m[1], m[2]) for m in found if m]


def _needed(imports: Imports, sources: list[str]) -> str:
    """The imports of which a name stands anywhere in the sources; the others would take longer than the exercises.

    >>> _needed(ast.parse("import torch, numpy as np\\nfrom scipy import stats").body, ["def f(x): return np.sum(x)"])
    'import numpy as np'
    """
    words, kept = set(re.findall(r"\w+", "\n".join(sources))), []
    for node in imports:
        names = [name for name in node.names if (name.asname or name.name.partition(".")[0]) in words]
        if names:
            told = ast.Import(names) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, names, node.level)
            kept.append(ast.unparse(told))
    return "\n".join(kept)


def _notebook(path: Path, seconds: int, megabytes: int) -> list[tuple[str, bool, float, str]]:
    """The marks of one notebook."""
    imports, exercises = _asked(path.name[:2])

    def none(why: str) -> list[tuple[str, bool, float, str]]:
        return [(name, False, 0.0, why) for name, _ in exercises]

    if not exercises:
        return []
    try:
        cells = read_notebook(path).cells
    except RddError as error:
        return none(str(error).replace(str(path), path.name))
    first = next((k for k, c in enumerate(cells) if "exercise" in c.metadata.get("tags", [])), None)
    if first is None:
        return none("no cell is tagged as an exercise: is it a copy of the course's notebook?")
    sources = [c.source for c in cells[first:] if c.cell_type == "code" and not CHECK.fullmatch(c.source.strip())]
    task: dict[str, Any] = {
        "imports": _needed(imports, sources),
        "cells": sources,
        "exercises": exercises,
        "megabytes": megabytes,
        "seconds": seconds,
    }
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | dict.fromkeys(THREAD_NAMES, "1")
    with tempfile.TemporaryDirectory() as empty:
        child = subprocess.Popen(
            (sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-m", __name__),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
            cwd=empty, env=environment | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUTF8": "1"},
        )  # fmt: skip
        try:
            told, _ = child.communicate(json.dumps(task), timeout=60 + seconds * (len(sources) + len(exercises)))
        except subprocess.TimeoutExpired:  # where no signal interrupts what hangs
            return none(f"a cell took longer than {seconds} s: is there a loop that does not end?")
        finally:
            end_tree(child.pid)
    try:
        marks = [(name, right, float(cases), said) for name, right, cases, said in json.loads(told.splitlines()[-1])]
    except (IndexError, ValueError, TypeError):
        why = "it used up its memory, or ended Python itself"
        return none(f"ended with status {child.returncode} before it was asked: {why}")
    return marks


def _limit(megabytes: int) -> None:
    """Of this process and its children; nothing where the system has no such limits."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100 * 2**20, 100 * 2**20))


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    """TimeoutError in what takes longer, where the system can interrupt it."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s: is there a loop that does not end?")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # and again: it may be caught
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _judge(task: dict[str, Any]) -> list[tuple[str, bool, float, str]]:
    """In the child: the student's cells, one after another, and then what each exercise says of its function."""
    from rdd_nb.course.exercise import exercises_of, judge

    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(task["imports"], "setup", "exec"), scope)
    for name, _ in task["exercises"]:
        exercises_of(name[:2])
    _limit(task["megabytes"])
    troubles, marks = [], []
    for number, source in enumerate(task["cells"], 1):
        try:
            with _within(task["seconds"]):
                exec(compile(source, f"cell {number} of the exercises", "exec"), scope)
        except BaseException as error:  # also SystemExit: whatever a student's cell may raise
            troubles.append(f"cell {number} of the exercises raised {type(error).__name__}: {error}"[:300])
    for name, function in task["exercises"]:
        if function not in scope:
            why = "; ".join(troubles) or "nothing of that name is defined"
            marks.append((name, False, 0.0, f"no function {function}: {why}"))
            continue
        try:
            with _within(task["seconds"]):
                verdict = judge(name, scope[function])
        except BaseException as error:
            marks.append((name, False, 0.0, f"{type(error).__name__}: {error}"[:300]))
            continue
        said = verdict.problem + (f" Hint: {verdict.hint}" if verdict.hint else "")
        marks.append((name, bool(verdict), verdict.right / max(verdict.cases, 1), said))
    return marks


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        marks_ = _judge(asked)
    print(json.dumps(marks_))
