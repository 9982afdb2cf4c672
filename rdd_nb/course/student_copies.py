"""Copies of the notebooks without solutions and outputs, for students; nbgrader can collect and mark them."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

from rdd_nb.core.errors import RddError
from rdd_nb.core.files import atomic_write
from rdd_nb.experiments.parameters import nbformat_module

__all__ = ["student_copies"]


def student_copies(notebooks: str | os.PathLike[str], out: str | os.PathLike[str]) -> list[Path]:
    """Write a copy for students of every notebook in a folder: solutions out, stubs in, outputs stripped.

    Stub and check of each exercise carry nbgrader's metadata: the answer is the student's, the check is locked and
    gives one point. Where nbgrader runs a notebook, a check that fails raises (:func:`rdd_nb.course.exercise.check`).

    Args:
        notebooks: the folder; notebooks are files whose names begin with a digit.
        out: another folder, made if it is not there; copies of the same name are replaced.

    Returns:
        The copies.

    Raises:
        RddError: no notebooks there, ``out`` is the same folder, or a file is no notebook.
    """
    source, target = Path(notebooks), Path(out)
    paths = sorted(source.glob("[0-9]*.ipynb"))
    if not paths:
        raise RddError(f"{source} holds no notebooks (NN_name.ipynb): give the folder they are in")
    if target.resolve() == source.resolve():
        raise RddError(f"out is {target}, where the notebooks are: give another folder, or their solutions are lost")
    target.mkdir(parents=True, exist_ok=True)
    return [atomic_write(target / path.name, _student(path)) for path in paths]


def _student(path: Path) -> str:
    nbformat = nbformat_module()
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, KeyError, AttributeError, nbformat.ValidationError):
        raise RddError(f"{path} is not a Jupyter notebook: take it out of the folder or mend it") from None
    notebook.cells = [cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    _mark_for_nbgrader(notebook.cells)
    return nbformat.writes(notebook) + "\n"


def _mark_for_nbgrader(cells: list[Any]) -> None:
    """Say of each stub that it is an answer, and of the check below it that it is marked, in nbgrader's schema 3."""
    for stub, check in itertools.pairwise(cells):
        asked = re.match(r'course\.check\("([\w-]+)"', check.source)
        if "exercise-stub" in stub.metadata.get("tags", []) and asked:
            alike = {"schema_version": 3, "task": False}
            answer, marked = {"grade": False, "solution": True}, {"grade": True, "solution": False, "points": 1}
            stub.metadata["nbgrader"] = {**alike, **answer, "locked": False, "grade_id": asked[1]}
            check.metadata["nbgrader"] = {**alike, **marked, "locked": True, "grade_id": f"{asked[1]}-check"}
