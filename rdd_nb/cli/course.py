"""The commands about the course: ``copy`` writes its notebooks anywhere, ``grade`` marks students' copies of them."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from rdd_nb.cli.options import Json, emit
from rdd_nb.core import resources
from rdd_nb.core.escaping import csv_text, terminal
from rdd_nb.core.files import atomic_write
from rdd_nb.core.folders import put_files

if TYPE_CHECKING:
    from rdd_nb.cli.outputs.data import CourseGrade

__all__ = ["command_copy", "command_grade"]

FIRST = "00_quickstart.ipynb"


def command_copy(
    folder: Annotated[Path, typer.Argument(help="Where to; it is made if it is not there.", metavar="DIR")],
    student: Annotated[
        bool, typer.Option("--student", help="Copies for students: without solutions and outputs.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace notebooks there that differ, your work in them included.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy the course's notebooks into a folder of yours. What you changed there is never overwritten unasked.

    \b
    Example: rdd-nb course copy my-course
    """
    if student:
        from rdd_nb.course.student_copies import student_copies

        with tempfile.TemporaryDirectory() as scratch:
            contents = {path.name: path.read_bytes() for path in student_copies(resources.folder("notebooks"), scratch)}
    else:
        contents = {p.name: p.read_bytes() for p in sorted(resources.folder("notebooks").glob("[0-9]*.ipynb"))}
    written = put_files(folder, contents, force)
    if as_json:
        emit({"folder": str(folder), "notebooks": list(contents), "written": [p.name for p in written]})
        return
    kind = "for students, without solutions and outputs, " if student else ""
    there = len(contents) - len(written)
    print(f"notebooks {kind}copied to {folder}: {len(written)}" + (f" (there already: {there})" if there else ""))
    print(f"Begin with: jupyter lab {shlex.quote(str(folder / FIRST))}  (pip install jupyterlab, if you have it not)")


def command_grade(
    folder: Annotated[
        Path, typer.Argument(help="A folder for each student in it, with their notebooks NN_….ipynb.", metavar="DIR")
    ],
    table: Annotated[
        Path | None, typer.Option("--table", help="A row a student, a column an exercise, 1 or 0.", metavar="PATH.csv")
    ] = None,
    seconds: Annotated[int, typer.Option(help="That one cell may take, and one check.", min=1)] = 20,
    megabytes: Annotated[int, typer.Option(help="Of memory that a notebook's exercises may use.", min=1000)] = 4000,
    workers: Annotated[int, typer.Option(help="Notebooks at a time.", min=1)] = 1,
    as_json: Json = False,
) -> None:
    """Mark the exercises in students' copies of the notebooks. Only their exercise cells are run, under limits.

    The limits end what does not end; they are no jail. Run it in a container where the code may be hostile.

    \b
    Example: rdd-nb course grade handed-in --table marks.csv
    """
    import pandas as pd  # the command line starts without it

    from rdd_nb.course.grading import copies_of, grade

    students, marks = list(copies_of(folder)), []
    for mark in grade(folder, seconds=seconds, megabytes=megabytes, workers=workers):
        marks.append(mark)
        if not as_json:
            said = f"{mark.student} {mark.exercise}" + (f": {mark.said}" if mark.said else "")
            print("✓" if mark.right else "✗", terminal(said), flush=True)
    names = sorted({mark.exercise for mark in marks})
    right: dict[tuple[str, str], int] = {}
    for mark in marks:  # of two copies of one notebook, the better
        key = mark.student, mark.exercise
        right[key] = max(right.get(key, 0), int(mark.right))
    rows = [{name: right.get((student, name)) for name in names} for student in students]
    totals = [sum(filter(None, row.values())) for row in rows]
    if table is not None:
        frame = pd.DataFrame(rows, index=students).astype("Int64")
        atomic_write(table, csv_text(frame.assign(right=totals).rename_axis("student").reset_index()))
    if as_json:
        emit(cast("CourseGrade", {"folder": str(folder), "marks": [vars(mark) for mark in marks]}))
        return
    for student, total in zip(students, totals):
        print(f"{terminal(student)}: {total} of {len(names)} right")
